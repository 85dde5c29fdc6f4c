/** Runs one command line and turns failures into exit codes. */
import { CommanderError } from 'commander'
import { EXIT } from '../errors.ts'
import { reportError, usage } from './output.ts'
import { createProgram } from './program.ts'

/** Ends the process. */
export async function run(): Promise<never> {
  // A reader that left (`| head`) is no fault: end as other tools do.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.local)
  })
  try {
    await createProgram(process.argv[2]).parseAsync()
  } catch (error) {
    process.exitCode = exitCodeOf(error, { isJson: process.argv.includes('--json') })
  }
  // What was opened is closed by now; timers that libraries left behind are not worth waiting for.
  await flushed()
  process.exit(process.exitCode ?? EXIT.ok)
}

/** Reports the failure, too. */
function exitCodeOf(error: unknown, { isJson }: { readonly isJson: boolean }): number {
  if (!(error instanceof CommanderError)) return reportError(error, { isJson })
  if (error.exitCode === 0) return EXIT.ok
  // Commander has told people; programs get the same line as for every other failure.
  if (isJson) {
    const isHelp = error.code === 'commander.help'
    const message = isHelp ? 'A verb is missing: its help says which there are' : error.message.replace(/^error: /, '')
    reportError(usage(message), { isJson })
  }
  return EXIT.usage
}

/** Resolves when stdout took everything: process.exit would cut a pipe short. */
function flushed(): Promise<void> {
  return new Promise((resolve) => process.stdout.write('', () => resolve()))
}
