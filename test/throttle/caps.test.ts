import fc from 'fast-check'
import t from 'tap'
import { loadConfig } from '../../src/config/load.ts'
import {
  type CapCircumstances,
  type CapSettings,
  jobCap,
  lanCap,
  NO_CAP,
  serveCap,
  strictest,
  WanCaps,
} from '../../src/throttle/caps.ts'
import { gate } from '../../src/throttle/cost.ts'
import type { WeeklyWindow } from '../../src/throttle/schedule.ts'
import { WEEKDAYS } from '../../src/throttle/wall-clock.ts'

const NONE: CapSettings = {
  wanMaxBytesPerSec: null,
  wanMaxRatio: null,
  branchWanMaxBytesPerSec: null,
  schedule: [],
  maintenance: [],
  timeZone: 'UTC',
}
const MONDAY_NOON = Date.parse('2026-11-23T12:00Z')

function daily(span: string, limit: Partial<WeeklyWindow> = {}): WeeklyWindow {
  const [from = '', to = ''] = span.split('-')
  return { days: WEEKDAYS, from, to, wanMaxBytesPerSec: null, wanMaxRatio: null, ...limit }
}

function capOf(settings: Partial<CapSettings>, circumstances: Partial<CapCircumstances> = {}) {
  const caps = new WanCaps({ ...NONE, ...settings })
  const { maxBytesPerSec, reason } = caps.at({
    nowMs: MONDAY_NOON,
    capacityBytesPerSec: null,
    fetcherCount: 1,
    ...circumstances,
  })
  return [maxBytesPerSec, reason?.code, reason?.text, reason?.untilMs]
}

await t.test('without settings nothing caps, and there is no reason', async (t) => {
  t.same(new WanCaps(NONE).at({ nowMs: 0, capacityBytesPerSec: null, fetcherCount: 1 }), NO_CAP)
  t.same(NO_CAP, { maxBytesPerSec: null, reason: null })
})

await t.test('the configuration is taken as it is', async (t) => {
  const overrides = {
    'throttle.schedule': 'mon-fri 08:00-18:00 2MB/s; sat 10:00-12:00 50%',
    'throttle.timeZone': 'Europe/Berlin',
    'throttle.onBattery': 'pause',
  }
  const { config } = await loadConfig({ file: null, env: {}, homeDir: '/', isRoot: false, overrides })
  const caps = new WanCaps(config.throttle)
  const { maxBytesPerSec, reason } = caps.at({ nowMs: MONDAY_NOON, capacityBytesPerSec: null, fetcherCount: 1 })
  t.same([maxBytesPerSec, reason?.text], [2e6, 'the schedule, until 18:00 (Europe/Berlin)'])
  const battery = { cost: 'unknown', power: 'battery', settings: config.throttle } as const
  t.match(gate({ ...battery, priority: 'normal' }), { isAllowed: false, reason: { code: 'battery' } })
})

await t.test('the smallest cap is in force, and is the reason', async (t) => {
  const settings = { wanMaxBytesPerSec: 5e6, schedule: [daily('08:00-18:00', { wanMaxBytesPerSec: 2e6 })] }
  const until = MONDAY_NOON + 6 * 3600_000
  t.same(capOf(settings), [2e6, 'schedule', 'the schedule, until 18:00 (UTC)', until])
  t.same(capOf(settings, { jobMaxBytesPerSec: 1e6 }), [1e6, 'job-cap', 'the limit of this job', null])
  t.same(capOf(settings, { nowMs: until }), [5e6, 'agent-cap', 'throttle.wanMaxBytesPerSec', null])
})

await t.test('a schedule loosens nothing', async (t) => {
  const settings = { wanMaxBytesPerSec: 1e6, schedule: [daily('08:00-18:00', { wanMaxBytesPerSec: 2e6 })] }
  t.same(capOf(settings).slice(0, 2), [1e6, 'agent-cap'])
  t.same(capOf({ ...settings, schedule: [daily('08:00-18:00')] }).slice(0, 2), [1e6, 'agent-cap'])
})

await t.test('a share binds once the capacity of the line is known; a share of nothing stops before', async (t) => {
  t.same(capOf({ wanMaxRatio: 0.5 }).slice(0, 2), [null, undefined])
  t.same(capOf({ wanMaxRatio: 0.5 }, { capacityBytesPerSec: 3e6 }).slice(0, 3), [
    1.5e6,
    'agent-cap',
    'throttle.wanMaxRatio',
  ])
  t.same(capOf({ wanMaxRatio: 0 }).slice(0, 2), [0, 'agent-cap'])
  const schedule = [daily('08:00-18:00', { wanMaxRatio: 0.1 })]
  t.same(capOf({ schedule }).slice(0, 2), [null, undefined])
  t.same(capOf({ schedule }, { capacityBytesPerSec: 3e6 }).slice(0, 2), [3e5, 'schedule'])
})

await t.test('the cap of the branch is divided by those who fetch', async (t) => {
  const settings = { branchWanMaxBytesPerSec: 6e6 }
  t.same(capOf(settings).slice(0, 3), [6e6, 'branch-cap', 'throttle.branchWanMaxBytesPerSec'])
  t.same(capOf(settings, { fetcherCount: 4 }).slice(0, 3), [
    1.5e6,
    'branch-cap',
    'throttle.branchWanMaxBytesPerSec, shared by 4 agents',
  ])
  t.equal(capOf(settings, { fetcherCount: 0 })[0], 6e6, 'who asks is one of them')
  t.equal(capOf({ branchWanMaxBytesPerSec: 3 }, { fetcherCount: 8 })[0], 1, 'a small part is slow and does not stop')
  t.equal(capOf({ branchWanMaxBytesPerSec: 0 }, { fetcherCount: 8 })[0], 0)
})

await t.test('maintenance replaces the caps of agent, branch and schedule, and not that of a job', async (t) => {
  const settings = {
    wanMaxBytesPerSec: 0,
    branchWanMaxBytesPerSec: 0,
    schedule: [daily('00:00-24:00', { wanMaxBytesPerSec: 0 })],
    maintenance: [daily('11:00-13:00')],
  }
  t.same(capOf(settings)[0], null)
  t.same(capOf(settings, { jobMaxBytesPerSec: 7 }).slice(0, 2), [7, 'job-cap'])
  const maintenance = [daily('11:00-13:00', { wanMaxBytesPerSec: 9e6 })]
  t.same(capOf({ ...settings, maintenance }), [
    9e6,
    'maintenance',
    'the maintenance window, until 13:00 (UTC)',
    MONDAY_NOON + 3600_000,
  ])
})

await t.test('every cap that maintenance lifts ends when maintenance begins', async (t) => {
  const maintenance = [daily('14:00-15:00')]
  const until = MONDAY_NOON + 2 * 3600_000
  for (const settings of [
    { wanMaxBytesPerSec: 0 },
    { wanMaxRatio: 0 },
    { branchWanMaxBytesPerSec: 0 },
    { schedule: [daily('08:00-18:00', { wanMaxBytesPerSec: 0 })] },
    { schedule: [daily('00:00-24:00', { wanMaxBytesPerSec: 0 })] },
  ]) {
    const [max, , text, untilMs] = capOf({ ...settings, maintenance })
    t.equal(max, 0)
    t.match(text, /, until 14:00 \(UTC\)$/)
    t.equal(untilMs, until)
  }
  t.equal(capOf({ schedule: [daily('08:00-12:30', { wanMaxBytesPerSec: 0 })], maintenance })[3], until - 5400_000)
})

await t.test('of two that stop, the one that lasts is told', async (t) => {
  const schedule = [daily('08:00-18:00', { wanMaxBytesPerSec: 0 })]
  t.same(capOf({ schedule, wanMaxBytesPerSec: 0 }).slice(1), ['agent-cap', 'throttle.wanMaxBytesPerSec', null])
})

await t.test('the LAN has caps of its own', async (t) => {
  t.same(lanCap(null), NO_CAP)
  t.match(lanCap(5), { maxBytesPerSec: 5, reason: { code: 'lan-cap', untilMs: null } })
  t.match(serveCap(0), { maxBytesPerSec: 0, reason: { code: 'serve-cap' } })
  t.match(strictest([NO_CAP, lanCap(5), jobCap(4), jobCap(null)]), { maxBytesPerSec: 4, reason: { code: 'job-cap' } })
  t.same(strictest([]), NO_CAP)
})

await t.test('no cap that is given is ever passed, and a cap always has a reason', async () => {
  const rate = fc.option(fc.nat(10_000), { nil: null })
  const ratio = fc.option(fc.constantFrom(0, 0.01, 0.5, 1), { nil: null })
  fc.assert(
    fc.property(
      fc.record({ wan: rate, branch: rate, job: rate, scheduled: rate, share: ratio, capacity: rate }),
      fc.integer({ min: 1, max: 8 }),
      ({ wan, branch, job, scheduled, share, capacity }, fetcherCount) => {
        const cap = new WanCaps({
          ...NONE,
          wanMaxBytesPerSec: wan,
          wanMaxRatio: share,
          branchWanMaxBytesPerSec: branch,
          schedule: [daily('00:00-24:00', { wanMaxBytesPerSec: scheduled })],
        }).at({ nowMs: 0, capacityBytesPerSec: capacity, fetcherCount, jobMaxBytesPerSec: job })
        const given = [wan, job, scheduled].filter((each) => each !== null)
        if (branch !== null) given.push(Math.max(Math.min(1, branch), branch / fetcherCount))
        if (share === 0) given.push(0)
        else if (share !== null && capacity !== null) given.push(Math.max(Math.min(1, capacity), capacity * share))
        if (given.length === 0) return cap.maxBytesPerSec === null && cap.reason === null
        if (cap.maxBytesPerSec === null) return false
        return cap.maxBytesPerSec <= Math.min(...given) && (cap.maxBytesPerSec === 0) === (Math.min(...given) === 0)
      },
    ),
  )
})
