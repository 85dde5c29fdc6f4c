/**
 * Which connections of strangers are let in to prove themselves: a token bucket for each address, one for all together,
 * and a law of who gives way when the places are full. Nothing here knows sockets or sessions. Pure.
 *
 * The aim: whoever floods from one address takes places from itself only. It is no defence against many addresses:
 * who has them on this network, or forges them, can use up what all strangers share. Sessions that are open, and those
 * that we dial ourselves, are not touched by that.
 *
 * Invariants: at most MAX_ADDRESSES are remembered; an address that is forgotten had its whole burst again, or was the
 * longest unheard of.
 */

/** A machine that restarts its agent, with the dials of both sides and some that cross. */
const BURST = 32
const PER_SEC = 2
/** A branch of some hundred agents that all come up at once, and then whatever a LAN may bring. */
const BURST_OF_ALL = 512
const PER_SEC_OF_ALL = 64
const MAX_ADDRESSES = 1024

interface Bucket {
  tokens: number
  atMs: number
}

export class Admission {
  /** Insertion order is the order of the last connection. */
  readonly #buckets = new Map<string, Bucket>()
  readonly #all: Bucket = { tokens: BURST_OF_ALL, atMs: 0 }

  /** Charges a connection to its address. @param nowMs monotonic @returns false when it comes too soon */
  admit(address: string, nowMs: number): boolean {
    const bucket = this.#buckets.get(address) ?? { tokens: BURST, atMs: nowMs }
    this.#buckets.delete(address)
    this.#buckets.set(address, bucket)
    if (this.#buckets.size > MAX_ADDRESSES) {
      const [oldest] = this.#buckets.keys()
      if (oldest !== undefined) this.#buckets.delete(oldest)
    }
    // The address first: a flood from one is refused there, and takes nothing from what all others share.
    return take(bucket, nowMs, { burst: BURST, perSec: PER_SEC }) && this.#admitOfAll(nowMs)
  }

  get addressCount(): number {
    return this.#buckets.size
  }

  #admitOfAll(nowMs: number): boolean {
    return take(this.#all, nowMs, { burst: BURST_OF_ALL, perSec: PER_SEC_OF_ALL })
  }
}

/** A refused try costs nothing: who goes on trying is let in at the same rate. */
function take(bucket: Bucket, nowMs: number, { burst, perSec }: { burst: number; perSec: number }): boolean {
  bucket.tokens = Math.min(burst, bucket.tokens + (Math.max(0, nowMs - bucket.atMs) / 1000) * perSec)
  bucket.atMs = nowMs
  if (bucket.tokens < 1) return false
  bucket.tokens--
  return true
}

/**
 * Who gives way to a newcomer when all places of unproved connections are taken: the oldest of the address that has
 * most, but only if that is more than the newcomer's address would have. So each address gets its share, whoever came
 * first, and no address pushes out one that has less.
 * @param waiting oldest first
 * @returns null: the newcomer is refused
 */
export function givesWay<Waiting extends { readonly address: string }>(
  waiting: readonly Waiting[],
  address: string,
): Waiting | null {
  const counts = new Map<string, number>()
  for (const { address: other } of waiting) counts.set(other, (counts.get(other) ?? 0) + 1)
  const most = Math.max(0, ...counts.values())
  if (most <= (counts.get(address) ?? 0) + 1) return null
  return waiting.find((other) => counts.get(other.address) === most) ?? null
}
