/** Drain: what we heaped up, in the queue and in the kernel, goes before anything is concluded from a queue. */
import { isCool } from '../delay-estimator.ts'
import type { WanSample } from '../wan-sample.ts'
import { comesMoreThan, FILLING_RATIO, FIRST_RATE, isUserThere, type Line, OTHERS_RATIO } from './line.ts'
import type { Next, Outcome, Phase } from './phase.ts'
import { isQueue } from './queue-suspicion.ts'

/** Then the kernel holds a reserve, and going on fast is harmless. */
const AFTER_RATIO = 0.85
const MAX_MS = 2000
/** So much more comes than is read that the line is full, although we do not read it: the kernel takes it in. */
const FULL_RATIO = 2
const LOSING_MS = 200

export class Drain implements Phase {
  readonly name = 'drain'
  readonly #line: Line
  readonly #enteredMs: number
  readonly #ownMs: number | null
  readonly #rampedTo: number | null
  /** It came much faster than we read, and a queue stood: it came as fast as the line gives. */
  #isLineSeen = false
  #losingSinceMs: number | null = null
  /** When more came than was read. */
  #fillingMs: number

  /** @param options see Next */
  constructor(line: Line, nowMs: number, options: { readonly ownMs?: number; readonly rampedTo?: number }) {
    this.#line = line
    this.#enteredMs = nowMs
    this.#ownMs = options.ownMs ?? null
    this.#rampedTo = options.rampedTo ?? null
    this.#fillingMs = nowMs
  }

  step(sample: WanSample): Outcome {
    const line = this.#line
    const { nowMs, delay, arrivedBytesPerSec } = sample
    line.why = 'starting'
    if (isUserThere(sample)) return line.giveWay(sample)
    line.noteArrived(sample)
    const elapsedMs = nowMs - this.#enteredMs
    const isFull = comesMoreThan(sample, FULL_RATIO)
    this.#isLineSeen ||= isFull && delay !== null && isQueue(delay, line.thresholdMs(delay))
    if (delay === null || (isCool(delay) && elapsedMs > delay.baseMs + 100)) return this.#end(sample)
    const most = line.capacity ?? line.overshotRate ?? 0
    const isLosing = arrivedBytesPerSec !== null && arrivedBytesPerSec < OTHERS_RATIO * most
    // Buffers that are full end the flow at once, and answers that waited in our queue still come.
    this.#losingSinceMs = isLosing ? (this.#losingSinceMs ?? nowMs) : null
    const isOthers = this.#losingSinceMs !== null && nowMs - this.#losingSinceMs > delay.baseMs + LOSING_MS
    const ownMs = isOthers ? 0 : this.#ownMs
    // As long as our buffers fill, as fast as the line gives, the queue is ours.
    if (comesMoreThan(sample, FILLING_RATIO)) this.#fillingMs = nowMs
    const filledMs = isOthers ? elapsedMs : nowMs - this.#fillingMs
    // The last 200 ms must lie after what we did.
    const waitMs = ownMs === null || !line.isHot(delay) ? MAX_MS : delay.baseMs + 300 + ownMs
    if (filledMs <= waitMs && elapsedMs <= MAX_MS) return 'stay'
    return { phase: 'yield', reason: { why: 'queue', isCertain: true, ceilingBytesPerSec: null } }
  }

  /** It is gone. */
  #end(sample: WanSample): Next {
    const line = this.#line
    // Buffers that grew were filled as fast as the line gives, while we read less.
    if (line.overshotRate !== null) line.overshotRate = Math.max(line.overshotRate, line.mostArrived)
    if (this.#isLineSeen) line.capacity ??= line.mostArrived
    if (this.#rampedTo !== null) {
      line.rate = AFTER_RATIO * this.#rampedTo
      return { phase: 'ramp' }
    }
    const found = line.capacity ?? line.overshotRate ?? FIRST_RATE
    line.rate = Math.min(AFTER_RATIO * found, line.target(sample))
    return { phase: line.capacity === null ? 'startup' : 'cruise' }
  }
}
