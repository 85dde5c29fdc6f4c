/**
 * The clock on the wall of one time zone, in whole minutes. Pure; the rules of the zone are those of Node's ICU.
 *
 * The first formatter of a process takes 25 to 82 ms to make, the next 0.2 ms, a question to one 15 µs (Node 20, a busy
 * 2-core VM, 2026-11-25). So it is made when first asked for, and kept.
 */

export const MINUTE_MS = 60_000
export const DAY_MIN = 24 * 60
export const WEEK_MIN = 7 * DAY_MIN

export const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const
export type Weekday = (typeof WEEKDAYS)[number]

/** 1970-01-01 was a Thursday. */
const EPOCH_WEEK_MIN = WEEKDAYS.indexOf('thu') * DAY_MIN

export class WallClock {
  readonly #timeZone: string | null
  #format: Intl.DateTimeFormat | null = null

  /** @param timeZone an IANA name that was checked before; null: the zone that the system had when Node.js started */
  constructor(timeZone: string | null) {
    this.#timeZone = timeZone
  }

  /**
   * What the wall shows, as if it were UTC: the minutes from 1970-01-01 00:00 on that wall. In an hour that the clock
   * skips it jumps ahead, in one that it repeats it jumps back.
   * @param epochMin minutes since the epoch, whole
   */
  wallMin(epochMin: number): number {
    const fields: Partial<Record<Intl.DateTimeFormatPartTypes, number>> = {}
    for (const { type, value } of this.#formatter().formatToParts(epochMin * MINUTE_MS)) fields[type] = Number(value)
    const { year = 0, month = 1, day = 1, hour = 0, minute = 0 } = fields
    return Date.UTC(year, month - 1, day, hour, minute) / MINUTE_MS
  }

  /** `18:00` when it is the same day, else `Mon 08:00`; with the zone where one was named. For people. */
  describe(timeMs: number, nowMs: number): string {
    const wallMin = this.wallMin(Math.floor(timeMs / MINUTE_MS))
    const isToday = dayOf(wallMin) === dayOf(this.wallMin(Math.floor(nowMs / MINUTE_MS)))
    const name = WEEKDAYS[Math.floor(weekMin(wallMin) / DAY_MIN)] ?? ''
    const day = isToday ? '' : `${name.slice(0, 1).toUpperCase()}${name.slice(1)} `
    return `${day}${printTime(wallMin % DAY_MIN)}${this.#timeZone === null ? '' : ` (${this.#timeZone})`}`
  }

  #formatter(): Intl.DateTimeFormat {
    this.#format ??= new Intl.DateTimeFormat('en-US', {
      ...(this.#timeZone === null ? {} : { timeZone: this.#timeZone }),
      calendar: 'gregory',
      numberingSystem: 'latn',
      hourCycle: 'h23',
      year: 'numeric',
      month: 'numeric',
      day: 'numeric',
      hour: 'numeric',
      minute: 'numeric',
    })
    return this.#format
  }
}

/** Minutes since Monday 00:00. */
export function weekMin(wallMin: number): number {
  return (((wallMin + EPOCH_WEEK_MIN) % WEEK_MIN) + WEEK_MIN) % WEEK_MIN
}

function dayOf(wallMin: number): number {
  return Math.floor(wallMin / DAY_MIN)
}

function printTime(dayMin: number): string {
  const two = (value: number) => String(value).padStart(2, '0')
  return `${two(Math.floor(dayMin / 60))}:${two(dayMin % 60)}`
}
