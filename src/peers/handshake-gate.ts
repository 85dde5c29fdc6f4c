/**
 * How many handshakes strangers may begin with us: a token bucket for each address, and one for all. Pure.
 *
 * Why: hyperdht keeps what a handshake began with for up to 20 s, whatever becomes of it, and without limit: 10,000 of them
 * cost 144 MiB and two milliseconds each (hyperdht 6.34, 2-core VM, 2026-11-26). They come before any proof, and by UDP,
 * where an address can be made up: hence also the bucket for all, which bounds memory whoever sends.
 *
 * Does not know sessions: those that are let in here are counted again in reception.ts.
 */

/** A neighbour dials once, and again when it is not answered; behind a relay stand several. */
const MAX_PER_ADDRESS = 64
const PER_ADDRESS_PER_SEC = 8
/** With what is held for 20 s that makes 1,800 at most, 25 MiB. */
const MAX_IN_ALL = 512
const IN_ALL_PER_SEC = 64
/** Those heard of longest ago are forgotten first: they have a full bucket again, and one for all bounds them. */
const MAX_ADDRESSES = 1024

interface Bucket {
  tokens: number
  atMs: number
}

export class HandshakeGate {
  /** Insertion order is the order of the last handshake. */
  readonly #addresses = new Map<string, Bucket>()
  readonly #all: Bucket

  /** @param nowMs monotonic, as everywhere here */
  constructor(nowMs: number) {
    this.#all = { tokens: MAX_IN_ALL, atMs: nowMs }
  }

  get addressCount(): number {
    return this.#addresses.size
  }

  /** False: too many came, from there or in all. One address that sends too many uses up nothing of the others. */
  admit(address: string, nowMs: number): boolean {
    const own = this.#addresses.get(address) ?? { tokens: MAX_PER_ADDRESS, atMs: nowMs }
    this.#addresses.delete(address)
    this.#addresses.set(address, own)
    if (this.#addresses.size > MAX_ADDRESSES) {
      const [oldest] = this.#addresses.keys()
      if (oldest !== undefined) this.#addresses.delete(oldest)
    }
    refill(own, { nowMs, perSec: PER_ADDRESS_PER_SEC, max: MAX_PER_ADDRESS })
    refill(this.#all, { nowMs, perSec: IN_ALL_PER_SEC, max: MAX_IN_ALL })
    if (own.tokens < 1 || this.#all.tokens < 1) return false
    own.tokens--
    this.#all.tokens--
    return true
  }
}

function refill(bucket: Bucket, rate: { readonly nowMs: number; readonly perSec: number; readonly max: number }): void {
  const elapsedSec = Math.max(0, rate.nowMs - bucket.atMs) / 1000
  bucket.atMs = rate.nowMs
  bucket.tokens = Math.min(rate.max, bucket.tokens + elapsedSec * rate.perSec)
}
