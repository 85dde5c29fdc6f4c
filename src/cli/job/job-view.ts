/** Jobs for people: the table of `list` and `watch`, the page of `show`, the sentence of `why`. Pure. */
import { formatBytes, formatDuration, formatRate } from '../../config/units.ts'
import { redactUrl } from '../../errors.ts'
import type { JobFile, JobTotals, NotifySettings } from '../../jobs/job.ts'
import type { JobReason, JobReasonCode, JobView } from '../../jobs/jobs-api.ts'
import { formatTable } from '../output.ts'
import { formatShare } from '../progress.ts'

const SHORT_ID_CHARS = 8
const MIN_NAME_CHARS = 12
const MAX_NAME_CHARS = 40

export function shortId(id: string): string {
  return id.slice(0, SHORT_ID_CHARS)
}

/** Terminals obey control characters and marks of direction; names may come from other users. */
export function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?')
}

export function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

/** What the state does not say already. */
const SHORT_REASONS: Readonly<Record<JobReasonCode, string>> = {
  suspended: '',
  'no-files': 'no files yet',
  'waiting-for-turn': 'waits for its turn',
  'more-urgent-job': 'waits for a more urgent job',
  'retry-later': 'tries again',
  'origin-asked-to-wait': 'origin asked to wait',
  'network-down': 'no network',
  'disk-full': 'disk is full',
  'no-source': 'no neighbour has it',
  held: 'held back',
  cost: 'line is too dear',
  connecting: '',
  transferring: '',
  stalled: 'nothing comes',
  'waiting-for-complete': 'wants `complete`',
  completing: 'naming its files',
  failed: '',
  acknowledged: '',
  cancelled: '',
}

function shortReason({ reason, error, state }: JobView, nowMs: number): string {
  const code = error?.code.replace('SHORTHAUL_', '').toLowerCase().replaceAll('_', ' ') ?? ''
  if (state === 'error') return code
  if (reason.code === 'waiting-for-complete' && code !== '') return code
  const text = SHORT_REASONS[reason.code]
  const leftMs = reason.untilMs === null ? 0 : reason.untilMs - nowMs
  if (leftMs <= 0 || text === '') return text
  return reason.code === 'retry-later'
    ? `${text} in ${formatDuration(leftMs)}`
    : `${text}, ${formatDuration(leftMs)} more`
}

interface TableOptions {
  /** Of the terminal; lines end before the last. */
  readonly columns: number
  readonly nowMs: number
  readonly hasOwner?: boolean
}

/** Right-aligned from a width: so that columns of a live table stand still. */
type Column = readonly [title: string, cell: (job: JobView) => string, rightFromChars?: number]

/** Lines, the first with titles. What has no room goes: priority and bytes first, then the end of names and reasons. */
export function jobTable(jobs: readonly JobView[], { columns, nowMs, hasOwner = false }: TableOptions): string[] {
  const files: Column = ['FILES', ({ totals }) => `${totals.doneCount}/${totals.fileCount}`, 0]
  const state: Column = ['STATE', (job) => job.state]
  const rate: Column = ['RATE', (job) => (job.bytesPerSec === 0 ? '-' : formatRate(job.bytesPerSec)), 10]
  const why: Column = ['WHY', (job) => shortReason(job, nowMs)]
  const id: Column = ['ID', (job) => shortId(job.id)]
  const owner: readonly Column[] = hasOwner ? [['OWNER', (job) => oneLine(job.owner.name)]] : []
  const priority: Column = ['PRIORITY', (job) => job.priority]
  const done: Column = ['DONE', ({ totals }) => formatDone(totals), 5]
  const bytes: Column = ['BYTES', ({ totals }) => formatBytesDone(totals), 0]
  const wide = [state, priority, files, bytes, rate, why]
  const narrow = [state, files, done, rate, why]
  const names = jobs.map((job) => oneLine(job.name))
  const nameWidth = Math.max(4, ...names.map((name) => Math.min(MAX_NAME_CHARS, widthOf(name))))
  for (const chosen of [wide, narrow]) {
    const others = chosen.map((column) => cellsOf(column, jobs))
    const lead = [id, ...owner].map((column) => cellsOf(column, jobs))
    const taken = [...lead, ...others].reduce((sum, cells) => sum + widthOf(cells[0] ?? '') + 2, 0)
    const room = columns - 1 - taken
    const width = Math.min(nameWidth, Math.max(MIN_NAME_CHARS, room))
    if (chosen === wide && width > room && columns !== Number.POSITIVE_INFINITY) continue
    const named = ['NAME', ...names.map((name) => cut(name, width))].map((cell) =>
      padEnd(cell, Math.min(width, nameWidth)),
    )
    const all = [...lead, named, ...others]
    return named.map((_, row) =>
      cut(
        all
          .map((cells) => cells[row] ?? '')
          .join('  ')
          .trimEnd(),
        columns - 1,
      ),
    )
  }
  return []
}

/** All of one width, the title first. */
function cellsOf([title, cell, rightFromChars]: Column, jobs: readonly JobView[]): string[] {
  const cells = [title, ...jobs.map(cell)]
  const width = Math.max(rightFromChars ?? 0, ...cells.map(widthOf))
  return cells.map((text) => (rightFromChars === undefined ? padEnd(text, width) : text.padStart(width)))
}

const WIDE =
  /\p{Script=Han}|\p{Script=Hiragana}|\p{Script=Katakana}|\p{Script=Hangul}|\p{Emoji_Presentation}|[\u3000-\u303f\uff00-\uff60]/u

/** Cells of a terminal, nearly: a line that is wider than we think wraps, and is not drawn over. */
function widthOf(text: string): number {
  let width = 0
  for (const char of text) width += WIDE.test(char) ? 2 : /\p{M}/u.test(char) ? 0 : 1
  return width
}

function padEnd(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - widthOf(text)))
}

/** @param width in cells; the result has no more */
export function cut(text: string, width: number): string {
  if (widthOf(text) <= width) return text
  let kept = ''
  let used = 1
  for (const char of text) {
    used += widthOf(char)
    if (used > width) break
    kept += char
  }
  return `${kept}…`
}

/** Percent; unknown while the length of a file is. */
function formatDone({ bytesDone, bytesTotal, unknownLengthCount, fileCount, doneCount }: JobTotals): string {
  if (fileCount > 0 && doneCount === fileCount) return '100 %'
  if (unknownLengthCount > 0 || bytesTotal === 0) return '?'
  return `${Math.floor((bytesDone / bytesTotal) * 100)} %`
}

function formatBytesDone({ bytesDone, bytesTotal, unknownLengthCount, fileCount }: JobTotals): string {
  if (fileCount === 0) return '-'
  const total =
    unknownLengthCount === 0
      ? formatBytes(bytesTotal)
      : unknownLengthCount < fileCount
        ? `${formatBytes(bytesTotal)}+`
        : '?'
  return `${formatBytes(bytesDone)} / ${total}`
}

/** One line: how far a job is. */
export function formatProgressOf(totals: JobTotals, bytesPerSec: number): string {
  const rate = bytesPerSec > 0 ? `, ${formatRate(bytesPerSec)}` : ''
  return `${totals.doneCount}/${totals.fileCount} files, ${formatBytesDone(totals)}${rate}`
}

/** A sentence, and until when. */
export function formatReason({ text, untilMs }: JobReason, nowMs: number): string {
  if (untilMs === null) return oneLine(text)
  const leftMs = untilMs - nowMs
  return `${oneLine(text)} (until ${formatMoment(untilMs)}${leftMs > 0 ? `, in ${formatDuration(leftMs)}` : ''})`
}

/** Local time with its zone. */
export function formatMoment(atMs: number): string {
  const date = new Date(atMs)
  const offsetMin = -date.getTimezoneOffset()
  const local = new Date(atMs + offsetMin * 60_000).toISOString().slice(0, 19)
  const two = (value: number) => String(value).padStart(2, '0')
  const size = Math.abs(offsetMin)
  const zone = offsetMin === 0 ? 'Z' : `${offsetMin < 0 ? '-' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`
  return `${local}${zone}`
}

/** For `show`; several lines, without the files. */
export function formatJob(job: JobView, nowMs: number): string {
  const { totals, error, notify } = job
  const share = formatShare(totals.sources)
  const limits = [
    ...(job.usePeers ? [] : ['no neighbours']),
    ...(job.useOrigin ? [] : ['no origin']),
    ...(job.originMaxBytesPerSec === null ? [] : [`at most ${formatRate(job.originMaxBytesPerSec)} from the origin`]),
  ]
  const optional: readonly (readonly [string, string | null])[] = [
    ['description', job.description === '' ? null : oneLine(job.description)],
    ['error', error === null ? null : `${oneLine(error.message)} (${error.code})`],
    [
      'error at',
      error === null
        ? null
        : `${formatMoment(error.atMs)}${error.fileIndex === null ? '' : `, file ${error.fileIndex}`}`,
    ],
    ['errors', job.errorCount === 0 ? null : String(job.errorCount)],
    ['tries again', job.retryAtMs === null ? null : formatMoment(job.retryAtMs)],
    ['from', share === '' ? null : share],
    ['limits', limits.length === 0 ? null : limits.join(', ')],
    [
      'header fields',
      job.headerNames.length === 0 ? null : `${job.headerNames.map(oneLine).join(', ')} (values are not shown)`,
    ],
    ['proxy', job.proxy === 'auto' ? null : /^https?:/.test(job.proxy) ? redactUrl(job.proxy) : oneLine(job.proxy)],
    ['deadline', job.deadlineAtMs === null ? null : formatMoment(job.deadlineAtMs)],
    ['cost policy', job.costPolicy],
    ['notifies', formatNotify(notify)],
  ]
  return formatTable([
    ['id', job.id],
    ['name', oneLine(job.name)],
    ['owner', oneLine(job.owner.name)],
    ['state', job.state],
    ['why', formatReason(job.reason, nowMs)],
    ['priority', job.priority],
    ['done', formatProgressOf(totals, job.bytesPerSec)],
    ...optional.flatMap(([label, text]) => (text === null ? [] : [[label, text]])),
    ['completes', job.autoComplete ? 'by itself' : 'when told to, with `shorthaul job complete`'],
    [
      'times',
      `tries again after ${formatDuration(job.minRetryDelayMs)} or more, fails after ${formatDuration(job.noProgressTimeoutMs)} without progress or ${formatDuration(job.maxTransferTimeMs)} of transfer`,
    ],
    ['created', formatMoment(job.createdAtMs)],
    ...(job.transferredAtMs === null ? [] : [['transferred', formatMoment(job.transferredAtMs)]]),
    ...(job.endedAtMs === null ? [] : [['ended', formatMoment(job.endedAtMs)]]),
  ])
}

function formatNotify({ command, webhookUrl, events }: NotifySettings): string | null {
  const whom = [
    ...(command === null ? [] : [oneLine(JSON.stringify(command))]),
    ...(webhookUrl === null ? [] : [redactUrl(webhookUrl)]),
  ]
  return whom.length === 0 ? null : `${whom.join(' and ')} of ${events.join(', ')}`
}

/** A line for each file, with the numbers that `job set --file` takes. */
export function formatFiles(files: readonly JobFile[]): string {
  const rows = files.map(({ index, state, trust, bytesDone, bytesTotal, url, target, ranges }) => [
    String(index),
    state,
    trust ?? '-',
    `${formatBytes(bytesDone)} / ${bytesTotal === null ? '?' : formatBytes(bytesTotal)}`,
    oneLine(target),
    oneLine(redactUrl(url)) + (ranges === null ? '' : ` (${countOf(ranges.length, 'range')})`),
  ])
  return formatTable([['FILE', 'STATE', 'TRUST', 'BYTES', 'TARGET', 'URL'], ...rows])
}
