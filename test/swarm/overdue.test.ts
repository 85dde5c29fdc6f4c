import t from 'tap'
import type { AgentKey } from '../../src/content/ids.ts'
import { PositionSet } from '../../src/content/position-set.ts'
import type { SegmentRange } from '../../src/content/segmentation.ts'
import { Holders } from '../../src/swarm/holders.ts'
import { Overdue } from '../../src/swarm/overdue.ts'
import { agentKeys, crowdFor, stateOf } from './mini-branch.ts'

const COUNT = 100
const [FIRST, SELF, SLOW, OTHER] = agentKeys(4) as [AgentKey, AgentKey, AgentKey, AgentKey]
const run = (start: number, end: number): SegmentRange => ({ start, end })

/** All is fetched; of one of the others the segments 10 to 16, which it alone holds. */
function setUp(options: { before?: SegmentRange[]; landedAtMs?: number } = {}) {
  const { before = [], landedAtMs = Number.NEGATIVE_INFINITY } = options
  const crowd = crowdFor(SELF, { segmentCount: COUNT })
  const holders = new Holders(COUNT)
  const overdue = new Overdue(COUNT)
  const missing = PositionSet.of(COUNT, [run(10, 16)])
  crowd.join([], 0)
  crowd.hear(stateOf(SLOW, { fetched: before }), { isDirect: true }, 0)
  crowd.hear(stateOf(SLOW, { fetched: [run(0, 16)], sequence: 2 }), { isDirect: true }, 0)
  holders.add(SLOW, [run(0, 100)], 0)
  crowd.claim(missing, 0) // finds nothing, and is idle from now on
  const look = (nowMs: number) => {
    overdue.look({ missing, flights: { all: () => [], landedAtMs: () => landedAtMs }, holders, crowd, nowMs })
    return [...overdue.positions.values()]
  }
  return { crowd, holders, missing, look }
}

void t.test('what one neighbour alone has for long is overdue, a few at a time', async (t) => {
  const { look } = setUp()
  t.same(look(900), [])
  t.same(look(1200), [12, 13, 14, 15])
})

void t.test('it is not when a second has it, or the neighbour had it before the others came', async (t) => {
  const { holders, look } = setUp()
  holders.add(OTHER, [run(10, 15)], 100)
  t.same(look(1200), [15])
  t.same(setUp({ before: [run(0, 16)] }).look(5000), [])
})

void t.test('nor when the neighbour gives what it has, one after the other', async (t) => {
  t.same(setUp({ landedAtMs: 1000 }).look(1900), [])
  t.same(setUp({ landedAtMs: 1000 }).look(2100).length, 4)
})

void t.test('where segments usually take long to get about, it is waited for longer', async (t) => {
  const { holders, look } = setUp()
  for (let index = 30; index < 60; index++) holders.add(OTHER, [run(index, index + 1)], 600)
  t.same(look(2000), [])
  t.same(look(3000).length, 4)
})

void t.test('who is idle and has a lower rank goes first; who holds it does not count', async (t) => {
  const { crowd, look } = setUp()
  crowd.hear(stateOf(FIRST), { isDirect: true }, 0)
  t.same(look(1500), [])
  t.same(look(3500).length, 4, 'unless nothing comes of it')
})

void t.test('who has something to do looks for nothing, and goes on with what it began', async (t) => {
  const { crowd, holders, missing, look } = setUp()
  t.same(look(1200).length, 4)
  const claim = crowd.claim(missing, 1200, { overdue: PositionSet.of(COUNT, [run(12, 16)]) })
  t.match(claim, { start: 12, end: 13 })
  t.same(look(1500), [12, 13, 14, 15])
  holders.add(OTHER, [run(14, 15)], 1600)
  t.same(look(1800), [12, 13, 15])
  const busy = setUp()
  busy.crowd.claimRest(50, 0, 51)
  t.same(busy.look(5000), [])
})
