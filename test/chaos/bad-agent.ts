/**
 * The daemon of a lab host, from source, that can be told to misbehave towards its neighbours: only for the lab.
 *
 *   node --import=ts.mjs bad-agent.ts daemon --config FILE      (the mode stands in FILE.mode, and may change at any time)
 *
 * Everything else is the daemon: the same agent, its jobs, its control socket and its ready line. What it stores and what
 * it delivers on its own host is right: it lies only to others.
 */
import { readFile } from 'node:fs/promises'
import { systemClock } from '../../src/clock.ts'
import type { ReadForPeer } from '../../src/peers/lane-server.ts'

/** Not for who only wants to know where the mode stands. */
async function loaded() {
  const [agent, load, server, log] = await Promise.all([
    import('../../src/agent/agent.ts'),
    import('../../src/config/load.ts'),
    import('../../src/control/server.ts'),
    import('../../src/log.ts'),
  ])
  return { ...agent, ...load, ...server, ...log }
}

/** Written by the run beside the configuration; absent: it behaves. */
export function modeFileOf(configFile: string): string {
  return `${configFile}.mode`
}

function misbehaving(read: ReadForPeer, modeFile: string): ReadForPeer {
  return async (hash, options) => {
    const mode = await readFile(modeFile, 'utf8').catch(() => '')
    if (mode === 'deny') return null
    if (mode === 'stall') return stalled(options.signal)
    const bytes = await read(hash, options)
    if (mode !== 'corrupt' || bytes === null) return bytes
    const forged = Buffer.from(bytes)
    forged[forged.byteLength >> 1] = (forged[forged.byteLength >> 1] ?? 0) ^ 1 // a single bit
    return forged
  }
}

/** Until the neighbour has had enough. */
function stalled(signal: AbortSignal): Promise<null> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve(null)
    signal.addEventListener('abort', () => resolve(null), { once: true })
  })
}

/** As the daemon does: a command that found no daemon has its directory until it ends. */
async function afterCommands<T>(open: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await open()
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'SHORTHAUL_DATA_DIR_IN_USE') throw error
    }
    await systemClock.sleep(100)
  }
}

async function main(configFile: string): Promise<void> {
  const { Agent, ControlServer, controlSocketPath, createLogger, currentUser, embeddedSocketPath, loadConfig } =
    await loaded()
  const { config } = await loadConfig({ file: configFile, env: process.env, overrides: {}, ...currentUser() })
  const log = createLogger({ level: config.log.level })
  const open = () =>
    Agent.open(
      { config, role: 'daemon' },
      { log, wrapReadForPeer: (read) => misbehaving(read, modeFileOf(configFile)) },
    )
  const agent = await afterCommands(open)
  const control = await ControlServer.open({ agent, log }, [
    { path: embeddedSocketPath(config), access: 'owner' },
    { path: controlSocketPath(config, process.env, currentUser()), access: 'public' },
  ])
  process.once('SIGTERM', () => {
    void (async () => {
      await control.close()
      await agent.close()
      process.exit(0)
    })()
  })
  process.stdout.write(`${JSON.stringify({ event: 'ready', pid: process.pid, key: agent.key })}\n`)
}

if (process.argv[2] === 'daemon') await main(process.argv[4] ?? '')
