/** Yield: somebody else needs the line, and we wait at the floor until it is free. */
import { isCool, isKeptQueue, isLineQueued } from '../delay-estimator.ts'
import type { WanSample } from '../wan-sample.ts'
import { CUT_LOOK_MS, FIRST_RATE, isUserThere, type Line, QUICK_RELAPSE_MS, RAMP_FROM_RATIO } from './line.ts'
import type { Next, Outcome, Phase, YieldReason } from './phase.ts'

const CUT_EMPTIED_RATIO = 0.6
const MAX_HOLD_MS = 8000
const HOLD_ROUND_TRIPS = 20
/** For so long a small queue that never goes is believed to be somebody's; then the path is longer. */
const MAX_KEPT_MS = 15_000
/** Of a capacity that had not held for long when somebody came: where it is searched from. */
const RESEARCH_RATIO = 0.25
/**
 * At the floor for so long, and round trips as steady as an empty line has them: the path is longer, nobody is there. A
 * queue of CUBIC is as steady for 7 s in the middle between two losses, not for longer.
 */
const REBASE_AFTER_MS = 8000
const REBASE_SPREAD_MS = 3

export class Yield implements Phase {
  readonly name = 'yield'
  readonly #line: Line
  #enteredMs: number
  readonly #reason: YieldReason
  /** The queue right after the cut: what shrinks to less was our own. */
  readonly #cutQueueMs: number
  #isCutJudged: boolean
  /** We had just come back: what follows if it proves that somebody was there. */
  #isRelapse: boolean
  #keptSinceMs: number | null = null

  /** @param queueMs that stands now */
  constructor(line: Line, nowMs: number, options: { readonly reason: YieldReason; readonly queueMs: number }) {
    const { reason, queueMs } = options
    this.#line = line
    this.#enteredMs = nowMs
    this.#reason = reason
    this.#cutQueueMs = queueMs
    this.#isCutJudged = reason.isCertain
    this.#isRelapse = nowMs - line.yieldEndedMs < QUICK_RELAPSE_MS
    if (!this.#isRelapse) line.relapses = 0
    // A queue that is gone at once, at the first return, was nobody's: answers came late for another reason.
    if (reason.isCertain || line.wasAlarm) this.#beCautious()
    line.wasAlarm = false
    line.why = reason.why
    line.coolSinceMs = null
    if (reason.isCertain) this.#wait()
  }

  interrupted(): void {
    this.#keptSinceMs = null
  }

  step(sample: WanSample): Outcome {
    const line = this.#line
    const { nowMs, delay } = sample
    this.#judgeCut(sample)
    const isSeen = isUserThere(sample)
    if (this.#isPathLonger(sample, isSeen)) {
      this.#enteredMs = nowMs
      this.#keptSinceMs = null
      line.coolSinceMs = null
      line.relapses = 0
      return 'rebase'
    }
    if (isSeen || (this.#isCutJudged && delay !== null && !isCool(delay))) {
      this.#wait()
      line.coolSinceMs = null
      return 'stay'
    }
    if (isKeptQueue(delay)) {
      this.#wait()
      return 'stay'
    }
    // A flow that lost much takes some round trips until it fills the line again.
    const repeatedMs = Math.min(MAX_HOLD_MS, line.level.holdMs * 2 ** line.relapses)
    const holdMs = Math.max(repeatedMs, HOLD_ROUND_TRIPS * (delay?.baseMs ?? 0))
    const isFree = line.coolSinceMs !== null && nowMs - line.coolSinceMs >= holdMs
    return isFree ? this.#comeBack(nowMs) : 'stay'
  }

  #comeBack(nowMs: number): Next {
    const line = this.#line
    line.yieldEndedMs = nowMs
    if (line.capacity === null || (!line.isConfirmed && line.why === 'queue'))
      return line.searchAnew(Math.max(FIRST_RATE, RESEARCH_RATIO * (line.capacity ?? 0)))
    line.rate = Math.max(line.rate, RAMP_FROM_RATIO * line.capacity)
    return { phase: 'ramp' }
  }

  #wait(): void {
    this.#line.rate = this.#line.level.floorBytesPerSec
  }

  /** Once ours would be gone: what still stands is somebody's. */
  #judgeCut({ nowMs, delay }: WanSample): void {
    if (this.#isCutJudged || nowMs - this.#enteredMs <= (delay?.baseMs ?? 0) + CUT_LOOK_MS) return
    this.#isCutJudged = true
    const isStillThere =
      delay !== null && (this.#line.isHot(delay) || delay.recentQueueMs > CUT_EMPTIED_RATIO * this.#cutQueueMs)
    this.#line.wasAlarm = !isStillThere
    if (!isStillThere) return
    this.#wait()
    this.#beCautious()
  }

  #beCautious(): void {
    if (!this.#isRelapse) return
    this.#isRelapse = false
    this.#line.relapses++
    this.#line.ceiling = this.#reason.ceilingBytesPerSec ?? this.#line.ceiling
  }

  /** What looks like a queue does not move as one does, or has stood too long. */
  #isPathLonger({ nowMs, delay, delaySpreadMs }: WanSample, isSeen: boolean): boolean {
    const isSmall = delay !== null && isKeptQueue(delay) && delay.leastQueueMs < this.#line.thresholdMs(delay)
    this.#keptSinceMs = isSmall && !isSeen ? (this.#keptSinceMs ?? nowMs) : null
    if (this.#keptSinceMs !== null && nowMs - this.#keptSinceMs >= MAX_KEPT_MS) return true
    const isSteady = delaySpreadMs !== null && delaySpreadMs < REBASE_SPREAD_MS
    return !isSeen && nowMs - this.#enteredMs >= REBASE_AFTER_MS && isSteady && isLineQueued(delay)
  }
}
