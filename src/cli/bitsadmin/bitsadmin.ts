/**
 * `shorthaul bitsadmin`: the command line of BITS over our jobs, so that a script moves over by prefixing one word.
 * What its verbs do is in verbs.ts; this finds the verb, prints the banner, and gives errors their numbers.
 */
import { systemClock } from '../../clock.ts'
import { isShorthaulError, ShorthaulError } from '../../errors.ts'
import type { JobsApi } from '../../jobs/jobs-api.ts'
import { AGENT_VERSION } from '../../version.ts'
import { type GlobalOptions, loadCliConfig, requireAgent } from '../context.ts'
import { interruptSignal, usage } from '../output.ts'
import { type Modifiers, parseCommandLine } from './command-line.ts'
import { hexOf, hresultOf } from './hresults.ts'
import type { Printer, Verb, VerbContext } from './verb.ts'
import { usageOf, verbOf } from './verbs.ts'

/** Where a command line's output goes, and what it is told of its surroundings. */
export interface Surroundings {
  readonly cwd: string
  /** Of the terminal at stdout; null: there is none. */
  readonly columns: number | null
  write(text: string): void
  warn(text: string): void
  interrupt(): AbortSignal
}

export async function bitsadminVerb(words: readonly string[], options: GlobalOptions): Promise<void> {
  if (options.json === true) throw usage('Cannot print JSON here: expected no --json; /rawreturn is for scripts')
  const { stdout, stderr } = process
  const surroundings: Surroundings = {
    cwd: process.cwd(),
    columns: stdout.isTTY === true ? stdout.columns || null : null,
    write: (text) => void stdout.write(text),
    warn: (text) => void stderr.write(`${text}\n`),
    interrupt: interruptSignal,
  }
  await runCommandLine(words, surroundings, async (use) => {
    const { config } = await loadCliConfig(options)
    const client = await requireAgent(options, config)
    try {
      await use(client.jobs)
    } finally {
      await client.close()
    }
  })
}

/**
 * @param withJobs opens the jobs for those verbs that need them
 * @throws ShorthaulError, whose message ends in the number that BITS has for it
 */
export async function runCommandLine(
  words: readonly string[],
  surroundings: Surroundings,
  withJobs: (use: (jobs: JobsApi) => Promise<void>) => Promise<void>,
): Promise<void> {
  try {
    const { modifiers, verb: name, args } = parseCommandLine(words)
    const verb = findVerb(name ?? '/help', args)
    const out = printer(surroundings, modifiers)
    if (!out.isRaw) for (const line of BANNER) out.line(line)
    if (verb.needsAgent === false) await verb.run(args, contextOf(noJobs(), out, surroundings))
    else await withJobs((jobs) => verb.run(args, contextOf(jobs, out, surroundings)))
  } catch (error) {
    throw numbered(error)
  }
}

const BANNER = ['', 'BITSADMIN version 3.0', 'BITS administration utility.', `shorthaul ${AGENT_VERSION}`, '']

/** @throws SHORTHAUL_USAGE for a verb that is not done, and for too few or too many arguments */
function findVerb(name: string, args: readonly string[]): Verb {
  const verb = verbOf(name)
  if (verb === null) throw usage(`Cannot do ${name}: there is no such switch; /help lists them`)
  if (verb.status === 'refused') throw usage(`Cannot do ${verb.name}: not supported; ${verb.help}`)
  const [min, max] = verb.count ?? [0, Number.POSITIVE_INFINITY]
  if (args.length < min || args.length > max) {
    throw usage(`Cannot do ${verb.name}: found ${args.length} argument(s), expected ${usageOf(verb)}`)
  }
  return verb
}

function contextOf(jobs: JobsApi, out: Printer, { cwd, interrupt }: Surroundings): VerbContext {
  return { jobs, out, cwd, interrupt, sleep: (delayMs, options) => systemClock.sleep(delayMs, options) }
}

function noJobs(): JobsApi {
  return new Proxy({} as JobsApi, {
    get: () => {
      throw new Error('a verb without an agent used its jobs')
    },
  })
}

function printer({ write, warn, columns }: Surroundings, { isRaw, isWrapped }: Modifiers): Printer {
  let isDrawn = false
  const line = (text: string) => {
    if (isDrawn) write('\n')
    isDrawn = false
    const shown = printable(text)
    write(`${isWrapped === false && columns !== null ? shown.slice(0, columns) : shown}\n`)
  }
  const say = (text: string) => {
    if (!isRaw) line(text)
  }
  return {
    isRaw,
    line,
    say,
    value: (label, value) => line(isRaw ? value : `The ${label} of the job is ${value}.`),
    warn: (text) => warn(printable(text)),
    progress: (text) => {
      if (columns === null) return
      write(`\r\u001b[K${printable(text).slice(0, columns - 1)}`)
      isDrawn = true
    },
  }
}

/** Names of jobs are their owners' and URLs anybody's: neither moves the cursor, nor adds lines that a script would read. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not get out
  return text.replaceAll(/[\u0000-\u0008\u000a-\u001f\u007f-\u009f]/g, '?')
}

function numbered(error: unknown): unknown {
  if (!isShorthaulError(error)) return error
  const { code, message, details, retryable } = error
  const hresult = hexOf(hresultOf(code, { isEmpty: details.isEmpty === true }))
  return new ShorthaulError(code, `${message} - ${hresult}`, { cause: error, details, retryable })
}
