/** When a job has had its time. Pure. */
import type { Job } from './job.ts'
import { isRunning } from './states.ts'

/** What is not in the record yet. */
export interface Clocks {
  /** Wall clock. */
  readonly nowMs: number
  /** Of the turn that runs, since it was counted last; null: none runs. */
  readonly turn: {
    readonly spentMs: number
    /** Of it, nothing could have come. */
    readonly excusedMs: number
    /** Since the last new byte, if there was one in this turn. */
    readonly stalledMs: number | null
  } | null
  /** Since it began to wait for being tried again; null: it does not. */
  readonly waitedMs: number | null
  /** Nobody could try: held back by the agent's own rules, or without a network. That is not without progress. */
  readonly isExcused: boolean
}

/** Its clocks run. */
export function isLimited({ state }: Job): boolean {
  return state === 'queued' || isRunning(state) || state === 'transient-error'
}

/** @returns the limit that comes first; `leftMs` is not above 0 when it has come, Infinity when there is none */
export function nearestLimit(job: Job, clocks: Clocks): { readonly leftMs: number; readonly message: string } {
  const { nowMs, turn, waitedMs, isExcused } = clocks
  const triedMs = turn ? Math.max(0, turn.spentMs - turn.excusedMs) : 0
  const stalledMs = turn?.stalledMs ?? job.stalledMs + triedMs + (waitedMs ?? 0)
  const isTried = (turn !== null || waitedMs !== null) && !isExcused
  const limits = [
    {
      leftMs: job.deadlineAtMs === null ? Number.POSITIVE_INFINITY : job.deadlineAtMs - nowMs,
      message: 'its deadline is over',
    },
    {
      leftMs: turn ? job.maxTransferTimeMs - job.transferTimeMs - turn.spentMs : Number.POSITIVE_INFINITY,
      message: 'it has transferred for as long as it may',
    },
    {
      leftMs: isTried && job.noProgressTimeoutMs > 0 ? job.noProgressTimeoutMs - stalledMs : Number.POSITIVE_INFINITY,
      message: `nothing has come for as long as it may take; last: ${job.error?.message ?? 'no error'}`,
    },
  ]
  const { leftMs, message } = limits.reduce((nearest, limit) => (limit.leftMs < nearest.leftMs ? limit : nearest))
  return { leftMs, message: `Cannot finish the job: ${message}` }
}
