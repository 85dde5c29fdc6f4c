/**
 * Where the control socket is: one rule for the agent that listens and the commands that look for it.
 * Does not open it.
 */
import { createHash } from 'node:crypto'
import { isAbsolute, join } from 'node:path'
import type { Config } from './schema.ts'

const SYSTEM_RUNTIME_DIR = '/run/shorthaul'
const FILE_NAME = 'control.sock'
/** sun_path has 104 bytes on macOS and 108 on Linux, one of them for the final zero. */
export const MAX_SOCKET_PATH_BYTES = 103

interface Place {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly platform: NodeJS.Platform
}

function perUser({ env, platform }: Place): string | null {
  if (platform === 'win32') return `\\\\.\\pipe\\shorthaul-${(env.USERNAME ?? 'user').replace(/[^\w.-]/g, '_')}`
  const dir = env.XDG_RUNTIME_DIR
  return dir !== undefined && isAbsolute(dir) ? join(dir, 'shorthaul', FILE_NAME) : null
}

function ofSystem(platform: NodeJS.Platform): string {
  return platform === 'win32' ? '\\\\.\\pipe\\shorthaul' : join(SYSTEM_RUNTIME_DIR, FILE_NAME)
}

/** Longer names are cut silently by libuv, and the agent would listen where nobody looks. Pipes have no such limit. */
export function isSocketPathTooLong(path: string): boolean {
  return !path.startsWith('\\\\') && Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES
}

/** For messages: `"…" has 120 bytes, expected at most 103`. */
export function describeTooLong(path: string): string {
  return `"${path}" has ${Buffer.byteLength(path)} bytes, expected at most ${MAX_SOCKET_PATH_BYTES}`
}

/** Only root can make its directory: who listens there does so because root wanted it. */
export function isSystemSocket(path: string): boolean {
  return path === join(SYSTEM_RUNTIME_DIR, FILE_NAME)
}

/** Pipes live in one flat namespace: the name holds a hash of the directory. */
function inDataDir(config: Config, platform: NodeJS.Platform): string {
  if (platform !== 'win32') return join(config.dataDir, FILE_NAME)
  return `\\\\.\\pipe\\shorthaul-${createHash('sha256').update(config.dataDir.toLowerCase()).digest('hex').slice(0, 16)}`
}

/**
 * Where a command looks for an agent, in this order: the configured socket and nothing else, or this user's daemon, the
 * system's daemon, and an agent embedded in another command on the same data directory.
 */
export function controlSocketCandidates(
  config: Config,
  env: Readonly<Record<string, string | undefined>>,
  { platform = process.platform }: { readonly platform?: NodeJS.Platform } = {},
): string[] {
  if (config.control.socket !== null) return [config.control.socket]
  const own = perUser({ env, platform })
  return [...(own === null ? [] : [own]), ofSystem(platform), inDataDir(config, platform)]
}

/** Where an agent listens that is embedded in a command: beside its data, for a second command on the same data. */
export function embeddedSocketPath(
  config: Config,
  { platform = process.platform }: { readonly platform?: NodeJS.Platform } = {},
): string {
  return inDataDir(config, platform)
}

/** Where a daemon listens; always one of its user's candidates. Its directory may have to be made, mode 0755. */
export function controlSocketPath(
  config: Config,
  env: Readonly<Record<string, string | undefined>>,
  { isRoot, platform = process.platform }: { readonly isRoot: boolean; readonly platform?: NodeJS.Platform },
): string {
  if (config.control.socket !== null) return config.control.socket
  // systemd gives its units this directory; a unit of another name has another one, which is not ours.
  if (isRoot || env.RUNTIME_DIRECTORY === SYSTEM_RUNTIME_DIR) return ofSystem(platform)
  return perUser({ env, platform }) ?? inDataDir(config, platform)
}
