/**
 * Jobs on one simulated machine while things go wrong: the real book, steps, scheduler, engine, completion, parts and
 * transfers over a simulated database, disk and origin. A user gives orders at random; the machine dies at random, or at
 * one chosen write of the database.
 */
import crypto from 'node:crypto'
import { syncBuiltinESMExports } from 'node:module'
import { dirname } from 'node:path'
import { seededRandom } from '../../src/clock.ts'
import { SegmentPool } from '../../src/content/segment-pool.ts'
import { isShorthaulError } from '../../src/errors.ts'
import type { Job, JobFile, JobId } from '../../src/jobs/job.ts'
import type { Caller } from '../../src/jobs/job-access.ts'
import { OwnTargets } from '../../src/jobs/job-targets.ts'
import { Jobs } from '../../src/jobs/jobs.ts'
import type { JobOrder, JobReasonCode, JobsApi } from '../../src/jobs/jobs-api.ts'
import { isFinal, isRunning, type JobState } from '../../src/jobs/states.ts'
import { PART_SUFFIX, stagedPath } from '../../src/transfer/staged-part.ts'
import { fits } from './content.ts'
import type { SimulatedFile } from './disk.ts'
import { JobRecords } from './jobs-records.ts'
import { Machine, type Run } from './machine.ts'
import { innerPath, ROOT } from './mount.ts'
import { observedLog } from './observed-log.ts'
import type { Scheduler } from './scheduler.ts'
import { OriginServer } from './simulated-origin.ts'
import { Weather } from './weather.ts'
import type { World } from './world.ts'

const URL_COUNT = 4
const MAX_JOBS = 5
/** Records hold paths. */
const MOUNT = 'jobs'
const TARGETS = '/srv'
/** The longest pause that an origin here asks for is ten minutes. */
const PATIENCE_MS = 3 * 3_600_000
const TAIL_MS = 60_000
const CALLER: Caller = { uid: 1000, name: 'ada', isAdmin: true }

const REASONS: Readonly<Record<JobState, readonly JobReasonCode[]>> = {
  queued: ['waiting-for-turn', 'more-urgent-job'],
  connecting: ['connecting', 'stalled'],
  transferring: ['transferring', 'stalled'],
  suspended: ['suspended', 'no-files'],
  error: ['failed'],
  'transient-error': ['retry-later', 'origin-asked-to-wait', 'disk-full', 'no-source'],
  transferred: ['waiting-for-complete'],
  acknowledged: ['acknowledged'],
  cancelled: ['cancelled'],
}

export interface CrashPoint {
  /** Of the writes of the database, counted from 1. */
  readonly write: number
  /** `after`: it is in the log, and nobody knows. */
  readonly moment: 'before' | 'after'
}

export function jobsWorld(scheduler: Scheduler, fail: (text: string) => void): World {
  return new JobsWorld(scheduler, fail, null)
}

/** Nothing goes wrong but that the power fails at that write. */
export function jobsWorldWithCrash(point: CrashPoint, onCrash: () => void) {
  return (scheduler: Scheduler, fail: (text: string) => void): World =>
    new JobsWorld(scheduler, fail, { ...point, onCrash })
}

class JobsWorld implements World {
  readonly limitMs: number
  readonly #scheduler: Scheduler
  readonly #weather: Weather
  readonly #server: OriginServer
  readonly #machine: Machine
  readonly #records: JobRecords
  readonly #fail: (text: string) => void
  readonly #crashPoint: (CrashPoint & { readonly onCrash: () => void }) | null
  #jobs: Jobs | null = null
  #writeCount = 0
  #orderCount = 0
  #isDone = false

  constructor(
    scheduler: Scheduler,
    fail: (text: string) => void,
    crashPoint: (CrashPoint & { readonly onCrash: () => void }) | null,
  ) {
    this.#scheduler = scheduler
    this.#fail = fail
    this.#crashPoint = crashPoint
    const calmAtMs = scheduler.between(20_000, 200_000)
    this.#weather = new Weather(scheduler, { isFair: crashPoint !== null, calmAtMs })
    this.limitMs = calmAtMs + PATIENCE_MS
    this.#server = new OriginServer(scheduler, this.#weather)
    this.#records = new JobRecords({ fail, note: (text) => scheduler.note(text) })
    numberUuids(scheduler.seed)
    for (let at = 0; at < URL_COUNT; at++) this.#serve(at)
    this.#machine = new Machine(
      {
        scheduler,
        weather: this.#weather,
        server: this.#server,
        network: null,
        log: observedLog(fail),
        pool: new SegmentPool(),
        copies: new Map(),
        onWrite: () => {},
        onName: (_, path) => this.#checkName(path),
      },
      {
        number: 0,
        isLiar: false,
        isAttestedTrusted: true,
        maxSegments: scheduler.pick([0, 100]),
        mountName: MOUNT,
      },
    )
    this.#machine.disk.put('/data', 'directory')
    this.#machine.disk.put(TARGETS, 'directory')
    this.#machine.disk.syncAll()
    this.#machine.disk.db.onWrite = (changes) => this.#records.written(changes)
    scheduler.note(`world: faults ${this.#weather.describe()}`)
    this.#start()
    if (crashPoint === null) this.#look()
    this.#planOrders()
  }

  isOver(): boolean {
    return this.#isDone
  }

  check(): void {
    const api = this.#jobs?.as(CALLER)
    if (!api || this.#scheduler.eventCount % 8 !== 0) return
    void this.#checkReasons(api)
  }

  late(): void {
    this.#fail('the world has not ended')
  }

  async end(passTime: (ms: number) => Promise<void>): Promise<void> {
    await passTime(TAIL_MS)
    for (const job of this.#records.jobs.values()) this.#checkAtEnd(job)
    for (const [path, entry] of this.#machine.disk.paths()) this.#checkLeft(path, entry)
    const { run } = this.#machine
    if (!run || !this.#jobs) return this.#fail('the jobs do not run at the end')
    await this.#checkReasons(this.#jobs.as(CALLER), true)
    let isClosed = false
    void Promise.all([this.#jobs.close(), run.exchange.close()]).then(() => {
      isClosed = true
    })
    await passTime(TAIL_MS)
    if (!isClosed) this.#fail('the jobs do not close')
    for (const what of run.leftOpen()) this.#fail(`left open: ${what}`)
    if (run.clock.sleeperCount > 0) this.#fail(`left ${run.clock.sleeperCount} timers`)
    this.#crash({ isKill: false })
  }

  #serve(at: number): void {
    const scheduler = this.#scheduler
    const about = {
      url: `https://origin.example/${at}`,
      acceptsRanges: scheduler.chance(0.8),
      saysRanges: scheduler.chance(0.5),
      isDeclared: scheduler.chance(0.3),
      hasValidator: scheduler.chance(0.9),
      forgedPositions: [],
    }
    this.#server.serve(about, scheduler.chance(0.1) ? 2 ** 20 + scheduler.whole(1, 9000) : scheduler.whole(1, 9000))
  }

  #start(): void {
    const scheduler = this.#scheduler
    scheduler.note('the agent starts')
    const run = this.#machine.start()
    run.onDbWrite = (moment) => this.#atWrite(run, moment)
    Jobs.open(
      {
        clock: run.clock,
        random: seededRandom(scheduler.seed + this.#machine.runCount),
        log: observedLog(this.#fail),
        fetch: (request, delivery, options) => {
          this.#checkFetch(request.url)
          return run.transfers.run(request, delivery, options)
        },
        targets: new OwnTargets(),
        runAsOwner: () => Promise.reject(new Error('no program is run here')),
        surroundings: {
          hold: () => null,
          isYielding: () => false,
          cost: () => null,
          networkChanged: () => {},
          networkMark: () => 'eth0 10.0.0.1',
          isOwn: () => true,
        },
      },
      {
        dataDir: `${run.mounted.path}/data`,
        maxRunning: 2,
        sliceMs: 5000,
        parallelFiles: 2,
        maxRetryDelayMs: 60_000,
        inactivityTimeoutMs: 1000 * 3_600_000,
        keepEndedMs: 1000 * 3_600_000,
        maxPerUser: 10,
        maxFilesPerJob: 8,
        commandDirs: [],
        caFile: null,
        defaults: { minRetryDelayMs: 5000, noProgressTimeoutMs: 3_600_000, maxTransferTimeMs: 24 * 3_600_000 },
      },
    ).then(
      (jobs) => {
        if (run.isAlive) this.#jobs = jobs
      },
      (error: unknown) => {
        if (!isShorthaulError(error)) this.#fail(`the jobs do not open: ${String(error)}`)
        if (!run.isAlive) return
        scheduler.note(`the jobs do not open: ${String(error)}`)
        this.#crash({ isKill: true })
      },
    )
  }

  #atWrite(run: Run, moment: 'before' | 'after'): void {
    if (moment === 'before') this.#writeCount++
    const point = this.#crashPoint
    const isHere = point !== null && point.write === this.#writeCount && point.moment === moment
    if (isHere) point.onCrash()
    if (run.isAlive && (isHere || this.#weather.strikes('crash', 0.2))) {
      this.#crash({ isKill: point === null && this.#scheduler.chance(0.3) })
    }
  }

  #crash(how: { readonly isKill: boolean }): void {
    this.#jobs = null
    this.#machine.crash(how)
    this.#records.afterCrash(this.#machine.disk.db.rows())
    for (const job of this.#records.jobs.values()) {
      for (const file of this.#records.filesOf(job.id)) this.#checkKept(job, file)
    }
    if (!this.#isDone) this.#scheduler.schedule(this.#scheduler.between(10, 5000), () => this.#start())
  }

  #look(): void {
    const scheduler = this.#scheduler
    if (this.#weather.strikes('wall-clock', 0.3)) this.#machine.stepWallClock(scheduler.whole(-9e6, 9e6))
    if (this.#machine.run && this.#weather.strikes('crash', 0.3)) this.#crash({ isKill: scheduler.chance(0.3) })
    scheduler.schedule(scheduler.between(200, 3000), () => {
      if (!this.#weather.isCalm) this.#look()
    })
  }

  #planOrders(): void {
    const scheduler = this.#scheduler
    const count = this.#crashPoint ? 8 : scheduler.whole(5, 40)
    const lastMs = this.#crashPoint ? 20_000 : this.#weather.calmAtMs
    for (let at = 0; at < count; at++) scheduler.schedule(scheduler.between(100, lastMs), () => void this.#order())
    this.#awaitEnd(Math.max(lastMs, this.#weather.calmAtMs) + 1000)
  }

  /** Over when nothing moves any more by itself, or after so long that something should not move any more. */
  #awaitEnd(delayMs: number): void {
    this.#scheduler.schedule(delayMs, () => {
      const states = [...this.#records.jobs.values()]
      const moves = states.some((job) =>
        ['queued', 'connecting', 'transferring', 'transient-error'].includes(job.state),
      )
      const isOwed = states.some(
        (job) => job.isCompleting || (job.state === 'transferred' && job.autoComplete && !job.error),
      )
      const isUncleaned = states.some((job) => isFinal(job.state) && !job.isCleaned)
      const isLate = this.#scheduler.nowMs > this.limitMs - TAIL_MS
      this.#isDone = isLate || (this.#jobs !== null && !moves && !isOwed && !isUncleaned)
      if (!this.#isDone) this.#awaitEnd(10_000)
    })
  }

  async #order(): Promise<void> {
    const api = this.#jobs?.as(CALLER)
    if (!api) return
    const scheduler = this.#scheduler
    const jobs = [...this.#records.jobs.values()]
    const job = jobs.length > 0 ? scheduler.pick(jobs) : null
    const verb = job === null || (jobs.length < MAX_JOBS && scheduler.chance(0.4)) ? 'create' : scheduler.pick(VERBS)
    scheduler.note(`order: ${verb} ${verb === 'create' ? '' : job?.name}`)
    try {
      await this.#carryOut(api, verb, job)
    } catch (error) {
      scheduler.note(`order: ${verb} refused, ${isShorthaulError(error) ? error.code : String(error)}`)
      if (!isShorthaulError(error)) this.#fail(`${verb}: ${error instanceof Error ? error.stack : String(error)}`)
    }
  }

  async #carryOut(api: JobsApi, verb: (typeof VERBS)[number] | 'create', job: Job | null): Promise<void> {
    if (verb === 'create') {
      await this.#create(api)
      return
    }
    if (job === null) return
    const { id } = job
    switch (verb) {
      case 'suspend':
        this.#mustBe(id, (await api.suspend(id)).id, ['suspended'])
        return
      case 'resume':
        await api.resume(id)
        return
      case 'cancel':
        await api.cancel(id)
        this.#mustBe(id, id, ['cancelled'])
        return
      case 'complete':
        await api.complete(id)
        this.#mustBe(id, id, ['acknowledged'])
        return
      case 'add':
        await api.addFiles(id, [this.#file()])
        return
      case 'urgent':
        await api.set(id, { priority: this.#scheduler.pick(['foreground', 'high', 'normal', 'low']) })
    }
  }

  async #create(api: JobsApi): Promise<void> {
    const scheduler = this.#scheduler
    const order: JobOrder = {
      name: `job ${++this.#orderCount}`,
      files: Array.from({ length: scheduler.whole(1, 4) }, () => this.#file()),
      autoComplete: scheduler.chance(0.6),
      priority: scheduler.pick(['foreground', 'high', 'normal', 'low']),
      idempotencyKey: `key ${this.#orderCount}`,
    }
    const { id } = await api.create(order)
    // Who was not answered asks again.
    if (scheduler.chance(0.3) && (await api.create(order)).id !== id) this.#fail('one order made two jobs')
  }

  #file() {
    const url = `https://origin.example/${this.#scheduler.whole(0, URL_COUNT)}`
    const target = `${ROOT}/${MOUNT}${TARGETS}/${this.#scheduler.whole(0, 2 ** 30)}`
    return { url, target }
  }

  /** What was answered is on disk. */
  #mustBe(id: JobId, _: JobId, states: readonly JobState[]): void {
    const job = this.#records.jobs.get(id.replaceAll('-', ''))
    if (!job || !states.includes(job.state))
      this.#fail(`${job?.name} is ${job?.state} after it was said to be ${states}`)
  }

  async #checkReasons(api: JobsApi, isSettled = false): Promise<void> {
    for (const { name, state, reason } of (await api.list({ allUsers: true, states: EVERY_STATE })).jobs) {
      const isFitting = reason.code === 'completing' ? !isFinal(state) : REASONS[state].includes(reason.code)
      if (!isFitting) this.#fail(`${name} is ${state} because of ${reason.code}`)
      if (isSettled && reason.code === 'completing') this.#fail(`${name} is being completed for ever`)
    }
  }

  /** Only what waits is fetched, for a job that has a turn. */
  #checkFetch(url: string): void {
    const isWanted = [...this.#records.jobs.values()].some(
      (job) =>
        isRunning(job.state) &&
        this.#records.filesOf(job.id).some((file) => file.url === url && file.state === 'waiting'),
    )
    if (!isWanted) this.#fail(`${url} is fetched though nobody waits for it`)
  }

  #checkName(path: string): void {
    const files = [...this.#records.files.values()].filter((file) => innerPath(file.target) === path)
    for (const file of files) this.#checkWhole(file, path)
  }

  /** What a record says is here is here after a power cut. */
  #checkKept(job: Job, file: JobFile): void {
    const target = innerPath(file.target)
    const isNamed = this.#machine.disk.find(target) !== undefined
    if (isNamed) this.#checkWhole(file, target)
    if (file.state === 'delivered' && !isNamed) this.#fail(`${job.name}: ${target} was delivered and is gone`)
    if (file.state !== 'transferred' || isNamed || isFinal(job.state)) return
    const staged = stagedPath(target, { id: job.id, index: file.index })
    if (this.#machine.disk.find(staged) === undefined) this.#fail(`${job.name}: the part of ${target} is gone`)
    else this.#checkWhole(file, staged)
  }

  #checkWhole({ url, target, foundSha256 }: JobFile, path: string): void {
    const entry = this.#machine.disk.find(path)
    if (entry === undefined || entry === 'directory') return
    const { generations } = this.#server.current(url).resource
    const whole = generations.find(({ bytes }) => bytes.byteLength === entry.size && bytes.equals(entry.bytes))
    if (!whole || !fits(whole, entry.bytes, { offset: 0, mayBeForged: false }))
      this.#fail(`${innerPath(target)} is not whole`)
    else if (foundSha256 !== null && foundSha256 !== whole.sha256) this.#fail(`${innerPath(target)} has another digest`)
  }

  #checkAtEnd(job: Job): void {
    const { name, state, autoComplete, error } = job
    this.#scheduler.note(`end: ${name} is ${state}${error ? ` (${error.code})` : ''}`)
    if (!isFinal(state) && !['suspended', 'error', 'transferred'].includes(state))
      this.#fail(`${name} is still ${state}`)
    if (state === 'error' && error === null) this.#fail(`${name} failed for no reason`)
    if (state === 'transferred' && autoComplete && error === null) this.#fail(`${name} was not completed`)
    if (isFinal(state) && !job.isCleaned) this.#fail(`${name} ended and was not cleaned`)
    for (const file of this.#records.filesOf(job.id)) this.#checkKept(job, file)
  }

  /** Beside the targets there is nothing but parts of jobs that live. */
  #checkLeft(path: string, entry: SimulatedFile | 'directory'): void {
    if (entry === 'directory' || dirname(path) !== TARGETS || !path.endsWith(PART_SUFFIX)) return
    const isOfLive = [...this.#records.jobs.values()].some((job) => !isFinal(job.state) && path.includes(job.id))
    if (!isOfLive) this.#fail(`${path} was left behind`)
  }
}

const VERBS = ['suspend', 'resume', 'resume', 'cancel', 'complete', 'complete', 'add', 'urgent'] as const
const EVERY_STATE = Object.keys(REASONS) as JobState[]

/** Ids decide an order here and there: they must be the same for the same seed. */
function numberUuids(seed: number): void {
  const random = seededRandom(seed ^ 0x1d)
  const hex = (digits: number) => Array.from({ length: digits }, () => Math.floor(random() * 16).toString(16)).join('')
  crypto.randomUUID = () => `${hex(8)}-${hex(4)}-4${hex(3)}-8${hex(3)}-${hex(12)}`
  syncBuiltinESMExports()
}
