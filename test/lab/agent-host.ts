/**
 * A shorthaul installation on one lab host: its data directory, HOME, runtime directory and config file, its daemon, and
 * the commands a user would type there. Speaks to the product only by its command line, as built in dist/.
 */
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { cleanEnvironment } from '../support/clean-environment.ts'
import type { Lab } from './lab.ts'
import type { LabProcess } from './lab-process.ts'
import { callSocket } from './socket-call.ts'
import { until } from './until.ts'

/** Another build can be measured or tested by naming its main.js in SHORTHAUL_CLI. */
export const CLI_PATH = process.env.SHORTHAUL_CLI ?? fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

export interface BytesBySource {
  readonly cache: number
  readonly peer: number
  readonly origin: number
}

export interface FetchDone {
  readonly event: 'done'
  readonly url: string
  readonly path: string
  readonly bytes: number
  readonly sha256: string
  readonly durationMs: number
  readonly sources: BytesBySource
  readonly wastedBytes: number
  readonly checkedBytes: number
}

export interface FetchFailed {
  readonly event: 'error'
  readonly code: string
  readonly message: string
  readonly retryable: boolean
  readonly exit: number
}

export interface FetchProgress {
  readonly event: 'progress'
  readonly bytesDone: number
  readonly bytesTotal: number | null
  readonly bytesPerSec: number
  readonly sources: BytesBySource
}

export interface FetchResult {
  readonly code: number | null
  readonly last: FetchDone | FetchFailed | undefined
  readonly progress: readonly FetchProgress[]
  readonly stderr: string
}

export interface AgentOptions {
  readonly secretFile: string
  /** Of its folder in the lab's; another name is another installation on the same host. Default: h and the number. */
  readonly name?: string
  /** Merged over `dataDir` and `branch.secretFile`, which is all that the config holds otherwise. */
  readonly config?: Readonly<Record<string, unknown>>
  readonly env?: NodeJS.ProcessEnv
  /** What is started with Node.js as its daemon, up to the verb. Default: the built command. */
  readonly daemonEntry?: readonly string[]
}

export interface FetchOptions {
  /** Absolute, or relative to the agent's home. Default: the name that the URL gives. */
  readonly target?: string
  /** Further arguments, such as `--no-peers`. */
  readonly args?: readonly string[]
  /** An agent embedded in the command, on this host's data directory. */
  readonly embedded?: true
  /** Run as this unprivileged user instead of root, with this umask, in this directory that they may write. */
  readonly as?: { readonly user: string; readonly group: string; readonly umask: string; readonly cwd: string }
}

interface Status {
  readonly key: string
  readonly peers: readonly { readonly key: string }[]
}

export interface FetchDeadline {
  /** Default 60,000. */
  readonly timeoutMs?: number
}

/** A branch secret of its own in the lab's folder: 32 random bytes in base64, for its owner only. */
export async function writeBranchSecret(lab: Lab, name: string): Promise<string> {
  const path = join(lab.stateDir, `${name}.secret`)
  await writeFile(path, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600 })
  return path
}

export class AgentHost {
  readonly lab: Lab
  readonly host: number
  readonly homeDir: string
  readonly dataDir: string
  readonly configFile: string
  /** What the host's processes see as /run, where a daemon of root has its control socket. */
  readonly #runDir: string
  readonly #env: NodeJS.ProcessEnv
  readonly #daemonEntry: readonly string[]
  #daemon: LabProcess | undefined

  private constructor(lab: Lab, host: number, options: AgentOptions) {
    this.lab = lab
    this.host = host
    this.homeDir = join(lab.stateDir, options.name ?? `h${host}`)
    this.dataDir = join(this.homeDir, 'data')
    this.configFile = join(this.homeDir, 'config.yaml')
    this.#runDir = join(this.homeDir, 'run')
    this.#daemonEntry = options.daemonEntry ?? [CLI_PATH]
    this.#env = {
      ...cleanEnvironment(),
      HOME: this.homeDir,
      XDG_RUNTIME_DIR: '/run/user/0',
      ...options.env,
    }
  }

  static async create(lab: Lab, host: number, options: AgentOptions): Promise<AgentHost> {
    if (!existsSync(CLI_PATH)) throw new Error(`${CLI_PATH} is missing: npm run build`)
    const agent = new AgentHost(lab, host, options)
    await mkdir(join(agent.#runDir, 'user/0'), { recursive: true })
    const config = { dataDir: agent.dataDir, branch: { secretFile: options.secretFile }, ...options.config }
    await writeFile(agent.configFile, JSON.stringify(config, null, 2)) // JSON is YAML
    return agent
  }

  get address(): string {
    return this.lab.hostAddress(this.host)
  }

  get daemon(): LabProcess {
    if (!this.#daemon) throw new Error(`The daemon of host ${this.host} was not started`)
    return this.#daemon
  }

  get isRunning(): boolean {
    return this.#daemon !== undefined && this.#daemon.ended === undefined
  }

  /** The target as an absolute path. */
  path(target: string): string {
    return isAbsolute(target) ? target : join(this.homeDir, target)
  }

  /** Starts the daemon and resolves with its ready line. @param options.timeoutMs default 30,000 */
  async startDaemon({ timeoutMs = 30_000 } = {}): Promise<Readonly<Record<string, unknown>>> {
    this.#daemon = this.#spawn(['daemon', '--config', this.configFile], { entry: this.#daemonEntry })
    const line = await this.#daemon.waitForLine((text) => text.includes('"ready"'), { timeoutMs })
    return JSON.parse(line) as Record<string, unknown>
  }

  /** Its host loses power, as far as the process is concerned. */
  async killDaemon(): Promise<void> {
    await this.daemon.kill('SIGKILL')
  }

  async stopDaemon(): Promise<void> {
    await this.daemon.kill('SIGTERM')
  }

  /** Starts `fetch --json` and returns at once, for tests that do something to it. */
  startFetch(url: string, options: FetchOptions = {}): LabProcess {
    const args = ['fetch', url, '--json', '--config', this.configFile]
    if (options.target !== undefined) args.push('-o', options.target)
    if (options.embedded) args.push('--no-daemon')
    return this.#spawn([...args, ...(options.args ?? [])], { as: options.as })
  }

  /** `fetch --json` to its end, whichever that is. */
  async fetch(url: string, options: FetchOptions & FetchDeadline = {}): Promise<FetchResult> {
    return fetchResult(this.startFetch(url, options), options)
  }

  /** The objects that a verb prints with --json. */
  async json(...verb: string[]): Promise<readonly Readonly<Record<string, unknown>>[]> {
    const process_ = this.#spawn([...verb, '--json', '--config', this.configFile])
    const { code } = await process_.exit
    if (code !== 0) throw new Error(`${verb.join(' ')} ended with ${code}: ${process_.stderr.slice(-2000)}`)
    return process_.lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  }

  /** The daemon's own key, and the keys of those it is connected to; asked on its socket: a command takes half a second. */
  async keys(): Promise<{ readonly own: string; readonly peers: ReadonlySet<string> }> {
    const socketPath = join(this.#runDir, 'shorthaul/control.sock')
    const status = (await callSocket(socketPath, { method: 'GET', path: '/v1/status' })) as Status
    return { own: status.key, peers: new Set(status.peers.map((peer) => peer.key)) }
  }

  /** @throws Error when the daemon is not connected to exactly `count` other agents within 10 s. */
  async waitForPeers(count: number): Promise<void> {
    const check = async () => (await this.keys()).peers.size === count || undefined
    await until(check, { timeoutMs: 10_000, what: `host ${this.host} to see ${count} other agents` })
  }

  /** Hex digest of a file of this host. */
  async sha256(target: string): Promise<string> {
    const hash = createHash('sha256')
    await pipeline(createReadStream(this.path(target)), hash)
    return hash.digest('hex')
  }

  #spawn(
    args: readonly string[],
    { as, entry = [CLI_PATH] }: { as?: FetchOptions['as'] | undefined; entry?: readonly string[] } = {},
  ): LabProcess {
    // `ip netns exec` gives each process a mount namespace of its own: what is bound there is seen by it alone.
    const identity = as
      ? `umask ${as.umask}; exec setpriv --reuid=${as.user} --regid=${as.group} --clear-groups`
      : 'exec'
    const script = `mount --bind '${this.#runDir}' /run && ${identity} "$0" "$@"`
    const env = as ? { ...this.#env, HOME: as.cwd, XDG_RUNTIME_DIR: undefined } : this.#env
    const cwd = as?.cwd ?? this.homeDir
    return this.lab.spawn(this.host, 'bash', ['-c', script, process.execPath, ...entry, ...args], { env, cwd })
  }
}

/**
 * Waits for a `fetch --json` to end and reads what it printed.
 * @throws Error when it does not end in time; it is killed then.
 */
export async function fetchResult(process_: LabProcess, options: FetchDeadline = {}): Promise<FetchResult> {
  const { timeoutMs = 60_000 } = options
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    void process_.kill('SIGKILL')
  }, timeoutMs)
  const { code } = await process_.exit
  clearTimeout(timer)
  if (isLate) {
    const seen = process_.lines.slice(-3).join('\n')
    throw new Error(`fetch did not end within ${timeoutMs} ms\n${seen}\n${process_.stderr.slice(-4000)}`)
  }
  const objects = process_.lines.map((line) => JSON.parse(line) as FetchDone | FetchFailed | FetchProgress)
  const last = objects.at(-1)
  return {
    code,
    last: last?.event === 'progress' ? undefined : last,
    progress: objects.filter((object) => object.event === 'progress'),
    stderr: process_.stderr,
  }
}

/** @throws Error with the output when the fetch failed. */
export function expectDone(result: FetchResult): FetchDone {
  if (result.code === 0 && result.last?.event === 'done') return result.last
  throw new Error(`fetch ended with ${result.code}: ${JSON.stringify(result.last)}\n${result.stderr.slice(-4000)}`)
}

/** The most memory that the process ever had resident (VmHWM). */
export async function peakResidentBytes(pid: number): Promise<number> {
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]
  if (kib === undefined) throw new Error(`/proc/${pid}/status has no VmHWM`)
  return Number(kib) * 1024
}

/** What the process has resident now (VmRSS). */
export async function residentBytes(pid: number): Promise<number> {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]
  if (kib === undefined) throw new Error(`/proc/${pid}/status has no VmRSS`)
  return Number(kib) * 1024
}
