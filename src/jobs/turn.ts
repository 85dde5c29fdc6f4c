/**
 * The records of one turn of a job while it runs: what its files are on disk, what has come since, and how much of its time
 * is counted into the job. Decides nothing and writes nothing: it says what the records become.
 */
import type { Clock } from '../clock.ts'
import { type Job, type JobFile, type JobTotals, withFile } from './job.ts'
import type { Edit } from './job-book.ts'
import { type FileProgress, type FileResult, inAll, type JobRun } from './job-run.ts'

export class Turn {
  readonly run: JobRun
  readonly #clock: Clock
  /** Records as they are on disk. */
  readonly #files = new Map<number, JobFile>()
  /** Counted into the job's record up to here. */
  #countedMs: number
  /** Of what is not counted yet: nothing could have come. */
  #excusedMs = 0
  #notedAtMs: number

  constructor(clock: Clock, run: JobRun) {
    this.run = run
    this.#clock = clock
    this.#countedMs = clock.monotonicMs()
    this.#notedAtMs = this.#countedMs
  }

  /** @returns the same files */
  load(files: readonly JobFile[]): readonly JobFile[] {
    for (const file of files) this.#files.set(file.index, file)
    return files
  }

  /** Since the record was last written. */
  get unnotedMs(): number {
    return this.#clock.monotonicMs() - this.#notedAtMs
  }

  /** Not counted yet. */
  get clocks(): { readonly spentMs: number; readonly excusedMs: number; readonly stalledMs: number | null } {
    return {
      spentMs: this.#clock.monotonicMs() - this.#countedMs,
      excusedMs: this.#excusedMs,
      stalledMs: this.run.hasMoved ? this.run.stalledMs : null,
    }
  }

  /** Nobody could try for so long. */
  excuse(elapsedMs: number): void {
    this.run.excuse(elapsedMs)
    this.#excusedMs += elapsedMs
  }

  /** With what is under way at this moment. */
  totals(before: JobTotals): JobTotals {
    let totals = before
    for (const progress of this.run.progress()) {
      const file = this.#files.get(progress.index)
      if (file) totals = withFile(totals, file, withProgress(file, progress))
    }
    return totals
  }

  /** The file as it is at this moment. */
  live(file: JobFile): JobFile {
    const progress = this.run.progress().find(({ index }) => index === file.index)
    return progress === undefined || file.state !== 'waiting' ? file : withProgress(file, progress)
  }

  /** The record with what the turn brought so far; counts its time. */
  noted(job: Job, { isEnd }: { readonly isEnd: boolean }): Pick<Edit, 'job' | 'files'> {
    const { spentMs, excusedMs } = this.clocks
    this.#countedMs += spentMs
    this.#excusedMs = 0
    this.#notedAtMs = this.#countedMs
    let { totals } = job
    const files: JobFile[] = []
    for (const progress of this.run.progress()) {
      const before = this.#files.get(progress.index)
      if (before?.state !== 'waiting') continue
      const { bytesDone, bytesTotal } = progress
      // Sources are counted when the turn is over, or they would count twice.
      const after = isEnd ? withProgress(before, progress) : { ...before, bytesDone, bytesTotal }
      totals = withFile(totals, before, after)
      this.#files.set(after.index, after)
      files.push(after)
    }
    const stalledMs = this.run.hasMoved ? this.run.stalledMs : job.stalledMs + Math.max(0, spentMs - excusedMs)
    return {
      job: { ...job, totals, transferTimeMs: job.transferTimeMs + spentMs, stalledMs, idleMs: 0 },
      ...(files.length > 0 ? { files } : {}),
    }
  }

  /** A source answered with this generation. */
  begun(
    job: Job,
    index: number,
    { resource, isRestart }: { readonly resource: JobFile['resource']; readonly isRestart: boolean },
  ): Edit | null {
    const before = this.#files.get(index)
    if (!before) return null
    const after = { ...before, resource, restartCount: before.restartCount + (isRestart ? 1 : 0) }
    this.#files.set(index, after)
    const { state } = job
    return {
      job,
      files: [after],
      events: isRestart ? [{ kind: 'file-restarted', previous: state, state, fileIndex: index }] : [],
    }
  }

  /** The whole file is here. */
  transferred(job: Job, index: number, result: FileResult): Edit | null {
    const before = this.#files.get(index)
    if (!before) return null
    const after: JobFile = {
      ...before,
      state: 'transferred',
      bytesDone: result.bytes,
      bytesTotal: result.bytes,
      sources: result.sources,
      foundSha256: result.sha256,
      trust: result.trust,
    }
    this.#files.set(index, after)
    const { state } = job
    return {
      job: { ...job, totals: withFile(job.totals, before, after), stalledMs: 0, error: null },
      files: [after],
      events: [{ kind: 'file-transferred', previous: state, state, fileIndex: index }],
    }
  }
}

function withProgress(file: JobFile, progress: FileProgress): JobFile {
  const { bytesDone, bytesTotal, sources } = progress
  return { ...file, bytesDone, bytesTotal, sources: inAll(file, { bytes: bytesDone, sources }) }
}
