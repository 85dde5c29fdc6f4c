import fc from 'fast-check'
import t from 'tap'
import { seededRandom } from '../../src/clock.ts'
import { type AgentKey, idFromBytes } from '../../src/content/ids.ts'
import { PositionSet } from '../../src/content/position-set.ts'
import {
  chooseSources,
  type Decision,
  inFlightCount,
  type PeerView,
  type PlanLimits,
  type PlanState,
} from '../../src/swarm/source-choice.ts'

const LIMITS: PlanLimits = { maxInFlight: 16, perPeerInFlight: 4 }
const COUNT = 60
const [A, B, C] = [1, 2, 3].map((seed) => idFromBytes<AgentKey>(Buffer.alloc(32, seed))) as [
  AgentKey,
  AgentKey,
  AgentKey,
]

function setOf(positions: Iterable<number>, capacity = COUNT): PositionSet {
  const set = new PositionSet(capacity)
  for (const position of positions) set.add(position)
  return set
}

function peer(key: AgentKey, rest: Partial<PeerView> = {}): PeerView {
  return { key, holds: PositionSet.full(COUNT), inFlightCount: 0, bytesPerSec: null, state: 'ready', ...rest }
}

/** All is missing and known; what is available, and how often, follows from the peers. */
function state(rest: Partial<PlanState> = {}): PlanState {
  const { missing = PositionSet.full(COUNT), peers = [] } = rest
  const usable = peers.filter(({ state }) => state !== 'unusable')
  const available = new PositionSet(missing.capacity)
  for (const { holds } of usable) available.addAll(holds)
  return {
    missing,
    isKnown: () => true,
    cached: new PositionSet(missing.capacity),
    awaited: new PositionSet(missing.capacity),
    available,
    windowEnd: Number.POSITIVE_INFINITY,
    inFlightCount: 0,
    peerRoom: Number.POSITIVE_INFINITY,
    peers,
    ...rest,
  }
}

function choose(given: PlanState, options: { seed?: number; limits?: PlanLimits } = {}): Decision[] {
  return chooseSources(given, { limits: options.limits ?? LIMITS, random: seededRandom(options.seed ?? 1) })
}

void t.test('whatever the state', async (t) => {
  const positions = fc.uniqueArray(fc.nat(COUNT - 1), { maxLength: COUNT })
  const arbitrary = fc.record({
    missing: positions,
    known: positions,
    cached: positions,
    awaited: positions,
    windowEnd: fc.oneof(fc.nat(COUNT), fc.constant(Number.POSITIVE_INFINITY)),
    inFlightCount: fc.nat(20),
    peers: fc.array(
      fc.record({
        holds: positions,
        inFlightCount: fc.nat(5),
        bytesPerSec: fc.option(fc.double({ min: 0, max: 1e9, noNaN: true })),
        state: fc.constantFrom('ready', 'busy', 'unusable'),
      }),
      { maxLength: 3 },
    ),
    limits: fc.record({
      maxInFlight: fc.integer({ min: 1, max: 16 }),
      perPeerInFlight: fc.integer({ min: 1, max: 4 }),
    }),
    seed: fc.nat(),
  })
  type Raw = typeof arbitrary extends fc.Arbitrary<infer T> ? T : never

  /** `holds` decides for the state and the decisions that were made of it. */
  const always = (claim: (decisions: readonly Decision[], given: PlanState, limits: PlanLimits) => boolean): void => {
    const run = (raw: Raw) => {
      const known = new Set(raw.known)
      const given = state({
        missing: setOf(raw.missing),
        isKnown: (index) => known.has(index),
        cached: setOf(raw.cached),
        awaited: setOf(raw.awaited),
        windowEnd: raw.windowEnd,
        inFlightCount: raw.inFlightCount,
        peers: raw.peers.map((view, at) => ({ ...view, key: [A, B, C][at] ?? A, holds: setOf(view.holds) })),
      })
      const decisions = choose(given, { seed: raw.seed, limits: raw.limits })
      return claim(decisions, given, raw.limits)
    }
    fc.assert(fc.property(arbitrary, run), { numRuns: 400 })
  }

  await t.test('1. a position is decided at most once, and only a missing one', async () => {
    always((decisions, given) => {
      const all = decisions.map(({ index }) => index)
      return new Set(all).size === all.length && all.every((index) => given.missing.has(index))
    })
  })

  await t.test('2. what is asked for stays within the limits, in all and for each peer', async () => {
    always((decisions, given, limits) => {
      const room = Math.max(0, limits.maxInFlight - given.inFlightCount)
      const isEachBounded = given.peers.every(({ key, inFlightCount }) => {
        const asked = decisions.filter((it) => it.source === 'peer' && it.peer === key).length
        return asked <= Math.max(0, limits.perPeerInFlight - inFlightCount)
      })
      return decisions.length <= room && isEachBounded
    })
  })

  await t.test('nothing is decided beyond the window', async () => {
    always((decisions, given) => decisions.every(({ index }) => index < given.windowEnd))
  })

  await t.test('a peer is asked only for what it holds, when it is ready and the hash is known', async () => {
    always((decisions, given) =>
      decisions.every((it) => {
        if (it.source !== 'peer') return true
        const view = given.peers.find(({ key }) => key === it.peer)
        return view?.state === 'ready' && view.holds.has(it.index) && given.isKnown(it.index)
      }),
    )
  })

  await t.test('what another transfer fetches is waited for, and what the cache has is asked of nobody', async () => {
    always((decisions, given) =>
      decisions.every(({ source, index }) => {
        if (given.cached.has(index) && given.isKnown(index)) return source === 'cache'
        if (given.awaited.has(index)) return source === 'await'
        if (source === 'await') return false
        return source === 'cache' ? given.cached.has(index) && given.isKnown(index) : !given.cached.has(index)
      }),
    )
  })

  await t.test('it does something while something can be done', async () => {
    always((decisions, given, limits) => {
      const hasRoom = given.inFlightCount < limits.maxInFlight
      const isDoable = [...given.missing.values()].some((index) => {
        if (index >= given.windowEnd) return false
        if (given.awaited.has(index)) return hasRoom
        if (!given.isKnown(index)) return false
        if (given.cached.has(index)) return hasRoom
        return (
          hasRoom &&
          given.peers.some(
            (it) => it.state === 'ready' && it.inFlightCount < limits.perPeerInFlight && it.holds.has(index),
          )
        )
      })
      return isDoable === decisions.length > 0
    })
  })
})

void t.test('who is busy, has enough to do or cannot be used is not asked', async (t) => {
  t.same(choose(state({ peers: [peer(A, { state: 'busy' })] })), [])
  t.same(choose(state({ peers: [peer(A, { inFlightCount: 4 })] })), [])
  t.same(choose(state({ peers: [peer(A, { state: 'unusable' })] })), [])
})

void t.test('what cannot be verified yet is not had from anybody', async (t) => {
  const decisions = choose(state({ isKnown: (index) => index >= 2, peers: [peer(A)], cached: setOf([1]) }))
  t.equal(decisions.length, 4)
  t.ok(decisions.every(({ index }) => index >= 2))
})

void t.test('cache goes before peers, and another transfer of this agent before what is not here', async (t) => {
  const given = state({ peers: [peer(A)], cached: setOf([0, 1]), awaited: setOf([0, 7]) })
  t.same(
    choose(given)
      .slice(0, 4)
      .map(({ source, index }) => [source, source === 'peer' ? null : index]),
    [
      ['await', 7],
      ['cache', 0],
      ['cache', 1],
      ['peer', null],
    ],
  )
})

void t.test('what is near the start comes first, in an order that differs from agent to agent', async (t) => {
  const firsts = Array.from(
    { length: 20 },
    (_, seed) => choose(state({ peers: [peer(A), peer(B)] }), { seed })[0]?.index ?? 99,
  )
  t.ok(
    firsts.every((index) => index < 32),
    'a target grows from its start',
  )
  t.ok(new Set(firsts).size > 5, 'not all want the same')
})

void t.test('neighbours that see the same do not all want the same', async (t) => {
  const firsts = Array.from({ length: 40 }, (_, seed) => choose(state({ peers: [peer(A)] }), { seed })[0]?.index)
  t.ok(new Set(firsts).size > 10, `${new Set(firsts).size} different ones`)
})

void t.test('equal peers get equal load', async (t) => {
  const counts = new Map<AgentKey, number>()
  for (let seed = 0; seed < 300; seed++) {
    const [decision] = choose(state({ peers: [peer(A), peer(B), peer(C)] }), { seed })
    if (decision?.source === 'peer') counts.set(decision.peer, (counts.get(decision.peer) ?? 0) + 1)
  }
  for (const key of [A, B, C]) t.ok((counts.get(key) ?? 0) > 60, `first choice ${counts.get(key)} times of 300`)
  const many = choose(state({ peers: [peer(A), peer(B), peer(C)] }))
  for (const key of [A, B, C]) t.equal(many.filter((it) => it.source === 'peer' && it.peer === key).length, 4)
})

void t.test('a faster peer gets more, a slow one is not shut out', async (t) => {
  const wide = { maxInFlight: 24, perPeerInFlight: 24 }
  const given = state({ peers: [peer(A, { bytesPerSec: 50e6 }), peer(B, { bytesPerSec: 10e6 })] })
  let [fast, slow] = [0, 0]
  for (let seed = 0; seed < 20; seed++) {
    for (const it of choose(given, { limits: wide, seed })) {
      if (it.source === 'peer' && it.peer === A) fast++
      if (it.source === 'peer' && it.peer === B) slow++
    }
  }
  t.ok(fast > 2 * slow, `${fast} to ${slow}`)
  t.ok(slow > 0)
})

void t.test('one call looks at a bounded number of positions', async (t) => {
  let looked = 0
  const capacity = 1_000_000
  const given = state({
    missing: PositionSet.full(capacity),
    isKnown: () => {
      looked++
      return true
    },
    peers: [peer(A, { holds: PositionSet.full(capacity), state: 'busy' })],
  })
  t.same(choose(given), [])
  t.ok(looked <= 4096, `${looked} positions`)
})

void t.test('where many have something, each is asked for one segment at a time', async (t) => {
  const limits: PlanLimits = { maxInFlight: 6, perPeerInFlight: 4 }
  const newest = setOf([40, 41, 42, 43])
  const most = (others: number) => {
    const old = Array.from({ length: others }, (_, at) =>
      peer(idFromBytes<AgentKey>(Buffer.alloc(32, 10 + at)), { holds: setOf([0]) }),
    )
    const peers = [peer(A, { holds: newest }), ...old]
    return choose(state({ missing: setOf([40, 41, 42, 43]), peers }), { limits }).length
  }
  t.equal(most(0), 4)
  t.equal(most(2), 4)
  t.equal(most(5), 2)
  t.equal(most(30), 1)
})

void t.test('streams from the origin are in flight, too, and leave room for neighbours', async (t) => {
  t.equal(inFlightCount(3, 0), 3)
  t.equal(inFlightCount(3, 1), 4)
  t.equal(inFlightCount(0, 64), 2)
})
