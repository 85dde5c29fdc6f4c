/**
 * A static cap in bytes per second. Readers take tokens for the bytes they already have and wait off the debt, so that
 * a paused reader closes the TCP window and the sender slows down.
 */
import type { Clock } from '../clock.ts'

/** Burst: 50 ms worth, at least one network buffer. */
const BURST_MS = 50
const MIN_BURST_BYTES = 16 * 1024

export class TokenBucket {
  readonly #clock: Clock
  readonly #bytesPerSec: number
  readonly #burstBytes: number
  #tokensBytes: number
  #filledAtMs: number

  /** @param bytesPerSec above zero */
  constructor(clock: Clock, bytesPerSec: number) {
    this.#clock = clock
    this.#bytesPerSec = bytesPerSec
    this.#burstBytes = Math.max(MIN_BURST_BYTES, (bytesPerSec * BURST_MS) / 1000)
    this.#tokensBytes = this.#burstBytes
    this.#filledAtMs = clock.monotonicMs()
  }

  /** Resolves when `bytes` more fit under the cap. Several waiters share it fairly enough: each pays its own debt. */
  async take(bytes: number, options: { signal: AbortSignal }): Promise<void> {
    const nowMs = this.#clock.monotonicMs()
    const refillBytes = ((nowMs - this.#filledAtMs) / 1000) * this.#bytesPerSec
    this.#tokensBytes = Math.min(this.#burstBytes, this.#tokensBytes + refillBytes) - bytes
    this.#filledAtMs = nowMs
    if (this.#tokensBytes < 0) {
      await this.#clock.sleep((-this.#tokensBytes / this.#bytesPerSec) * 1000, options)
    }
  }
}
