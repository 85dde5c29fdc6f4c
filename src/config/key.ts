/**
 * One configuration key: how its value is written, checked, printed and explained. The kinds of values are here; the keys
 * themselves, with every default, are in schema.ts.
 *
 * A key accepts the same spellings from YAML, from the environment and from the command line; only lists differ, which
 * are comma-separated in the environment.
 */
import { z } from 'zod'
import { isShorthaulError } from '../errors.ts'
import { DAY_MS, parseBytes, parseDuration, printBytes, printDuration } from './units.ts'

/** How the values of a key are written and checked. */
export interface Kind<T> {
  /** Spellings in, the typed value out. */
  readonly schema: z.ZodType<T>
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

/** A number, or text that `read` turns into one; what `read` refuses becomes a zod issue. */
function quantity(read: (text: string) => number): z.ZodType<number> {
  return z.union([z.number(), z.string()]).transform((value, context) => {
    if (typeof value === 'number') return value
    try {
      return read(value)
    } catch (error: unknown) {
      if (!isShorthaulError(error, 'SHORTHAUL_USAGE')) throw error
      context.addIssue({ code: 'custom', message: error.message })
      return z.NEVER
    }
  })
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
    schema: quantity(parseBytes).pipe(z.int().min(min).max(max)),
    type: 'size, bytes',
    range,
    expected: `a size such as 20GiB, ${range}`,
    print: printBytes,
  }
}

export function durationMs({ min, max }: Limits): Kind<number> {
  const range = `${printDuration(min)} to ${printDuration(max)}`
  const read = (text: string) => (BARE_NUMBER.test(text) ? Number(text) : parseDuration(text))
  return {
    schema: quantity(read).pipe(z.number().min(min).max(max)),
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
    schema: quantity(read).pipe(z.number().min(min).max(max)),
    type: 'duration, days',
    range,
    expected: `days or a duration such as 90d, ${range}`,
    print: String,
  }
}

export function count({ min, max }: Limits): Kind<number> {
  const range = `${min} to ${max}`
  return {
    schema: z.union([z.number(), z.string().regex(BARE_NUMBER).transform(Number)]).pipe(z.int().min(min).max(max)),
    type: 'whole number',
    range,
    expected: `a whole number from ${range}`,
    print: String,
  }
}

export const flag: Kind<boolean> = {
  schema: z.union([z.boolean(), z.enum(['true', 'false']).transform((text) => text === 'true')]),
  type: 'true or false',
  range: '',
  expected: 'true or false',
  print: String,
}

export function choice<const T extends string>(values: readonly T[]): Kind<T> {
  return {
    schema: z.enum(values),
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
  return { schema: z.string().regex(pattern).refine(isValid), type: 'text', range, expected: shape, print: printText }
}

/** Quoted only where YAML would read something else. */
function printText(value: string): string {
  return /^[A-Za-z~/][\w./-]*$/.test(value) && !/^(?:true|false|null)$/i.test(value) ? value : JSON.stringify(value)
}

/** A file or directory. `~` is the home directory; a relative path starts at the folder of the configuration file. */
export const path: Kind<string> = {
  schema: z.string().regex(/^[^\0]{1,4096}$/),
  type: 'path',
  range: '',
  expected: 'a path',
  isPath: true,
  print: printText,
}

export function list(shape: Shape & { readonly maxCount: number }): Kind<readonly string[]> {
  return {
    schema: z.array(text(shape).schema).max(shape.maxCount).readonly(),
    type: 'list of text',
    range: `${shape.range}, at most ${shape.maxCount}`,
    expected: `a list of at most ${shape.maxCount}, each ${shape.shape}`,
    isList: true,
    print: (value) => JSON.stringify(value),
  }
}
