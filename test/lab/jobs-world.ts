/** Jobs of many kinds at an origin that counts, the agent that has them, and what must be true of them at the end. */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Random } from '../../src/clock.ts'
import type { JobEventRecord } from '../../src/jobs/job-events.ts'
import type { JobOrder } from '../../src/jobs/jobs-api.ts'
import type { JobState } from '../../src/jobs/states.ts'
import { startTestOrigin, type TestOrigin } from '../support/test-origin.ts'
import { LabProcess } from './lab-process.ts'
import { until } from './until.ts'

const JOB_COUNT = 20
const KIB = 1024
const MIB = 1024 * KIB
const SIZES = [0, 1, 100 * KIB, 256 * KIB, MIB + 17, 3 * MIB, 6 * MIB]
/** Of these the receiver is told. */
const NOTIFIED = ['transferred', 'error', 'acknowledged', 'cancelled'] as const
const PRIORITIES = ['foreground', 'high', 'normal', 'normal', 'low'] as const

interface WorldFile {
  readonly path: string
  readonly target: string
  readonly sha256: string
  readonly lengthBytes: number
  /** Of its job, from 0. */
  readonly index: number
}

interface WorldJob {
  readonly order: JobOrder
  readonly files: readonly WorldFile[]
  readonly ends: JobState
}

export class JobsWorld {
  readonly origin: TestOrigin
  readonly jobs: readonly WorldJob[]
  readonly dir: string
  /** Where all is that the agent writes. */
  readonly disk: string
  /** By id: what the agent has told. */
  readonly events = new Map<number, JobEventRecord>()
  /** Of each job, what was told last. */
  readonly states = new Map<string, JobState>()
  /** Content that the origin had sent of a file when that was told to be here. */
  readonly sentWhenHere = new Map<string, number>()
  readonly problems: string[] = []
  /** Events that the receiver of notifications was told, by `<job>-<event>`. */
  readonly notified = new Set<string>()
  readonly #program: string
  readonly #receiver: Server
  readonly #refused = new Set<string>()
  #requestCount = 0
  #running: LabProcess | null = null
  /** Of the process that runs: what it has told, which must be all that others told before. */
  readonly #replayed = new Set<number>()
  readonly #ids = new Map<string, string>()

  private constructor(
    origin: TestOrigin,
    about: { jobs: readonly WorldJob[]; dir: string; program: string; receiver: Server },
  ) {
    this.origin = origin
    this.jobs = about.jobs
    this.dir = about.dir
    this.disk = join(about.dir, 'disk')
    this.#program = about.program
    this.#receiver = about.receiver
    about.receiver.on('request', (request, response) => void this.#receive(request, response))
  }

  /**
   * @param dir with `source` in it; below the checkout, where packages are found
   * @param options.sizeFactor how much larger files are than usual
   */
  static async open(dir: string, random: Random, options: { readonly sizeFactor?: number } = {}): Promise<JobsWorld> {
    const { sizeFactor = 1 } = options
    const origin = await startTestOrigin()
    const receiver = createServer()
    await once(receiver.listen(0, '127.0.0.1'), 'listening')
    const webhookUrl = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/`
    const jobs = Array.from({ length: JOB_COUNT }, (_, number) =>
      jobOf(number, { origin, random, dir, webhookUrl, sizeFactor }),
    )
    const program = join(dir, 'dist', 'jobs-child.mjs')
    // Where the agent looks for its version.
    writeFileSync(join(dir, 'package.json'), JSON.stringify({ version: '0.0.0' }))
    // In one file it starts in a third of the time.
    await build({
      entryPoints: [fileURLToPath(new URL('./jobs-child.ts', import.meta.url))],
      outfile: program,
      bundle: true,
      platform: 'node',
      format: 'esm',
      packages: 'external',
      logLevel: 'error',
    })
    mkdirSync(join(dir, 'disk', 'out'), { recursive: true })
    writeFileSync(join(dir, 'orders.json'), JSON.stringify(jobs.map(({ order }) => order)))
    return new JobsWorld(origin, { jobs, dir, program, receiver })
  }

  /** Also of a test that failed: its agent would keep it from ending. */
  async close(): Promise<void> {
    if (this.#running && !this.#running.ended) await this.#running.kill('SIGKILL')
    this.#receiver.closeAllConnections()
    this.#receiver.close()
    await this.origin.close()
  }

  /** Resolves when the receiver has been told all that it is to be told. @throws Error when it has not in 1 min */
  async toldAll(): Promise<void> {
    const isToBeTold = ({ kind, state }: JobEventRecord) => kind === 'state' && NOTIFIED.some((one) => one === state)
    const missing = () =>
      [...this.events.values()].filter((event) => isToBeTold(event) && !this.notified.has(`${event.job}-${event.id}`))
    await until(() => missing().length === 0 || undefined, { timeoutMs: 60_000, what: 'notifications' }).catch(
      (cause: unknown) => {
        throw new Error(`Notifications are lost: ${missing().map(({ id, state }) => `${id} ${state}`)}`, { cause })
      },
    )
  }

  start(env: Readonly<Record<string, string>> = {}): LabProcess {
    this.#replayed.clear()
    const child = spawn(process.execPath, [this.#program, join(this.disk, 'data'), join(this.dir, 'orders.json')], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const running = new LabProcess(child)
    this.#running = running
    running.onLine((line) => this.#hear(line))
    return running
  }

  get hasEnded(): boolean {
    return this.jobs.every(({ order, ends }) => this.states.get(order.name ?? '') === ends)
  }

  /** Origins that were busy answer from now on. */
  makeFree(): void {
    for (const { files } of this.jobs) for (const { path } of files) this.origin.behave(path, { status: undefined })
  }

  /** Resolves when every job has ended. @throws Error when the agent ends before, or with what is missing after 2 min */
  async ended(running: LabProcess): Promise<void> {
    if (this.hasEnded) return
    await running
      .waitForLine(() => this.hasEnded, { timeoutMs: 120_000 })
      .catch((cause: unknown) => {
        throw new Error(`Not all jobs have ended: ${this.summary}`, { cause })
      })
  }

  /** Resolves when a process has told again all that was told before. @throws Error when it does not in 1 min */
  async replayed(running: LabProcess): Promise<void> {
    await running.waitForLine(() => this.#replayed.size >= this.events.size, { timeoutMs: 60_000 })
  }

  /** Of all jobs, for the report of a failure. */
  get summary(): string {
    return this.jobs.map(({ order, ends }) => `${order.name}: ${this.states.get(order.name ?? '')}/${ends}`).join(', ')
  }

  /** What is not as it should be when all has ended and nothing runs. */
  faults(): string[] {
    const faults = [...this.problems]
    const lost = [...this.events.keys()].filter((id) => !this.#replayed.has(id))
    if (lost.length > 0) faults.push(`events ${lost.join(', ')} were lost`)
    const expected = new Set<string>()
    for (const { order, files, ends } of this.jobs) {
      const state = this.states.get(order.name ?? '')
      if (state !== ends) faults.push(`${order.name} is ${state}, expected ${ends}`)
      for (const { path, target, sha256 } of ends === 'acknowledged' ? files : []) {
        expected.add(target)
        const found = hashOf(target)
        if (found !== sha256) faults.push(`${target} of ${order.name} has ${found}, expected ${sha256}`)
        const sent = this.sentWhenHere.get(path)
        const sentNow = this.origin.contentBytesSent(path)
        if (sent !== undefined && sent !== sentNow) faults.push(`${path} was fetched again: ${sent}, then ${sentNow}`)
      }
    }
    for (const name of readdirSync(join(this.disk, 'out'))) {
      if (!expected.has(join(this.disk, 'out', name))) faults.push(`${name} is left`)
    }
    return faults
  }

  get totalBytes(): number {
    return this.jobs.flatMap(({ files }) => files).reduce((sum, { lengthBytes }) => sum + lengthBytes, 0)
  }

  #hear(line: string): void {
    if (!line.startsWith('{')) return
    const told = JSON.parse(line) as JobEventRecord | { readonly created: string; readonly id: string }
    if ('created' in told) {
      const before = this.#ids.get(told.created)
      if (before !== undefined && before !== told.id) this.problems.push(`${told.created} was made twice`)
      this.#ids.set(told.created, told.id)
      return
    }
    this.#replayed.add(told.id)
    const before = this.events.get(told.id)
    if (before !== undefined) {
      if (JSON.stringify(before) !== line)
        this.problems.push(`event ${told.id} was ${JSON.stringify(before)}, is ${line}`)
      return
    }
    this.events.set(told.id, told)
    this.states.set(told.name, told.state)
    if (told.kind === 'file-transferred') this.#here(told)
  }

  /** Every fifth is refused the first time: it is lost only if nobody tries again. Twice would be a pause of 30 s. */
  async #receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { id } = (await json(request).catch(() => ({ id: '' }))) as { id: string }
    const isRefused = ++this.#requestCount % 5 === 0 && !this.#refused.has(id)
    if (isRefused) this.#refused.add(id)
    else this.notified.add(id)
    response.writeHead(isRefused ? 503 : 204, isRefused ? { 'retry-after': '1' } : {}).end()
  }

  #here({ name, fileIndex }: JobEventRecord): void {
    const file = this.jobs.find(({ order }) => order.name === name)?.files.find(({ index }) => index === fileIndex)
    if (!file) return
    if (this.sentWhenHere.has(file.path)) this.problems.push(`${file.path} came twice`)
    this.sentWhenHere.set(file.path, this.origin.contentBytesSent(file.path))
  }
}

function jobOf(
  number: number,
  about: { origin: TestOrigin; random: Random; dir: string; webhookUrl: string; sizeFactor: number },
): WorldJob {
  const { origin, random, dir, webhookUrl, sizeFactor } = about
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T
  const isMissing = number % 10 === 3
  const isCancelled = number % 10 === 6
  const isBusy = number % 10 === 8
  const files = Array.from({ length: 1 + (number % 3) }, (_, index) => {
    // What is cancelled must be under way for a while.
    const lengthBytes = (isCancelled ? 6 * MIB : pick(SIZES)) * sizeFactor
    const path = `/${number}-${index}`
    const target = join(dir, 'disk', 'out', `${number}-${index}`)
    const isLocal = number % 10 === 9
    const url = origin.serve(path, { seed: number * 10 + index, lengthBytes }, behaviourOf(isBusy))
    const bytes = origin.content(path).read(0, lengthBytes)
    const source = join(dir, 'source', `${number}-${index}`)
    if (isLocal) writeFileSync(source, bytes)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    return { path, target, sha256, lengthBytes, index, url: isLocal ? `file://${source}` : url }
  })
  const missing = isMissing
    ? [{ url: origin.url(`/missing-${number}`), target: join(dir, 'disk', 'out', 'missing') }]
    : []
  const isManual = isMissing || number % 2 === 0
  return {
    order: {
      name: `job ${number}`,
      description: isCancelled ? 'cancel' : isManual ? 'complete' : '',
      autoComplete: !isManual,
      priority: pick(PRIORITIES),
      minRetryDelayMs: 5000,
      notify: { command: null, webhookUrl, events: NOTIFIED },
      files: [...files.map(({ url, target }) => ({ url, target })), ...missing],
    },
    files,
    ends: isCancelled ? 'cancelled' : 'acknowledged',
  }
}

function behaviourOf(isBusy: boolean) {
  return { ratePerConnectionBytesPerSec: 3 * MIB, ...(isBusy ? { status: 503 } : {}) }
}

function hashOf(path: string): string | null {
  try {
    return createHash('sha256').update(readFileSync(path)).digest('hex')
  } catch {
    return null
  }
}
