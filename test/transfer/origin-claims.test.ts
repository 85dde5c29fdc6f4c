import t from 'tap'
import type { AgentKey } from '../../src/content/ids.ts'
import { PositionSet } from '../../src/content/position-set.ts'
import { SEGMENT_BYTES, type SegmentRange } from '../../src/content/segmentation.ts'
import type { Hold } from '../../src/throttle/wan-governor.ts'
import type { FetchOptions, OriginFetcher } from '../../src/transfer/fetch-origin.ts'
import { OriginClaims } from '../../src/transfer/origin-claims.ts'
import type { SharedResource } from '../../src/transfer/shared-resource.ts'
import { settled, VirtualClock } from '../support/virtual-clock.ts'
import { agentKeys, crowdFor, stateOf } from '../swarm/mini-branch.ts'

const COUNT = 100
const [SELF, OTHER] = agentKeys(2) as [AgentKey, AgentKey]
const URGENT: Hold = { code: 'urgent-work', text: 'work of priority high goes first', untilMs: null }
const CAP: Hold = { code: 'schedule', text: 'the schedule, until 18:00', untilMs: 123 }

interface Fetch {
  readonly range: SegmentRange
  readonly options: FetchOptions
  readonly end: () => void
}

/** A transfer that has nothing yet, an origin that sends what the test says, and a governor that holds when told. */
function setUp(options: { isAlone?: boolean; canRange?: boolean; wanted?: PositionSet } = {}) {
  const clock = new VirtualClock()
  const crowd = crowdFor(SELF, { segmentCount: COUNT })
  crowd.join([], clock.atMs)
  const holdings = new PositionSet(COUNT)
  const wanted = options.wanted ?? PositionSet.full(COUNT)
  const missing = wanted.copy()
  const fetches: Fetch[] = []
  const fetcher = {
    canRange: options.canRange ?? true,
    pause: () => null,
    failed: () => t.fail('a fetch that is given up has not failed'),
    fetch: (range: SegmentRange, fetchOptions: FetchOptions) =>
      new Promise<void>((resolve, reject) => {
        fetches.push({ range, options: fetchOptions, end: resolve })
        fetchOptions.signal.addEventListener('abort', () => reject(fetchOptions.signal.reason))
      }),
  }
  const shared = {
    crowd,
    holdings,
    draft: { lengthBytes: COUNT * SEGMENT_BYTES, segmentCount: COUNT, disputed: [] },
    claims: new Map(),
  }
  const wan = {
    current: null as Hold | null,
    isLineBusy: false,
    staleMs: Number.NEGATIVE_INFINITY,
    hold: () => wan.current,
    isBusy: () => wan.isLineBusy,
    staleBeforeMs: () => wan.staleMs,
  }
  const holds: Hold[] = []
  const landed: [number, boolean][] = []
  const tasks: Promise<void>[] = []
  const claims = new OriginClaims(
    {
      fetcher: fetcher as unknown as OriginFetcher,
      shared: shared as unknown as SharedResource,
      clock,
      wan,
      positions: {
        overdue: new PositionSet(COUNT),
        free: () => {
          const free = missing.copy()
          free.deleteAll(crowd.ownClaims)
          return free
        },
        isAlone: () => options.isAlone ?? true,
        take: (index) => missing.delete(index),
        land: (index, isDelivered) => {
          landed.push([index, isDelivered])
          if (!isDelivered) missing.add(index)
        },
        commit: async (index) => {
          holdings.add(index)
          return true
        },
        spawn: (run) => tasks.push(run()),
        onRetry: () => t.fail('nor is it tried again for a reason of the origin'),
        onHold: (hold) => holds.push(hold),
      },
    },
    {
      owner: {},
      wanted,
      priority: 'normal',
      signal: new AbortController().signal,
      onChange: () => {},
    },
  )
  /** Looks as often as a transfer does. */
  const pass = async (durationMs: number) => {
    for (let passedMs = 0; passedMs < durationMs; passedMs += 250) {
      await clock.pass(250)
      claims.update()
      await settled()
    }
  }
  const condition = () => crowd.ownState(clock.atMs).condition
  const claimed = () => crowd.ownState(clock.atMs).claimed
  return { clock, crowd, wan, claims, fetches, holds, landed, missing, pass, condition, claimed }
}

await t.test('while it is held from the start nothing is claimed, and it is said once for each reason', async (t) => {
  const { wan, claims, fetches, holds, pass, condition, claimed } = setUp()
  wan.current = URGENT
  claims.update()
  await pass(10_000)
  t.equal(fetches.length, 0)
  t.same(claimed(), [])
  t.equal(condition(), 'local', 'others may have the work')
  t.same(holds, [URGENT])
  wan.current = CAP
  await pass(2000)
  t.same(holds, [URGENT, CAP])
  t.equal(fetches.length, 0)
  wan.current = null
  claims.update()
  t.equal(fetches.length, 1, 'and it goes on at once')
  t.equal(condition(), 'active')
  t.equal(holds.length, 2)
})

await t.test('a connection is stale when it was opened before the governor says so', async (t) => {
  const { wan, claims, fetches } = setUp()
  claims.update()
  const isStale = fetches[0]?.options.isStale
  t.equal(isStale?.(1000), false)
  wan.staleMs = 2000
  t.equal(isStale?.(1000), true)
  t.equal(isStale?.(2000), false)
})

await t.test('a short hold stops nothing that runs', async (t) => {
  const { wan, claims, fetches, pass, condition, claimed } = setUp()
  claims.update()
  const [first] = fetches
  wan.current = URGENT
  await pass(2500)
  t.equal(condition(), 'busy', 'slow for a reason that binds all')
  t.notOk(first?.options.signal.aborted)
  t.same(claimed(), [{ start: 0, end: COUNT }])
  wan.current = null
  await pass(500)
  t.equal(condition(), 'active')
  wan.current = URGENT
  await pass(2500)
  t.notOk(first?.options.signal.aborted, 'each is short by itself')
  wan.current = null
  await pass(250)
  t.equal(fetches.length, 1)
})

await t.test('a long hold gives up what runs, which others may have then, and goes on when it ends', async (t) => {
  const { wan, claims, fetches, landed, missing, pass, condition, claimed } = setUp()
  claims.update()
  const [first] = fetches
  if (!first) throw new Error('nothing was fetched')
  first.options.onBytes(SEGMENT_BYTES)
  first.options.onPosition(1)
  await first.options.onSegment(0, new Uint8Array(0))
  t.ok(first.options.wants(1), 'it is at the second position')
  wan.current = URGENT
  await pass(3000)
  t.notOk(first.options.signal.aborted)
  await pass(1000)
  t.ok(first.options.signal.aborted)
  t.equal(condition(), 'local')
  t.same(claimed(), [])
  t.same(landed, [
    [0, true],
    [1, false],
  ])
  t.ok(missing.has(1), 'what was under way is missing again')
  await pass(60_000)
  t.equal(fetches.length, 1)
  wan.current = null
  claims.update()
  t.equal(fetches[1]?.range.start, 1, 'it goes on where it was')
  t.equal(condition(), 'active')
})

await t.test('of several streams all are given up, and in a branch others may claim what they had', async (t) => {
  const { clock, crowd, wan, claims, fetches, pass, claimed, condition } = setUp({ isAlone: false })
  crowd.hear(stateOf(OTHER), { isDirect: true }, clock.atMs)
  claims.update()
  t.ok(fetches.length > 1)
  const { length } = fetches
  wan.current = CAP
  await pass(1000)
  t.equal(fetches.length, length, 'no further claims')
  await pass(3000)
  t.ok(fetches.every(({ options }) => options.signal.aborted))
  t.same(claimed(), [])
  t.equal(condition(), 'local')
})

await t.test('when only the line is busy it says so, and fetches as it may', async (t) => {
  const { wan, claims, fetches, holds, pass, condition } = setUp()
  wan.isLineBusy = true
  claims.update()
  await pass(20_000)
  t.equal(fetches.length, 1)
  t.notOk(fetches[0]?.options.signal.aborted)
  t.equal(condition(), 'busy')
  t.equal(holds.length, 0)
  wan.isLineBusy = false
  await pass(250)
  t.equal(condition(), 'active')
})

await t.test('of what only a part is wanted, nothing else is claimed', async (t) => {
  const wanted = PositionSet.of(COUNT, [
    { start: 10, end: 12 },
    { start: 40, end: 41 },
  ])
  await t.test('alone: one run after the other', async (t) => {
    const { claims, fetches, claimed } = setUp({ wanted })
    claims.update()
    t.same(
      fetches.map(({ range }) => range),
      [{ start: 10, end: 12 }],
    )
    t.same(claimed(), [{ start: 10, end: 12 }])
  })

  await t.test('of an origin without ranges: one stream to the last of it, and others may have what it passes', (t) => {
    const { claims, fetches, claimed } = setUp({ wanted, canRange: false })
    claims.update()
    t.same(
      fetches.map(({ range }) => range),
      [{ start: 10, end: 41 }],
    )
    t.same(claimed(), [
      { start: 10, end: 12 },
      { start: 40, end: 41 },
    ])
    t.end()
  })

  await t.test('in a branch: all of it, whoever ranks before us', (t) => {
    const { clock, crowd, claims, fetches } = setUp({ wanted, isAlone: false })
    crowd.hear(stateOf(OTHER), { isDirect: true }, clock.atMs)
    claims.update()
    t.same(
      fetches.map(({ range }) => range.start).sort((a, b) => a - b),
      [10, 11, 40],
    )
    t.end()
  })

  await t.test('and when others have it, we say that nobody need leave us a share', async (t) => {
    const { clock, crowd, claims, missing, pass, condition } = setUp({ wanted, isAlone: false })
    crowd.hear(stateOf(OTHER), { isDirect: true }, clock.atMs)
    missing.clear()
    claims.update()
    t.equal(condition(), 'local')
    missing.add(40)
    await pass(250)
    t.equal(condition(), 'active')
  })
})
