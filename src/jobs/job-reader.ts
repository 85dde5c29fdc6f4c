/** What callers see of jobs: lists, files, events; each as it is at this moment. Changes nothing. */
import { ShorthaulError } from '../errors.ts'
import type { JobEngine } from './engine.ts'
import type { EventStream } from './event-stream.ts'
import type { Job, JobId, JobOwner } from './job.ts'
import { type Caller, isOwnedBy, isSameUser, jobOf, mustBeAdmin, unknownJob } from './job-access.ts'
import type { JobBook } from './job-book.ts'
import type {
  JobEventOptions,
  JobFilePage,
  JobListOptions,
  JobPage,
  JobProgress,
  JobStreamEvent,
  JobView,
} from './jobs-api.ts'
import { isFinal } from './states.ts'

const MAX_PAGE = 1000
const DEFAULT_PAGE = 100

export class JobReader {
  readonly #book: JobBook
  readonly #engine: JobEngine
  readonly #stream: EventStream

  constructor(components: { readonly book: JobBook; readonly engine: JobEngine; readonly stream: EventStream }) {
    this.#book = components.book
    this.#engine = components.engine
    this.#stream = components.stream
  }

  counts(): Readonly<Record<Job['state'], number>> {
    const counts = {
      queued: 0,
      connecting: 0,
      transferring: 0,
      suspended: 0,
      error: 0,
      'transient-error': 0,
      transferred: 0,
      acknowledged: 0,
      cancelled: 0,
    }
    for (const { state } of this.#book.jobs()) counts[state]++
    return counts
  }

  list({ states, allUsers = false, after, limit = DEFAULT_PAGE }: JobListOptions, caller: Caller): JobPage {
    if (allUsers) mustBeAdmin(caller)
    const size = pageSize(limit)
    const seen = this.#book
      .all()
      .filter(
        (job) => (allUsers || isOwnedBy(job, caller)) && (states ? states.includes(job.state) : !isFinal(job.state)),
      )
    // By the order of creation: a job that was forgotten meanwhile leaves the page where it was.
    const last = after === undefined ? null : this.#book.get(after)
    if (after !== undefined && last === null) throw unknownJob(after)
    const start = last === null ? 0 : seen.findIndex((job) => isAfter(job, last))
    const page = start === -1 ? [] : seen.slice(start, start + size)
    const hasMore = start !== -1 && start + size < seen.length
    return { jobs: page.map((job) => this.view(job)), next: hasMore ? (page.at(-1)?.id ?? null) : null }
  }

  async files(id: JobId, options: { after?: number; limit?: number }, caller: Caller): Promise<JobFilePage> {
    const job = jobOf(this.#book, id, caller)
    const after = options.after ?? -1
    const limit = pageSize(options.limit ?? MAX_PAGE)
    const files = await this.#book.filePage(id, {
      after,
      limit: Math.min(limit, Math.max(0, job.totals.fileCount - after - 1)),
    })
    const last = files.at(-1)?.index ?? after
    return {
      files: files.map((file) => this.#engine.liveFile(id, file)),
      next: last + 1 < job.totals.fileCount && files.length > 0 ? last : null,
    }
  }

  /** From this moment on, though it is read only later. */
  events(options: JobEventOptions, caller: Caller): AsyncGenerator<JobStreamEvent> {
    if (options.allUsers) mustBeAdmin(caller)
    const { last } = this.#book.eventIds
    return this.#eventsFrom(Math.min(options.after ?? last, last), options, caller)
  }

  async *#eventsFrom(
    from: number,
    { job, allUsers = false, hasProgress = false, signal }: JobEventOptions,
    caller: Caller,
  ): AsyncGenerator<JobStreamEvent> {
    const isWanted = (event: { readonly job: JobId; readonly owner: JobOwner }) =>
      (job === undefined || event.job === job) && (allUsers || isSameUser(event.owner, caller))
    for await (const event of this.#stream.read({
      signal,
      from,
      past: (id) => this.#book.eventsAfter(id),
      ...(hasProgress ? { progress: () => this.#progress(isWanted) } : {}),
    })) {
      if (event.kind === 'progress' || isWanted(event)) yield event
    }
  }

  #progress(isWanted: (event: { job: JobId; owner: JobOwner }) => boolean): JobProgress[] {
    const events: JobProgress[] = []
    for (const job of this.#book.jobs()) {
      if (!this.#engine.hasTurn(job.id) || !isWanted({ job: job.id, owner: job.owner })) continue
      const { bytesDone, bytesTotal, unknownLengthCount, doneCount, fileCount } = this.#engine.totals(job)
      const bytesPerSec = this.#engine.bytesPerSec(job.id)
      events.push({
        kind: 'progress',
        job: job.id,
        bytesDone,
        bytesTotal,
        unknownLengthCount,
        doneCount,
        fileCount,
        bytesPerSec,
      })
    }
    return events
  }

  view(job: Job): JobView {
    const { sealed, stalledMs, idleMs, isCompleting, isCleaned, queuedSeq, attempt, ...seen } = job
    return {
      ...seen,
      retryAtMs: this.#engine.retryAtMs(job),
      totals: this.#engine.totals(job),
      bytesPerSec: this.#engine.bytesPerSec(job.id),
      reason: this.#engine.why(job),
    }
  }
}

function isAfter(job: Job, last: Job): boolean {
  return job.createdAtMs > last.createdAtMs || (job.createdAtMs === last.createdAtMs && job.id > last.id)
}

function pageSize(limit: number): number {
  if (Number.isSafeInteger(limit) && limit >= 1 && limit <= MAX_PAGE) return limit
  throw new ShorthaulError('SHORTHAUL_USAGE', `Cannot list ${limit} at a time, expected 1 to ${MAX_PAGE}`)
}
