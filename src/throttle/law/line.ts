/**
 * What the phases of the law share: how fast we read, what is known of the line, and what was learnt of those who share it.
 * What only one phase needs, that phase has.
 */
import { type DelayView, isAbove, isHot } from '../delay-estimator.ts'
import { isUserHere, MBIT, type WanDecision, type WanLevel, type WanSample } from '../wan-sample.ts'
import type { Next } from './phase.ts'
import type { QueueSuspicion, Suspicion } from './queue-suspicion.ts'

export const FIRST_RATE = 2 * MBIT
/** Two rates that differ by less are the same. */
const SAME_RATE_RATIO = 0.75
/** Without a probe nothing warns us before the line is full: stay further below it. */
const BLIND_USE_RATIO = 0.7
/** What is heaped up in the kernel has to fill before the queue can empty: the less is read, the sooner. */
export const DRAIN_RATIO = 0.15
/** More comes than is read: the kernel's buffers fill, for the first time or after they ran empty. */
export const FILLING_RATIO = 1.1
/** Less comes than this of the line, and it is full all the same: somebody else's bytes. */
export const OTHERS_RATIO = 0.5
export const TOO_FAST_RATIO = 0.9
const CUT_RATIO = 0.1
export const CUT_LOOK_MS = 150
export const QUICK_RELAPSE_MS = 5000
/** Of the line, that a return begins with. */
export const RAMP_FROM_RATIO = 0.1
const RELAPSE_CEILING_RATIO = 0.8
/** Of what the line gave before, however little we reached. */
const LEAST_OF_LINE_RATIO = 0.5
/** How often it is tried whether the line has become faster. */
export const TRIAL_EVERY_MS = { least: 1000, most: 8000 } as const

export class Line {
  level: WanLevel
  /** That is read, at most. */
  rate = FIRST_RATE
  why: WanDecision['why'] = 'starting'
  /** What the line gives; null before it is known. */
  capacity: number | null = null
  /** Less than the capacity: where somebody queued when we came back, until it is tried with success. */
  ceiling = Number.POSITIVE_INFINITY
  /** The capacity has held for a while: a yield is not its fault. */
  isConfirmed = false
  /** Own rate when a start last overshot. */
  overshotRate: number | null = null
  /** The most that came at once since the start began. */
  mostArrived = 0
  coolSinceMs: number | null = null
  /** A line that was not faster is tried less and less often. */
  trialEveryMs: number = TRIAL_EVERY_MS.least
  /** Since the last pause: a queue on the way back was taken for our own. */
  hasDrainedRamp = false
  /** Queues in a row that came so soon after we came back that they were taken for our own. */
  earlyQueues = 0
  /** How often in a row somebody proved to be there when we came back. */
  relapses = 0
  yieldEndedMs = Number.NEGATIVE_INFINITY
  /** The last cut was for a queue that was gone at once. */
  wasAlarm = false
  /** What was read when somebody was there at our last return; twice at the same rate, it is the line. */
  #relapsedAt: number | null = null

  constructor(level: WanLevel) {
    this.level = level
  }

  /** Of the line, that is to be read when nobody else is there. */
  target({ delay }: Pick<WanSample, 'delay'>): number {
    const ratio = delay === null ? Math.min(BLIND_USE_RATIO, this.level.useRatio) : this.level.useRatio
    return Math.min(ratio * (this.capacity ?? Number.POSITIVE_INFINITY), this.ceiling)
  }

  thresholdMs(delay: DelayView): number {
    return delay.thresholdMs * this.level.thresholdFactor
  }

  isHot(delay: DelayView): boolean {
    return isHot(delay, this.level.thresholdFactor)
  }

  /** Who comes back looks closer. */
  isWarm(delay: DelayView): boolean {
    return isAbove(delay, this.thresholdMs(delay))
  }

  /** @param suspicion of the phase that asks: what it saw before */
  suspect(suspicion: QueueSuspicion, { nowMs, delay }: Pick<WanSample, 'nowMs' | 'delay'>): Suspicion {
    return suspicion.look(delay, { nowMs, thresholdMs: delay === null ? 0 : this.thresholdMs(delay) })
  }

  /** The line gives at least what came off it for us. */
  noteArrived({ arrivedBytesPerSec, local }: WanSample): void {
    const ours = (arrivedBytesPerSec ?? 0) - (local?.foregroundBytesPerSec ?? 0)
    this.mostArrived = Math.max(this.mostArrived, ours)
  }

  /** The line is so much faster than was thought that it is looked for as at the start. */
  searchAnew(from: number): Next {
    this.capacity = null
    this.overshotRate = null
    this.mostArrived = 0
    this.rate = from
    return { phase: 'startup' }
  }

  /** @param ceilingBytesPerSec what we came back to when it queued; null: not by a queue */
  giveWay(sample: WanSample, ceilingBytesPerSec: number | null = null): Next {
    const why = sample.isUserElsewhere ? 'user-elsewhere' : isUserHere(sample.local) ? 'user-here' : 'queue'
    this.rate = Math.min(this.rate, sample.bytesPerSec.last200Ms) * CUT_RATIO
    this.trialEveryMs = TRIAL_EVERY_MS.least
    // Somebody who is known to be there need not be proved by the queue, nor looked for by the rate.
    if (why === 'queue') return { phase: 'yield', reason: { why, isCertain: false, ceilingBytesPerSec } }
    return { phase: 'yield', reason: { why, isCertain: true, ceilingBytesPerSec: null } }
  }

  /** Somebody was there when we came back. */
  relapse(sample: WanSample): Next {
    const reached = sample.bytesPerSec.last200Ms
    const before = this.#relapsedAt
    const isSeen = isUserThere(sample)
    this.#relapsedAt = isSeen ? null : reached
    if (before !== null && isSameRate(reached, before) && this.relapses > 0 && !isSeen) {
      const seen = Math.max(reached, sample.arrivedBytesPerSec ?? 0)
      const capacity = this.capacity ?? seen
      this.capacity = Math.min(capacity, Math.max(seen, LEAST_OF_LINE_RATIO * capacity))
    }
    return this.giveWay(sample, Math.max(RELAPSE_CEILING_RATIO * reached, FIRST_RATE))
  }

  /** Those who were there are forgotten. */
  forgetOthers(): void {
    this.ceiling = Number.POSITIVE_INFINITY
    this.relapses = 0
    this.#relapsedAt = null
  }
}

/** Somebody uses the line so much that nothing is left for us, or waits for it. */
export function isUserThere({ local, isUserElsewhere }: WanSample): boolean {
  return isUserElsewhere || isUserHere(local)
}

export function isSameRate(one: number, other: number): boolean {
  return one > other * SAME_RATE_RATIO && other > one * SAME_RATE_RATIO
}

/** More comes than this of what is read; false where that is not known. */
export function comesMoreThan({ arrivedBytesPerSec, bytesPerSec }: WanSample, ratio: number): boolean {
  return arrivedBytesPerSec !== null && arrivedBytesPerSec > ratio * bytesPerSec.last200Ms
}
