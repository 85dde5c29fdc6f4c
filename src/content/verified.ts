/**
 * Bytes that may be believed, as types. A file of its own so that a command can have them without loading what hashes.
 *
 * Two makers: `verifySegment` in verify.ts, which hashes, and `handedOver` here, for the one place where somebody we trust
 * like ourselves has hashed already.
 */

import type { SegmentHash } from './ids.ts'

declare const verified: unique symbol

/** What may be delivered. */
export interface VerifiedBytes {
  /** 1 to SEGMENT_BYTES bytes. Shared by all who hold the segment: nobody writes to it. */
  readonly bytes: Uint8Array
  readonly [verified]: true
}

/** What may also be stored and served. */
export interface VerifiedSegment extends VerifiedBytes {
  readonly hash: SegmentHash
}

/**
 * For bytes from our own agent, over a socket whose owner is checked: it verified them before it sent them, and there is
 * nothing here to compare a second hash with. That one took a fifth of the command's processor time.
 */
export function handedOver(bytes: Uint8Array): VerifiedBytes {
  return { bytes } as VerifiedBytes
}
