/**
 * The end of a job: whole files get their names, and what stands beside them is removed. Goes on after a crash: the promise
 * is on disk before the first name.
 */
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import { isShorthaulError, ShorthaulError } from '../errors.ts'
import { type Job, type JobFile, type JobId, withFile } from './job.ts'
import type { JobBook } from './job-book.ts'
import type { JobTargets } from './job-targets.ts'
import { isTransient } from './retry.ts'
import { isFinal } from './states.ts'
import { jobErrorOf, step } from './steps.ts'

export interface CompletionComponents {
  readonly clock: Clock
  readonly log: Logger
  readonly book: JobBook
  readonly targets: JobTargets
  /** Resolves when nothing of the job runs any more. */
  readonly stopTurn: (id: JobId) => Promise<void>
}

/** After a full disk, say. */
const AGAIN_MS = 15_000

export class Completion {
  readonly #c: CompletionComponents
  readonly #running = new Map<JobId, Promise<void>>()
  /** Jobs that are to be completed without being asked; monotonic. */
  readonly #dueMs = new Map<JobId, number>()

  constructor(components: CompletionComponents) {
    this.#c = components
  }

  /**
   * Gives the files that are here their names, and ends the job: what is not here is given up.
   * @throws SHORTHAUL_TARGET_UNWRITABLE and the like; the job is then as it was, less the files that have their names
   */
  async complete(id: JobId): Promise<void> {
    const running = this.#running.get(id)
    if (running) return running
    const completing = this.#complete(id)
      .catch((error: unknown) => {
        // Its end could not be recorded: what was promised is owed, and until then nobody may do anything else with it.
        if (this.#c.book.get(id)?.isCompleting) this.#later(id, AGAIN_MS)
        throw error
      })
      .finally(() => this.#running.delete(id))
    this.#running.set(id, completing)
    return completing
  }

  /** Remembers a job that wants to be completed by itself and is whole. @returns whether it is one */
  plan(id: JobId): boolean {
    const job = this.#c.book.get(id)
    if (!job || !isOwed(job)) return false
    this.#later(id, 0)
    return true
  }

  /** Those whose time has come, and when to look again. */
  due(): { readonly ids: readonly JobId[]; readonly nextMs: number } {
    const nowMs = this.#c.clock.monotonicMs()
    const ids: JobId[] = []
    let nextMs = Number.POSITIVE_INFINITY
    for (const [id, dueMs] of this.#dueMs) {
      if (dueMs > nowMs) nextMs = Math.min(nextMs, dueMs - nowMs)
      else ids.push(id)
    }
    for (const id of ids) this.#dueMs.delete(id)
    return { ids, nextMs }
  }

  /** Completes a job nobody asks for; what fails in a passing way is planned again. Does not reject for that. */
  async completeByItself(id: JobId): Promise<void> {
    const job = this.#c.book.get(id)
    if (!job || !isOwed(job)) return
    try {
      await this.complete(id)
    } catch (error) {
      if (!isShorthaulError(error)) throw error
      this.#c.log.warn({ err: error, job: id }, 'files of a job could not be given their names')
      // What does not pass by itself waits for somebody to mend it and to complete the job.
      if (isTransient(error)) this.#later(id, AGAIN_MS)
    }
  }

  /** Removes what stands beside the targets of a job that ended. */
  async clean(id: JobId): Promise<void> {
    const { book, targets, stopTurn } = this.#c
    const job = book.get(id)
    if (!job || !isFinal(job.state) || job.isCleaned) return
    await stopTurn(id)
    for (const file of await book.files(id)) {
      if (file.state !== 'delivered') await targets.discard(job, file)
    }
    await book.note(id, (now) => ({ job: { ...now, isCleaned: true } }))
  }

  /** Resolves when nothing is being completed. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#running.values())
  }

  #later(id: JobId, delayMs: number): void {
    this.#dueMs.set(id, this.#c.clock.monotonicMs() + delayMs)
  }

  async #complete(id: JobId): Promise<void> {
    const { book, clock, stopTurn } = this.#c
    await book.change(id, (job) => (isFinal(job.state) ? null : { job: { ...job, isCompleting: true } }))
    await stopTurn(id)
    const job = book.get(id)
    if (!job?.isCompleting) return
    const named: JobFile[] = []
    try {
      await this.#name(job, named)
    } catch (error) {
      await this.#failed(id, error, named)
      throw error
    }
    await book.change(id, (now) => {
      const edit = step(now, 'complete', { nowMs: clock.nowMs(), changes: { error: null } })
      return edit === null ? null : { ...edit, files: named }
    })
    await this.clean(id)
  }

  /** @param named is filled as far as it goes */
  async #name(job: Job, named: JobFile[]): Promise<void> {
    const { book, targets } = this.#c
    for (const file of await book.files(job.id)) {
      if (file.state !== 'transferred') continue
      if (await targets.deliver(job, file)) named.push({ ...file, state: 'delivered' })
      else await this.#lost(job.id, file)
    }
  }

  async #failed(id: JobId, error: unknown, named: readonly JobFile[]): Promise<void> {
    const { book, clock } = this.#c
    const known = isShorthaulError(error)
      ? error
      : new ShorthaulError('SHORTHAUL_TARGET_UNWRITABLE', String(error), { cause: error })
    const nowMs = clock.nowMs()
    const failure = jobErrorOf(known, { fileIndex: null, isTransient: isTransient(known), nowMs })
    await book.change(id, (now) => ({
      job: { ...now, isCompleting: false, error: failure, errorCount: now.errorCount + 1 },
      files: named,
      events: [{ kind: 'changed', previous: now.state, state: now.state }],
    }))
  }

  /** A whole part that is gone: somebody removed it. The file starts over, and the job is not complete. */
  async #lost(id: JobId, file: JobFile): Promise<never> {
    const { book, clock } = this.#c
    await book.change(id, (job) => {
      const after: JobFile = { ...file, state: 'waiting', bytesDone: 0, foundSha256: null, trust: null, resource: null }
      const edit = step(job, 'more-work', { nowMs: clock.nowMs() }) ?? { job }
      return { ...edit, job: { ...edit.job, totals: withFile(job.totals, file, after) }, files: [after] }
    })
    throw new ShorthaulError(
      'SHORTHAUL_TARGET_UNWRITABLE',
      `Cannot complete "${file.target}": what was fetched is gone; resume the job to fetch it again`,
    )
  }
}

/** Its files are to get their names without anybody's word, or somebody has said so. */
function isOwed({ state, isCompleting, autoComplete, error }: Job): boolean {
  return isCompleting || (state === 'transferred' && autoComplete && (error === null || error.isTransient))
}
