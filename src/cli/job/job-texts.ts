/** Jobs for people: rows of a table, and everything about one. Pure. */
import { formatBytes, formatDuration, formatRate } from '../../config/units.ts'
import { redactUrl } from '../../errors.ts'
import type { JobFile } from '../../jobs/job.ts'
import type { JobReason, JobView } from '../../jobs/jobs-api.ts'
import { printable } from '../agent-view.ts'
import { formatTable } from '../output.ts'
import { formatShare } from '../progress.ts'

const SHORT_ID = 8
const MAX_NAME = 24

const HEAD = ['ID', 'NAME', 'STATE', 'PRIORITY', 'FILES', 'BYTES', 'RATE', 'WHY'] as const

/** As wide as the terminal at most; the last column, which is a sentence, is cut. */
export function jobTable(
  jobs: readonly JobView[],
  options: { readonly columns: number; readonly nowMs: number },
): string {
  const rows = jobs.map((job) => [
    job.id.slice(0, SHORT_ID),
    cut(printable(job.name), MAX_NAME),
    job.state,
    job.priority,
    `${job.totals.doneCount}/${job.totals.fileCount}`,
    bytesOf(job),
    job.bytesPerSec > 0 ? formatRate(job.bytesPerSec) : '',
    printable(reasonText(job.reason, options.nowMs)),
  ])
  return formatTable([HEAD, ...rows])
    .split('\n')
    .map((line) => cut(line, options.columns))
    .join('\n')
}

export function jobText(job: JobView, files: readonly JobFile[], nowMs: number): string {
  const { totals, notify, error } = job
  const rows: (readonly [string, string])[] = [
    ['id', job.id],
    ['name', printable(job.name)],
    ...(job.description === '' ? [] : [['description', printable(job.description)] as const]),
    ['state', job.state],
    ['why', printable(reasonText(job.reason, nowMs))],
    ['priority', job.priority],
    ['owner', printable(job.owner.name)],
    ['files', `${totals.doneCount} of ${totals.fileCount}`],
    ['bytes', `${bytesOf(job)}${shareOf(job)}`],
    ['created', dateOf(job.createdAtMs)],
    ...(job.transferredAtMs === null ? [] : [['transferred', dateOf(job.transferredAtMs)] as const]),
    ...(job.endedAtMs === null ? [] : [['ended', dateOf(job.endedAtMs)] as const]),
    ...(job.deadlineAtMs === null ? [] : [['deadline', dateOf(job.deadlineAtMs)] as const]),
    ...(job.autoComplete ? [['completes', 'by itself'] as const] : []),
    ...(job.headerNames.length > 0
      ? [['headers', `${job.headerNames.join(', ')} (values are not shown)`] as const]
      : []),
    ...(notify.command ? [['runs', printable(JSON.stringify(notify.command))] as const] : []),
    ...(notify.webhookUrl ? [['tells', redactUrl(notify.webhookUrl)] as const] : []),
    ...(error ? [['last error', printable(`${error.message} (${error.code})`)] as const] : []),
    ...(job.errorCount > 0 ? [['errors', String(job.errorCount)] as const] : []),
  ]
  const fileRows = files.map((file) => [
    String(file.index),
    file.state,
    fileBytes(file),
    redactUrl(file.url),
    printable(file.target),
  ])
  const table =
    files.length === 0 ? '' : `\n\n${formatTable([['FILE', 'STATE', 'BYTES', 'URL', 'TARGET'], ...fileRows])}`
  return `${formatTable(rows)}${table}`
}

/** A sentence, and until when. */
export function reasonText({ text, untilMs }: JobReason, nowMs: number): string {
  if (untilMs === null || untilMs <= nowMs) return text
  return `${text}; until ${timeOf(untilMs, nowMs)}`
}

/** The time of day, and the day when it is not today. */
function timeOf(atMs: number, nowMs: number): string {
  const isToday = new Date(atMs).toDateString() === new Date(nowMs).toDateString()
  const text = new Date(atMs).toLocaleTimeString('en-GB', { hour12: false })
  return isToday ? `${text} (in ${formatDuration(atMs - nowMs)})` : dateOf(atMs)
}

function dateOf(atMs: number): string {
  return new Date(atMs).toISOString().replace(/\.\d+Z$/, 'Z')
}

function bytesOf({ totals }: JobView): string {
  const { bytesDone, bytesTotal, unknownLengthCount, fileCount } = totals
  if (fileCount === 0) return '-'
  const known =
    unknownLengthCount === 0 ? formatBytes(bytesTotal) : bytesTotal === 0 ? '?' : `${formatBytes(bytesTotal)}+`
  return bytesDone === bytesTotal && unknownLengthCount === 0 ? known : `${formatBytes(bytesDone)} of ${known}`
}

function fileBytes({ bytesDone, bytesTotal }: JobFile): string {
  if (bytesTotal === null) return bytesDone === 0 ? '?' : `${formatBytes(bytesDone)} of ?`
  return bytesDone === bytesTotal ? formatBytes(bytesTotal) : `${formatBytes(bytesDone)} of ${formatBytes(bytesTotal)}`
}

function shareOf({ totals }: JobView): string {
  const share = formatShare(totals.sources)
  return share ? ` (${share})` : ''
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, Math.max(0, length - 1))}…`
}
