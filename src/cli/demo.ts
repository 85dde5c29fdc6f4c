/** `shorthaul demo`: a whole branch on one machine, with real processes, real bytes and one liar, in a minute. */
import { type ChildProcess, fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { createReadStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { type Config, currentUser, loadConfig } from '../config/load.ts'
import { createSecret } from '../config/secret.ts'
import { formatBytes, formatDuration } from '../config/units.ts'
import { ShorthaulError } from '../errors.ts'
import type { GlobalOptions } from './context.ts'
import type { DemoCommand, DemoReport } from './demo-agent.ts'
import { startDemoOrigin } from './demo-origin.ts'
import { createOutput, formatTable, interruptSignal } from './output.ts'

const SIZE_BYTES = 64 * 2 ** 20
/** Each step of the demo takes a few seconds; on a very slow machine it still ends. */
const STEP_TIMEOUT_MS = 120_000

interface Row {
  readonly name: string
  readonly cache: number
  readonly peer: number
  readonly origin: number
  readonly wasted: number
  readonly isRight: boolean
  readonly durationMs: number
}

export async function demoVerb(options: GlobalOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const signal = interruptSignal()
  const directory = await mkdtemp(join(tmpdir(), 'shorthaul-demo-'))
  const origin = await startDemoOrigin(SIZE_BYTES)
  const agents: DemoAgent[] = []
  try {
    output.text(`An origin serves ${formatBytes(SIZE_BYTES)} at ${origin.url}`)
    const branch = { directory, secretFile: join(directory, 'branch.secret'), beaconPort: await freeUdpPort() }
    await createSecret(branch.secretFile)
    for (const name of ['anna', 'ben', 'carla']) agents.push(await DemoAgent.start(name, { branch, agents, signal }))
    await Promise.all(agents.map((agent) => agent.hasNeighbours(agents.length - 1)))
    output.text(`Three agents run, each with its own data directory, and found each other. They share nothing else.\n`)

    const rows: Row[] = []
    for (const agent of agents) {
      output.text(`${agent.name} fetches it ...`)
      rows.push((await agent.fetch(origin, directory)).row)
    }
    output.text(`\n${tableOf(rows)}\n`)
    const honestBytes = origin.sentBytes()
    output.text(
      `The origin sent ${copies(honestBytes)} copies for ${rows.length} machines; without a branch it would be ${rows.length}.00.\n`,
    )

    const [, liar] = agents
    if (!liar) throw new Error('no liar')
    liar.lie()
    output.text(`Now ${liar.name} flips one bit in every segment that it serves, and a new machine joins: dora.`)
    const dora = await DemoAgent.start('dora', { branch, agents, signal })
    agents.push(dora)
    await dora.hasNeighbours(agents.length - 1)
    const { row, liars } = await dora.fetch(origin, directory)
    rows.push(row)
    output.text(`\n${tableOf([row])}\n`)
    const names = liars.map((key) => agents.find((agent) => agent.key === key)?.name ?? key)
    output.text(
      `dora's file is ${row.isRight ? 'right' : 'WRONG'}. Caught lying and banned: ${names.join(', ') || 'nobody'}` +
        ` (${formatBytes(row.wasted)} of forged bytes thrown away).`,
    )
    output.text(`In all the origin sent ${copies(origin.sentBytes())} copies for ${rows.length} machines.`)
    output.json({
      event: 'done',
      bytes: SIZE_BYTES,
      agents: rows,
      liars: names,
      originBytes: origin.sentBytes(),
      egressCopies: Number(copies(origin.sentBytes())),
    })
    const isProven =
      rows.every((each) => each.isRight) &&
      rows.slice(1).every((each) => each.origin === 0) &&
      names.includes(liar.name)
    if (!isProven) {
      throw new ShorthaulError(
        'SHORTHAUL_DIGEST_MISMATCH',
        'The demo did not show what it promises; see the tables above',
      )
    }
  } finally {
    await Promise.all(agents.map((agent) => agent.stop()))
    await origin.close()
    await rm(directory, { recursive: true, force: true })
  }
}

function copies(bytes: number): string {
  return (bytes / SIZE_BYTES).toFixed(2)
}

function tableOf(rows: readonly Row[]): string {
  const cell = (bytes: number) => (bytes === 0 ? '0' : formatBytes(bytes)).padStart(10)
  return formatTable([
    [
      'machine',
      'from cache'.padStart(10),
      'neighbours'.padStart(10),
      'origin'.padStart(10),
      'wasted'.padStart(10),
      'SHA-256',
      'time',
    ],
    ...rows.map((row) => [
      row.name,
      cell(row.cache),
      cell(row.peer),
      cell(row.origin),
      cell(row.wasted),
      row.isRight ? 'right' : 'WRONG',
      formatDuration(row.durationMs),
    ]),
  ])
}

interface DemoBranch {
  readonly directory: string
  readonly secretFile: string
  readonly beaconPort: number
}

class DemoAgent {
  readonly name: string
  key = ''
  #dhtPort = 0
  readonly #child: ChildProcess
  readonly #signal: AbortSignal

  private constructor(name: string, child: ChildProcess, signal: AbortSignal) {
    this.name = name
    this.#child = child
    this.#signal = signal
  }

  static async start(
    name: string,
    options: { branch: DemoBranch; agents: readonly DemoAgent[]; signal: AbortSignal },
  ): Promise<DemoAgent> {
    const { branch, agents, signal } = options
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js' // from source in development
    const child = fork(new URL(`./demo-agent.${extension}`, import.meta.url), [], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    const agent = new DemoAgent(name, child, signal)
    const config = await configOf(name, { branch, neighbours: agents.map((each) => `127.0.0.1:${each.#dhtPort}`) })
    const started = await agent.#ask({ do: 'start', config }, (message) => (message.is === 'started' ? message : null))
    agent.key = started.key
    agent.#dhtPort = started.dhtPort
    return agent
  }

  async hasNeighbours(count: number): Promise<void> {
    await this.#ask(null, (message) => (message.is === 'neighbours' && message.count >= count ? true : null))
  }

  async fetch(origin: { url: string; sha256: string }, directory: string): Promise<{ row: Row; liars: string[] }> {
    const target = join(directory, `${this.name}.bin`)
    const { result, notes } = await this.#ask({ do: 'fetch', url: origin.url, target }, (message) =>
      message.is === 'fetched' ? message : null,
    )
    // Not the agent's word: the file itself is hashed here.
    const isRight = (await sha256Of(target)) === origin.sha256
    const { sources, wastedBytes, durationMs } = result
    return {
      row: { name: this.name, ...sources, wasted: wastedBytes, isRight, durationMs },
      liars: notes.flatMap((note) => (note.note === 'peer-corrupt' && note.peer ? [note.peer] : [])),
    }
  }

  lie(): void {
    this.#child.send({ do: 'lie' } satisfies DemoCommand)
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const left = new Promise((resolve) => this.#child.once('exit', resolve))
    if (this.#child.connected) this.#child.send({ do: 'stop' } satisfies DemoCommand)
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 5000)
    await left
    clearTimeout(timer)
  }

  /** Sends a command and waits for the first report that `pick` accepts. */
  #ask<T>(command: DemoCommand | null, pick: (message: DemoReport) => T | null): Promise<T> {
    const child = this.#child
    return new Promise<T>((resolve, reject) => {
      const end = (settle: () => void) => {
        clearTimeout(timer)
        child.off('message', onMessage)
        child.off('exit', onExit)
        this.#signal.removeEventListener('abort', onAbort)
        settle()
      }
      const onMessage = (message: DemoReport) => {
        if (message.is === 'failed') {
          end(() =>
            reject(
              new ShorthaulError('SHORTHAUL_CONTROL_IO', `${this.name} failed: ${message.message} (${message.code})`),
            ),
          )
        }
        const picked = pick(message)
        if (picked !== null) end(() => resolve(picked))
      }
      const onExit = () => end(() => reject(new ShorthaulError('SHORTHAUL_CONTROL_IO', `${this.name} ended too early`)))
      const onAbort = () => end(() => reject(this.#signal.reason))
      const timer = setTimeout(
        () => end(() => reject(new ShorthaulError('SHORTHAUL_CONTROL_IO', `${this.name} did not answer in time`))),
        STEP_TIMEOUT_MS,
      )
      child.on('message', onMessage)
      child.once('exit', onExit)
      this.#signal.addEventListener('abort', onAbort, { once: true })
      if (command) child.send(command)
    })
  }
}

async function configOf(name: string, options: { branch: DemoBranch; neighbours: readonly string[] }): Promise<Config> {
  const { branch, neighbours } = options
  const { config } = await loadConfig({
    file: null,
    env: {},
    overrides: {
      dataDir: join(branch.directory, name),
      'branch.secretFile': branch.secretFile,
      'network.interface': '127.0.0.1',
      'network.dhtPort': 0,
      'network.lanePort': 0,
      'network.beaconPort': branch.beaconPort,
      'network.peers': neighbours,
      'cache.minFreeBytes': 0,
    },
    ...currentUser(),
  })
  return config
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

function freeUdpPort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4')
    socket.once('error', reject)
    socket.bind(0, '127.0.0.1', () => {
      const { port } = socket.address()
      socket.close(() => resolve(port))
    })
  })
}
