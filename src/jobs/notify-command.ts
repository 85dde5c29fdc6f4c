/**
 * Tells a job's command: runs it as the owner of the job. A command that ran was told, whatever it made of it; one that
 * could not be started is tried again, as in BITS.
 *
 * What may be run is asked when it is run, of the file that is there then: it must lie in one of `jobs.commandDirs`
 * without a link leading out, and nobody but root, the agent's user and the job's owner may have been able to write it.
 */
import { realpath, stat } from 'node:fs/promises'
import { dirname, isAbsolute, relative, sep } from 'node:path'
import type { Logger } from 'pino'
import { isShorthaulError, ShorthaulError, systemCode } from '../errors.ts'
import type { JobOwner } from './job.ts'
import { notificationVariables } from './notification.ts'
import type { Notify } from './outbox.ts'
import type { RunAsOwner } from './program.ts'

const DEADLINE_MS = 5 * 60_000
const WRITABLE_BY_OTHERS = 0o022

export function commandNotifier(
  components: { readonly log: Logger; readonly runAsOwner: RunAsOwner },
  { commandDirs }: { readonly commandDirs: readonly string[] },
): Notify {
  const { log, runAsOwner } = components
  return async (entry, { signal }) => {
    const { command, event } = entry
    const [program = '', ...args] = command ?? []
    let path: string
    try {
      path = await allowedProgram(program, { commandDirs, owner: event.owner })
    } catch (error) {
      if (isShorthaulError(error)) return { kind: 'refused', message: error.message }
      const message = `Cannot find "${program}": ${systemCode(error) ?? String(error)}`
      return { kind: 'failed', message, retryAfterMs: null }
    }
    const end = await runAsOwner(
      event.owner,
      { path, argv: [program, ...args], variables: notificationVariables(entry), deadlineMs: DEADLINE_MS },
      { signal },
    )
    if (end.kind === 'refused') return { kind: 'refused', message: `Cannot run "${program}": ${end.message}` }
    if (end.kind === 'not-started') {
      return { kind: 'failed', message: `Cannot run "${program}": ${end.message}`, retryAfterMs: null }
    }
    const { exitCode, isKilled, output } = end
    log.debug({ job: event.job, program, exitCode, isKilled, output }, 'command of a job ended')
    return { kind: 'delivered' }
  }
}

/**
 * The file that is run, without links.
 * @throws SHORTHAUL_FORBIDDEN when it must not be run; the system's error when it cannot be found
 */
export async function allowedProgram(
  program: string,
  about: { readonly commandDirs: readonly string[]; readonly owner: JobOwner },
): Promise<string> {
  const path = await realpath(program)
  const directories = await Promise.all(about.commandDirs.map((directory) => realpath(directory).catch(() => null)))
  const root = directories.find((directory) => directory !== null && isBelow(directory, path))
  if (root === undefined || root === null) throw refused(program, `"${path}" is outside of jobs.commandDirs`)
  const found = await stat(path)
  if (!found.isFile()) throw refused(program, 'it is not a plain file')
  if (process.platform === 'win32') return path
  const trusted = [0, process.geteuid?.(), about.owner.uid]
  // Who can write a directory can put another file in its place.
  for (let place = path; ; place = dirname(place)) {
    const { uid, mode } = await stat(place)
    if (!trusted.includes(uid)) throw refused(program, `"${place}" belongs to another user (uid ${uid})`)
    if ((mode & WRITABLE_BY_OTHERS) !== 0) throw refused(program, `others than its owner can write "${place}"`)
    if (place === root) return path
  }
}

function isBelow(directory: string, path: string): boolean {
  const way = relative(directory, path)
  return way !== '' && way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way)
}

function refused(program: string, why: string): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_FORBIDDEN', `Cannot run "${program}": ${why}`)
}
