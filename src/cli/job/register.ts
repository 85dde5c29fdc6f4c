/** What `shorthaul job` accepts: its verbs, arguments and options. What they do is loaded when they run. */
import type { Command } from 'commander'
import { NOTIFY_EVENTS } from '../../jobs/job.ts'
import { JOB_STATES } from '../../jobs/states.ts'
import { PRIORITIES } from '../../throttle/priority.ts'
import type { GlobalOptions } from '../context.ts'
import type { JobOptions } from './job-orders.ts'
import type { CreateOptions, ListOptions, SetOptions } from './verbs.ts'
import type { WatchOptions } from './watch.ts'

const JOB = 'id, the beginning of one (4 characters or more), or name'

export function addJob(program: Command): void {
  const job = program
    .command('job')
    .description('Transfers that are handed over to the daemon and survive logout, crash, reboot and network loss')
  addMaking(job)
  addLooking(job)
  addChanging(job)
}

function addMaking(job: Command): void {
  withSettings(
    withFiles(job.command('create').description('Make a job of URLs and start it; prints its id').argument('[url...]')),
  )
    .option('--suspended', 'do not start it')
    .option('--idempotency-key <key>', 'the same key again makes nothing new: for callers that try again')
    .action(async (urls: readonly string[], _options: unknown, command: Command) => {
      const { createVerb } = await import('./verbs.ts')
      await createVerb(urls, command.optsWithGlobals<CreateOptions>())
    })
  withFiles(
    job.command('add').description('Add files to a job, running or not').argument('<job>', JOB).argument('[url...]'),
  ).action(async (text: string, urls: readonly string[], _options: unknown, command: Command) => {
    const { addVerb } = await import('./verbs.ts')
    await addVerb(text, urls, command.optsWithGlobals<JobOptions>())
  })
}

function addLooking(job: Command): void {
  job
    .command('list')
    .description('List your jobs')
    .option('--all', 'also those that ended')
    .option('--all-users', 'also those of others; for administrators')
    .option('--state <states>', JOB_STATES.join(', '))
    .action(async (_options: unknown, command: Command) => {
      const { listVerb } = await import('./verbs.ts')
      await listVerb(command.optsWithGlobals<ListOptions>())
    })
  job
    .command('show')
    .description('Show all about a job, with its files')
    .argument('<job>', JOB)
    .action(async (text: string, _options: unknown, command: Command) => {
      const { showVerb } = await import('./verbs.ts')
      await showVerb(text, command.optsWithGlobals<GlobalOptions>())
    })
  job
    .command('why')
    .description('Say in a sentence what a job is waiting for; with --json a code for it')
    .argument('<job>', JOB)
    .action(async (text: string, _options: unknown, command: Command) => {
      const { whyVerb } = await import('./verbs.ts')
      await whyVerb(text, command.optsWithGlobals<GlobalOptions>())
    })
  job
    .command('watch')
    .description('Draw the jobs live until Ctrl-C, or one until it ends; without a terminal a line for each event')
    .argument('[job]', JOB)
    .option('--all-users', 'also those of others; for administrators')
    .action(async (text: string | undefined, _options: unknown, command: Command) => {
      const { watchVerb } = await import('./watch.ts')
      await watchVerb(text, command.optsWithGlobals<WatchOptions>())
    })
}

function addChanging(job: Command): void {
  const changes = [
    ['suspend', 'Stop jobs where they are'],
    ['resume', 'Start jobs that are suspended, or try again what failed'],
    ['cancel', 'End jobs and remove what they fetched and did not complete'],
    ['take', 'Make jobs of others your own; their header fields and commands are dropped. For administrators'],
  ] as const
  for (const [verb, description] of changes) {
    job
      .command(verb)
      .description(description)
      .argument('<job...>', JOB)
      .action(async (names: readonly string[], _options: unknown, command: Command) => {
        const { changeVerb } = await import('./verbs.ts')
        await changeVerb(verb, names, command.optsWithGlobals<GlobalOptions>())
      })
  }
  job
    .command('complete')
    .description('Give the files of jobs their names; those that are not whole are given up')
    .argument('<job...>', JOB)
    .action(async (names: readonly string[], _options: unknown, command: Command) => {
      const { completeVerb } = await import('./verbs.ts')
      await completeVerb(names, command.optsWithGlobals<GlobalOptions>())
    })
  withSettings(job.command('set').description('Change a job while it lives').argument('<job>', JOB))
    .option('--file <number>', 'the file that --url or --target is for')
    .option('--url <url>', 'where the file comes from')
    .option('--target <file>', 'where the file goes to')
    .option('--replace-prefix <from-to...>', 'FROM TO: every URL that begins with FROM begins with TO instead')
    .action(async (text: string, _options: unknown, command: Command) => {
      const { setVerb } = await import('./verbs.ts')
      await setVerb(text, command.optsWithGlobals<SetOptions>())
    })
}

function withFiles(command: Command): Command {
  return command
    .option('-o, --output <file>', 'target of one URL; default: the last path segment of the URL')
    .option('-d, --directory <dir>', 'where targets go', '.')
    .option('-i, --input-file <file>', 'more URLs, one a line, or URL, tab, name; # begins a comment; - for stdin')
    .option('--sha256 <hex>', 'the content must have this SHA-256')
    .option('--range <first-last>', 'only these bytes, both included; may be given again', collect, [])
}

function withSettings(command: Command): Command {
  return command
    .option('--name <name>', 'what people call it; default: the file name of the first URL')
    .option('--description <text>', 'a longer word about it')
    .option('--priority <priority>', `${PRIORITIES.join(', ')}; default of a new job: normal`)
    .option('-H, --header <header>', "'Name: value' for the origin; makes the content private", collect, [])
    .option('--proxy <proxy>', 'auto (from the environment of the agent), none, or a URL')
    .option('--peers', 'ask neighbours')
    .option('--no-peers', 'do not ask neighbours')
    .option('--origin', 'ask the origin')
    .option('--no-origin', 'do not ask the origin: wait until a neighbour has it')
    .option('--limit-rate <rate>', 'at most this from the origin, such as 2MiB/s; none: no limit')
    .option('--auto-complete', 'give files their names as soon as all are here')
    .option('--no-auto-complete', 'wait for `job complete`')
    .option('--min-retry-delay <time>', 'before it is tried again, such as 30s; longer each time')
    .option('--progress-timeout <time>', 'without a new byte for so long it is an error, such as 14d')
    .option('--max-transfer-time <time>', 'what it may spend transferring in all')
    .option('--deadline <when>', 'a moment such as 2026-12-31T18:00:00Z, or a time from now such as 2h; none: no limit')
    .option('--cost-policy <policy>', 'always, not-roaming, no-surcharge, standard, unrestricted; none: as configured')
    .option('--notify-command <words>', 'program with arguments, or a JSON array; run without a shell; none: nothing')
    .option('--notify-url <url>', 'is sent a POST; none: nothing')
    .option('--notify-secret <secret>', 'signs what --notify-url is sent')
    .option('--notify-on <events>', `${NOTIFY_EVENTS.join(', ')}; default: transferred,error`)
}

function collect(value: string, previous: readonly string[]): readonly string[] {
  return [...previous, value]
}
