/** What a notification says, over whatever channel. Pure. */
import type { OutboxEntry } from './job-events.ts'

/** The same each time it is told, and on no other agent: who gets one twice knows it by this. Without a full stop. */
export function notificationId({ event }: OutboxEntry): string {
  return `${event.job}-${event.id}`
}

/** @see docs/notifications.md, which describes it */
export function notificationBody(entry: OutboxEntry): string {
  const { event, notifyEvent } = entry
  return JSON.stringify({
    id: notificationId(entry),
    event: notifyEvent,
    job: event.job,
    name: event.name,
    state: event.state,
    atMs: event.atMs,
    ...(event.fileIndex === undefined ? {} : { fileIndex: event.fileIndex }),
    ...(event.error === undefined
      ? {}
      : { error: { code: event.error.code, message: event.error.message, fileIndex: event.error.fileIndex } }),
  })
}

/** @see docs/notifications.md, which describes it */
export function notificationVariables(entry: OutboxEntry): Readonly<Record<string, string>> {
  const { event, notifyEvent } = entry
  return {
    SHORTHAUL_EVENT_ID: notificationId(entry),
    SHORTHAUL_EVENT: notifyEvent,
    SHORTHAUL_JOB: event.job,
    SHORTHAUL_JOB_NAME: event.name,
    SHORTHAUL_STATE: event.state,
    SHORTHAUL_ERROR_CODE: event.error?.code ?? '',
  }
}
