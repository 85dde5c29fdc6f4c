import t from 'tap'
import { testTarget } from './fuzz-test.ts'
import { beaconBookTarget, beaconTarget } from './targets/beacon.ts'
import { inviteCodeTarget, rosterTarget } from './targets/roster.ts'
import { sessionTarget } from './targets/session.ts'
import { wireTarget } from './targets/wire.ts'

await t.test('a beacon is one that a member would have sent, or none', (t) => testTarget(t, beaconTarget))

await t.test('the book of beacons is bounded and hears no replay, whatever it hears', (t) =>
  testTarget(t, beaconBookTarget),
)

await t.test('a message of a session is refused, or the only reading of its bytes', (t) => testTarget(t, wireTarget))

await t.test('a session ends once and in order, whatever comes before and after the proof', (t) =>
  testTarget(t, sessionTarget),
)

await t.test('a roster is one that the administrator signed, and reads in one way', (t) => testTarget(t, rosterTarget))

await t.test('a code of an invitation is whole, or none', (t) => testTarget(t, inviteCodeTarget))
