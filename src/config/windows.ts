/**
 * Weekly windows with a limit, as people write them: in YAML a list of maps, everywhere else and also there one line,
 *
 *     mon-fri 08:00-18:00 2MB/s; sat,sun 10:00-12:00 50%
 *
 * Says only what is written; what windows mean, and which rules where two overlap, is throttle/schedule.ts.
 */
import { type Kind, rate, ratio } from './key.ts'
import { Mismatch, ValueSchema } from './value-schema.ts'

const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const
type Day = (typeof DAYS)[number]
const DAY_NAMES: readonly string[] = DAYS

export interface CapWindow {
  /** On which days it begins; in the order of the week, at least one. */
  readonly days: readonly Day[]
  /** `HH:MM`, 00:00 to 23:59. */
  readonly from: string
  /** `HH:MM`, to 24:00; not after `from`: on the next day. */
  readonly to: string
  /** At most one of the two limits is not null. Both null: no cap. */
  readonly wanMaxBytesPerSec: number | null
  readonly wanMaxRatio: number | null
}

const MAX_WINDOWS = 50
const MAX_TEXT_LENGTH = MAX_WINDOWS * 100

const TIME = /^([01]?\d|2[0-3]):([0-5]\d)$|^24:(00)$/
const LINE = /^(?:([a-z, -]{3,60}) )? ?(\d{1,2}:\d{2}) ?- ?(\d{1,2}:\d{2})(?: (.{1,30}))?$/i

const EXPECTED_LINE = 'a window such as "mon-fri 08:00-18:00 2MB/s"'
const EXPECTED_DAYS = 'days such as mon-fri, "sat,sun" or daily'
const EXPECTED_LIMIT = `${rate.expected}, a share of the line such as 50%, or null`
const FIELDS: readonly string[] = ['days', 'from', 'to', 'wanMaxBytesPerSec', 'wanMaxRatio']

/** @param options.isCapOptional a window may stand without a limit, which is no cap */
export function windows({ isCapOptional }: { readonly isCapOptional: boolean }): Kind<readonly CapWindow[]> {
  return {
    schema: new ValueSchema((value) => readWindows(value, isCapOptional)),
    type: 'list of weekly windows',
    range: `\`DAYS FROM-TO ${isCapOptional ? '[LIMIT]' : 'LIMIT'}; …\`, or maps, at most ${MAX_WINDOWS}`,
    expected: `at most ${MAX_WINDOWS} windows such as "mon-fri 08:00-18:00 2MB/s; sat 10:00-12:00 50%", or a list of them`,
    print: (value) => (value.length === 0 ? '[]' : value.map((each) => printWindow(each, isCapOptional)).join('; ')),
  }
}

function readWindows(value: unknown, isCapOptional: boolean): readonly CapWindow[] | Mismatch {
  const entries = typeof value === 'string' ? splitText(value) : value
  if (!Array.isArray(entries) || entries.length > MAX_WINDOWS) return new Mismatch('no such windows')
  const read: CapWindow[] = []
  for (const [index, entry] of entries.entries()) {
    const window = readWindow(entry, { at: `[${index}]`, isCapOptional })
    if (window instanceof Mismatch) return window
    read.push(Object.freeze(window))
  }
  return Object.freeze(read)
}

/** Nothing between semicolons is no window, so that `;` is how the environment says none; `[]` is how it is printed. */
function splitText(text: string): string[] | null {
  if (text.length > MAX_TEXT_LENGTH) return null
  if (text.trim() === '[]') return []
  return text
    .split(';')
    .map((entry) => entry.trim().replaceAll(/\s+/g, ' '))
    .filter((entry) => entry !== '')
}

interface ReadOptions {
  readonly at: string
  readonly isCapOptional: boolean
}

function readWindow(entry: unknown, options: ReadOptions): CapWindow | Mismatch {
  const { at } = options
  if (typeof entry === 'string') {
    const [, days = 'daily', from, to, limit] = LINE.exec(entry.trim().replaceAll(/\s+/g, ' ')) ?? []
    if (from === undefined) return wrong(at, entry, EXPECTED_LINE)
    return readFields({ days, from, to, ...limitOf(limit) }, options)
  }
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry)) {
    return wrong(at, entry, `${EXPECTED_LINE}, or a map with ${FIELDS.join(', ')}`)
  }
  const unknown = Object.keys(entry).find((name) => !FIELDS.includes(name))
  return unknown === undefined ? readFields(entry, options) : wrong(at, unknown, `only ${FIELDS.join(', ')}`)
}

/** The word after the times; a percent sign makes it a share. */
function limitOf(text: string | undefined): { wanMaxBytesPerSec?: unknown; wanMaxRatio?: unknown } {
  if (text === undefined) return {}
  if (text.endsWith('%')) return { wanMaxRatio: text }
  return { wanMaxBytesPerSec: text === 'null' ? null : text }
}

type Fields = { readonly [K in keyof CapWindow]?: unknown }

function readFields(fields: Fields, { at, isCapOptional }: ReadOptions): CapWindow | Mismatch {
  const days = readDays(fields.days ?? 'daily')
  if (days === null) return wrong(`${at}.days`, fields.days, EXPECTED_DAYS)
  const from = readTime(fields.from)
  if (from === null || from === '24:00') return wrong(`${at}.from`, fields.from, 'a time from 00:00 to 23:59')
  const to = readTime(fields.to)
  if (to === null) return wrong(`${at}.to`, fields.to, 'a time from 00:00 to 24:00')
  if (from === to) return wrong(`${at}.to`, fields.to, 'another time than from; a whole day is 00:00-24:00')
  const { wanMaxBytesPerSec, wanMaxRatio } = fields
  const given = [wanMaxBytesPerSec, wanMaxRatio].filter((each) => each !== undefined)
  if (given.length > 1) return wrong(at, given, 'one of wanMaxBytesPerSec and wanMaxRatio')
  if (given.length === 0 && !isCapOptional) return wrong(at, null, `a limit: ${EXPECTED_LIMIT}`)
  const bytesPerSec = rate.schema.nullable().safeParse(wanMaxBytesPerSec ?? null)
  if (!bytesPerSec.success) return wrong(`${at}.wanMaxBytesPerSec`, wanMaxBytesPerSec, EXPECTED_LIMIT)
  const share = ratio.schema.nullable().safeParse(wanMaxRatio ?? null)
  if (!share.success) return wrong(`${at}.wanMaxRatio`, wanMaxRatio, ratio.expected)
  return { days, from, to, wanMaxBytesPerSec: bytesPerSec.data, wanMaxRatio: share.data }
}

function wrong(at: string, found: unknown, expected: string): Mismatch {
  return new Mismatch(`expected ${expected}`, null, { at, found: found ?? null, expected })
}

/** `mon-fri`, `sat,sun`, `fri-mon` (over the weekend), `daily`, or a list of such; null: something else. */
function readDays(value: unknown): readonly Day[] | null {
  const texts = typeof value === 'string' ? value.split(',') : value
  if (!Array.isArray(texts) || texts.length === 0 || texts.length > 2 * DAYS.length) return null
  const found = new Set<Day>()
  for (const text of texts) {
    const days = typeof text === 'string' ? readRange(text.trim().toLowerCase()) : null
    if (days === null) return null
    for (const day of days) found.add(day)
  }
  return Object.freeze(DAYS.filter((day) => found.has(day)))
}

function readRange(text: string): readonly Day[] | null {
  if (text === 'daily') return DAYS
  const [first = '', last = first, ...more] = text.split('-').map((name) => name.trim())
  const start = DAY_NAMES.indexOf(first)
  const end = DAY_NAMES.indexOf(last)
  if (start === -1 || end === -1 || more.length > 0) return null
  return start <= end ? DAYS.slice(start, end + 1) : [...DAYS.slice(start), ...DAYS.slice(0, end + 1)]
}

function readTime(value: unknown): string | null {
  return typeof value === 'string' && TIME.test(value.trim()) ? value.trim().padStart(5, '0') : null
}

function printWindow({ days, from, to, wanMaxBytesPerSec, wanMaxRatio }: CapWindow, isCapOptional: boolean): string {
  const when = `${printDays(days)} ${from}-${to}`
  if (wanMaxRatio !== null) return `${when} ${ratio.print(wanMaxRatio)}`
  if (wanMaxBytesPerSec !== null) return `${when} ${rate.print(wanMaxBytesPerSec)}`
  return isCapOptional ? when : `${when} null`
}

/** Runs of three and more become a range. */
function printDays(days: readonly Day[]): string {
  if (days.length === DAYS.length) return 'daily'
  const runs: Day[][] = []
  for (const day of days) {
    const run = runs.at(-1)
    const previous = run?.at(-1)
    if (run !== undefined && previous !== undefined && DAYS.indexOf(day) === DAYS.indexOf(previous) + 1) run.push(day)
    else runs.push([day])
  }
  return runs.map((run) => (run.length > 2 ? `${run[0]}-${run.at(-1)}` : run.join(','))).join(',')
}
