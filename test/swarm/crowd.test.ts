import fc from 'fast-check'
import t from 'tap'
import { seededRandom } from '../../src/clock.ts'
import type { FetcherState } from '../../src/content/fetcher-state.ts'
import type { AgentKey } from '../../src/content/ids.ts'
import { PositionSet } from '../../src/content/position-set.ts'
import { SEGMENT_BYTES, type SegmentRange } from '../../src/content/segmentation.ts'
import { type Claim, type Crowd, MAX_MEMBERS } from '../../src/swarm/crowd.ts'
import { agentKeys, crowdFor, MiniBranch, stateOf } from './mini-branch.ts'

const COUNT = 600
const KEYS = agentKeys(40)
const all = PositionSet.full(COUNT)

/** By rank: 0 is the first. */
function key(at: number): AgentKey {
  const found = KEYS[at]
  if (!found) throw new Error(`There is no agent ${at}`)
  return found
}

interface Options {
  maxStreams?: number
  segmentCount?: number
  seed?: number
}

/** An agent that takes part and waits for nobody; `others` are neighbours that do nothing yet. */
function crowdOf(self: number, options: Options & { others?: readonly number[] } = {}): Crowd {
  const { maxStreams = 8, segmentCount = COUNT, seed = 1, others = [] } = options
  const crowd = crowdFor(key(self), { segmentCount, maxStreams, random: seededRandom(seed) })
  crowd.join([], 0)
  for (const other of others) say(crowd, other)
  return crowd
}

let sequence = 1

/** What an agent says at first hand. */
function say(
  crowd: Crowd,
  who: number,
  rest: Partial<FetcherState> & { atMs?: number; isDirect?: boolean } = {},
): boolean {
  const { atMs = 0, isDirect = true, ...state } = rest
  return crowd.hear(stateOf(key(who), { sequence: sequence++, ...state }), { isDirect }, atMs)
}

const run = (start: number, end: number): SegmentRange => ({ start, end })

const setOf = (...ranges: SegmentRange[]) => PositionSet.of(COUNT, ranges)

const length = (claim: Claim | null) => (claim ? claim.end - claim.start : 0)

const positions = (claim: Claim) => Array.from({ length: length(claim) }, (_, offset) => claim.start + offset)

/** A stream that comes to the end of its claim at a steady rate. @returns when */
function fetchAll(crowd: Crowd, claim: Claim, options: { fromMs: number; bytesPerSec: number }): number {
  let nowMs = options.fromMs
  for (let index = claim.start; index < claim.end; index++) {
    for (let quarter = 0; quarter < 4; quarter++) {
      nowMs += (SEGMENT_BYTES / 4 / options.bytesPerSec) * 1000
      crowd.progressed(claim, SEGMENT_BYTES / 4, nowMs)
    }
    crowd.advance(claim, index + 1)
    crowd.fetched(index)
  }
  crowd.end(claim, nowMs)
  return nowMs
}

void t.test('ranks decide who fetches', async (t) => {
  await t.test('the lowest, as many as the budget allows; everybody comes to the same answer', async (t) => {
    const everybody = [...Array(10).keys()]
    for (const self of everybody) {
      const crowd = crowdOf(self, { others: everybody.filter((at) => at !== self) })
      t.same(crowd.fetchers(0), everybody.slice(0, 6).map(key))
      t.equal(crowd.streamShare(0), self < 6 ? 1 : 0)
      t.equal(crowd.claim(all, 0) !== null, self < 6)
    }
  })

  await t.test(
    'what others have is fetched again by who believes nobody about it, not what they are fetching',
    async (t) => {
      const crowd = crowdOf(0)
      say(crowd, 1, { fetched: [run(0, COUNT - 2)], claimed: [run(COUNT - 2, COUNT)] })
      const open = setOf(run(7, 9), run(COUNT - 1, COUNT))
      t.equal(crowd.claim(open, 0), null)
      const claim = crowd.claim(open, 0, { doubted: [8, COUNT - 1] })
      t.same([claim?.start, claim?.end], [8, 9])
    },
  )

  await t.test('who wants only a part of the content has one stream for it in any case', async (t) => {
    const crowd = crowdOf(9, { others: [0, 1, 2, 3, 4, 5, 6, 7, 8] })
    const part = setOf(run(7, 9))
    t.equal(crowd.claim(part, 0), null)
    const claim = crowd.claim(part, 0, { isPart: true })
    t.ok(claim && part.has(claim.start) && claim.end <= 9, 'and leaves none of it to those before it')
    t.equal(crowd.claim(part, 0, { isPart: true }), null, 'but not two')
    say(crowd, 0, { condition: 'wait' })
    t.equal(crowd.streamShare(0, true), 0, 'nor when the origin asked to be left alone')
    const undivided = crowdOf(9, { others: [0, 1, 2, 3, 4, 5, 6, 7, 8] })
    undivided.fetchUndivided()
    t.equal(undivided.streamShare(0, true), 0, 'nor of an origin without ranges')
  })

  await t.test('who are few share the budget, and all of it', async (t) => {
    for (let count = 1; count <= 6; count++) {
      const everybody = [...Array(count).keys()]
      const shares = everybody.map((self) =>
        crowdOf(self, { others: everybody.filter((at) => at !== self) }).streamShare(0),
      )
      t.equal(
        shares.reduce((sum, share) => sum + share),
        6,
        `${shares}`,
      )
      t.ok(Math.max(...shares) - Math.min(...shares) <= 1)
    }
    t.equal(crowdOf(0, { maxStreams: 4 }).streamShare(0), 4, 'but none has more streams than it opens')
  })

  await t.test("who leads says how many streams there are in all, and others' word does not count", async (t) => {
    const crowd = crowdOf(1, { others: [2] })
    say(crowd, 0, { streamBudget: 12 })
    say(crowd, 2, { streamBudget: 3 })
    crowd.fetchers(0)
    t.equal(crowd.ownState(0).streamBudget, 12)
    const lead = crowdOf(0)
    say(lead, 1, { streamBudget: 12 })
    lead.fetchers(0)
    t.equal(lead.ownState(0).streamBudget, 6)
  })

  await t.test('who only looks on neither fetches nor counts', async (t) => {
    const crowd = crowdOf(0, { others: [1, 2] })
    crowd.leave()
    t.same(crowd.fetchers(0), [key(1), key(2)])
    t.equal(crowd.claim(all, 0), null)
    t.equal(crowd.ownState(0).condition, 'done')
  })
})

void t.test('nothing is claimed before those who were asked have answered', async (t) => {
  await t.test('or left, or had their time', async (t) => {
    const crowd = crowdOf(0)
    crowd.join([key(1), key(2)], 0)
    t.equal(crowd.claim(all, 0), null)
    crowd.answered(key(1))
    t.equal(crowd.claim(all, 0), null)
    crowd.left(key(2), 0)
    t.not(crowd.claim(all, 0), null)
    const deaf = crowdOf(0)
    deaf.join([key(1)], 0)
    t.equal(deaf.claim(all, 200), null)
    t.not(deaf.claim(all, 300), null)
  })

  await t.test('and in a large branch not before ranks got about', async (t) => {
    const crowd = crowdOf(0)
    crowd.join(KEYS.slice(1), 0)
    for (const agent of KEYS) crowd.answered(agent)
    t.equal(crowd.claim(all, 100), null)
    t.not(crowd.claim(all, 500), null)
  })
})

void t.test('1. what a live fetcher claims, or fetched, is not claimed; nor what is not free', async () => {
  const range = fc
    .tuple(fc.nat(COUNT - 1), fc.integer({ min: 1, max: 80 }))
    .map(([start, size]) => run(start, Math.min(COUNT, start + size)))
  const other = fc.record({ claimed: fc.array(range, { maxLength: 3 }), fetched: fc.array(range, { maxLength: 3 }) })
  fc.assert(
    fc.property(fc.array(other, { maxLength: 6 }), fc.array(range), fc.nat(6), fc.nat(), (others, gaps, self, seed) => {
      const crowd = crowdOf(self, { seed })
      const taken = new PositionSet(COUNT)
      for (const [at, { claimed, fetched }] of others.entries()) {
        const states = [setOf(...claimed), setOf(...fetched)] as const
        for (const set of states) taken.addAll(set)
        say(crowd, at < self ? at : at + 1, { claimed: states[0].ranges(), fetched: states[1].ranges() })
      }
      const free = all.copy()
      for (const gap of gaps) free.deleteRange(gap)
      for (let claim = crowd.claim(free, 0); claim; claim = crowd.claim(free, 0)) {
        const isRight = positions(claim).every((index) => free.has(index) && !taken.has(index))
        if (!isRight || length(claim) === 0) return false
        free.deleteAll(crowd.ownClaims)
      }
      free.deleteAll(taken)
      return free.size === 0 || crowd.ownStreamCount > 0 || crowd.streamShare(0) === 0 || free.size < 7
    }),
    { numRuns: 500 },
  )
})

void t.test('2. what we claim and what we fetched are disjoint, and told as they are', async () => {
  const step = fc.record({
    verb: fc.constantFrom('claim', 'bytes', 'read', 'store', 'fail', 'end', 'lose', 'yield'),
    which: fc.nat(10),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const crowd = crowdOf(3, { others: [1, 2] })
      const [open, read, stored] = [new Set<Claim>(), new Set<number>(), new Set<number>()]
      let nowMs = 0
      for (const { verb, which } of steps) {
        nowMs += 10
        const claim = [...open][which % Math.max(1, open.size)]
        const index = [...read][which % Math.max(1, read.size)]
        if (verb === 'claim') {
          const free = all.copy()
          free.deleteAll(crowd.ownClaims)
          for (const at of stored) free.delete(at)
          const next = crowd.claim(free, nowMs)
          if (next) open.add(next)
        } else if (verb === 'bytes' && claim) {
          crowd.progressed(claim, 1000, nowMs)
        } else if (verb === 'read' && claim && claim.next < claim.end) {
          read.add(claim.next)
          crowd.advance(claim, claim.next + 1)
        } else if (verb === 'store' && index !== undefined) {
          read.delete(index)
          stored.add(index)
          crowd.fetched(index)
        } else if (verb === 'fail' && index !== undefined) {
          read.delete(index)
          crowd.release(index)
        } else if (verb === 'end' && claim) {
          open.delete(claim)
          crowd.end(claim, nowMs)
        } else if (verb === 'lose') {
          const lost = [...stored][which % Math.max(1, stored.size)]
          if (lost === undefined) continue
          stored.delete(lost)
          crowd.lost(lost)
        } else if (verb === 'yield') {
          say(crowd, 1, { claimed: [run(which * 50, which * 50 + 30)], atMs: nowMs })
          crowd.yields(nowMs)
        }
        const { claimed, fetched } = crowd.ownState(nowMs)
        const expected = new PositionSet(COUNT)
        for (const at of read) expected.add(at)
        for (const { next, end } of open) expected.addRange({ start: next, end })
        if (JSON.stringify(claimed) !== JSON.stringify(expected.ranges())) return false
        const had = setOf(...[...stored].map((at) => run(at, at + 1)))
        if (JSON.stringify(fetched) !== JSON.stringify(had.ranges())) return false
        had.deleteAll(expected)
        if (had.size !== stored.size) return false
      }
      return true
    }),
    { numRuns: 300 },
  )
})

void t.test('the size of a claim', async (t) => {
  await t.test('is small while nobody knows the rates, and half of the share of a stream later', async (t) => {
    const crowd = crowdOf(0, { others: [1] })
    const first = crowd.claim(all, 0)
    t.equal(length(first), 2)
    if (!first) return
    const nowMs = fetchAll(crowd, first, { fromMs: 0, bytesPerSec: 2 * SEGMENT_BYTES })
    say(crowd, 1, { claimed: [run(500, 502)], bytesPerSec: 18 * SEGMENT_BYTES, progressBytes: 1, atMs: nowMs })
    const open = setOf(run(2, 202))
    const sizes: number[] = []
    for (let claim = crowd.claim(open, nowMs); claim && sizes.length < 2; claim = crowd.claim(open, nowMs)) {
      sizes.push(length(claim))
      open.deleteAll(crowd.ownClaims)
    }
    // Of 200 positions this stream brings a tenth; half of that at most, and not much less.
    for (const size of sizes) t.ok(size >= 7 && size <= 12, `${sizes}`)
  })

  await t.test('is one in the end, and never beyond a bound', async (t) => {
    const crowd = crowdOf(0)
    const first = crowd.claim(all, 0)
    if (!first) throw new Error('nothing was claimed')
    const nowMs = fetchAll(crowd, first, { fromMs: 0, bytesPerSec: SEGMENT_BYTES })
    t.equal(length(crowd.claim(setOf(run(7, 8)), nowMs)), 1)
    t.ok(length(crowd.claim(setOf(run(8, COUNT)), nowMs)) <= 64)
  })

  await t.test('ends where something else serves a position', async (t) => {
    const crowd = crowdOf(0)
    t.same(
      [crowd.claim(setOf(run(5, 6), run(8, 20)), 0)].map((claim) => claim && run(claim.start, claim.end)),
      [run(5, 6)],
    )
  })
})

/** What agents claim that all see each other and the same, before any of them hears of it. */
function claimedAtOnce(agentCount: number, options: { open: PositionSet; seed: number }): number[] {
  const everybody = [...Array(agentCount).keys()]
  return everybody.flatMap((self) => {
    const others = everybody.filter((at) => at !== self)
    const claim = crowdOf(self, { seed: options.seed + self, others }).claim(options.open, 0)
    return claim ? positions(claim) : []
  })
}

void t.test('of those that see the same no two claim the same', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 6 }), fc.integer({ min: 24, max: COUNT }), fc.nat(), (count, size, seed) => {
      const claimed = claimedAtOnce(count, { open: setOf(run(0, size)), seed })
      return new Set(claimed).size === claimed.length && claimed.length >= count
    }),
  )
})

// Found: 3 fetchers, 2 positions; 6 fetchers, 7 or 13 positions. Runs that begin at random reach into the next share.
void t.test('of those that see the same no two claim the same, also when little is left', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 6 }), fc.integer({ min: 1, max: 24 }), fc.nat(), (count, size, seed) => {
      const claimed = claimedAtOnce(count, { open: setOf(run(100, 100 + size)), seed })
      return new Set(claimed).size === claimed.length && claimed.length > 0
    }),
  )
})

void t.test('of little that is left nothing waits for a fetcher that is busy', async (t) => {
  const little = setOf(run(10, 12))
  const last = { claimed: [run(20, 21)], streamCount: 1 }

  await t.test('who has nothing to do takes it', async (t) => {
    const crowd = crowdOf(3, { others: [4, 5] })
    for (const busy of [0, 1, 2]) say(crowd, busy, last)
    const claim = crowd.claim(little, 0)
    t.same([claim?.start, claim?.end], [10, 11])
    const next = crowdOf(4, { others: [3, 5] })
    for (const busy of [0, 1, 2]) say(next, busy, last)
    t.equal(next.claim(little, 0)?.start, 11, 'and the next the rest')
    const third = crowdOf(5, { others: [3, 4] })
    for (const busy of [0, 1, 2]) say(third, busy, last)
    t.equal(third.claim(little, 0), null, 'and nobody what is for others to take')
  })

  await t.test('of two, who has streams to spare takes all', async (t) => {
    const crowd = crowdOf(1)
    say(crowd, 0, { claimed: [run(20, 23)], streamCount: 3 })
    const claims = [crowd.claim(little, 0), crowd.claim(setOf(run(11, 12)), 0)]
    t.same(
      claims.map((claim) => claim?.start),
      [10, 11],
    )
  })
})

void t.test('3. who does nothing any more loses its claims, and the next rank steps in', async (t) => {
  const claimed = [run(0, COUNT)]
  /** Agent 6 is the seventh of seven; agent 0 claims everything. */
  const setUp = (rest: Partial<FetcherState> & { isDirect?: boolean } = {}) => {
    const crowd = crowdOf(6, { others: [1, 2, 3, 4, 5] })
    say(crowd, 0, { claimed, ...rest })
    t.notOk(crowd.fetchers(0).includes(key(6)))
    t.ok(crowd.isExpected(9, 0))
    return crowd
  }
  const isReplaced = (crowd: Crowd, nowMs: number) => {
    return !crowd.fetchers(nowMs).includes(key(0)) && !crowd.isExpected(9, nowMs)
  }

  await t.test('when its bytes stop coming', async (t) => {
    const crowd = setUp({ progressBytes: 5 })
    for (let nowMs = 1000; nowMs <= 5000; nowMs += 1000) {
      say(crowd, 0, { claimed, progressBytes: 5 + Math.min(nowMs, 3000), atMs: nowMs })
      t.notOk(isReplaced(crowd, nowMs + 500))
    }
    t.ok(isReplaced(crowd, 6200), 'whatever it says without progress')
    say(crowd, 0, { claimed, progressBytes: 9999, atMs: 6300 })
    t.notOk(isReplaced(crowd, 6300), 'until it goes on')
  })

  await t.test('when the first byte does not come, which may take longer', async (t) => {
    const crowd = setUp()
    t.notOk(isReplaced(crowd, 7000))
    t.ok(isReplaced(crowd, 9000))
  })

  await t.test('when it is only heard of, and falls silent', async (t) => {
    const crowd = setUp({ isDirect: false, progressBytes: 0 })
    t.notOk(isReplaced(crowd, 4500))
    t.ok(isReplaced(crowd, 5500))
  })

  await t.test('when it leaves', async (t) => {
    const crowd = setUp()
    crowd.left(key(0), 100)
    t.ok(isReplaced(crowd, 100))
  })

  await t.test('when it has no use of it any more', async (t) => {
    const crowd = setUp()
    say(crowd, 0, { condition: 'done', fetched: [run(0, 3)] })
    t.ok(isReplaced(crowd, 100))
    t.ok(crowd.isExpected(2, 100), 'what it fetched is about to come from others')
    t.notOk(crowd.isExpected(2, 6000), 'or else it is fetched again')
  })

  await t.test('when its own origin requests fail', async (t) => {
    const crowd = setUp()
    say(crowd, 0, { condition: 'local', claimed })
    t.ok(isReplaced(crowd, 100))
    t.ok(crowd.fetchers(100).includes(key(6)))
  })

  await t.test('when it has its turn and claims nothing; later it is tried again', async (t) => {
    const crowd = crowdOf(6, { others: [0] })
    for (const other of [1, 2, 3, 4, 5]) say(crowd, other, { claimed: [run(other, other + 1)], progressBytes: 1 })
    const isFetcher = (nowMs: number) => {
      for (const other of [1, 2, 3, 4, 5]) {
        say(crowd, other, { claimed: [run(other, other + 1)], progressBytes: nowMs, atMs: nowMs })
      }
      return crowd.fetchers(nowMs).includes(key(6))
    }
    t.notOk(isFetcher(100))
    t.notOk(isFetcher(1900))
    t.ok(isFetcher(2200))
    t.ok(isFetcher(7000))
    t.notOk(isFetcher(7400))
    t.ok(isFetcher(9600))
    say(crowd, 0, { claimed: [run(0, 1)], progressBytes: 1, atMs: 9700 })
    t.notOk(isFetcher(9800), 'and at once when it claims something')
  })
})

void t.test('when the origin asked one to wait, nobody claims anything', async (t) => {
  const crowd = crowdOf(0, { others: [1] })
  say(crowd, 2, { condition: 'wait' })
  t.equal(crowd.claim(all, 0), null)
  t.equal(crowd.claim(all, 60_000), null, 'however long')
  say(crowd, 2, { atMs: 60_000 })
  t.not(crowd.claim(all, 60_000), null)
  say(crowd, 2, { condition: 'wait', atMs: 60_000 })
  t.equal(crowd.claim(all, 60_000), null)
  crowd.left(key(2), 60_000)
  t.not(crowd.claim(all, 60_000), null, 'who is gone is waited for no longer')
  crowd.setCondition('wait')
  t.equal(crowd.claim(all, 60_000), null)
})

void t.test('what others had, and do not get about, is had once more when there is nothing else to do', async (t) => {
  const crowd = crowdOf(0)
  say(crowd, 1, { fetched: [run(4, 5)] })
  say(crowd, 1, { fetched: [run(4, 8)] })
  say(crowd, 2, { claimed: [run(6, 7)], streamCount: 1 })
  const missing = run(4, 8)
  const overdue = setOf(run(6, 8))
  t.equal(crowd.claim(setOf(missing), 0), null)
  t.ok(crowd.isIdle(0))
  t.match(crowd.claim(setOf(missing, run(20, 21)), 0, { overdue }), { start: 20, end: 21 }, 'first what nobody had')
  t.match(crowd.claim(setOf(missing), 0, { overdue }), { start: 7, end: 8 }, 'not what another has begun')
  t.notOk(crowd.isIdle(0))
  t.ok(crowd.hasFetchedWithUs(key(1), 7))
  t.notOk(crowd.hasFetchedWithUs(key(1), 8))
  t.notOk(crowd.hasFetchedWithUs(key(1), 4), 'it had that when we came')
  t.notOk(crowd.hasFetchedWithUs(key(9), 7))
})

void t.test('the idle go by rank', async (t) => {
  const crowd = crowdOf(4, { others: [0, 1, 2, 3, 5] })
  t.equal(crowd.idlePlace(0, new Set()), 4)
  say(crowd, 0, { claimed: [run(0, 1)] })
  say(crowd, 1, { condition: 'done' })
  t.equal(crowd.idlePlace(0, new Set([key(2)])), 1)
})

void t.test('who lags', async (t) => {
  const late = { claimed: [run(0, 40)], bytesPerSec: SEGMENT_BYTES / 10, progressBytes: 1, streamCount: 1 }
  const quick = { claimed: [run(40, 42)], bytesPerSec: 10 * SEGMENT_BYTES, progressBytes: 1, streamCount: 1 }
  const rest = setOf(run(0, 42))

  await t.test('loses half of what it has not begun, to the first that has nothing to do', async (t) => {
    const claims = [2, 3, 4].map((self) => {
      const crowd = crowdOf(self, { others: [2, 3, 4].filter((at) => at !== self) })
      say(crowd, 0, late)
      say(crowd, 1, quick)
      return crowd.claim(rest, 0)
    })
    t.same(
      claims.map((claim) => claim && run(claim.start, claim.end)),
      [run(20, 40), null, null],
    )
  })

  await t.test('is not one that is slow with all the others', async (t) => {
    const crowd = crowdOf(2)
    say(crowd, 0, late)
    say(crowd, 1, { ...quick, claimed: [run(40, 80)], bytesPerSec: SEGMENT_BYTES / 10 })
    t.equal(crowd.claim(rest, 0), null)
  })

  await t.test('with the line to itself shows what its own link gives, and loses even the last segment', async (t) => {
    const slow = { claimed: [run(0, 1)], bytesPerSec: SEGMENT_BYTES / 10, progressBytes: 1, streamCount: 1 }
    const crowd = crowdOf(2)
    say(crowd, 0, slow)
    t.equal(crowd.claim(setOf(run(0, 1)), 0), null, 'the others may have slowed it until a moment ago')
    say(crowd, 0, { ...slow, progressBytes: 2, atMs: 1900 })
    t.equal(crowd.claim(setOf(run(0, 1)), 1900), null)
    say(crowd, 0, { ...slow, progressBytes: 3, atMs: 2000 })
    const claim = crowd.claim(setOf(run(0, 1)), 2000)
    t.match(claim, { start: 0, end: 1 })
    t.notOk(crowd.yields(2000), 'although it has the higher rank')
    t.equal(length(claim), 1)
  })

  await t.test('is not waited for when it needs far longer than we would', async (t) => {
    const claimAt = (bytesPerSec: number) => {
      const crowd = crowdOf(2)
      const own = crowd.claimRest(100, 0, 102)
      const atMs = fetchAll(crowd, own, { fromMs: 0, bytesPerSec: 2 * SEGMENT_BYTES }) + 2000
      say(crowd, 0, { claimed: [run(0, 1)], bytesPerSec, progressBytes: SEGMENT_BYTES / 2, streamCount: 1, atMs })
      return crowd.claim(setOf(run(0, 1)), atMs)
    }
    t.match(claimAt(SEGMENT_BYTES / 5), { start: 0, end: 1 }, 'half a segment in 2.5 s: we need half a second')
    t.equal(claimAt(SEGMENT_BYTES / 3), null, 'in 1.5 s')
  })

  await t.test('is not one that needs little more than a moment for its last segment', async (t) => {
    const crowd = crowdOf(2)
    const quickEnough = { claimed: [run(0, 1)], bytesPerSec: SEGMENT_BYTES / 1.5, streamCount: 1 }
    for (let atMs = 0; atMs <= 3000; atMs += 500) {
      say(crowd, 0, { ...quickEnough, progressBytes: atMs + 1, atMs })
      t.equal(crowd.claim(setOf(run(0, 1)), atMs), null)
    }
  })

  await t.test('gives it up, also what it has begun, to a higher rank as well', async (t) => {
    const crowd = crowdOf(0)
    say(crowd, 1, { ...quick, claimed: [run(0, 2)] })
    const claim = crowd.claimRest(100, 0)
    for (let nowMs = 0; nowMs < 1000; nowMs += 50) crowd.progressed(claim, 5000, nowMs)
    t.notOk(crowd.yields(1000))
    say(crowd, 2, { claimed: [run(300, 364)], atMs: 1000 })
    t.ok(crowd.yields(1000))
    t.equal(claim.end, 300)
    say(crowd, 2, { claimed: [run(100, 164)], atMs: 1000 })
    t.ok(crowd.yields(1000))
    t.equal(claim.end, 100)
    t.same(crowd.ownState(1000).claimed, [])
  })
})

void t.test('when somebody else needs the line, what is slow is so for a good reason', async (t) => {
  const claimed = [run(0, 40)]
  const busy = {
    condition: 'busy',
    claimed,
    progressBytes: 5,
    bytesPerSec: SEGMENT_BYTES / 10,
    streamCount: 1,
  } as const

  await t.test('claims of a busy fetcher stand, however long nothing comes', async (t) => {
    const crowd = crowdOf(6, { others: [1, 2, 3, 4, 5] })
    for (let nowMs = 0; nowMs <= 120_000; nowMs += 1000) {
      say(crowd, 0, { ...busy, atMs: nowMs })
      for (const other of [1, 2, 3, 4, 5]) {
        say(crowd, other, { claimed: [run(99 + other, 100 + other)], progressBytes: nowMs, atMs: nowMs })
      }
      if (!crowd.isExpected(9, nowMs) || !crowd.fetchers(nowMs).includes(key(0))) t.fail(`not at ${nowMs}`)
    }
    t.notOk(crowd.fetchers(120_000).includes(key(6)), 'and nobody steps in')
    t.equal(crowd.claim(setOf(run(0, 40)), 120_000), null)
  })

  await t.test('but not of one that is gone, or that is only heard of and falls silent', async (t) => {
    const crowd = crowdOf(6)
    say(crowd, 0, busy)
    crowd.left(key(0), 100)
    t.notOk(crowd.isExpected(9, 100))
    const far = crowdOf(6)
    say(far, 0, { ...busy, isDirect: false })
    t.ok(far.isExpected(9, 4500))
    t.notOk(far.isExpected(9, 5500))
  })

  await t.test('it keeps its rank: who fetches, and who leads, is as it was', async (t) => {
    const everybody = [...Array(8).keys()]
    for (const self of [1, 5, 7]) {
      const crowd = crowdOf(self, { others: everybody.filter((at) => at !== self) })
      const before = [...crowd.fetchers(0)]
      say(crowd, 0, { ...busy, streamBudget: 9, atMs: 1000 })
      t.same([...crowd.fetchers(1000)].slice(0, 6), before)
      t.equal(crowd.ownState(1000).streamBudget, 9)
    }
    const own = crowdOf(0, { others: [1, 2, 3, 4, 5, 6] })
    own.setCondition('busy')
    t.equal(own.fetchers(0)[0], key(0), 'ourselves too')
    t.equal(own.ownState(0).condition, 'busy')
    t.not(own.claim(all, 0), null, 'who is busy still has its part')
  })

  const quick = { claimed: [run(40, 42)], bytesPerSec: 10 * SEGMENT_BYTES, progressBytes: 1, streamCount: 1 }
  const rest = setOf(run(0, 42))
  /** Agent 2 has nothing to do, agent 1 is quick, agent 0 late. */
  const idle = (late: Partial<FetcherState>) => {
    const crowd = crowdOf(2, { others: [3, 4] })
    say(crowd, 0, late)
    say(crowd, 1, quick)
    return crowd
  }

  await t.test('nothing is taken over from it because it lags', async (t) => {
    t.not(idle({ ...busy, condition: 'active' }).claim(rest, 0), null, 'as it would be otherwise')
    t.equal(idle(busy).claim(rest, 0), null)
  })

  await t.test('nor does it give anything up for that, except to who outranks it', async (t) => {
    for (const condition of ['active', 'busy'] as const) {
      const crowd = crowdOf(1)
      say(crowd, 2, { ...quick, claimed: [run(0, 2)] })
      const claim = crowd.claimRest(100, 0)
      crowd.setCondition(condition)
      for (let nowMs = 0; nowMs < 1000; nowMs += 50) crowd.progressed(claim, 5000, nowMs)
      say(crowd, 3, { claimed: [run(300, 364)], atMs: 1000 })
      t.equal(crowd.yields(1000), condition === 'active')
      t.equal(claim.end, condition === 'active' ? 300 : COUNT)
      say(crowd, 0, { claimed: [run(200, 264)], atMs: 1000 })
      t.ok(crowd.yields(1000))
      t.equal(claim.end, 200)
    }
  })

  await t.test('once it is active again all is as before, and its patience begins anew', async (t) => {
    const crowd = crowdOf(6, { others: [1, 2, 3, 4, 5] })
    say(crowd, 0, busy)
    say(crowd, 0, { ...busy, condition: 'active', atMs: 60_000 })
    t.ok(crowd.isExpected(9, 60_100), 'it has a moment to go on')
    t.ok(crowd.isExpected(9, 62_900))
    say(crowd, 0, { ...busy, condition: 'active', progressBytes: 6, atMs: 62_900 })
    t.ok(crowd.isExpected(9, 65_800))
    t.notOk(crowd.isExpected(9, 66_000), 'and then stalls like any other')
    t.not(idle({ ...busy, condition: 'active' }).claim(rest, 0), null)
    const own = crowdOf(0)
    own.setCondition('busy')
    const { sequence } = own.ownState(0)
    own.setCondition('active')
    t.ok(own.ownState(0).sequence > sequence, 'others hear of it')
    t.equal(own.urgentSequence, own.ownState(0).sequence, 'at once')
  })
})

void t.test('where claims overlap the higher rank yields, and what it has begun stays', async (t) => {
  const [first, second] = [crowdOf(0), crowdOf(1)]
  const [mine, other] = [first.claimRest(0, 0), second.claimRest(0, 0)]
  say(first, 1, second.ownState(0))
  say(second, 0, first.ownState(0))
  t.notOk(first.yields(0))
  t.equal(mine.end, COUNT)
  second.progressed(other, 1, 0)
  t.ok(second.yields(0))
  t.equal(other.end, 1)
  t.same(second.ownState(0).claimed, [run(0, 1)])
  t.notOk(second.yields(0), 'once')
  t.equal(second.urgentSequence, second.ownState(0).sequence, 'and others hear of it at once')
})

void t.test('hearsay', async (t) => {
  await t.test('never overrides what is heard at first hand', async (t) => {
    const crowd = crowdOf(1)
    say(crowd, 0, { claimed: [run(0, 9)] })
    t.notOk(say(crowd, 0, { claimed: [run(50, 60)], isDirect: false, sequence: Number.MAX_SAFE_INTEGER }))
    t.notOk(crowd.isExpected(55, 0))
    t.ok(crowd.isExpected(5, 0))
    crowd.left(key(0), 10)
    t.ok(say(crowd, 0, { claimed: [run(50, 60)], isDirect: false, sequence: Number.MAX_SAFE_INTEGER, atMs: 20 }))
    t.ok(crowd.isExpected(55, 20), 'but counts when there is no session any more')
    t.ok(say(crowd, 0, { claimed: [run(70, 80)], atMs: 30 }), 'its own word counts again, whatever was claimed for it')
    t.ok(crowd.isExpected(75, 30))
  })

  await t.test('that is old changes nothing', async (t) => {
    const crowd = crowdOf(1)
    t.ok(say(crowd, 0, { isDirect: false, sequence: 5, claimed: [run(0, 9)] }))
    t.notOk(say(crowd, 0, { isDirect: false, sequence: 5 }))
    t.notOk(say(crowd, 0, { isDirect: false, sequence: 4 }))
    t.ok(crowd.isExpected(5, 0))
  })

  await t.test('about ourselves is not believed', async (t) => {
    const crowd = crowdOf(1)
    t.notOk(say(crowd, 1, { isDirect: false, claimed: [run(0, COUNT)] }))
    t.not(crowd.claim(all, 0), null)
  })
})

void t.test('agents that are ignored are as if absent', async (t) => {
  const crowd = crowdOf(6, { others: [1, 2, 3, 4, 5] })
  say(crowd, 0, { claimed: [run(0, COUNT)] })
  crowd.ignore(new Set([key(0)]))
  t.notOk(crowd.fetchers(0).includes(key(0)))
  t.ok(crowd.fetchers(0).includes(key(6)))
  t.notOk(crowd.isExpected(5, 0))
  say(crowd, 0, { condition: 'wait' })
  t.not(crowd.claim(all, 0), null)
  crowd.ignore(new Set())
  t.equal(crowd.claim(all, 0), null, 'until they are not')
})

void t.test('4. of a large branch the lowest ranks are remembered, and who claims something', async (t) => {
  const keys = agentKeys(200)
  const crowd = crowdOf(0)
  const claimant = keys[199] ?? key(0)
  crowd.hear(stateOf(claimant, { claimed: [run(0, 1)] }), { isDirect: true }, 0)
  for (const agent of keys.slice(0, 199)) crowd.hear(stateOf(agent), { isDirect: true }, 0)
  const known = keys.filter((agent) => crowd.stateOf(agent) !== undefined)
  t.equal(known.length, MAX_MEMBERS)
  t.ok(known.includes(claimant))
  const others = keys.filter((agent) => agent !== key(0) && agent !== claimant)
  t.same(
    known.filter((agent) => agent !== claimant),
    others.slice(0, MAX_MEMBERS - 1),
  )
})

void t.test('a first GET that asked for everything', async (t) => {
  const setUp = (others: readonly number[]) => {
    const crowd = crowdOf(0, { others })
    const claim = crowd.claimRest(0, 0)
    crowd.advance(claim, 100)
    crowd.shareRest(claim, 0)
    return { crowd, claim }
  }

  await t.test('is left alone while nobody else is there', async (t) => {
    t.equal(setUp([]).claim.end, COUNT)
  })

  await t.test('leaves the others their part', async (t) => {
    const { crowd, claim } = setUp([1])
    t.ok(claim.end > 100 && claim.end < 200, `up to ${claim.end}`)
    t.notOk(crowd.ownClaims.has(claim.end))
  })

  await t.test('keeps everything when the origin does no ranges: it is the only stream there is', async (t) => {
    const crowd = crowdOf(0, { others: [1, 2] })
    crowd.fetchUndivided()
    const claim = crowd.claimRest(0, 0)
    crowd.shareRest(claim, 0)
    t.equal(claim.end, COUNT)
    t.same(crowd.fetchers(0), [key(0)])
    const other = crowdOf(1, { others: [2] })
    other.fetchUndivided()
    say(other, 0, { claimed: [run(0, COUNT)], streamBudget: 1 })
    t.equal(other.streamShare(0), 0)
  })
})

void t.test('what was fetched and is lost may be fetched again', async (t) => {
  const crowd = crowdOf(0)
  const claim = crowd.claimRest(0, 0)
  crowd.advance(claim, 1)
  crowd.fetched(0)
  crowd.end(claim, 0)
  t.same(crowd.ownState(0).fetched, [run(0, 1)])
  crowd.lost(0)
  t.same(crowd.ownState(0).fetched, [])
})

void t.test('agents that talk', async (t) => {
  await t.test('at once fetch every position once, however many they are and whenever they come', async () => {
    const size = fc.integer({ min: 1, max: 150 })
    const starts = fc.array(fc.nat(2000), { minLength: 2, maxLength: 6 })
    fc.assert(
      fc.property(size, starts, fc.nat(), (segmentCount, startsMs, seed) => {
        const branch = new MiniBranch(startsMs.length, { segmentCount, seed })
        const isDone = branch.run(300_000, () => {
          for (const [at, agent] of branch.agents.entries()) {
            if (!agent.hasStarted && branch.nowMs >= (startsMs[at] ?? 0)) agent.start()
          }
          return branch.isDone && branch.agents.every((agent) => agent.hasStarted)
        })
        return isDone && branch.originCounts.every((count) => count === 1)
      }),
      { numRuns: 60 },
    )
  })

  await t.test('late, in pieces of a line, or while some die, fetch every position in the end', async () => {
    const agent = fc.record({
      startMs: fc.nat(2000),
      diesAtMs: fc.option(fc.nat(6000)),
      streamBytesPerSec: fc.integer({ min: SEGMENT_BYTES / 4, max: 8 * SEGMENT_BYTES }),
    })
    const arbitrary = fc.record({
      segmentCount: fc.integer({ min: 1, max: 100 }),
      agents: fc.array(agent, { minLength: 2, maxLength: 6 }),
      maxDelayMs: fc.constantFrom(0, 20, 300, 2000),
      isLine: fc.boolean(),
      seed: fc.nat(),
    })
    fc.assert(
      fc.property(arbitrary, ({ segmentCount, agents, maxDelayMs, isLine, seed }) => {
        const delay = seededRandom(seed)
        const branch: MiniBranch = new MiniBranch(agents.length, {
          segmentCount,
          seed,
          delayMs: () => delay() * maxDelayMs,
          ...(isLine ? { isConnected: (one: number, other: number) => Math.abs(one - other) === 1 } : {}),
        })
        for (const [at, { streamBytesPerSec }] of agents.entries())
          branch.agent(at).streamBytesPerSec = streamBytesPerSec
        // One stays alive, or there is nobody to finish.
        return branch.run(900_000, () => {
          for (const [at, { startMs, diesAtMs }] of agents.entries()) {
            const agent = branch.agent(at)
            if (!agent.hasStarted && branch.nowMs >= startMs) agent.start()
            if (at > 0 && diesAtMs !== null && agent.isAlive && branch.nowMs >= diesAtMs) agent.die()
          }
          return branch.isDone
        })
      }),
      { numRuns: 60 },
    )
  })
})
