import fc from 'fast-check'
import t from 'tap'
import { seededRandom } from '../../src/clock.ts'
import { type AgentKey, idFromBytes } from '../../src/content/ids.ts'
import { PositionSet } from '../../src/content/position-set.ts'
import {
  chooseSources,
  type Decision,
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

/** All is missing and known, nobody holds anything, the origin may be asked for one long stream. */
function state(rest: Partial<PlanState> = {}): PlanState {
  return {
    missing: PositionSet.full(COUNT),
    isKnown: () => true,
    isHashExpected: () => false,
    isCached: () => false,
    isAwaited: () => false,
    windowEnd: Number.POSITIVE_INFINITY,
    inFlightCount: 0,
    peers: [],
    origin: { freeStreamCount: 1, maxClaimSegments: Number.POSITIVE_INFINITY },
    ...rest,
  }
}

function choose(given: PlanState, options: { seed?: number; limits?: PlanLimits } = {}): Decision[] {
  return chooseSources(given, { limits: options.limits ?? LIMITS, random: seededRandom(options.seed ?? 1) })
}

function positionsOf(decision: Decision): number[] {
  if (decision.source !== 'origin') return [decision.index]
  const { start, end } = decision.range
  return Array.from({ length: end - start }, (_, offset) => start + offset)
}

const from = (decisions: readonly Decision[], source: Decision['source']) =>
  decisions.filter((decision) => decision.source === source)

void t.test('whatever the state', async (t) => {
  const positions = fc.uniqueArray(fc.nat(COUNT - 1), { maxLength: COUNT })
  const arbitrary = fc.record({
    missing: positions,
    known: positions,
    expected: positions,
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
    origin: fc.option(
      fc.record({
        freeStreamCount: fc.nat(4),
        maxClaimSegments: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constant(Number.POSITIVE_INFINITY)),
      }),
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
      const sets = { known: new Set(raw.known), expected: new Set(raw.expected) }
      const given = state({
        missing: setOf(raw.missing),
        isKnown: (index) => sets.known.has(index),
        isHashExpected: (index) => sets.expected.has(index),
        isCached: (index) => raw.cached.includes(index),
        isAwaited: (index) => raw.awaited.includes(index),
        windowEnd: raw.windowEnd,
        inFlightCount: raw.inFlightCount,
        peers: raw.peers.map((view, at) => ({ ...view, key: [A, B, C][at] ?? A, holds: setOf(view.holds) })),
        origin: raw.origin,
      })
      const decisions = choose(given, { seed: raw.seed, limits: raw.limits })
      return claim(decisions, given, raw.limits)
    }
    fc.assert(fc.property(arbitrary, run), { numRuns: 400 })
  }

  await t.test('1. a position is decided at most once, and only a missing one', async () => {
    always((decisions, given) => {
      const all = decisions.flatMap(positionsOf)
      return new Set(all).size === all.length && all.every((index) => given.missing.has(index))
    })
  })

  await t.test('2. what a usable peer holds, and can be verified, is never asked of the origin', async () => {
    always((decisions, given) =>
      from(decisions, 'origin')
        .flatMap(positionsOf)
        .every(
          (index) =>
            !given.isKnown(index) || !given.peers.some(({ state, holds }) => state !== 'unusable' && holds.has(index)),
        ),
    )
  })

  await t.test('3. what is asked for stays within the limits, in all, for each peer and at the origin', async () => {
    always((decisions, given, limits) => {
      const others = decisions.filter(({ source }) => source !== 'origin').length
      const room = Math.max(0, limits.maxInFlight - given.inFlightCount)
      const isEachBounded = given.peers.every(({ key, inFlightCount }) => {
        const asked = decisions.filter((it) => it.source === 'peer' && it.peer === key).length
        return asked <= Math.max(0, limits.perPeerInFlight - inFlightCount)
      })
      return others <= room && isEachBounded && from(decisions, 'origin').length <= (given.origin?.freeStreamCount ?? 0)
    })
  })

  await t.test('4. a claim is a run of positions, not empty and never longer than allowed', async () => {
    always((decisions, given) =>
      decisions.every(
        (it) =>
          it.source !== 'origin' ||
          (it.range.end > it.range.start && it.range.end - it.range.start <= (given.origin?.maxClaimSegments ?? 0)),
      ),
    )
  })

  await t.test('nothing is decided beyond the window', async () => {
    always((decisions, given) => decisions.flatMap(positionsOf).every((index) => index < given.windowEnd))
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

  await t.test(
    'what another transfer fetches, or a hash that is about to come, is not asked of the origin',
    async () => {
      always((decisions, given) =>
        from(decisions, 'origin')
          .flatMap(positionsOf)
          .every((index) => !given.isAwaited(index) && (given.isKnown(index) || !given.isHashExpected(index))),
      )
    },
  )

  await t.test('it does something while something can be done', async () => {
    always((decisions, given, limits) => {
      const canOrigin = (given.origin?.freeStreamCount ?? 0) > 0
      const isDoable = [...given.missing.values()].some((index) => {
        if (index >= given.windowEnd) return false
        const hasRoom = given.inFlightCount < limits.maxInFlight
        if (given.isAwaited(index)) return hasRoom
        if (!given.isKnown(index)) return canOrigin && !given.isHashExpected(index)
        if (given.isCached(index)) return hasRoom
        const holders = given.peers.filter(({ state, holds }) => state !== 'unusable' && holds.has(index))
        if (holders.length === 0) return canOrigin
        return hasRoom && holders.some((it) => it.state === 'ready' && it.inFlightCount < limits.perPeerInFlight)
      })
      return !isDoable || decisions.length > 0
    })
  })
})

void t.test('a busy holder is waited for; one that cannot be used is as if it were not there', async (t) => {
  t.same(choose(state({ peers: [peer(A, { state: 'busy' })] })), [])
  t.same(choose(state({ peers: [peer(A, { inFlightCount: 4 })] })), [], 'as is one that has enough to do')
  t.same(choose(state({ peers: [peer(A, { state: 'unusable' })] })), [
    { source: 'origin', range: { start: 0, end: COUNT } },
  ])
})

void t.test('an unknown hash: the origin, unless a holder is about to tell it', async (t) => {
  const unknown = { isKnown: (index: number) => index >= 2, peers: [peer(A)] }
  const now = choose(state(unknown))
  t.same(from(now, 'origin'), [{ source: 'origin', range: { start: 0, end: 2 } }])
  t.equal(from(now, 'peer').length, 4, 'the others come from the holder')
  const soon = choose(state({ ...unknown, isHashExpected: (index) => index < 2 }))
  t.same(from(soon, 'origin'), [])
})

void t.test('claims break where something else serves a position, and share the streams', async (t) => {
  const given = state({
    missing: setOf([0, 1, 2, 3, 4, 5, 6, 7, 20]),
    peers: [peer(A, { holds: setOf([3]) })],
    origin: { freeStreamCount: 4, maxClaimSegments: 3 },
  })
  t.same(
    from(choose(given), 'origin').map((it) => it.source === 'origin' && it.range),
    [
      { start: 0, end: 3 },
      { start: 4, end: 7 },
      { start: 7, end: 8 },
      { start: 20, end: 21 },
    ],
  )
  t.equal(from(choose({ ...given, origin: { freeStreamCount: 2, maxClaimSegments: 3 } }), 'origin').length, 2)
  t.equal(from(choose({ ...given, origin: null }), 'origin').length, 0)
})

void t.test('cache goes before peers, and another transfer of this agent before both', async (t) => {
  const given = state({ peers: [peer(A)], isCached: (index) => index < 2, isAwaited: (index) => index === 0 })
  t.same(
    choose(given)
      .slice(0, 3)
      .map(({ source }) => source),
    ['await', 'cache', 'peer'],
  )
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
