/** An agent in the process of a command. Kept apart because loading an agent takes longer than most commands. */
import type { Logger } from 'pino'
import { Agent } from '../agent/agent.ts'
import { describeTooLong, embeddedSocketPath, isSocketPathTooLong, type LoadedConfig } from '../config/load.ts'
import { type ControlComponents, ControlServer } from '../control/server.ts'
import type { ShorthaulError } from '../errors.ts'
import { createLogger } from '../log.ts'

/** An agent that lives as long as one command, with the socket on which a second command joins it. */
export interface EmbeddedAgent {
  readonly agent: Agent
  /** @param reason for the commands that joined it */
  close(reason?: ShorthaulError): Promise<void>
}

/** Commands log warnings only, unless told otherwise; the daemon logs what the configuration says. */
export function commandLogger(loaded: LoadedConfig): Logger {
  const isSet = loaded.provenance['log.level'] !== 'default'
  return createLogger({ level: isSet ? loaded.config.log.level : 'silent' })
}

/**
 * @param options.onHandover called when a daemon wants the data directory; without it the daemon waits
 * @throws SHORTHAUL_DATA_DIR_IN_USE, and what Agent.open throws
 */
export async function openEmbedded(
  loaded: LoadedConfig,
  options: { readonly usePeers: boolean; readonly onHandover?: (() => void) | null },
): Promise<EmbeddedAgent> {
  const { config } = loaded
  const log = commandLogger(loaded)
  const agent = await Agent.open({ config, role: 'embedded', usePeers: options.usePeers }, { log })
  const control = await openControl({ agent, log, onHandover: options.onHandover ?? null }, embeddedSocketPath(config))
  return {
    agent,
    close: async (reason) => {
      await control?.close(reason)
      await agent.close()
    },
  }
}

/** Null when there can be none: the command itself does not need it. */
async function openControl(components: ControlComponents, path: string): Promise<ControlServer | null> {
  const { log } = components
  const warning = 'no control socket: a second command on this data directory cannot join this one'
  if (isSocketPathTooLong(path)) {
    log.warn({ reason: describeTooLong(path) }, warning)
    return null
  }
  try {
    return await ControlServer.open(components, [{ path, access: 'owner' }])
  } catch (err) {
    log.warn({ err }, warning)
    return null
  }
}
