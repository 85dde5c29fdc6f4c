/**
 * How a fetch or a job ended, judged by what the origin had meanwhile, and whether it still moves. Pure.
 */
import type { FetchDone, FetchFailed } from '../lab/agent-host.ts'

export type Outcome =
  | { readonly is: 'right' }
  /** A target with other bytes than it may have, or right bytes that were refused as wrong. */
  | { readonly is: 'wrong'; readonly why: string }
  /** It said why. */
  | { readonly is: 'failed'; readonly code: string; readonly message: string }
  /** By us. */
  | { readonly is: 'killed' }
  | { readonly is: 'stuck'; readonly why: string }
  /** It ended without a word, or by a fault of programming. */
  | { readonly is: 'crashed'; readonly why: string }

export interface FetchEnd {
  readonly exit: { readonly code: number | null; readonly signal: string | null }
  /** The last event that the command printed, when that is one of these. */
  readonly last: FetchDone | FetchFailed | undefined
  readonly wasKilled: boolean
  /** The target's digest, computed from its file; null: there is no target. */
  readonly foundSha256: string | null
  readonly stderrTail: string
}

export interface Allowed {
  /** Digests that the target may have. */
  readonly sha256s: readonly string[]
  /** The digest that was pinned; null: none. */
  readonly pinned: string | null
}

/** What people would see as a program that fell over, in its stdout or stderr. */
const FALLEN =
  /unhandled|uncaught|SHORTHAUL_BUG|(?:Type|Range|Reference|Assertion)Error|ERR_(?:INTERNAL|UNHANDLED)|MaxListenersExceeded|out of memory|Segmentation|DeprecationWarning|FATAL ERROR/i

export function isFallen(line: string): boolean {
  return FALLEN.test(line)
}

export function judgeFetch(end: FetchEnd, allowed: Allowed): Outcome {
  const { exit, last, wasKilled, foundSha256, stderrTail } = end
  if (last?.event === 'done') return judgeDone({ claimed: last.sha256, found: foundSha256 }, allowed)
  // A command that was killed between the rename and its last words has a whole target.
  if (foundSha256 !== null) {
    const content = judgeDone({ claimed: foundSha256, found: foundSha256 }, allowed)
    if (content.is !== 'right') return content
    if (!wasKilled) return { is: 'wrong', why: `a target of a command that failed: ${JSON.stringify(last ?? exit)}` }
  }
  if (isFallen(stderrTail)) return { is: 'crashed', why: stderrTail.slice(-2000) }
  if (last !== undefined) return judgeFailure(last, allowed)
  if (wasKilled) return { is: 'killed' }
  return { is: 'crashed', why: `ended with ${exit.signal ?? exit.code} without a word; ${stderrTail.slice(-2000)}` }
}

/** @param said what it said itself; `found`: what the file has */
export function judgeDone(
  said: { readonly claimed: string | null; readonly found: string | null },
  allowed: Allowed,
): Outcome {
  const { claimed, found } = said
  if (found === null) return { is: 'wrong', why: 'done, and there is no target' }
  if (claimed !== null && claimed !== found) return { is: 'wrong', why: `said ${claimed}, and the target has ${found}` }
  const wanted = allowed.pinned === null ? allowed.sha256s : [allowed.pinned]
  return wanted.includes(found)
    ? { is: 'right' }
    : { is: 'wrong', why: `the target has ${found}, expected one of ${wanted.join(', ')}` }
}

export function judgeFailure(failure: { readonly code: string; readonly message: string }, allowed: Allowed): Outcome {
  const { code, message } = failure
  if (code === 'SHORTHAUL_BUG') return { is: 'crashed', why: message }
  if (code === 'SHORTHAUL_DIGEST_MISMATCH') {
    const wasAlwaysThat = allowed.pinned !== null && allowed.sha256s.every((sha256) => sha256 === allowed.pinned)
    if (allowed.pinned === null) return { is: 'wrong', why: `a digest that nobody pinned or declared: ${message}` }
    if (wasAlwaysThat) return { is: 'wrong', why: `the origin had what was pinned, and it was refused: ${message}` }
  }
  return { is: 'failed', code, message }
}

/** Without a new byte or a stated reason for so long, of fair time (fair-time.ts), something is stuck. */
export const STUCK_MS = 60_000

/** Whether something still moves: what it has done grows, or it says why not. */
export class Pulse {
  #bytesDone = -1
  #aliveMs: number
  #reason = 'nothing was said so far'

  constructor(nowMs: number) {
    this.#aliveMs = nowMs
  }

  /** @param reason why it does not move, in its own words; null: it gives none */
  seen(now: { readonly nowMs: number; readonly bytesDone: number; readonly reason: string | null }): void {
    const { nowMs, bytesDone, reason } = now
    if (bytesDone !== this.#bytesDone || reason !== null) this.#aliveMs = nowMs
    this.#bytesDone = bytesDone
    if (reason !== null) this.#reason = reason
  }

  /** Null while it is alive. */
  stuck(nowMs: number): string | null {
    const silentMs = nowMs - this.#aliveMs
    if (silentMs <= STUCK_MS) return null
    return `${Math.round(silentMs / 1000)} s at ${this.#bytesDone} bytes; last reason: ${this.#reason}`
  }
}
