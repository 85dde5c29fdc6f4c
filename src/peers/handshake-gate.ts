/**
 * How many handshakes strangers may begin with us: a token bucket for each address, and one for all. Pure.
 *
 * Why: hyperdht keeps what a handshake began with for up to 20 s, whatever becomes of it, and without limit: 10,000 of them
 * cost 144 MiB and two milliseconds each (hyperdht 6.34, 2-core VM, 2026-11-26). They come before any proof, and by UDP,
 * where an address can be made up: hence also the bucket for all, which bounds memory whoever sends.
 *
 * Does not know sessions: those that are let in here are counted again in reception.ts.
 */
import { AddressBuckets, Bucket } from './address-buckets.ts'

/** A neighbour dials once, and again when it is not answered; behind a relay stand several. */
const OF_ADDRESS = { burst: 64, perSec: 8 }
/** With what is held for 20 s that makes 1,800 at most, 25 MiB. */
const OF_ALL = { burst: 512, perSec: 64 }

export class HandshakeGate {
  readonly #addresses = new AddressBuckets(OF_ADDRESS)
  readonly #all: Bucket

  /** @param nowMs monotonic, as everywhere here */
  constructor(nowMs: number) {
    this.#all = new Bucket(OF_ALL, nowMs)
  }

  get addressCount(): number {
    return this.#addresses.addressCount
  }

  /** False: too many came, from there or in all. One address that sends too many uses up nothing of the others. */
  admit(address: string, nowMs: number): boolean {
    const own = this.#addresses.of(address, nowMs)
    return own.hasOne(nowMs) && this.#all.take(nowMs) && own.take(nowMs)
  }
}
