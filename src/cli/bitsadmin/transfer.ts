/** /transfer: a job from its making to its end in one go. */
import { ShorthaulError } from '../../errors.ts'
import type { JobId } from '../../jobs/job.ts'
import type { FileOrder, JobView } from '../../jobs/jobs-api.ts'
import { usage } from '../output.ts'
import { takeSwitches } from './command-line.ts'
import { mustBeDownload, TYPE_SWITCHES } from './job-verbs.ts'
import { errorLines, transferLine } from './lines.ts'
import { pathOf, type Verb, type VerbContext } from './verb.ts'
import { parsePriority, stateWord } from './words.ts'

export const TRANSFER_VERBS: readonly Verb[] = [
  {
    name: '/transfer',
    parameters: 'NAME [/download] [/priority PRIORITY] URL TARGET [URL TARGET]...',
    status: 'honoured',
    help: 'Makes a job, carries it out and completes it; a job that fails, or Ctrl-C, is cancelled',
    run: async (args, context) => {
      const [name, ...others] = args
      if (name === undefined) throw usage('Cannot transfer: expected NAME')
      const { switches, rest } = takeSwitches(others, {
        ...TYPE_SWITCHES,
        '/priority': true,
        '/aclflags': true,
        '/dynamic': false,
      })
      mustBeDownload(switches)
      if (switches.has('/aclflags')) throw usage('Cannot use /aclflags: access lists are not copied')
      const files = pairs(rest, context)
      const priority = parsePriority(switches.get('/priority') ?? 'NORMAL')
      const { id } = await context.jobs.create({ name, priority, files, isStarted: false })
      await carryOut(id, context)
    },
  },
]

function pairs(words: readonly string[], context: VerbContext): readonly FileOrder[] {
  if (words.length === 0 || words.length % 2 !== 0) throw usage('Cannot transfer: expected URL and TARGET in pairs')
  const files: FileOrder[] = []
  for (let at = 0; at < words.length; at += 2) {
    files.push({ url: words[at] ?? '', target: pathOf(words[at + 1] ?? '', context) })
  }
  return files
}

async function carryOut(id: JobId, context: VerbContext): Promise<void> {
  const { jobs, out } = context
  const interrupted = context.interrupt()
  try {
    const job = await ended(id, context, interrupted)
    if (job.state !== 'transferred') throw failure(job)
    await jobs.complete(id)
    out.say('Transfer complete.')
  } catch (error) {
    // As in BITS: what this command began does not stay behind. Who ended it already is not in the way.
    await jobs.cancel(id).catch(() => {})
    throw error
  }

  /** Prints what can be said only now. */
  function failure(job: JobView): ShorthaulError {
    out.say('Unable to complete transfer.')
    for (const line of errorLines(job, null)) out.say(line)
    const { error } = job
    if (error === null) {
      return new ShorthaulError(
        'SHORTHAUL_JOB_STATE',
        `Cannot complete the transfer: the job is ${stateWord(job.state)}`,
      )
    }
    return new ShorthaulError(error.code, error.message)
  }
}

/** The job when it goes on no more by itself. @throws SHORTHAUL_ABORTED, and what following it throws */
async function ended(id: JobId, { jobs, out }: VerbContext, interrupted: AbortSignal): Promise<JobView> {
  const stop = new AbortController()
  const signal = AbortSignal.any([interrupted, stop.signal])
  try {
    let job = await jobs.resume(id)
    // From the first event on: what happened since it was resumed is not missed.
    for await (const event of jobs.events({ after: 0, job: id, hasProgress: true, signal })) {
      if (event.kind === 'progress') {
        const { bytesDone, bytesTotal, unknownLengthCount, doneCount, fileCount } = event
        const totals = { ...job.totals, bytesDone, bytesTotal, unknownLengthCount, doneCount, fileCount }
        out.progress(transferLine({ ...job, totals }))
        continue
      }
      job = await jobs.get(id)
      out.progress(transferLine(job))
      if (['transferred', 'error', 'acknowledged', 'cancelled'].includes(job.state)) return job
    }
  } finally {
    stop.abort()
  }
  if (interrupted.aborted) throw new ShorthaulError('SHORTHAUL_ABORTED', 'Interrupted: the job was cancelled')
  throw new ShorthaulError('SHORTHAUL_CONTROL_IO', 'Cannot follow the transfer: the agent ended its events')
}
