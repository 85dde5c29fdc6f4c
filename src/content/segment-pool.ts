/**
 * Buffers for segments on their way, used again instead of left to the garbage collector: at LAN speed a hundred of them
 * pass each second, and fresh ones cost 64 MiB of resident garbage and a fifth of the processor time (measured with
 * 512 MiB from a peer, 2026-11-22).
 *
 * Ownership: `take` gives a buffer away; whoever has it may `give` it back once nobody can read or write it any more.
 * A buffer that is not given back is merely garbage; one that is given back too early is corruption. So it is given back
 * only after success, never after an error or an abort, which can leave I/O under way.
 */
import { SEGMENT_BYTES } from './segmentation.ts'

/** One byte more than a segment: a reader asks for it to see that a file ends where it should. */
const CAPACITY_BYTES = SEGMENT_BYTES + 1
/** 24 MiB: what one busy transfer and eight uploads have in use at a time. */
const MAX_IDLE = 24

export class SegmentPool {
  readonly #idle: ArrayBuffer[] = []

  /** @param lengthBytes up to SEGMENT_BYTES + 1. The content is whatever was there before. */
  take(lengthBytes: number): Uint8Array {
    return new Uint8Array(this.#idle.pop() ?? new ArrayBuffer(CAPACITY_BYTES), 0, lengthBytes)
  }

  /** Takes back what `take` gave; anything else is left alone. */
  give(bytes: Uint8Array): void {
    const { buffer } = bytes
    if (!(buffer instanceof ArrayBuffer) || buffer.byteLength !== CAPACITY_BYTES || bytes.byteOffset !== 0) return
    if (this.#idle.length < MAX_IDLE && !this.#idle.includes(buffer)) this.#idle.push(buffer)
  }
}
