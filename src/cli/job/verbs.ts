/** `shorthaul job` create, add, list, show, why, suspend, resume, cancel, complete, take, set. */
import { systemClock } from '../../clock.ts'
import { EXIT, type ExitCode } from '../../errors.ts'
import type { JobFile } from '../../jobs/job.ts'
import type { JobsApi, JobView } from '../../jobs/jobs-api.ts'
import { isFinal, JOB_STATES, type JobState } from '../../jobs/states.ts'
import { type GlobalOptions, loadCliConfig, requireAgent } from '../context.ts'
import { createOutput, type Output, reportError, usage } from '../output.ts'
import { allJobs, findJob } from './job-names.ts'
import { fileOrdersOf, type JobOptions, settingsOf } from './job-orders.ts'
import { jobTable, jobText, reasonText } from './job-texts.ts'

export interface CreateOptions extends JobOptions {
  readonly suspended?: boolean
  readonly idempotencyKey?: string
}

export interface ListOptions extends GlobalOptions {
  readonly all?: boolean
  readonly allUsers?: boolean
  readonly state?: string
}

export interface SetOptions extends JobOptions {
  readonly file?: string
  readonly url?: string
  readonly target?: string
  readonly replacePrefix?: readonly string[]
}

/** More columns than a pipe has anybody to count. */
const UNBOUNDED = Number.POSITIVE_INFINITY

export interface JobCommand {
  readonly jobs: JobsApi
  readonly output: Output
}

/** Runs a command with the jobs of the running agent. @throws SHORTHAUL_DAEMON_UNREACHABLE */
export async function withJobs(options: GlobalOptions, run: (command: JobCommand) => Promise<void>): Promise<void> {
  const { config } = await loadCliConfig(options)
  const client = await requireAgent(options, config)
  try {
    await run({ jobs: client.jobs, output: createOutput({ isJson: options.json === true }) })
  } finally {
    await client.close()
  }
}

export async function createVerb(urls: readonly string[], options: CreateOptions): Promise<void> {
  const files = await fileOrdersOf(urls, options)
  const settings = settingsOf(options, systemClock.nowMs())
  await withJobs(options, async ({ jobs, output }) => {
    const job = await jobs.create({
      ...settings,
      files,
      isStarted: options.suspended !== true && files.length > 0,
      ...(options.idempotencyKey === undefined ? {} : { idempotencyKey: options.idempotencyKey }),
    })
    output.json({ event: 'job', ...job })
    output.text(job.id)
    const next = job.state === 'suspended' ? `; start it with \`shorthaul job resume ${job.id.slice(0, 8)}\`` : ''
    output.remark(
      `${job.name}: ${job.totals.fileCount} ${job.totals.fileCount === 1 ? 'file' : 'files'}, ${job.state}${next}`,
    )
  })
}

export async function addVerb(text: string, urls: readonly string[], options: JobOptions): Promise<void> {
  const files = await fileOrdersOf(urls, options)
  if (files.length === 0) throw usage('Say what to add: a URL, or a list with --input-file')
  await withJobs(options, async ({ jobs, output }) => {
    const job = await jobs.addFiles(await findJob(jobs, text), files)
    output.json({ event: 'job', ...job })
    const next = job.state === 'suspended' ? '; it waits for `shorthaul job resume`' : ''
    output.remark(`${job.name}: ${job.totals.fileCount} files, ${job.state}${next}`)
  })
}

export async function listVerb(options: ListOptions): Promise<void> {
  const states = statesOf(options)
  await withJobs(options, async ({ jobs, output }) => {
    const all = await allJobs(jobs, { allUsers: options.allUsers === true })
    const shown = all.filter(({ state }) => (states ? states.includes(state) : options.all === true || !isFinal(state)))
    for (const job of shown) output.json({ event: 'job', ...job })
    if (output.isJson) return
    if (shown.length === 0) {
      output.remark(all.length === 0 ? 'No jobs' : `No jobs, but ${all.length} that ended: see them with --all`)
      return
    }
    const columns = process.stdout.isTTY === true ? process.stdout.columns : UNBOUNDED
    output.text(jobTable(shown, { columns, nowMs: systemClock.nowMs() }))
  })
}

export async function showVerb(text: string, options: GlobalOptions): Promise<void> {
  await withJobs(options, async ({ jobs, output }) => {
    const id = await findJob(jobs, text)
    const job = await jobs.get(id)
    const files = await allFiles(jobs, id)
    output.json({ event: 'job', ...job, files })
    output.text(jobText(job, files, systemClock.nowMs()))
  })
}

async function allFiles(jobs: JobsApi, id: JobView['id']): Promise<JobFile[]> {
  const files: JobFile[] = []
  for (let after: number | null | undefined; after !== null; ) {
    const page = await jobs.files(id, { limit: 1000, ...(after === undefined ? {} : { after }) })
    files.push(...page.files)
    after = page.next
  }
  return files
}

export async function whyVerb(text: string, options: GlobalOptions): Promise<void> {
  await withJobs(options, async ({ jobs, output }) => {
    const job = await jobs.get(await findJob(jobs, text))
    output.json({ event: 'why', job: job.id, state: job.state, ...job.reason })
    output.text(reasonText(job.reason, systemClock.nowMs()))
  })
}

const CHANGES = {
  suspend: (jobs: JobsApi, id: JobView['id']) => jobs.suspend(id),
  resume: (jobs: JobsApi, id: JobView['id']) => jobs.resume(id),
  cancel: (jobs: JobsApi, id: JobView['id']) => jobs.cancel(id),
  take: (jobs: JobsApi, id: JobView['id']) => jobs.takeOwnership(id),
} as const

/** Each goes on when others fail; the exit code is that of the first failure. */
export async function changeVerb(
  verb: keyof typeof CHANGES,
  names: readonly string[],
  options: GlobalOptions,
): Promise<void> {
  await forEach(names, options, async (text, { jobs, output }) => {
    const job = await CHANGES[verb](jobs, await findJob(jobs, text))
    output.json({ event: 'job', ...job })
    output.remark(`${job.name}: ${job.state}`)
  })
}

export async function completeVerb(names: readonly string[], options: GlobalOptions): Promise<void> {
  await forEach(names, options, async (text, { jobs, output }) => {
    const { job, deliveredCount, abandonedCount } = await jobs.complete(await findJob(jobs, text))
    output.json({ event: 'completed', deliveredCount, abandonedCount, job })
    const rest = abandonedCount === 0 ? '' : `; ${abandonedCount} that were not whole were given up`
    output.remark(
      `${job.name}: ${deliveredCount} ${deliveredCount === 1 ? 'file has its name' : 'files have their names'}${rest}`,
    )
  })
}

export async function setVerb(text: string, options: SetOptions): Promise<void> {
  const settings = settingsOf(options, systemClock.nowMs())
  const { file, url, target, replacePrefix } = options
  const hasFile = url !== undefined || target !== undefined
  if (hasFile !== (file !== undefined)) throw usage('--file says which file, and --url or --target what of it')
  if (file !== undefined && !/^\d{1,6}$/.test(file))
    throw usage('--file takes the number of a file, as `job show` has it')
  const [from, to] = replacePrefix ?? []
  if (Object.keys(settings).length === 0 && !hasFile && from === undefined) throw usage('Say what to set')
  await withJobs(options, async ({ jobs, output }) => {
    const id = await findJob(jobs, text)
    if (Object.keys(settings).length > 0) await jobs.set(id, settings)
    if (hasFile) await jobs.setFile(id, Number(file), { ...(url ? { url } : {}), ...(target ? { target } : {}) })
    if (from !== undefined && to !== undefined) {
      const count = await jobs.replacePrefix(id, { from, to })
      output.remark(`${count} ${count === 1 ? 'file comes' : 'files come'} from elsewhere now`)
    }
    const job = await jobs.get(id)
    output.json({ event: 'job', ...job })
    output.remark(`${job.name}: ${job.state}`)
  })
}

async function forEach(
  names: readonly string[],
  options: GlobalOptions,
  change: (text: string, command: JobCommand) => Promise<void>,
): Promise<void> {
  await withJobs(options, async (command) => {
    let exit: ExitCode = EXIT.ok
    for (const text of names) {
      try {
        await change(text, command)
      } catch (error) {
        const code = reportError(error, { isJson: command.output.isJson })
        if (exit === EXIT.ok) exit = code
      }
    }
    process.exitCode = exit
  })
}

function statesOf({ state }: ListOptions): readonly JobState[] | null {
  if (state === undefined) return null
  const wanted = state.split(',').map((one) => one.trim())
  const unknown = wanted.find((one) => !JOB_STATES.includes(one as JobState))
  if (unknown !== undefined) throw usage(`--state takes ${JOB_STATES.join(', ')}, found "${unknown}"`)
  return wanted as JobState[]
}
