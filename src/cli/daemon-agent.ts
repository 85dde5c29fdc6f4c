/**
 * The daemon's agent. A command that found no daemon is the agent of the data directory itself, until its transfer is done,
 * and others join it: a daemon that gave up then would come back only when nobody has fetched anything for a while, and
 * with it the jobs and what the neighbours get from here. So it asks commands for their place, waits for those that cannot
 * give it, and for nobody else. It waits for room on a full disk, too: a service manager gives up on what fails a few
 * times, and jobs are to go on without a hand.
 */
import type { Logger } from 'pino'
import { Agent } from '../agent/agent.ts'
import { systemClock } from '../clock.ts'
import { embeddedSocketPath, isSocketPathTooLong } from '../config/load.ts'
import type { Config } from '../config/schema.ts'
import { ControlClient } from '../control/client.ts'
import { isShorthaulError, throwIfAborted } from '../errors.ts'

/** The next command to own it looks as often (context.ts). */
const POLL_MS = 50
/** An agent that starts or leaves does not answer for a moment; what is silent for longer is not ours to wait for. */
const SILENCE_MS = 10_000
const ROOM_POLL_MS = 5000
/** On a busy machine a network takes seconds to close. */
const PORTS_MS = 15_000
const PORTS_POLL_MS = 500

/**
 * Resolves when nothing is in its way.
 * @throws SHORTHAUL_DATA_DIR_IN_USE when another daemon has it, SHORTHAUL_ABORTED, and what Agent.open throws
 */
export async function openDaemonAgent(
  config: Config,
  options: { readonly log: Logger; readonly signal: AbortSignal },
): Promise<Agent> {
  const { log, signal } = options
  const told = new Set<string>()
  let portsByMs: number | null = null
  const tellOnce = (what: 'command' | 'room', tell: () => void) => {
    if (!told.has(what)) tell()
    told.add(what)
  }
  let answeredAtMs = systemClock.monotonicMs()
  for (;;) {
    throwIfAborted(signal)
    let pollMs = POLL_MS
    try {
      return await Agent.open({ config, role: 'daemon' }, { log })
    } catch (err) {
      if (isShorthaulError(err, 'SHORTHAUL_DISK_FULL')) {
        tellOnce('room', () => log.warn({ err }, 'waiting for room on the disk'))
        pollMs = ROOM_POLL_MS
      } else if (isShorthaulError(err, 'SHORTHAUL_PORT_IN_USE') && told.has('command')) {
        // The command that made room lets go of its ports a moment later, and goes on living.
        portsByMs ??= systemClock.monotonicMs() + PORTS_MS
        if (systemClock.monotonicMs() > portsByMs) throw err
        pollMs = PORTS_POLL_MS
      } else {
        if (!isShorthaulError(err, 'SHORTHAUL_DATA_DIR_IN_USE')) throw err
        const owner = await askOwner(config)
        const nowMs = systemClock.monotonicMs()
        if (owner === 'command') answeredAtMs = nowMs
        if (owner === 'daemon' || nowMs - answeredAtMs > SILENCE_MS) throw err
        const { dataDir } = config
        tellOnce('command', () => log.info({ dataDir }, 'waiting for the command that uses the data directory'))
      }
    }
    await systemClock.sleep(pollMs, { signal }).catch(() => {})
  }
}

/** Says who owns the data directory; a command is asked to make room. */
async function askOwner(config: Config): Promise<'daemon' | 'command' | 'silent'> {
  const path = embeddedSocketPath(config)
  if (isSocketPathTooLong(path)) return 'silent'
  const client = await ControlClient.connect(path).catch(() => null)
  if (client === null) return 'silent'
  try {
    const status = (await client.get('/v1/status')) as { readonly jobs?: unknown }
    if (status.jobs !== null) return 'daemon' // a command carries out no jobs
    await client.post('/v1/handover', {}).catch(() => {}) // one that cannot says so
    return 'command'
  } catch {
    return 'silent'
  } finally {
    await client.close()
  }
}
