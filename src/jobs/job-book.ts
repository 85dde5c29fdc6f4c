/**
 * The one owner of the jobs' records: in memory (without their files) and on disk, always the same. Every change goes
 * through `change`: one at a time, decided by a function without I/O, written in one durable batch, and only then seen.
 */
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import { ShorthaulError } from '../errors.ts'
import { Serial } from '../store/serial.ts'
import type { Job, JobFile, JobId, JobOwner } from './job.ts'
import { JobDb, MAX_EVENTS, type Made } from './job-db.ts'
import { type JobEventBody, type JobEventRecord, type OutboxEntry, outboxOf } from './job-events.ts'

/** What a change makes of a job. */
export interface Edit {
  readonly job: Job
  /** New or other than before. */
  readonly files?: readonly JobFile[]
  readonly events?: readonly JobEventBody[]
  readonly made?: { readonly key: string; readonly requestSha256: string }
}

export interface JobBookListeners {
  /** After the change is on disk. Must not throw. */
  readonly onEvent: (event: JobEventRecord) => void
  readonly onOutbox: (entries: readonly OutboxEntry[]) => void
}

export class JobBook {
  readonly #db: JobDb
  readonly #clock: Clock
  readonly #jobs = new Map<JobId, Job>()
  readonly #serial = new Serial()
  readonly #listeners: JobBookListeners
  #nextEventId: number
  readonly #firstEventId: number
  #nextQueuedSeq = 1

  private constructor(
    components: { db: JobDb; clock: Clock; listeners: JobBookListeners },
    loaded: { jobs: readonly Job[]; eventRange: { readonly first: number; readonly last: number } | null },
  ) {
    this.#db = components.db
    this.#clock = components.clock
    this.#listeners = components.listeners
    this.#nextEventId = (loaded.eventRange?.last ?? 0) + 1
    this.#firstEventId = loaded.eventRange?.first ?? 1
    for (const job of loaded.jobs) {
      this.#jobs.set(job.id, job)
      this.#nextQueuedSeq = Math.max(this.#nextQueuedSeq, job.queuedSeq + 1)
    }
  }

  /** @throws SHORTHAUL_STORE_IO, SHORTHAUL_STORE_VERSION */
  static async open(
    components: { clock: Clock; log: Logger; listeners: JobBookListeners },
    dataDir: string,
  ): Promise<JobBook> {
    const { db, ...loaded } = await JobDb.open(components, dataDir)
    return new JobBook({ ...components, db }, loaded)
  }

  get(id: JobId): Job | null {
    return this.#jobs.get(id) ?? null
  }

  /** In the order of creation. */
  all(): readonly Job[] {
    return [...this.#jobs.values()].sort(
      (one, other) => one.createdAtMs - other.createdAtMs || (one.id < other.id ? -1 : 1),
    )
  }

  jobs(): IterableIterator<Job> {
    return this.#jobs.values()
  }

  files(id: JobId): Promise<JobFile[]> {
    return this.#db.files(id)
  }

  filePage(id: JobId, page: { readonly after: number; readonly limit: number }): Promise<JobFile[]> {
    return this.#db.filePage(id, page)
  }

  file(id: JobId, index: number): Promise<JobFile | null> {
    return this.#db.file(id, index)
  }

  made(owner: JobOwner, key: string): Promise<Made | null> {
    return this.#db.made(owner, key)
  }

  /** The job that an idempotency key made. @throws SHORTHAUL_CONFLICT when it made something else */
  async madeJob(owner: JobOwner, { key, requestSha256 }: NonNullable<Edit['made']>): Promise<Job | null> {
    const made = await this.#db.made(owner, key)
    if (made && made.requestSha256 !== requestSha256) {
      throw new ShorthaulError('SHORTHAUL_CONFLICT', 'Cannot create the job: its idempotency key made another one')
    }
    return made ? this.get(made.job) : null
  }

  forgetMade(isOver: (made: Made) => boolean): Promise<void> {
    return this.#db.forgetMade(isOver)
  }

  /** The oldest notifications that are not delivered yet, in order. */
  outbox(limit: number): Promise<OutboxEntry[]> {
    return this.#db.outbox(limit)
  }

  /** A place at the end of the queue. */
  nextQueuedSeq(): number {
    return this.#nextQueuedSeq++
  }

  /**
   * Records a job that is not known yet, unless its idempotency key made one already: of several that come at once one is
   * made.
   * @param mayAdd throws what `add` rejects with; asked when its turn comes, if something is to be made
   * @returns what was made, now or before
   * @throws SHORTHAUL_CONFLICT when the key made something else
   */
  async add(edit: Edit, mayAdd: () => void): Promise<Job> {
    return this.#serial.run(async () => {
      const made = edit.made ? await this.madeJob(edit.job.owner, edit.made) : null
      if (made) return made
      mayAdd()
      return this.#write(edit)
    })
  }

  /**
   * Changes a job as it is when its turn comes.
   * @param edit decides without I/O; null: leave it as it is. What it throws, `change` rejects with
   * @returns the job afterwards; null when it is not known
   */
  async change(id: JobId, edit: (job: Job) => Edit | null): Promise<Job | null> {
    return this.#serial.run(async () => {
      const job = this.#jobs.get(id)
      if (!job) return null
      const wanted = edit(job)
      return wanted === null ? job : this.#write(wanted)
    })
  }

  /** The same, for a change that depends on files and changes some of them. */
  async changeFiles(id: JobId, edit: (job: Job, files: readonly JobFile[]) => Edit | null): Promise<Job | null> {
    return this.#serial.run(async () => {
      const job = this.#jobs.get(id)
      if (!job) return null
      const wanted = edit(job, await this.#db.files(id))
      return wanted === null ? job : this.#write(wanted)
    })
  }

  /** Progress and clocks: may be lost in a power cut, and nobody is told. */
  async note(id: JobId, edit: (job: Job) => Omit<Edit, 'events' | 'made'> | null): Promise<void> {
    await this.#serial.run(async () => {
      const job = this.#jobs.get(id)
      const wanted = job ? edit(job) : null
      if (wanted === null) return
      await this.#db.write(wanted, { isDurable: false })
      this.#jobs.set(id, wanted.job)
    })
  }

  /** Removes the record. */
  async forget(id: JobId): Promise<void> {
    await this.#serial.run(async () => {
      const job = this.#jobs.get(id)
      if (!job) return
      const events = [this.#number(job, { kind: 'forgotten', previous: job.state, state: job.state })]
      await this.#db.write({ forget: { id, fileCount: job.totals.fileCount }, events })
      this.#jobs.delete(id)
      for (const event of events) this.#listeners.onEvent(event)
    })
  }

  /** A notification was delivered, or given up. */
  async settle(entries: readonly OutboxEntry[]): Promise<void> {
    await this.#db.write({ settled: entries })
  }

  /** A notification is to be tried again. */
  async postpone(entry: OutboxEntry): Promise<void> {
    await this.#db.write({ outbox: [entry] })
  }

  /** Events with a higher id that are still kept, in order. */
  eventsAfter(id: number): AsyncGenerator<readonly JobEventRecord[]> {
    return this.#db.eventsAfter(id)
  }

  /** Of the oldest that is kept and of the newest; `last` is 0 before the first event. */
  get eventIds(): { readonly first: number; readonly last: number } {
    const last = this.#nextEventId - 1
    return { first: Math.max(this.#firstEventId, last - MAX_EVENTS + 1), last }
  }

  async close(): Promise<void> {
    await this.#serial.run(async () => {})
    await this.#db.close()
  }

  async #write({ job, files, events: bodies = [], made }: Edit): Promise<Job> {
    const nowMs = this.#clock.nowMs()
    const events = bodies.map((body) => this.#number(job, body))
    const outbox = events.flatMap((event) => outboxOf(event, job))
    await this.#db.write({
      job,
      ...(files ? { files } : {}),
      events,
      outbox,
      ...(made
        ? {
            made: {
              owner: job.owner,
              key: made.key,
              value: { job: job.id, requestSha256: made.requestSha256, atMs: nowMs },
            },
          }
        : {}),
    })
    this.#jobs.set(job.id, job)
    for (const event of events) this.#listeners.onEvent(event)
    if (outbox.length > 0) this.#listeners.onOutbox(outbox)
    return job
  }

  #number(job: Job, body: JobEventBody): JobEventRecord {
    return {
      id: this.#nextEventId++,
      atMs: this.#clock.nowMs(),
      job: job.id,
      name: job.name,
      owner: job.owner,
      ...body,
    }
  }
}
