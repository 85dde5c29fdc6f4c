/**
 * What can be done with jobs, as one caller: the same for a library user (Agent.jobs), for the control API and for its
 * client. Plain data in and out: it crosses a socket.
 */
import type { FileRange, Job, JobFile, JobId, JobSettings } from './job.ts'
import type { JobEventRecord } from './job-events.ts'
import type { JobState } from './states.ts'

export interface FileOrder {
  /** Absolute http, https or file URL. */
  readonly url: string
  /** Absolute path; its directory must be there. */
  readonly target: string
  /** Default: all of the URL. Without overlap; only the last may be open. */
  readonly ranges?: readonly FileRange[] | null
  readonly sha256?: string | null
}

/** Secrets come in and never out. */
export interface JobSecretsOrder {
  /** All header fields for the origin, in order: makes the content private. */
  readonly headers?: readonly (readonly [name: string, value: string])[]
  /** Signs what the webhook is sent. */
  readonly webhookSecret?: string | null
}

export interface JobOrder extends Partial<JobSettings>, JobSecretsOrder {
  /** Default: none; they can be added. */
  readonly files?: readonly FileOrder[]
  /** False: it waits for `resume`, as in BITS. Default: true when there are files. */
  readonly isStarted?: boolean
  /** The same key again makes nothing new and returns the same job: a caller may repeat what broke off. */
  readonly idempotencyKey?: string
}

export interface JobPatch extends Partial<JobSettings>, JobSecretsOrder {}

export interface FilePatch {
  readonly url?: string
  readonly target?: string
}

/** A job as callers see it: with progress of this moment, and without what is secret or internal. */
export interface JobView
  extends Omit<Job, 'sealed' | 'stalledMs' | 'idleMs' | 'isCompleting' | 'isCleaned' | 'queuedSeq' | 'attempt'> {
  /** Of the last seconds; 0 while nothing runs. */
  readonly bytesPerSec: number
  readonly reason: JobReason
}

/** Why a job is where it is. */
export interface JobReason {
  readonly code: JobReasonCode
  /** A sentence without its full stop: `Waiting for the origin, which asked to be left alone`. */
  readonly text: string
  /** Wall clock until when it lasts at most; null: not known, or until somebody does something. */
  readonly untilMs: number | null
  /** The file it is about; null: none or all of them. */
  readonly fileIndex: number | null
}

export const JOB_REASON_CODES = [
  'suspended',
  'no-files',
  'waiting-for-turn',
  'more-urgent-job',
  'retry-later',
  'origin-asked-to-wait',
  'network-down',
  'disk-full',
  'no-source',
  'held',
  'cost',
  'connecting',
  'transferring',
  'stalled',
  'waiting-for-complete',
  'completing',
  'failed',
  'acknowledged',
  'cancelled',
] as const
export type JobReasonCode = (typeof JOB_REASON_CODES)[number]

export interface JobListOptions {
  /** Default: all but those that ended. */
  readonly states?: readonly JobState[]
  /** Also those of others; only for administrators. Default: false. */
  readonly allUsers?: boolean
  /** The job after which the page begins. */
  readonly after?: JobId
  /** 1 to 1000. Default: 100. */
  readonly limit?: number
}

export interface JobPage {
  readonly jobs: readonly JobView[]
  /** For `after`; null: that was the last page. */
  readonly next: JobId | null
}

export interface JobFilePage {
  readonly files: readonly JobFile[]
  /** For `after`; null: that was the last page. */
  readonly next: number | null
}

export interface CompleteResult {
  readonly job: JobView
  /** Targets that are under their names now. */
  readonly deliveredCount: number
  /** Files that were not whole and were given up. */
  readonly abandonedCount: number
}

/** Not recorded, and not repeated: the state of what runs. */
export interface JobProgress {
  readonly kind: 'progress'
  readonly job: JobId
  readonly bytesDone: number
  readonly bytesTotal: number
  readonly unknownLengthCount: number
  readonly doneCount: number
  readonly fileCount: number
  readonly bytesPerSec: number
}

/** `id` counts up, also across restarts of the agent. */
export type JobStreamEvent = JobEventRecord | JobProgress

export interface JobEventOptions {
  /** Begin after this event; default: with what happens from now on. What is no longer kept is left out. */
  readonly after?: number
  /** Only of this job. */
  readonly job?: JobId
  readonly allUsers?: boolean
  /** Default: false. */
  readonly hasProgress?: boolean
  /** Ends the stream. */
  readonly signal: AbortSignal
}

/**
 * All reject with SHORTHAUL_JOB_NOT_FOUND for a job that there is not, or that is another user's; with
 * SHORTHAUL_JOB_STATE for what its state does not allow; with SHORTHAUL_USAGE for what is not valid.
 */
export interface JobsApi {
  /** @throws SHORTHAUL_JOB_LIMIT, SHORTHAUL_USAGE for a key that was used for something else */
  create(order: JobOrder): Promise<JobView>
  addFiles(id: JobId, files: readonly FileOrder[]): Promise<JobView>
  list(options?: JobListOptions): Promise<JobPage>
  get(id: JobId): Promise<JobView>
  files(id: JobId, options?: { readonly after?: number; readonly limit?: number }): Promise<JobFilePage>
  set(id: JobId, patch: JobPatch): Promise<JobView>
  /** Where a file comes from or goes to; one that is here already and comes from elsewhere now starts over. */
  setFile(id: JobId, index: number, patch: FilePatch): Promise<JobFile>
  /** Every file whose URL begins with `from` comes from `to` instead. @returns how many */
  replacePrefix(id: JobId, prefix: { readonly from: string; readonly to: string }): Promise<number>
  suspend(id: JobId): Promise<JobView>
  resume(id: JobId): Promise<JobView>
  cancel(id: JobId): Promise<JobView>
  /** Gives the files their names. @throws SHORTHAUL_TARGET_UNWRITABLE and then it may be called again */
  complete(id: JobId): Promise<CompleteResult>
  /** The job is the caller's from now on; its header fields and its command are dropped. Administrators only. */
  takeOwnership(id: JobId): Promise<JobView>
  /** Ends by the signal, without an error. */
  events(options: JobEventOptions): AsyncIterable<JobStreamEvent>
}
