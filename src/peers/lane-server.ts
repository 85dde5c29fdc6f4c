/**
 * The serving side of the lane: HTTPS under a PSK on one TCP port.
 *
 * Does not decide who may have what (`read`) or who may connect (LaneOffers). Bounds everything a stranger can do before
 * it is known: sockets, time, header bytes.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import type { AgentKey } from '../content/ids.ts'
import { ShorthaulError, systemCode } from '../errors.ts'
import { LaneAdmission } from './lane-admission.ts'
import { LaneConnections } from './lane-connections.ts'
import type { LaneOffers } from './lane-offers.ts'
import { LaneResponder, listenForRequests, type ReadForPeer } from './lane-responder.ts'
import { laneServerTls } from './lane-tls.ts'
import type { Pace } from './lane-upload.ts'
import { LaneWatch } from './lane-watch.ts'

export type { ReadForPeer } from './lane-responder.ts'

export interface LaneServerOptions {
  readonly host: string
  /** 0: any free one. */
  readonly port: number
  /** Segments being sent at once; one more is told to come back. */
  readonly maxUploads: number
  readonly maxConnections: number
  readonly maxConnectionsPerPeer: number
  /** When the port is taken: true listens on any free one, false fails. */
  readonly portFallback: boolean
  /** Sockets whose handshake is not done; default 64. */
  readonly maxPending?: number
  /** An upload of which the peer takes nothing for so long is destroyed; default 5000. */
  readonly uploadStallTimeoutMs?: number
}

export interface LaneServerComponents {
  readonly clock: Clock
  readonly log: Logger
  /** Not owned: the caller closes it. */
  readonly offers: LaneOffers
  readonly read: ReadForPeer
  /** Bytes of bodies that left, also of an upload that broke. */
  readonly onServed?: (peer: AgentKey, bytes: number) => void
  /** Budget for uploads; without it they go as fast as they can. */
  readonly pace?: Pace
  /** What `read` gave was sent whole and is no longer looked at. */
  readonly onSent?: (bytes: Uint8Array) => void
  /** Told of each connection, below TLS: for the accounts of our own traffic. */
  readonly onSocket?: (socket: Socket) => void
}

const MAX_PENDING = 64
const HANDSHAKE_TIMEOUT_MS = 5000
const UPLOAD_STALL_TIMEOUT_MS = 5000
/** A request of ours has about 200 bytes. */
const MAX_HEADER_BYTES = 4096
const HEADERS_TIMEOUT_MS = 5000
const REQUEST_TIMEOUT_MS = 10_000
const CHECKING_INTERVAL_MS = 2500
/** Longer than the client's, so that the client closes idle connections and never writes into a closing one. */
const KEEP_ALIVE_TIMEOUT_MS = 60_000

export class LaneServer {
  readonly port: number
  readonly #server: Server
  readonly #admission: LaneAdmission
  readonly #connections: LaneConnections
  readonly #watch: LaneWatch
  readonly #answers = new Set<Promise<void>>()
  #closing: Promise<void> | null = null

  private constructor(parts: {
    server: Server
    admission: LaneAdmission
    connections: LaneConnections
    watch: LaneWatch
  }) {
    this.#server = parts.server
    this.#admission = parts.admission
    this.#connections = parts.connections
    this.#watch = parts.watch
    this.port = (parts.server.address() as AddressInfo).port // a TCP server that listens has this kind
  }

  /**
   * Listens. Whoever opens it closes it.
   *
   * @throws SHORTHAUL_PORT_IN_USE when the port cannot be had, SHORTHAUL_NETWORK_INTERFACE when the host is not ours
   */
  static async open(components: LaneServerComponents, options: LaneServerOptions): Promise<LaneServer> {
    const log = components.log.child({ module: 'peers.lane-server' })
    const connections = new LaneConnections(
      { offers: components.offers },
      {
        maxPending: options.maxPending ?? MAX_PENDING,
        maxConnections: options.maxConnections,
        maxConnectionsPerPeer: options.maxConnectionsPerPeer,
      },
    )
    const server = createServer({
      ...laneServerTls((socket, identity) => connections.claim(socket, identity)),
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      connectionsCheckingInterval: CHECKING_INTERVAL_MS,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
      noDelay: true,
    })
    // Only a last belt: `connections` keeps both numbers already.
    server.maxConnections = options.maxConnections + 2 * (options.maxPending ?? MAX_PENDING)
    // First in line, so that a socket is counted before TLS takes it over.
    server.prependListener('connection', (socket: Socket) => {
      connections.addPending(socket)
      components.onSocket?.(socket)
    })
    // First in line too: HTTP must not see a socket that is not accepted.
    server.prependListener('secureConnection', (socket) => connections.accept(socket))
    // The codes differ between versions of Node and the peer is a stranger: nothing to tell apart.
    server.on('tlsClientError', (error) => log.debug({ err: error }, 'lane handshake failed'))
    try {
      await listen(server, options)
    } catch (error) {
      connections.close()
      throw error
    }
    server.on('error', (error) => log.error({ err: error }, 'lane server failed'))

    const watch = new LaneWatch(components, {
      stallTimeoutMs: options.uploadStallTimeoutMs ?? UPLOAD_STALL_TIMEOUT_MS,
    })
    const admission = new LaneAdmission(components, {
      maxUploads: options.maxUploads,
      limit: () => components.pace?.maxUploads() ?? Infinity,
    })
    const lane = new LaneServer({ server, admission, connections, watch })
    const responder = new LaneResponder({ ...components, log, admission, watch })
    listenForRequests(server, (request, response) => lane.#answer(responder, request, response))
    log.info({ port: lane.port }, 'lane listening')
    return lane
  }

  activeUploads(): number {
    return this.#admission.activeCount
  }

  /** Destroys the peer's connections; its offer stays: revoke that to keep it out. */
  destroyPeer(peer: AgentKey): void {
    this.#connections.destroyPeer(peer)
  }

  /** Destroys every connection and waits for the answers under way to end. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#connections.close()
    await closed
    await Promise.all(this.#answers)
    this.#watch.close()
  }

  #answer(responder: LaneResponder, request: IncomingMessage, response: ServerResponse): void {
    const connection = this.#connections.find(request.socket as TLSSocket) // an https server has no others
    if (!connection) {
      request.socket.destroy()
      return
    }
    // A reset in the middle of an answer is the peer's affair; unheard it would end the process.
    response.on('error', () => {})
    connection.activeCount += 1
    const answer = responder.respond(request, response, connection.peer).finally(() => {
      connection.activeCount -= 1
      this.#answers.delete(answer)
    })
    this.#answers.add(answer)
  }
}

async function listen(server: Server, options: LaneServerOptions): Promise<void> {
  const { host, port, portFallback } = options
  try {
    await listenOn(server, { host, port })
  } catch (error) {
    const system = systemCode(error)
    if (system === 'EADDRNOTAVAIL' || system === 'ENOTFOUND') {
      throw new ShorthaulError('SHORTHAUL_NETWORK_INTERFACE', `Cannot listen on host "${host}": ${system}`, {
        cause: error,
        details: { host, port, system },
      })
    }
    // EACCES: a privileged port, or one that Windows has set aside.
    if (portFallback && port !== 0 && (system === 'EADDRINUSE' || system === 'EACCES')) {
      await listen(server, { ...options, port: 0 })
      return
    }
    throw new ShorthaulError('SHORTHAUL_PORT_IN_USE', `Cannot listen on TCP port ${port}: ${system ?? String(error)}`, {
      cause: error,
      details: { host, port, system },
    })
  }
}

function listenOn(server: Server, address: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(address, () => {
      server.removeListener('error', reject)
      resolve()
    })
  })
}
