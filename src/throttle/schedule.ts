/**
 * Weekly windows: which of them rules at a moment, and until when. Pure but for what it remembers of its last answer, so
 * that it can be asked several times a second. Knows nothing of what else limits a transfer (caps.ts does).
 *
 * A window covers what the clock on the wall shows, from `from` up to `to`, on the days when it begins. When `to` is not
 * after `from` it goes on past midnight. A minute that daylight saving skips is in no window, one that it repeats is in
 * its window both times.
 *
 * Invariants:
 * 1. Where windows overlap, the later in the list rules: the general first, then its exceptions. "The strictest rules" was
 *    rejected: it cannot say "full speed at lunch", and a share and a rate cannot be compared before the line is measured.
 * 2. Windows of one limit are one: at the seam between them nothing changes.
 */
import { DAY_MIN, MINUTE_MS, type WallClock, WEEK_MIN, WEEKDAYS, type Weekday, weekMin } from './wall-clock.ts'

/** What a window allows, in one of the two ways. Both null: no cap. 0: stop. */
export interface RateLimit {
  readonly wanMaxBytesPerSec: number | null
  /** Of the capacity of the line, 0 to 1. */
  readonly wanMaxRatio: number | null
}

export interface WeeklyWindow extends RateLimit {
  /** On which days it begins. */
  readonly days: readonly Weekday[]
  /** `HH:MM`, 00:00 to 23:59. */
  readonly from: string
  /** `HH:MM`, to 24:00; the minute itself is outside. */
  readonly to: string
}

export interface Ruling {
  /** null: no window rules. */
  readonly limit: RateLimit | null
  /** When that changes, on the wall clock; a whole minute. null: never. */
  readonly untilMs: number | null
}

/**
 * A week, the longest that a weekly window can be away, and two more, because a change of the clock can skip it.
 */
const HORIZON_MIN = 3 * WEEK_MIN

export class WeeklySchedule {
  readonly #clock: WallClock
  readonly #limits: readonly RateLimit[]
  /** For each minute of the week 1 + the index of its limit, or 0. */
  readonly #week: Uint16Array
  /** The minutes of the week at which `#week` changes, ascending. */
  readonly #changes: readonly number[]
  #last: { readonly fromMs: number; readonly ruling: Ruling } | null = null

  constructor(windows: readonly WeeklyWindow[], clock: WallClock) {
    this.#clock = clock
    const { limits, week } = compile(windows)
    this.#limits = limits
    this.#week = week
    const changes: number[] = []
    for (let minute = 0; minute < WEEK_MIN; minute++) {
      if (week[minute] !== week[(minute + WEEK_MIN - 1) % WEEK_MIN]) changes.push(minute)
    }
    this.#changes = changes
  }

  /** @param nowMs wall clock */
  at(nowMs: number): Ruling {
    const last = this.#last
    if (last !== null && nowMs >= last.fromMs && nowMs < (last.ruling.untilMs ?? Number.POSITIVE_INFINITY)) {
      return last.ruling
    }
    const epochMin = Math.floor(nowMs / MINUTE_MS)
    // Without changes the zone does not matter, and its formatter is not made.
    const index = this.#changes.length === 0 ? (this.#week[0] ?? 0) : this.#indexAt(epochMin)
    const untilMin = this.#changes.length === 0 ? null : this.#nextChangeMin(epochMin, index)
    const ruling = {
      limit: this.#limits[index - 1] ?? null,
      untilMs: untilMin === null ? null : untilMin * MINUTE_MS,
    }
    this.#last = { fromMs: epochMin * MINUTE_MS, ruling }
    return ruling
  }

  #indexAt(epochMin: number): number {
    return this.#week[weekMin(this.#clock.wallMin(epochMin))] ?? 0
  }

  /** From boundary to boundary, as if the clock were never changed, stopping where it is. */
  #nextChangeMin(startMin: number, index: number): number | null {
    for (let atMin = startMin; atMin < startMin + HORIZON_MIN; ) {
      const shiftMin = this.#clock.wallMin(atMin) - atMin
      // A day at most, so that two changes of the clock cannot cancel each other out of sight.
      let nextMin = atMin + Math.min(DAY_MIN, this.#minutesToBoundary(weekMin(atMin + shiftMin)))
      if (this.#shiftAt(nextMin) !== shiftMin) nextMin = this.#firstShifted({ atMin, nextMin, shiftMin })
      if (this.#indexAt(nextMin) !== index) return nextMin
      atMin = nextMin
    }
    return null
  }

  #minutesToBoundary(minute: number): number {
    const next = this.#changes.find((change) => change > minute)
    return (next ?? (this.#changes[0] ?? 0) + WEEK_MIN) - minute
  }

  #shiftAt(epochMin: number): number {
    return this.#clock.wallMin(epochMin) - epochMin
  }

  /** The first minute after `atMin` whose shift is another; `nextMin` has one. */
  #firstShifted({ atMin, nextMin, shiftMin }: { atMin: number; nextMin: number; shiftMin: number }): number {
    let before = atMin
    let after = nextMin
    while (after - before > 1) {
      const middle = Math.floor((before + after) / 2)
      if (this.#shiftAt(middle) === shiftMin) before = middle
      else after = middle
    }
    return after
  }
}

function compile(windows: readonly WeeklyWindow[]): { limits: RateLimit[]; week: Uint16Array } {
  const limits: RateLimit[] = []
  const week = new Uint16Array(WEEK_MIN)
  for (const { days, from, to, wanMaxBytesPerSec, wanMaxRatio } of windows) {
    let index = limits.findIndex(
      (known) => known.wanMaxBytesPerSec === wanMaxBytesPerSec && known.wanMaxRatio === wanMaxRatio,
    )
    if (index === -1) index = limits.push({ wanMaxBytesPerSec, wanMaxRatio }) - 1
    const fromMin = dayMin(from)
    const lengthMin = dayMin(to) - fromMin + (dayMin(to) > fromMin ? 0 : DAY_MIN)
    for (const day of days) {
      const startMin = WEEKDAYS.indexOf(day) * DAY_MIN + fromMin
      for (let minute = 0; minute < lengthMin; minute++) week[(startMin + minute) % WEEK_MIN] = index + 1
    }
  }
  return { limits, week }
}

function dayMin(time: string): number {
  return Number(time.slice(0, 2)) * 60 + Number(time.slice(3, 5))
}
