import t from 'tap'
import { type AgentKey, idFromBytes, type ResourceKey } from '../../src/content/ids.ts'
import { rankOf } from '../../src/swarm/rank.ts'

const agents = Array.from({ length: 8 }, (_, seed) => idFromBytes<AgentKey>(Buffer.alloc(32, seed + 1)))
const resource = (seed: number) => idFromBytes<ResourceKey>(Buffer.alloc(32, seed))

void t.test('everybody computes the same ranks, and no two are equal', async (t) => {
  const ranks = agents.map((agent) => rankOf(resource(9), agent))
  t.same(
    agents.map((agent) => rankOf(resource(9), agent)),
    ranks,
  )
  t.equal(new Set(ranks).size, agents.length)
  t.ok(ranks.every((rank) => /^[0-9a-f]{64}$/.test(rank)))
})

void t.test('every agent is the first for some resource', async (t) => {
  const firsts = new Set<AgentKey>()
  for (let seed = 0; seed < 200; seed++) {
    const sorted = agents.toSorted((a, b) => (rankOf(resource(seed), a) < rankOf(resource(seed), b) ? -1 : 1))
    const [first] = sorted
    if (first) firsts.add(first)
  }
  t.equal(firsts.size, agents.length)
})
