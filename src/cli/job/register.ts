/** What `shorthaul job` accepts. As in program.ts, what a verb does is loaded when it runs. */
import type { Command } from 'commander'
import { NOTIFY_EVENTS } from '../../jobs/job.ts'
import { JOB_STATES } from '../../jobs/states.ts'
import { PRIORITIES } from '../../throttle/priority.ts'
import type { GlobalOptions } from '../context.ts'
import type { FileOptions, JobOptions, ListOptions, SetOptions, WatchOptions } from './job-options.ts'

const JOB = 'id, the beginning of one (4 characters or more), or name'

export function addJob(program: Command): void {
  const job = program
    .command('job')
    .description(
      'Transfers that the daemon carries out by itself, through restarts and broken lines, until they are done',
    )
  addMakers(job)
  addLooks(job)
  addActs(job)
}

function addMakers(job: Command): void {
  const create = withFiles(job.command('create'))
    .description('Make a job of URLs and print its id; it waits under other names until `job complete`')
    .argument('[url...]', 'http, https or file URLs; none: add them later')
    .option('--suspended', 'it waits for `job resume`')
    .option('--idempotency-key <key>', 'the same key again makes nothing new and prints the same id')
  withSettings(create).action(async (urls: readonly string[], _options: unknown, command: Command) => {
    const { createVerb } = await import('./create.ts')
    await createVerb(urls, command.optsWithGlobals<JobOptions>())
  })
  withFiles(job.command('add'))
    .description('Add URLs to a job')
    .argument('<job>', JOB)
    .argument('[url...]', 'http, https or file URLs')
    .action(async (name: string, urls: readonly string[], _options: unknown, command: Command) => {
      const { addVerb } = await import('./create.ts')
      await addVerb(name, urls, command.optsWithGlobals<FileOptions>())
    })
  const set = job
    .command('set')
    .description('Change settings of a job, or where its files come from and go to')
    .argument('<job>', JOB)
    .argument('[argument...]', 'after --: arguments of --notify-command')
    .option('--file <number>', 'the file that --url and --target are about, as `job show` numbers them')
    .option('--url <url>', 'where that file comes from')
    .option('--target <file>', 'where that file goes')
    .option('--replace-prefix <from-to...>', 'FROM TO: every URL that begins with FROM begins with TO instead')
  withSettings(set).action(async (name: string, words: readonly string[], _options: unknown, command: Command) => {
    const { setVerb } = await import('./set.ts')
    await setVerb(name, words, command.optsWithGlobals<SetOptions>())
  })
}

function addLooks(job: Command): void {
  job
    .command('list')
    .description('List jobs that have not ended')
    .option('--all', 'also those that have')
    .option('--all-users', 'also those of others; only for administrators')
    .option('--state <state>', `only those: ${JOB_STATES.join(', ')}; several with commas`)
    .action(async (_options: unknown, command: Command) => {
      const { listVerb } = await import('./look.ts')
      await listVerb(command.optsWithGlobals<ListOptions>())
    })
  job
    .command('show')
    .description('Show everything about a job')
    .argument('<job>', JOB)
    .action(async (name: string, _options: unknown, command: Command) => {
      const { showVerb } = await import('./look.ts')
      await showVerb(name, command.optsWithGlobals<GlobalOptions>())
    })
  job
    .command('why')
    .description('Say in a sentence why a job is where it is, and until when')
    .argument('<job>', JOB)
    .action(async (name: string, _options: unknown, command: Command) => {
      const { whyVerb } = await import('./look.ts')
      await whyVerb(name, command.optsWithGlobals<GlobalOptions>())
    })
  job
    .command('watch')
    .description(
      'Follow a job until nothing more happens by itself, or all jobs until Ctrl-C; exits by how the job ended',
    )
    .argument('[job]', JOB)
    .option('--all-users', 'all jobs are also those of others; only for administrators')
    .action(async (name: string | undefined, _options: unknown, command: Command) => {
      const { watchVerb } = await import('./watch.ts')
      await watchVerb(name ?? null, command.optsWithGlobals<WatchOptions>())
    })
}

const ACTS = [
  ['suspend', 'Stop jobs where they are'],
  ['resume', 'Let jobs go on, also those that failed'],
  ['cancel', 'Give jobs up: what was fetched for them is removed, files that have their names stay'],
  ['complete', 'Give the files of jobs their names; what is not whole yet is given up'],
  ['take', 'Make jobs of other users your own; only for administrators'],
] as const
export type Act = (typeof ACTS)[number][0]

function addActs(job: Command): void {
  for (const [act, description] of ACTS) {
    job
      .command(act)
      .description(description)
      .argument('<job...>', JOB)
      .action(async (names: readonly string[], _options: unknown, command: Command) => {
        const { actVerb } = await import('./act.ts')
        await actVerb(act, names, command.optsWithGlobals<GlobalOptions>())
      })
  }
}

function withFiles(command: Command): Command {
  return command
    .option('-o, --output <file>', 'target of one URL; default: the last path segment of the URL')
    .option('-d, --directory <dir>', 'where targets go', '.')
    .option('-i, --input-file <file>', 'more URLs, one a line, or URL, tab, name; # begins a comment; - for stdin')
    .option('--sha256 <hex>', 'the content of the one URL must have this SHA-256')
    .option('--range <start-end>', 'only these bytes of the one URL, both included as in curl -r; repeatable', collect)
}

function withSettings(command: Command): Command {
  return command
    .option('--name <name>', 'default: the file name of the first URL')
    .option('--description <text>', 'for people')
    .option('--priority <priority>', `${PRIORITIES.join(', ')}; default: normal`)
    .option('-H, --header <header>', "'Name: value' for the origin; makes the content private; replaces all", collect)
    .option('--peers', 'ask neighbours (default)')
    .option('--no-peers', 'do not ask neighbours')
    .option('--origin', 'ask the origin (default)')
    .option('--no-origin', 'do not ask the origin: only what this branch has')
    .option('--limit-rate <rate>', 'at most this from the origin, such as 2MiB/s or 10Mbit/s; none: no limit')
    .option('--proxy <proxy>', 'auto: as the agent does; none; or the URL of a proxy')
    .option('--min-retry-delay <duration>', 'shortest pause before it is tried again, such as 10min')
    .option('--progress-timeout <duration>', 'the same as --no-progress-timeout')
    .option(
      '--no-progress-timeout <duration>',
      'without a new byte for so long it fails; 0s: the first failure is final',
    )
    .option('--max-transfer-time <duration>', 'it may spend so long transferring')
    .option('--deadline <when>', 'then it fails: 2026-12-01T06:00 (or with a zone), a duration such as 2h, or none')
    .option(
      '--cost-policy <policy>',
      'lines it may use: always, not-roaming, no-surcharge, standard, unrestricted, or default',
    )
    .option(
      '--notify-command <program>',
      'run without a shell when something happens: absolute path, arguments after --; or all as one JSON array; or none',
    )
    .option('--notify-url <url>', 'webhook that is told; or none')
    .option('--notify-secret-file <file>', 'signs what the webhook is sent; or none')
    .option('--notify-on <events>', `with commas: ${NOTIFY_EVENTS.join(', ')}; default: transferred,error`)
    .option('--auto-complete', 'files get their names as soon as all are here')
    .option('--no-auto-complete', 'files wait for `job complete` (default)')
}

function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value]
}
