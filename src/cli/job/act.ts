/** `shorthaul job suspend|resume|cancel|complete|take`: one thing done to each of the jobs that were named. */
import { EXIT, type ExitCode } from '../../errors.ts'
import type { JobId } from '../../jobs/job.ts'
import type { JobsApi } from '../../jobs/jobs-api.ts'
import type { GlobalOptions } from '../context.ts'
import { type Output, reportError } from '../output.ts'
import { findJob, withJobs } from './find.ts'
import { countOf, oneLine, shortId } from './job-view.ts'
import type { Act } from './register.ts'

/** Each goes on when others fail. Sets the exit code: that of the first failure. */
export async function actVerb(act: Act, names: readonly string[], options: GlobalOptions): Promise<void> {
  await withJobs(options, async (jobs, output) => {
    let exit: ExitCode = EXIT.ok
    for (const name of names) {
      try {
        await actOn(jobs, await findJob(jobs, name), { act, output })
      } catch (error) {
        const code = reportError(error, { isJson: output.isJson, job: name })
        if (exit === EXIT.ok) exit = code
      }
    }
    process.exitCode = exit
  })
}

async function actOn(jobs: JobsApi, id: JobId, { act, output }: { act: Act; output: Output }): Promise<void> {
  if (act === 'complete') {
    const { job, deliveredCount, abandonedCount } = await jobs.complete(id)
    output.json({ event: 'job', ...job, deliveredCount, abandonedCount })
    const given = abandonedCount === 0 ? '' : `, ${countOf(abandonedCount, 'file')} not whole and given up`
    output.text(`${shortId(id)}  ${oneLine(job.name)}: ${countOf(deliveredCount, 'file')} delivered${given}`)
    return
  }
  const job = await (act === 'take' ? jobs.takeOwnership(id) : jobs[act](id))
  output.json({ event: 'job', ...job })
  output.text(`${shortId(id)}  ${oneLine(job.name)}: ${act === 'take' ? `yours now, ${job.state}` : job.state}`)
}
