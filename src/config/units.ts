/**
 * Sizes, rates and durations as people write them. Strict: a unit is spelt exactly or refused, because `Mb`, `MB` and
 * `MiB` differ by up to 8.4 times and guessing wrong is silent.
 *
 * Inside the program there are only bytes, bytes per second and milliseconds; this file is the border.
 * `print*` is exact and parses back to the same number; `format*` is rounded, for eyes only.
 */
import { ShorthaulError } from '../errors.ts'

type Factors = Readonly<Record<string, number>>

const BYTES: Factors = {
  B: 1,
  kB: 1e3,
  KB: 1e3, // wrong but common; unlike `Mb` it cannot be read in two ways
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
}

const BYTES_PER_SEC: Factors = {
  ...Object.fromEntries(Object.entries(BYTES).map(([unit, factor]) => [`${unit}/s`, factor])),
  'bit/s': 1 / 8,
  'kbit/s': 1e3 / 8,
  'Mbit/s': 1e6 / 8,
  'Gbit/s': 1e9 / 8,
  // Nobody counts storage in bits: a rate is meant, and tc and many a form write it so.
  kbit: 1e3 / 8,
  Mbit: 1e6 / 8,
  Gbit: 1e9 / 8,
}

const SECOND_MS = 1000
const MINUTE_MS = 60 * SECOND_MS
const HOUR_MS = 60 * MINUTE_MS
export const DAY_MS = 24 * HOUR_MS
const MILLISECONDS: Factors = {
  ms: 1,
  s: SECOND_MS,
  m: MINUTE_MS,
  min: MINUTE_MS,
  h: HOUR_MS,
  d: DAY_MS,
  w: 7 * DAY_MS,
}

// Bounded repeats: the text may come from a stranger's environment, and no size has more digits than a double.
const QUANTITY = /^(\d{1,20}(?:\.\d{1,20})?) ?([A-Za-z/]{0,8})$/

interface Measure {
  readonly name: string
  readonly factors: Factors
  /** What a number without a unit means; null: a unit is required. */
  readonly bareUnit: string | null
  readonly expected: string
}

const SIZE: Measure = {
  name: 'size',
  factors: BYTES,
  bareUnit: 'B',
  expected: 'a number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB, such as 20GiB, or a whole number of bytes',
}
const RATE: Measure = {
  name: 'rate',
  factors: BYTES_PER_SEC,
  bareUnit: 'B/s',
  expected:
    'a number with B/s, kB/s, MB/s, KiB/s, MiB/s, kbit/s, Mbit/s or Gbit/s, such as 5MiB/s, or bytes per second',
}
const DURATION: Measure = {
  name: 'duration',
  factors: MILLISECONDS,
  bareUnit: null,
  expected: 'a number with ms, s, min, h, d or w, such as 30s',
}

function parse(text: string, measure: Measure): number {
  const [, digits, unit] = QUANTITY.exec(text.trim()) ?? []
  const spelling = unit === '' ? measure.bareUnit : unit
  // Own properties only: `toString` is a word that QUANTITY lets through.
  const factor = typeof spelling === 'string' && Object.hasOwn(measure.factors, spelling) && measure.factors[spelling]
  const isBareFraction = unit === '' && digits?.includes('.')
  if (!factor || isBareFraction) throw refused(text, measure, measure.expected)
  // Rounded, because a whole quantity such as 0.29kB is not whole in binary floating point.
  const value = Math.round(Number(digits) * factor)
  if (!Number.isSafeInteger(value)) throw refused(text, measure, `less than ${Number.MAX_SAFE_INTEGER}`)
  return value
}

function refused(text: string, measure: Measure, expected: string): ShorthaulError {
  const found = text.length > 80 ? `${text.slice(0, 80)}…` : text
  return new ShorthaulError('SHORTHAUL_USAGE', `Cannot read the ${measure.name} "${found}": expected ${expected}`, {
    details: { found, expected },
  })
}

/** `20GiB`, `10 MB`, `4096` to whole bytes. @throws SHORTHAUL_USAGE */
export function parseBytes(text: string): number {
  return parse(text, SIZE)
}

/** `5MiB/s`, `50 Mbit/s`, `65536` to whole bytes per second. @throws SHORTHAUL_USAGE */
export function parseRate(text: string): number {
  return parse(text, RATE)
}

/** `90d`, `1.5h`, `250ms` to whole milliseconds; a number without a unit is refused. @throws SHORTHAUL_USAGE */
export function parseDuration(text: string): number {
  return parse(text, DURATION)
}

function printExact(value: number, units: readonly (readonly [string, number])[]): string {
  for (const [unit, factor] of units) {
    if (value >= factor && value % factor === 0) return `${value / factor}${unit}`
  }
  return String(value)
}

const IEC = [
  ['TiB', 2 ** 40],
  ['GiB', 2 ** 30],
  ['MiB', 2 ** 20],
  ['KiB', 2 ** 10],
] as const

/** Largest first: 100 GB/s is not 97656250 KiB/s. */
const RATE_UNITS = Object.entries(BYTES_PER_SEC)
  .filter(([unit, factor]) => factor > 1 && unit.endsWith('/s') && unit !== 'KB/s')
  .sort(([, one], [, other]) => other - one)

/** The shortest exact spelling: 21474836480 to `20GiB`, 1000 to `1000`. @param bytes whole, not negative */
export function printBytes(bytes: number): string {
  return printExact(bytes, IEC)
}

/** An exact spelling: 5242880 to `5MiB/s`, 2000000 to `2MB/s`, 6250000 to `50Mbit/s`, 1001 to `1001`. */
export function printRate(bytesPerSec: number): string {
  return printExact(bytesPerSec, RATE_UNITS)
}

/** The shortest exact spelling: 7776000000 to `90d`, 1500 to `1500ms`. */
export function printDuration(durationMs: number): string {
  return printExact(durationMs, [
    ['d', DAY_MS],
    ['h', HOUR_MS],
    ['min', MINUTE_MS],
    ['s', SECOND_MS],
    ['ms', 1],
  ]).replace(/^0$/, '0ms')
}

/** For people: `512 B`, `1.5 KiB`, `20.0 GiB`. Not a number, or negative: `?`. */
export function formatBytes(bytes: number): string {
  if (!(bytes >= 0)) return '?'
  if (Math.round(bytes) < 1024) return `${Math.round(bytes)} B`
  let value = bytes / 1024
  let unit = 'KiB'
  for (const next of ['MiB', 'GiB', 'TiB', 'PiB']) {
    // 1023.95 and more would be printed as 1024.0 of the smaller unit.
    if (value < 1023.95) break
    value /= 1024
    unit = next
  }
  return `${value.toFixed(1)} ${unit}`
}

/** For people: `5.0 MiB/s`. */
export function formatRate(bytesPerSec: number): string {
  return `${formatBytes(bytesPerSec)}/s`
}

/** For people, two units at most: `250 ms`, `12.3 s`, `4 min 5 s`, `2 h 10 min`, `90 d`. */
export function formatDuration(durationMs: number): string {
  if (!(durationMs >= 0)) return '?'
  if (durationMs === Number.POSITIVE_INFINITY) return 'for ever'
  if (Math.round(durationMs) < SECOND_MS) return `${Math.round(durationMs)} ms`
  if (durationMs < MINUTE_MS - 50) return `${(durationMs / SECOND_MS).toFixed(1)} s`
  const pairs = [
    [DAY_MS, 'd', HOUR_MS, 'h'],
    [HOUR_MS, 'h', MINUTE_MS, 'min'],
    [MINUTE_MS, 'min', SECOND_MS, 's'],
  ] as const
  for (const [big, bigUnit, small, smallUnit] of pairs) {
    const smallCount = Math.round(durationMs / small)
    const perBig = big / small
    if (smallCount < perBig) continue
    const rest = smallCount % perBig
    return `${Math.floor(smallCount / perBig)} ${bigUnit}${rest === 0 ? '' : ` ${rest} ${smallUnit}`}`
  }
  return '1 min'
}
