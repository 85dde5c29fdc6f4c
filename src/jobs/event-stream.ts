/**
 * The events of jobs as streams, each at its reader's pace: a reader is only told that there is something new, and reads it
 * from disk, where a slow one finds what a quick one has long had. So nothing is queued for anybody.
 */
import type { Clock } from '../clock.ts'
import type { JobEventRecord } from './job-events.ts'
import type { JobProgress, JobStreamEvent } from './jobs-api.ts'

/** BITS tells progress at most this often. */
const PROGRESS_MS = 500

export interface ReadOptions {
  readonly signal: AbortSignal
  /** Begin after this event. */
  readonly from: number
  readonly past: (id: number) => AsyncIterable<readonly JobEventRecord[]>
  /** What runs at the moment; left out: nobody wants to know. */
  readonly progress?: () => readonly JobProgress[]
}

export class EventStream {
  readonly #clock: Clock
  readonly #closing = new AbortController()
  readonly #sleepers = new Set<AbortController>()
  #pushedCount = 0

  constructor({ clock }: { readonly clock: Clock }) {
    this.#clock = clock
  }

  /** There is a new event on disk. */
  push(): void {
    this.#pushedCount++
    for (const sleeper of this.#sleepers) sleeper.abort()
  }

  /** Ends by the signal, or when this is closed. */
  async *read({ signal, from, past, progress }: ReadOptions): AsyncGenerator<JobStreamEvent> {
    const ended = AbortSignal.any([signal, this.#closing.signal])
    let last = from
    while (!ended.aborted) {
      const seenCount = this.#pushedCount
      for await (const page of untilEnded(past(last), ended)) {
        for (const event of page) {
          if (ended.aborted) return
          last = event.id
          yield event
        }
      }
      for (const event of progress?.() ?? []) yield event
      if (seenCount === this.#pushedCount) await this.#pause(progress ? PROGRESS_MS : null, ended)
    }
  }

  /** Ends all streams. Idempotent. */
  close(): void {
    this.#closing.abort()
  }

  async #pause(ms: number | null, ended: AbortSignal): Promise<void> {
    if (ended.aborted) return
    const sleeper = new AbortController()
    const wake = () => sleeper.abort()
    // A listener and not AbortSignal.any, which leaves something behind in `ended` each time (Node 20).
    ended.addEventListener('abort', wake, { once: true })
    this.#sleepers.add(sleeper)
    // Without a time of its own it sleeps until something happens; timers have no longer sleep than this.
    await this.#clock.sleep(ms ?? 2 ** 31 - 1, { signal: sleeper.signal }).catch(() => {})
    this.#sleepers.delete(sleeper)
    ended.removeEventListener('abort', wake)
  }
}

/** A database that is closed under a reader ends it; it is not an error that somebody must hear of. */
async function* untilEnded<T>(pages: AsyncIterable<T>, ended: AbortSignal): AsyncGenerator<T> {
  try {
    yield* pages
  } catch (error) {
    if (!ended.aborted) throw error
  }
}
