/** How long a job that failed waits, and whether it waits at all. Pure. */
import type { Random } from '../clock.ts'
import { type ErrorCode, type ShorthaulError, systemCode } from '../errors.ts'

/** A server that says "tomorrow" is believed; one that says "next year" is not. */
const MAX_RETRY_AFTER_MS = 24 * 3600 * 1000
const GROWTH = 2
/** No two jobs that failed together come back together. */
const JITTER_RATIO = 0.2
/** A full disk is looked at again soon: that costs the origin nothing. */
const DISK_LOOK_MS = 15_000

/**
 * Codes that pass by themselves for a job although a command gives up on them: a job has time.
 * `ORIGIN_DISALLOWED`: a neighbour may have it tomorrow.
 */
const PASSING: ReadonlySet<ErrorCode> = new Set(['SHORTHAUL_ORIGIN_DISALLOWED'])

/** By the error of the transport: what may pass is tried again. */
export function isTransient(error: ShorthaulError): boolean {
  return error.retryable || PASSING.has(error.code)
}

export interface RetryRequest {
  readonly error: ShorthaulError
  /** Failures in a row, this one included. */
  readonly attempt: number
  readonly minDelayMs: number
  readonly maxDelayMs: number
  readonly random: Random
}

/** From now until the next attempt. Never shorter than what the origin asked for (RFC 9110 §10.2.3). */
export function retryDelayMs({ error, attempt, minDelayMs, maxDelayMs, random }: RetryRequest): number {
  if (error.code === 'SHORTHAUL_DISK_FULL') return Math.min(DISK_LOOK_MS, Math.max(minDelayMs, 1000))
  const { retryAfterMs } = error.details
  const asked = typeof retryAfterMs === 'number' ? Math.min(Math.max(0, retryAfterMs), MAX_RETRY_AFTER_MS) : 0
  const grown = Math.min(minDelayMs * GROWTH ** Math.min(attempt - 1, 30), Math.max(minDelayMs, maxDelayMs))
  // Later only: the smallest pause is a promise, and so is what the origin asked for.
  return Math.round(Math.max(grown, asked) * (1 + JITTER_RATIO * random()))
}

/** No pause is longer, whatever failed how often. */
export function longestDelayMs(about: {
  readonly hasRetryAfter: boolean
  readonly minDelayMs: number
  readonly maxDelayMs: number
}): number {
  const askedMs = about.hasRetryAfter ? MAX_RETRY_AFTER_MS : 0
  return Math.max(about.minDelayMs, about.maxDelayMs, askedMs) * (1 + JITTER_RATIO)
}

/** The network of this machine and not the origin is what failed: it may be back at any moment. */
export function isNetworkDown(error: unknown): boolean {
  const code = systemCode(error)
  return code === 'ENETUNREACH' || code === 'ENETDOWN' || code === 'EAI_AGAIN' || code === 'EHOSTUNREACH'
}
