/** What an event does to the record of a job, besides its state. Pure. */
import type { ErrorCode, ShorthaulError } from '../errors.ts'
import type { Job, JobError } from './job.ts'
import type { Edit } from './job-book.ts'
import { isFinal, type JobEvent, transition } from './states.ts'

/** @returns null when the state does not know the event */
export function step(
  job: Job,
  event: JobEvent,
  about: { readonly nowMs: number; readonly changes?: Partial<Job> },
): Edit | null {
  const state = transition(job.state, event)
  if (state === null) return null
  const { nowMs, changes = {} } = about
  const isChanged = state !== job.state
  const next: Job = {
    ...job,
    ...changes,
    state,
    modifiedAtMs: nowMs,
    ...(isChanged && state !== 'transient-error' ? { retryAtMs: null } : {}),
    ...(isChanged && state === 'transferred' ? { transferredAtMs: nowMs } : {}),
    // Something was added to a job that was whole.
    ...(event === 'more-work' && job.state === 'transferred' ? { transferredAtMs: null } : {}),
    ...(isChanged && isFinal(state) ? { endedAtMs: nowMs, isCompleting: false } : {}),
  }
  const error = state === 'error' || state === 'transient-error' ? next.error : null
  return {
    job: next,
    events: isChanged ? [{ kind: 'state', previous: job.state, state, ...(error ? { error } : {}) }] : [],
  }
}

/** Somebody looked after it: what failed before is forgiven. */
export const FORGIVEN = { error: null, attempt: 0, stalledMs: 0, idleMs: 0 } as const satisfies Partial<Job>

export function jobErrorOf(
  error: ShorthaulError,
  about: { readonly fileIndex: number | null; readonly isTransient: boolean; readonly nowMs: number },
): JobError {
  const { fileIndex, isTransient, nowMs } = about
  return {
    code: error.code,
    message: error.message,
    fileIndex,
    isTransient,
    hasRetryAfter: typeof error.details.retryAfterMs === 'number',
    atMs: nowMs,
  }
}

/** A limit of the job itself was reached. */
export function limitError(code: ErrorCode, message: string, nowMs: number): JobError {
  return { code, message, fileIndex: null, isTransient: false, hasRetryAfter: false, atMs: nowMs }
}
