/** What every verb starts from: the global options, the configuration they lead to, and the agent to talk to. */

import type { Logger } from 'pino'
import { Agent } from '../agent.ts'
import { systemClock } from '../clock.ts'
import {
  type Config,
  controlSocketCandidates,
  currentUser,
  embeddedSocketPath,
  type LoadedConfig,
  loadConfig,
} from '../config/load.ts'
import { ControlClient } from '../control/client.ts'
import { ControlServer } from '../control/server.ts'
import { isShorthaulError, ShorthaulError } from '../errors.ts'
import { createLogger } from '../log.ts'

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

/** Commands log warnings only, unless told otherwise; the daemon logs what the configuration says. */
export function commandLogger(loaded: LoadedConfig): Logger {
  const isSet = loaded.provenance['log.level'] !== 'default'
  return createLogger({ level: isSet ? loaded.config.log.level : 'silent' })
}

/**
 * The daemon, if one runs: the one in the data directory when --data-dir names it, else the first candidate that
 * answers. Null when there is none.
 */
export async function findAgent(options: GlobalOptions, config: Config): Promise<ControlClient | null> {
  const paths =
    options.dataDir === undefined
      ? [...controlSocketCandidates(config, process.env), embeddedSocketPath(config)]
      : [embeddedSocketPath(config)]
  let found: ControlClient | null = null
  let refusal: unknown = null
  for (const path of paths) {
    try {
      found = await ControlClient.connect(path)
    } catch (error) {
      refusal ??= error
    }
    if (found) return asOwner(found, config)
  }
  if (refusal) throw refusal
  return null
}

/** A socket for everybody admits to less: whoever may open the one in the daemon's data directory uses that. */
async function asOwner(client: ControlClient, config: Config): Promise<ControlClient> {
  const { access, dataDir } = Object(await client.get('/v1/status')) as Record<string, unknown>
  if (access !== 'public' || typeof dataDir !== 'string') return client
  const owner = await ControlClient.connect(embeddedSocketPath({ ...config, dataDir })).catch(() => null)
  if (owner === null) return client
  await client.close()
  return owner
}

/** @throws SHORTHAUL_DAEMON_UNREACHABLE */
export async function requireAgent(options: GlobalOptions, config: Config): Promise<ControlClient> {
  const client = await findAgent(options, config)
  if (client) return client
  throw new ShorthaulError(
    'SHORTHAUL_DAEMON_UNREACHABLE',
    'Cannot find a running agent: start one with `shorthaul daemon`',
  )
}

/** An agent that lives as long as one command, with the socket on which a second command joins it. */
export interface EmbeddedAgent {
  readonly agent: Agent
  close(): Promise<void>
}

/** How long to look for the owner of a data directory, which may be starting or leaving. */
const OWNER_WAIT_MS = 5000
const OWNER_POLL_MS = 50

/**
 * The daemon, or the agent of another command on the same data directory, or one of our own.
 * @param options hasDaemon false: --no-daemon
 */
export async function acquireAgent(
  loaded: LoadedConfig,
  options: GlobalOptions & {
    readonly hasDaemon: boolean
    readonly usePeers: boolean
    readonly log: Logger
    readonly signal: AbortSignal
  },
): Promise<{ readonly client: ControlClient } | { readonly embedded: EmbeddedAgent }> {
  const { config } = loaded
  if (options.hasDaemon) {
    const client = await findAgent(options, config)
    if (client) return { client }
  }
  const deadlineMs = systemClock.monotonicMs() + OWNER_WAIT_MS
  for (;;) {
    try {
      return { embedded: await openEmbedded(config, options) }
    } catch (error) {
      if (!isShorthaulError(error, 'SHORTHAUL_DATA_DIR_IN_USE') || systemClock.monotonicMs() > deadlineMs) throw error
    }
    const client = await ControlClient.connect(embeddedSocketPath(config))
    if (client) return { client }
    await systemClock.sleep(OWNER_POLL_MS, options)
  }
}

async function openEmbedded(config: Config, options: { usePeers: boolean; log: Logger }): Promise<EmbeddedAgent> {
  const { log, usePeers } = options
  const agent = await Agent.open({ config, role: 'embedded', usePeers }, { log })
  const socket = { path: embeddedSocketPath(config), access: 'owner' } as const
  const control = await ControlServer.open({ agent, log }, [socket]).catch((err: unknown) => {
    log.warn({ err }, 'no control socket: a second command on this data directory will have to wait')
    return null
  })
  return {
    agent,
    close: async () => {
      await control?.close()
      await agent.close()
    },
  }
}
