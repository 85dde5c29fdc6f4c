/** Cruise: a little below what the line gives, which is tried from time to time, until somebody else queues. */
import { type DelayView, isCool, isKeptQueue } from '../delay-estimator.ts'
import type { WanSample } from '../wan-sample.ts'
import { DRAIN_RATIO, type Line, OTHERS_RATIO, QUICK_RELAPSE_MS, TOO_FAST_RATIO, TRIAL_EVERY_MS } from './line.ts'
import type { Next, Outcome, Phase } from './phase.ts'
import { isQueue } from './queue-suspicion.ts'
import { isAllComing, LOOK_MS, Trial } from './trial.ts'

/** What was found at the start is believed after so long at that rate. */
const CONFIRMED_MS = 2000
const APPROACH_RATIO_PER_SEC = 0.5
const RETREAT_RATIO_PER_SEC = 0.4
const LEAST_RATIO = 0.7
/** How long we stay at a ceiling before we look whether there is more. */
const CEILING_MS = { least: 1000, most: 5000 } as const
/** From here on a late answer alone proves nothing. */
const DOUBTFUL_NOISE_MS = 5
/** What arrives, of what is read, when others take from our part. */
const LOSING_RATIO = 0.95
const SURELY_HOT_MS = 500
/** Of what is read for, by who has come back: less comes where somebody has the line. */
const STARVED_RATIO = 0.7
const STARVED_MS = 300
/** A queue so soon after the line was searched, or tried, is our own: it is not as fast as we believed. */
const OWN_QUEUE_MS = 1500
/** So often in a row: then somebody has the rest. */
const MAX_EARLY_QUEUES = 2
const PERHAPS_TOO_FAST_RATIO = 0.95
const LEAST_TOO_FAST_RATIO = 0.8
const ARRIVED_MARGIN = 1.1
const TRIAL_STEP = 1.06
const TRIAL_STEP_GROWTH = 2
const MAX_TRIAL_STEP = 1.3
/** The line must have been empty for so long before it is tried. */
const EMPTY_MS = 500
const LEAST_AFTER_TRIAL_RATIO = 0.97
/** What a trial that found nothing reads afterwards, until its own queue is gone. */
const AFTER_TRIAL_RATIO = 0.7
const AFTER_HOT_TRIAL_RATIO = 0.4

export class Cruise implements Phase {
  readonly name = 'cruise'
  readonly #line: Line
  readonly #enteredMs: number
  /** Since the last drain the rate has risen to where it is, from a start or a yield. */
  readonly #hasRisen: boolean
  /** We were away for somebody, and have just come back. */
  readonly #isBack: boolean
  #hotSinceMs: number | null = null
  #trial: Trial | null = null
  #triedMs: number

  constructor(line: Line, nowMs: number, options: { readonly hasRisen: boolean; readonly isBack: boolean }) {
    this.#line = line
    this.#enteredMs = nowMs
    this.#hasRisen = options.hasRisen
    this.#isBack = options.isBack
    this.#triedMs = nowMs
  }

  step(sample: WanSample, dtSec: number): Outcome {
    const line = this.#line
    const { nowMs } = sample
    const capacity = line.capacity ?? sample.bytesPerSec.last500Ms
    if (this.#trial !== null) {
      const outcome = this.#lookAtTrial(this.#trial, sample, capacity)
      if (outcome !== 'stay' || this.#trial !== null) return outcome
    }
    if (this.#isStarved(sample, capacity)) return line.relapse(sample)
    if (this.#isOthersQueue(sample)) return this.#meetQueue(sample, capacity)
    if (sample.isUserElsewhere) return line.giveWay(sample)
    line.isConfirmed ||= nowMs - this.#enteredMs > CONFIRMED_MS
    const target = line.target(sample)
    this.#approach(sample, { target, capacity, dtSec })
    const isEmpty = line.coolSinceMs !== null && nowMs - line.coolSinceMs >= EMPTY_MS
    if (line.ceiling < capacity) return isEmpty ? this.#leaveCeiling(sample) : 'stay'
    const mayTry = isEmpty && nowMs - this.#triedMs >= line.trialEveryMs && line.rate >= target * 0.999
    // Without a probe nothing would say that it was too much.
    if (mayTry && sample.delay !== null && sample.isLimited) this.#startTrial(sample, TRIAL_STEP, capacity)
    return 'stay'
  }

  interrupted(nowMs: number): void {
    this.#trial = null
    this.#triedMs = nowMs
  }

  #approach(
    { delay }: WanSample,
    { target, capacity, dtSec }: { readonly target: number; readonly capacity: number; readonly dtSec: number },
  ): void {
    const line = this.#line
    if (delay === null || isCool(delay)) {
      line.rate = Math.min(target, line.rate + capacity * APPROACH_RATIO_PER_SEC * dtSec)
      if (line.rate >= target) line.why = 'line'
    } else {
      line.rate = Math.max(LEAST_RATIO * capacity, line.rate * (1 - RETREAT_RATIO_PER_SEC * dtSec))
    }
    line.rate = Math.min(line.rate, target)
  }

  #leaveCeiling({ nowMs, delay }: WanSample): Outcome {
    const hereMs = nowMs - this.#enteredMs
    const isKept = isKeptQueue(delay) && hereMs < CEILING_MS.most
    if (isKept || hereMs < CEILING_MS.least) return 'stay'
    this.#line.ceiling = Number.POSITIVE_INFINITY
    return { phase: 'ramp' }
  }

  /** Somebody has most of the line, with a queue too small to show it otherwise. */
  #isStarved({ nowMs, delay, arrivedBytesPerSec }: WanSample, capacity: number): boolean {
    const hereMs = nowMs - this.#enteredMs
    if (!this.#isBack || arrivedBytesPerSec === null || hereMs < STARVED_MS || hereMs > QUICK_RELAPSE_MS) return false
    const isQueued = delay !== null && isKeptQueue(delay) && isQueue(delay, this.#line.thresholdMs(delay))
    return isQueued && arrivedBytesPerSec < Math.min(OTHERS_RATIO * capacity, STARVED_RATIO * this.#line.rate)
  }

  /** Where round trips scatter, a queue must show in what arrives too, or stay: others in it take from our part. */
  #isOthersQueue({ nowMs, delay, arrivedBytesPerSec, bytesPerSec }: WanSample): boolean {
    if (delay === null || !this.#line.isHot(delay)) {
      this.#hotSinceMs = null
      return false
    }
    this.#hotSinceMs ??= nowMs
    if (delay.noiseMs < DOUBTFUL_NOISE_MS || arrivedBytesPerSec === null) return true
    return arrivedBytesPerSec < LOSING_RATIO * bytesPerSec.last200Ms || nowMs - this.#hotSinceMs > SURELY_HOT_MS
  }

  /** Theirs, unless it came so soon that it may be ours. */
  #meetQueue(sample: WanSample, capacity: number): Next {
    const line = this.#line
    const isEarly = sample.nowMs - this.#enteredMs < OWN_QUEUE_MS
    const wereThere = line.ceiling <= capacity || (this.#isBack && line.isConfirmed)
    if (isEarly && wereThere) {
      // Whoever was there may still be, with less of a queue than ours was; or the line is not what it was.
      if (line.ceiling >= capacity) this.#lowerCapacity(sample, capacity)
      return line.relapse(sample)
    }
    const mayBeOurs = isEarly && this.#hasRisen
    if (mayBeOurs) this.#lowerCapacity(sample, capacity)
    if (mayBeOurs && line.earlyQueues < MAX_EARLY_QUEUES) {
      line.earlyQueues++
      // Who else is there shows while it drains.
      line.rate = DRAIN_RATIO * Math.min(line.rate, sample.bytesPerSec.last200Ms)
      return { phase: 'drain' }
    }
    line.earlyQueues = 0
    return line.giveWay(sample)
  }

  /** Our own queue: the line gives what came off it, unless others had a part. */
  #lowerCapacity(sample: WanSample, capacity: number): void {
    const line = this.#line
    line.trialEveryMs = TRIAL_EVERY_MS.least
    if (isAllComing(sample)) {
      line.capacity = capacity * PERHAPS_TOO_FAST_RATIO // it may have been chance
      return
    }
    const seen = line.relapses > 0 ? (sample.arrivedBytesPerSec ?? capacity) * ARRIVED_MARGIN : capacity
    line.capacity = Math.max(capacity * LEAST_TOO_FAST_RATIO, Math.min(capacity * TOO_FAST_RATIO, seen))
  }

  #startTrial(sample: WanSample, step: number, capacity: number): void {
    this.#trial = new Trial(this.#line, sample, step)
    this.#line.rate = capacity * step
  }

  #lookAtTrial(trial: Trial, sample: WanSample, capacity: number): Outcome {
    const line = this.#line
    const { nowMs, delay } = sample
    const result = trial.look(sample, capacity)
    if (result.is === 'running') return 'stay'
    const isFaster = result.is === 'over' && result.isFaster
    this.interrupted(nowMs)
    line.trialEveryMs = isFaster ? TRIAL_EVERY_MS.least : Math.min(TRIAL_EVERY_MS.most, line.trialEveryMs * 2)
    if (result.is === 'queued') {
      // What comes off a line that is full is what it gives.
      line.capacity = Math.max(capacity, sample.arrivedBytesPerSec ?? 0)
      return this.#drainTrial(trial, result.delay, capacity)
    }
    if (isFaster) {
      const step = 1 + (trial.step - 1) * TRIAL_STEP_GROWTH
      if (step > MAX_TRIAL_STEP) return line.searchAnew(result.found)
      line.capacity = result.found
      this.#startTrial(sample, step, result.found)
      return 'stay'
    }
    if (result.read < capacity) line.capacity = Math.max(result.read, capacity * LEAST_AFTER_TRIAL_RATIO)
    // It was seen too late to be judged by, over a long way; what is left of it would be taken for somebody's.
    if (delay !== null && !isCool(delay)) return this.#drainTrial(trial, delay, capacity)
    line.rate = line.target(sample)
    return 'stay'
  }

  /** The queue of a trial that found no more goes before anything is concluded from it. */
  #drainTrial({ step }: Trial, delay: DelayView, capacity: number): Next {
    const line = this.#line
    const ratio = line.isHot(delay) ? AFTER_HOT_TRIAL_RATIO : AFTER_TRIAL_RATIO
    line.isConfirmed = true
    line.rate = capacity * ratio
    // What is seen is as old as a round trip. We read so much less than comes that it is gone in this time, twice over;
    // what is still there is not ours.
    const unseenMs = (step - 1) * (delay.baseMs + LOOK_MS)
    return { phase: 'drain', ownMs: (2 * (delay.queueMs + unseenMs)) / (1 - ratio) }
  }
}
