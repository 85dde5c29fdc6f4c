/**
 * Whether a queue that shows in late answers is one, while the line is searched. Pure over (delay, monotonic now).
 *
 * A busy machine, here or there, makes answers late as a queue does, but not for long. So a queue that is small is believed
 * when it has stayed for a while, when it has become much larger, or when it comes back time and again.
 */
import { type DelayView, isAbove } from '../delay-estimator.ts'

/** Of the threshold from which somebody else is there: our own shows sooner, as we look for it. */
const SMALL_RATIO = 0.4
const NOISE_FACTOR = 1.3
const STAYED_MS = 150
const MUCH_FACTOR = 2.5
const AGAIN_MS = 200
const MAX_CLEARED = 2

export type Suspicion = 'none' | 'suspected' | 'sure'

const NEVER = { atMs: Number.NEGATIVE_INFINITY, count: 0 } as const

export class QueueSuspicion {
  #sinceMs: number | null = null
  /** How often in a row it came and went, and when it last went. */
  #cleared: { readonly atMs: number; readonly count: number } = NEVER

  forget(): void {
    this.#sinceMs = null
    this.#cleared = NEVER
  }

  /** What all that was looked at since the last `forget` makes of it. @param thresholdMs of this priority */
  look(delay: DelayView | null, options: { nowMs: number; thresholdMs: number }): Suspicion {
    const { nowMs, thresholdMs } = options
    if (delay === null || !isQueue(delay, thresholdMs)) {
      if (this.#sinceMs !== null) this.#cleared = { atMs: nowMs, count: this.#cleared.count + 1 }
      else if (nowMs - this.#cleared.atMs > AGAIN_MS + (delay?.baseMs ?? 0)) this.#cleared = NEVER
      this.#sinceMs = null
      return 'none'
    }
    this.#sinceMs ??= nowMs
    const isMuch = delay.recentQueueMs > MUCH_FACTOR * smallestMs(delay, thresholdMs)
    const isSure = isMuch || nowMs - this.#sinceMs >= STAYED_MS || this.#cleared.count >= MAX_CLEARED
    return isSure ? 'sure' : 'suspected'
  }
}

/** It looks like one. */
export function isQueue(delay: DelayView, thresholdMs: number): boolean {
  return isAbove(delay, smallestMs(delay, thresholdMs))
}

function smallestMs({ noiseMs }: DelayView, thresholdMs: number): number {
  return Math.max(SMALL_RATIO * thresholdMs, NOISE_FACTOR * noiseMs)
}
