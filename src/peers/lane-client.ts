/**
 * The fetching side of the lane: for each peer a few TLS connections, kept open between segments.
 *
 * Does not verify, retry or choose a peer. Invariants: a connection is used only when its handshake proved the PSK;
 * nothing outlives `forget` and `close`.
 */
import type { TLSSocket } from 'node:tls'
import type { Logger } from 'pino'
import { buildConnector, Pool } from 'undici'
import type { Clock } from '../clock.ts'
import type { AgentKey, SegmentHash } from '../content/ids.ts'
import type { ByteRange } from '../content/segmentation.ts'
import { abortError, ShorthaulError, throwIfAborted } from '../errors.ts'
import { rangeField } from './lane-range.ts'
import { LaneRequest } from './lane-request.ts'
import { SEGMENTS_PATH } from './lane-responder.ts'
import { isPskSession, laneClientTls } from './lane-tls.ts'
import { LaneWatch } from './lane-watch.ts'

/** Where a peer serves and what it offered us over its control session. The key is a secret: never log an endpoint. */
export interface LaneEndpoint {
  readonly peer: AgentKey
  readonly host: string
  readonly port: number
  readonly identity: Uint8Array
  readonly psk: Uint8Array
}

export interface LaneClientOptions {
  readonly connectionsPerPeer: number
  /** One segment, from the call to the last byte, waiting for a connection included. */
  readonly requestTimeoutMs: number
  /** No byte for so long, once asked: SHORTHAUL_PEER_STALLED. */
  readonly stallTimeoutMs: number
  /** TCP and TLS handshake; default 3000. */
  readonly connectTimeoutMs?: number
}

interface PeerPool {
  readonly endpoint: LaneEndpoint
  readonly pool: Pool
}

const CONNECT_TIMEOUT_MS = 3000
/** Shorter than the server's. */
const KEEP_ALIVE_TIMEOUT_MS = 30_000
const MAX_HEADER_BYTES = 4096

export class LaneClient {
  readonly #clock: Clock
  readonly #log: Logger
  readonly #options: LaneClientOptions
  readonly #watch: LaneWatch
  readonly #pools = new Map<AgentKey, PeerPool>()
  /** Pools of superseded endpoints that finish what they have. */
  readonly #retiring = new Map<Pool, AgentKey>()
  #isClosed = false

  constructor(components: { clock: Clock; log: Logger }, options: LaneClientOptions) {
    this.#clock = components.clock
    this.#log = components.log.child({ module: 'peers.lane-client' })
    this.#options = options
    this.#watch = new LaneWatch(components, options)
  }

  /**
   * Fetches one segment into `into`, whose length is the expected length. Returns when exactly so many bytes came; they
   * are UNVERIFIED. `into` is the client's until this settles; on failure its content is undefined. An abort destroys
   * only this request. Errors say in `details.receivedBytes` how many bytes came.
   *
   * @throws SHORTHAUL_PEER_MISSING, SHORTHAUL_PEER_BUSY (details.retryAfterMs), SHORTHAUL_PEER_STALLED,
   *   SHORTHAUL_PEER_UNREACHABLE, SHORTHAUL_PEER_PROTOCOL, SHORTHAUL_ABORTED
   */
  fetchSegment(
    endpoint: LaneEndpoint,
    hash: SegmentHash,
    options: { into: Uint8Array; signal: AbortSignal },
  ): Promise<void> {
    return this.#fetch(endpoint, hash, { ...options, range: null })
  }

  /** As `fetchSegment`, for bytes [start, end) of a segment; `into` has end - start bytes. */
  fetchRange(
    endpoint: LaneEndpoint,
    hash: SegmentHash,
    options: { range: ByteRange; into: Uint8Array; signal: AbortSignal },
  ): Promise<void> {
    const { range, into } = options
    if (range.start < 0 || range.end - range.start !== into.byteLength || into.byteLength === 0) {
      throw new RangeError(`The range [${range.start}, ${range.end}) does not fit ${into.byteLength} bytes`)
    }
    return this.#fetch(endpoint, hash, options)
  }

  /** The session ended: the peer's connections are destroyed, its requests fail as unreachable. Idempotent. */
  async forget(peer: AgentKey): Promise<void> {
    const current = this.#pools.get(peer)
    this.#pools.delete(peer)
    const retiring = [...this.#retiring].filter(([, owner]) => owner === peer).map(([pool]) => pool)
    const doomed = current ? [current.pool, ...retiring] : retiring
    await Promise.all(doomed.map((pool) => pool.destroy()))
  }

  /** Destroys every connection. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true
    const doomed = [...[...this.#pools.values()].map(({ pool }) => pool), ...this.#retiring.keys()]
    this.#pools.clear()
    await Promise.all(doomed.map((pool) => pool.destroy()))
    this.#watch.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #fetch(
    endpoint: LaneEndpoint,
    hash: SegmentHash,
    options: { into: Uint8Array; range: ByteRange | null; signal: AbortSignal },
  ): Promise<void> {
    const { into, range, signal } = options
    throwIfAborted(signal)
    const request = new LaneRequest({
      into,
      range,
      deadlineMs: this.#clock.monotonicMs() + this.#options.requestTimeoutMs,
    })
    const onAbort = () => {
      const { code, message } = abortError(signal)
      request.fail(code, message, { cause: signal.reason })
    }
    signal.addEventListener('abort', onAbort, { once: true })
    this.#watch.add(request)
    try {
      this.#poolFor(endpoint).dispatch(
        {
          method: 'GET',
          path: SEGMENTS_PATH + hash,
          headers: range ? { range: rangeField(range) } : {},
        },
        request,
      )
      await request.done
    } finally {
      signal.removeEventListener('abort', onAbort)
      this.#watch.remove(request)
    }
  }

  #poolFor(endpoint: LaneEndpoint): Pool {
    if (this.#isClosed) throw new ShorthaulError('SHORTHAUL_ABORTED', 'Cannot fetch a segment: the lane is closed')
    const current = this.#pools.get(endpoint.peer)
    if (current && isSameEndpoint(current.endpoint, endpoint)) return current.pool
    if (current) this.#retire(current)
    const { host, port } = endpoint
    const pool = new Pool(`https://${host.includes(':') ? `[${host}]` : host}:${port}`, {
      connect: connectorFor(endpoint, this.#options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS),
      connections: this.#options.connectionsPerPeer,
      pipelining: 1,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
      keepAliveMaxTimeout: KEEP_ALIVE_TIMEOUT_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
      // Ours are in LaneWatch, on the injected clock and told apart.
      headersTimeout: 0,
      bodyTimeout: 0,
    })
    this.#pools.set(endpoint.peer, { endpoint, pool })
    return pool
  }

  /** A new session brought a new offer. What is under way on the old one has its grace, and ends by its deadline. */
  #retire(current: PeerPool): void {
    const { pool, endpoint } = current
    this.#retiring.set(pool, endpoint.peer)
    pool
      .close()
      .catch((error: unknown) => this.#log.debug({ peerId: endpoint.peer, err: error }, 'retired pool destroyed'))
      .finally(() => this.#retiring.delete(pool))
  }
}

function connectorFor(endpoint: LaneEndpoint, timeoutMs: number): buildConnector.connector {
  const connect = buildConnector({ ...laneClientTls(endpoint), maxCachedSessions: 0, timeout: timeoutMs })
  return (options, callback) => {
    connect(options, (...[error, socket]) => {
      if (error) {
        callback(error, null)
      } else if (!isPskSession(socket as TLSSocket)) {
        socket.destroy()
        callback(new ShorthaulError('SHORTHAUL_PEER_PROTOCOL', 'Cannot trust a peer: it did not prove the key'), null)
      } else {
        callback(null, socket)
      }
    })
  }
}

function isSameEndpoint(one: LaneEndpoint, other: LaneEndpoint): boolean {
  return (
    one.host === other.host &&
    one.port === other.port &&
    Buffer.compare(one.identity, other.identity) === 0 &&
    Buffer.compare(one.psk, other.psk) === 0
  )
}
