/**
 * A rate that may change at any moment, or be none, and those who wait for their turn under it.
 *
 * Writers take before they write; readers charge what they have read, and read no more until they are called. Both pay by
 * debt: whoever finds the account positive goes on and may overdraw it by one piece. First come, first served, so that
 * all proceed. One timer, and none while nobody waits; no limit costs one comparison.
 */
import type { Clock } from '../clock.ts'

/** What may be saved up: so much time is lost on a busy event loop and has to be made up for. */
const BURST_MS = 50
const MIN_BURST_BYTES = 16 * 1024
/** A reader that is called reads about so much: it pays in advance, or all that wait would be called at once. */
const ADVANCE_BYTES = 16 * 1024

interface Waiter {
  readonly bytes: number
  readonly go: () => void
}

export class ByteBudget {
  readonly #clock: Clock
  #bytesPerSec: number | null = null
  #accountBytes = 0
  #filledAtMs = 0
  /** Insertion order is age. */
  readonly #waiting = new Set<Waiter>()
  #timer: AbortController | null = null

  constructor(components: { clock: Clock }) {
    this.#clock = components.clock
  }

  /** Null: no limit. */
  get bytesPerSec(): number | null {
    return this.#bytesPerSec
  }

  /** @param bytesPerSec above zero, or null: whoever waits goes on */
  setRate(bytesPerSec: number | null): void {
    if (bytesPerSec === this.#bytesPerSec) return
    this.#fill()
    if (this.#bytesPerSec === null) this.#accountBytes = 0
    this.#bytesPerSec = bytesPerSec
    this.#timer?.abort(CHANGED)
    this.#timer = null
    this.#serve()
  }

  /** Null: go on. Otherwise resolves when it is this one's turn; rejects with the signal's reason. */
  take(bytes: number, options: { signal: AbortSignal }): Promise<void> | null {
    if (this.#bytesPerSec === null) return null
    this.#fill()
    if (this.#waiting.size === 0 && this.#accountBytes >= 0) {
      this.#accountBytes -= bytes
      return null
    }
    const { signal } = options
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason)
        return
      }
      const onAbort = () => {
        this.#waiting.delete(waiter)
        reject(signal.reason)
      }
      const waiter: Waiter = {
        bytes,
        go: () => {
          signal.removeEventListener('abort', onAbort)
          resolve()
        },
      }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#wait(waiter)
    })
  }

  /** An account for one reader; `onReady` is called when it may read again. */
  reader(onReady: () => void): BudgetReader {
    let advanceBytes = 0
    let waiter: Waiter | null = null
    const go = () => {
      advanceBytes = ADVANCE_BYTES
      waiter = null
      onReady()
    }
    return {
      charge: (bytes) => {
        if (this.#bytesPerSec === null) return true
        this.#fill()
        this.#accountBytes += advanceBytes - bytes
        advanceBytes = 0
        if (waiter) return false
        if (this.#waiting.size === 0 && this.#accountBytes >= 0) return true
        waiter = { bytes: ADVANCE_BYTES, go }
        this.#wait(waiter)
        return false
      },
      get isHeld() {
        return waiter !== null
      },
      close: () => {
        if (waiter) this.#waiting.delete(waiter)
        waiter = null
      },
    }
  }

  #fill(): void {
    const nowMs = this.#clock.monotonicMs()
    const rate = this.#bytesPerSec ?? 0
    const burstBytes = Math.max(MIN_BURST_BYTES, (rate * BURST_MS) / 1000)
    this.#accountBytes = Math.min(burstBytes, this.#accountBytes + ((nowMs - this.#filledAtMs) / 1000) * rate)
    this.#filledAtMs = nowMs
  }

  #wait(waiter: Waiter): void {
    this.#waiting.add(waiter)
    if (!this.#timer) this.#arm()
  }

  #serve(): void {
    for (const waiter of this.#waiting) {
      if (this.#bytesPerSec !== null && this.#accountBytes < 0) break
      this.#waiting.delete(waiter)
      this.#accountBytes -= waiter.bytes
      waiter.go()
    }
    if (!this.#timer) this.#arm()
  }

  #arm(): void {
    if (this.#bytesPerSec === null || this.#waiting.size === 0) return
    const timer = new AbortController()
    this.#timer = timer
    const waitMs = Math.max(1, (-this.#accountBytes / this.#bytesPerSec) * 1000)
    this.#clock.sleep(waitMs, { signal: timer.signal }).then(
      () => {
        this.#timer = null
        this.#fill()
        this.#serve()
      },
      () => {}, // the rate changed
    )
  }
}

export interface BudgetReader {
  /** @returns false: read no more until `onReady` is called; what comes nevertheless is charged too */
  charge(bytes: number): boolean
  readonly isHeld: boolean
  /** It waits no longer. Idempotent. */
  close(): void
}

/** Given, because the DOMException that stands in for none costs a stack. */
const CHANGED = new Error('The rate changed')
