import t from 'tap'
import { branchSize } from '../../src/peers/branch-size.ts'
import { SPOT_CHECK_BYTES, spotCheckChance } from '../../src/swarm/spot-check.ts'

const MIB = 1024 * 1024

void t.test('a branch that fits into the sessions is as large as they say, whatever beacons say', (t) => {
  t.equal(branchSize({ connectedCount: 0, heardCount: 0 }), 1)
  t.equal(branchSize({ connectedCount: 5, heardCount: 1000 }), 6)
  t.equal(branchSize({ connectedCount: 5, heardCount: 2 }), 6)
  t.end()
})

void t.test('a larger one is as large as is heard, and checks cost no more there', (t) => {
  for (const agents of [65, 200, 500, 1000]) {
    const size = branchSize({ connectedCount: Math.min(64, agents - 1), heardCount: agents - 1 })
    t.equal(size, agents)
    const checkedRatio = ((agents - 1) * spotCheckChance(MIB, size) * SPOT_CHECK_BYTES) / MIB
    t.ok(checkedRatio < 0.01, `${agents} agents ask the origin for ${checkedRatio} of the content`)
  }
  t.equal(branchSize({ connectedCount: 64, heardCount: 0 }), 65, 'no beacon is heard')
  t.end()
})
