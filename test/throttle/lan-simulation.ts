/** A link of one host on paper, with others on it, measured as host-meter.ts measures: what laws are tested against. */
import type { DirectionView } from '../../src/throttle/foreground-meter.ts'
import { type LanDecision, LanLaw } from '../../src/throttle/lan-law.ts'

export const MBIT = 125_000
const STEP_MS = 200
const WINDOW_STEPS = 5
const RECENT_STEPS = 2

/** In bytes per second; `others` what they would use of a free link. */
export interface Load {
  readonly others: number
  /** What we would move without any limit. */
  readonly demand: number
  /** Others in the other direction. */
  readonly against?: number
}

export class LinkOnPaper {
  readonly law = new LanLaw()
  readonly capacity: number
  nowMs = 50_000
  own = 0
  others = 0
  backlogBytes = 0
  decision: LanDecision | null = null
  /** True: nobody can say what is in the kernel. */
  isBlind = false
  floor = 0.1 * MBIT
  #peak = 0
  #against = 0
  readonly #history: { own: number; others: number }[] = []

  constructor(capacityMbit: number) {
    this.capacity = capacityMbit * MBIT
  }

  get rate(): number | null {
    return this.decision?.view.rateMaxBytesPerSec ?? null
  }

  /** Runs so long under this load; flows of others grow by half of what is free in a step, and halve in a full queue. */
  run(ms: number, { others, demand, against = 0 }: Load): void {
    for (let passedMs = 0; passedMs < ms; passedMs += STEP_MS) this.#step(others, { demand, against })
  }

  #step(wanted: number, { demand, against }: { demand: number; against: number }): void {
    const seconds = STEP_MS / 1000
    this.nowMs += STEP_MS
    const limit = this.decision?.bytesPerSec ?? Number.POSITIVE_INFINITY
    // What we hand over beyond the link waits in the kernel, at most 4 MB.
    const offered = Math.min(demand, limit) + this.backlogBytes / seconds
    const isQueued = offered + this.others > this.capacity
    // Beside a queue a flow hardly grows; beside none it takes what is free.
    const grown = this.others + (isQueued ? 0.04 : 0.5) * this.capacity
    const fair = Math.max(this.capacity / 3, this.capacity - offered)
    this.others = Math.min(wanted, grown, fair)
    this.own = Math.min(offered, this.capacity - this.others)
    const before = this.backlogBytes
    this.backlogBytes = Math.min(4e6, Math.max(0, (offered - this.own) * seconds))
    this.#against += Math.min(against - this.#against, 0.5 * this.capacity)
    this.#history.push({ own: this.own, others: this.others })
    this.decision = this.law.step({
      nowMs: this.nowMs,
      along: this.#view(),
      against: { ...NOTHING, foregroundBytesPerSec: this.#against, isActive: this.#against > MBIT },
      linkBytesPerSec: null,
      floorBytesPerSec: this.floor,
      isBlind: this.isBlind,
      backlogBytes: this.isBlind ? null : this.backlogBytes,
      writtenBytes: this.own * seconds + this.backlogBytes - before,
      unsentBytes: 4e6,
    })
  }

  #view(): DirectionView {
    const mean = (steps: number, of: (one: { own: number; others: number }) => number) => {
      const last = this.#history.slice(-steps)
      return last.reduce((sum, one) => sum + of(one), 0) / last.length
    }
    const total = mean(WINDOW_STEPS, (one) => one.own + one.others)
    this.#peak = Math.max(this.#peak, total)
    const foreground = mean(WINDOW_STEPS, (one) => one.others)
    return {
      foregroundBytesPerSec: foreground,
      totalBytesPerSec: total,
      recentBytesPerSec: mean(RECENT_STEPS, (one) => one.own + one.others),
      recentForegroundBytesPerSec: mean(RECENT_STEPS, (one) => one.others),
      peakBytesPerSec: this.#peak,
      isActive: foreground > Math.max(MBIT, 0.05 * this.#peak),
    }
  }
}

const NOTHING: DirectionView = {
  foregroundBytesPerSec: 0,
  totalBytesPerSec: 0,
  recentBytesPerSec: 0,
  recentForegroundBytesPerSec: 0,
  peakBytesPerSec: 0,
  isActive: false,
}
