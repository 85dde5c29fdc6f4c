/**
 * Control sessions and lanes between simulated agents. Within a session messages arrive in order, each a while after it was
 * sent; between sessions there is no order. A session ends on one side first: until the other notices, what it sends is
 * lost. Messages cross as bytes, through the real codec.
 */
import type { AgentKey, SegmentHash } from '../../src/content/ids.ts'
import type { VerifiedSegment } from '../../src/content/verify.ts'
import { abortError, ShorthaulError, throwIfAborted } from '../../src/errors.ts'
import type { Message } from '../../src/peers/messages.ts'
import { decodeFrame, encodeFrame } from '../../src/peers/wire.ts'
import type { LaneEndpointLike, PeerLane, PeerLike, PeerLink } from '../../src/transfer/ports.ts'
import type { Scheduler, SimulatedClock } from './scheduler.ts'
import type { Weather } from './weather.ts'

const LAN_BYTES_PER_MS = 50_000
const MAX_UPLOADS = 4
const STALL_TIMEOUT_MS = 4000
const LOOK_MS = 500

type Listener = (peer: PeerLike, extra: never) => void

/** One run of one agent, as the network sees it. */
export interface Station {
  readonly name: string
  readonly key: AgentKey
  readonly clock: SimulatedClock
  readonly isAlive: () => boolean
  readonly read: (hash: SegmentHash, signal: AbortSignal) => Promise<VerifiedSegment | null>
}

/** One agent's end of a session. */
interface End {
  readonly session: number
  readonly peer: PeerLike
  /** Nothing arrives before it: the order within a session. */
  lastArrivalMs: number
}

export class Network {
  readonly #scheduler: Scheduler
  readonly #weather: Weather
  readonly #links = new Map<AgentKey, Link>()
  /** Pairs that cannot reach each other, until then. */
  readonly #cuts = new Map<string, number>()
  #sessionCount = 0

  constructor(scheduler: Scheduler, weather: Weather) {
    this.#scheduler = scheduler
    this.#weather = weather
    this.#look()
  }

  attach(station: Station): Link {
    const link = new Link(this, station, this.#scheduler, this.#weather)
    this.#links.set(station.key, link)
    return link
  }

  /** Its machine is dead; the others notice in their own time. */
  detach(key: AgentKey): void {
    this.#links.delete(key)
    for (const link of this.#links.values()) this.#noticeLater(link, key)
  }

  link(key: AgentKey): Link | undefined {
    return this.#links.get(key)
  }

  isCut(one: AgentKey, other: AgentKey): boolean {
    return (this.#cuts.get(pairOf(one, other)) ?? 0) > this.#scheduler.nowMs
  }

  /** Sessions come and go. */
  #look(): void {
    const links = [...this.#links.values()]
    for (const [at, one] of links.entries()) {
      for (const other of links.slice(at + 1)) this.#lookAt(one, other)
    }
    this.#scheduler.schedule(LOOK_MS * this.#scheduler.between(0.5, 1), () => this.#look())
  }

  #lookAt(one: Link, other: Link): void {
    const [a, b] = [one.station.key, other.station.key]
    if (this.#weather.strikes('partition', 0.3)) {
      this.#cuts.set(pairOf(a, b), this.#scheduler.nowMs + this.#scheduler.between(500, 10_000))
    }
    const isJoined = one.end(b) !== undefined && one.end(b)?.session === other.end(a)?.session
    const isCut = !this.#weather.isCalm && this.isCut(a, b)
    if (isJoined && (isCut || this.#weather.strikes('session', 0.5))) {
      this.#noticeLater(one, b)
      this.#noticeLater(other, a)
    }
    if (isJoined || isCut) return
    // One of them may not have noticed that the last one ended: for it the session is replaced, with or without a gap.
    if (this.#scheduler.chance(0.5)) {
      one.leave(b)
      other.leave(a)
    }
    const session = ++this.#sessionCount
    one.join(other.station, session)
    other.join(one.station, session)
  }

  #noticeLater(link: Link, peer: AgentKey): void {
    const session = link.end(peer)?.session
    const delayMs = this.#scheduler.chance(0.5) ? this.#scheduler.between(0, 20) : this.#scheduler.between(20, 6000)
    this.#scheduler.schedule(delayMs, () => {
      if (session !== undefined && link.end(peer)?.session === session) link.leave(peer)
    })
  }
}

export class Link implements PeerLink, PeerLane {
  readonly station: Station
  readonly #network: Network
  readonly #scheduler: Scheduler
  readonly #weather: Weather
  readonly #ends = new Map<AgentKey, End>()
  readonly #listeners = new Map<string, Set<Listener>>()
  readonly #inUse = new Set<AgentKey>()
  uploadCount = 0

  constructor(network: Network, station: Station, scheduler: Scheduler, weather: Weather) {
    this.#network = network
    this.station = station
    this.#scheduler = scheduler
    this.#weather = weather
  }

  end(peer: AgentKey): End | undefined {
    return this.#ends.get(peer)
  }

  /** Neighbours that a transfer said it uses: none when all is over. */
  get inUseCount(): number {
    return this.#inUse.size
  }

  join(other: Station, session: number): void {
    if (!this.station.isAlive()) return
    const lane = { host: other.name, port: 1, identity: Buffer.alloc(16), psk: Buffer.alloc(32) }
    const peer: PeerLike = { key: other.key, isLocal: true, rttMs: 0.5, lane }
    this.#ends.set(other.key, { session, peer, lastArrivalMs: 0 })
    this.#scheduler.note(`${this.station.name}: session ${session} with ${other.name}`)
    this.#emit('join', peer, undefined)
  }

  leave(key: AgentKey): void {
    const end = this.#ends.get(key)
    if (!end || !this.station.isAlive()) return
    this.#ends.delete(key)
    this.#scheduler.note(`${this.station.name}: session ${end.session} ended`)
    this.#emit('leave', end.peer, 'gone')
  }

  peers(): readonly PeerLike[] {
    return [...this.#ends.values()].map(({ peer }) => peer)
  }

  send(key: AgentKey, message: Message): boolean {
    const end = this.#ends.get(key)
    if (!end || !this.station.isAlive()) return false
    const frame = encodeFrame(message)
    const delayMs = this.#scheduler.chance(0.05) ? this.#scheduler.between(5, 300) : this.#scheduler.between(0.2, 3)
    end.lastArrivalMs = Math.max(end.lastArrivalMs + 0.001, this.#scheduler.nowMs + delayMs)
    this.#scheduler.schedule(end.lastArrivalMs - this.#scheduler.nowMs, () => this.#deliver(end.session, key, frame))
    return true
  }

  broadcast(message: Message): number {
    const peers = this.peers()
    for (const { key } of peers) this.send(key, message)
    return peers.length
  }

  memberCount(): number {
    return this.peers().length + 1
  }

  setInUse(peer: AgentKey, isInUse: boolean): void {
    if (isInUse) this.#inUse.add(peer)
    else this.#inUse.delete(peer)
  }

  on(event: string, listener: Listener | ((peer: PeerLike) => void)): () => void {
    const listeners = this.#listeners.get(event) ?? new Set()
    this.#listeners.set(event, listeners.add(listener as Listener))
    return () => listeners.delete(listener as Listener)
  }

  async fetchSegment(
    { peer }: LaneEndpointLike,
    hash: SegmentHash,
    { into, signal }: { readonly into: Uint8Array; readonly signal: AbortSignal },
  ): Promise<void> {
    await this.#pause(this.#scheduler.between(0.2, 2), signal)
    const server = this.#network.link(peer)
    if (!server?.station.isAlive() || this.#network.isCut(peer, this.station.key) || this.#strikes('lane-lost')) {
      await this.#pause(this.#scheduler.between(1, 3000), signal)
      throw peerError('SHORTHAUL_PEER_UNREACHABLE')
    }
    if (server.uploadCount >= MAX_UPLOADS || this.#strikes('lane-busy')) {
      throw peerError('SHORTHAUL_PEER_BUSY', { retryAfterMs: this.#scheduler.between(10, 500) })
    }
    server.uploadCount++
    try {
      await this.#serve(server, hash, { into, signal })
    } finally {
      server.uploadCount--
    }
  }

  async #serve(
    server: Link,
    hash: SegmentHash,
    { into, signal }: { readonly into: Uint8Array; readonly signal: AbortSignal },
  ): Promise<void> {
    // What the server does takes its own time: a dead one never answers, and the deadline here ends the wait.
    const answered = server.station.read(hash, new AbortController().signal).catch(() => null)
    const arrived = new AbortController()
    const isStalled = this.#pause(STALL_TIMEOUT_MS, AbortSignal.any([signal, arrived.signal])).then(
      () => true,
      () => false,
    )
    const segment = await Promise.race([answered, isStalled])
    arrived.abort('arrived')
    throwIfAborted(signal)
    if (typeof segment === 'boolean') throw peerError('SHORTHAUL_PEER_STALLED')
    if (segment === null) throw peerError('SHORTHAUL_PEER_MISSING')
    if (segment.bytes.byteLength !== into.byteLength) throw peerError('SHORTHAUL_PEER_PROTOCOL')
    if (this.#strikes('lane-stall')) {
      await this.#pause(STALL_TIMEOUT_MS, signal)
      throw peerError('SHORTHAUL_PEER_STALLED', { receivedBytes: into.byteLength >> 1 })
    }
    await this.#pause(segment.bytes.byteLength / LAN_BYTES_PER_MS + this.#scheduler.between(0, 20), signal)
    if (!server.station.isAlive()) throw peerError('SHORTHAUL_PEER_UNREACHABLE')
    into.set(segment.bytes)
    if (this.#strikes('lane-corrupt')) into[this.#scheduler.whole(0, into.byteLength)] = 0xa5
  }

  #deliver(session: number, key: AgentKey, frame: Uint8Array): void {
    const other = this.#network.link(key)
    const end = other?.end(this.station.key)
    if (!this.station.isAlive() || !other || end?.session !== session) return
    const message = decodeFrame(frame)
    if (!isMessage(message)) return
    this.#scheduler.note(`${this.station.name} -> ${other.station.name} ${summary(message)}`)
    other.#emit('message', end.peer, message)
  }

  #strikes(kind: 'lane-lost' | 'lane-busy' | 'lane-stall' | 'lane-corrupt'): boolean {
    return this.#weather.strikes(kind)
  }

  async #pause(delayMs: number, signal: AbortSignal): Promise<void> {
    try {
      await this.station.clock.sleep(delayMs, { signal })
    } catch {
      throw abortError(signal)
    }
  }

  #emit(event: string, peer: PeerLike, extra: unknown): void {
    if (!this.station.isAlive()) return
    for (const listener of this.#listeners.get(event) ?? []) listener(peer, extra as never)
  }
}

/** Not the session's own affair. */
function isMessage(frame: ReturnType<typeof decodeFrame>): frame is Message {
  return !['hello', 'ping', 'pong', 'unknown'].includes(frame.type)
}

function pairOf(one: AgentKey, other: AgentKey): string {
  return one < other ? `${one} ${other}` : `${other} ${one}`
}

function peerError(code: ShorthaulError['code'], details: Record<string, unknown> = {}): ShorthaulError {
  return new ShorthaulError(code, `Cannot fetch the segment: simulated ${code}`, {
    details: { receivedBytes: 0, ...details },
  })
}

function summary(message: Message): string {
  switch (message.type) {
    case 'have':
    case 'gone':
      return `${message.type} ${message.ranges.map(({ start, end }) => `${start}-${end}`).join(',')}`
    case 'claim':
      return `claim ${message.states
        .map(({ state }) => `${state.condition}:${state.claimed.map(({ start, end }) => `${start}-${end}`).join(',')}`)
        .join(' ')}`
    case 'interest':
      return `interest ${message.isWanted}`
    case 'manifest-request':
      return `manifest-request ${message.firstIndex}`
    default:
      return message.type
  }
}
