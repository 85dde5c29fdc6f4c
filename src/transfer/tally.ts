/** Where the bytes of a transfer came from, and what was fetched in vain. The sources always sum to what is delivered. */
import type { Clock } from '../clock.ts'
import type { SourceBytes } from './request.ts'

export type Source = keyof SourceBytes

/** Rates are over this long: short enough to follow, long enough not to jump with every segment. */
const RATE_WINDOW_MS = 3000

export class Tally {
  readonly #clock: Clock
  readonly #bytes = { cache: 0, peer: 0, origin: 0 }
  #wastedBytes = 0
  #checkedBytes = 0
  /** Ascending in time; a few per second at most. */
  readonly #samples: { atMs: number; bytes: number }[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get sources(): SourceBytes {
    return { ...this.#bytes }
  }

  get deliveredBytes(): number {
    return this.#bytes.cache + this.#bytes.peer + this.#bytes.origin
  }

  get wastedBytes(): number {
    return this.#wastedBytes
  }

  /** Had from the origin to compare with what neighbours gave; in none of the other figures. */
  get checkedBytes(): number {
    return this.#checkedBytes
  }

  deliver(source: Source, bytes: number): void {
    this.#bytes[source] += bytes
  }

  waste(bytes: number): void {
    this.#wastedBytes += bytes
  }

  check(bytes: number): void {
    this.#checkedBytes += bytes
  }

  /** What was delivered is thrown away: fetched bytes become waste, cached ones cost nothing. */
  restart(): void {
    this.#wastedBytes += this.#bytes.peer + this.#bytes.origin
    this.#bytes.cache = 0
    this.#bytes.peer = 0
    this.#bytes.origin = 0
    this.#samples.length = 0
  }

  /** Delivered bytes per second over the last seconds. */
  bytesPerSec(): number {
    const nowMs = this.#clock.monotonicMs()
    this.#samples.push({ atMs: nowMs, bytes: this.deliveredBytes })
    while (this.#samples.length > 2 && nowMs - (this.#samples[0]?.atMs ?? nowMs) > RATE_WINDOW_MS) this.#samples.shift()
    const first = this.#samples[0]
    if (!first || nowMs - first.atMs < 1) return 0
    return Math.max(0, ((this.deliveredBytes - first.bytes) / (nowMs - first.atMs)) * 1000)
  }
}
