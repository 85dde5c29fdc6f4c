/**
 * A TCP connection that reads only when its pacer lets it, and no more at a time than it is granted. net.Socket cannot do
 * that: it reads 64 KiB whenever it reads, which on a slow line is a burst of 50 ms and more.
 *
 * What undici and tls need of a socket is here; nothing else.
 */
import { connect, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { errors } from 'undici'
import { LEAST_PIECE_BYTES, type PacedReader, type Pacer } from '../throttle/pacer.ts'
import { RateMeter } from '../throttle/rate-meter.ts'

/** As much as two reads; more would be read ahead of what is wanted. */
const HIGH_WATER_BYTES = 64 * 1024
/**
 * As fast as it comes, a slow line wakes us for each packet or two, and each time costs the same however much has come:
 * a third of a processor at 50 Mbit/s. So it is left to gather until about so much is there, but no longer than that.
 */
const GATHER_BYTES = 48 * 1024
const MAX_GATHER_MS = 20
/** Less is not worth a timer. */
const MIN_GATHER_MS = 2
/** Of an answer, what is passed on as it comes: heads, and files that are soon over. */
const EAGER_BYTES = 64 * 1024

export interface PacedOptions {
  readonly host: string
  readonly port: number
  /** Longest time without a byte while it may read; while it may not, the other end is not to blame. */
  readonly idleTimeoutMs: number
}

/**
 * How long to leave what comes in the kernel before the next read, which found all that was there; 0: not at all.
 * @param answerBytes had since the last request
 * @param bytesPerSec of late; null: not known
 */
export function gatherMs(answerBytes: number, bytesPerSec: number | null): number {
  if (answerBytes < EAGER_BYTES || bytesPerSec === null) return 0
  const ms = Math.min(MAX_GATHER_MS, (GATHER_BYTES / Math.max(1, bytesPerSec)) * 1000)
  return ms < MIN_GATHER_MS ? 0 : ms
}

export class PacedSocket extends Duplex implements PacedReader {
  /** For those who count what goes through it. */
  readonly raw: Socket
  readonly #pacer: Pacer
  readonly #buffer = Buffer.allocUnsafe(HIGH_WATER_BYTES)
  readonly #idle: NodeJS.Timeout
  /** What may still be read in this turn; 0: it has none. */
  #turnBytes = 0
  /** Of the buffer that the next read goes to. */
  #roomBytes = 0
  #isWaiting = false
  #gathering: NodeJS.Timeout | null = null
  /** The last read left something in the kernel. */
  #hasMore = false
  /** Since the last write, which asked for it. */
  #answerBytes = 0
  readonly #rate = new RateMeter()

  /** Connects at once; 'connect' or 'error' follows. */
  constructor(pacer: Pacer, { host, port, idleTimeoutMs }: PacedOptions) {
    super({ readableHighWaterMark: HIGH_WATER_BYTES, allowHalfOpen: false, emitClose: true })
    this.#pacer = pacer
    this.raw = connect({
      host,
      port,
      // Else it would close, and take us along, before the reader has what is buffered here.
      allowHalfOpen: true,
      onread: { buffer: () => this.#room(), callback: (bytes) => this.#received(bytes) },
    })
    this.#idle = setTimeout(() => {
      if (this.#turnBytes > 0) this.destroy(new errors.BodyTimeoutError())
    }, idleTimeoutMs).unref()
    this.raw.setNoDelay(true)
    this.raw.pause()
    this.raw.once('connect', () => this.emit('connect'))
    this.raw.once('end', () => this.push(null))
    this.raw.once('error', (error) => this.destroy(error))
    // Once its end was passed on, ours follows when it has been read.
    this.raw.once('close', () => {
      if (!this.raw.readableEnded) this.destroy()
    })
  }

  get remoteAddress(): string | undefined {
    return this.raw.remoteAddress
  }

  get remotePort(): number | undefined {
    return this.raw.remotePort
  }

  get localAddress(): string | undefined {
    return this.raw.localAddress
  }

  get localPort(): number | undefined {
    return this.raw.localPort
  }

  ref(): this {
    this.raw.ref()
    return this
  }

  unref(): this {
    this.raw.unref()
    return this
  }

  grant(maxBytes: number): void {
    this.#isWaiting = false
    if (this.destroyed) return
    this.#turnBytes = Math.min(maxBytes, HIGH_WATER_BYTES)
    this.#idle.refresh()
    this.raw.resume()
  }

  override _read(): void {
    if (this.#isWaiting) return
    this.#isWaiting = true
    const gatherMs = this.#gatherMs()
    if (gatherMs === 0) this.#pacer.request(this)
    else this.#gathering = setTimeout(() => this.#pacer.request(this), gatherMs)
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#answerBytes = 0
    this.raw.write(chunk, done)
  }

  override _final(done: (error?: Error | null) => void): void {
    this.raw.end(done)
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#idle)
    if (this.#gathering) clearTimeout(this.#gathering)
    this.#pacer.cancel(this)
    this.raw.destroy()
    done(error)
  }

  /** Where there is a rate, the pacer lets gather. */
  #gatherMs(): number {
    if (this.#pacer.bytesPerSec !== null || this.#hasMore) return 0
    return gatherMs(this.#answerBytes, this.#rate.bytesPerSec(performance.now()))
  }

  /**
   * Node asks for the buffer of a read right after the read before, when nobody knows what will be granted: a turn begins
   * with a small read, which no turn is too small for, and goes on with what is left of it.
   */
  #room(): Buffer {
    const firstBytes = this.#pacer.bytesPerSec === null ? HIGH_WATER_BYTES : LEAST_PIECE_BYTES
    this.#roomBytes = this.#turnBytes > 0 ? this.#turnBytes : firstBytes
    return this.#buffer.subarray(0, this.#roomBytes)
  }

  /** @returns true when the turn is not over; a read that did not fill its buffer has read everything */
  #received(bytes: number): boolean {
    this.#hasMore = bytes === this.#roomBytes
    this.#turnBytes = this.#hasMore ? Math.max(0, this.#turnBytes - bytes) : 0
    this.#answerBytes += bytes
    this.#rate.add(bytes, performance.now())
    this.#pacer.charge(bytes)
    // A copy of its own: the reader keeps it, and the buffer is read into again.
    this.push(Buffer.from(this.#buffer.subarray(0, bytes)))
    return this.#turnBytes > 0
  }
}
