/** What the store tells about segments that are no longer here. Whom to tell further is somebody else's business. */
import type { Logger } from 'pino'
import type { ResourceId, SegmentHash } from '../content/ids.ts'

export interface SegmentGone {
  readonly resource: ResourceId
  readonly index: number
  readonly hash: SegmentHash
}

/** `lost`: missing or corrupt when looked at. `evicted`: given up on purpose: quota, age, removal, end of a part file. */
export type StoreEvent = 'lost' | 'evicted'
export type SegmentGoneListener = (event: SegmentGone[]) => void

export class StoreEvents {
  readonly #log: Logger
  readonly #listeners = { lost: new Set<SegmentGoneListener>(), evicted: new Set<SegmentGoneListener>() }

  constructor(log: Logger) {
    this.#log = log
  }

  on(event: StoreEvent, listener: SegmentGoneListener): () => void {
    this.#listeners[event].add(listener)
    return () => {
      this.#listeners[event].delete(listener)
    }
  }

  /** Tells all listeners, in order of registration. One that throws harms neither the store nor the others. */
  emit(event: StoreEvent, gone: readonly SegmentGone[]): void {
    if (gone.length === 0) return
    for (const listener of this.#listeners[event]) {
      try {
        listener([...gone])
      } catch (err) {
        this.#log.error({ err, event }, 'store listener threw')
      }
    }
  }
}
