/**
 * The lane server's sockets: strangers until their handshake is done, then each under its offer.
 *
 * Invariants: at most `maxPending` sockets without identity; a socket is kept only while its offer lives; a peer has at
 * most `maxConnectionsPerPeer`, everybody together `maxConnections`.
 */
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { AgentKey } from '../content/ids.ts'
import type { LaneOffers } from './lane-offers.ts'

export interface LaneConnection {
  readonly socket: TLSSocket
  readonly peer: AgentKey
  readonly offerKey: string
  /** Requests being answered. */
  activeCount: number
}

export interface LaneConnectionLimits {
  readonly maxPending: number
  readonly maxConnections: number
  readonly maxConnectionsPerPeer: number
}

export class LaneConnections {
  readonly #offers: LaneOffers
  readonly #limits: LaneConnectionLimits
  /** By remote address: what the plain and the TLS side of a socket have in common. Insertion order is age. */
  readonly #pending = new Map<string, Socket>()
  /** The identity that pskCallback was asked for and knew; the binder is not checked yet at that moment. */
  readonly #claimed = new WeakMap<TLSSocket, string>()
  /** Insertion order is age. */
  readonly #connections = new Map<TLSSocket, LaneConnection>()
  readonly #stopListening: () => void

  constructor(components: { offers: LaneOffers }, limits: LaneConnectionLimits) {
    this.#offers = components.offers
    this.#limits = limits
    this.#stopListening = components.offers.onEnd(({ key }) => this.#destroyWhere((found) => found.offerKey === key))
  }

  /** A TCP connection came in. Over the limit the oldest stranger goes: a true handshake takes milliseconds. */
  addPending(socket: Socket): void {
    const key = remoteOf(socket)
    this.#pending.set(key, socket)
    socket.once('close', () => {
      if (this.#pending.get(key) === socket) this.#pending.delete(key)
    })
    if (this.#pending.size <= this.#limits.maxPending) return
    const [oldest] = this.#pending.values()
    oldest?.destroy()
  }

  get pendingCount(): number {
    return this.#pending.size
  }

  get count(): number {
    return this.#connections.size
  }

  /** What pskCallback asks: the key of a live offer, or null. */
  claim(socket: TLSSocket, identity: string): Buffer | null {
    const offer = this.#offers.lookup(identity)
    if (!offer) return null
    this.#claimed.set(socket, offer.key)
    return offer.psk
  }

  /** A handshake is complete. A socket that no live offer stands behind, or that there is no room for, is destroyed. */
  accept(socket: TLSSocket): void {
    this.#pending.delete(remoteOf(socket))
    const claimed = this.#claimed.get(socket)
    // Looked up again: the offer may have ended during the handshake.
    const offer = claimed === undefined ? null : this.#offers.lookup(claimed)
    if (!offer || !this.#makeRoom(offer.peer)) {
      socket.destroy()
      return
    }
    this.#connections.set(socket, { socket, peer: offer.peer, offerKey: offer.key, activeCount: 0 })
    socket.once('close', () => this.#connections.delete(socket))
  }

  /** The connection behind a request, or null when its offer has ended. */
  find(socket: TLSSocket): LaneConnection | null {
    const found = this.#connections.get(socket)
    return found && this.#offers.lookup(found.offerKey) ? found : null
  }

  destroyPeer(peer: AgentKey): void {
    this.#destroyWhere((found) => found.peer === peer)
  }

  close(): void {
    this.#stopListening()
    this.#destroyWhere(() => true)
    for (const socket of this.#pending.values()) socket.destroy()
  }

  /** Idle connections give way, oldest first: a peer that crashed leaves some behind. Busy ones never do. */
  #makeRoom(peer: AgentKey): boolean {
    const own = [...this.#connections.values()].filter((found) => found.peer === peer)
    if (own.length >= this.#limits.maxConnectionsPerPeer) return this.#destroyOldestIdle(own)
    if (this.#connections.size < this.#limits.maxConnections) return true
    return this.#destroyOldestIdle([...this.#connections.values()])
  }

  #destroyOldestIdle(connections: readonly LaneConnection[]): boolean {
    const idle = connections.find((found) => found.activeCount === 0)
    if (!idle) return false
    this.#connections.delete(idle.socket)
    idle.socket.destroy()
    return true
  }

  #destroyWhere(isMeant: (connection: LaneConnection) => boolean): void {
    for (const connection of [...this.#connections.values()]) {
      if (!isMeant(connection)) continue
      this.#connections.delete(connection.socket)
      connection.socket.destroy()
    }
  }
}

function remoteOf(socket: Socket): string {
  return `${socket.remoteAddress}:${socket.remotePort}`
}
