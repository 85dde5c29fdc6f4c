/**
 * `shorthaul job watch`: in a terminal a table that is drawn again twice a second; else what happens, a line each. Of one
 * job it ends when nothing more happens by itself, with an exit code by how that came.
 */
import { systemClock } from '../../clock.ts'
import { abortError, ERROR_TABLE, EXIT, type ExitCode } from '../../errors.ts'
import type { JobId } from '../../jobs/job.ts'
import type { JobStreamEvent, JobsApi, JobView } from '../../jobs/jobs-api.ts'
import { isFinal, JOB_STATES } from '../../jobs/states.ts'
import { interruptSignal, type Output } from '../output.ts'
import { allJobs, findJob, withJobs } from './find.ts'
import type { WatchOptions } from './job-options.ts'
import { countOf, cut, formatProgressOf, formatReason, jobTable, oneLine, shortId } from './job-view.ts'

const INTERVAL_MS = 500
const DEFAULT_COLUMNS = 80
const DEFAULT_ROWS = 24
/** Progress into a file or a pipe. */
const LINE_INTERVAL_MS = 5000
const HIDE_CURSOR = '\u001b[?25l'
const SHOW_CURSOR = '\u001b[?25h'

export async function watchVerb(name: string | null, options: WatchOptions): Promise<void> {
  const signal = interruptSignal()
  await withJobs(options, async (jobs, output) => {
    const id = name === null ? null : await findJob(jobs, name)
    const allUsers = id === null && options.allUsers === true
    const isDrawn = process.stdout.isTTY === true && !output.isJson
    const last = isDrawn
      ? await draw(jobs, { id, allUsers, signal })
      : await tell(jobs, { id, allUsers, output, signal })
    if (id === null) return // Ctrl-C is how it ends, and no failure.
    if (last === null || !isOver(last)) throw abortError(signal)
    const { exit, remark } = resultOf(last)
    output.json({ event: 'result', exit, ...last })
    output.remark(remark)
    process.exitCode = exit
  })
}

/** Nothing more happens unless somebody does something. A suspended one is waited for: it was stopped to go on. */
export function isOver({ state, autoComplete, reason, error }: JobView): boolean {
  if (isFinal(state) || state === 'error') return true
  if (state !== 'transferred' || reason.code === 'completing') return false
  return !autoComplete || error !== null
}

/** How it ended, for scripts and for people. */
export function resultOf(job: JobView): { readonly exit: ExitCode; readonly remark: string } {
  const { id, name, state, error, totals } = job
  const about = `Job ${shortId(id)} "${oneLine(name)}"`
  if (state === 'acknowledged') return { exit: EXIT.ok, remark: `${about}: ${countOf(totals.doneCount, 'file')} done` }
  if (state === 'cancelled') return { exit: EXIT.interrupted, remark: `${about}: cancelled` }
  if (error !== null) {
    const next = `\`shorthaul job ${state === 'error' ? 'resume' : 'complete'} ${shortId(id)}\` tries again`
    const text = `${about}: ${oneLine(error.message)} (${error.code}); ${next}`
    return { exit: ERROR_TABLE[error.code].exit, remark: text }
  }
  if (state === 'error') return { exit: EXIT.local, remark: `${about}: failed` }
  return {
    exit: EXIT.ok,
    remark: `${about}: all files are here; \`shorthaul job complete ${shortId(id)}\` gives them their names`,
  }
}

interface Watch {
  /** Null: all that are there. */
  readonly id: JobId | null
  readonly allUsers: boolean
  readonly signal: AbortSignal
}

/** @returns the job as it was last; null: none was named */
async function draw(jobs: JobsApi, { id, allUsers, signal }: Watch): Promise<JobView | null> {
  const screen = process.stdout
  const startedMs = systemClock.nowMs()
  let drawnLines = 0
  let last: JobView | null = null
  screen.write(HIDE_CURSOR)
  try {
    while (!signal.aborted) {
      if (id !== null) last = await jobs.get(id)
      // Those that ended while we look stay: that is what one looks for.
      const isShown = ({ state, endedAtMs }: JobView) => !isFinal(state) || (endedAtMs ?? 0) >= startedMs
      const shown = last === null ? (await allJobs(jobs, { states: JOB_STATES, allUsers })).filter(isShown) : [last]
      const lines = frameOf(shown, { isOne: id !== null, columns: screen.columns, rows: screen.rows })
      const up = drawnLines > 0 ? `\u001b[${drawnLines}A` : ''
      screen.write(`${up}\r\u001b[J${lines.join('\n')}\n`)
      drawnLines = lines.length
      if (last !== null && isOver(last)) break
      await systemClock.sleep(INTERVAL_MS, { signal }).catch(() => {})
    }
  } finally {
    screen.write(SHOW_CURSOR)
  }
  return last
}

/** Never higher than the terminal: what has scrolled away cannot be drawn over. */
export function frameOf(
  jobs: readonly JobView[],
  about: { readonly isOne: boolean; readonly columns: number | undefined; readonly rows: number | undefined },
): readonly string[] {
  const nowMs = systemClock.nowMs()
  const columns = about.columns || DEFAULT_COLUMNS
  const room = Math.max(1, (about.rows || DEFAULT_ROWS) - 3)
  if (jobs.length === 0) return ['no jobs']
  const lines = jobTable(jobs.slice(0, room), { columns, nowMs })
  if (jobs.length > room) lines.push(`and ${jobs.length - room} more`)
  const [job] = jobs
  // Within one line, so that the height is known.
  if (about.isOne && job) lines.push('', cut(formatReason(job.reason, nowMs), columns - 1))
  return lines
}

/** @returns the job as it was last; null: none was named */
async function tell(
  jobs: JobsApi,
  { id, allUsers, output, signal }: Watch & { readonly output: Output },
): Promise<JobView | null> {
  const startedMs = systemClock.nowMs()
  let last: JobView | null = null
  if (id !== null) {
    last = await jobs.get(id)
    output.json({ event: 'job', ...last })
    output.text(lineOf(last, startedMs))
    if (isOver(last)) return last
  }
  const stop = new AbortController()
  // From the beginning of one job: what happens before the stream is open must not be missed.
  const from = id === null ? {} : { job: id, after: 0 }
  const events = jobs.events({ ...from, allUsers, hasProgress: true, signal: AbortSignal.any([signal, stop.signal]) })
  const toldMs = new Map<JobId, number>()
  try {
    for await (const event of events) {
      if (event.kind !== 'progress' && event.atMs < startedMs) continue
      output.json({ event: 'job-event', ...event })
      if (!output.isJson) tellEvent(event, { output, toldMs })
      if (id === null || event.kind === 'progress') continue
      last = await jobs.get(id)
      if (isOver(last)) return last
    }
  } finally {
    stop.abort()
  }
  return last
}

function tellEvent(event: JobStreamEvent, { output, toldMs }: { output: Output; toldMs: Map<JobId, number> }): void {
  if (event.kind === 'progress') {
    const nowMs = systemClock.monotonicMs()
    if (nowMs - (toldMs.get(event.job) ?? Number.NEGATIVE_INFINITY) < LINE_INTERVAL_MS) return
    toldMs.set(event.job, nowMs)
    const totals = { ...event, sources: { cache: 0, peer: 0, origin: 0 } }
    const progress = formatProgressOf(totals, event.bytesPerSec)
    output.text(`${clockTime(systemClock.nowMs())}  ${shortId(event.job)}  ${progress}`)
    return
  }
  const { kind, state, fileIndex, error, name, job, atMs } = event
  const what = kind === 'state' ? state : `${kind.replace('-', ' ')}${fileIndex === undefined ? '' : ` ${fileIndex}`}`
  const cause = error === undefined ? '' : `: ${oneLine(error.message)} (${error.code})`
  output.text(`${clockTime(atMs)}  ${shortId(job)}  ${oneLine(name)}: ${what}${cause}`)
}

function lineOf(job: JobView, nowMs: number): string {
  return `${clockTime(nowMs)}  ${shortId(job.id)}  ${oneLine(job.name)}: ${job.state}, ${formatProgressOf(job.totals, job.bytesPerSec)}`
}

function clockTime(atMs: number): string {
  return new Date(atMs).toISOString().slice(11, 19)
}
