/**
 * Lets readers take turns, so that together they read a given rate in small even pieces. Who reads slower than the line
 * delivers closes TCP's window, and the sender slows down to the same rate.
 *
 * Pieces are small because the sender answers each with a burst of its size, which queues at the bottleneck.
 */
import type { Clock } from '../clock.ts'

export interface PacedReader {
  /** May read now, once, at most so many bytes. What was read is charged. */
  grant(maxBytes: number): void
}

/** What is read in one turn of the clock. */
const SLICE_MS = 8
/** What may be saved up while nobody reads: a timer that comes late must not cost anything. */
const SAVED_MS = 30
/** Of a turn: no reader is ever granted less. */
export const LEAST_PIECE_BYTES = 2 * 1024
const PIECE_BYTES = { min: LEAST_PIECE_BYTES, max: 64 * 1024 } as const
/** A reader had to wait: for so long after that the rate, and not the network, is what limits. */
const LIMITED_MS = 300

export class Pacer {
  readonly #clock: Clock
  /** In the order in which they came. */
  readonly #waiting = new Set<PacedReader>()
  #bytesPerSec: number | null
  #tokensBytes = 0
  #filledAtMs: number
  #limitedAtMs = Number.NEGATIVE_INFINITY
  #timer: AbortController | null = null
  #chargedBytes = 0
  #isClosed = false

  /** @param bytesPerSec null: as fast as they can; 0: nobody reads */
  constructor(clock: Clock, bytesPerSec: number | null) {
    this.#clock = clock
    this.#bytesPerSec = bytesPerSec
    this.#filledAtMs = clock.monotonicMs()
  }

  get bytesPerSec(): number | null {
    return this.#bytesPerSec
  }

  /** Read since the beginning. */
  get chargedBytes(): number {
    return this.#chargedBytes
  }

  /** Somebody waits for the rate, or had to a moment ago. A rate of 0 stops them, which is another matter. */
  isLimiting(): boolean {
    if (this.#bytesPerSec === null) return false
    // A single wait may last longer than LIMITED_MS: 2 KiB at 0.05 Mbit/s.
    const isAwaited = this.#bytesPerSec > 0 && this.#waiting.size > 0
    return isAwaited || this.#clock.monotonicMs() - this.#limitedAtMs < LIMITED_MS
  }

  setRate(bytesPerSec: number | null): void {
    if (bytesPerSec === this.#bytesPerSec) return
    this.#fill()
    this.#bytesPerSec = bytesPerSec
    // A debt of the rate before would stop everybody for long at a lower one.
    this.#tokensBytes = Math.max(this.#tokensBytes, -this.#sliceBytes())
    this.#timer?.abort()
    this.#timer = null
    this.#serve()
  }

  /** Asks for one turn; it comes at once when there is room. */
  request(reader: PacedReader): void {
    if (this.#isClosed) return
    this.#waiting.add(reader)
    if (this.#timer === null) this.#serve()
  }

  /** No longer wants its turn. */
  cancel(reader: PacedReader): void {
    this.#waiting.delete(reader)
  }

  charge(bytes: number): void {
    this.#chargedBytes += bytes
    this.#tokensBytes -= bytes
  }

  /** Forgets who waits: nobody is granted anything any more. Idempotent. */
  close(): void {
    this.#isClosed = true
    this.#waiting.clear()
    this.#timer?.abort()
    this.#timer = null
    this.#limitedAtMs = Number.NEGATIVE_INFINITY
  }

  #serve(): void {
    if (this.#bytesPerSec === null) {
      this.#grant(Number.POSITIVE_INFINITY, PIECE_BYTES.max)
      return
    }
    if (this.#waiting.size === 0) return
    this.#fill()
    const pieceBytes = this.#pieceBytes()
    // Tokens of those who were granted a turn and find nothing to read are given again in the next slice.
    // What is saved up is not for a rate of 0.
    if (this.#tokensBytes > 0 && this.#bytesPerSec > 0)
      this.#grant(Math.ceil(this.#tokensBytes / pieceBytes), pieceBytes)
    if (this.#waiting.size > 0) this.#serveLater(pieceBytes)
  }

  #grant(turns: number, pieceBytes: number): void {
    let left = turns
    // Those who ask again meanwhile wait for the next turn.
    for (const reader of [...this.#waiting]) {
      if (left-- <= 0) return
      this.#waiting.delete(reader)
      reader.grant(pieceBytes)
    }
  }

  #serveLater(pieceBytes: number): void {
    this.#limitedAtMs = this.#clock.monotonicMs()
    if (!this.#bytesPerSec) return // until the rate changes
    const waitMs = Math.max(
      1,
      ((Math.min(pieceBytes, this.#sliceBytes()) - this.#tokensBytes) / this.#bytesPerSec) * 1000,
    )
    const timer = new AbortController()
    this.#timer = timer
    this.#clock.sleep(waitMs, { signal: timer.signal }).then(
      () => {
        if (this.#timer !== timer) return
        this.#timer = null
        this.#serve()
      },
      () => {}, // the rate changed, or closed
    )
  }

  #fill(): void {
    const nowMs = this.#clock.monotonicMs()
    const refill = ((nowMs - this.#filledAtMs) / 1000) * (this.#bytesPerSec ?? 0)
    const mostBytes = this.#sliceBytes() * (SAVED_MS / SLICE_MS)
    this.#tokensBytes = Math.min(mostBytes, this.#tokensBytes + refill)
    this.#filledAtMs = nowMs
  }

  #sliceBytes(): number {
    return Math.max(PIECE_BYTES.min, ((this.#bytesPerSec ?? 0) * SLICE_MS) / 1000)
  }

  #pieceBytes(): number {
    const even = this.#sliceBytes() / Math.max(1, this.#waiting.size)
    return Math.min(PIECE_BYTES.max, Math.max(PIECE_BYTES.min, Math.floor(even)))
  }
}
