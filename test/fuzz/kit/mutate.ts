/**
 * Changes an input a little, in the ways in which decoders are known to fail: flipped bits, cut and doubled parts, parts of
 * other inputs, words of the format, integers at the edge of something, and lengths that lie about what follows. Pure.
 */
import type { Seeded } from './seeded.ts'

export interface MutateOptions {
  /** For splicing. */
  readonly others: readonly Uint8Array[]
  /** Words of the format. */
  readonly tokens: readonly Uint8Array[]
  readonly maxBytes: number
}

const EDGES = [
  0, 1, 7, 8, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 1024, 4095, 4096, 4097, 0x7fff, 0x8000, 0xffff,
] as const
const WIDE_EDGES = [0x10000, 2 ** 20 - 1, 2 ** 20, 2 ** 20 + 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1] as const
const HUGE_EDGES = [2n ** 32n, 2n ** 40n, 2n ** 40n + 1n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n] as const
const DECIMALS = [
  '0',
  '1',
  '-1',
  '00',
  '1.5',
  '1e9',
  '65536',
  '1048576',
  '1048577',
  '4294967296',
  '1099511627776',
] as const
const MORE_DECIMALS = [
  '9007199254740991',
  '9007199254740993',
  '18446744073709551616',
  '9'.repeat(40),
  '',
  'NaN',
] as const

type Mutation = (input: Buffer, random: Seeded, options: MutateOptions) => Buffer

/** @returns a new input of at most `maxBytes`; the old one is left as it is */
export function mutate(input: Uint8Array, random: Seeded, options: MutateOptions): Buffer {
  let mutated: Buffer = Buffer.from(input)
  for (let left = 1 + random.few(4); left > 0; left--) {
    mutated = random.pick(MUTATIONS)(mutated, random, options)
  }
  return mutated.subarray(0, options.maxBytes)
}

const flipBit: Mutation = (input, random) => {
  const at = random.below(input.byteLength)
  if (at < input.byteLength) input[at] = (input[at] ?? 0) ^ (1 << random.below(8))
  return input
}

const setByte: Mutation = (input, random) => {
  const at = random.below(input.byteLength)
  if (at < input.byteLength) input[at] = random.chance(0.5) ? random.below(256) : random.pick(EDGES) & 0xff
  return input
}

/** Little-endian and big-endian, 2, 4 and 8 bytes. */
const setInteger: Mutation = (input, random) => {
  const width = random.pick([2, 4, 8] as const)
  if (input.byteLength < width) return input
  const at = random.below(input.byteLength - width + 1)
  const isLittle = random.chance(0.5)
  if (width === 2) {
    const value = random.pick(EDGES)
    if (isLittle) input.writeUInt16LE(value, at)
    else input.writeUInt16BE(value, at)
  } else if (width === 4) {
    const value = random.chance(0.5) ? random.pick(EDGES) : random.pick(WIDE_EDGES)
    if (isLittle) input.writeUInt32LE(value, at)
    else input.writeUInt32BE(value, at)
  } else {
    const value = random.chance(0.3) ? BigInt(random.pick(EDGES)) : random.pick(HUGE_EDGES)
    if (isLittle) input.writeBigUInt64LE(value, at)
    else input.writeBigUInt64BE(value, at)
  }
  return input
}

/** Something that may be a length becomes another one: a little off, or just what follows, or one more. */
const lieAboutLength: Mutation = (input, random) => {
  const width = random.pick([1, 2, 4] as const)
  if (input.byteLength < width) return input
  const at = random.below(input.byteLength - width + 1)
  const isLittle = random.chance(0.8)
  const told = isLittle ? input.readUIntLE(at, width) : input.readUIntBE(at, width)
  const followingBytes = input.byteLength - at - width
  const lie = random.pick([told + 1, told - 1, told * 2, told + 256, followingBytes, followingBytes + 1] as const)
  const value = Math.min(Math.max(0, lie), 2 ** (8 * width) - 1)
  if (isLittle) input.writeUIntLE(value, at, width)
  else input.writeUIntBE(value, at, width)
  return input
}

/** In texts lengths and numbers are digits. */
const setDecimal: Mutation = (input, random) => {
  const runs = [...input.toString('latin1').matchAll(/\d+/g)]
  const run = random.pick(runs)
  if (run === undefined) return setByte(input, random, { others: [], tokens: [], maxBytes: 0 })
  const value = random.chance(0.6) ? random.pick(DECIMALS) : random.pick(MORE_DECIMALS)
  return Buffer.concat([
    input.subarray(0, run.index),
    Buffer.from(value, 'latin1'),
    input.subarray(run.index + run[0].length),
  ])
}

const truncate: Mutation = (input, random) => input.subarray(0, random.below(input.byteLength + 1))

const remove: Mutation = (input, random) => {
  const { start, end } = part(input, random)
  return Buffer.concat([input.subarray(0, start), input.subarray(end)])
}

const insert: Mutation = (input, random, { maxBytes }) => {
  const at = random.below(input.byteLength + 1)
  const added = random.bytes(Math.min(1 + random.below(16), maxBytes))
  return Buffer.concat([input.subarray(0, at), added, input.subarray(at)])
}

const insertToken: Mutation = (input, random, options) => {
  const token = random.pick(options.tokens)
  if (token === undefined) return insert(input, random, options)
  const at = random.below(input.byteLength + 1)
  // Beside what is there, or in its place.
  const rest = input.subarray(random.chance(0.5) ? at : Math.min(input.byteLength, at + token.byteLength))
  return Buffer.concat([input.subarray(0, at), token, rest])
}

/** A part several times: what is quadratic shows by it, and what counts without a bound. */
const repeat: Mutation = (input, random, { maxBytes }) => {
  const { start, end } = part(input, random)
  if (end === start) return input
  const most = Math.max(1, Math.floor((maxBytes - input.byteLength) / (end - start)))
  const count = Math.min(most, random.chance(0.05) ? most : 1 + random.below(8))
  const copies = Buffer.alloc(count * (end - start), input.subarray(start, end))
  return Buffer.concat([input.subarray(0, end), copies, input.subarray(end)])
}

const splice: Mutation = (input, random, { others }) => {
  const other = random.pick(others)
  if (other === undefined) return input
  const { start, end } = part(other, random)
  const at = random.below(input.byteLength + 1)
  const rest = random.chance(0.5) ? input.subarray(at) : input.subarray(Math.min(input.byteLength, at + end - start))
  return Buffer.concat([input.subarray(0, at), other.subarray(start, end), rest])
}

/** Two parts change places. */
const swap: Mutation = (input, random) => {
  const [a = 0, b = 0, c = 0] = [0, 0, 0].map(() => random.below(input.byteLength + 1)).sort((one, two) => one - two)
  return Buffer.concat([input.subarray(0, a), input.subarray(b, c), input.subarray(a, b), input.subarray(c)])
}

const MUTATIONS = [
  flipBit,
  flipBit,
  setByte,
  setByte,
  setInteger,
  setInteger,
  lieAboutLength,
  lieAboutLength,
  setDecimal,
  truncate,
  remove,
  insert,
  insertToken,
  insertToken,
  repeat,
  splice,
  swap,
] as const

/** Mostly short. */
function part(of: Uint8Array, random: Seeded): { readonly start: number; readonly end: number } {
  const start = random.below(of.byteLength)
  const longest = of.byteLength - start
  const length = random.chance(0.7) ? Math.min(longest, 1 + random.below(8)) : random.below(longest + 1)
  return { start, end: start + length }
}
