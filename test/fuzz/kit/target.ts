/** What is fuzzed: one decoder, and what must hold whatever the bytes are. */
import { type ErrorCode, isShorthaulError } from '../../../src/errors.ts'
import type { Seeded } from './seeded.ts'

/** Whether the decoder took the input. Both must happen often, or nothing is tested. */
export type Verdict = 'accepted' | 'refused'

export interface FuzzTarget {
  readonly name: string
  /** Files whose blocks are counted in a guided run: parts of their paths, such as `peers/wire`. */
  readonly covers: readonly string[]
  /** Inputs that are always tried first, besides those kept in corpus/. */
  readonly seeds: readonly Uint8Array[]
  /** Words of the format. */
  readonly tokens?: readonly string[]
  /** Longest input; default 4096. */
  readonly maxBytes?: number
  /** Inputs of one test run where 20,000 would take too long; says why. */
  readonly testRuns?: { readonly count: number; readonly why: string }
  /** What Buffer.alloc and its like may reserve for one input; default 16 KiB and 32 times the input. */
  readonly maxAllocatedBytes?: (input: Uint8Array) => number
  /** An input that a decoder takes, or one that is wrong in a way of its own. */
  generate(random: Seeded): Uint8Array
  /** Makes a checksum or the like right again, so that a changed input gets past it. Tried on half of them. */
  repair?(input: Buffer): Uint8Array
  /** @throws when what must hold does not */
  run(input: Uint8Array): Verdict | Promise<Verdict>
  /** Called when the run is over. */
  close?(): void | Promise<void>
}

/** What a decoder may throw, and nothing else. @returns null for that */
export function decodedOrNull<T>(code: ErrorCode, decode: () => T): T | null {
  try {
    return decode()
  } catch (error) {
    if (isShorthaulError(error, code)) return null
    throw error
  }
}

export function must(isTrue: boolean, what: string): asserts isTrue {
  if (!isTrue) throw new Error(`Broken: ${what}`)
}

/** About the bytes that a value holds on to, whatever it is made of. */
export function heldBytes(value: unknown): number {
  if (typeof value === 'string') return 16 + value.length
  if (ArrayBuffer.isView(value)) return 64 + value.byteLength
  if (Array.isArray(value)) return value.reduce<number>((sum, each) => sum + 8 + heldBytes(each), 16)
  if (value instanceof Map) return heldBytes([...value.entries()])
  if (value instanceof Set) return heldBytes([...value])
  if (typeof value === 'object' && value !== null) return 32 + heldBytes(Object.values(value))
  return 8
}

/** What was decoded is no larger than its bytes justify: an id of 32 bytes is 80 as text. */
export function mustBeBounded(value: unknown, input: Uint8Array, perByte = 24): void {
  const held = heldBytes(value)
  const most = 2048 + perByte * input.byteLength
  must(held <= most, `${input.byteLength} bytes became ${held}, expected at most ${most}`)
}

export function latin1(text: string): Buffer {
  return Buffer.from(text, 'latin1')
}

export function toBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
