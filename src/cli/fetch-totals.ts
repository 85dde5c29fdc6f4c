/** What the fetches of one command have done together so far. */
import { systemClock } from '../clock.ts'
import type { SourceBytes, TransferProgress, TransferResult } from '../transfer/request.ts'

export interface FetchSummary {
  readonly done: number
  readonly failed: number
  /** Of what is done; as are the sources. */
  readonly bytes: number
  readonly sources: SourceBytes
  readonly wastedBytes: number
  readonly durationMs: number
}

export class FetchTotals {
  /** How many there are to fetch. */
  readonly count: number
  readonly #startedAtMs = systemClock.monotonicMs()
  /** Of those that run, by URL. */
  readonly #running = new Map<string, TransferProgress>()
  readonly #sources = { cache: 0, peer: 0, origin: 0 }
  #done = 0
  #failed = 0
  #bytes = 0
  #wastedBytes = 0

  constructor(count: number) {
    this.count = count
  }

  done(url: string, result: TransferResult): void {
    this.#running.delete(url)
    this.#done++
    this.#bytes += result.bytes
    this.#wastedBytes += result.wastedBytes
    add(this.#sources, result.sources)
  }

  failed(url: string): void {
    this.#running.delete(url)
    this.#failed++
  }

  /** Takes the progress of one. @returns that of all together, whose total is known only when there is one */
  progress(url: string, progress: TransferProgress): TransferProgress {
    if (this.count === 1) return progress
    this.#running.set(url, progress)
    const sources = { ...this.#sources }
    let bytesDone = this.#bytes
    let bytesPerSec = 0
    for (const one of this.#running.values()) {
      bytesDone += one.bytesDone
      bytesPerSec += one.bytesPerSec
      add(sources, one.sources)
    }
    return { event: 'progress', bytesDone, bytesTotal: null, bytesPerSec, sources }
  }

  /** Before a progress line. */
  prefix(): string {
    return this.count === 1 ? '' : `${this.#done + this.#failed} of ${this.count} files  `
  }

  summary(): FetchSummary {
    return {
      done: this.#done,
      failed: this.#failed,
      bytes: this.#bytes,
      sources: { ...this.#sources },
      wastedBytes: this.#wastedBytes,
      durationMs: Math.round(systemClock.monotonicMs() - this.#startedAtMs),
    }
  }
}

function add(to: { cache: number; peer: number; origin: number }, more: SourceBytes): void {
  to.cache += more.cache
  to.peer += more.peer
  to.origin += more.origin
}
