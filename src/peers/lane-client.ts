/**
 * The fetching side of the lane: for each peer a few TLS connections, kept open between segments.
 *
 * Does not verify, retry or choose a peer. Invariants: a connection is used only when its handshake proved the PSK;
 * nothing outlives `forget` and `close`.
 */
import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import type { AgentKey, SegmentHash } from '../content/ids.ts'
import type { ByteRange } from '../content/segmentation.ts'
import { abortError, ShorthaulError, throwIfAborted } from '../errors.ts'
import type { Intake, LaneEndpoint } from './lane-client-connection.ts'
import { LaneClientPool } from './lane-client-pool.ts'
import { LaneRequest } from './lane-request.ts'
import { LaneWatch } from './lane-watch.ts'

export type { LaneEndpoint } from './lane-client-connection.ts'

export interface LaneClientOptions {
  readonly connectionsPerPeer: number
  /** One segment, from the call to the last byte, waiting for a connection included. */
  readonly requestTimeoutMs: number
  /** No byte for so long, once asked: SHORTHAUL_PEER_STALLED. */
  readonly stallTimeoutMs: number
  /** TCP and TLS handshake; default 3000. */
  readonly connectTimeoutMs?: number
}

export interface LaneClientComponents {
  readonly clock: Clock
  readonly log: Logger
  /** Told of each connection that is made: for the accounts of our own traffic. */
  readonly onSocket?: (socket: Socket) => void
  /** Budget for what is fetched; without it all is read as it comes. */
  readonly intake?: Intake
}

const CONNECT_TIMEOUT_MS = 3000

export class LaneClient {
  readonly #components: LaneClientComponents
  readonly #options: LaneClientOptions
  readonly #watch: LaneWatch
  readonly #pools = new Map<AgentKey, LaneClientPool>()
  /** Pools of superseded endpoints that finish what they have. */
  readonly #retiring = new Map<LaneClientPool, AgentKey>()
  #activeCount = 0
  #isClosed = false

  constructor(components: LaneClientComponents, options: LaneClientOptions) {
    this.#components = { ...components, log: components.log.child({ module: 'peers.lane-client' }) }
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

  /** Segments being fetched, those that wait for a connection included. */
  get activeCount(): number {
    return this.#activeCount
  }

  /** The session ended: the peer's connections are destroyed, its requests fail as unreachable. Idempotent. */
  async forget(peer: AgentKey): Promise<void> {
    const current = this.#pools.get(peer)
    this.#pools.delete(peer)
    const retiring = [...this.#retiring].filter(([, owner]) => owner === peer).map(([pool]) => pool)
    const doomed = current ? [current, ...retiring] : retiring
    await Promise.all(doomed.map((pool) => pool.destroy()))
  }

  /** Destroys every connection. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true
    const doomed = [...this.#pools.values(), ...this.#retiring.keys()]
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
      deadlineMs: this.#components.clock.monotonicMs() + this.#options.requestTimeoutMs,
    })
    const onAbort = () => {
      const { code, message } = abortError(signal)
      request.fail(code, message, { cause: signal.reason })
    }
    const pool = this.#poolFor(endpoint)
    signal.addEventListener('abort', onAbort, { once: true })
    this.#watch.add(request)
    this.#activeCount += 1
    try {
      pool.fetch(request, hash)
      await request.done
    } finally {
      this.#activeCount -= 1
      pool.drop(request)
      signal.removeEventListener('abort', onAbort)
      this.#watch.remove(request)
    }
  }

  #poolFor(endpoint: LaneEndpoint): LaneClientPool {
    if (this.#isClosed) throw new ShorthaulError('SHORTHAUL_ABORTED', 'Cannot fetch a segment: the lane is closed')
    const current = this.#pools.get(endpoint.peer)
    if (current && isSameEndpoint(current.endpoint, endpoint)) return current
    if (current) this.#retire(current)
    const { connectionsPerPeer, connectTimeoutMs = CONNECT_TIMEOUT_MS } = this.#options
    const pool = new LaneClientPool(this.#components, { endpoint, connectionsPerPeer, connectTimeoutMs })
    this.#pools.set(endpoint.peer, pool)
    return pool
  }

  /** A new session brought a new offer. What is under way on the old one has its grace, and ends by its deadline. */
  #retire(pool: LaneClientPool): void {
    this.#retiring.set(pool, pool.endpoint.peer)
    pool.retire(() => this.#retiring.delete(pool))
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
