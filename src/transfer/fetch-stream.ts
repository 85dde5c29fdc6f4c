/**
 * The degraded path: content without a strong validator or without a length. One stream, from the start, to one target;
 * nothing is cached, shared or resumed, because nobody could say which generation a kept segment belongs to. What is before
 * the ranges that are wanted is read and dropped; what is behind them is not read.
 */
import type { SegmentPool } from '../content/segment-pool.ts'
import { SEGMENT_BYTES } from '../content/segmentation.ts'
import { verifySegment } from '../content/verify.ts'
import type { OriginStream } from '../origin/origin.ts'
import type { TokenBucket } from '../throttle/token-bucket.ts'
import type { Delivery, FileRange } from './request.ts'
import { readSegments } from './segment-reader.ts'
import type { Tally } from './tally.ts'
import { endOf, slicesOf } from './wanted.ts'

/** @returns the length of the content, known at its end, or what was read of it. @throws SHORTHAUL_ORIGIN_*, and what the delivery throws */
export async function fetchStream(
  stream: OriginStream,
  options: {
    /** Null: all. */
    readonly ranges: readonly FileRange[] | null
    readonly delivery: Delivery
    readonly tally: Tally
    readonly pool: SegmentPool
    readonly limiter: TokenBucket | null
    readonly signal: AbortSignal
  },
): Promise<number> {
  const { ranges, delivery, tally, limiter, pool, signal } = options
  const wantedEnd = (ranges && endOf(ranges)) ?? Number.POSITIVE_INFINITY
  let lengthBytes = 0
  try {
    const segments = readSegments(stream, {
      signal,
      pool,
      pace: async (bytes) => limiter?.take(bytes, { signal }),
      onPartial: (bytes) => tally.waste(bytes),
    })
    for await (const [index, bytes] of segments) {
      await delivery.write(index, verifySegment(bytes, null))
      const wantedBytes = ranges === null ? bytes.byteLength : bytesWanted(ranges, index, bytes.byteLength)
      tally.deliver('origin', wantedBytes)
      tally.waste(bytes.byteLength - wantedBytes)
      lengthBytes += bytes.byteLength
      pool.give(bytes)
      if (lengthBytes >= wantedEnd) break
    }
  } finally {
    await stream.cancel()
  }
  return lengthBytes
}

function bytesWanted(ranges: readonly FileRange[], index: number, segmentBytes: number): number {
  const start = index * SEGMENT_BYTES
  return slicesOf(ranges, { start, end: start + segmentBytes }).reduce((sum, slice) => sum + slice.end - slice.start, 0)
}
