import fc from 'fast-check'
import t from 'tap'
import { WeeklySchedule, type WeeklyWindow } from '../../src/throttle/schedule.ts'
import { WallClock, WEEKDAYS, type Weekday } from '../../src/throttle/wall-clock.ts'

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS
const WORK_DAYS = WEEKDAYS.slice(0, 5)

function window(days: readonly Weekday[], span: string, wanMaxBytesPerSec: number | null = 1e6): WeeklyWindow {
  const [from = '', to = ''] = span.split('-')
  return { days, from, to, wanMaxBytesPerSec, wanMaxRatio: null }
}

function scheduleOf(windows: readonly WeeklyWindow[], timeZone: string | null = 'UTC'): WeeklySchedule {
  return new WeeklySchedule(windows, new WallClock(timeZone))
}

/** The cap in force, and the end of it in ISO; `null` for no window. */
function ask(schedule: WeeklySchedule, at: string): [number | null | undefined, string | null] {
  const { limit, untilMs } = schedule.at(Date.parse(at))
  return [limit?.wanMaxBytesPerSec, untilMs === null ? null : new Date(untilMs).toISOString().slice(0, 16)]
}

await t.test('a window begins with its first minute and ends before its last', async (t) => {
  const schedule = scheduleOf([window(WORK_DAYS, '08:00-18:00')])
  // 2026-11-23 is a Monday.
  t.same(ask(schedule, '2026-11-23T07:59:59.999Z'), [undefined, '2026-11-23T08:00'])
  t.same(ask(schedule, '2026-11-23T08:00:00Z'), [1e6, '2026-11-23T18:00'])
  t.same(ask(schedule, '2026-11-23T17:59:59.999Z'), [1e6, '2026-11-23T18:00'])
  t.same(ask(schedule, '2026-11-23T18:00:00Z'), [undefined, '2026-11-24T08:00'])
  t.same(ask(schedule, '2026-11-27T18:00:00Z'), [undefined, '2026-11-30T08:00'], 'over the weekend')
})

await t.test('a window past midnight belongs to the day it begins on, also from Sunday to Monday', async (t) => {
  const schedule = scheduleOf([window(['fri', 'sun'], '22:00-06:00')])
  t.same(ask(schedule, '2026-11-28T05:59:00Z'), [1e6, '2026-11-28T06:00'], 'Saturday morning')
  t.same(ask(schedule, '2026-11-28T22:00:00Z'), [undefined, '2026-11-29T22:00'], 'not Saturday night')
  t.same(ask(schedule, '2026-11-30T00:00:00Z'), [1e6, '2026-11-30T06:00'], 'Monday morning')
})

await t.test('the later window of the list rules where two overlap', async (t) => {
  const schedule = scheduleOf([window(WEEKDAYS, '08:00-18:00', 1e6), window(WEEKDAYS, '12:00-13:00', null)])
  t.same(ask(schedule, '2026-11-23T11:00:00Z'), [1e6, '2026-11-23T12:00'])
  t.same(ask(schedule, '2026-11-23T12:00:00Z'), [null, '2026-11-23T13:00'])
  t.same(ask(schedule, '2026-11-23T13:00:00Z'), [1e6, '2026-11-23T18:00'])
})

await t.test('windows of one limit that touch are one', async (t) => {
  const schedule = scheduleOf([window(WEEKDAYS, '22:00-24:00', 0), window(WEEKDAYS, '00:00-06:00', 0)])
  t.same(ask(schedule, '2026-11-23T23:00:00Z'), [0, '2026-11-24T06:00'])
})

await t.test('what never changes has no end, and needs no zone', async (t) => {
  t.same(scheduleOf([], 'Not/AZone').at(0), { limit: null, untilMs: null })
  t.same(ask(scheduleOf([window(WEEKDAYS, '00:00-24:00', 5)], 'Not/AZone'), '2026-01-01T00:00Z'), [5, null])
})

await t.test('summer time: the clock on the wall counts', async (t) => {
  const berlin = scheduleOf([window(WEEKDAYS, '08:00-18:00')], 'Europe/Berlin')
  t.same(ask(berlin, '2026-03-28T12:00Z'), [1e6, '2026-03-28T17:00'])
  t.same(ask(berlin, '2026-03-28T18:00Z'), [undefined, '2026-03-29T06:00'], 'the clock goes forward in between')
  t.same(ask(berlin, '2026-10-24T18:00Z'), [undefined, '2026-10-25T07:00'], 'and back')
})

await t.test('an hour that is skipped has no window, one that is repeated has it twice', async (t) => {
  const skipped = scheduleOf([window(['sun'], '02:00-03:00')], 'Europe/Berlin')
  t.same(ask(skipped, '2026-03-29T00:30Z'), [undefined, '2026-04-05T00:00'], 'a week later')
  const cut = scheduleOf([window(['sun'], '01:30-02:30')], 'Europe/Berlin')
  t.same(ask(cut, '2026-03-29T00:30Z'), [1e6, '2026-03-29T01:00'], 'ends when the clock jumps over its end')
  const begun = scheduleOf([window(['sun'], '02:30-04:00')], 'Europe/Berlin')
  t.same(ask(begun, '2026-03-29T00:30Z'), [undefined, '2026-03-29T01:00'], 'begins when it jumps over its beginning')
  const twice = scheduleOf([window(['sun'], '02:15-02:45')], 'Europe/Berlin')
  t.same(ask(twice, '2026-10-25T00:15Z'), [1e6, '2026-10-25T00:45'])
  t.same(ask(twice, '2026-10-25T00:45Z'), [undefined, '2026-10-25T01:15'], 'again, an hour later')
  t.same(ask(twice, '2026-10-25T01:15Z'), [1e6, '2026-10-25T01:45'])
  const through = scheduleOf([window(['sun'], '02:00-03:00')], 'Europe/Berlin')
  t.same(ask(through, '2026-10-25T00:00Z'), [1e6, '2026-10-25T02:00'], 'two hours long')
})

await t.test('zones that are not whole hours, or lost a day', async (t) => {
  t.same(ask(scheduleOf([window(WEEKDAYS, '08:00-18:00')], 'Asia/Kathmandu'), '2026-11-23T02:14Z'), [
    undefined,
    '2026-11-23T02:15',
  ])
  // Samoa had no Friday 2011-12-30.
  const samoa = scheduleOf([window(['fri'], '08:00-18:00')], 'Pacific/Apia')
  t.same(ask(samoa, '2011-12-30T09:00Z'), [undefined, '2012-01-05T18:00'])
})

await t.test('the answer is remembered until it ends, and forgotten when the clock is put back', async (t) => {
  const schedule = scheduleOf([window(WEEKDAYS, '08:00-18:00')])
  const noon = Date.parse('2026-11-23T12:00Z')
  t.equal(schedule.at(noon), schedule.at(noon + 3600_000))
  t.same(ask(schedule, '2026-11-23T18:00Z'), [undefined, '2026-11-24T08:00'])
  t.same(ask(schedule, '2026-11-22T12:00Z'), [1e6, '2026-11-22T18:00'])
})

const ZONES = [
  'UTC',
  'Europe/Berlin',
  'America/New_York',
  'America/St_Johns',
  'Australia/Lord_Howe',
  'Asia/Kathmandu',
  'Africa/Casablanca',
  'Pacific/Apia',
  'Pacific/Chatham',
  'America/Sao_Paulo',
]

const time = fc.integer({ min: 0, max: 1439 }).map((minute) => {
  const two = (value: number) => String(value).padStart(2, '0')
  return `${two(Math.floor(minute / 60))}:${two(minute % 60)}`
})
// Half of them at times when clocks are changed.
const anyTime = fc.oneof(time, fc.constantFrom('00:00', '01:00', '01:30', '02:00', '02:30', '03:00', '23:59', '00:30'))
const anyWindow: fc.Arbitrary<WeeklyWindow> = fc
  .record({
    days: fc.subarray([...WEEKDAYS], { minLength: 1 }),
    from: anyTime,
    to: fc.oneof(anyTime, fc.constant('24:00')),
    wanMaxBytesPerSec: fc.constantFrom(null, 0, 1000, 2000),
    wanMaxRatio: fc.constant(null),
  })
  .filter(({ from, to }) => from !== to)

/** Days around which clocks were or will be changed, or a whole day was skipped. */
const CHANGES = [
  '2026-03-29',
  '2026-10-25',
  '2026-03-08',
  '2026-11-01',
  '2026-04-05',
  '2026-10-04',
  '2026-02-15',
  '2026-03-22',
  '2011-12-30',
  '2018-02-18',
].map((day) => Date.parse(`${day}T00:00Z`))
const anyMoment = fc.oneof(
  fc.integer({ min: Date.parse('2000-01-01'), max: Date.parse('2040-01-01') }),
  fc
    .tuple(fc.constantFrom(...CHANGES), fc.integer({ min: -2 * DAY_MS, max: 2 * DAY_MS }))
    .map(([day, offset]) => day + offset),
)

/** The rule of a window said in another way: by the fields that a person reads off the wall. */
function rulesAt(
  windows: readonly WeeklyWindow[],
  format: Intl.DateTimeFormat,
  atMs: number,
): number | null | undefined {
  const parts = Object.fromEntries(format.formatToParts(atMs).map(({ type, value }) => [type, value]))
  const today = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'].indexOf(parts.weekday ?? '')
  const yesterday = (today + 6) % 7
  const now = `${parts.hour}:${parts.minute}`
  const found = windows.findLast(({ days, from, to }) => {
    const isPastMidnight = to <= from
    const hasBegunToday = days.some((day) => day === WEEKDAYS[today]) && now >= from && (isPastMidnight || now < to)
    return hasBegunToday || (isPastMidnight && days.some((day) => day === WEEKDAYS[yesterday]) && now < to)
  })
  return found?.wanMaxBytesPerSec
}

await t.test('the next change is the one that scanning minute by minute finds, in all zones', async () => {
  const formats = new Map(
    ZONES.map((timeZone) => [
      timeZone,
      new Intl.DateTimeFormat('en-GB', {
        timeZone,
        weekday: 'short',
        hour: '2-digit',
        minute: '2-digit',
        hourCycle: 'h23',
      }),
    ]),
  )
  fc.assert(
    fc.property(
      fc.constantFrom(...ZONES),
      fc.array(anyWindow, { maxLength: 4 }),
      anyMoment,
      (timeZone, windows, nowMs) => {
        const format = formats.get(timeZone)
        if (format === undefined) return false
        const { limit, untilMs } = scheduleOf(windows, timeZone).at(nowMs)
        const cap = limit === null ? undefined : limit.wanMaxBytesPerSec
        if (cap !== rulesAt(windows, format, nowMs)) return false
        // Every minute of the first day, then less closely.
        const nowMin = Math.floor(nowMs / MINUTE_MS)
        const endMin = untilMs === null ? nowMin + 8 * 1440 : untilMs / MINUTE_MS
        for (let minute = nowMin; minute < endMin; minute += minute < nowMin + 1440 ? 1 : 13) {
          if (rulesAt(windows, format, minute * MINUTE_MS) !== cap) return false
        }
        if (untilMs === null) return true
        return rulesAt(windows, format, untilMs - 1) === cap && rulesAt(windows, format, untilMs) !== cap
      },
    ),
    { numRuns: 100 },
  )
})

await t.test('the end is told in the time of the zone', async (t) => {
  const now = Date.parse('2026-11-23T12:00Z')
  const berlin = new WallClock('Europe/Berlin')
  t.equal(berlin.describe(now + 5 * 3600_000, now), '18:00 (Europe/Berlin)')
  t.equal(berlin.describe(now + 11 * 3600_000, now), 'Tue 00:00 (Europe/Berlin)')
  t.equal(new WallClock('UTC').describe(now - 5 * DAY_MS, now), 'Wed 12:00 (UTC)')
  t.match(new WallClock(null).describe(now, now), /^\d\d:\d\d$/, 'without a name where none was given')
})
