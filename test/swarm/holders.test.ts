import fc from 'fast-check'
import t from 'tap'
import { type AgentKey, idFromBytes } from '../../src/content/ids.ts'
import { Holders } from '../../src/swarm/holders.ts'

const COUNT = 40
const PEERS = [1, 2, 3].map((seed) => idFromBytes<AgentKey>(Buffer.alloc(32, seed)))

void t.test('it behaves like a Set for each neighbour, and counts what they have in common', async () => {
  const ranges = fc.array(fc.record({ start: fc.nat(COUNT + 5), end: fc.nat(COUNT + 10) }), { maxLength: 3 })
  const step = fc.record({ verb: fc.constantFrom('add', 'delete', 'leave'), peer: fc.nat(2), ranges })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
      const holders = new Holders(COUNT)
      const model = new Map<AgentKey, Set<number>>()
      for (const { verb, peer: at, ranges } of steps) {
        const peer = PEERS[at]
        if (!peer) continue
        const known = model.get(peer)
        if (verb === 'leave') {
          if (holders.leave(peer) !== model.delete(peer)) return false
          continue
        }
        const positions = known ?? new Set<number>()
        if (verb === 'add') model.set(peer, positions)
        for (const { start, end } of ranges) {
          for (let index = start; index < Math.min(end, COUNT); index++) {
            if (verb === 'add') positions.add(index)
            else positions.delete(index)
          }
        }
        if (verb === 'add') holders.add(peer, ranges, 0)
        else holders.delete(peer, ranges)
      }
      for (const peer of PEERS) {
        const expected = [...(model.get(peer) ?? [])].sort((a, b) => a - b)
        if (JSON.stringify([...(holders.of(peer)?.values() ?? [])]) !== JSON.stringify(expected)) return false
      }
      for (let index = 0; index < COUNT; index++) {
        const count = [...model.values()].filter((positions) => positions.has(index)).length
        if (holders.count(index) !== count || holders.available.has(index) !== count > 0) return false
      }
      return holders.count(COUNT) === 0
    }),
    { numRuns: 500 },
  )
})

void t.test('a range from a stranger costs no more than the content', async (t) => {
  const holders = new Holders(8)
  const [peer] = PEERS
  if (!peer) return
  holders.add(peer, [{ start: 6, end: 2 ** 53 }], 0)
  t.same(holders.available.ranges(), [{ start: 6, end: 8 }])
  holders.delete(peer, [{ start: 7, end: 2 ** 53 }])
  t.same(holders.available.ranges(), [{ start: 6, end: 7 }])
})

void t.test('how long one alone holds a position', async (t) => {
  const [one, other] = PEERS
  if (!one || !other) return
  const holders = new Holders(8)
  const first = [{ start: 0, end: 1 }]
  t.equal(holders.aloneMs(0, 5000), 0)
  t.equal(holders.firstOf(0), undefined)
  holders.add(one, first, 5000)
  t.equal(holders.aloneMs(0, 5400), 400)
  t.equal(holders.firstOf(0), one)
  holders.add(other, first, 5800)
  t.equal(holders.aloneMs(0, 6000), 0)
  t.equal(holders.usuallyAloneMs, 100)
  holders.leave(one)
  t.equal(holders.firstOf(0), other)
})
