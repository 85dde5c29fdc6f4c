/** The agent's jobs, and the one that a user means by id, by the beginning of an id, or by name. */
import { isShorthaulError, ShorthaulError } from '../../errors.ts'
import { type JobFile, type JobId, parseJobId } from '../../jobs/job.ts'
import type { JobFilePage, JobListOptions, JobsApi, JobView } from '../../jobs/jobs-api.ts'
import { isFinal, JOB_STATES } from '../../jobs/states.ts'
import { withAgent } from '../agent-view.ts'
import { type GlobalOptions, loadCliConfig } from '../context.ts'
import { createOutput, type Output } from '../output.ts'

const PAGE = 1000
const MIN_PREFIX_CHARS = 4
const MAX_NAMED = 5

/** Runs `task` with the jobs of the running agent. @throws SHORTHAUL_DAEMON_UNREACHABLE */
export async function withJobs<T>(
  options: GlobalOptions,
  task: (jobs: JobsApi, output: Output) => Promise<T>,
): Promise<T> {
  const output = createOutput({ isJson: options.json === true })
  const { config } = await loadCliConfig(options)
  return withAgent(options, config, (client) => task(client.jobs, output))
}

/** All pages. */
export async function allJobs(jobs: JobsApi, options: JobListOptions = {}): Promise<JobView[]> {
  const found: JobView[] = []
  let after: JobId | null = null
  do {
    const page = await jobs.list({ ...options, limit: PAGE, ...(after === null ? {} : { after }) })
    found.push(...page.jobs)
    after = page.next
  } while (after !== null)
  return found
}

/** Of a job; all pages. */
export async function allFiles(jobs: JobsApi, id: JobId): Promise<JobFile[]> {
  const found: JobFile[] = []
  let after: JobFilePage['next'] = null
  do {
    const page: JobFilePage = await jobs.files(id, { limit: PAGE, ...(after === null ? {} : { after }) })
    found.push(...page.files)
    after = page.next
  } while (after !== null)
  return found
}

/** @throws SHORTHAUL_JOB_NOT_FOUND; SHORTHAUL_USAGE when it may be several */
export async function findJob(jobs: JobsApi, text: string): Promise<JobId> {
  const id = parseJobId(text)
  if (id !== null) return id
  const own = pick(await allJobs(jobs, { states: JOB_STATES }), text)
  if (own !== null) return own
  const others = await othersJobs(jobs)
  const found = others === null ? null : pick(others, text)
  if (found !== null) return found
  const hint = /^[0-9a-f]{1,3}$/i.test(text) ? `the beginning of an id has at least ${MIN_PREFIX_CHARS} characters` : ''
  const advice = hint === '' ? '`shorthaul job list --all` shows which there are' : hint
  throw new ShorthaulError('SHORTHAUL_JOB_NOT_FOUND', `Cannot find a job "${text}": ${advice}`)
}

/** Null for those who may not see them. */
async function othersJobs(jobs: JobsApi): Promise<JobView[] | null> {
  try {
    return await allJobs(jobs, { states: JOB_STATES, allUsers: true })
  } catch (error) {
    if (isShorthaulError(error, 'SHORTHAUL_FORBIDDEN')) return null
    throw error
  }
}

/**
 * Of jobs that share a name, the one that has not ended is meant: a job that is made every night keeps its name. Pure.
 * @returns null: none. @throws SHORTHAUL_USAGE when it may be several
 */
export function pick(all: readonly Pick<JobView, 'id' | 'name' | 'state'>[], text: string): JobId | null {
  const prefix = text.toLowerCase()
  const isPrefix = prefix.length >= MIN_PREFIX_CHARS && /^[0-9a-f-]+$/.test(prefix)
  const meant = all.filter(({ id, name }) => name === text || (isPrefix && id.startsWith(prefix)))
  const alive = meant.filter(({ state }) => !isFinal(state))
  const [only, another] = alive.length > 0 ? alive : meant
  if (only === undefined) return null
  if (another === undefined) return only.id
  const shown = (alive.length > 0 ? alive : meant).map(({ id, state }) => `${id} (${state})`)
  const more = shown.length > MAX_NAMED ? ` and ${shown.length - MAX_NAMED} more` : ''
  throw new ShorthaulError(
    'SHORTHAUL_USAGE',
    `Cannot tell which job "${text}" is: ${shown.slice(0, MAX_NAMED).join(', ')}${more}; say it by its id`,
  )
}
