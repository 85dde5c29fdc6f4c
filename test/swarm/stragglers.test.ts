import t from 'tap'
import { type AgentKey, idFromBytes } from '../../src/content/ids.ts'
import { PositionSet } from '../../src/content/position-set.ts'
import type { PeerView } from '../../src/swarm/source-choice.ts'
import { boundedRate, FetcherWindow, LaneWindow, overtaken } from '../../src/swarm/stragglers.ts'

const MIB = 1024 * 1024
const key = (seed: number) => idFromBytes<AgentKey>(Buffer.alloc(32, seed))
const [SLOW, FAST, OTHER] = [key(1), key(2), key(3)]
const OPTIONS = { nowMs: 10_000, perPeerInFlight: 2 }

function peer(agent: AgentKey, rest: Partial<PeerView> = {}): PeerView {
  const holds = PositionSet.full(8)
  return { key: agent, holds, inFlightCount: 0, bytesPerSec: 10 * MIB, state: 'ready', ...rest }
}

function flight(index: number, waitedMs: number, agent = SLOW) {
  return { index, peer: agent, startedAtMs: OPTIONS.nowMs - waitedMs }
}

void t.test('what a slow neighbour was asked for is left to a fast one that has it', (t) => {
  const late = flight(3, 2000)
  t.same(overtaken([late], [peer(SLOW), peer(FAST)], OPTIONS), [late])
  t.end()
})

void t.test('it is waited for', (t) => {
  const at = (waitedMs: number, ...peers: PeerView[]) => overtaken([flight(3, waitedMs)], peers, OPTIONS).length
  t.equal(at(500, peer(FAST)), 0, 'for a moment in any case')
  t.equal(at(60_000, peer(SLOW)), 0, 'where nobody else has it')
  t.equal(at(60_000, peer(FAST, { holds: new PositionSet(8) })), 0)
  t.equal(at(60_000, peer(FAST, { state: 'busy' })), 0, 'where others cannot be asked')
  t.equal(at(60_000, peer(FAST, { inFlightCount: 2 })), 0)
  t.equal(at(60_000, peer(FAST, { bytesPerSec: null })), 0, 'or nobody knows how fast they are')
  t.equal(at(2000, peer(OTHER, { bytesPerSec: 2.2 * MIB })), 1)
  t.equal(at(2000, peer(OTHER, { bytesPerSec: 1.8 * MIB })), 0, 'where they are hardly faster')
  t.end()
})

void t.test('one fast neighbour is not given all at once', (t) => {
  const flights = [0, 1, 2, 3].map((index) => flight(index, 5000))
  t.same(overtaken(flights, [peer(FAST)], OPTIONS), flights.slice(0, 2))
  t.end()
})

void t.test('who lets us wait is no faster than that', (t) => {
  t.equal(boundedRate(null, 100), null)
  t.equal(boundedRate(5 * MIB, 100), 5 * MIB)
  t.equal(boundedRate(null, 2000), MIB / 2)
  t.equal(boundedRate(5 * MIB, 2000), MIB / 2)
  t.equal(boundedRate(1000, 2000), 1000)
  t.end()
})

void t.test('who fetches for all asks neighbours for more as its link shows that it has room', (t) => {
  const window = new FetcherWindow({ maxCount: 6 })
  t.equal(window.count(0, 0), 2)
  for (let count = 0; count < 10; count++) window.landed(30, 1000)
  t.equal(window.count(0, 1000), 6)
  t.equal(window.count(2500, 2500), 6, 'one slow neighbour is no slow link')
  window.landed(2500, 2500)
  t.equal(window.count(0, 2500), 6)
  t.equal(window.count(2500, 4000), 0, 'and for nothing while all takes long')
  window.landed(2500, 4000)
  t.equal(window.count(0, 4000), 0, 'nor for a while after')
  t.equal(window.count(0, 10_000), 1)
  t.end()
})

void t.test('over a slow link few segments are asked for at a time, over a fast one all that may be', (t) => {
  const window = new LaneWindow({ maxCount: 6 })
  t.equal(window.count, 2)
  window.landed(30, 1)
  t.equal(window.count, 6, 'at once')
  window.landed(10_000, 6)
  t.equal(window.count, 2, 'six together take 10 s: 5 Mbit/s')
  window.landed(1000, 2)
  t.equal(window.count, 3)
  t.end()
})
