/** Time that passes only when a test says so: whoever sleeps is woken in the order in which the sleeps end. */
import type { Clock } from '../../src/clock.ts'

interface Sleeper {
  readonly dueMs: number
  readonly wake: () => void
}

export class VirtualClock implements Clock {
  atMs = 10_000
  readonly #sleepers = new Set<Sleeper>()

  nowMs(): number {
    return this.atMs
  }

  monotonicMs(): number {
    return this.atMs
  }

  sleep(delayMs: number, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason)
        return
      }
      const onAbort = () => {
        this.#sleepers.delete(sleeper)
        reject(signal?.reason)
      }
      const sleeper: Sleeper = {
        dueMs: this.atMs + delayMs,
        wake: () => {
          signal?.removeEventListener('abort', onAbort)
          resolve()
        },
      }
      this.#sleepers.add(sleeper)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  get sleeperCount(): number {
    return this.#sleepers.size
  }

  /** When the next sleep ends; null: nobody sleeps. */
  get nextDueMs(): number | null {
    return this.#next()?.dueMs ?? null
  }

  /** Lets so much time pass, and everything happen that happens in it. */
  async pass(durationMs: number): Promise<void> {
    const endMs = this.atMs + durationMs
    await settled()
    for (let next = this.#next(); next && next.dueMs <= endMs; next = this.#next()) {
      this.atMs = Math.max(this.atMs, next.dueMs)
      this.#sleepers.delete(next)
      next.wake()
      await settled()
    }
    this.atMs = Math.max(this.atMs, endMs)
  }

  /** So much time passes while this process does nothing at all: what was due comes late. */
  async stall(durationMs: number): Promise<void> {
    this.atMs += durationMs
    await this.pass(0)
  }

  #next(): Sleeper | null {
    let next: Sleeper | null = null
    for (const one of this.#sleepers) if (next === null || one.dueMs < next.dueMs) next = one
    return next
  }
}

/** All that waits only for other promises has happened. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
