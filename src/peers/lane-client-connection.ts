/**
 * One TLS connection to a peer's lane, and the HTTP/1.1 that a lane client speaks on it: a request, its answer, the next.
 *
 * Does not choose, wait or try again. TLS decrypts straight into the buffer of whoever asked (`onread`): each read of an
 * ordinary socket allocates, and external memory is what makes V8 collect; that was a third of a fetching daemon's
 * processor time (2026-11-25).
 *
 * Invariants: no request is written before the handshake proved the PSK; never two requests at a time; once a request has
 * settled nothing reads into its buffer.
 */
import type { Socket, TcpSocketConnectOpts } from 'node:net'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import type { AgentKey, SegmentHash } from '../content/ids.ts'
import { ShorthaulError } from '../errors.ts'
import { type LaneAnswer, MAX_HEAD_BYTES, readHead } from './lane-answer.ts'
import { rangeField } from './lane-range.ts'
import type { LaneCarrier, LaneRequest } from './lane-request.ts'
import { SEGMENTS_PATH } from './lane-responder.ts'
import { isPskSession, laneClientTls } from './lane-tls.ts'

/** Where a peer serves and what it offered us over its control session. The key is a secret: never log an endpoint. */
export interface LaneEndpoint {
  readonly peer: AgentKey
  readonly host: string
  readonly port: number
  readonly identity: Uint8Array
  readonly psk: Uint8Array
}

export interface LaneConnectionListener {
  /** It can take a request: after the handshake, and after each answer. */
  onFree(connection: LaneClientConnection): void
  /** It is of no more use. Once; whoever was on it has failed. */
  onEnd(connection: LaneClientConnection, error: Error): void
  /** Called once, before it is connected. */
  onSocket(socket: Socket): void
}

/** The budget for what is fetched; it lives outside. */
export interface Intake {
  /** One for each connection; `onReady` is called when it may read again. */
  reader(onReady: () => void): IntakeReader
}

export interface IntakeReader {
  /** So many bytes were read. @returns false: read no more until `onReady` */
  charge(bytes: number): boolean
  readonly isHeld: boolean
  close(): void
}

export class LaneClientConnection implements LaneCarrier {
  /** Resolves when the socket is closed. */
  readonly closed: Promise<void>
  readonly #host: string
  readonly #listener: LaneConnectionListener
  readonly #socket: TLSSocket
  readonly #reader: IntakeReader | undefined
  /** Heads, and bodies of refusals; also what is read into when nothing is expected. */
  readonly #scratch = Buffer.allocUnsafeSlow(MAX_HEAD_BYTES)
  #headBytes = 0
  /** What is being answered; null until its head is whole. */
  #answer: LaneAnswer | null = null
  /** Of the answer's body. */
  #missingBytes = 0
  #request: LaneRequest | null = null
  #isReady = false
  #isEnded = false

  constructor(endpoint: LaneEndpoint, listener: LaneConnectionListener, intake?: Intake) {
    const { host, port } = endpoint
    this.#host = `${host.includes(':') ? `[${host}]` : host}:${port}`
    this.#listener = listener
    const options: ConnectionOptions & Pick<TcpSocketConnectOpts, 'onread'> = {
      ...laneClientTls(endpoint),
      host,
      port,
      onread: { buffer: () => this.#nextBuffer(), callback: (bytes) => this.#onRead(bytes) },
    }
    this.#socket = connect(options)
    this.#socket.setNoDelay(true)
    listener.onSocket(this.#socket)
    this.#reader = intake?.reader(() => this.#socket.resume())
    this.#socket.once('secureConnect', () => this.#onSecure())
    this.#socket.on('error', (error) => this.end(error))
    this.#socket.once('end', () => this.end(new Error('the peer closed the connection')))
    this.closed = new Promise((resolve) => {
      this.#socket.once('close', () => {
        this.end(new Error('the connection closed'))
        resolve()
      })
    })
  }

  /** The handshake is done. */
  get isReady(): boolean {
    return this.#isReady
  }

  get isFree(): boolean {
    return this.#isReady && !this.#isEnded && this.#request === null
  }

  get isHeld(): boolean {
    return this.#reader?.isHeld ?? false
  }

  /** To be called when it is free. */
  send(request: LaneRequest, hash: SegmentHash): void {
    this.#request = request
    this.#headBytes = 0
    this.#answer = null
    request.start(this)
    const range = request.range ? `Range: ${rangeField(request.range)}\r\n` : ''
    this.#socket.write(`GET ${SEGMENTS_PATH}${hash} HTTP/1.1\r\nHost: ${this.#host}\r\n${range}\r\n`, 'latin1')
  }

  destroy(): void {
    this.end(new Error('the connection was closed'))
  }

  /** Ends it, at once and for good; `error` is what a request on it fails with. Idempotent. */
  end(error: Error): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#reader?.close()
    const request = this.#request
    this.#request = null
    this.#socket.destroy()
    request?.lose(error)
    this.#listener.onEnd(this, error)
  }

  #onSecure(): void {
    if (!isPskSession(this.#socket)) {
      this.end(new ShorthaulError('SHORTHAUL_PEER_PROTOCOL', 'it did not prove the key'))
      return
    }
    this.#isReady = true
    this.#listener.onFree(this)
  }

  /**
   * Where the next bytes go. Node asks after every read, also after one that ended everything: so a buffer whose request
   * is over is never left with the socket. Never empty: TLS would offer the same bytes for ever.
   *
   * An abort from elsewhere destroys the socket, which stops it from reading. Only between the records of one read TLS
   * would not notice, and there, in the middle of a body, nobody but us runs: `#onRead` settles nothing and calls nobody.
   */
  #nextBuffer(): Uint8Array {
    if (this.#request === null) return this.#scratch
    if (this.#answer === null) return this.#scratch.subarray(this.#headBytes)
    return this.#request.target() ?? this.#scratch.subarray(0, this.#missingBytes)
  }

  /** @returns whether to go on reading; what TLS has decrypted already comes nevertheless */
  #onRead(bytes: number): boolean {
    const request = this.#request
    if (request === null) this.end(new Error('the peer sent bytes that nobody asked for'))
    else if (this.#answer === null) this.#onHead(request, bytes)
    else this.#onBody(request, { answer: this.#answer, bytes })
    return this.#isEnded || (this.#reader?.charge(bytes) ?? true)
  }

  #onHead(request: LaneRequest, bytes: number): void {
    const readBytes = this.#headBytes + bytes
    this.#headBytes = readBytes
    const reading = readHead(this.#scratch.subarray(0, readBytes))
    if (reading.kind === 'partial') return
    if (reading.kind === 'broken') {
      request.failProtocol(reading.found)
      return
    }
    const { answer, headBytes } = reading
    request.judge(answer)
    if (request.isSettled) return // and this connection is destroyed
    const early = this.#scratch.subarray(headBytes, readBytes)
    if (early.byteLength > answer.bodyBytes) {
      request.failProtocol('more bytes than announced')
      return
    }
    this.#answer = answer
    this.#missingBytes = answer.bodyBytes
    request.target()?.set(early)
    this.#onBody(request, { answer, bytes: early.byteLength })
  }

  #onBody(request: LaneRequest, { answer, bytes }: { answer: LaneAnswer; bytes: number }): void {
    this.#missingBytes -= bytes
    request.received(bytes)
    if (this.#missingBytes > 0) return
    this.#request = null
    request.finish()
    if (answer.isLast) this.end(new Error('the peer closed the connection'))
    else this.#listener.onFree(this)
  }
}
