/**
 * Checks of configuration values: spellings in, the typed value out. A few lines of our own and not zod, because every
 * command reads the configuration first, and loading zod took 80 of the 100 ms that a fetch may take longer than curl
 * (zod 4.6, Node 20, 2026-11). What comes over the control socket is checked by zod: there the agent has time.
 */

/** Where in a value of several parts the wrong one is, and what was expected there. */
export interface Place {
  /** To be read after the path of the key, such as `[1].from`. */
  readonly at: string
  readonly found: unknown
  readonly expected: string
}

/** What is wrong with a value; `index` says which entry of a list it is about, `place` says it better where there is one. */
export class Mismatch {
  readonly message: string
  readonly index: number | null
  readonly place: Place | null

  constructor(message: string, index: number | null = null, place: Place | null = null) {
    this.message = message
    this.index = index
    this.place = place
  }
}

export type Checked<T> =
  | { readonly success: true; readonly data: T }
  | { readonly success: false; readonly data?: undefined; readonly mismatch: Mismatch }

/** The check of one kind of values. */
export class ValueSchema<T> {
  readonly #read: (value: unknown) => T | Mismatch

  /** @param read total: what it refuses it returns as a Mismatch */
  constructor(read: (value: unknown) => T | Mismatch) {
    this.#read = read
  }

  safeParse(value: unknown): Checked<T> {
    const data = this.#read(value)
    return data instanceof Mismatch ? { success: false, mismatch: data } : { success: true, data }
  }

  /** @throws TypeError */
  parse(value: unknown): T {
    const result = this.safeParse(value)
    if (result.success) return result.data
    throw new TypeError(result.mismatch.message)
  }

  nullable(): ValueSchema<T | null> {
    return new ValueSchema<T | null>((value) => (value === null ? null : this.#read(value)))
  }
}

/**
 * A number, or text that `read` turns into one (null: it cannot); both ends belong to the range. With `hasZero`, so does
 * 0 where the range begins above it.
 */
export function numberSchema(options: {
  readonly read: (text: string) => number | null
  readonly min: number
  readonly max: number
  readonly isWhole: boolean
  readonly hasZero?: boolean
}): ValueSchema<number> {
  const { read, min, max, isWhole, hasZero = false } = options
  return new ValueSchema((value) => {
    const number = typeof value === 'string' ? read(value) : value
    if (typeof number !== 'number' || !Number.isFinite(number)) return new Mismatch('not a number')
    if (isWhole && !Number.isSafeInteger(number)) return new Mismatch('not a whole number')
    if (hasZero && number === 0) return 0
    if (number < min || number > max) return new Mismatch('out of range')
    return number
  })
}

export function textSchema(isValid: (value: string) => boolean): ValueSchema<string> {
  return new ValueSchema((value) =>
    typeof value === 'string' && isValid(value) ? value : new Mismatch('not such a text'),
  )
}

export function oneOfSchema<const T extends string>(values: readonly T[]): ValueSchema<T> {
  return new ValueSchema((value) => values.find((known) => known === value) ?? new Mismatch('none of the values'))
}

export const flagSchema: ValueSchema<boolean> = new ValueSchema((value) => {
  if (typeof value === 'boolean') return value
  return value === 'true' ? true : value === 'false' ? false : new Mismatch('neither true nor false')
})

export function listSchema<T>(
  entry: ValueSchema<T>,
  options: { readonly maxCount: number },
): ValueSchema<readonly T[]> {
  return new ValueSchema<readonly T[]>((value) => {
    if (!Array.isArray(value) || value.length > options.maxCount) return new Mismatch('not such a list')
    const entries: T[] = []
    for (const [index, each] of value.entries()) {
      const result = entry.safeParse(each)
      if (!result.success) return new Mismatch(result.mismatch.message, index)
      entries.push(result.data)
    }
    return Object.freeze(entries)
  })
}
