/** `shorthaul daemon`: the agent of this machine, until SIGTERM or Ctrl-C. */
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import type { Logger } from 'pino'
import {
  controlSocketPath,
  currentUser,
  describeTooLong,
  embeddedSocketPath,
  isSocketPathTooLong,
} from '../config/load.ts'
import type { Config } from '../config/schema.ts'
import { ensureControlToken } from '../config/secret.ts'
import { type ControlPort, ControlServer, type ControlSocket } from '../control/server.ts'
import { EXIT, isShorthaulError, ShorthaulError } from '../errors.ts'
import { createLogger } from '../log.ts'
import { AGENT_VERSION } from '../version.ts'
import { type GlobalOptions, loadCliConfig } from './context.ts'
import { openDaemonAgent } from './daemon-agent.ts'
import { interruptSignal } from './output.ts'

/** Leaving is bounded: a neighbour that just died must not hold the shutdown of a machine. */
const MAX_LEAVE_MS = 8000

export async function daemonVerb(options: GlobalOptions): Promise<void> {
  staySmall()
  const { config, file } = await loadCliConfig(options)
  const own: ControlSocket = { path: embeddedSocketPath(config), access: 'owner' }
  const shared = controlSocketPath(config, process.env, currentUser())
  checkLength(own.path, 'dataDir')
  checkLength(shared, 'control.socket')
  const log = createLogger({ level: config.log.level })
  const signal = interruptSignal()
  endOnFault(log)
  log.info({ version: AGENT_VERSION, config: file, dataDir: config.dataDir }, 'starting')
  const port = await controlPortOf(config, log)
  const agent = await openDaemonAgent(config, { log, signal })
  const control = await ControlServer.open({ agent, log }, port === null ? [own] : [own, port])
  const sockets = [own.path]
  let publicControl: ControlServer | null = null
  if (shared !== own.path) {
    // A system daemon serves all local users; a user's daemon has its socket where only that user looks.
    const access = isSystemDaemon() ? 'public' : 'owner'
    try {
      publicControl = await ControlServer.open({ agent, log }, [{ path: shared, access }])
      sockets.push(shared)
    } catch (err) {
      // Two daemons on one machine: the second is reached by its --data-dir.
      if (!isShorthaulError(err, 'SHORTHAUL_DATA_DIR_IN_USE')) throw err
      log.warn({ path: shared }, 'another daemon has the common control socket; this one is reached with --data-dir')
    }
  }
  const status = await agent.status()
  process.stdout.write(
    `${JSON.stringify({
      event: 'ready',
      version: AGENT_VERSION,
      pid: process.pid,
      key: agent.key,
      dataDir: config.dataDir,
      sockets,
      http: control.urls[0] ?? null,
      address: status.network.address,
      lanePort: agent.lanePort,
    })}\n`,
  )
  log.info({ key: agent.key, address: status.network.address }, 'ready')
  // Node.js has it on Windows too, where it means that the console closes: there it ends the process, as before.
  if (process.platform !== 'win32') {
    process.on('SIGHUP', () => {
      agent.reloadSecret().then(
        (isNew) => log.info({ isNew }, 'the branch secret was read again'),
        (err: unknown) => log.warn({ err }, 'the branch secret was not read again'),
      )
    })
  }
  if (!signal.aborted)
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
  log.info('stopping')
  const deadline = setTimeout(() => {
    log.warn('not all was closed in time')
    process.exit(EXIT.ok)
  }, MAX_LEAVE_MS)
  await publicControl?.close()
  await control.close()
  await agent.close()
  clearTimeout(deadline)
  log.info('stopped')
}

/**
 * Has V8 collect earlier: the young generation keeps its first size, 1 MiB (else 16 under load), and the old one may grow by
 * two fifths between two collections. What is read from an origin is garbage outside of V8's heap at once, and V8 lets
 * 64 MiB of it gather. Side by side, 1 GiB at 2 Gbit/s and then served: 139 MiB resident at most instead of 187, for
 * 0.4 CPU-s more (Node.js 20, 2026-11-27).
 */
function staySmall(): void {
  for (const flag of ['--semi-space-growth-factor=1', '--heap-growing-percent=40']) setFlagsFromString(flag)
}

/** Node would print the error with all that hangs on it, requests and their header fields, past the log and its redaction. */
function endOnFault(log: Logger): void {
  process.on('uncaughtException', (err) => {
    try {
      log.fatal({ err }, 'ended by a fault')
    } finally {
      process.exit(EXIT.local)
    }
  })
}

/** @param key the setting that makes it shorter */
function checkLength(path: string, key: string): void {
  if (!isSocketPathTooLong(path)) return
  throw new ShorthaulError(
    'SHORTHAUL_CONFIG_INVALID',
    `Cannot listen for commands: the socket ${describeTooLong(path)}; set a shorter ${key}`,
    { details: { path, key } },
  )
}

/** Null: it is reached by its sockets only. @throws SHORTHAUL_SECRET_INVALID, SHORTHAUL_TARGET_UNWRITABLE */
async function controlPortOf({ control, dataDir }: Config, log: Logger): Promise<ControlPort | null> {
  const { http, tokenFile } = control
  if (http === null) return null
  const { token, warning } = await ensureControlToken(tokenFile ?? join(dataDir, 'control.token'))
  if (warning !== null) log.warn({ warning }, 'the control token is not private')
  const at = http.lastIndexOf(':')
  return { host: http.slice(0, at).replace(/^\[(.*)\]$/, '$1'), port: Number(http.slice(at + 1)), token }
}

function isSystemDaemon(): boolean {
  return currentUser().isRoot || process.env.RUNTIME_DIRECTORY === '/run/shorthaul'
}
