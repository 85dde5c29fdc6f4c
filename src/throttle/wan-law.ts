/**
 * How fast the background of a branch may read from its WAN, decided anew 20 times per second. Pure over (state, sample).
 *
 *   startup --queue or plateau--> drain --empty--> cruise --queue or user--> yield --empty for a while--> ramp --> cruise
 *   cruise, where it stopped below the line because somebody was there at the last return --nobody for a while--> ramp
 *   nothing to be had --work, and what the line gives is known from minutes ago--> ramp
 *
 * The principle: read a little slower than the line delivers, so that our own reading, and not the line, is where our flow
 * waits. Then nothing of ours queues at the bottleneck, and whatever queues there is somebody else's.
 *
 * Each phase is a file in law/; what they share is law/line.ts.
 *
 * Does not know how bytes are held back (pacer.ts), who measures (wan-governor.ts), nor how the rate is divided among the
 * agents of a branch (wan-shares.ts): all rates here are of the branch as a whole.
 */
import { isCool } from './delay-estimator.ts'
import { Cruise } from './law/cruise.ts'
import { Drain } from './law/drain.ts'
import { FIRST_RATE, Line, RAMP_FROM_RATIO } from './law/line.ts'
import type { Next, Phase } from './law/phase.ts'
import { Ramp } from './law/ramp.ts'
import { Startup } from './law/startup.ts'
import { Yield } from './law/yield.ts'
import { MBIT, type WanDecision, type WanLevel, type WanPhase, type WanSample, type WanState } from './wan-sample.ts'

/** Of a line of which nothing is known. */
const QUIET_RATE = 5 * MBIT
/** A capacity of at most so long ago is gone back to, an older one is searched for anew. */
const KNOWN_MS = 600_000
/** Longer than any pause of a healthy process: it was suspended, and the network may be another one. */
const MAX_TICK_MS = 2000
/** Of the capacity that somebody on this machine leaves, and of what that one uses now: room for both to be wrong. */
const LEFT = { capacityRatio: 0.9, foregroundRatio: 1.1 } as const
/** Why another agent's law yields it does not say: for a queue, most often. */
const ADOPTED = { why: 'queue', isCertain: false, ceilingBytesPerSec: null } as const

export class WanLaw {
  readonly #line: Line
  #phase: Phase
  #lastMs: number | null = null

  constructor(level: WanLevel) {
    this.#line = new Line(level)
    this.#phase = new Startup(this.#line, 0)
  }

  get state(): WanState {
    const { rate, capacity } = this.#line
    return { phase: this.#phase.name, bytesPerSec: rate, capacityBytesPerSec: capacity }
  }

  /** So little is read that what queues cannot be ours. */
  get isQuiet(): boolean {
    const { rate, capacity, overshotRate } = this.#line
    return rate < (capacity ?? overshotRate ?? 2 * QUIET_RATE) / 2 && this.#phase.name !== 'drain'
  }

  /** Another priority runs now. */
  setLevel(level: WanLevel): void {
    if (level === this.#line.level) return
    this.#line.level = level
    this.#line.relapses = 0
  }

  /** Goes on where another agent's law stands, or stood when it was last heard of. */
  adopt(state: WanState, nowMs: number): void {
    const line = this.#line
    if (state.phase === this.#phase.name) this.#phase.interrupted?.(nowMs)
    else this.#enter(nextOf(state.phase), nowMs)
    line.isConfirmed ||= state.capacityBytesPerSec !== null
    line.rate = state.bytesPerSec
    line.capacity = state.capacityBytesPerSec
    line.ceiling = Number.POSITIVE_INFINITY
    line.coolSinceMs = null
    this.#lastMs = nowMs
  }

  /**
   * Nothing was to be had for so long. The rate is found anew from below: at once, as after a yield, when a capacity has
   * held and is not old. A second queue on the way there says that it does not hold any more.
   */
  restart(nowMs: number, awayMs: number): void {
    const line = this.#line
    const known = line.isConfirmed && awayMs < KNOWN_MS ? line.capacity : null
    this.#lastMs = null
    line.isConfirmed = false
    line.hasDrainedRamp = false
    line.mostArrived = 0
    line.forgetOthers()
    line.why = 'starting'
    line.rate = Math.max(FIRST_RATE, RAMP_FROM_RATIO * (known ?? 0))
    this.#enter({ phase: known === null ? 'startup' : 'ramp' }, nowMs)
  }

  step(sample: WanSample): WanDecision {
    const { nowMs, delay } = sample
    const line = this.#line
    const passedMs = this.#lastMs === null ? null : nowMs - this.#lastMs
    this.#lastMs = nowMs
    if (passedMs !== null && passedMs > MAX_TICK_MS) return this.#wake(nowMs)
    // What a phase counts from is its first sample.
    if (passedMs === null) this.#enter(nextOf(this.#phase.name), nowMs)
    line.coolSinceMs = delay === null || isCool(delay) ? (line.coolSinceMs ?? nowMs) : null
    const outcome = this.#phase.step(sample, (passedMs ?? 0) / 1000)
    if (typeof outcome === 'object') this.#enter(outcome, nowMs, delay?.queueMs)
    this.#makeWayLocally(sample)
    line.rate = Math.max(line.rate, line.level.floorBytesPerSec)
    // Above a cap nothing can be found out; the line may still be faster than that.
    if (sample.capBytesPerSec !== null) line.rate = Math.min(line.rate, Math.max(sample.capBytesPerSec, FIRST_RATE))
    return { ...this.state, why: line.why, isRebase: outcome === 'rebase', isReset: false }
  }

  #wake(nowMs: number): WanDecision {
    this.restart(nowMs, Number.POSITIVE_INFINITY)
    this.#lastMs = nowMs
    this.#line.rate = this.#line.level.floorBytesPerSec
    this.#line.coolSinceMs = null
    return { ...this.state, why: 'starting', isRebase: false, isReset: true }
  }

  /** What somebody on this machine uses is known sooner, and better, than the queue shows it. */
  #makeWayLocally({ local, nowMs }: WanSample): void {
    const line = this.#line
    const { name } = this.#phase
    if (local === null || !local.isActive || line.capacity === null || (name !== 'cruise' && name !== 'ramp')) return
    const left = LEFT.capacityRatio * line.capacity - LEFT.foregroundRatio * local.foregroundBytesPerSec
    if (left >= line.rate) return
    line.rate = Math.max(left, line.level.floorBytesPerSec)
    line.why = 'user-here'
    this.#phase.interrupted?.(nowMs)
  }

  /** @param queueMs that stands now */
  #enter(next: Next, nowMs: number, queueMs = 0): void {
    this.#phase = this.#begin(next, nowMs, queueMs)
  }

  #begin(next: Next, nowMs: number, queueMs: number): Phase {
    const line = this.#line
    const { name: before } = this.#phase
    switch (next.phase) {
      case 'startup':
        return new Startup(line, nowMs)
      case 'drain':
        return new Drain(line, nowMs, next)
      case 'cruise': {
        // A trial that found nothing drains and goes on at a rate that has held.
        const hasRisen = before !== 'drain' || !line.isConfirmed
        return new Cruise(line, nowMs, { hasRisen, isBack: before === 'ramp' })
      }
      case 'yield':
        return new Yield(line, nowMs, { reason: next.reason, queueMs })
      case 'ramp':
        return new Ramp(line, nowMs)
    }
  }
}

/** Enters a phase without what the one before it knew. */
function nextOf(phase: WanPhase): Next {
  return phase === 'yield' ? { phase, reason: ADOPTED } : { phase }
}
