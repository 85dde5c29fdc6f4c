/** `shorthaul job list|show|why`: what is the case now. */
import { systemClock } from '../../clock.ts'
import type { GlobalOptions } from '../context.ts'
import { allFiles, allJobs, findJob, withJobs } from './find.ts'
import { type ListOptions, statesOf } from './job-options.ts'
import { formatFiles, formatJob, formatReason, jobTable } from './job-view.ts'

export async function listVerb(options: ListOptions): Promise<void> {
  const states = statesOf(options)
  const allUsers = options.allUsers === true
  await withJobs(options, async (jobs, output) => {
    const found = await allJobs(jobs, { allUsers, ...(states === undefined ? {} : { states }) })
    output.json({ event: 'jobs', jobs: found })
    if (found.length === 0) {
      output.remark(states === undefined ? 'no jobs; `--all` also lists those that ended' : 'no such jobs')
      return
    }
    const { isTTY, columns } = process.stdout
    const width = isTTY && columns ? columns : Number.POSITIVE_INFINITY
    output.text(jobTable(found, { columns: width, nowMs: systemClock.nowMs(), hasOwner: allUsers }).join('\n'))
  })
}

export async function showVerb(name: string, options: GlobalOptions): Promise<void> {
  await withJobs(options, async (jobs, output) => {
    const id = await findJob(jobs, name)
    const job = await jobs.get(id)
    const files = await allFiles(jobs, id)
    output.json({ event: 'job', ...job, files })
    output.text(formatJob(job, systemClock.nowMs()))
    if (files.length > 0) output.text(`\n${formatFiles(files)}`)
  })
}

export async function whyVerb(name: string, options: GlobalOptions): Promise<void> {
  await withJobs(options, async (jobs, output) => {
    const { id, name: title, state, reason } = await jobs.get(await findJob(jobs, name))
    output.json({ event: 'why', job: id, name: title, state, ...reason })
    output.text(formatReason(reason, systemClock.nowMs()))
  })
}
