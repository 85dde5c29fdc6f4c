/** How much one peer may send over its control session: two token buckets, frames and bytes. Pure. */

/** A 10 Gbit/s fetcher commits 1,200 segments a second, and each may be announced. */
const FRAMES_PER_SEC = 2000
const MAX_FRAMES = 8000
/** A manifest of 1 TiB is 32 MiB of hashes, asked for in parts. */
const BYTES_PER_SEC = 8 * 1024 * 1024
const MAX_BYTES = 48 * 1024 * 1024

export class FloodGate {
  #frames = MAX_FRAMES
  #bytes = MAX_BYTES
  #atMs: number

  /** @param nowMs monotonic, as everywhere here */
  constructor(nowMs: number) {
    this.#atMs = nowMs
  }

  /** False when the sender has used up what it may send. */
  admit(frameBytes: number, nowMs: number): boolean {
    const elapsedSec = Math.max(0, nowMs - this.#atMs) / 1000
    this.#atMs = nowMs
    this.#frames = Math.min(MAX_FRAMES, this.#frames + elapsedSec * FRAMES_PER_SEC) - 1
    this.#bytes = Math.min(MAX_BYTES, this.#bytes + elapsedSec * BYTES_PER_SEC) - frameBytes
    return this.#frames >= 0 && this.#bytes >= 0
  }
}
