/**
 * The connections to one peer under one offer, and the requests that wait for one. First come, first served.
 *
 * Does not time requests: they leave by `drop`. Invariants: at most `connectionsPerPeer` connections; a request waits only
 * while there is a connection or one being opened.
 */
import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import type { SegmentHash } from '../content/ids.ts'
import {
  type Intake,
  LaneClientConnection,
  type LaneConnectionListener,
  type LaneEndpoint,
} from './lane-client-connection.ts'
import type { LaneRequest } from './lane-request.ts'

/** Shorter than the server's: it must not close a connection that a request is on its way over. */
const KEEP_ALIVE_TIMEOUT_MS = 30_000

/** Given, because the DOMException that stands in for none costs a stack. */
const STOPPED = new Error('The wait is over')

export interface LaneClientPoolComponents {
  readonly clock: Clock
  readonly log: Logger
  readonly onSocket?: ((socket: Socket) => void) | undefined
  readonly intake?: Intake | undefined
}

export interface LaneClientPoolOptions {
  readonly endpoint: LaneEndpoint
  readonly connectionsPerPeer: number
  /** TCP and TLS handshake. */
  readonly connectTimeoutMs: number
}

export class LaneClientPool implements LaneConnectionListener {
  readonly endpoint: LaneEndpoint
  readonly #clock: Clock
  readonly #log: Logger
  readonly #onSocket: ((socket: Socket) => void) | undefined
  readonly #intake: Intake | undefined
  readonly #options: LaneClientPoolOptions
  readonly #connections = new Set<LaneClientConnection>()
  /** Ends the wait for the handshake. */
  readonly #opening = new Map<LaneClientConnection, AbortController>()
  readonly #idleSinceMs = new Map<LaneClientConnection, number>()
  /** While some are idle. */
  #sweeping: AbortController | null = null
  /** Insertion order is age. */
  readonly #waiting = new Map<LaneRequest, SegmentHash>()
  #onGone: (() => void) | null = null

  constructor(components: LaneClientPoolComponents, options: LaneClientPoolOptions) {
    this.endpoint = options.endpoint
    this.#clock = components.clock
    this.#log = components.log
    this.#onSocket = components.onSocket
    this.#intake = components.intake
    this.#options = options
  }

  fetch(request: LaneRequest, hash: SegmentHash): void {
    this.#waiting.set(request, hash)
    this.#assign()
  }

  /** The request has settled. */
  drop(request: LaneRequest): void {
    this.#waiting.delete(request)
  }

  /** What is here finishes, each connection ends when it is free. @param onGone called when none is left */
  retire(onGone: () => void): void {
    this.#onGone = onGone
    for (const connection of [...this.#connections]) if (connection.isFree) connection.destroy()
    if (this.#connections.size === 0) onGone()
  }

  /** Fails all requests, closes all connections and waits for that. */
  async destroy(): Promise<void> {
    const waiting = [...this.#waiting.keys()]
    this.#waiting.clear()
    for (const request of waiting) request.lose(new Error('the connection was closed'))
    const connections = [...this.#connections]
    for (const connection of connections) connection.destroy()
    await Promise.all(connections.map(({ closed }) => closed))
  }

  onFree(connection: LaneClientConnection): void {
    this.#stopOpening(connection)
    for (const [request, hash] of this.#waiting) {
      this.#waiting.delete(request)
      if (request.isSettled) continue
      this.#idleSinceMs.delete(connection)
      connection.send(request, hash)
      return
    }
    if (this.#onGone) connection.destroy()
    else this.#rest(connection)
  }

  onEnd(connection: LaneClientConnection, error: Error): void {
    this.#stopOpening(connection)
    this.#idleSinceMs.delete(connection)
    this.#connections.delete(connection)
    this.#log.debug({ peerId: this.endpoint.peer, err: error }, 'lane connection ended')
    // One that could not be opened is not tried again while others serve those who wait, and else fails them.
    if (connection.isReady) this.#assign()
    else if (this.#connections.size === 0) this.#failWaiting(error)
    if (this.#connections.size > 0) return
    this.#sweeping?.abort(STOPPED)
    this.#sweeping = null
    this.#onGone?.()
  }

  onSocket(socket: Socket): void {
    this.#onSocket?.(socket)
  }

  #failWaiting(error: Error): void {
    for (const request of [...this.#waiting.keys()]) {
      this.#waiting.delete(request)
      request.lose(error)
    }
  }

  /** Gives idle connections work, and opens as many as that leaves missing. */
  #assign(): void {
    for (const connection of this.#connections) {
      if (this.#waiting.size > 0 && connection.isFree) this.onFree(connection)
    }
    const { connectionsPerPeer } = this.#options
    let openingCount = 0
    for (const { isReady } of this.#connections) if (!isReady) openingCount += 1
    for (; openingCount < this.#waiting.size && this.#connections.size < connectionsPerPeer; openingCount++)
      this.#open()
  }

  #open(): void {
    const { endpoint, connectTimeoutMs } = this.#options
    const connection = new LaneClientConnection(endpoint, this, this.#intake)
    const timer = new AbortController()
    this.#connections.add(connection)
    this.#opening.set(connection, timer)
    this.#clock.sleep(connectTimeoutMs, { signal: timer.signal }).then(
      () => connection.end(new Error(`no handshake within ${connectTimeoutMs} ms`)),
      () => {}, // stopped
    )
  }

  #stopOpening(connection: LaneClientConnection): void {
    this.#opening.get(connection)?.abort(STOPPED)
    this.#opening.delete(connection)
  }

  /** One timer for all that are idle: starting one after each segment took 3 % of a fetching daemon. */
  #rest(connection: LaneClientConnection): void {
    this.#idleSinceMs.set(connection, this.#clock.monotonicMs())
    if (this.#sweeping) return
    const sweeping = new AbortController()
    this.#sweeping = sweeping
    this.#sweep(sweeping.signal)
      .catch(() => {}) // stopped
      .finally(() => {
        if (this.#sweeping === sweeping) this.#sweeping = null
      })
  }

  async #sweep(signal: AbortSignal): Promise<void> {
    while (this.#idleSinceMs.size > 0) {
      const oldestMs = Math.min(...this.#idleSinceMs.values())
      await this.#clock.sleep(oldestMs + KEEP_ALIVE_TIMEOUT_MS - this.#clock.monotonicMs(), { signal })
      const nowMs = this.#clock.monotonicMs()
      for (const [connection, sinceMs] of [...this.#idleSinceMs]) {
        if (nowMs - sinceMs >= KEEP_ALIVE_TIMEOUT_MS) connection.end(new Error('idle for long'))
      }
    }
  }
}
