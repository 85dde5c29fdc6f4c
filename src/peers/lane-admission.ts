/**
 * Who may have an upload slot now. Pure state over (peers, monotonic now); reads and sockets are elsewhere.
 *
 * The rule: a free slot, and a share of at most ceil(slots / peers who want some). A peer wants some while it holds one
 * and for a second after it was refused. So one peer alone gets every slot; as soon as a second is turned away, the
 * first stops being admitted until it is down to half, and the second's next request finds room.
 *
 * Slots are as many as finish within a second or so each. What a neighbour has whole it passes on, what eight of them have
 * half of nobody can: on a slow uplink two are served after one another in the time that eight take side by side for their
 * first byte of use. How fast the uplink is, is not known before something was sent: it begins with two. Where it is
 * known to be slow, a segment goes to one at a time: that one has it for all others before a second could.
 */
import type { Clock } from '../clock.ts'
import type { AgentKey, SegmentHash } from '../content/ids.ts'

/** Longer than any Retry-After we send, so that who was refused still counts when it comes back. */
const DEMAND_MS = 1500
const MIN_RETRY_AFTER_MS = 20
const MAX_RETRY_AFTER_MS = 1000

/** Two keep a link full, and are the least. */
const MIN_SLOTS = 2
/** An upload should take no longer than this among those beside it. */
const UPLOAD_MS = 1000
/** From here on an uplink is slow: about 40 Mbit/s. */
const SLOW_MS = 200
/** The quickest of late says what the uplink gives; a slow receiver says nothing about it. Forgotten at this rate. */
const SERVICE_GROWTH = 1.1

interface Demand {
  held: number
  refusedUntilMs: number
}

export class LaneAdmission {
  readonly #clock: Clock
  readonly #ownMaxUploads: number
  readonly #limit: () => number
  /** Bounded by the peers that have an offer: others do not get here. */
  readonly #demands = new Map<AgentKey, Demand>()
  readonly #onTheirWay = new Set<SegmentHash>()
  #activeCount = 0
  #averageMs = 50
  /** An upload alone would take so long at most; null: nothing was sent yet. */
  #serviceMs: number | null = null

  /** @param options.limit what else bounds the slots, at this moment; 0: none is given */
  constructor(components: { clock: Clock }, options: { maxUploads: number; limit?: (() => number) | undefined }) {
    this.#clock = components.clock
    this.#ownMaxUploads = options.maxUploads
    this.#limit = options.limit ?? (() => options.maxUploads)
  }

  get activeCount(): number {
    return this.#activeCount
  }

  /** Takes a slot; whoever gets one calls `leave` exactly once. */
  enter(
    peer: AgentKey,
    hash: SegmentHash,
  ): { readonly isAdmitted: true } | { readonly isAdmitted: false; readonly retryAfterMs: number } {
    const nowMs = this.#clock.monotonicMs()
    const demand = this.#demands.get(peer) ?? { held: 0, refusedUntilMs: 0 }
    this.#demands.set(peer, demand)
    const wanting = this.#countWanting(nowMs, peer)
    const isLimited = this.#limit() < this.#ownMaxUploads
    const maxUploads = Math.min(this.#ownMaxUploads, this.#limit(), this.#usefulSlots())
    const share = Math.ceil(maxUploads / wanting)
    const isBetterRelayed = this.#onTheirWay.has(hash) && (this.#serviceMs ?? 0) > SLOW_MS
    if (this.#activeCount < maxUploads && demand.held < share && !isBetterRelayed) {
      this.#onTheirWay.add(hash)
      demand.held += 1
      demand.refusedUntilMs = 0
      this.#activeCount += 1
      return { isAdmitted: true }
    }
    demand.refusedUntilMs = nowMs + DEMAND_MS
    // A lane that yields to others on its host is not free again soon, whatever an upload took before.
    const queueMs = isLimited ? MAX_RETRY_AFTER_MS : (this.#averageMs * wanting) / Math.max(1, maxUploads)
    return { isAdmitted: false, retryAfterMs: Math.round(clamp(queueMs, MIN_RETRY_AFTER_MS, MAX_RETRY_AFTER_MS)) }
  }

  /** @param durationMs how long the slot was held; sets what Retry-After says */
  leave(peer: AgentKey, hash: SegmentHash, durationMs: number): void {
    this.#onTheirWay.delete(hash)
    const demand = this.#demands.get(peer)
    if (!demand || demand.held === 0) return
    const serviceMs = durationMs / this.#activeCount
    this.#serviceMs = this.#serviceMs === null ? serviceMs : Math.min(serviceMs, this.#serviceMs * SERVICE_GROWTH)
    demand.held -= 1
    this.#activeCount -= 1
    this.#averageMs += 0.2 * (durationMs - this.#averageMs)
  }

  #usefulSlots(): number {
    if (this.#serviceMs === null) return MIN_SLOTS
    return Math.max(MIN_SLOTS, Math.floor(UPLOAD_MS / Math.max(1, this.#serviceMs)))
  }

  #countWanting(nowMs: number, asking: AgentKey): number {
    let wanting = 0
    for (const [peer, demand] of this.#demands) {
      if (peer === asking || demand.held > 0 || demand.refusedUntilMs > nowMs) wanting += 1
      else this.#demands.delete(peer)
    }
    return wanting
  }
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value))
}
