/**
 * The degraded path: content without a strong validator or without a length. One stream, from the start, to one target;
 * nothing is cached, shared or resumed, because nobody could say which generation a kept segment belongs to.
 */
import type { SegmentPool } from '../content/segment-pool.ts'
import { verifySegment } from '../content/verify.ts'
import type { OriginStream } from '../origin/origin.ts'
import type { TokenBucket } from '../throttle/token-bucket.ts'
import type { Delivery } from './request.ts'
import { readSegments } from './segment-reader.ts'
import type { Tally } from './tally.ts'

/** @returns the length of the content, known at its end. @throws SHORTHAUL_ORIGIN_*, and what the delivery throws */
export async function fetchStream(
  stream: OriginStream,
  options: {
    readonly delivery: Delivery
    readonly tally: Tally
    readonly pool: SegmentPool
    readonly limiter: TokenBucket | null
    readonly signal: AbortSignal
  },
): Promise<number> {
  const { delivery, tally, limiter, pool, signal } = options
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
      tally.deliver('origin', bytes.byteLength)
      lengthBytes += bytes.byteLength
      pool.give(bytes)
    }
  } finally {
    await stream.cancel()
  }
  return lengthBytes
}
