/**
 * What the command line accepts: every verb with its arguments and options, on one page. What a verb does is in a file of
 * its own, which is loaded when the verb runs: loading all of them takes half a second.
 */
import { Command } from 'commander'
import { PRIORITIES } from '../throttle/priority.ts'
import { AGENT_VERSION } from '../version.ts'
import type { InitOptions, RotateOptions } from './branch.ts'
import type { InviteOptions, JoinOptions } from './branch-roster.ts'
import type { ShowOptions } from './config.ts'
import type { GlobalOptions } from './context.ts'
import type { DoctorOptions } from './doctor.ts'
import type { FetchOptions } from './fetch-orders.ts'
import { addJob } from './job/register.ts'
import type { PublishVerbOptions } from './publish.ts'

/** In the order of the help. */
const VERBS: Readonly<Record<string, (program: Command) => void>> = {
  fetch: addFetch,
  job: addJob,
  daemon: addDaemon,
  demo: addDemo,
  status: addStatus,
  throttle: addThrottle,
  peers: addPeers,
  quarantine: addQuarantine,
  cache: addCache,
  publish: addPublish,
  branch: addBranch,
  config: addConfig,
  doctor: addDoctor,
  bitsadmin: addBitsadmin,
}

/** @param first of the arguments: if it is a verb, none of the others is made, which takes as long as all else here */
export function createProgram(first?: string): Command {
  const program = new Command('shorthaul')
    .description(
      'Peer-caching background transfers: one copy over the WAN, every other copy from the machine next door',
    )
    .version(AGENT_VERSION)
    .option('--config <file>', 'configuration file')
    .option('--data-dir <dir>', 'data directory of the agent')
    .option('--json', 'one JSON object per line on stdout')
    .option('--log-level <level>', 'log to stderr: debug, info, warn, error')
    .showSuggestionAfterError()
    .exitOverride()
  const only = first !== undefined && Object.hasOwn(VERBS, first) ? VERBS[first] : undefined
  for (const add of only ? [only] : Object.values(VERBS)) add(program)
  return program
}

function addFetch(program: Command): void {
  program
    .command('fetch')
    .description('Fetch URLs: from the cache, the neighbours or their origins, verified')
    .argument('[url...]', 'http, https or file URLs')
    .option('-o, --output <file>', 'target of one URL; - for stdout; default: the last path segment of the URL')
    .option('-d, --directory <dir>', 'where targets go', '.')
    .option('-i, --input-file <file>', 'more URLs, one a line, or URL, tab, name; # begins a comment; - for stdin')
    .option('--parallel <count>', 'how many are fetched at the same time', '4')
    .option('--sha256 <hex>', 'the content must have this SHA-256, wherever it comes from')
    .option('--no-peers', 'do not ask neighbours, and open no ports')
    .option('--no-origin', 'do not ask the origin: only what this branch has')
    .option('--limit-rate <rate>', 'at most this from the origin, such as 2MiB/s or 10Mbit/s; the LAN is not limited')
    .option('-H, --header <header>', "'Name: value' for the origin; makes the content private", collect, [])
    .option('--priority <priority>', PRIORITIES.join(', '), 'foreground')
    .option('--no-daemon', 'do not use a running daemon')
    .option(
      '--detach',
      'hand it to the daemon as one job that completes itself (see `job`), of priority normal by default; prints its id',
    )
    .action(async (urls: readonly string[], { detach }: { detach?: boolean }, command: Command) => {
      if (detach === true) {
        const { detachVerb } = await import('./job/create.ts')
        const isChosen = command.getOptionValueSource('priority') !== 'default'
        const options = command.optsWithGlobals<FetchOptions>()
        // Nobody waits for it.
        return detachVerb(urls, isChosen ? options : { ...options, priority: 'normal' })
      }
      const { fetchVerb } = await import('./fetch.ts')
      await fetchVerb(urls, command.optsWithGlobals<FetchOptions>())
    })
}

function collect(value: string, previous: readonly string[]): readonly string[] {
  return [...previous, value]
}

function addDaemon(program: Command): void {
  program
    .command('daemon')
    .description('Run the agent of this machine: cache, serve neighbours, carry out fetches')
    .action(async (_options: unknown, command: Command) => {
      const { daemonVerb } = await import('./daemon.ts')
      await daemonVerb(command.optsWithGlobals<GlobalOptions>())
    })
}

function addDemo(program: Command): void {
  program
    .command('demo')
    .description('A whole branch on this machine: four agents, one origin, one liar')
    .action(async (_options: unknown, command: Command) => {
      const { demoVerb } = await import('./demo.ts')
      await demoVerb(command.optsWithGlobals<GlobalOptions>())
    })
}

function addStatus(program: Command): void {
  program
    .command('status')
    .description('What the running agent does: neighbours, bytes by source today and in all, WAN saved, cache')
    .action(async (_options: unknown, command: Command) => {
      const { statusVerb } = await import('./status.ts')
      await statusVerb(command.optsWithGlobals<GlobalOptions>())
    })
}

function addPeers(program: Command): void {
  program
    .command('peers')
    .description('The neighbours that the running agent is connected to, and how they do')
    .action(async (_options: unknown, command: Command) => {
      const { peersVerb } = await import('./peers.ts')
      await peersVerb(command.optsWithGlobals<GlobalOptions>())
    })
}

function addQuarantine(program: Command): void {
  const quarantine = program
    .command('quarantine')
    .description('Members of the branch that vouched for bytes that an origin does not have; nothing is had from them')
    .action(async (_options: unknown, command: Command) => {
      const { quarantineVerb } = await import('./quarantine.ts')
      await quarantineVerb(command.optsWithGlobals<GlobalOptions>())
    })
  quarantine
    .command('lift')
    .description('Believe a member again, once it is known what was wrong with it')
    .argument('<key>', 'key of the agent, or as much of it as names one')
    .action(async (key: string, _options: unknown, command: Command) => {
      const { liftVerb } = await import('./quarantine.ts')
      await liftVerb(key, command.optsWithGlobals<GlobalOptions>())
    })
}

function addThrottle(program: Command): void {
  program
    .command('throttle')
    .description('How background transfers yield to people on this line')
    .command('watch')
    .description(
      'Draw rate, line, queue, others and caps live; Ctrl-C ends it; a line for each moment without a terminal',
    )
    .action(async (_options: unknown, command: Command) => {
      const { watchVerb } = await import('./throttle.ts')
      await watchVerb(command.optsWithGlobals<GlobalOptions>())
    })
}

function addCache(program: Command): void {
  const cache = program
    .command('cache')
    .description('Look at and change what is cached on this machine; works with and without a running agent')
  cache
    .command('ls')
    .description('List cached resources; user info and query of URLs are not shown')
    .action(async (_options: unknown, command: Command) => {
      const { lsVerb } = await import('./cache.ts')
      await lsVerb(command.optsWithGlobals<GlobalOptions>())
    })
  cache
    .command('stat')
    .description('Show how much is cached, how much may be, and how much is free on the disk')
    .action(async (_options: unknown, command: Command) => {
      const { statVerb } = await import('./cache.ts')
      await statVerb(command.optsWithGlobals<GlobalOptions>())
    })
  cache
    .command('verify')
    .description('Read and re-hash everything; drop what is corrupt, take in what the index does not know')
    .action(async (_options: unknown, command: Command) => {
      const { verifyVerb } = await import('./cache.ts')
      await verifyVerb(command.optsWithGlobals<GlobalOptions>())
    })
  const changes = [
    ['pin', 'Keep a resource from eviction'],
    ['unpin', 'Let a pinned resource be evicted again'],
    ['rm', 'Remove a resource, pinned or not'],
  ] as const
  for (const [verb, description] of changes) {
    cache
      .command(verb)
      .description(description)
      .argument('<url>', 'the exact URL it was fetched from, with its query; all generations are meant')
      .action(async (url: string, _options: unknown, command: Command) => {
        const { changeVerb } = await import('./cache.ts')
        await changeVerb(verb, url, command.optsWithGlobals<GlobalOptions>())
      })
  }
}

function addPublish(program: Command): void {
  program
    .command('publish')
    .description('Write a manifest beside each file of a directory, so that agents know every segment before it comes')
    .argument('<directory>', 'what a web server serves; links that lead out of it are left out')
    .option('--out <dir>', 'write the manifests into a tree of their own instead')
    .option('--force', 'hash everything, also what has the size and time of its manifest')
    .option('--check', 'write nothing: hash everything, and exit with 5 when a manifest is missing or of other bytes')
    .action(async (directory: string, _options: unknown, command: Command) => {
      const { publishVerb } = await import('./publish.ts')
      await publishVerb(directory, command.optsWithGlobals<PublishVerbOptions>())
    })
}

function addBranch(program: Command): void {
  const branch = program
    .command('branch')
    .description('The secret that makes agents one branch: make it, rotate it, compare it between machines')
  branch
    .command('init')
    .description('Make a new branch secret; never replaces a file')
    .option('--out <file>', 'where to; default: branch.secretFile, else branch.secret beside the configuration file')
    .option('--roster', "go by a roster: make the administrator's key too; a branch that has none gets one")
    .action(async (_options: unknown, command: Command) => {
      const { initVerb } = await import('./branch.ts')
      await initVerb(command.optsWithGlobals<InitOptions>())
    })
  branch
    .command('rotate')
    .description('Put a new secret in the place of the one in use; the old one stays good for a while')
    .option('--window <duration>', 'how long the old secret stays good, at most 90d; 0s: not at all', '7d')
    .action(async (_options: unknown, command: Command) => {
      const { rotateVerb } = await import('./branch.ts')
      await rotateVerb(command.optsWithGlobals<RotateOptions>())
    })
  branch
    .command('show')
    .description('Show branch, fingerprint of its secret, key of this agent; the same fingerprint is the same branch')
    .action(async (_options: unknown, command: Command) => {
      const { showVerb } = await import('./branch.ts')
      await showVerb(command.optsWithGlobals<GlobalOptions>())
    })
  addRoster(branch)
}

function addRoster(branch: Command): void {
  branch
    .command('invite')
    .description("Make a code that lets one machine into a branch with a roster; where the administrator's key is")
    .argument('<name>', 'what to call the machine')
    .option('--expires <duration>', 'how long the code is good: 1m to 90d', '7d')
    .action(async (name: string, _options: unknown, command: Command) => {
      const { inviteVerb } = await import('./branch-roster.ts')
      await inviteVerb(name, command.optsWithGlobals<InviteOptions>())
    })
  branch
    .command('join')
    .description('Take an invitation: write the secret of the branch on this machine')
    .argument('<code>', 'what `branch invite` printed; - reads it from the standard input')
    .option('--out <file>', 'where to; default: as `branch init`')
    .action(async (code: string, _options: unknown, command: Command) => {
      const { joinVerb } = await import('./branch-roster.ts')
      await joinVerb(code, command.optsWithGlobals<JoinOptions>())
    })
  branch
    .command('members')
    .description('List who is on the roster, and who is invited')
    .action(async (_options: unknown, command: Command) => {
      const { membersVerb } = await import('./branch-roster.ts')
      await membersVerb(command.optsWithGlobals<GlobalOptions>())
    })
  branch
    .command('admit')
    .description("Put an agent on the roster whose key is known; where the administrator's key is")
    .argument('<key>', 'as `branch show` has it on that machine')
    .argument('<name>', 'what to call the machine')
    .action(async (key: string, name: string, _options: unknown, command: Command) => {
      const { admitVerb } = await import('./branch-roster.ts')
      await admitVerb(key, name, command.optsWithGlobals<GlobalOptions>())
    })
  branch
    .command('revoke')
    .description("Take a machine off the roster, or an invitation back; where the administrator's key is")
    .argument('<who>', 'its name, its key, or the first digits of its key')
    .action(async (who: string, _options: unknown, command: Command) => {
      const { revokeVerb } = await import('./branch-roster.ts')
      await revokeVerb(who, command.optsWithGlobals<GlobalOptions>())
    })
}

function addConfig(program: Command): void {
  const config = program.command('config').description('Show or check the configuration')
  config
    .command('show')
    .description('Print the configuration in effect as YAML: defaults, file, environment and command line together')
    .option('--origin', 'say of each value where it comes from')
    .action(async (_options: unknown, command: Command) => {
      const { showVerb } = await import('./config.ts')
      await showVerb(command.optsWithGlobals<ShowOptions>())
    })
  config
    .command('check')
    .description('Check a configuration file (default: the one that would be used) and the SHORTHAUL_ variables')
    .argument('[file]', 'configuration file')
    .action(async (file: string | undefined, _options: unknown, command: Command) => {
      const { checkVerb } = await import('./config.ts')
      await checkVerb(file, command.optsWithGlobals<GlobalOptions>())
    })
}

function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('Check configuration, disk, ports, multicast, neighbours; exits with 6 when something will not work')
    .option('--origin <url>', 'also check what this origin can do (HEAD, Range, validators, sharing) and the clock')
    .action(async (_options: unknown, command: Command) => {
      const { doctorVerb } = await import('./doctor.ts')
      await doctorVerb(command.optsWithGlobals<DoctorOptions>())
    })
}

function addBitsadmin(program: Command): void {
  program
    .command('bitsadmin')
    .description('The command line of BITS over the jobs of the running agent; /help lists its verbs')
    // Its switches begin with a slash: nothing of it is ours to understand.
    .allowUnknownOption()
    .helpOption(false)
    .argument('[args...]', 'as bitsadmin takes them')
    .action(async (args: readonly string[], _options: unknown, command: Command) => {
      const { bitsadminVerb } = await import('./bitsadmin/bitsadmin.ts')
      await bitsadminVerb(args, command.optsWithGlobals<GlobalOptions>())
    })
}
