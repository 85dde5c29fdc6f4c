/** /set verbs: what of a job can be changed. A row for each. */
import { ShorthaulError } from '../../errors.ts'
import type { JobPatch, JobView } from '../../jobs/jobs-api.ts'
import { usage } from '../output.ts'
import { splitArguments } from './command-line.ts'
import { commandWords } from './lines.ts'
import { at, findJob, type Verb } from './verb.ts'
import {
  guidOf,
  isNull,
  notifyFlagsOf,
  parseNotifyFlags,
  parsePeerFlags,
  parsePriority,
  parseProxy,
  parseSeconds,
  peerFlagsOf,
  proxyUsageOf,
  secondsOf,
} from './words.ts'

interface Setter {
  readonly name: string
  readonly parameters: string
  /** How many arguments after the job. */
  readonly count: readonly [min: number, max: number]
  patch(args: readonly string[], job: JobView): JobPatch
  /** Said when it is done. */
  done(job: JobView): string
  readonly mapped?: string
}

const SETTERS: readonly Setter[] = [
  {
    name: 'displayname',
    parameters: 'NAME',
    count: [1, 1],
    patch: (args) => ({ name: at(args, 0) }),
    done: ({ name }) => `Display name set to '${name}'.`,
  },
  {
    name: 'description',
    parameters: 'DESCRIPTION',
    count: [1, 1],
    patch: (args) => ({ description: at(args, 0) }),
    done: ({ description }) => `Description set to '${description}'.`,
  },
  {
    name: 'priority',
    parameters: 'FOREGROUND|HIGH|NORMAL|LOW',
    count: [1, 1],
    patch: (args) => ({ priority: parsePriority(at(args, 0)) }),
    done: ({ priority }) => `Priority set to ${priority.toUpperCase()}.`,
  },
  {
    name: 'minretrydelay',
    parameters: 'SECONDS',
    count: [1, 1],
    patch: (args) => ({ minRetryDelayMs: parseSeconds(at(args, 0)) }),
    done: (job) => `Minimum retry delay set to ${secondsOf(job.minRetryDelayMs)}.`,
  },
  {
    name: 'noprogresstimeout',
    parameters: 'SECONDS',
    count: [1, 1],
    patch: (args) => ({ noProgressTimeoutMs: parseSeconds(at(args, 0)) }),
    done: (job) => `No progress timeout set to ${secondsOf(job.noProgressTimeoutMs)}.`,
  },
  {
    name: 'maxdownloadtime',
    parameters: 'SECONDS',
    count: [1, 1],
    patch: (args) => ({ maxTransferTimeMs: parseSeconds(at(args, 0)) }),
    done: (job) => `Maximum download time set to ${secondsOf(job.maxTransferTimeMs)}.`,
  },
  {
    name: 'notifyflags',
    parameters: 'FLAGS',
    count: [1, 1],
    patch: (args, { notify }) => ({ notify: { ...notify, events: parseNotifyFlags(at(args, 0)) } }),
    done: ({ notify }) => `Notification flags set to 0x${notifyFlagsOf(notify.events).toString(16)}.`,
    mapped: '1, 2, 4 and 16; changes (8) and ranges (32) are told of by the event stream of the control API',
  },
  {
    name: 'notifycmdline',
    parameters: 'PROGRAM|NULL [ARGUMENTS|NULL]',
    count: [1, 2],
    patch: (args, { notify }) => ({ notify: { ...notify, command: commandOf(at(args, 0), args[1]) } }),
    done: ({ notify }) => `Notification command line set to ${commandWords(notify.command)}.`,
    mapped: 'the program must lie in jobs.commandDirs; it is not run again for its exit code',
  },
  {
    name: 'customheaders',
    parameters: "'NAME: VALUE'...",
    count: [1, 64],
    patch: (args, job) => {
      const headers = args.map(headerOf)
      keepsAuthorization(job, headers)
      return { headers }
    },
    done: ({ headerNames }) => `Custom headers set: ${headerNames.join(', ')}.`,
  },
  {
    name: 'proxysettings',
    parameters: 'PRECONFIG|NO_PROXY|OVERRIDE [PROXY|NULL] [NULL]',
    count: [1, 3],
    patch: (args) => ({ proxy: parseProxy(at(args, 0), args[1], args[2]) }),
    done: ({ proxy }) => `Proxy usage set to ${proxyUsageOf(proxy)}.`,
    mapped: 'one proxy and no bypass list; AUTODETECT is refused',
  },
  {
    name: 'peercachingflags',
    parameters: 'FLAGS',
    count: [1, 1],
    patch: (args) => ({ usePeers: parsePeerFlags(at(args, 0)) }),
    done: ({ usePeers }) => `Peer caching flags set to 0x${peerFlagsOf(usePeers).toString(16)}.`,
    mapped: '1 decides whether peers are asked; what is public is always offered to them',
  },
  {
    name: 'credentials',
    parameters: 'SERVER BASIC USER PASSWORD',
    count: [4, 4],
    patch: (args, job) => {
      onlyServerBasic(at(args, 0), at(args, 1))
      onlyAuthorization(job, 'set')
      const [user, password] = [at(args, 2), at(args, 3)]
      if (isNull(user) || user.includes(':')) {
        throw usage('Cannot use the user name: expected one without a colon; credentials of the session are not used')
      }
      const token = Buffer.from(`${user}:${password}`).toString('base64')
      return { headers: [[AUTHORIZATION, `Basic ${token}`]] }
    },
    done: () => 'Credentials set.',
    mapped: 'Basic for the server only, as an Authorization field',
  },
]

const AUTHORIZATION = 'Authorization'

export const SETTER_VERBS: readonly Verb[] = [
  ...SETTERS.map(
    ({ name, parameters, count: [min, max], patch, done, mapped }): Verb => ({
      name: `/set${name}`,
      parameters: `JOB ${parameters}`,
      status: mapped === undefined ? 'honoured' : 'mapped',
      help: `Changes it${mapped === undefined ? '' : `: ${mapped}`}`,
      count: [min + 1, max + 1],
      run: async (args, { jobs, out }) => {
        const job = await findJob(jobs, at(args, 0))
        out.say(done(await jobs.set(job.id, patch(args.slice(1), job))))
      },
    }),
  ),
  {
    name: '/removecredentials',
    parameters: 'JOB SERVER BASIC',
    status: 'mapped',
    help: 'Removes what /setcredentials set',
    count: [3, 3],
    run: async (args, { jobs, out }) => {
      const job = await findJob(jobs, at(args, 0))
      onlyServerBasic(at(args, 1), at(args, 2))
      if (job.headerNames.some(isAuthorization)) {
        onlyAuthorization(job, 'remove')
        await jobs.set(job.id, { headers: [] })
      }
      out.say('Credentials removed.')
    },
  },
  {
    name: '/makecustomheaderswriteonly',
    parameters: 'JOB',
    status: 'mapped',
    help: 'Nothing to do: values of custom headers are always write-only',
    count: [1, 1],
    run: async (args, { jobs, out }) => {
      const { id } = await findJob(jobs, at(args, 0))
      out.say(`Custom headers of ${guidOf(id)} are write-only.`)
    },
  },
]

/**
 * BITS hands the string to the program as it is, and so it begins with the program's name; that one is left out here,
 * because we pass the name ourselves. @throws SHORTHAUL_USAGE
 */
export function commandOf(program: string, argumentText: string | undefined): readonly string[] | null {
  if (isNull(program)) {
    if (!isNull(argumentText)) throw usage('Cannot use arguments without a program: expected NULL NULL')
    return null
  }
  const args = argumentText === undefined || isNull(argumentText) ? [] : splitArguments(argumentText)
  const [first, ...others] = args
  const isProgram = first === program || first === program.split(/[/\\]/).at(-1)
  return [program, ...(isProgram ? others : args)]
}

function headerOf(text: string): readonly [name: string, value: string] {
  const colon = text.indexOf(':')
  if (colon < 1) throw usage("Cannot use the header: expected 'Name: value'")
  return [text.slice(0, colon).trim(), text.slice(colon + 1).trim()]
}

function isAuthorization(name: string): boolean {
  return name.toLowerCase() === AUTHORIZATION.toLowerCase()
}

function onlyServerBasic(target: string, scheme: string): void {
  if (target.toUpperCase() !== 'SERVER') {
    throw usage(
      'Cannot use credentials for a proxy: expected SERVER; those of a proxy stand in its URL (/setproxysettings)',
    )
  }
  if (scheme.toUpperCase() !== 'BASIC') throw usage(`Cannot use the scheme "${scheme}": expected BASIC`)
}

/** Fields are set all at once and cannot be read: others would be lost without a word. @throws SHORTHAUL_JOB_STATE */
function onlyAuthorization({ headerNames }: JobView, verb: string): void {
  const others = headerNames.filter((name) => !isAuthorization(name))
  if (others.length === 0) return
  throw new ShorthaulError(
    'SHORTHAUL_JOB_STATE',
    `Cannot ${verb} credentials: the job has custom headers (${others.join(', ')}), which are write-only; set all of them, and Authorization, with /setcustomheaders`,
  )
}

function keepsAuthorization({ headerNames }: JobView, headers: readonly (readonly [string, string])[]): void {
  if (!headerNames.some(isAuthorization) || headers.some(([name]) => isAuthorization(name))) return
  throw new ShorthaulError(
    'SHORTHAUL_JOB_STATE',
    'Cannot set custom headers: the job has credentials, which would be lost; give Authorization along, or /removecredentials first',
  )
}
