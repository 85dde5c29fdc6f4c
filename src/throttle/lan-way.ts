/**
 * How long our bytes are in the kernel when none of them queues: until they are acknowledged, which takes the way there
 * and back, and what stands in that way before others. Pure.
 *
 * Learnt by working the queue off: written slower than the link takes it, for so long that nothing of it can be left, what
 * still waits is the way. TCP knows its own (a round trip), the kernel's table does not say it.
 */
export interface WaySample {
  /** What we have in the kernel, over our rate. */
  readonly backlogMs: number
  readonly ownBytesPerSec: number
  /** At which it was written since the last sample; null: without a limit. */
  readonly paceBytesPerSec: number | null
  readonly linkBytesPerSec: number
  /** Of 200 ms. */
  readonly steps: number
}

const STEP_MS = 200
/** Above, next to nothing is worked off. */
const MAX_PACE_RATIO = 0.97
/** It went out as it was written, or the pace is not what bounds it. */
const WRITTEN_RATIO = { least: 0.6, most: 1.6 }
/** What is measured is of the last third of a second. */
const MIN_STEPS = 3
/** Of it, in each step: ways become shorter too, and what is forgotten is learnt anew within a second. */
const FORGOTTEN_RATIO = 0.005
/** What waits is short also when there is just nothing to send: that is believed slowly. */
const SHORTER_WEIGHT = 0.05

export class WayEstimate {
  #ms = 0
  #drain: { readonly excessMs: number; drainedMs: number; steps: number; own: number; written: number } | null = null

  get ms(): number {
    return this.#ms
  }

  step({ backlogMs, ownBytesPerSec, paceBytesPerSec, linkBytesPerSec, steps }: WaySample): void {
    this.#ms -= SHORTER_WEIGHT * Math.max(0, this.#ms - backlogMs) + FORGOTTEN_RATIO * this.#ms
    if (paceBytesPerSec === null || paceBytesPerSec > MAX_PACE_RATIO * linkBytesPerSec) {
      this.#drain = null
      return
    }
    this.#drain ??= { excessMs: Math.max(0, backlogMs - this.#ms), drainedMs: 0, steps: 0, own: 0, written: 0 }
    const drain = this.#drain
    drain.steps += steps
    drain.drainedMs += (1 - Math.max(ownBytesPerSec, paceBytesPerSec) / linkBytesPerSec) * steps * STEP_MS
    if (drain.drainedMs <= drain.excessMs) return
    drain.own += ownBytesPerSec
    drain.written += paceBytesPerSec
    if (drain.steps < MIN_STEPS) return
    this.#drain = null
    const ratio = drain.own / drain.written
    if (ratio >= WRITTEN_RATIO.least && ratio <= WRITTEN_RATIO.most) this.#ms = backlogMs
  }
}
