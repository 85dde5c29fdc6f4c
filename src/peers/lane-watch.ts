/**
 * Notices transfers that stand still or take too long: one timer for all of them, and none when there are none.
 *
 * Counts sweeps without progress instead of comparing times: after a suspend or a blocked event loop, bytes that have
 * arrived meanwhile are read before the next sweep, and nobody is accused wrongly.
 */
import type { Clock } from '../clock.ts'

const SWEEPS_PER_STALL = 5

export interface LaneWatched {
  /** Monotonic; the whole affair must be over by then. */
  readonly deadlineMs: number
  /** Bytes moved so far; null while it is not this transfer's turn: then only the deadline counts. */
  progressBytes(): number | null
  onOverdue(reason: 'stalled' | 'deadline'): void
}

interface Progress {
  seenBytes: number | null
  idleSweeps: number
}

export class LaneWatch {
  readonly #clock: Clock
  readonly #sweepMs: number
  readonly #watched = new Map<LaneWatched, Progress>()
  #running: AbortController | null = null
  #isClosed = false

  /** @param options stallTimeoutMs no byte for so long, and up to two fifths more, is a stall */
  constructor(components: { clock: Clock }, options: { stallTimeoutMs: number }) {
    this.#clock = components.clock
    this.#sweepMs = options.stallTimeoutMs / SWEEPS_PER_STALL
  }

  add(watched: LaneWatched): void {
    this.#watched.set(watched, { seenBytes: null, idleSweeps: 0 })
    if (this.#running || this.#isClosed) return
    this.#running = new AbortController()
    // #sweepUntilEmpty rejects only when stopped.
    this.#sweepUntilEmpty(this.#running.signal).catch(() => {})
  }

  remove(watched: LaneWatched): void {
    this.#watched.delete(watched)
  }

  /** Stops the timer; what is still watched is forgotten. Idempotent. */
  close(): void {
    this.#isClosed = true
    this.#watched.clear()
    this.#running?.abort()
  }

  async #sweepUntilEmpty(signal: AbortSignal): Promise<void> {
    // The timer runs out one sweep after the last transfer: starting and stopping it for each would cost more.
    while (this.#watched.size > 0) {
      await this.#clock.sleep(this.#sweepMs, { signal })
      const nowMs = this.#clock.monotonicMs()
      for (const [watched, progress] of [...this.#watched]) this.#check(watched, { progress, nowMs })
    }
    this.#running = null
  }

  #check(watched: LaneWatched, state: { progress: Progress; nowMs: number }): void {
    const { progress, nowMs } = state
    const bytes = watched.progressBytes()
    progress.idleSweeps = bytes !== null && bytes === progress.seenBytes ? progress.idleSweeps + 1 : 0
    progress.seenBytes = bytes
    if (nowMs >= watched.deadlineMs) watched.onOverdue('deadline')
    else if (progress.idleSweeps >= SWEEPS_PER_STALL) watched.onOverdue('stalled')
  }
}
