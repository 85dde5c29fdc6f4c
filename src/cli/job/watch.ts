/** `shorthaul job watch`: the jobs as they go on; of one job until it ends. */
import { systemClock } from '../../clock.ts'
import { ERROR_TABLE, EXIT, type ExitCode } from '../../errors.ts'
import type { JobId } from '../../jobs/job.ts'
import type { JobsApi, JobView } from '../../jobs/jobs-api.ts'
import { isFinal } from '../../jobs/states.ts'
import type { GlobalOptions } from '../context.ts'
import { interruptSignal, type Output } from '../output.ts'
import { findJob } from './job-names.ts'
import { jobTable, reasonText } from './job-texts.ts'
import { withJobs } from './verbs.ts'

const DRAW_MS = 500
const DEFAULT_COLUMNS = 80
const HIDE_CURSOR = '\u001b[?25l'
const SHOW_CURSOR = '\u001b[?25h'

export interface WatchOptions extends GlobalOptions {
  readonly allUsers?: boolean
}

/** @param text of one job; undefined: all, until Ctrl-C */
export async function watchVerb(text: string | undefined, options: WatchOptions): Promise<void> {
  const signal = interruptSignal()
  await withJobs(options, async ({ jobs, output }) => {
    const id = text === undefined ? null : await findJob(jobs, text)
    const watched = { id, allUsers: options.allUsers === true, signal }
    if (process.stdout.isTTY === true && !output.isJson) await draw(jobs, watched)
    else await tell(jobs, watched, output)
    if (id !== null) process.exitCode = exitOf(await jobs.get(id))
  })
}

interface Watched {
  readonly id: JobId | null
  readonly allUsers: boolean
  readonly signal: AbortSignal
}

/** It moves no further by itself. */
function isOver({ state, autoComplete, error }: JobView): boolean {
  return isFinal(state) || state === 'error' || (state === 'transferred' && (!autoComplete || error !== null))
}

function exitOf(job: JobView): ExitCode {
  if (job.state === 'cancelled') return EXIT.interrupted
  return job.error === null || job.state === 'acknowledged' ? EXIT.ok : ERROR_TABLE[job.error.code].exit
}

async function draw(jobs: JobsApi, { id, allUsers, signal }: Watched): Promise<void> {
  const screen = process.stdout
  let drawnLines = 0
  screen.write(HIDE_CURSOR)
  try {
    while (!signal.aborted) {
      const shown = id === null ? (await jobs.list({ allUsers, limit: 1000 })).jobs : [await jobs.get(id)]
      const nowMs = systemClock.nowMs()
      const rows = Math.max(3, (screen.rows || 24) - 2)
      const table = jobTable(shown.slice(0, rows - 1), { columns: (screen.columns || DEFAULT_COLUMNS) - 1, nowMs })
      const more = shown.length > rows - 1 ? [`… and ${shown.length - rows + 1} more`] : []
      const lines = [...(shown.length === 0 ? ['No jobs; Ctrl-C ends this'] : table.split('\n')), ...more]
      const up = drawnLines > 0 ? `\u001b[${drawnLines}A` : ''
      screen.write(`${up}\r\u001b[J${lines.join('\n')}\n`)
      drawnLines = lines.length
      if (id !== null && shown.every(isOver)) return
      // Ctrl-C is how it ends, and no failure.
      await systemClock.sleep(DRAW_MS, { signal }).catch(() => {})
    }
  } finally {
    screen.write(SHOW_CURSOR)
  }
}

/** Into a file, a pipe or a program: a line for each event. */
async function tell(jobs: JobsApi, { id, allUsers, signal }: Watched, output: Output): Promise<void> {
  const ended = new AbortController()
  const stop = AbortSignal.any([signal, ended.signal])
  const about = { allUsers, hasProgress: true, signal: stop, ...(id === null ? {} : { job: id }) }
  // From the beginning for one job: what happened before is a part of its story.
  for await (const event of jobs.events(id === null ? about : { ...about, after: 0 })) {
    output.json({ event: event.kind === 'progress' ? 'progress' : 'job', ...event })
    if (event.kind !== 'progress' && !output.isJson) {
      const what = event.kind === 'state' ? event.state : event.kind
      const file = event.fileIndex === undefined ? '' : ` ${event.fileIndex}`
      const error = event.error ? `: ${event.error.message}` : ''
      output.text(
        `${new Date(event.atMs).toISOString().slice(11, 19)}  ${event.job.slice(0, 8)}  ${event.name}  ${what}${file}${error}`,
      )
    }
    if (id === null || event.kind === 'progress') continue
    const job = await jobs.get(id)
    // Told to the end: events that are on their way say how it got there.
    if (isOver(job) && event.state === job.state) {
      output.remark(reasonText(job.reason, systemClock.nowMs()))
      ended.abort()
    }
  }
}
