/**
 * Builds the one typed Config from defaults, a YAML file, the environment and the command line, later ones winning.
 *
 * Invariants:
 * 1. Every layer is checked in full, also where a later layer wins; all problems are reported at once.
 * 2. An unknown key or SHORTHAUL_ variable is a problem, never ignored: a misspelt limit must not pass for a set one.
 * 3. Nobody else reads the file or the environment; modules are given their part of Config.
 */
import { homedir } from 'node:os'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { ShorthaulError } from '../errors.ts'
import { type ConfigFile, readConfigFile } from './config-file.ts'
import { isSocketPathTooLong, MAX_SOCKET_PATH_BYTES } from './control-socket.ts'
import { FLAT_KEYS } from './flat-keys.ts'
import {
  type Environment,
  isRecord,
  type Provenance,
  readEnvironment,
  readFileLayer,
  readOverrides,
  show,
} from './layers.ts'
import { type Config, KEYS, SYSTEM_DATA_DIR } from './schema.ts'
import type { Mismatch } from './value-schema.ts'

export {
  controlSocketCandidates,
  controlSocketPath,
  describeTooLong,
  embeddedSocketPath,
  isSocketPathTooLong,
  isSystemSocket,
} from './control-socket.ts'
export type { Environment, Provenance } from './layers.ts'
export type { Config } from './schema.ts'

export interface LoadOptions {
  /** A path (from --config): must exist. null: no file at all. Omitted: the usual places are searched. */
  readonly file?: string | null | undefined
  readonly env: Environment
  /** From the command line: dotted path to value, spelt as in YAML or in the environment; undefined is skipped. */
  readonly overrides?: Readonly<Record<string, unknown>> | undefined
  readonly homeDir: string
  /** Whether this process may act as the system's agent. */
  readonly isRoot: boolean
  /** Where relative paths from the environment and the command line start; the working directory. */
  readonly workingDir?: string | undefined
  readonly signal?: AbortSignal | undefined
}

export interface LoadedConfig {
  readonly config: Config
  /** By dotted path, for every key. */
  readonly provenance: Readonly<Record<string, Provenance>>
  /** Absolute path of the file that was read, or null. */
  readonly file: string | null
}

const MAX_PROBLEMS_SHOWN = 20

/**
 * @throws SHORTHAUL_CONFIG_INVALID with every problem, each as `path: found, expected`, also in `details.problems`
 * @throws SHORTHAUL_ABORTED
 */
export async function loadConfig(options: LoadOptions): Promise<LoadedConfig> {
  const workingDir = options.workingDir ?? process.cwd()
  const found = await findFile(options, workingDir)
  const layers = [
    found === null ? { given: [], problems: [] } : readFileLayer(found.content),
    readEnvironment(options.env),
    readOverrides(options.overrides ?? {}),
  ]
  const fileDir = found === null ? workingDir : dirname(found.path)
  const problems: string[] = []
  const values = new Map<string, unknown>()
  const provenance: Record<string, Provenance> = {}
  for (const { path, key } of FLAT_KEYS) {
    const value = path === 'dataDir' ? defaultDataDir(options) : key.default
    values.set(path, key.isPath && typeof value === 'string' ? expandPath(value, workingDir, options.homeDir) : value)
    provenance[path] = 'default'
  }
  for (const layer of layers) {
    problems.push(...layer.problems)
    for (const given of layer.given) {
      const { flat, value } = given
      const result = flat.key.schema.safeParse(value)
      if (!result.success) {
        const { at, found, expected } = result.mismatch.place ?? {
          at: '',
          found: offender(value, result.mismatch),
          expected: flat.key.expected,
        }
        problems.push(`${given.name}${at}: ${show(found)}, expected ${expected}`)
        continue
      }
      const base = given.provenance === 'file' ? fileDir : workingDir
      const isRelative = flat.key.isPath && typeof result.data === 'string'
      values.set(flat.path, isRelative ? expandPath(String(result.data), base, options.homeDir) : result.data)
      provenance[flat.path] = given.provenance
    }
  }
  const config = assemble(values)
  // What is only wrong together is looked at when each part is right.
  if (problems.length === 0) problems.push(...findContradictions(config))
  if (problems.length > 0) throw invalid(problems, found?.path ?? null)
  return { config, provenance, file: found?.path ?? null }
}

function invalid(problems: readonly string[], file: string | null): ShorthaulError {
  const shown = problems.slice(0, MAX_PROBLEMS_SHOWN)
  if (problems.length > shown.length) shown.push(`and ${problems.length - shown.length} more`)
  const where = file === null ? '' : ` "${file}"`
  return new ShorthaulError(
    'SHORTHAUL_CONFIG_INVALID',
    `Cannot use the configuration${where}:\n  ${shown.join('\n  ')}`,
    {
      details: { problems: shown, file },
    },
  )
}

async function findFile(
  { file, env, homeDir, signal }: LoadOptions,
  workingDir: string,
): Promise<{ path: string; content: Exclude<ConfigFile, { kind: 'missing' }> } | null> {
  if (file === null) return null
  const named = file ?? (env.SHORTHAUL_CONFIG || undefined)
  const candidates =
    named === undefined
      ? [
          join(baseDir(env.XDG_CONFIG_HOME, join(homeDir, '.config')), 'shorthaul', 'config.yaml'),
          '/etc/shorthaul/config.yaml',
        ]
      : [expandPath(named, workingDir, homeDir)]
  for (const path of candidates) {
    const content = await readConfigFile(path, { signal })
    if (content.kind !== 'missing') return { path, content }
    if (named !== undefined) {
      const source = file === undefined ? 'SHORTHAUL_CONFIG' : '--config'
      throw new ShorthaulError(
        'SHORTHAUL_CONFIG_INVALID',
        `Cannot read the configuration "${path}" of ${source}: no such file`,
        {
          details: { path },
        },
      )
    }
  }
  return null
}

/** The XDG specification has relative values ignored. */
function baseDir(variable: string | undefined, fallback: string): string {
  return variable !== undefined && isAbsolute(variable) ? variable : fallback
}

function defaultDataDir({ env, isRoot }: LoadOptions): string {
  const state = env.STATE_DIRECTORY
  // systemd sets it for the whole process tree of a unit; only our own unit's is ours.
  if (state !== undefined && isAbsolute(state) && state.endsWith('/shorthaul')) return state
  if (isRoot) return SYSTEM_DATA_DIR
  const base = baseDir(env.XDG_DATA_HOME, '')
  return base === '' ? KEYS.dataDir.default : join(base, 'shorthaul')
}

/** `~` and `~/…` to the home directory, relative to absolute. Other users' `~name` stays an ordinary name. */
function expandPath(path: string, base: string, homeDir: string): string {
  if (path === '~') return homeDir
  return resolve(base, /^~[/\\]/.test(path) ? join(homeDir, path.slice(2)) : path)
}

function findContradictions(config: Config): string[] {
  const { network, origin } = config
  const problems: string[] = []
  const dhtPorts = network.dhtPort === 0 ? [] : [network.dhtPort, network.dhtPort + 1]
  // The lane is TCP, so that it may share a number with the others.
  if (network.beacon && dhtPorts.includes(network.beaconPort)) {
    problems.push(
      `network.beaconPort: ${network.beaconPort}, expected none of ${dhtPorts.join(' and ')} (network.dhtPort)`,
    )
  }
  if ((origin.clientCertFile === null) !== (origin.clientKeyFile === null)) {
    problems.push('origin.clientCertFile, origin.clientKeyFile: one of them, expected both or none')
  }
  const { socket } = config.control
  if (socket !== null && isSocketPathTooLong(socket)) {
    problems.push(`control.socket: ${Buffer.byteLength(socket)} bytes, expected at most ${MAX_SOCKET_PATH_BYTES}`)
  }
  return problems
}

/** The part of a value that is wrong, so that one bad entry of a long list is shown and not the list. */
function offender(value: unknown, { index }: Mismatch): unknown {
  return Array.isArray(value) && index !== null ? value[index] : value
}

function assemble(values: ReadonlyMap<string, unknown>): Config {
  const config: Record<string, unknown> = {}
  for (const { section, name, path } of FLAT_KEYS) {
    if (section === null) config[name] = values.get(path)
    else {
      const inner = config[section]
      if (isRecord(inner)) inner[name] = values.get(path)
      else config[section] = { [name]: values.get(path) }
    }
  }
  for (const inner of Object.values(config)) if (isRecord(inner)) Object.freeze(inner)
  // The table that made the type also made the value: each entry passed the schema of its key.
  return Object.freeze(config) as Config
}

/** What a program of this process's user passes for `homeDir` and `isRoot`. */
export function currentUser(): { readonly homeDir: string; readonly isRoot: boolean } {
  return { homeDir: homedir(), isRoot: process.geteuid?.() === 0 }
}
