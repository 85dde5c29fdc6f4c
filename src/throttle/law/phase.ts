/** What a phase of the law is to the law: it looks at each sample, sets the rate, and says what comes next. */
import type { WanDecision, WanPhase, WanSample } from '../wan-sample.ts'

export interface YieldReason {
  readonly why: WanDecision['why']
  /** Somebody is there; else the queue is looked at again once ours would be gone. */
  readonly isCertain: boolean
  /** What we came back to when it queued; null: not by a queue. */
  readonly ceilingBytesPerSec: number | null
}

/** The phase that follows, with what it has to know of the one before. */
export type Next =
  | { readonly phase: 'startup' | 'cruise' | 'ramp' }
  | {
      readonly phase: 'drain'
      /** How long our own queue takes to drain, after a trial that found no more; absent: that is not why it drains. */
      readonly ownMs?: number
      /** Where a return from a pause stopped for it; absent: it did not. */
      readonly rampedTo?: number
    }
  | { readonly phase: 'yield'; readonly reason: YieldReason }

/** `rebase`: nothing else, but the path has become longer, and what is seen now is to be taken for an empty line. */
export type Outcome = Next | 'stay' | 'rebase'

export interface Phase {
  readonly name: WanPhase
  /** @param dtSec since the last sample */
  step(sample: WanSample, dtSec: number): Outcome
  /** Something else set the rate meanwhile: what is watched over time begins anew. */
  interrupted?(nowMs: number): void
}
