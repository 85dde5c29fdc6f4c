/** What a verb of `bitsadmin` is, what it is given, and how it finds the job that it is about. */
import { resolve } from 'node:path'
import { ShorthaulError } from '../../errors.ts'
import { parseJobId } from '../../jobs/job.ts'
import type { JobsApi, JobView } from '../../jobs/jobs-api.ts'
import { allJobs } from '../job/find.ts'
import { usage } from '../output.ts'
import { guidOf } from './words.ts'

export interface Printer {
  readonly isRaw: boolean
  /** A line of the result. */
  line(text: string): void
  /** Said only to people: not with /rawreturn. */
  say(text: string): void
  /** What came over a /get verb: alone with /rawreturn, else in a sentence. */
  value(label: string, value: string): void
  /** On stderr. */
  warn(text: string): void
  /** A line that is drawn over the one before where there is a terminal. */
  progress(text: string): void
}

export interface VerbContext {
  readonly jobs: JobsApi
  readonly out: Printer
  /** Where relative paths start. */
  readonly cwd: string
  /** Aborted by Ctrl-C. Only for verbs that last: it takes the signals over. */
  interrupt(): AbortSignal
  sleep(delayMs: number, options: { readonly signal: AbortSignal }): Promise<void>
}

interface VerbText {
  /** In lower case with the slash: `/getstate`, `/util /version`. */
  readonly name: string
  /** As in the help: `JOB [/verbose]`. */
  readonly parameters: string
  /** One line, for help and docs/bitsadmin.md. */
  readonly help: string
}

export interface Verb extends VerbText {
  /** `mapped`: done, and not quite what BITS would do; `help` says how. */
  readonly status: 'honoured' | 'mapped'
  /** How many arguments; what has switches counts itself. */
  readonly count?: readonly [min: number, max: number]
  run(args: readonly string[], context: VerbContext): Promise<void>
  /** False: it needs no agent. Default: true. */
  readonly needsAgent?: boolean
}

/** What we do not do; `help` says why, and what there is instead. */
export interface RefusedVerb extends VerbText {
  readonly status: 'refused'
}

/** One argument, which `count` promised. */
export function at(args: readonly string[], index: number): string {
  const arg = args[index]
  if (arg === undefined) throw usage('Cannot go on: an argument is missing')
  return arg
}

/** A target as the system has it; relative ones start at the working directory. */
export function pathOf(text: string, { cwd }: Pick<VerbContext, 'cwd'>): string {
  return resolve(cwd, text)
}

/**
 * By its GUID, or by its name among those that did not end: as in BITS, which forgets the others.
 * @throws SHORTHAUL_JOB_NOT_FOUND, SHORTHAUL_USAGE for a name that several have
 */
export async function findJob(
  jobs: JobsApi,
  text: string,
  options: { readonly allUsers?: boolean } = {},
): Promise<JobView> {
  const id = parseJobId(text)
  if (id !== null) return jobs.get(id)
  const named = (await allJobs(jobs, options)).filter(({ name }) => name === text)
  const [job, ...others] = named
  if (job === undefined) {
    throw new ShorthaulError('SHORTHAUL_JOB_NOT_FOUND', `Cannot find the job "${text}": no job of yours has this name`)
  }
  if (others.length > 0) {
    const guids = named.map((one) => guidOf(one.id)).join(', ')
    throw usage(`Cannot tell which job "${text}" is: ${named.length} have this name; name one by its GUID: ${guids}`)
  }
  return job
}
