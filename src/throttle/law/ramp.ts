/** Ramp: back to a rate that is known, in steps, as long as nobody shows. */
import { isKeptQueue } from '../delay-estimator.ts'
import type { WanSample } from '../wan-sample.ts'
import { CUT_LOOK_MS, DRAIN_RATIO, FIRST_RATE, isUserThere, type Line, RAMP_FROM_RATIO } from './line.ts'
import type { Next, Outcome, Phase } from './phase.ts'
import { QueueSuspicion } from './queue-suspicion.ts'

const STEP_MS = 200
/** Of the line, at most more at a time: who is there and leaves no queue shows before much of one has grown. */
const STEP_RATIO = 0.2
const LEAD_FACTOR = 3
/** Who takes it up again, and does not know yet whether somebody is there, waits so long for the first answer. */
const FIRST_ANSWER_MS = 1000
/** An origin that gives less of the line than we lead by is not waited for. */
const MAX_MS = 5000

export class Ramp implements Phase {
  readonly name = 'ramp'
  readonly #line: Line
  readonly #enteredMs: number
  #steppedMs: number
  readonly #suspicion = new QueueSuspicion()

  constructor(line: Line, nowMs: number) {
    this.#line = line
    this.#enteredMs = nowMs
    this.#steppedMs = nowMs
  }

  step(sample: WanSample): Outcome {
    const line = this.#line
    const { nowMs, delay } = sample
    const isSeen = isUserThere(sample)
    if (isSeen || (delay !== null && line.isWarm(delay))) {
      const mayBeOurs = !line.isConfirmed && !line.hasDrainedRamp && !isSeen
      return mayBeOurs ? this.#drain() : line.relapse(sample)
    }
    if (line.suspect(this.#suspicion, sample) !== 'none') {
      this.#steppedMs = nowMs
      return isKeptQueue(delay) ? line.relapse(sample) : 'stay'
    }
    if (delay === null && !line.isConfirmed) {
      // Nobody will say when it is too much: the line is searched for, as where nothing is known.
      return nowMs - this.#enteredMs >= FIRST_ANSWER_MS ? line.searchAnew(line.rate) : 'stay'
    }
    // A step is judged by answers that left after it.
    if (nowMs - this.#steppedMs < Math.max(STEP_MS, (delay?.baseMs ?? 0) + CUT_LOOK_MS)) return 'stay'
    this.#steppedMs = nowMs
    const target = line.target(sample)
    const most = line.capacity ?? FIRST_RATE
    const next = Math.min(line.rate * 2, line.rate + STEP_RATIO * most)
    line.rate = Math.min(target, next, Math.max(RAMP_FROM_RATIO * most, LEAD_FACTOR * sample.bytesPerSec.last200Ms))
    const isGivenLess = !sample.isLimited && nowMs - this.#enteredMs > MAX_MS
    return line.rate >= target || isGivenLess ? { phase: 'cruise' } : 'stay'
  }

  /** A new connection's buffers fill as fast as the line gives, once. Who else is there shows while it drains. */
  #drain(): Next {
    const line = this.#line
    const rampedTo = line.rate
    line.hasDrainedRamp = true
    line.rate *= DRAIN_RATIO
    return { phase: 'drain', rampedTo }
  }
}
