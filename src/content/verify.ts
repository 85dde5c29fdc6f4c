/**
 * The one door between bytes and belief. Only this file makes a VerifiedSegment, and only that type can be stored or
 * served; the compiler refuses the rest.
 *
 * Does not decide which hash to expect: trust in a hash belongs to the draft.
 */
import { ShorthaulError } from '../errors.ts'
import { hashSegment } from './digest.ts'
import type { SegmentHash } from './ids.ts'
import { SEGMENT_BYTES } from './segmentation.ts'
import type { VerifiedSegment } from './verified.ts'

export type { VerifiedSegment } from './verified.ts'

/**
 * @param expected what the bytes must hash to; null only for bytes that came straight from the origin, whose hash is
 *   unknown until now
 * @throws SHORTHAUL_SEGMENT_CORRUPT when they hash to something else or are not a segment's length
 */
export function verifySegment(bytes: Uint8Array, expected: SegmentHash | null): VerifiedSegment {
  if (bytes.byteLength === 0 || bytes.byteLength > SEGMENT_BYTES) {
    throw new ShorthaulError(
      'SHORTHAUL_SEGMENT_CORRUPT',
      `Cannot verify a segment: it has ${bytes.byteLength} bytes, expected 1 to ${SEGMENT_BYTES}`,
    )
  }
  const hash = hashSegment(bytes)
  if (expected !== null && hash !== expected) {
    throw new ShorthaulError(
      'SHORTHAUL_SEGMENT_CORRUPT',
      `Cannot verify a segment: it hashes to ${hash}, expected ${expected}`,
      {
        details: { expected, found: hash },
      },
    )
  }
  // The only cast to this brand in the program.
  return { hash, bytes } as VerifiedSegment
}
