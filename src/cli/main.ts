#!/usr/bin/env node
/** The command line. One file per verb; this one only gathers them and turns failures into exit codes. */
import { Command, CommanderError } from 'commander'
import { EXIT } from '../errors.ts'
import { AGENT_VERSION } from '../version.ts'
import { addBranch } from './branch.ts'
import { addCache } from './cache.ts'
import { addConfig } from './config.ts'
import { addDaemon } from './daemon.ts'
import { addDemo } from './demo.ts'
import { addDoctor } from './doctor.ts'
import { addFetch } from './fetch.ts'
import { reportError, usage } from './output.ts'
import { addPeers } from './peers.ts'
import { addStatus } from './status.ts'

const program = new Command('shorthaul')
  .description('Peer-caching background transfers: one copy over the WAN, every other copy from the machine next door')
  .version(AGENT_VERSION)
  .option('--config <file>', 'configuration file')
  .option('--data-dir <dir>', 'data directory of the agent')
  .option('--json', 'one JSON object per line on stdout')
  .option('--log-level <level>', 'log to stderr: debug, info, warn, error')
  .showSuggestionAfterError()
  .exitOverride()

addFetch(program)
addDaemon(program)
addDemo(program)
addStatus(program)
addPeers(program)
addCache(program)
addBranch(program)
addConfig(program)
addDoctor(program)

// A reader that left (`| head`) is no fault: end as other tools do.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(EXIT.local)
})

try {
  await program.parseAsync()
  // What was opened is closed by now; timers that libraries left behind are not worth waiting for.
  await flushed()
  process.exit(process.exitCode ?? EXIT.ok)
} catch (error) {
  const isJson = process.argv.includes('--json')
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage
    // Commander has told people; programs get the same line as for every other failure.
    if (error.exitCode !== 0 && isJson) {
      const isHelp = error.code === 'commander.help'
      const message = isHelp
        ? 'A verb is missing: its help says which there are'
        : error.message.replace(/^error: /, '')
      reportError(usage(message), { isJson })
    }
  } else {
    process.exitCode = reportError(error, { isJson })
  }
  await flushed()
  process.exit()
}

/** Resolves when stdout took everything: process.exit would cut a pipe short. */
function flushed(): Promise<void> {
  return new Promise((resolve) => process.stdout.write('', () => resolve()))
}
