/** Why a job is where it is, in words and for machines. Pure. */
import { assertNever } from '../errors.ts'
import type { Hold } from '../throttle/wan-governor.ts'
import type { Job, JobError } from './job.ts'
import type { JobReason, JobReasonCode } from './jobs-api.ts'

/** What is the case around the job. */
export interface Circumstances {
  /** Why nothing of its priority may be had from origins now; null: it may. */
  readonly hold: Hold | null
  /** Why its own cost policy keeps it from running; null: it does not. */
  readonly costText: string | null
  /** A more urgent job that wants to run; null: none. */
  readonly moreUrgent: Pick<Job, 'name' | 'priority'> | null
  /** Others of its level that have a turn. */
  readonly runningCount: number
  /** This machine has no network besides itself. */
  readonly isNetworkDown: boolean
  /** Others use the line: what comes, comes so slowly that a segment may take minutes. */
  readonly isYielding: boolean
  /** Of its turn; null: it has none. */
  readonly run: {
    readonly bytesPerSec: number
    /** Since the last new byte. */
    readonly stalledMs: number
    /** What the transfer said last of what went wrong. */
    readonly trouble: string | null
  } | null
}

/** Shorter pauses are nothing to explain. */
const STALLED_MS = 5000

export function why(job: Job, about: Circumstances): JobReason {
  if (job.isCompleting) return reason('completing', 'Giving the files their names')
  switch (job.state) {
    case 'suspended':
      return job.totals.fileCount === 0
        ? reason('no-files', 'Suspended, and without files so far')
        : reason('suspended', 'Suspended: waiting for somebody to resume it')
    case 'queued':
      return whyQueued(about)
    case 'connecting':
      return whyRunning(about) ?? reason('connecting', 'Asking the cache, the neighbours and the origin')
    case 'transferring':
      return whyRunning(about) ?? reason('transferring', 'Transferring')
    case 'transient-error':
      return whyRetrying(job, about)
    case 'error':
      return {
        ...reason('failed', `Failed: ${job.error?.message ?? 'the reason is not known'}; resume tries again`),
        fileIndex: job.error?.fileIndex ?? null,
      }
    case 'transferred':
      return job.error === null
        ? reason('waiting-for-complete', 'All files are here: waiting for somebody to complete it')
        : reason('waiting-for-complete', `All files are here, but not under their names: ${job.error.message}`)
    case 'acknowledged':
      return reason('acknowledged', 'Done')
    case 'cancelled':
      return reason('cancelled', 'Cancelled')
    default:
      return assertNever(job.state)
  }
}

function whyQueued({ costText, moreUrgent, runningCount }: Circumstances): JobReason {
  if (costText !== null) return reason('cost', `Waiting because of ${costText}`)
  if (moreUrgent !== null) {
    return reason('more-urgent-job', `Waiting for "${moreUrgent.name}", whose priority is ${moreUrgent.priority}`)
  }
  const others = runningCount === 1 ? 'another job has' : `${runningCount} other jobs have`
  return reason('waiting-for-turn', runningCount === 0 ? 'About to start' : `Waiting for its turn: ${others} one`)
}

function whyRunning({ hold, run, isNetworkDown, isYielding }: Circumstances): JobReason | null {
  const isStalled = run !== null && run.stalledMs > STALLED_MS
  if (hold !== null && (run === null || run.bytesPerSec === 0)) {
    return { ...reason('held', `Nothing may be had from the origin: ${hold.text}`), untilMs: hold.untilMs }
  }
  const isTroubled = run !== null && run.trouble !== null && run.bytesPerSec === 0
  if (!isStalled && !isTroubled) return null
  if (isNetworkDown) return reason('network-down', 'Waiting for the network: this machine has none')
  const seconds = Math.round(run.stalledMs / 1000)
  const slowly = isYielding ? ': others use the line, and this goes slowly until they are done' : ''
  const cause = run.trouble === null ? slowly : `, trying again: ${run.trouble}`
  return reason('stalled', `Nothing has come for ${seconds} s${cause}`)
}

function whyRetrying(job: Job, about: Circumstances): JobReason {
  const { error, retryAtMs } = job
  const common = { untilMs: retryAtMs, fileIndex: error?.fileIndex ?? null }
  if (about.isNetworkDown)
    return { ...reason('network-down', 'Waiting for the network: this machine has none'), ...common }
  if (error === null) return { ...reason('retry-later', 'Waiting to try again'), ...common }
  const [code, lead] = RETRY_LEADS[retryKind(error)]
  return { ...reason(code, `${lead}: ${error.message}`), ...common }
}

type RetryKind = 'disk' | 'source' | 'asked' | 'other'

const RETRY_LEADS: Readonly<Record<RetryKind, readonly [JobReasonCode, string]>> = {
  disk: ['disk-full', 'Waiting for room on the disk'],
  source: ['no-source', 'Waiting for a neighbour that has it'],
  asked: ['origin-asked-to-wait', 'Waiting because the origin asked to be left alone'],
  other: ['retry-later', 'Waiting to try again'],
}

function retryKind({ code, hasRetryAfter }: JobError): RetryKind {
  if (code === 'SHORTHAUL_DISK_FULL') return 'disk'
  if (code === 'SHORTHAUL_ORIGIN_DISALLOWED') return 'source'
  return hasRetryAfter ? 'asked' : 'other'
}

function reason(code: JobReasonCode, text: string): JobReason {
  return { code, text, untilMs: null, fileIndex: null }
}
