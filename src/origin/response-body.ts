/**
 * The body of one answer: what undici pushes, as an AsyncIterable that pulls, with a bounded buffer between.
 *
 * Invariants:
 * 1. At most HIGH_WATER_BYTES plus what undici had already parsed (one socket read, 64 KiB) are buffered. Then the
 *    connection is paused, TCP's window closes and the origin waits; undici's idle timeout does not run meanwhile.
 * 2. Exactly the promised number of bytes comes out, or an error.
 * 3. The request ends when the body ends, is cancelled or fails; `ended` says when, and never rejects.
 *
 * Chunks are views of what the socket read for this connection alone; undici neither reuses nor keeps them (checked in
 * 7.30: `new FastBuffer(currentBufferRef.buffer, ...)` over a fresh read), so they are the reader's without a copy.
 */
import { setImmediate as afterIo } from 'node:timers/promises'
import type { Dispatcher } from 'undici'
import type { Clock } from '../clock.ts'
import { isShorthaulError, ShorthaulError } from '../errors.ts'
import { cutShortError, protocolError } from './http-errors.ts'

const HIGH_WATER_BYTES = 2 * 1024 * 1024
const LOW_WATER_BYTES = 1024 * 1024

/** Up to here it is cheaper to read the rest and keep the connection than to pay for a new one over the WAN. */
const MAX_DISCARD_BYTES = 64 * 1024
/** And no longer than this, about the handshakes of a new connection on a long line. */
const MAX_DISCARD_MS = 300

export class ResponseBody implements AsyncIterable<Uint8Array> {
  readonly #url: URL
  readonly #clock: Clock
  readonly #controller: Dispatcher.DispatchController
  readonly ended: Promise<void>
  #resolveEnded: () => void = () => {}
  #chunks: Uint8Array[] = []
  #bufferedBytes = 0
  #receivedBytes = 0
  #promisedBytes: number | null = null
  #isDiscarding = false
  #isTaken = false
  #isComplete = false
  #error: unknown = null
  #wake: (() => void) | null = null

  constructor(components: { clock: Clock; controller: Dispatcher.DispatchController }, options: { url: URL }) {
    this.#url = options.url
    this.#clock = components.clock
    this.#controller = components.controller
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve
    })
  }

  /** Holds the body to a length that was learnt from its head. Called before anything is read. */
  promise(lengthBytes: number): void {
    this.#promisedBytes = lengthBytes
    if (this.#hasExcess() || !this.#isComplete) return
    // A short body may have come and gone before its head was judged.
    this.#isComplete = false
    this.complete()
  }

  // From undici -------------------------------------------------------------------------------------------------------

  push(chunk: Uint8Array): void {
    this.#receivedBytes += chunk.byteLength
    if (this.#isDiscarding) {
      if (this.#receivedBytes > MAX_DISCARD_BYTES) this.#controller.abort(cancelled(this.#url))
      return
    }
    if (this.#error !== null || this.#hasExcess()) return
    this.#chunks.push(chunk)
    this.#bufferedBytes += chunk.byteLength
    if (this.#bufferedBytes >= HIGH_WATER_BYTES) this.#controller.pause()
    this.#notify()
  }

  complete(): void {
    const promised = this.#promisedBytes
    if (promised !== null && this.#receivedBytes < promised && !this.#isDiscarding) {
      this.fail(cutShortError(this.#url, `${this.#receivedBytes} of ${promised} bytes came`))
      return
    }
    this.#isComplete = true
    this.#resolveEnded()
    this.#notify()
  }

  fail(error: unknown): void {
    this.#error ??= error
    this.#resolveEnded()
    this.#notify()
  }

  // For the reader ----------------------------------------------------------------------------------------------------

  /** Once only. Leaving the loop early cancels the request. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    if (this.#isTaken) throw new TypeError('A body can be read once')
    this.#isTaken = true
    try {
      for (;;) {
        const batch = this.#chunks
        this.#chunks = [] // taken as a whole: Array.shift() would be quadratic for an origin that sends single bytes
        for (const chunk of batch) {
          // Only our own abort overtakes what is buffered: bytes that came before a cut need not be fetched again.
          if (isShorthaulError(this.#error, 'SHORTHAUL_ABORTED')) throw this.#error
          this.#bufferedBytes -= chunk.byteLength
          if (this.#controller.paused && this.#bufferedBytes <= LOW_WATER_BYTES) this.#controller.resume()
          yield chunk
        }
        if (this.#chunks.length > 0) continue
        if (this.#error !== null) throw this.#error
        if (this.#isComplete) return
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
      }
    } finally {
      await this.cancel()
    }
  }

  /** Ends the request; resolves when its connection is reusable or closed. Idempotent. */
  async cancel(): Promise<void> {
    if (this.#isComplete || this.#error !== null) {
      this.#end()
      await this.#released()
      return
    }
    const promised = this.#promisedBytes
    if (promised !== null && promised - this.#receivedBytes <= MAX_DISCARD_BYTES) {
      await this.discard()
      return
    }
    this.#end()
    this.#controller.abort(cancelled(this.#url))
    await this.#released()
  }

  /** Reads what little is left, so that the connection can be used again; gives up on a long or slow rest. */
  async discard(): Promise<void> {
    this.#end()
    this.#isDiscarding = true
    this.#receivedBytes = 0 // from here on it counts what is thrown away
    if (this.#controller.paused) this.#controller.resume()
    const done = new AbortController()
    const tooLong = this.#clock.sleep(MAX_DISCARD_MS, { signal: done.signal }).then(
      () => this.#controller.abort(cancelled(this.#url)),
      () => {},
    )
    await this.#released()
    done.abort()
    await tooLong
  }

  /**
   * undici gives a connection back to its pool, or closes it, one turn of the event loop after the body ended. Without
   * waiting for that, the next request would not find it and pay for another one (measured: two connections for two
   * requests in a row).
   */
  async #released(): Promise<void> {
    await this.ended
    await afterIo()
  }

  #hasExcess(): boolean {
    const promised = this.#promisedBytes
    if (promised === null || this.#receivedBytes <= promised) return false
    const error = protocolError(this.#url, `more than the promised ${promised} bytes came`, 'length')
    this.fail(error)
    this.#controller.abort(error)
    return true
  }

  /** Nothing more comes out; a reader that waits is told. */
  #end(): void {
    this.#chunks = []
    this.#bufferedBytes = 0
    if (!this.#isComplete) this.#error ??= cancelled(this.#url)
    this.#notify()
  }

  #notify(): void {
    const wake = this.#wake
    this.#wake = null
    wake?.()
  }
}

function cancelled(url: URL): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_ABORTED', 'The body was cancelled', { details: { host: url.host } })
}
