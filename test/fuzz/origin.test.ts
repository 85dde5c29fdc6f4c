import t from 'tap'
import { testTarget } from './fuzz-test.ts'
import { netrcTarget, originTarget } from './targets/origin.ts'

await t.test('no header field of an origin says more than we handle', (t) => testTarget(t, originTarget))

await t.test('a netrc file holds logins or nothing', (t) => testTarget(t, netrcTarget))
