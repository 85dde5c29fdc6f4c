/**
 * The serving side's table of who may connect to the lane: a random identity and key for each control session, sent
 * over that session once membership is proved.
 *
 * Does not know sockets: whoever holds some listens with `onEnd` and destroys them.
 * Invariants: a key is 32 random bytes, never derived from anything public; an offer that has ended is not found, even
 * when its timer is late; the table never has more than `maxOffers` entries.
 */
import { type Clock, secretBytes } from '../clock.ts'
import type { AgentKey } from '../content/ids.ts'
import { identityText } from './lane-tls.ts'

const IDENTITY_BYTES = 16
const PSK_BYTES = 32
/** Two agents that dial each other at once have two sessions for a moment, and old ones linger in their grace. */
const MAX_OFFERS_PER_PEER = 4

export interface LaneOffer {
  readonly identity: Buffer
  readonly psk: Buffer
}

interface Entry {
  readonly key: string
  readonly peer: AgentKey
  readonly psk: Buffer
  /** Monotonic; Infinity while the session lives. */
  endsAtMs: number
  readonly timer: AbortController
}

export type OfferListener = (offer: { readonly key: string; readonly peer: AgentKey }) => void

export class LaneOffers {
  readonly #clock: Clock
  readonly #graceMs: number
  readonly #maxOffers: number
  /** By identity as hex; insertion order is age. */
  readonly #entries = new Map<string, Entry>()
  readonly #listeners = new Set<OfferListener>()

  /** @param options graceMs how long an offer outlives its control session */
  constructor(components: { clock: Clock }, options: { graceMs: number; maxOffers: number }) {
    this.#clock = components.clock
    this.#graceMs = options.graceMs
    this.#maxOffers = options.maxOffers
  }

  /**
   * A new offer, for one control session. Call it once for each session and send the result over that session only.
   * When the table is full the oldest offer ends at once, those of ended sessions first.
   *
   * @returns 16 bytes of identity and 32 of key, both random; the caller may keep them
   */
  offerFor(peer: AgentKey): LaneOffer {
    const own = this.#of(peer)
    if (own.length >= MAX_OFFERS_PER_PEER) this.#end(oldest(own))
    if (this.#entries.size >= this.#maxOffers) this.#end(oldest([...this.#entries.values()]))
    const identity = secretBytes(IDENTITY_BYTES)
    const psk = secretBytes(PSK_BYTES)
    const key = identityText(identity)
    this.#entries.set(key, {
      key,
      peer,
      psk: Buffer.from(psk),
      endsAtMs: Number.POSITIVE_INFINITY,
      timer: new AbortController(),
    })
    return { identity, psk }
  }

  /**
   * The control session ended: its offer ends after the grace, so that segments under way can finish.
   *
   * @param options identity that session's offer; without it every offer of the peer
   */
  endSession(peer: AgentKey, options: { identity?: Uint8Array } = {}): void {
    const only = options.identity === undefined ? null : identityText(options.identity)
    for (const entry of this.#of(peer)) {
      if ((only !== null && entry.key !== only) || Number.isFinite(entry.endsAtMs)) continue
      entry.endsAtMs = this.#clock.monotonicMs() + this.#graceMs
      this.#clock.sleep(this.#graceMs, { signal: entry.timer.signal }).then(
        () => this.#end(entry),
        () => {}, // revoked before its time
      )
    }
  }

  /** Ends every offer of the peer at once; its sockets are destroyed before this returns. Idempotent. */
  revoke(peer: AgentKey): void {
    for (const entry of this.#of(peer)) this.#end(entry)
  }

  /** @param identity as raw bytes, or as hex the way TLS carries it */
  lookup(
    identity: Uint8Array | string,
  ): { readonly key: string; readonly peer: AgentKey; readonly psk: Buffer } | null {
    const entry = this.#entries.get(typeof identity === 'string' ? identity : identityText(identity))
    if (!entry || this.#clock.monotonicMs() >= entry.endsAtMs) return null
    return entry
  }

  /** Calls back, synchronously, when an offer has ended and is already unknown. @returns a function that stops it */
  onEnd(listener: OfferListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Ends every offer at once. Idempotent. */
  close(): void {
    for (const entry of [...this.#entries.values()]) this.#end(entry)
  }

  #of(peer: AgentKey): Entry[] {
    return [...this.#entries.values()].filter((entry) => entry.peer === peer)
  }

  #end(entry: Entry): void {
    if (!this.#entries.delete(entry.key)) return
    entry.timer.abort()
    // OpenSSL got its own copy, and the caller of offerFor too.
    entry.psk.fill(0)
    for (const listener of this.#listeners) listener({ key: entry.key, peer: entry.peer })
  }
}

/** Ended ones go first: cutting them short costs least. */
function oldest(entries: readonly [Entry, ...Entry[]] | readonly Entry[]): Entry {
  const found = entries.find((entry) => Number.isFinite(entry.endsAtMs)) ?? entries[0]
  if (!found) throw new RangeError('maxOffers must be at least 1')
  return found
}
