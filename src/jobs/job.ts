/**
 * What a job is, on disk and in memory. Plain data; the words and defaults are those of BITS where it has them.
 *
 * A job's files are records of their own: a job of thousands is listed without reading them.
 */
import type { ResourceId } from '../content/ids.ts'
import type { ErrorCode } from '../errors.ts'
import type { MeteredPolicy } from '../throttle/cost.ts'
import type { Priority } from '../throttle/priority.ts'
import type { FileRange, SourceBytes } from '../transfer/request.ts'
import type { ShownTrust } from '../transfer/shown-trust.ts'
import type { JobState } from './states.ts'

declare const brand: unique symbol
/** A UUID. */
export type JobId = string & { readonly [brand]: 'JobId' }

const JOB_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** Null for text that names no job; also takes the braces and capitals of a GUID as `bitsadmin` writes it. */
export function parseJobId(text: string): JobId | null {
  const bare = text.replace(/^\{(.*)\}$/, '$1').toLowerCase()
  return JOB_ID.test(bare) ? (bare as JobId) : null
}

/** The user for whom a job runs: its targets and commands are that user's. */
export interface JobOwner {
  /** Null where the system has no numbers for users (Windows): then all are the agent's own. */
  readonly uid: number | null
  readonly name: string
}

/** Downloads only, for now; `upload` and `upload-reply` of BITS are names that the model keeps free. */
export type JobType = 'download'

export type { FileRange }

export interface JobFile {
  /** Counts from 0 in the order in which they were added. */
  readonly index: number
  readonly url: string
  /** Absolute. */
  readonly target: string
  /** In the order in which they stand in the target; null: all of it. */
  readonly ranges: readonly FileRange[] | null
  /** Lower-case hex of what must be in the target; null: whatever the origin has. */
  readonly sha256: string | null
  /** `transferred`: whole, beside the target. `delivered`: under its own name. */
  readonly state: 'waiting' | 'transferred' | 'delivered'
  readonly bytesTotal: number | null
  readonly bytesDone: number
  readonly sources: SourceBytes
  /** The generation of which the part beside the target is; null: not known yet, or it cannot be told from others. */
  readonly resource: ResourceId | null
  /** Found in what was transferred. */
  readonly foundSha256: string | null
  /** How what was transferred is known; null: not here yet, or of a version that did not say. */
  readonly trust: ShownTrust | null
  /** How often it was begun anew because the origin had something else. */
  readonly restartCount: number
}

export interface JobError {
  readonly code: ErrorCode
  readonly message: string
  /** The file that failed; null: none of them. */
  readonly fileIndex: number | null
  /** The same request may succeed later. */
  readonly isTransient: boolean
  /** The origin said when to come back. */
  readonly hasRetryAfter: boolean
  readonly atMs: number
}

/** What may be changed while a job lives. Times are durations unless the name ends in `AtMs`. */
export interface JobSettings {
  readonly name: string
  readonly description: string
  readonly priority: Priority
  /** `auto`: from the agent's environment; `none`; or the URL of a proxy. A login in it is sealed, and never shown. */
  readonly proxy: string
  readonly usePeers: boolean
  readonly useOrigin: boolean
  readonly originMaxBytesPerSec: number | null
  /** The shortest pause before it is tried again; longer each time. */
  readonly minRetryDelayMs: number
  /** Without one new byte for so long it is an error. 0: the first failure is. */
  readonly noProgressTimeoutMs: number
  /** Spent connecting and transferring. */
  readonly maxTransferTimeMs: number
  /** Wall clock; null: none. */
  readonly deadlineAtMs: number | null
  /** Over which lines it may go to the origin; null: as the agent's configuration says for its priority. */
  readonly costPolicy: MeteredPolicy | null
  readonly notify: NotifySettings
  /** Targets appear as soon as all files are here. */
  readonly autoComplete: boolean
}

export const NOTIFY_EVENTS = ['transferred', 'error', 'acknowledged', 'cancelled', 'file-transferred'] as const
export type NotifyEvent = (typeof NOTIFY_EVENTS)[number]

export interface NotifySettings {
  /** Program and arguments; run without a shell, as the owner. */
  readonly command: readonly string[] | null
  readonly webhookUrl: string | null
  /** Of which the command and the webhook are told. */
  readonly events: readonly NotifyEvent[]
}

export interface Job extends JobSettings {
  readonly id: JobId
  readonly type: JobType
  readonly owner: JobOwner
  readonly state: JobState
  /** Sealed: header fields for the origin, the proxy with its login, and the webhook's secret. Null: none. */
  readonly sealed: string | null
  /** Names of the fields that `sealed` holds: values are never shown. */
  readonly headerNames: readonly string[]
  readonly createdAtMs: number
  readonly modifiedAtMs: number
  /** When all files were here; null: not yet. */
  readonly transferredAtMs: number | null
  /** When it was acknowledged or cancelled. */
  readonly endedAtMs: number | null
  readonly totals: JobTotals
  /** The last one; kept until it is resumed or makes progress. */
  readonly error: JobError | null
  /** Never reset. */
  readonly errorCount: number
  /** Failures in a row: decides the next pause. */
  readonly attempt: number
  /** Wall clock, for people; null: not waiting for a time. */
  readonly retryAtMs: number | null
  /** Spent connecting and transferring so far. */
  readonly transferTimeMs: number
  /** Spent trying without a new byte. */
  readonly stalledMs: number
  /** Untouched, while an agent ran. */
  readonly idleMs: number
  /** `complete` was promised: renames go on after a crash. */
  readonly isCompleting: boolean
  /** Nothing of it is left beside its targets; only then a final job may be forgotten. */
  readonly isCleaned: boolean
  /** Grows with each turn that ended: who waits longest is next. */
  readonly queuedSeq: number
}

export interface JobTotals {
  readonly fileCount: number
  /** Transferred or delivered. */
  readonly doneCount: number
  /** Of the files whose length is known. */
  readonly bytesTotal: number
  readonly unknownLengthCount: number
  readonly bytesDone: number
  readonly sources: SourceBytes
}

export const NO_BYTES: SourceBytes = { cache: 0, peer: 0, origin: 0 }

export function totalsOf(files: Iterable<JobFile>): JobTotals {
  let fileCount = 0
  let doneCount = 0
  let bytesTotal = 0
  let unknownLengthCount = 0
  let bytesDone = 0
  let sources = NO_BYTES
  for (const file of files) {
    fileCount++
    if (file.state !== 'waiting') doneCount++
    if (file.bytesTotal === null) unknownLengthCount++
    else bytesTotal += file.bytesTotal
    bytesDone += file.bytesDone
    sources = addBytes(sources, file.sources)
  }
  return { fileCount, doneCount, bytesTotal, unknownLengthCount, bytesDone, sources }
}

/** @param before null: the file is new */
export function withFile(totals: JobTotals, before: JobFile | null, after: JobFile): JobTotals {
  const added = totalsOf([after])
  const removed = totalsOf(before === null ? [] : [before])
  return {
    fileCount: totals.fileCount + added.fileCount - removed.fileCount,
    doneCount: totals.doneCount + added.doneCount - removed.doneCount,
    bytesTotal: totals.bytesTotal + added.bytesTotal - removed.bytesTotal,
    unknownLengthCount: totals.unknownLengthCount + added.unknownLengthCount - removed.unknownLengthCount,
    bytesDone: totals.bytesDone + added.bytesDone - removed.bytesDone,
    sources: {
      cache: totals.sources.cache + added.sources.cache - removed.sources.cache,
      peer: totals.sources.peer + added.sources.peer - removed.sources.peer,
      origin: totals.sources.origin + added.sources.origin - removed.sources.origin,
    },
  }
}

export function addBytes(one: SourceBytes, other: SourceBytes): SourceBytes {
  return { cache: one.cache + other.cache, peer: one.peer + other.peer, origin: one.origin + other.origin }
}
