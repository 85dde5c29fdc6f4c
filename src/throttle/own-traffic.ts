/**
 * What this process itself sent and received over TCP, so that the rest of what the network interface counts is known to
 * be somebody else's.
 *
 * Counts at the edge of user space; what waits in the kernel is socket-queues.ts's. Sockets to this same machine are
 * left out: their bytes pass no network card.
 */
import type { Socket } from 'node:net'

/** wan: to origins and their proxies. lan: to peers. */
export type TrafficKind = 'wan' | 'lan'

/** Since the process began, closed sockets included. */
export interface OwnTotals {
  readonly wanReceivedBytes: number
  readonly wanSentBytes: number
  readonly lanReceivedBytes: number
  readonly lanSentBytes: number
}

/** How a connection of ours is found in the kernel's table. */
export interface OwnConnections {
  /** By `connectionKey`. */
  readonly keys: ReadonlyMap<number, TrafficKind>
  /** Some are IPv6, which has a table of its own. */
  readonly hasIPv6: boolean
}

interface Counts {
  receivedBytes: number
  sentBytes: number
}

/** Not of the public API; absent, what libuv holds back counts as sent, which is less than a piece of an upload. */
interface HandleOfSocket {
  readonly _handle?: { readonly writeQueueSize?: unknown } | null
}

/** Both ports: a port of ours alone can be another process's too, on another address. */
export function connectionKey(localPort: number, remotePort: number): number {
  return localPort * 0x10000 + remotePort
}

export class OwnTraffic {
  readonly #open = new Map<Socket, TrafficKind>()
  readonly #closed: Record<TrafficKind, Counts> = {
    wan: { receivedBytes: 0, sentBytes: 0 },
    lan: { receivedBytes: 0, sentBytes: 0 },
  }

  /**
   * From now on the socket counts, until it closes. The socket below TLS is the better one: a TLSSocket counts plain
   * text, some 0.2 % less than the wire carries. Idempotent.
   */
  add(socket: Socket, kind: TrafficKind): void {
    if (this.#open.has(socket) || socket.destroyed) return
    this.#open.set(socket, kind)
    // Asked now, as it is forgotten when the socket closes.
    let isInside = isInsideMachine(socket)
    socket.once('connect', () => {
      isInside = isInsideMachine(socket)
    })
    socket.once('close', () => {
      this.#open.delete(socket)
      if (!isInside) count(this.#closed[kind], socket)
    })
  }

  totals(): OwnTotals {
    const wan = { ...this.#closed.wan }
    const lan = { ...this.#closed.lan }
    for (const [socket, kind] of this.#open) {
      if (!isInsideMachine(socket)) count(kind === 'wan' ? wan : lan, socket)
    }
    return {
      wanReceivedBytes: wan.receivedBytes,
      wanSentBytes: wan.sentBytes,
      lanReceivedBytes: lan.receivedBytes,
      lanSentBytes: lan.sentBytes,
    }
  }

  /** The connections that are open and pass a network card. */
  connections(): OwnConnections {
    const keys = new Map<number, TrafficKind>()
    let hasIPv6 = false
    for (const [socket, kind] of this.#open) {
      const { localPort, remotePort } = socket
      if (localPort === undefined || remotePort === undefined || isInsideMachine(socket)) continue
      keys.set(connectionKey(localPort, remotePort), kind)
      if (socket.remoteFamily === 'IPv6') hasIPv6 = true
    }
    return { keys, hasIPv6 }
  }
}

function count(into: Counts, socket: Socket): void {
  into.receivedBytes += socket.bytesRead
  into.sentBytes += Math.max(0, socket.bytesWritten - heldBackBytes(socket))
}

/** What libuv has and the kernel did not take yet. */
function heldBackBytes(socket: Socket): number {
  const { _handle } = socket as unknown as HandleOfSocket // a private field of Node's, checked below
  const bytes = _handle?.writeQueueSize
  return typeof bytes === 'number' ? bytes : 0
}

function isInsideMachine({ localAddress, remoteAddress }: Socket): boolean {
  return localAddress !== undefined && (localAddress === remoteAddress || localAddress.startsWith('127.'))
}
