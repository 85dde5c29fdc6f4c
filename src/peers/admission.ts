/**
 * Which connections of strangers are let in to prove themselves: a token bucket for each address, one for all together,
 * and a law of who gives way when the places are full. Nothing here knows sockets or sessions. Pure.
 *
 * The aim: whoever floods from one address takes places from itself only. It is no defence against many addresses:
 * who has them on this network, or forges them, can use up what all strangers share. Sessions that are open, and those
 * that we dial ourselves, are not touched by that.
 */
import { AddressBuckets, Bucket } from './address-buckets.ts'

/** A machine that restarts its agent, with the dials of both sides and some that cross. */
const OF_ADDRESS = { burst: 32, perSec: 2 }
/** A branch of some hundred agents that all come up at once, and then whatever a LAN may bring. */
const OF_ALL = { burst: 512, perSec: 64 }

export class Admission {
  readonly #addresses = new AddressBuckets(OF_ADDRESS)
  readonly #all = new Bucket(OF_ALL, 0)

  /** Charges a connection to its address. @param nowMs monotonic @returns false when it comes too soon */
  admit(address: string, nowMs: number): boolean {
    // The address first: a flood from one is refused there, and takes nothing from what all others share.
    return this.#addresses.of(address, nowMs).take(nowMs) && this.#all.take(nowMs)
  }

  get addressCount(): number {
    return this.#addresses.addressCount
  }
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
