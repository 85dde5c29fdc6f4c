/** Cuts the body of an origin stream into whole segments: each is filled once, in a buffer of the pool, and given away. */
import type { SegmentPool } from '../content/segment-pool.ts'
import { SEGMENT_BYTES } from '../content/segmentation.ts'
import { throwIfAborted } from '../errors.ts'
import type { OriginStream } from '../origin/origin.ts'

export interface ReadOptions {
  readonly signal: AbortSignal
  readonly pool: SegmentPool
  /** Called for each chunk before it is used; the wait in it is the throttle. */
  readonly pace: (bytes: number) => Promise<void>
  /** Bytes that were read and not given out, when reading ended early. */
  readonly onPartial: (bytes: number) => void
}

/**
 * Yields [segment index, bytes] from the stream's offset on, which must be on a segment boundary. The last segment may
 * be short. Memory: one segment being filled, and what the consumer holds.
 */
export async function* readSegments(
  stream: OriginStream,
  options: ReadOptions,
): AsyncGenerator<readonly [index: number, bytes: Uint8Array]> {
  if (stream.offset % SEGMENT_BYTES !== 0) throw new RangeError(`A stream starts at ${stream.offset}, within a segment`)
  let index = stream.offset / SEGMENT_BYTES
  let buffer: Uint8Array | null = null
  let filledBytes = 0
  let heldBytes = 0
  try {
    for await (const chunk of stream.body) {
      heldBytes += chunk.byteLength
      throwIfAborted(options.signal)
      await options.pace(chunk.byteLength)
      let taken = 0
      while (taken < chunk.byteLength) {
        buffer ??= options.pool.take(SEGMENT_BYTES)
        const part = chunk.subarray(taken, taken + SEGMENT_BYTES - filledBytes)
        buffer.set(part, filledBytes)
        filledBytes += part.byteLength
        taken += part.byteLength
        if (filledBytes === SEGMENT_BYTES) {
          const segment = buffer
          buffer = null
          filledBytes = 0
          heldBytes -= SEGMENT_BYTES
          yield [index++, segment]
        }
      }
    }
    if (buffer && filledBytes > 0) {
      const segment = buffer.subarray(0, filledBytes)
      heldBytes = 0
      yield [index, segment]
    }
  } finally {
    if (heldBytes > 0) options.onPartial(heldBytes)
  }
}
