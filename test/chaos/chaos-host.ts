/**
 * One host of a chaos run: its installation, a daemon that is started again when it was killed, and what becomes of it.
 * A daemon that ends without having been killed by us is a crash.
 */
import { createWriteStream, type WriteStream } from 'node:fs'
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Clock, systemClock } from '../../src/clock.ts'
import { AgentHost, residentBytes } from '../lab/agent-host.ts'
import type { Lab } from '../lab/lab.ts'
import type { LabProcess } from '../lab/lab-process.ts'
import { callSocket, type SocketCall } from '../lab/socket-call.ts'
import type { DaemonSample } from './figures.ts'
import { isFallen } from './judgement.ts'

const BAD_AGENT = fileURLToPath(new URL('bad-agent.ts', import.meta.url))
const FROM_SOURCE = new URL('../support/ts.mjs', import.meta.url).href
/** A command that took the daemon's place holds its directory for as long as its transfer takes: the daemon waits for it. */
const RESTART_TIMEOUT_MS = 300_000
/** Of a branch whose machine has little time for it. */
const CALL_TIMEOUT_MS = 60_000
const RESTART_PAUSE_MS = 2000
/** What a daemon may say when it cannot start now and may later. */
const PASSING = /SHORTHAUL_(?:DATA_DIR_IN_USE|DISK_FULL|STORE_IO)/
const LAST_LINES = 8

export interface ChaosHostOptions {
  readonly secretFile: string
  /** Its daemon is bad-agent.ts. */
  readonly canMisbehave: boolean
  readonly logsDir: string
  readonly onCrash: (text: string) => void
  readonly onBadLine: (text: string) => void
  readonly note: (text: string, fields?: Readonly<Record<string, unknown>>) => void
  readonly clock?: Clock
}

/** Small enough to be full now and then, network timeouts of a person's patience. */
const CONFIG = {
  cache: { maxBytes: '128MiB', minFreeBytes: '8MiB' },
  origin: { idleTimeoutMs: 5000, connectTimeoutMs: 3000, headersTimeoutMs: 5000 },
}

export class ChaosHost {
  readonly agent: AgentHost
  readonly host: number
  readonly targetsDir: string
  readonly #options: ChaosHostOptions
  readonly #clock: Clock
  readonly #log: WriteStream
  readonly #lastLines: string[] = []
  #expectsEnd = false
  #restarting: Promise<void> = Promise.resolve()

  private constructor(agent: AgentHost, options: ChaosHostOptions) {
    this.agent = agent
    this.host = agent.host
    this.targetsDir = join(agent.homeDir, 'targets')
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#log = createWriteStream(join(options.logsDir, `host-${agent.host}-daemon.log`))
  }

  static async create(lab: Lab, host: number, options: ChaosHostOptions): Promise<ChaosHost> {
    const daemonEntry = options.canMisbehave ? ['--import', FROM_SOURCE, BAD_AGENT] : undefined
    const agent = await AgentHost.create(lab, host, {
      secretFile: options.secretFile,
      config: CONFIG,
      // Compiled code is kept for all: six cold hosts would have the processor to themselves for half a minute.
      env: { XDG_CACHE_HOME: join(lab.stateDir, 'cache') },
      ...(daemonEntry ? { daemonEntry } : {}),
    })
    const chaosHost = new ChaosHost(agent, options)
    await mkdir(chaosHost.targetsDir, { recursive: true })
    await mkdir(agent.dataDir, { recursive: true, mode: 0o700 })
    return chaosHost
  }

  get isUp(): boolean {
    return this.agent.isRunning
  }

  /** Starts the daemon, again and again while it says that something passing is in its way. Never rejects. */
  start(): Promise<void> {
    this.#restarting = this.#start()
    return this.#restarting
  }

  /** Until no start is under way. */
  async settled(): Promise<void> {
    await this.#restarting
  }

  /** @returns false when it does not run, or is only starting */
  async kill(): Promise<boolean> {
    if (!this.isUp || this.#expectsEnd) return false
    this.#expectsEnd = true
    await this.agent.killDaemon()
    return true
  }

  /** In order, and bounded by the daemon's own deadline. */
  async stop(): Promise<void> {
    this.#expectsEnd = true
    if (this.isUp) await this.agent.stopDaemon()
    this.#log.end()
  }

  /** On the daemon's own socket. @throws Error when it does not answer with 2xx */
  call(
    method: SocketCall['method'],
    path: string,
    more: { readonly body?: unknown; readonly headers?: Readonly<Record<string, string>> } = {},
  ): Promise<unknown> {
    const socketPath = join(this.agent.dataDir, 'control.sock')
    return callSocket(socketPath, { method, path, timeoutMs: CALL_TIMEOUT_MS, ...more })
  }

  /** Null while it does not run. */
  async sample(atMs: number): Promise<DaemonSample | null> {
    if (!this.isUp) return null
    const { pid } = this.agent.daemon
    try {
      const [resident, descriptors] = await Promise.all([residentBytes(pid), readdir(`/proc/${pid}/fd`)])
      return { atMs, host: this.host, pid, residentBytes: resident, descriptors: descriptors.length }
    } catch {
      return null // it ended meanwhile
    }
  }

  /** How many descriptors of each kind the daemon has: where a leak is. */
  async descriptorKinds(): Promise<Readonly<Record<string, number>>> {
    const { pid } = this.agent.daemon
    const { code, stdout } = await this.agent.lab.exec(this.host, 'ls', ['-l', `/proc/${pid}/fd`])
    const counts: Record<string, number> = {}
    if (code !== 0) return counts
    for (const line of stdout.split('\n')) {
      const to = /-> (.*)$/.exec(line)?.[1]?.replace(/\d+/g, 'N')
      if (to !== undefined) counts[to] = (counts[to] ?? 0) + 1
    }
    return counts
  }

  async #start(): Promise<void> {
    const { note, onCrash } = this.#options
    const deadlineMs = this.#clock.monotonicMs() + RESTART_TIMEOUT_MS
    for (;;) {
      this.#expectsEnd = true // until it is ready, its end is our affair here
      try {
        const starting = this.agent.startDaemon({ timeoutMs: RESTART_TIMEOUT_MS })
        this.#follow(this.agent.daemon)
        await starting
        this.#expectsEnd = false
        note('daemon started', { host: this.host, pid: this.agent.daemon.pid })
        void this.#watchEnd(this.agent.daemon)
        return
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error)
        const isLate = this.agent.isRunning
        if (isLate) await this.agent.killDaemon()
        const isPassing = isLate || PASSING.test(text)
        note('daemon did not start', { host: this.host, isPassing, text: text.slice(-600) })
        if (!isPassing || this.#clock.monotonicMs() > deadlineMs) {
          onCrash(`host ${this.host}: the daemon did not start: ${text.slice(-1500)}`)
          return
        }
      }
      await this.#clock.sleep(RESTART_PAUSE_MS)
    }
  }

  async #watchEnd(daemon: LabProcess): Promise<void> {
    const { code, signal } = await daemon.exit
    if (this.#expectsEnd) return
    const lines = this.#lastLines.join('\n')
    this.#options.onCrash(`host ${this.host}: the daemon ended with ${signal ?? code}; its last lines:\n${lines}`)
  }

  #follow(daemon: LabProcess): void {
    let rest = ''
    daemon.onStderr((text) => {
      this.#log.write(text)
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        this.#lastLines.push(line.slice(0, 2000))
        if (this.#lastLines.length > LAST_LINES) this.#lastLines.shift()
        if (isFallen(line)) this.#options.onBadLine(`host ${this.host}, daemon: ${line.slice(0, 2000)}`)
      }
    })
  }
}
