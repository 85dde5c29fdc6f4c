/** How long a notification that failed waits, and when it is given up. Pure. */
import type { Random } from '../clock.ts'

const FIRST_DELAY_MS = 10_000
const GROWTH = 3
const MAX_DELAY_MS = 6 * 3600 * 1000
const JITTER_RATIO = 0.2
/** With the pauses between them some 21 to 25 hours. */
export const MAX_NOTIFY_ATTEMPTS = 11
/** What queued behind one that failed for a day is tried once more and not for a day of its own. */
export const MAX_QUEUED_MS = 24 * 3600 * 1000
/** A receiver that says "tomorrow" is believed; one that says "next year" is not. */
export const MAX_RETRY_AFTER_MS = 24 * 3600 * 1000

export interface NotifyRetryRequest {
  /** Failures so far, this one included. */
  readonly attempt: number
  /** Since this process knows of it. */
  readonly queuedForMs: number
  /** What the receiver asked for; null: nothing. */
  readonly retryAfterMs: number | null
  readonly random: Random
}

/** From now until the next attempt, never shorter than what the receiver asked for; null: it is given up. */
export function notifyRetryDelayMs({ attempt, queuedForMs, retryAfterMs, random }: NotifyRetryRequest): number | null {
  if (attempt >= MAX_NOTIFY_ATTEMPTS || queuedForMs >= MAX_QUEUED_MS) return null
  const grown = Math.min(FIRST_DELAY_MS * GROWTH ** (attempt - 1), MAX_DELAY_MS)
  const asked = Math.min(Math.max(0, retryAfterMs ?? 0), MAX_RETRY_AFTER_MS)
  // Later only: what the receiver asked for is a promise.
  return Math.round(Math.max(grown, asked) * (1 + JITTER_RATIO * random()))
}
