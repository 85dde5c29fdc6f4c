/**
 * One fetch over the lane: judges the head of the answer and says where the next bytes of the body go.
 *
 * Does not verify, and does not read: the connection does, straight into what `target` gives. Invariants: never a byte
 * beyond `into`; once it has settled `into` is the caller's again, so `target` gives it no more.
 */
import type { ByteRange } from '../content/segmentation.ts'
import { type ErrorCode, ShorthaulError, systemCode } from '../errors.ts'
import type { LaneAnswer } from './lane-answer.ts'
import { isContentRange } from './lane-range.ts'
import type { LaneWatched } from './lane-watch.ts'

/** Of an answer that is not the segment; more is not worth keeping the connection for. */
const MAX_REFUSAL_BYTES = 1024
const DEFAULT_RETRY_AFTER_MS = 250
const MAX_RETRY_AFTER_MS = 60_000

/** What the request is on the wire of. */
export interface LaneCarrier {
  /** It does not read because of our own budget. */
  readonly isHeld: boolean
  /** Synchronous: when it returns, nothing more is read. */
  destroy(): void
}

interface Refusal {
  readonly code: ErrorCode
  readonly message: string
  readonly details: Record<string, unknown>
}

export class LaneRequest implements LaneWatched {
  readonly deadlineMs: number
  readonly range: ByteRange | null
  /** Settles once. */
  readonly done: Promise<void>
  readonly #into: Uint8Array
  #resolve: () => void = () => {}
  #reject: (error: ShorthaulError) => void = () => {}
  #carrier: LaneCarrier | null = null
  #isSettled = false
  #receivedBytes = 0
  #refusal: Refusal | null = null

  constructor(options: { into: Uint8Array; range: ByteRange | null; deadlineMs: number }) {
    this.#into = options.into
    this.range = options.range
    this.deadlineMs = options.deadlineMs
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  get isSettled(): boolean {
    return this.#isSettled
  }

  /** Null until the request is on the wire, and while we do not read: neither is the peer's fault. */
  progressBytes(): number | null {
    return this.#carrier === null || this.#carrier.isHeld ? null : this.#receivedBytes
  }

  onOverdue(reason: 'stalled' | 'deadline'): void {
    const what = reason === 'stalled' ? 'no byte came in time' : 'it took too long'
    this.#failAs(this.#carrier === null ? 'SHORTHAUL_PEER_UNREACHABLE' : 'SHORTHAUL_PEER_STALLED', what)
  }

  /** Ends the request, and its connection when it is on one. No effect once settled. */
  fail(code: ErrorCode, message: string, options: { cause?: unknown; details?: Record<string, unknown> } = {}): void {
    const { cause, details } = options
    this.#end(new ShorthaulError(code, message, { cause, details: { receivedBytes: this.#receivedBytes, ...details } }))
  }

  /** The peer said what it should not have. */
  failProtocol(found: string, details: Record<string, unknown> = {}): void {
    this.#failAs('SHORTHAUL_PEER_PROTOCOL', found, { details })
  }

  /** The connection broke, or could not be had. */
  lose(error: Error): void {
    // The only one that a connection makes itself is of a peer that did not prove the key.
    const code = error instanceof ShorthaulError ? error.code : 'SHORTHAUL_PEER_UNREACHABLE'
    const system = systemCode(error)
    this.#failAs(code, system ?? error.message, { cause: error, details: { system } })
  }

  /** It is on the wire now. */
  start(carrier: LaneCarrier): void {
    this.#carrier = carrier
  }

  /** The head of the answer came. The request may have failed by it. */
  judge(answer: LaneAnswer): void {
    const { status, bodyBytes } = answer
    if (status === 404) {
      this.#refusal = { code: 'SHORTHAUL_PEER_MISSING', message: 'it is not there', details: {} }
    } else if (status === 503) {
      const retryAfterMs = retryAfterMsOf(answer)
      this.#refusal = { code: 'SHORTHAUL_PEER_BUSY', message: `busy for ${retryAfterMs} ms`, details: { retryAfterMs } }
    } else if (status !== (this.range ? 206 : 200)) {
      this.failProtocol(`status ${status}`, { status })
    } else if (bodyBytes !== this.#into.byteLength) {
      this.failProtocol('wrong length', { expected: this.#into.byteLength })
    } else if (this.range && !isContentRange(answer.contentRange ?? undefined, this.range)) {
      this.failProtocol('wrong range')
    }
    if (this.#refusal && bodyBytes > MAX_REFUSAL_BYTES) this.failProtocol('a long refusal')
  }

  /** The rest of `into`, where the next bytes of the body belong; null when they belong nowhere. */
  target(): Uint8Array | null {
    return this.#isSettled || this.#refusal ? null : this.#into.subarray(this.#receivedBytes)
  }

  /** So many bytes of the body came; of a segment they stand at the beginning of what `target` gave. */
  received(bytes: number): void {
    if (!this.#refusal) this.#receivedBytes += bytes
  }

  /** The body is whole and the connection free: it is another's now. */
  finish(): void {
    this.#carrier = null
    if (this.#refusal) {
      const { code, message, details } = this.#refusal
      this.#failAs(code, message, { details })
    } else this.#end(null)
  }

  #failAs(code: ErrorCode, what: string, options: { cause?: unknown; details?: Record<string, unknown> } = {}): void {
    this.fail(code, `Cannot fetch a segment from a peer: ${what}`, options)
  }

  #end(failure: ShorthaulError | null): void {
    if (this.#isSettled) return
    this.#isSettled = true
    if (failure) this.#reject(failure)
    else this.#resolve()
    this.#carrier?.destroy()
    this.#carrier = null
  }
}

/** Bounded: a peer cannot put itself out of our mind for ever, nor make us ask in a loop. */
function retryAfterMsOf(answer: LaneAnswer): number {
  const ownMs = digits(answer.retryAfterMs)
  const seconds = digits(answer.retryAfter)
  const retryAfterMs = ownMs ?? (seconds === null ? DEFAULT_RETRY_AFTER_MS : seconds * 1000)
  return Math.min(MAX_RETRY_AFTER_MS, Math.max(1, retryAfterMs))
}

function digits(text: string | null): number | null {
  return text !== null && /^\d{1,9}$/.test(text) ? Number(text) : null
}
