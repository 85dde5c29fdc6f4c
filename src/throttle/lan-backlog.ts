/**
 * How long the queue is that our own uploads make: what we have in the kernel, over our rate. Pure.
 *
 * Unlimited uploads fill the buffers of the kernel and the queue of the link, some hundred ms of a slow link. That gains
 * nothing: it goes out whatever is decided later, and others wait behind it.
 */

import { WayEstimate } from './lan-way.ts'

export interface QueueSituation {
  /** Monotonic. */
  readonly nowMs: number
  /** Steps of 200 ms since the last decision. */
  readonly steps: number
  /** Of the link, as far as is known. */
  readonly capacityBytesPerSec: number
  readonly ownBytesPerSec: number
  /** Null when unknown, or when the direction is not the one in which we send. */
  readonly backlogMs: number | null
  /** Some of what we had in the kernel at the last look is there still: it does not take what we write as it comes. */
  readonly isStanding: boolean
  /** Of the uploads that run: no more than this could be in the kernel. */
  readonly unsentBytes: number
}

/** The backlog is kept at so much of our rate once it is longer than ... */
const BACKLOG_MS = 10
/** ... this: on fast links it never is. */
const MAX_BACKLOG_MS = 100
/** Within so long. */
const BACKLOG_TIME_MS = 200
/** So little may be none: the link may take more. */
const SHORT_BACKLOG_MS = 2
/** Then the pace grows, twice as much more in each step after the first. */
const SHORT_BACKLOG_GROWTH = 0.1
const MAX_GROWTH = 1
/** Before a second is over our rate is not known: uploads that have just begun are not a backlog of a slow link. */
const FIRST_STEPS = 5
/** So often in a row it could not have become long: the pace is not needed. */
const NEEDLESS_STEPS = 10
/** What was measured of a moment in which we were held back says nothing of the link: it has at least so much of the most. */
const LEAST_LINK_RATIO = 0.8
/** Our acknowledgements of what we fetch are less than it. */
const LEAST_FACTOR = 0.3
/** What the card counts of our bytes, and what is a little less than all. */
const PLAIN_RATIO = 0.98

/**
 * A pace that keeps the backlog short. Costs a slow link a few per cent of its rate at most, a fast one nothing, and a new
 * flow of others starts as on a free link (100 Mbit/s, lab: ten seconds of iperf3 keep 96 % instead of 91 %).
 */
export class ShortBacklog {
  /** The backlog was long, and could be again. */
  #isNeeded = false
  #pace: number | null = null
  #steps = 0
  #shortSteps = 0
  #needlessSteps = 0
  #way = new WayEstimate()

  /** The link is slow enough for a backlog to be long. */
  get isNeeded(): boolean {
    return this.#isNeeded
  }

  /** @param limit.rateBytesPerSec that is kept anyway. @returns the rate to keep */
  step(is: QueueSituation, limit: { readonly rateBytesPerSec: number | null }): number | null {
    const { backlogMs, ownBytesPerSec, capacityBytesPerSec } = is
    // Once it is needed it stays: a moment without any pace fills the queue, and what overflows there is lost.
    if (limit.rateBytesPerSec !== null) {
      this.#pace = this.#isNeeded ? limit.rateBytesPerSec : null
      return limit.rateBytesPerSec
    }
    if (backlogMs === null) {
      this.#pace = null
      return null
    }
    this.#steps += 1
    // Over our rate alone it is long on any link, when much has just been written and little was before.
    const isLong = backlogMs >= MAX_BACKLOG_MS && is.isStanding
    if (this.#pace === null && (!isLong || this.#steps <= FIRST_STEPS)) return null
    this.#isNeeded = true
    const couldBeMs = backlogMs + (is.unsentBytes / Math.max(1, ownBytesPerSec)) * 1000
    this.#needlessSteps = couldBeMs < MAX_BACKLOG_MS ? this.#needlessSteps + 1 : 0
    if (this.#needlessSteps > NEEDLESS_STEPS) {
      this.#isNeeded = false
      this.#pace = null
      this.#way = new WayEstimate()
    } else {
      const linkBytesPerSec = Math.max(ownBytesPerSec, capacityBytesPerSec)
      this.#way.step({ backlogMs, ownBytesPerSec, paceBytesPerSec: this.#pace, linkBytesPerSec, steps: is.steps })
      const plainBytesPerSec = PLAIN_RATIO * Math.max(ownBytesPerSec, LEAST_LINK_RATIO * capacityBytesPerSec)
      this.#pace = plainBytesPerSec * Math.max(LEAST_FACTOR, this.#factor(backlogMs))
    }
    return this.#pace
  }

  /** @returns of the link, what to write */
  #factor(backlogMs: number): number {
    this.#shortSteps = backlogMs < SHORT_BACKLOG_MS ? this.#shortSteps + 1 : 0
    if (this.#shortSteps > 0) return 1 + Math.min(MAX_GROWTH, SHORT_BACKLOG_GROWTH * 2 ** (this.#shortSteps - 1))
    return 1 + (BACKLOG_MS + this.#way.ms - backlogMs) / BACKLOG_TIME_MS
  }
}

/** Longer, and a link is full: what others send, were it only acknowledgements, waits behind it. */
export const QUEUED_MS = 30
/** Only of a link that is full: elsewhere it is the peer that is slow. */
const FULL_RATIO = 0.8
const CUT_RATIO = 0.85
const GROWTH = 1.015
/** Of what we send, so that a rate that does not bind does not grow without end. */
const MAX_UNUSED_RATIO = 1.1
/** Of the link, below which acknowledgements are no reason to go. */
const FLOOR_RATIO = 0.3
const HOLD_MS = 1000

/**
 * A rate at which no queue stands before the acknowledgements of those who receive: beside full uploads a download of
 * iperf3 had 62 % of its rate, with this 97-99 % (100 Mbit/s, queue of 50 ms, lab, 2026-11-25).
 */
export class AckRoom {
  #rate: number | null = null
  #neededAtMs = Number.NEGATIVE_INFINITY
  #isNeeded = false

  /** Others receive, or did a moment ago. */
  get isNeeded(): boolean {
    return this.#isNeeded
  }

  /** @param demand.isNeeded others receive. @returns null: no limit */
  step(is: QueueSituation, demand: { readonly isNeeded: boolean }): number | null {
    const { nowMs, steps, backlogMs, ownBytesPerSec: own, capacityBytesPerSec: capacity } = is
    if (demand.isNeeded) this.#neededAtMs = nowMs
    this.#isNeeded = nowMs - this.#neededAtMs <= HOLD_MS
    if (!this.#isNeeded) this.#rate = null
    else if (backlogMs !== null) {
      const isQueued = backlogMs > QUEUED_MS
      if (this.#rate === null) {
        if (isQueued && own > FULL_RATIO * capacity) this.#rate = CUT_RATIO * own
      } else if (isQueued) {
        this.#rate = Math.max(FLOOR_RATIO * capacity, CUT_RATIO * Math.min(own, this.#rate))
      } else {
        this.#rate = Math.max(this.#rate, Math.min(this.#rate * GROWTH ** steps, MAX_UNUSED_RATIO * own))
      }
    }
    return this.#rate
  }
}
