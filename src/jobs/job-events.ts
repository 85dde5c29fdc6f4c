/** What happened to a job, told to whoever listens: the stream of the control API, the library, and the notifications. */
import type { Job, JobError, JobId, JobOwner, NotifyEvent } from './job.ts'
import type { JobState } from './states.ts'

export const JOB_EVENT_KINDS = [
  'created',
  'state',
  'changed',
  'files-added',
  'file-transferred',
  /** The origin has something else than what was begun: that file starts over. */
  'file-restarted',
  /** The record of a job that ended long ago is gone. */
  'forgotten',
] as const

export interface JobEventBody {
  readonly kind: (typeof JOB_EVENT_KINDS)[number]
  /** Before; the same as `state` unless that is what changed. */
  readonly previous: JobState | null
  readonly state: JobState
  readonly fileIndex?: number
  readonly error?: JobError
}

/** Numbered without gaps that matter: a later one has a higher id, also after a restart. */
export interface JobEventRecord extends JobEventBody {
  readonly id: number
  readonly atMs: number
  readonly job: JobId
  readonly name: string
  readonly owner: JobOwner
}

export type NotifyChannel = 'command' | 'webhook'

/** A notification that was not delivered yet. */
export interface OutboxEntry {
  readonly channel: NotifyChannel
  readonly event: JobEventRecord
  readonly notifyEvent: NotifyEvent
  /** As the job had them when it happened. */
  readonly command: readonly string[] | null
  readonly webhookUrl: string | null
  /** As the job had it, which may be forgotten by the time: the webhook's secret is in it. */
  readonly sealed: string | null
  /** Failures so far. */
  readonly attempt: number
  /** When it is tried again (wall clock), and whether the receiver asked for that; null: it did not fail yet. */
  readonly retry: { readonly atMs: number; readonly isAsked: boolean } | null
}

/** Whom an event is to be told; pure. */
export function outboxOf(event: JobEventRecord, { notify, sealed }: Pick<Job, 'notify' | 'sealed'>): OutboxEntry[] {
  const notifyEvent = notifyEventOf(event)
  if (notifyEvent === null || !notify.events.includes(notifyEvent)) return []
  const common = { event, notifyEvent, attempt: 0, retry: null }
  const { command, webhookUrl } = notify
  return [
    ...(command === null ? [] : [{ ...common, channel: 'command' as const, command, webhookUrl: null, sealed: null }]),
    ...(webhookUrl === null ? [] : [{ ...common, channel: 'webhook' as const, command: null, webhookUrl, sealed }]),
  ]
}

function notifyEventOf({ kind, state }: JobEventRecord): NotifyEvent | null {
  if (kind === 'file-transferred') return kind
  if (kind !== 'state') return null
  switch (state) {
    case 'transferred':
    case 'error':
    case 'acknowledged':
    case 'cancelled':
      return state
    default:
      return null
  }
}
