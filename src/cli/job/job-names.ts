/** Which job somebody means: by its id, by the beginning of one, or by its name. */
import { ShorthaulError } from '../../errors.ts'
import { type JobId, parseJobId } from '../../jobs/job.ts'
import type { JobsApi, JobView } from '../../jobs/jobs-api.ts'
import { JOB_STATES } from '../../jobs/states.ts'
import { usage } from '../output.ts'

/** Shorter beginnings are more likely a name. */
const MIN_PREFIX = 4

/** All jobs that one may see, ended ones too. */
export async function allJobs(jobs: JobsApi, options: { readonly allUsers?: boolean } = {}): Promise<JobView[]> {
  const found: JobView[] = []
  let after: JobId | null = null
  do {
    const page = await jobs.list({ ...options, states: JOB_STATES, limit: 1000, ...(after ? { after } : {}) })
    found.push(...page.jobs)
    after = page.next
  } while (after !== null)
  return found
}

/** @throws SHORTHAUL_JOB_NOT_FOUND, SHORTHAUL_USAGE when several are meant */
export async function findJob(jobs: JobsApi, text: string): Promise<JobId> {
  const id = parseJobId(text)
  if (id !== null) return id
  const all = await allJobs(jobs)
  const isPrefix = text.length >= MIN_PREFIX && /^[0-9a-f-]+$/i.test(text)
  const byId = isPrefix ? all.filter((job) => job.id.startsWith(text.toLowerCase())) : []
  const byName = all.filter(({ name }) => name === text)
  // Of several of a name, one that is not over is meant.
  const living = byName.filter(({ endedAtMs }) => endedAtMs === null)
  const found = byId.length > 0 ? byId : living.length > 0 ? living : byName
  const [job, other] = found
  if (job === undefined) throw new ShorthaulError('SHORTHAUL_JOB_NOT_FOUND', `Cannot find a job "${text}"`)
  if (other !== undefined) {
    throw usage(`"${text}" is ${found.length} jobs, among them ${job.id} and ${other.id}: say which`)
  }
  return job.id
}
