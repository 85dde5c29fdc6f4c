/**
 * One configuration key: how its value is written, checked, printed and explained. The kinds of values are here; the keys
 * themselves, with every default, are in schema.ts.
 *
 * A key accepts the same spellings from YAML, from the environment and from the command line; only lists differ, which
 * are comma-separated in the environment. Weekly windows have one line of text for all three (windows.ts).
 */
import { isShorthaulError } from '../errors.ts'
import { DAY_MS, parseBytes, parseDuration, parseRate, printBytes, printDuration, printRate } from './units.ts'
import { flagSchema, listSchema, Mismatch, numberSchema, oneOfSchema, textSchema, ValueSchema } from './value-schema.ts'

/** How the values of a key are written and checked. */
export interface Kind<T> {
  /** Spellings in, the typed value out. */
  readonly schema: ValueSchema<T>
  /** The type with its unit, for people. */
  readonly type: string
  readonly range: string
  /** What a bad value is answered with. */
  readonly expected: string
  /** Made absolute by the loader. */
  readonly isPath?: boolean
  readonly isList?: boolean
  /** null is allowed: off, or not given. Never 0, which means zero. */
  readonly isNullable?: boolean
  /** The value as one would write it in YAML. */
  print(value: T): string
}

interface About<T> {
  readonly default: T
  /** What it does and why the default is what it is; Markdown, no table pipes. */
  readonly why: string
  /** Nothing is reloaded while running, so far: true unless said otherwise. */
  readonly needsRestart?: boolean
}

export interface ConfigKey<T> extends Kind<T> {
  readonly default: T
  readonly why: string
  readonly needsRestart: boolean
}

export function key<T>(kind: Kind<T>, about: About<NoInfer<T>>): ConfigKey<T> {
  return { needsRestart: true, ...kind, ...about }
}

export function nullable<T>(inner: Kind<T>): Kind<T | null> {
  return {
    ...inner,
    schema: inner.schema.nullable(),
    isNullable: true,
    type: `${inner.type}, or null`,
    expected: `${inner.expected}, or null`,
    print: (value) => (value === null ? 'null' : inner.print(value)),
  }
}

/** Null for text that `parse` refuses. */
function orNull(parse: (text: string) => number): (text: string) => number | null {
  return (text) => {
    try {
      return parse(text)
    } catch (error: unknown) {
      if (!isShorthaulError(error, 'SHORTHAUL_USAGE')) throw error
      return null
    }
  }
}

/** Both ends belong to the range. */
interface Limits {
  readonly min: number
  readonly max: number
}

const BARE_NUMBER = /^\d{1,15}$/

export function bytes({ min, max }: Limits): Kind<number> {
  const range = `${printBytes(min)} to ${printBytes(max)}`
  return {
    schema: numberSchema({ read: orNull(parseBytes), min, max, isWhole: true }),
    type: 'size, bytes',
    range,
    expected: `a size such as 20GiB, ${range}`,
    print: printBytes,
  }
}

const MIN_RATE = 1000
const MAX_RATE = 100e9
const RATE_RANGE = `0, or ${printRate(MIN_RATE)} to ${printRate(MAX_RATE)}`

/** A limit. 0 stops; what lies between that and 1 kB/s is refused: a bare `10` was meant as megabits. */
export const rate: Kind<number> = {
  schema: numberSchema({ read: orNull(parseRate), min: MIN_RATE, max: MAX_RATE, isWhole: true, hasZero: true }),
  type: 'rate, bytes per second',
  range: RATE_RANGE,
  expected: `a rate such as 10Mbit/s or 1.5MiB/s, ${RATE_RANGE}`,
  print: printRate,
}

const RATIO = /^(\d{1,3}(?:\.\d{1,9})?)(%?)$/

/** A share of a whole, kept to a hundredth of a percent, so that it prints as it was meant. */
export const ratio: Kind<number> = {
  schema: new ValueSchema((value) => {
    const [, digits, percent] = typeof value === 'string' ? (RATIO.exec(value.trim()) ?? []) : []
    const share = typeof value === 'number' ? value : Number(digits) / (percent === '%' ? 100 : 1)
    const isShare = share === 0 || (share >= 0.01 && share <= 1)
    return isShare ? Math.round(share * 1e4) / 1e4 : new Mismatch('not a share')
  }),
  type: 'share',
  range: '0, or 1% to 100%',
  expected: 'a share such as 0.5 or 50%, 0 or 1% to 100%',
  print: (value) => `${Math.round(value * 1e4) / 100}%`,
}

export function durationMs({ min, max }: Limits): Kind<number> {
  const range = `${printDuration(min)} to ${printDuration(max)}`
  const read = (text: string) => (BARE_NUMBER.test(text) ? Number(text) : parseDuration(text))
  return {
    schema: numberSchema({ read: orNull(read), min, max, isWhole: false }),
    type: 'duration, milliseconds',
    range,
    expected: `milliseconds or a duration such as 30s, ${range}`,
    print: String,
  }
}

export function days({ min, max }: Limits): Kind<number> {
  const range = `${min} to ${max}`
  const read = (text: string) => (BARE_NUMBER.test(text) ? Number(text) : parseDuration(text) / DAY_MS)
  return {
    schema: numberSchema({ read: orNull(read), min, max, isWhole: false }),
    type: 'duration, days',
    range,
    expected: `days or a duration such as 90d, ${range}`,
    print: String,
  }
}

export function count({ min, max }: Limits): Kind<number> {
  const range = `${min} to ${max}`
  return {
    schema: numberSchema({ read: (text) => (BARE_NUMBER.test(text) ? Number(text) : null), min, max, isWhole: true }),
    type: 'whole number',
    range,
    expected: `a whole number from ${range}`,
    print: String,
  }
}

export const flag: Kind<boolean> = {
  schema: flagSchema,
  type: 'true or false',
  range: '',
  expected: 'true or false',
  print: String,
}

export function choice<const T extends string>(values: readonly T[]): Kind<T> {
  return {
    schema: oneOfSchema(values),
    type: 'one of',
    range: values.map((value) => `\`${value}\``).join(', '),
    expected: `one of ${values.join(', ')}`,
    print: String,
  }
}

/** What a text looks like. */
interface Shape {
  readonly pattern: RegExp
  /** For people, as in "the name of an interface, such as eth0". */
  readonly shape: string
  readonly range: string
  /** What the pattern cannot say. */
  readonly isValid?: (value: string) => boolean
}

export function text({ pattern, shape, range, isValid = () => true }: Shape): Kind<string> {
  const schema = textSchema((value) => pattern.test(value) && isValid(value))
  return { schema, type: 'text', range, expected: shape, print: printText }
}

/** Quoted only where YAML would read something else. */
function printText(value: string): string {
  return /^[A-Za-z~/][\w./-]*$/.test(value) && !/^(?:true|false|null)$/i.test(value) ? value : JSON.stringify(value)
}

/** A file or directory. `~` is the home directory; a relative path starts at the folder of the configuration file. */
export const path: Kind<string> = {
  schema: textSchema((value) => /^[^\0]{1,4096}$/.test(value)),
  type: 'path',
  range: '',
  expected: 'a path',
  isPath: true,
  print: printText,
}

export function list(shape: Shape & { readonly maxCount: number }): Kind<readonly string[]> {
  return {
    schema: listSchema(text(shape).schema, shape),
    type: 'list of text',
    range: `${shape.range}, at most ${shape.maxCount}`,
    expected: `a list of at most ${shape.maxCount}, each ${shape.shape}`,
    isList: true,
    print: (value) => JSON.stringify(value),
  }
}
