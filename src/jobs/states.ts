/**
 * The states of a job and what leads from one to another: one table and one function. They are the nine of BITS
 * (BG_JOB_STATE), and so is their order, by which `bitsadmin` numbers them. Pure.
 *
 * Does not know why something happens, nor what is done about it: jobs.ts does.
 */

export const JOB_STATES = [
  'queued',
  'connecting',
  'transferring',
  'suspended',
  'error',
  'transient-error',
  'transferred',
  'acknowledged',
  'cancelled',
] as const
export type JobState = (typeof JOB_STATES)[number]

export const JOB_EVENTS = [
  /** Somebody wants it to go on. */
  'resume',
  'suspend',
  'cancel',
  /** Targets get their names; what is not whole is given up. */
  'complete',
  /** A file was added, or one that was done is to be fetched from elsewhere. */
  'more-work',
  /** The scheduler gives it a turn. */
  'start',
  /** The first of its sources answered. */
  'connected',
  /** Its turn is over, though it could go on. */
  'preempt',
  /** All files are here. */
  'done',
  /** Failed in a way that may pass. */
  'fail',
  /** Failed in a way that does not pass by itself, or a limit of its own was reached. */
  'give-up',
  /** The time or the condition that it waited for has come. */
  'retry',
  /** The agent opened its database: nothing runs. */
  'restart',
  /** Nobody touched it for too long. */
  'expire',
] as const
export type JobEvent = (typeof JOB_EVENTS)[number]

const TABLE: Readonly<Record<JobState, Readonly<Partial<Record<JobEvent, JobState>>>>> = {
  queued: {
    resume: 'queued',
    suspend: 'suspended',
    cancel: 'cancelled',
    complete: 'acknowledged',
    'more-work': 'queued',
    start: 'connecting',
    'give-up': 'error',
    restart: 'queued',
    expire: 'cancelled',
  },
  connecting: {
    resume: 'connecting',
    suspend: 'suspended',
    cancel: 'cancelled',
    complete: 'acknowledged',
    'more-work': 'connecting',
    connected: 'transferring',
    preempt: 'queued',
    fail: 'transient-error',
    'give-up': 'error',
    restart: 'queued',
  },
  transferring: {
    resume: 'transferring',
    suspend: 'suspended',
    cancel: 'cancelled',
    complete: 'acknowledged',
    'more-work': 'transferring',
    connected: 'transferring',
    preempt: 'queued',
    done: 'transferred',
    fail: 'transient-error',
    'give-up': 'error',
    restart: 'queued',
  },
  suspended: {
    resume: 'queued',
    suspend: 'suspended',
    cancel: 'cancelled',
    complete: 'acknowledged',
    'more-work': 'suspended',
    restart: 'suspended',
    expire: 'cancelled',
  },
  error: {
    resume: 'queued',
    suspend: 'suspended',
    cancel: 'cancelled',
    complete: 'acknowledged',
    'more-work': 'error',
    restart: 'error',
    expire: 'cancelled',
  },
  'transient-error': {
    resume: 'queued',
    suspend: 'suspended',
    cancel: 'cancelled',
    complete: 'acknowledged',
    'more-work': 'transient-error',
    'give-up': 'error',
    retry: 'queued',
    restart: 'transient-error',
    expire: 'cancelled',
  },
  transferred: {
    resume: 'transferred',
    suspend: 'suspended',
    cancel: 'cancelled',
    complete: 'acknowledged',
    // As in BITS: somebody who adds to it says when it goes on.
    'more-work': 'suspended',
    restart: 'transferred',
    expire: 'cancelled',
  },
  acknowledged: { restart: 'acknowledged' },
  cancelled: { restart: 'cancelled' },
}

/** @returns the state afterwards; null: this cannot happen in this state, or must not */
export function transition(state: JobState, event: JobEvent): JobState | null {
  return TABLE[state][event] ?? null
}

/** It is over: nothing leads out of these. */
export function isFinal(state: JobState): boolean {
  return state === 'acknowledged' || state === 'cancelled'
}

/** It has a turn of the scheduler. */
export function isRunning(state: JobState): boolean {
  return state === 'connecting' || state === 'transferring'
}
