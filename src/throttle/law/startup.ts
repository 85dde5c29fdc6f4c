/** Startup: the rate grows from little until something queues, or no more comes. */
import type { DelayView } from '../delay-estimator.ts'
import { MBIT, type WanSample } from '../wan-sample.ts'
import {
  comesMoreThan,
  DRAIN_RATIO,
  FILLING_RATIO,
  FIRST_RATE,
  isSameRate,
  isUserThere,
  type Line,
  TOO_FAST_RATIO,
} from './line.ts'
import type { Next, Outcome, Phase } from './phase.ts'
import { QueueSuspicion } from './queue-suspicion.ts'

/**
 * Small steps, smaller after the first queue: as long as the kernel holds bytes for us, a step too far makes the queue
 * grow by the excess only; once it holds none, the sender takes what the window lets it, and the window grows with it.
 */
const STEP_MS = 100
const STEP_FACTOR = { slow: 1.25, fast: 1.12, careful: 1.06 } as const
/** Up to here an overshoot is little, whatever the line. */
const SLOW_RATE = 8 * MBIT
const LEAD_FACTOR = 2.2
/** From so much of the rate that overshot on, care is taken. */
const NEAR_RATIO = 0.75
/** Of a start's rate, read at least while answers come late; and from when on they do. */
const LEAST_GUARD_RATIO = 0.5
const GUARD_MS = 8
const GUARD_NOISE_FACTOR = 1.3
/** What comes off a full line, of what is read, at least. */
const LEAST_SEEN_RATIO = 0.75
const LEAST_OF_FIRST_RATIO = 0.7
/** No more comes although more is asked for: that is the line, or the origin. */
const PLATEAU_STEP_MS = 400
const PLATEAU_GROWTH = 1.15
/** Read of what might be. */
const OURS_RATIO = 0.5
/** A start that finds the line full, and not by us, is no start. */
const MAX_HOT_MS = 1500

export class Startup implements Phase {
  readonly name = 'startup'
  readonly #line: Line
  readonly #enteredMs: number
  #steppedMs: number
  #plateau: { readonly atMs: number; readonly bytesPerSec: number; readonly count: number }
  /** Of the rate, that is read: see #guardBuffers. */
  #guard = 1
  readonly #suspicion = new QueueSuspicion()

  constructor(line: Line, nowMs: number) {
    this.#line = line
    this.#enteredMs = nowMs
    this.#steppedMs = nowMs
    this.#plateau = { atMs: nowMs, bytesPerSec: 0, count: 0 }
  }

  step(sample: WanSample): Outcome {
    const line = this.#line
    const { nowMs, delay, bytesPerSec } = sample
    line.why = 'starting'
    line.noteArrived(sample)
    if (isUserThere(sample)) return line.giveWay(sample)
    const own = bytesPerSec.last200Ms
    this.#guardBuffers(delay)
    const suspicion = line.suspect(this.#suspicion, sample)
    if (suspicion !== 'none' && delay !== null && own > 0) {
      // Kernels that fill heap up a queue too, for a moment; a step now would tell nothing.
      this.#steppedMs = nowMs
      if (suspicion === 'suspected') return 'stay'
      // Nor does it when something else than our rate is what limits.
      const isOurs = own > OURS_RATIO * line.rate
      if (isOurs && (!comesMoreThan(sample, FILLING_RATIO) || line.isHot(delay))) return this.#overshoot(sample, own)
      return line.isHot(delay) && nowMs - this.#enteredMs > MAX_HOT_MS ? line.giveWay(sample) : 'stay'
    }
    if (this.#isPlateau(sample)) {
      line.capacity = Math.min(own, sample.arrivedBytesPerSec ?? own)
      return { phase: 'cruise' }
    }
    if (nowMs - this.#steppedMs < STEP_MS) return 'stay'
    this.#steppedMs = nowMs
    const isNear = line.overshotRate !== null && line.rate > line.overshotRate * NEAR_RATIO
    const { slow, fast, careful } = STEP_FACTOR
    const factor = isNear ? careful : line.rate < SLOW_RATE ? slow : fast
    const lead = Math.max(FIRST_RATE, LEAD_FACTOR * bytesPerSec.last200Ms)
    line.rate = Math.min(line.rate * factor, Math.max(lead, line.rate))
    return line.capacity !== null && line.rate >= line.target(sample) ? { phase: 'cruise' } : 'stay'
  }

  /**
   * Kernels grow a receive buffer to some three times what is copied within a round trip, and by more when that grows
   * fast. A queue makes round trips longer: who then reads on as before gets megabytes, and from then on a sender that
   * fills them in bursts. So as much less is read as the answer comes later, whyever it does.
   */
  #guardBuffers(delay: DelayView | null): void {
    const climb = this.#line.rate / this.#guard
    const isLate = delay !== null && delay.queueMs > Math.max(GUARD_MS, GUARD_NOISE_FACTOR * delay.noiseMs)
    this.#guard = isLate ? Math.max(LEAST_GUARD_RATIO, delay.baseMs / (delay.baseMs + delay.queueMs)) : 1
    this.#line.rate = climb * this.#guard
  }

  /** The first time may be chance, or the kernel's buffers filling; twice at about the same rate is the line. */
  #overshoot(sample: WanSample, own: number): Next {
    const line = this.#line
    const before = line.overshotRate
    line.overshotRate = own
    if (before !== null && isSameRate(own, before)) {
      // What was read came in part out of the kernel; what came off the line was measured a moment ago, when less did.
      const arrived = sample.arrivedBytesPerSec ?? Math.min(own, before) * TOO_FAST_RATIO
      const seen = Math.min(own, Math.max(arrived, LEAST_SEEN_RATIO * own))
      line.capacity = Math.max(seen, LEAST_OF_FIRST_RATIO * before, line.mostArrived)
    }
    line.rate = Math.min(own, line.rate) * DRAIN_RATIO
    return { phase: 'drain' }
  }

  #isPlateau(sample: WanSample): boolean {
    const { nowMs } = sample
    const { last500Ms } = sample.bytesPerSec
    const { rate } = this.#line
    if (nowMs - this.#plateau.atMs < PLATEAU_STEP_MS) return false
    const isCapped = sample.capBytesPerSec !== null && rate >= sample.capBytesPerSec
    const hasGrown = isCapped || last500Ms > this.#plateau.bytesPerSec * PLATEAU_GROWTH || last500Ms === 0
    const count = hasGrown || rate < 1.5 * last500Ms ? 0 : this.#plateau.count + 1
    this.#plateau = { atMs: nowMs, bytesPerSec: last500Ms, count }
    return count >= 2
  }
}
