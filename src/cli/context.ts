/**
 * What every verb starts from: the global options, the configuration they lead to, and the agent to talk to. Loads no
 * agent: a command that finds a daemon is done before one would be loaded.
 */
import { systemClock } from '../clock.ts'
import {
  type Config,
  controlSocketCandidates,
  currentUser,
  describeTooLong,
  embeddedSocketPath,
  isSocketPathTooLong,
  type LoadedConfig,
  loadConfig,
} from '../config/load.ts'
import { ControlClient } from '../control/client.ts'
import { distrustOf } from '../control/socket-trust.ts'
import { isShorthaulError, ShorthaulError } from '../errors.ts'
import type { EmbeddedAgent } from './embedded.ts'

export interface GlobalOptions {
  readonly config?: string
  readonly dataDir?: string
  readonly json?: boolean
  readonly logLevel?: string
}

export async function loadCliConfig(
  options: GlobalOptions,
  overrides: Readonly<Record<string, unknown>> = {},
): Promise<LoadedConfig> {
  return loadConfig({
    file: options.config,
    env: process.env,
    overrides: { dataDir: options.dataDir, 'log.level': options.logLevel, ...overrides },
    ...currentUser(),
  })
}

/** What a search for a running agent found. */
interface Found {
  readonly client: ControlClient | null
  /** Why a socket was passed over; null when none was. */
  readonly distrust: string | null
}

/** Null client: nobody there, or nobody whom we believe. */
async function connectTo(path: string): Promise<Found> {
  if (isSocketPathTooLong(path)) return { client: null, distrust: null }
  const distrust = await distrustOf(path)
  return { client: distrust === null ? await ControlClient.connect(path) : null, distrust }
}

async function search(options: GlobalOptions, config: Config): Promise<Found> {
  const paths =
    options.dataDir === undefined
      ? [...controlSocketCandidates(config, process.env), embeddedSocketPath(config)]
      : [embeddedSocketPath(config)]
  let refusal: unknown = null
  let passedOver: string | null = null
  for (const path of new Set(paths)) {
    try {
      const { client, distrust } = await connectTo(path)
      if (client) return { client: await asOwner(client, config), distrust: null }
      passedOver ??= distrust
    } catch (error) {
      refusal ??= error
    }
  }
  if (refusal) throw refusal
  return { client: null, distrust: passedOver }
}

/**
 * The daemon, if one runs: the one in the data directory when --data-dir names it, else the first candidate that
 * answers. Null when there is none, or none that belongs to this user or to the system.
 */
export async function findAgent(options: GlobalOptions, config: Config): Promise<ControlClient | null> {
  return (await search(options, config)).client
}

/** A socket for everybody admits to less: whoever may open the one in the daemon's data directory uses that. */
async function asOwner(client: ControlClient, config: Config): Promise<ControlClient> {
  const { access, dataDir } = client
  if (access !== 'public' || dataDir === null) return client
  // Not checked for its owner again: the daemon that we believe said that this is its own.
  const owner = await ControlClient.connect(embeddedSocketPath({ ...config, dataDir })).catch(() => null)
  if (owner === null) return client
  await client.close()
  return owner
}

/** @throws SHORTHAUL_DAEMON_UNREACHABLE */
export async function requireAgent(options: GlobalOptions, config: Config): Promise<ControlClient> {
  const { client, distrust } = await search(options, config)
  if (client) return client
  throw new ShorthaulError(
    'SHORTHAUL_DAEMON_UNREACHABLE',
    distrust === null
      ? 'Cannot find a running agent: start one with `shorthaul daemon`'
      : `Cannot find a running agent to believe: ${distrust}`,
  )
}

/** How long to look for the owner of a data directory, which may be starting or leaving; a daemon waits as long. */
const OWNER_WAIT_MS = 10_000
const OWNER_POLL_MS = 50

export interface AcquireOptions extends GlobalOptions {
  /** False: --no-daemon. */
  readonly hasDaemon: boolean
  /** True for what a shared daemon does not do for others than its owner; then only one's own agent will do. */
  readonly needsOwner: boolean
  readonly usePeers: boolean
  readonly signal: AbortSignal
  /** Called when a daemon wants the place of an agent of our own; without it the daemon waits until we are done. */
  readonly onHandover?: (() => void) | null
}

/** The daemon, if it does for us what is wanted. */
async function findUsable(options: AcquireOptions, config: Config): Promise<ControlClient | null> {
  const client = await findAgent(options, config)
  if (client === null || client.access === 'owner' || !options.needsOwner) return client
  await client.close()
  return null
}

/** How long a daemon that was made room for has until it answers; then somebody else may take its place. */
const SUCCESSOR_WAIT_MS = 10_000

/** The daemon that took the place of our agent; null when none answers in time. */
export async function awaitSuccessor(loaded: LoadedConfig, options: AcquireOptions): Promise<ControlClient | null> {
  const deadlineMs = systemClock.monotonicMs() + SUCCESSOR_WAIT_MS
  do {
    const client = await findUsable(options, loaded.config)
    if (client) return client
    await systemClock.sleep(OWNER_POLL_MS, options)
  } while (systemClock.monotonicMs() < deadlineMs)
  return null
}

/** The daemon, or the agent of another command on the same data directory, or one of our own. The caller closes it. */
export async function acquireAgent(
  loaded: LoadedConfig,
  options: AcquireOptions,
): Promise<{ readonly client: ControlClient } | { readonly embedded: EmbeddedAgent }> {
  const { config } = loaded
  if (options.hasDaemon) {
    const client = await findUsable(options, config)
    if (client) return { client }
  }
  const { openEmbedded } = await import('./embedded.ts')
  const deadlineMs = systemClock.monotonicMs() + OWNER_WAIT_MS
  const path = embeddedSocketPath(config)
  for (;;) {
    let inUse: ShorthaulError
    try {
      return { embedded: await openEmbedded(loaded, options) }
    } catch (error) {
      if (!isShorthaulError(error, 'SHORTHAUL_DATA_DIR_IN_USE')) throw error
      inUse = error
    }
    if (isSocketPathTooLong(path)) {
      throw cannotJoin(inUse, `its control socket ${describeTooLong(path)}: use a shorter dataDir`)
    }
    const { client, distrust } = await connectTo(path)
    if (client) return { client }
    if (distrust !== null) throw cannotJoin(inUse, distrust)
    if (systemClock.monotonicMs() > deadlineMs) throw inUse
    await systemClock.sleep(OWNER_POLL_MS, options)
  }
}

function cannotJoin(inUse: ShorthaulError, reason: string): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_DATA_DIR_IN_USE', `${inUse.message}; and it cannot be joined: ${reason}`, {
    cause: inUse,
    details: inUse.details,
  })
}
