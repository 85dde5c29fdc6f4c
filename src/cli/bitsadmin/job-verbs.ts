/** Verbs for whole jobs: make, list, watch, end. */
import { allFiles, allJobs } from '../job/find.ts'
import { usage } from '../output.ts'
import { onlySwitches, takeSwitches } from './command-line.ts'
import { jobLine, jobParagraph } from './lines.ts'
import { at, findJob, type Verb, type VerbContext } from './verb.ts'
import { guidOf, parseCount } from './words.ts'

const DEFAULT_REFRESH_SEC = 5

/** What kind of job is asked for. @throws SHORTHAUL_USAGE for uploads */
export function mustBeDownload(switches: ReadonlyMap<string, string>): void {
  const upload = ['/upload', '/upload-reply'].find((name) => switches.has(name))
  if (upload !== undefined)
    throw usage(`Cannot make a job of the type ${upload}: expected /download; uploads are not done`)
}

export const TYPE_SWITCHES = { '/download': false, '/upload': false, '/upload-reply': false } as const

async function printJobs(context: VerbContext, options: { readonly allUsers: boolean; readonly isVerbose: boolean }) {
  const { jobs, out } = context
  const found = await allJobs(jobs, { allUsers: options.allUsers })
  for (const job of found) {
    if (!options.isVerbose) {
      out.line(jobLine(job))
      continue
    }
    for (const line of jobParagraph(job, await allFiles(jobs, job.id))) out.line(line)
    out.line('')
  }
  return found.length
}

type Act = 'suspend' | 'resume' | 'cancel'

function actVerb(name: Act, help: string, done: string): Verb {
  return {
    name: `/${name}`,
    parameters: 'JOB',
    status: 'honoured',
    help,
    count: [1, 1],
    run: async (args, { jobs, out }) => {
      const { id } = await findJob(jobs, at(args, 0))
      await jobs[name](id)
      out.say(done)
    },
  }
}

export const JOB_VERBS: readonly Verb[] = [
  {
    name: '/create',
    parameters: '[/download] NAME',
    status: 'honoured',
    help: 'Makes a job, SUSPENDED and of NORMAL priority; uploads are refused',
    run: async (args, { jobs, out }) => {
      const { switches, rest } = takeSwitches(args, TYPE_SWITCHES)
      mustBeDownload(switches)
      const [name, ...others] = rest
      if (name === undefined || others.length > 0) throw usage('Cannot make the job: expected one NAME')
      const { id } = await jobs.create({ name, isStarted: false })
      if (out.isRaw) out.line(guidOf(id))
      else out.line(`Created job ${guidOf(id)}.`)
    },
  },
  actVerb('suspend', 'Stops it where it is', 'Job suspended.'),
  actVerb('resume', 'Lets it go on', 'Job resumed.'),
  actVerb('cancel', 'Ends it and removes what is not complete', 'Job cancelled.'),
  {
    name: '/complete',
    parameters: 'JOB',
    status: 'honoured',
    help: 'Gives the files that are whole their names, and ends the job',
    count: [1, 1],
    run: async (args, { jobs, out }) => {
      const { id } = await findJob(jobs, at(args, 0))
      const { abandonedCount } = await jobs.complete(id)
      if (abandonedCount > 0) out.warn(`${abandonedCount} file(s) were not whole and were given up.`)
      out.say('Job completed.')
    },
  },
  {
    name: '/reset',
    parameters: '[/allusers]',
    status: 'honoured',
    help: 'Cancels all jobs of the caller, or of everybody',
    run: async (args, { jobs, out }) => {
      const allUsers = onlySwitches(args, { '/allusers': false }).has('/allusers')
      const found = await allJobs(jobs, { allUsers })
      let count = 0
      let failure: unknown = null
      for (const { id } of found) {
        try {
          await jobs.cancel(id)
          out.line(`${guidOf(id)} cancelled.`)
          count++
        } catch (error) {
          failure ??= error
        }
      }
      out.say(`${count} out of ${found.length} job(s) cancelled.`)
      if (failure !== null) throw failure
    },
  },
  {
    name: '/takeownership',
    parameters: 'JOB',
    status: 'honoured',
    help: 'Makes a job the caller’s own; administrators only',
    count: [1, 1],
    run: async (args, { jobs, out }) => {
      const { id } = await findJob(jobs, at(args, 0), { allUsers: true })
      const { owner } = await jobs.takeOwnership(id)
      out.say(`Took ownership of job ${guidOf(id)}: it belongs to ${owner.name}.`)
    },
  },
  {
    name: '/list',
    parameters: '[/allusers] [/verbose]',
    status: 'honoured',
    help: 'Lists the jobs that did not end',
    run: async (args, context) => {
      const switches = onlySwitches(args, { '/allusers': false, '/verbose': false })
      const count = await printJobs(context, {
        allUsers: switches.has('/allusers'),
        isVerbose: switches.has('/verbose'),
      })
      context.out.say(`Listed ${count} job(s).`)
    },
  },
  {
    name: '/info',
    parameters: 'JOB [/verbose]',
    status: 'honoured',
    help: 'Prints a line about the job, or all there is to say',
    run: async (args, { jobs, out }) => {
      const [name, ...others] = args
      if (name === undefined) throw usage('Cannot print the job: expected JOB')
      const isVerbose = onlySwitches(others, { '/verbose': false }).has('/verbose')
      const job = await findJob(jobs, name)
      const lines = isVerbose ? jobParagraph(job, await allFiles(jobs, job.id)) : [jobLine(job)]
      for (const line of lines) out.line(line)
    },
  },
  {
    name: '/monitor',
    parameters: '[/allusers] [/refresh SECONDS]',
    status: 'honoured',
    help: `Lists again and again, every ${DEFAULT_REFRESH_SEC} seconds if not told otherwise, until Ctrl-C`,
    run: async (args, context) => {
      const switches = onlySwitches(args, { '/allusers': false, '/refresh': true })
      const refreshSec = parseCount(switches.get('/refresh') ?? String(DEFAULT_REFRESH_SEC), 'seconds')
      if (refreshSec < 1 || refreshSec > 3600) throw usage('Cannot refresh that often: expected 1 to 3600 seconds')
      const signal = context.interrupt()
      while (!signal.aborted) {
        context.out.line(`MONITORING BACKGROUND COPY MANAGER (${refreshSec} second refresh)`)
        await printJobs(context, { allUsers: switches.has('/allusers'), isVerbose: false })
        // Ctrl-C is how it ends, and no failure.
        await context.sleep(refreshSec * 1000, { signal }).catch(() => {})
      }
    },
  },
]
