/**
 * One fetch over the lane: an undici handler that copies what comes straight into the caller's buffer.
 *
 * Does not verify. Invariants: never a byte beyond `into`; after it has settled, `into` is the caller's again and is
 * not written to, whatever still arrives.
 */
import { type Dispatcher, errors } from 'undici'
import type { ByteRange } from '../content/segmentation.ts'
import { type ErrorCode, ShorthaulError, systemCode } from '../errors.ts'
import { isContentRange } from './lane-range.ts'
import { RETRY_AFTER_MS_FIELD } from './lane-responder.ts'
import type { LaneWatched } from './lane-watch.ts'

/** Of an answer that is not the segment; more is not worth keeping the connection for. */
const MAX_REFUSAL_BYTES = 1024
const DEFAULT_RETRY_AFTER_MS = 250
const MAX_RETRY_AFTER_MS = 60_000

type Controller = Dispatcher.DispatchController
type Fields = Readonly<Record<string, string | string[] | undefined>>

export class LaneRequest implements Dispatcher.DispatchHandler, LaneWatched {
  readonly deadlineMs: number
  /** Settles once. */
  readonly done: Promise<void>
  readonly #into: Uint8Array
  readonly #range: ByteRange | null
  #resolve: () => void = () => {}
  #reject: (error: ShorthaulError) => void = () => {}
  #controller: Controller | null = null
  #failure: ShorthaulError | null = null
  #isSettled = false
  #receivedBytes = 0
  #refusal: { readonly code: ErrorCode; readonly message: string; readonly retryAfterMs?: number } | null = null
  #refusalBytes = 0

  constructor(options: { into: Uint8Array; range: ByteRange | null; deadlineMs: number }) {
    this.#into = options.into
    this.#range = options.range
    this.deadlineMs = options.deadlineMs
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  /** Null until the request is on the wire: waiting for a connection is not the peer's fault. */
  progressBytes(): number | null {
    return this.#controller === null ? null : this.#receivedBytes
  }

  onOverdue(reason: 'stalled' | 'deadline'): void {
    const what = reason === 'stalled' ? 'no byte came in time' : 'it took too long'
    const code = this.#controller === null ? 'SHORTHAUL_PEER_UNREACHABLE' : 'SHORTHAUL_PEER_STALLED'
    this.fail(code, `Cannot fetch a segment from a peer: ${what}`)
  }

  /** Ends the request, and its connection when it is on one. No effect once settled. */
  fail(code: ErrorCode, message: string, options: { cause?: unknown; details?: Record<string, unknown> } = {}): void {
    this.abort(
      new ShorthaulError(code, message, {
        cause: options.cause,
        details: { receivedBytes: this.#receivedBytes, ...options.details },
      }),
    )
  }

  abort(error: ShorthaulError): void {
    if (this.#isSettled) return
    this.#isSettled = true
    this.#failure = error
    this.#reject(error)
    this.#controller?.abort(error)
  }

  onRequestStart(controller: Controller): void {
    this.#controller = controller
    if (this.#failure) controller.abort(this.#failure)
  }

  onResponseStart(_controller: Controller, status: number, headers: Fields): void {
    if (status < 200) return
    if (status === 404) {
      this.#refusal = { code: 'SHORTHAUL_PEER_MISSING', message: 'it is not there' }
    } else if (status === 503) {
      const retryAfterMs = retryAfterMsOf(headers)
      this.#refusal = { code: 'SHORTHAUL_PEER_BUSY', message: `busy for ${retryAfterMs} ms`, retryAfterMs }
    } else if (status !== (this.#range ? 206 : 200)) {
      this.#failProtocol(`status ${status}`, { status })
    } else if (headers['content-length'] !== String(this.#into.byteLength)) {
      this.#failProtocol('wrong length', { expected: this.#into.byteLength })
    } else if (this.#range && !isContentRange(single(headers['content-range']), this.#range)) {
      this.#failProtocol('wrong range', {})
    }
  }

  onResponseData(_controller: Controller, chunk: Buffer): void {
    if (this.#isSettled) return
    if (this.#refusal) {
      this.#refusalBytes += chunk.byteLength
      if (this.#refusalBytes > MAX_REFUSAL_BYTES) this.#failProtocol('a long refusal', {})
      return
    }
    if (chunk.byteLength > this.#into.byteLength - this.#receivedBytes) {
      this.#failProtocol('more bytes than announced', {})
      return
    }
    this.#into.set(chunk, this.#receivedBytes)
    this.#receivedBytes += chunk.byteLength
  }

  onResponseEnd(): void {
    if (this.#isSettled) return
    if (this.#refusal) {
      const { code, message, retryAfterMs } = this.#refusal
      this.#settle(code, message, retryAfterMs === undefined ? {} : { retryAfterMs })
    } else if (this.#receivedBytes !== this.#into.byteLength) {
      this.#settle('SHORTHAUL_PEER_PROTOCOL', 'fewer bytes than announced', {})
    } else {
      this.#isSettled = true
      this.#resolve()
    }
  }

  onResponseError(_controller: Controller, error: Error): void {
    if (this.#isSettled) return
    const system = systemCode(error)
    const code = isProtocolError(error, system) ? 'SHORTHAUL_PEER_PROTOCOL' : 'SHORTHAUL_PEER_UNREACHABLE'
    this.#settle(code, system ?? error.message, { system }, error)
  }

  /** The exchange is over and its connection fine or already gone: nothing to abort. */
  #settle(code: ErrorCode, message: string, details: Record<string, unknown>, cause?: unknown): void {
    this.#controller = null
    this.fail(code, `Cannot fetch a segment from a peer: ${message}`, { cause, details })
  }

  #failProtocol(message: string, details: Record<string, unknown>): void {
    this.fail('SHORTHAUL_PEER_PROTOCOL', `Cannot fetch a segment from a peer: ${message}`, { details })
  }
}

/** What the peer said and HTTP does not allow, as opposed to a connection that broke. */
function isProtocolError(error: Error, system: string | undefined): boolean {
  if (error instanceof ShorthaulError) return error.code === 'SHORTHAUL_PEER_PROTOCOL'
  return (
    error instanceof errors.HTTPParserError || // whose code is not always set
    system === 'UND_ERR_HEADERS_OVERFLOW' ||
    system === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH'
  )
}

/** Bounded: a peer cannot put itself out of our mind for ever, nor make us ask in a loop. */
function retryAfterMsOf(headers: Fields): number {
  const ownMs = digits(headers[RETRY_AFTER_MS_FIELD])
  const seconds = digits(headers['retry-after'])
  const retryAfterMs = ownMs ?? (seconds === null ? DEFAULT_RETRY_AFTER_MS : seconds * 1000)
  return Math.min(MAX_RETRY_AFTER_MS, Math.max(1, retryAfterMs))
}

function digits(field: string | string[] | undefined): number | null {
  const text = single(field)
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : null
}

function single(field: string | string[] | undefined): string | undefined {
  return typeof field === 'string' ? field : undefined
}
