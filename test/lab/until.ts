/** Waiting for a state of another process: polled, with a deadline, and the last thing seen in the error. */
import { type Clock, systemClock } from '../../src/clock.ts'

export interface UntilOptions {
  readonly timeoutMs: number
  readonly everyMs?: number
  /** What is waited for, for the error. */
  readonly what: string
  readonly clock?: Clock
}

/**
 * Polls until `check` gives something other than undefined, and returns that.
 * @throws Error naming `what` and the last failure of `check`, when `timeoutMs` have passed.
 */
export async function until<T>(check: () => T | undefined | Promise<T | undefined>, options: UntilOptions): Promise<T> {
  const { timeoutMs, everyMs = 50, what, clock = systemClock } = options
  const deadlineMs = clock.monotonicMs() + timeoutMs
  let lastError: unknown
  for (;;) {
    try {
      const found = await check()
      if (found !== undefined) return found
    } catch (error) {
      lastError = error
    }
    if (clock.monotonicMs() >= deadlineMs) throw new Error(`Waited ${timeoutMs} ms for ${what}`, { cause: lastError })
    await clock.sleep(everyMs)
  }
}
