/**
 * Makes jobs move: gives turns, takes them, tries again what failed, ends what took too long, and sees to it that whole
 * files get their names (completion.ts). The only place where transfers of jobs run.
 *
 * Works in passes, one at a time; whatever happens asks for another pass, and a pass says when to look again by itself.
 * All waiting is by the monotonic clock: a wall clock that is set moves nothing but deadlines.
 */
import type { Logger } from 'pino'
import type { Clock, Random } from '../clock.ts'
import { isShorthaulError } from '../errors.ts'
import type { MeteredPolicy } from '../throttle/cost.ts'
import type { Priority } from '../throttle/priority.ts'
import type { Hold } from '../throttle/wan-governor.ts'
import { Completion } from './completion.ts'
import type { Job, JobFile, JobId, JobTotals } from './job.ts'
import type { Edit, JobBook } from './job-book.ts'
import { type FetchForJob, type JobOutcome, JobRun } from './job-run.ts'
import type { JobTargets } from './job-targets.ts'
import type { JobReason } from './jobs-api.ts'
import { type Clocks, isLimited, nearestLimit } from './limits.ts'
import { isTransient, longestDelayMs, retryDelayMs } from './retry.ts'
import { schedule } from './scheduler.ts'
import { isFinal, isRunning } from './states.ts'
import { FORGIVEN, jobErrorOf, limitError, step } from './steps.ts'
import { Turn } from './turn.ts'
import type { JobSecrets, Vault } from './vault.ts'
import { why } from './why.ts'

export interface JobEngineComponents {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly book: JobBook
  readonly vault: Vault
  readonly fetch: FetchForJob
  readonly targets: JobTargets
  readonly surroundings: Surroundings
}

/** What the engine asks about the machine. */
export interface Surroundings {
  /** Why nothing of this priority may be had from origins now; null: it may. */
  hold(priority: Priority): Hold | null
  /** Work of this priority gives way to others on the line. */
  isYielding(priority: Priority): boolean
  /** Why the line is dearer than this policy allows; null: it is not. */
  cost(policy: MeteredPolicy): Hold | null
  /** Changes with the addresses of this machine; empty: it has none. */
  networkMark(): string
  /** What was known of the line may not hold any more. */
  networkChanged(): void
  /** The user whose agent this is. */
  isOwn(job: Pick<Job, 'owner'>): boolean
}

export interface JobEngineOptions {
  readonly maxRunning: number
  readonly sliceMs: number
  readonly parallelFiles: number
  readonly maxRetryDelayMs: number
  readonly inactivityTimeoutMs: number
  /** How long the record of a job that ended is kept. */
  readonly keepEndedMs: number
}

/** While something runs, limits and progress are looked at this often. */
const RUNNING_LOOK_MS = 1000
/** Progress on disk is for people after a crash: the parts themselves say what is here. */
const NOTE_MS = 5000
const NETWORK_LOOK_MS = 2000
const REST_MS = 5000
const HOUR_MS = 3_600_000

export class JobEngine {
  readonly #c: JobEngineComponents
  readonly #o: JobEngineOptions
  readonly #log: Logger
  readonly #turns = new Map<JobId, { readonly turn: Turn; readonly ended: Promise<void> }>()
  /** Jobs that wait to be tried again; monotonic. */
  readonly #retries = new Map<JobId, { readonly sinceMs: number; readonly dueMs: number }>()
  readonly #completion: Completion
  readonly #paused = new Map<JobId, number>()
  readonly #stop = new AbortController()
  readonly #tasks = new Set<Promise<void>>()
  #loop: Promise<void> = Promise.resolve()
  #isAwake = true
  #wake: (() => void) | null = null
  #networkMark: string
  #hourlyAtMs: number
  #passedAtMs: number
  /** Until then nothing new begins: the last turn failed in a way that no turn should. */
  #restUntilMs = 0

  constructor(components: JobEngineComponents, options: JobEngineOptions) {
    this.#c = components
    this.#o = options
    this.#log = components.log
    this.#completion = new Completion({ ...components, stopTurn: (id) => this.stopTurn(id) })
    this.#networkMark = components.surroundings.networkMark()
    this.#hourlyAtMs = components.clock.monotonicMs()
    this.#passedAtMs = this.#hourlyAtMs
  }

  /** Takes up what an earlier agent left, and begins. */
  start(): void {
    const { book, clock } = this.#c
    for (const job of book.all()) {
      if (job.state === 'transient-error') {
        // The wall clock may have been set meanwhile: never longer than any pause of ours.
        const longestMs = longestRetryDelayMs(job, this.#o.maxRetryDelayMs)
        const leftMs = Math.min(Math.max(0, (job.retryAtMs ?? 0) - clock.nowMs()), longestMs)
        this.#retryIn(job.id, leftMs)
      }
      if (isFinal(job.state) && !job.isCleaned) this.clean(job.id)
      this.completeIfOwed(job.id)
    }
    this.#loop = this.#run()
  }

  /** Something changed that may change who runs. */
  look(): void {
    this.#isAwake = true
    this.#wake?.()
  }

  /** Ends the turn of a job, if it has one; resolves when nothing of it runs any more. */
  async stopTurn(id: JobId): Promise<void> {
    const running = this.#turns.get(id)
    running?.turn.run.stop()
    await running?.ended
  }

  /** Does something to a job while it has no turn, and lets it go on. */
  async pause(id: JobId, work: () => Promise<void>): Promise<void> {
    this.#paused.set(id, (this.#paused.get(id) ?? 0) + 1)
    try {
      await this.stopTurn(id)
      await work()
    } finally {
      const count = (this.#paused.get(id) ?? 1) - 1
      if (count > 0) this.#paused.set(id, count)
      else this.#paused.delete(id)
      this.look()
    }
  }

  hasTurn(id: JobId): boolean {
    return this.#turns.has(id)
  }

  /** Totals with what is under way at this moment. */
  totals({ id, totals }: Job): JobTotals {
    return this.#turns.get(id)?.turn.totals(totals) ?? totals
  }

  /** The file as it is at this moment. */
  liveFile(id: JobId, file: JobFile): JobFile {
    return this.#turns.get(id)?.turn.live(file) ?? file
  }

  bytesPerSec(id: JobId): number {
    return Math.round(this.#turns.get(id)?.turn.run.bytesPerSec ?? 0)
  }

  /** When it is tried again, by the wall clock as it is set now: the pause itself does not go by it. */
  retryAtMs({ id, retryAtMs }: Job): number | null {
    const retry = this.#retries.get(id)
    if (retryAtMs === null || !retry) return retryAtMs
    const { clock } = this.#c
    return Math.round(clock.nowMs() + Math.max(0, retry.dueMs - clock.monotonicMs()))
  }

  why(job: Job): JobReason {
    const { surroundings } = this.#c
    const run = this.#turns.get(job.id)?.turn.run
    const seen = { ...job, retryAtMs: this.retryAtMs(job) }
    return why(seen, {
      hold: surroundings.hold(job.priority),
      costText: this.#costOf(job)?.text ?? null,
      moreUrgent: this.#moreUrgent(job),
      runningCount: this.#turns.size,
      isNetworkDown: this.#networkMark === '',
      isYielding: surroundings.isYielding(job.priority),
      run: run ? { bytesPerSec: run.bytesPerSec, stalledMs: run.stalledMs, trouble: run.trouble } : null,
    })
  }

  /** @see Completion.complete */
  async complete(id: JobId): Promise<void> {
    try {
      await this.#completion.complete(id)
    } finally {
      this.look()
    }
  }

  /** Completes a job that wants to be completed by itself and is whole. */
  completeIfOwed(id: JobId): void {
    if (this.#completion.plan(id)) this.look()
  }

  /** Removes what stands beside the targets of a job that ended. */
  clean(id: JobId): void {
    this.#spawn(() => this.#completion.clean(id))
  }

  /** Ends all turns; jobs go on when the agent is opened again. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort()
    this.look()
    await this.#loop
    for (const { turn } of this.#turns.values()) turn.run.stop()
    await Promise.allSettled([...this.#turns.values()].map(({ ended }) => ended))
    await this.#completion.settled()
    while (this.#tasks.size > 0) await Promise.allSettled(this.#tasks)
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.#isAwake = false
      let nextMs = RUNNING_LOOK_MS
      try {
        nextMs = await this.#pass()
      } catch (err) {
        // The database or the disk: the jobs are as they were. Trying again at once would only fill the log.
        nextMs = REST_MS
        this.#log.error({ err }, 'the jobs could not be looked at')
      }
      await this.#sleep(nextMs)
    }
  }

  async #sleep(ms: number): Promise<void> {
    if (this.#isAwake || this.#stop.signal.aborted) return
    const awake = new AbortController()
    this.#wake = () => awake.abort()
    await this.#c.clock.sleep(ms, { signal: awake.signal }).catch(() => {})
    this.#wake = null
  }

  /** @returns when to look again at the latest */
  async #pass(): Promise<number> {
    const { clock } = this.#c
    const nowMs = clock.monotonicMs()
    const looks = [HOUR_MS - (nowMs - this.#hourlyAtMs)]
    if (nowMs - this.#hourlyAtMs >= HOUR_MS) {
      await this.#hourly(nowMs - this.#hourlyAtMs)
      this.#hourlyAtMs = nowMs
    }
    this.#excuse(nowMs - this.#passedAtMs)
    this.#passedAtMs = nowMs
    await this.#lookAtNetwork()
    looks.push(await this.#retryWhatIsDue(), this.#completeWhatIsDue())
    looks.push(await this.#enforceLimits())
    await this.#takeUpWhatFell()
    looks.push(this.#giveTurns(nowMs))
    // Nobody tells when the network is back.
    if (this.#retries.size > 0) looks.push(NETWORK_LOOK_MS)
    if (this.#turns.size > 0) {
      looks.push(RUNNING_LOOK_MS)
      await this.#noteProgress()
    }
    return Math.max(1, Math.min(...looks))
  }

  #completeWhatIsDue(): number {
    const { ids, nextMs } = this.#completion.due()
    for (const id of ids) this.#spawn(() => this.#completion.completeByItself(id))
    return nextMs
  }

  /** A turn whose end could not be recorded left its job as if it ran. */
  async #takeUpWhatFell(): Promise<void> {
    const { book, clock } = this.#c
    for (const { id, state } of [...book.jobs()]) {
      if (!isRunning(state) || this.#turns.has(id)) continue
      await book.change(id, (now) => (this.#turns.has(id) ? null : step(now, 'restart', { nowMs: clock.nowMs() })))
    }
  }

  #giveTurns(nowMs: number): number {
    const { book } = this.#c
    if (nowMs < this.#restUntilMs) return this.#restUntilMs - nowMs
    const waiting = [...book.jobs()].filter((job) => this.#mayStart(job))
    const running = [...this.#turns].flatMap(([id, { turn }]) => {
      const job = book.get(id)
      return job ? [{ id, priority: job.priority, ranForMs: turn.run.ranForMs }] : []
    })
    const { start, preempt, nextLookMs } = schedule({ waiting, running }, this.#o)
    for (const id of preempt) this.#turns.get(id)?.turn.run.stop()
    for (const [id, { turn }] of this.#turns) {
      const job = book.get(id)
      if (job && this.#costOf(job) !== null) turn.run.stop()
    }
    for (const id of start) {
      const job = book.get(id)
      if (job) this.#giveTurn(job)
    }
    // Cost may change without anybody telling.
    const isCostAwaited = [...book.jobs()].some((job) => job.costPolicy !== null && !isFinal(job.state))
    return Math.min(nextLookMs ?? Number.POSITIVE_INFINITY, isCostAwaited ? NETWORK_LOOK_MS : Number.POSITIVE_INFINITY)
  }

  #mayStart(job: Job): boolean {
    const isFree = !this.#turns.has(job.id) && !this.#paused.has(job.id)
    return job.state === 'queued' && !job.isCompleting && isFree && this.#costOf(job) === null
  }

  #giveTurn(job: Job): void {
    const { clock, fetch, targets, vault, surroundings } = this.#c
    let secrets: JobSecrets
    try {
      secrets = vault.open(job.sealed, job.id)
    } catch (error) {
      this.#spawn(() => this.#refuse(job.id, error))
      return
    }
    const { id } = job
    const run: JobRun = new JobRun(
      { clock, fetch, targets },
      { job, secrets, isOwner: surroundings.isOwn(job), parallelFiles: this.#o.parallelFiles },
      {
        onConnected: () => this.#change(id, (now) => step(now, 'connected', { nowMs: clock.nowMs() })),
        onBegin: (file, found) => this.#change(id, (now) => turn.begun(now, file.index, found)),
        onTransferred: (file, result) => this.#change(id, (now) => turn.transferred(now, file.index, result)),
      },
    )
    const turn: Turn = new Turn(clock, run)
    const ended = this.#carryOut(id, turn)
      .catch((err: unknown) => {
        // The database or its disk: trying again at once would only fill the log.
        this.#restUntilMs = clock.monotonicMs() + REST_MS
        this.#log.error({ err, job: id }, 'a turn of a job failed')
      })
      .finally(() => this.look())
    this.#turns.set(id, { turn, ended })
  }

  async #carryOut(id: JobId, turn: Turn): Promise<void> {
    const { book, clock } = this.#c
    let outcome: JobOutcome = { kind: 'stopped' }
    try {
      const started = await book.change(id, (job) => step(job, 'start', { nowMs: clock.nowMs() }))
      if (started?.state !== 'connecting') return
      outcome = await turn.run.execute(turn.load(await book.files(id)))
    } finally {
      await this.#endTurn(id, outcome)
    }
  }

  async #endTurn(id: JobId, outcome: JobOutcome): Promise<void> {
    const { book, clock, random } = this.#c
    const turn = this.#turns.get(id)?.turn
    if (!turn) return
    const nowMs = clock.nowMs()
    const seq = book.nextQueuedSeq()
    let delayMs = 0
    try {
      const job = await book.change(id, (before) => {
        const noted = turn.noted(before, { isEnd: true })
        if (!isRunning(noted.job.state)) return noted
        const { job, files } = noted
        const edit = (found: Edit | null): Edit => ({ ...(found ?? { job }), ...(files ? { files } : {}) })
        if (outcome.kind === 'stopped') return edit(step(job, 'preempt', { nowMs, changes: { queuedSeq: seq } }))
        if (outcome.kind === 'done') return edit(afterDone(job, { nowMs, seq }))
        const { error, fileIndex } = outcome
        const isPassing = isTransient(error)
        const attempt = turn.run.hasMoved ? 1 : job.attempt + 1
        const failure = jobErrorOf(error, { fileIndex, isTransient: isPassing, nowMs })
        const changes = { error: failure, errorCount: job.errorCount + 1, attempt }
        if (!isPassing || job.noProgressTimeoutMs === 0) return edit(step(job, 'give-up', { nowMs, changes }))
        const { maxRetryDelayMs } = this.#o
        delayMs = retryDelayMs({ error, attempt, minDelayMs: job.minRetryDelayMs, maxDelayMs: maxRetryDelayMs, random })
        return edit(step(job, 'fail', { nowMs, changes: { ...changes, retryAtMs: nowMs + delayMs } }))
      })
      if (job?.state === 'transient-error') this.#retryIn(id, delayMs)
      this.completeIfOwed(id)
      if (job && outcome.kind === 'failed') {
        this.#log.info({ job: id, err: outcome.error, state: job.state }, 'job failed')
      }
    } finally {
      this.#turns.delete(id)
    }
  }

  async #noteProgress(): Promise<void> {
    for (const [id, { turn }] of this.#turns) {
      if (turn.unnotedMs >= NOTE_MS) await this.#c.book.note(id, (job) => turn.noted(job, { isEnd: false }))
    }
  }

  #retryIn(id: JobId, delayMs: number): void {
    const sinceMs = this.#c.clock.monotonicMs()
    this.#retries.set(id, { sinceMs, dueMs: sinceMs + delayMs })
  }

  async #retryWhatIsDue(): Promise<number> {
    const { book, clock } = this.#c
    const nowMs = clock.monotonicMs()
    let nextMs = Number.POSITIVE_INFINITY
    for (const [id, { dueMs }] of this.#retries) {
      if (book.get(id)?.state !== 'transient-error') this.#retries.delete(id)
      else if (dueMs > nowMs) nextMs = Math.min(nextMs, dueMs - nowMs)
      else await this.#retry(id)
    }
    return nextMs
  }

  async #retry(id: JobId): Promise<void> {
    const { book, clock } = this.#c
    const waitedMs = clock.monotonicMs() - (this.#retries.get(id)?.sinceMs ?? clock.monotonicMs())
    this.#retries.delete(id)
    const queuedSeq = book.nextQueuedSeq()
    await book.change(id, (job) =>
      step(job, 'retry', { nowMs: clock.nowMs(), changes: { queuedSeq, stalledMs: job.stalledMs + waitedMs } }),
    )
  }

  /** Addresses came or went: whoever waits to try again tries now. */
  async #lookAtNetwork(): Promise<void> {
    const { surroundings } = this.#c
    const mark = surroundings.networkMark()
    if (mark === this.#networkMark) return
    const isBack = mark !== ''
    this.#networkMark = mark
    surroundings.networkChanged()
    if (!isBack) return
    for (const id of [...this.#retries.keys()]) {
      // An origin that asked to be left alone did not mean our network.
      if (!this.#c.book.get(id)?.error?.hasRetryAfter) await this.#retry(id)
    }
  }

  /** @returns until the next limit is reached, if nothing comes before */
  async #enforceLimits(): Promise<number> {
    const { book, clock } = this.#c
    const nowMs = clock.nowMs()
    let nextMs = Number.POSITIVE_INFINITY
    for (const job of [...book.jobs()]) {
      if (!isLimited(job)) continue
      const { leftMs, message } = nearestLimit(job, this.#clocksOf(job, nowMs))
      if (leftMs > 0) {
        nextMs = Math.min(nextMs, leftMs)
        continue
      }
      const error = limitError('SHORTHAUL_JOB_TIMEOUT', message, nowMs)
      // First the record: what ends then finds that it may not go on.
      await book.change(job.id, (now) =>
        step(now, 'give-up', { nowMs, changes: { error, errorCount: now.errorCount + 1 } }),
      )
      this.#turns.get(job.id)?.turn.run.stop()
    }
    return nextMs
  }

  #clocksOf(job: Job, nowMs: number): Clocks {
    const retry = this.#retries.get(job.id)
    return {
      nowMs,
      turn: this.#turns.get(job.id)?.turn.clocks ?? null,
      waitedMs: retry ? this.#c.clock.monotonicMs() - retry.sinceMs : null,
      isExcused: this.#isExcused(job),
    }
  }

  /** What is held back by the agent's own rules, or has no network, is not without progress: nobody could try. */
  #isExcused(job: Job): boolean {
    return this.#networkMark === '' || this.#c.surroundings.hold(job.priority) !== null
  }

  /** Time since the last pass in which nobody could try does not count as without progress. */
  #excuse(elapsedMs: number): void {
    const { book } = this.#c
    for (const [id, { turn }] of this.#turns) {
      const job = book.get(id)
      if (job && this.#isExcused(job)) turn.excuse(elapsedMs)
    }
    for (const [id, { sinceMs, dueMs }] of this.#retries) {
      const job = book.get(id)
      if (job && this.#isExcused(job)) this.#retries.set(id, { sinceMs: sinceMs + elapsedMs, dueMs })
    }
  }

  /** Counts idle time while an agent runs, so that a clock that is set cancels nobody's jobs; forgets old ones. */
  async #hourly(elapsedMs: number): Promise<void> {
    const { book, clock } = this.#c
    const { inactivityTimeoutMs, keepEndedMs } = this.#o
    for (const job of book.all()) {
      if (isFinal(job.state)) {
        // Its disk may have failed when it ended.
        if (!job.isCleaned) this.clean(job.id)
        const isOld = clock.nowMs() - (job.endedAtMs ?? 0) > keepEndedMs
        if (isOld && job.isCleaned) await book.forget(job.id)
        continue
      }
      if (isRunning(job.state)) continue
      const idleMs = job.idleMs + elapsedMs
      if (idleMs <= inactivityTimeoutMs) {
        await book.note(job.id, (now) => ({ job: { ...now, idleMs } }))
        continue
      }
      const ended = await book.change(job.id, (now) => step(now, 'expire', { nowMs: clock.nowMs() }))
      if (ended?.state === 'cancelled') this.clean(job.id)
    }
    await book.forgetMade(({ job, atMs }) => book.get(job) === null && clock.nowMs() - atMs > keepEndedMs)
  }

  #costOf(job: Job): Hold | null {
    return job.costPolicy === null ? null : this.#c.surroundings.cost(job.costPolicy)
  }

  #moreUrgent(job: Job): Job | null {
    if (job.priority === 'foreground') return null
    const order: readonly Priority[] = ['high', 'normal', 'low']
    const above = order.slice(0, order.indexOf(job.priority))
    for (const other of this.#c.book.jobs()) {
      const wants = other.state === 'queued' || isRunning(other.state)
      if (wants && above.includes(other.priority) && this.#costOf(other) === null) return other
    }
    return null
  }

  async #refuse(id: JobId, error: unknown): Promise<void> {
    const { book, clock } = this.#c
    if (!isShorthaulError(error)) throw error
    const nowMs = clock.nowMs()
    const failure = jobErrorOf(error, { fileIndex: null, isTransient: false, nowMs })
    await book.change(id, (job) =>
      step(job, 'give-up', { nowMs, changes: { error: failure, errorCount: job.errorCount + 1 } }),
    )
  }

  async #change(id: JobId, edit: (job: Job) => Edit | null): Promise<void> {
    await this.#c.book.change(id, edit)
  }

  #spawn(work: () => Promise<void>): void {
    const task = work()
      .catch((err: unknown) => this.#log.error({ err }, 'work for a job failed'))
      .finally(() => {
        this.#tasks.delete(task)
        this.look()
      })
    this.#tasks.add(task)
  }
}

/** No pause of this job can be longer. */
function longestRetryDelayMs({ error, minRetryDelayMs }: Job, maxRetryDelayMs: number): number {
  return longestDelayMs({
    hasRetryAfter: error?.hasRetryAfter ?? false,
    minDelayMs: minRetryDelayMs,
    maxDelayMs: maxRetryDelayMs,
  })
}

/** All that the turn knew of is here; files may have been added meanwhile. */
function afterDone(job: Job, { nowMs, seq }: { nowMs: number; seq: number }): Edit | null {
  const isWhole = job.totals.doneCount === job.totals.fileCount
  if (!isWhole) return step(job, 'preempt', { nowMs, changes: { queuedSeq: seq } })
  return step(job, 'done', { nowMs, changes: { ...FORGIVEN } })
}
