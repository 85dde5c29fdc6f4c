import t from 'tap'
import { seededRandom } from '../../src/clock.ts'
import type { ToldState } from '../../src/content/fetcher-state.ts'
import type { AgentKey } from '../../src/content/ids.ts'
import { PositionSet } from '../../src/content/position-set.ts'
import { MAX_FETCHERS } from '../../src/swarm/crowd.ts'
import { Gossip } from '../../src/swarm/gossip.ts'
import { agentKeys, crowdFor, MiniBranch, stateOf } from './mini-branch.ts'

const FANOUT = 8

function setUp(options: { self?: number; agentCount: number }) {
  const { self = 0, agentCount } = options
  const keys = agentKeys(agentCount)
  const random = seededRandom(1)
  const key = (at: number): AgentKey => keys[at] ?? ('' as AgentKey)
  const crowd = crowdFor(key(self), { segmentCount: 1000, random })
  const gossip = new Gossip(crowd, { self: key(self), random })
  const own = (at: number, rest = {}): ToldState => ({ state: stateOf(key(at), rest), isDirect: true })
  return { crowd, gossip, key, own, keys }
}

/** What was passed on: states of others than the sender. */
function relayed(branch: MiniBranch): number {
  return branch.claims.reduce(
    (sum, { from, told }) => sum + told.filter(({ state }) => state.agent !== from.key).length,
    0,
  )
}

// Found: who is told first that its neighbour hears an agent never says the same of itself, and is told for ever.
void t.test('where all are connected nothing is passed on after the first round', async (t) => {
  const branch = new MiniBranch(7, { segmentCount: 120 })
  for (const agent of branch.agents) agent.start()
  t.notOk(branch.run(400, () => branch.isDone))
  t.ok(relayed(branch) <= 7 * 6 * 5, 'each tells each once of the others')
  branch.claims.length = 0
  t.ok(branch.run(60_000, () => branch.isDone))
  t.ok(branch.claims.length > 0, 'there was something to tell')
  t.equal(relayed(branch), 0)
})

void t.test('what a fetcher does gets about over those in between', async (t) => {
  const branch = new MiniBranch(3, { segmentCount: 60, isConnected: (one, other) => Math.abs(one - other) === 1 })
  const [first, middle, last] = [branch.agent(0), branch.agent(1), branch.agent(2)]
  for (const agent of branch.agents) agent.start()
  const hasHeard = () => (last.crowd.stateOf(first.key)?.claimed.length ?? 0) > 0
  t.ok(branch.run(2000, hasHeard))
  t.notOk(last.crowd.isDirect(first.key))
  t.ok(middle.crowd.isDirect(first.key))
  t.ok(last.crowd.fetchers(branch.nowMs).includes(first.key), 'and it counts as one of the fetchers')
  t.ok(branch.run(60_000, () => branch.isDone))
})

void t.test(
  'what changes is passed on to a few of those who need it, and told to nobody who hears it first-hand',
  async (t) => {
    const { gossip, key, own, keys } = setUp({ self: 1, agentCount: 42 })
    const neighbours = keys.slice(2)
    const direct = neighbours.slice(0, 5)
    gossip.heard(key(0), [own(0)], 0)
    for (const neighbour of neighbours) gossip.join(neighbour)
    for (const neighbour of direct) gossip.heard(neighbour, [own(0)], 0)
    const round = (nowMs: number) =>
      [...gossip.due(true, nowMs)]
        .filter(([, told]) => told.some(({ state }) => state.agent === key(0)))
        .map(([neighbour]) => neighbour)
    const first = round(1000)
    t.ok(
      neighbours.slice(5).every((neighbour) => first.includes(neighbour)),
      'once to each, so that it knows that we hear it',
    )
    for (let sequence = 2; sequence < 10; sequence++) {
      const nowMs = 1000 * sequence
      gossip.heard(key(0), [own(0, { sequence })], nowMs)
      t.same(round(nowMs), [], 'not at once: the word of others may come first')
      const told = round(nowMs + 200)
      t.equal(told.length, FANOUT)
      t.notOk(told.some((neighbour) => direct.includes(neighbour) || neighbour === key(0)))
      t.same(round(nowMs + 400), [], 'and once only')
    }
  },
)

void t.test('only the few that matter are passed on', async (t) => {
  const { gossip, key, own } = setUp({ self: 20, agentCount: 41 })
  for (let at = 0; at < 40; at++) if (at !== 20) gossip.heard(key(at), [own(at)], 0)
  gossip.join(key(40))
  const told = gossip.due(true, 1000).get(key(40)) ?? []
  t.same(
    new Set(told.map(({ state }) => state.agent)),
    new Set([...Array(MAX_FETCHERS).keys(), 20].map(key)),
    'the lowest ranks, besides its own state',
  )
})

void t.test(
  'what others must hear is said at once and to all; progress to fetchers at times, to others seldom',
  async (t) => {
    const { crowd, gossip, key, own } = setUp({ agentCount: 12 })
    for (let at = 1; at < 12; at++) gossip.heard(key(at), [own(at)], 0)
    crowd.join([], 0)
    gossip.due(true, 0)
    gossip.due(true, 300) // also what is to be passed on
    const everybody = [...Array(11).keys()].map((at) => key(at + 1))
    const told = (nowMs: number) => [...gossip.due(true, nowMs).keys()]
    const claim = crowd.claim(PositionSet.full(1000), 310)
    if (!claim) throw new Error('nothing was claimed')
    t.same(told(310), everybody, 'a claim')
    t.same(told(310), [])
    crowd.advance(claim, claim.start + 1)
    crowd.fetched(claim.start)
    t.same(told(320), [], 'progress')
    const fetchers = crowd.fetchers(560).filter((agent) => agent !== key(0))
    t.ok(fetchers.length < 11)
    t.same(new Set(told(560)), new Set(fetchers), 'a quarter of a second later, to those who share the work')
    t.same(new Set(told(1320)), new Set(everybody), 'a second later, to everybody')
    crowd.end(claim, 1330)
    t.same(told(1330), everybody, 'the end of a claim')
    crowd.leave()
    t.same([...gossip.due(false, 1340).keys()], everybody, 'and the end of the interest')
    t.same([...gossip.due(false, 60_000).keys()], [], 'after which there is nothing more to say')
  },
)

// Found: what it claimed was void for the others after a few seconds, and had twice.
void t.test('who fetches, and is no longer one of the lowest ranks, goes on to tell of it', async (t) => {
  const { crowd, gossip, key, own } = setUp({ self: 11, agentCount: 12 })
  crowd.join([], 0)
  const claim = crowd.claim(PositionSet.full(1000), 0)
  if (!claim) throw new Error('nothing was claimed')
  for (let at = 0; at < 11; at++) gossip.heard(key(at), [own(at)], 10)
  t.notOk(crowd.fetchers(10).includes(key(11)))
  gossip.due(true, 10)
  gossip.due(true, 300)
  crowd.progressed(claim, 1000, 1200)
  t.equal(gossip.due(true, 1400).get(key(0))?.[0]?.state.progressBytes, 1000)
  crowd.end(claim, 1500)
  t.equal(gossip.due(true, 1500).size, 11)
  t.equal(gossip.due(true, 1900).size, 0, 'until it does not')
})

void t.test('who left is told nothing, and told all when it comes back', async (t) => {
  const { crowd, gossip, key, own } = setUp({ agentCount: 3 })
  crowd.join([], 0)
  gossip.heard(key(1), [own(1)], 0)
  t.same([...gossip.due(true, 0).keys()], [key(1)])
  gossip.leave(key(1), 10)
  t.same([...gossip.due(true, 5000).keys()], [])
  t.notOk(crowd.fetchers(5000).includes(key(1)))
  gossip.join(key(1))
  t.same([...gossip.due(true, 5001).keys()], [key(1)])
})

void t.test('it says when it will have something to say by itself', async (t) => {
  const { crowd, gossip, key, own } = setUp({ agentCount: 3 })
  t.equal(gossip.nextAtMs(false), Number.POSITIVE_INFINITY)
  gossip.join(key(2))
  gossip.heard(key(1), [own(1)], 0)
  const relayAtMs = gossip.nextAtMs(false)
  t.ok(relayAtMs > 0 && relayAtMs < 1000)
  t.equal(gossip.due(false, relayAtMs - 1).get(key(2))?.length, 1, 'of itself')
  t.same(
    gossip
      .due(false, relayAtMs)
      .get(key(2))
      ?.map(({ state }) => state.agent),
    [key(1)],
  )
  crowd.join([], relayAtMs)
  gossip.due(true, relayAtMs)
  t.equal(gossip.nextAtMs(true), relayAtMs + 250)
})
