/**
 * Token buckets for things that strangers do as often as they like: one for each address, of one rate. Pure.
 *
 * Invariant: at most MAX_ADDRESSES are remembered, the longest unheard of is forgotten first; it has its whole burst again.
 */

const MAX_ADDRESSES = 1024

export interface BucketRate {
  /** How many may come at once. */
  readonly burst: number
  readonly perSec: number
}

/** Times are monotonic, milliseconds. */
export class Bucket {
  readonly #rate: BucketRate
  #tokens: number
  #atMs: number

  constructor(rate: BucketRate, nowMs: number) {
    this.#rate = rate
    this.#tokens = rate.burst
    this.#atMs = nowMs
  }

  hasOne(nowMs: number): boolean {
    const elapsedSec = Math.max(0, nowMs - this.#atMs) / 1000
    this.#atMs = nowMs
    this.#tokens = Math.min(this.#rate.burst, this.#tokens + elapsedSec * this.#rate.perSec)
    return this.#tokens >= 1
  }

  /** A refused try costs nothing: who goes on trying is let in at the same rate. @returns false when there is none */
  take(nowMs: number): boolean {
    if (!this.hasOne(nowMs)) return false
    this.#tokens--
    return true
  }
}

export class AddressBuckets {
  /** Insertion order is the order of the last use. */
  readonly #buckets = new Map<string, Bucket>()
  readonly #rate: BucketRate

  constructor(rate: BucketRate) {
    this.#rate = rate
  }

  get addressCount(): number {
    return this.#buckets.size
  }

  of(address: string, nowMs: number): Bucket {
    const bucket = this.#buckets.get(address) ?? new Bucket(this.#rate, nowMs)
    this.#buckets.delete(address)
    this.#buckets.set(address, bucket)
    if (this.#buckets.size > MAX_ADDRESSES) {
      const [oldest] = this.#buckets.keys()
      if (oldest !== undefined) this.#buckets.delete(oldest)
    }
    return bucket
  }
}
