/**
 * What of the content a target wants: all of it, or byte ranges that stand in it one after another. Pure.
 *
 * Whole segments are fetched, verified, cached and shared in any case; only the target leaves out the rest of them.
 */
import { PositionSet } from '../content/position-set.ts'
import { type ByteRange, SEGMENT_BYTES, segmentBytes, segmentCount } from '../content/segmentation.ts'
import { ShorthaulError } from '../errors.ts'
import type { FileRange } from './request.ts'

/** As in BITS. */
export const MAX_FILE_RANGES = 500

/** A run of bytes of one segment, and where in the target it stands. */
export interface Slice {
  /** Within the segment. */
  readonly start: number
  readonly end: number
  readonly targetOffset: number
}

export class Wanted {
  /** Null: all of the content. */
  readonly ranges: readonly ByteRange[] | null
  /** Of the segments that cover it. */
  readonly positions: PositionSet
  /** Of the target. */
  readonly bytes: number
  readonly #lengthBytes: number

  private constructor(ranges: readonly ByteRange[] | null, lengthBytes: number) {
    const count = segmentCount(lengthBytes)
    this.ranges = ranges
    this.bytes = ranges === null ? lengthBytes : sumOf(ranges)
    this.positions = ranges === null ? PositionSet.full(count) : PositionSet.of(count, ranges.map(covering))
    this.#lengthBytes = lengthBytes
  }

  /**
   * @param ranges null: all. One range of everything is the same.
   * @throws SHORTHAUL_RANGE_INVALID when they overlap, or the content ends before one of them does
   */
  static of(ranges: readonly FileRange[] | null, lengthBytes: number): Wanted {
    const resolved = ranges === null ? null : resolve(ranges, lengthBytes)
    const [first] = resolved ?? []
    const isWhole = resolved?.length === 1 && first?.start === 0 && first.end === lengthBytes
    return new Wanted(isWhole ? null : resolved, lengthBytes)
  }

  /** True when the target is the content. */
  get isWhole(): boolean {
    return this.ranges === null
  }

  /** How many bytes of the segment go into the target. */
  bytesOf(index: number): number {
    const segment = segmentBytes(index, this.#lengthBytes)
    if (this.ranges === null) return segment.end - segment.start
    return sumOf(this.ranges.map((range) => common(range, segment)))
  }
}

/**
 * The parts of a segment that go into a target of these ranges, in the order in which they stand in it.
 * @param segment its place in the content
 */
export function slicesOf(ranges: readonly FileRange[], segment: ByteRange): Slice[] {
  const slices: Slice[] = []
  let rangeOffset = 0
  for (const range of ranges) {
    const whole = { start: range.startBytes, end: range.endBytes ?? Number.POSITIVE_INFINITY }
    const { start, end } = common(whole, segment)
    if (start < end) {
      const targetOffset = rangeOffset + start - whole.start
      slices.push({ start: start - segment.start, end: end - segment.start, targetOffset })
    }
    rangeOffset += whole.end - whole.start
  }
  return slices
}

/** Where in the content the last of them ends; null: at its end. */
export function endOf(ranges: readonly FileRange[]): number | null {
  let last = 0
  for (const { endBytes } of ranges) {
    if (endBytes === null) return null
    last = Math.max(last, endBytes)
  }
  return last
}

/** What is wrong with them, whatever the content, as what was expected; null: nothing. */
export function faultOf(ranges: readonly FileRange[]): string | null {
  if (ranges.length === 0 || ranges.length > MAX_FILE_RANGES) return `1 to ${MAX_FILE_RANGES}`
  const sorted = [...ranges].sort((one, other) => one.startBytes - other.startBytes)
  for (const [at, { startBytes, endBytes }] of sorted.entries()) {
    const end = endBytes ?? Number.POSITIVE_INFINITY
    const isRange = Number.isSafeInteger(startBytes) && startBytes >= 0 && end > startBytes
    if (!isRange || (endBytes !== null && !Number.isSafeInteger(endBytes))) {
      return 'whole numbers, the end behind the start'
    }
    if (end > (sorted[at + 1]?.startBytes ?? Number.POSITIVE_INFINITY)) return 'ranges that do not overlap'
  }
  const open = ranges.findIndex(({ endBytes }) => endBytes === null)
  return open === -1 || open === ranges.length - 1 ? null : 'only the last range without an end'
}

/** @throws SHORTHAUL_RANGE_INVALID */
function resolve(ranges: readonly FileRange[], lengthBytes: number): ByteRange[] {
  const fault = faultOf(ranges)
  if (fault !== null) throw new ShorthaulError('SHORTHAUL_RANGE_INVALID', `Cannot use the ranges: expected ${fault}`)
  return ranges.map(({ startBytes, endBytes }) => {
    if (startBytes < lengthBytes && (endBytes ?? 0) <= lengthBytes) {
      return { start: startBytes, end: endBytes ?? lengthBytes }
    }
    throw new ShorthaulError(
      'SHORTHAUL_RANGE_INVALID',
      `Cannot fetch the bytes from ${startBytes} to ${endBytes ?? 'the end'}: the content has ${lengthBytes}`,
      { details: { startBytes, endBytes, lengthBytes } },
    )
  })
}

function common(one: ByteRange, other: ByteRange): ByteRange {
  const start = Math.max(one.start, other.start)
  return { start, end: Math.max(start, Math.min(one.end, other.end)) }
}

function covering({ start, end }: ByteRange): ByteRange {
  return { start: Math.floor(start / SEGMENT_BYTES), end: Math.ceil(end / SEGMENT_BYTES) }
}

function sumOf(ranges: readonly ByteRange[]): number {
  return ranges.reduce((sum, { start, end }) => sum + end - start, 0)
}
