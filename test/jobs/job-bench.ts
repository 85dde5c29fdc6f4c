/** Jobs on a real database, with time, transfers and targets that a test holds in its hands. */
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { seededRandom } from '../../src/clock.ts'
import type { ResourceId } from '../../src/content/ids.ts'
import { type ErrorCode, ShorthaulError } from '../../src/errors.ts'
import type { Surroundings } from '../../src/jobs/engine.ts'
import type { JobId } from '../../src/jobs/job.ts'
import type { Caller } from '../../src/jobs/job-access.ts'
import type { FetchForJob } from '../../src/jobs/job-run.ts'
import type { JobTargets } from '../../src/jobs/job-targets.ts'
import { Jobs, type JobsOptions } from '../../src/jobs/jobs.ts'
import type { JobOrder, JobsApi, JobView } from '../../src/jobs/jobs-api.ts'
import type { JobState } from '../../src/jobs/states.ts'
import type { Delivery, TransferRequest } from '../../src/transfer/request.ts'
import { VirtualClock } from '../support/virtual-clock.ts'
import { silent } from './job-fixtures.ts'

export const ADA: Caller = { uid: 1000, name: 'ada', isAdmin: false }
export const BOB: Caller = { uid: 1001, name: 'bob', isAdmin: false }
export const ROOT: Caller = { uid: 0, name: 'root', isAdmin: true }
const SHA256 = 'ab'.repeat(32)

/** Passes as told; the wall clock may be set besides. */
export class StepClock extends VirtualClock {
  stepMs = 0

  override nowMs(): number {
    return 1_700_000_000_000 + this.atMs + this.stepMs
  }
}

/** A transfer that waits for what the test makes of it. */
export interface FakeTransfer {
  readonly request: TransferRequest
  readonly signal: AbortSignal
  begin(resource: string, lengthBytes: number): Promise<void>
  progress(bytesDone: number, bytesTotal: number): void
  done(bytes: number): void
  fail(code: ErrorCode, details?: Record<string, unknown>): void
  /** As no transfer should. */
  break(error: unknown): void
}

export class FakeTransfers {
  /** Those that have neither ended nor been stopped. */
  readonly open: FakeTransfer[] = []
  readonly urls: string[] = []
  #arrived: (() => void)[] = []

  readonly fetch: FetchForJob = (request, delivery, { signal, onEvent }) =>
    new Promise((resolve, reject) => {
      let bytesBefore = 0
      const end = () => {
        const at = this.open.indexOf(transfer)
        if (at >= 0) this.open.splice(at, 1)
      }
      const abort = () => {
        end()
        reject(new ShorthaulError('SHORTHAUL_ABORTED', 'stopped'))
      }
      const transfer: FakeTransfer = {
        request,
        signal,
        begin: (resource, lengthBytes) => delivery.begin({ resource: resource as ResourceId, lengthBytes }),
        progress: (bytesDone, bytesTotal) => {
          bytesBefore = bytesDone
          onEvent({
            event: 'progress',
            bytesDone,
            bytesTotal,
            bytesPerSec: 100,
            sources: { cache: 0, peer: 0, origin: bytesDone },
          })
        },
        done: (bytes) => {
          end()
          const sources = { cache: bytesBefore > 0 ? bytes - bytesBefore : 0, peer: 0, origin: bytesBefore || bytes }
          resolve({ bytes, sha256: SHA256, sources, wastedBytes: 0, checkedBytes: 0, durationMs: 1, trust: 'origin' })
        },
        fail: (code, details = {}) => {
          end()
          reject(new ShorthaulError(code, `it failed with ${code}`, { details }))
        },
        break: (error) => {
          end()
          reject(error)
        },
      }
      if (signal.aborted) return abort()
      signal.addEventListener('abort', abort, { once: true })
      this.open.push(transfer)
      this.urls.push(request.url)
      for (const arrived of this.#arrived.splice(0)) arrived()
    })

  /** The transfer of a URL, now or as soon as it begins. */
  async of(url: string): Promise<FakeTransfer> {
    for (;;) {
      const found = this.open.find(({ request }) => request.url === url)
      if (found) return found
      await new Promise<void>((resolve) => this.#arrived.push(resolve))
    }
  }
}

export class FakeTargets implements JobTargets {
  readonly delivered: string[] = []
  readonly discarded: string[] = []
  /** Parts that are gone. */
  readonly lost = new Set<string>()
  failure: ShorthaulError | null = null
  /** Names are given only after this. */
  gate: Promise<void> | null = null

  async open(): Promise<Delivery> {
    return {
      localPath: null,
      leftOver: async () => [],
      begin: async () => {},
      keep: async () => {},
      write: async () => {},
      windowEnd: () => Number.POSITIVE_INFINITY,
      onWindow: () => {},
      restart: async () => {},
      digest: async () => SHA256,
      complete: async () => {},
      abandon: async () => {},
    }
  }

  async deliver(_job: unknown, { target }: { readonly target: string }): Promise<boolean> {
    await this.gate
    if (this.failure) throw this.failure
    if (this.lost.has(target)) return false
    this.delivered.push(target)
    return true
  }

  async discard(_job: unknown, { target }: { readonly target: string }): Promise<void> {
    this.discarded.push(target)
  }
}

export class JobBench {
  readonly clock: StepClock
  readonly transfers = new FakeTransfers()
  readonly targets: FakeTargets
  readonly around = {
    hold: null as ReturnType<Surroundings['hold']>,
    cost: null as ReturnType<Surroundings['cost']>,
    network: 'eth0 10.0.0.1',
  }
  readonly #dir: string
  readonly #options: Partial<JobsOptions>
  #jobs: Jobs | null = null

  private constructor(dir: string, options: Partial<JobsOptions>, before?: JobBench) {
    this.#dir = dir
    this.#options = options
    this.clock = before?.clock ?? new StepClock()
    this.targets = before?.targets ?? new FakeTargets()
  }

  static async open(dir: string, options: Partial<JobsOptions> = {}): Promise<JobBench> {
    const bench = new JobBench(dir, options)
    await bench.#open()
    return bench
  }

  get jobs(): Jobs {
    if (!this.#jobs) throw new Error('closed')
    return this.#jobs
  }

  get api(): JobsApi {
    return this.jobs.as(ADA)
  }

  /** The same data directory and time, opened anew. */
  async reopen(): Promise<JobBench> {
    await this.close()
    const bench = new JobBench(this.#dir, this.#options, this)
    await bench.#open()
    return bench
  }

  /** A job with one file for each name. */
  create(name: string, changes: Partial<JobOrder> = {}, files: readonly string[] = [name]): Promise<JobView> {
    return this.api.create({
      name,
      files: files.map((file) => ({ url: urlOf(file), target: join('/srv', file) })),
      ...changes,
    })
  }

  transfer(file: string): Promise<FakeTransfer> {
    return this.transfers.of(urlOf(file))
  }

  /** Whose transfers run at this moment. */
  get running(): string[] {
    return this.transfers.open.map(({ request }) => request.url.slice('https://o.example/'.length)).sort()
  }

  async reaches(id: JobId, ...states: readonly JobState[]): Promise<JobView> {
    const api = this.jobs.as(ROOT)
    const stop = new AbortController()
    try {
      for await (const _ of api.events({ after: 0, job: id, allUsers: true, signal: stop.signal })) {
        const job = await api.get(id)
        if (states.includes(job.state)) return job
      }
    } finally {
      stop.abort()
    }
    throw new Error('the stream ended')
  }

  /** Until it is so: what the disk still does is waited for. */
  async until(isSo: () => boolean | Promise<boolean>): Promise<void> {
    while (!(await isSo())) await delay(3)
  }

  /** Until exactly these have a transfer. */
  runs(...files: readonly string[]): Promise<void> {
    return this.until(() => this.running.join() === files.join())
  }

  /** Until the engine sleeps and goes on sleeping. */
  async idle(): Promise<void> {
    for (let calm = 0; calm < 5; ) {
      await delay(4)
      const dueMs = this.clock.nextDueMs
      calm = dueMs !== null && dueMs < this.clock.atMs + 2 ** 30 ? calm + 1 : 0
    }
  }

  /** Lets time pass from sleep to sleep, with all that the engine does in it. */
  async elapse(durationMs: number): Promise<void> {
    const endMs = this.clock.atMs + durationMs
    for (;;) {
      await this.idle()
      const leftMs = endMs - this.clock.atMs
      if (leftMs <= 0) return
      await this.clock.pass(Math.min(leftMs, Math.max(1, (this.clock.nextDueMs ?? endMs) - this.clock.atMs)))
    }
  }

  async close(): Promise<void> {
    await this.#jobs?.close()
    this.#jobs = null
  }

  async #open(): Promise<void> {
    const { clock, around } = this
    this.#jobs = await Jobs.open(
      {
        clock,
        random: seededRandom(1),
        log: silent,
        fetch: this.transfers.fetch,
        targets: this.targets,
        release: async () => {},
        runAsOwner: () => Promise.reject(new Error('no program is run here')),
        surroundings: {
          hold: () => around.hold,
          isYielding: () => false,
          cost: () => around.cost,
          networkChanged: () => {},
          networkMark: () => around.network,
          isOwn: ({ owner }) => owner.uid === ADA.uid,
        },
      },
      {
        dataDir: this.#dir,
        maxRunning: 1,
        sliceMs: 60_000,
        parallelFiles: 2,
        maxRetryDelayMs: 60_000,
        inactivityTimeoutMs: 3 * 3_600_000,
        keepEndedMs: 3_600_000,
        maxPerUser: 10,
        maxFilesPerJob: 5,
        commandDirs: ['/hooks'],
        caFile: null,
        defaults: { minRetryDelayMs: 5000, noProgressTimeoutMs: 120_000, maxTransferTimeMs: 600_000 },
        ...this.#options,
      },
    )
  }
}

export function urlOf(file: string): string {
  return `https://o.example/${file}`
}
