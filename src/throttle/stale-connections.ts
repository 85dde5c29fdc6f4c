/**
 * When connections to origins are worth leaving for new ones: after somebody else had the line, or seemed to. A sender
 * that lost packets then goes on from a small window, which over a long way takes tens of seconds to grow; a new connection
 * finds what the line gives within some round trips. And a kernel that learnt at the start to hold much opens the window
 * by a part of it at a time, which the sender fills at once: a queue of ours, taken for somebody's again and again.
 *
 * Once for each return, so that nobody's congestion control is undone by it, and what is held is thrown away seldom: what is
 * slow for another reason stays slow. Pure over (sample, monotonic now).
 */
import type { WanPhase } from './wan-sample.ts'

/** Of what the line would give us, less than this comes. */
const SLOW_RATIO = 0.5
const SLOW_MS = 500
/** Of what the line gives in a second, more than this is held: a sixteenth of it is a queue of 30 ms. */
const HELD_RATIO = 0.5
/** A new connection soon holds as much, and leaving it would not help. */
const LEAST_HELD_BYTES = 384 * 1024
/** What becomes slow later does so for another reason. */
const RETURN_MS = 10_000

export interface ConnectionsSample {
  readonly nowMs: number
  readonly phase: WanPhase
  /** Something waits for the rate, or it was read out of the kernel a moment ago: the connections are not what limits. */
  readonly isLimited: boolean
  /** Somebody's queue stands: what is slow is so for all. */
  readonly isQueued: boolean
  /** 0: nothing comes, because nothing was asked for, or is not sent yet. */
  readonly readBytesPerSec: number
  /** In the kernel, of what has come on one connection, the most; null: not known. */
  readonly heldBytes: number | null
  /** Of the line, when all who fetch have alike. */
  readonly shareBytesPerSec: number
  /** All of it; 0: not known. */
  readonly lineBytesPerSec: number
}

export class StaleConnections {
  /** Until then a slow connection may be one that lost. */
  #untilMs = Number.NEGATIVE_INFINITY
  #slowSinceMs: number | null = null
  #beforeMs = Number.NEGATIVE_INFINITY

  /** Those that are older, by the monotonic clock, are better left when what they carry allows it. */
  get beforeMs(): number {
    return this.#beforeMs
  }

  look(sample: ConnectionsSample): void {
    const { nowMs, phase, isLimited, isQueued, readBytesPerSec, shareBytesPerSec } = sample
    const { heldBytes, lineBytesPerSec } = sample
    const isLineKnown = lineBytesPerSec > 0
    const heldLimitBytes = Math.max(LEAST_HELD_BYTES, HELD_RATIO * lineBytesPerSec)
    if (phase === 'yield') this.#untilMs = nowMs + RETURN_MS
    const isReturn = (phase === 'ramp' || phase === 'cruise') && nowMs < this.#untilMs
    if (isReturn && isLineKnown && heldBytes !== null && heldBytes > heldLimitBytes) {
      this.#leave(nowMs)
      return
    }
    const isSlow = readBytesPerSec > 0 && readBytesPerSec < SLOW_RATIO * shareBytesPerSec
    if (!isReturn || !isSlow || isLimited || isQueued) {
      this.#slowSinceMs = null
      return
    }
    this.#slowSinceMs ??= nowMs
    if (nowMs - this.#slowSinceMs >= SLOW_MS) this.#leave(nowMs)
  }

  #leave(nowMs: number): void {
    this.#untilMs = Number.NEGATIVE_INFINITY
    this.#slowSinceMs = null
    this.#beforeMs = nowMs
  }
}
