/**
 * One agent of the simulation: the product's own policies (crowd, gossip, source choice, admission) with the I/O around
 * them replaced by virtual time. What src/transfer does with sockets and disks, this does with events.
 */

import type { Random } from '../../src/clock.ts'
import type { ToldState } from '../../src/content/fetcher-state.ts'
import type { AgentKey, ResourceKey, SegmentHash } from '../../src/content/ids.ts'
import { PositionSet } from '../../src/content/position-set.ts'
import { SEGMENT_BYTES, type SegmentRange } from '../../src/content/segmentation.ts'
import { LaneAdmission } from '../../src/peers/lane-admission.ts'
import { type Claim, Crowd } from '../../src/swarm/crowd.ts'
import { Gossip } from '../../src/swarm/gossip.ts'
import { Holders } from '../../src/swarm/holders.ts'
import { newsPauseMs } from '../../src/swarm/news-pace.ts'
import { Overdue } from '../../src/swarm/overdue.ts'
import { PeerFlights } from '../../src/swarm/peer-flights.ts'
import { chooseSources, inFlightCount, type PeerView, perPeerDepth } from '../../src/swarm/source-choice.ts'
import type { Flight } from '../../src/swarm/stragglers.ts'
import { LIMITS } from '../../src/transfer/segmented-transfer.ts'
import { type Flow, type Node, node } from './fluid-network.ts'
import { claimBytes, haveBytes, INTEREST_BYTES, REQUEST_BYTES } from './message-size.ts'
import type { World } from './world.ts'

const TICK_MS = 50
const MAX_UPLOADS = 8
const STALL_MS = 2500

/** A neighbour as the source choice sees it; changed in place. */
interface Neighbour extends PeerView {
  readonly agent: SimAgent
  inFlightCount: number
  /** As measured. */
  measuredBytesPerSec: number | null
  bytesPerSec: number | null
  state: PeerView['state']
  holds: PositionSet
}

/** A segment that a neighbour was asked for. */
interface SimFlight extends Flight {
  /** Ends what the neighbour sends; null: it does not. */
  stop: (() => void) | null
  giveUp: () => void
  isOver: boolean
}

interface Stream {
  flow: Flow | null
  /** Bytes of it that the crowd has been told of. */
  toldBytes: number
  isAborted: boolean
}

export class SimAgent {
  readonly key: AgentKey
  readonly node: Node
  readonly missing: PositionSet
  readonly holdings: PositionSet
  isAlive = true
  isSlow = false
  startedAtMs = 0
  doneAtMs: number | null = null
  sentMessages = 0
  sentBytes = 0
  originBytes = 0
  readonly #world: World
  readonly #random: Random
  readonly #crowd: Crowd
  readonly #gossip: Gossip
  readonly #holders: Holders
  readonly #overdue: Overdue
  readonly #admission: LaneAdmission
  readonly #neighbours = new Map<AgentKey, Neighbour>()
  readonly #peers: Neighbour[] = []
  readonly #claims = new Map<Claim, Stream>()
  readonly #nothing: PositionSet
  readonly #news: PositionSet
  readonly #peerFlights = new PeerFlights<SimFlight>({ maxCount: LIMITS.maxInFlight })
  #newsDueMs = Number.POSITIVE_INFINITY
  #toldAtMs = Number.NEGATIVE_INFINITY
  #isPlanScheduled = false
  #hasStarted = false

  constructor(world: World, options: { key: AgentKey; resource: ResourceKey; random: Random; linkMbit: number }) {
    const { segmentCount, originConnections } = world.scenario
    this.#world = world
    this.key = options.key
    this.#random = options.random
    this.node = node(options.linkMbit, options.linkMbit)
    this.missing = PositionSet.full(segmentCount)
    this.holdings = new PositionSet(segmentCount)
    this.#nothing = new PositionSet(segmentCount)
    this.#news = new PositionSet(segmentCount)
    this.#holders = new Holders(segmentCount)
    this.#overdue = new Overdue(segmentCount)
    this.#admission = new LaneAdmission({ clock: world.clock }, { maxUploads: MAX_UPLOADS })
    this.#crowd = new Crowd({
      self: options.key,
      resource: options.resource,
      segmentCount,
      maxStreams: originConnections,
      firstSequence: 0,
      random: options.random,
    })
    this.#gossip = new Gossip(this.#crowd, { self: options.key, random: options.random })
  }

  connect(other: SimAgent): void {
    if (this.#neighbours.has(other.key)) return
    const neighbour: Neighbour = {
      key: other.key,
      agent: other,
      holds: this.#nothing,
      inFlightCount: 0,
      measuredBytesPerSec: null,
      bytesPerSec: null,
      state: 'ready',
    }
    this.#neighbours.set(other.key, neighbour)
    this.#peers.push(neighbour)
  }

  get degree(): number {
    return this.#peers.length
  }

  get isDone(): boolean {
    return this.doneAtMs !== null
  }

  /** Identified: tells all neighbours, and takes part. */
  start(): void {
    if (!this.isAlive) return
    this.#hasStarted = true
    this.startedAtMs = this.#world.queue.nowMs
    this.#crowd.join([...this.#neighbours.keys()], this.#world.queue.nowMs)
    this.#sendAll(INTEREST_BYTES, (other) => other.#hearInterest(this))
    this.#flush()
    this.#tick()
  }

  die(): void {
    this.isAlive = false
    for (const stream of this.#claims.values()) {
      if (stream.flow) this.#world.originBytes += SEGMENT_BYTES - this.#world.network.leftBytes(stream.flow)
    }
    for (const flow of [...this.node.ups, ...this.node.downs]) this.#world.network.cut(flow)
    this.#world.queue.after(STALL_MS, () => {
      for (const { agent } of this.#peers) agent.#lost(this)
    })
  }

  #lost(other: SimAgent): void {
    const neighbour = this.#neighbours.get(other.key)
    if (!this.isAlive || !neighbour) return
    this.#neighbours.delete(other.key)
    this.#peers.splice(this.#peers.indexOf(neighbour), 1)
    this.#holders.leave(other.key)
    this.#gossip.leave(other.key, this.#world.queue.nowMs)
    this.#replan()
  }

  #tick(): void {
    if (!this.isAlive || this.isDone) return
    const { nowMs } = this.#world.queue
    if (this.#claims.size > 0) {
      this.#tellProgress()
      this.#crowd.tune(nowMs)
      if (this.#crowd.yields(nowMs)) this.#replan()
    }
    this.#flush()
    const overdueCount = this.#overdue.positions.size
    this.#lookForOverdue()
    if (this.#overdue.positions.size !== overdueCount) this.#replan()
    this.#update()
    this.#leaveStragglers()
    this.#world.queue.after(TICK_MS * (0.9 + 0.2 * this.#random()), () => this.#tick())
  }

  // What is said

  #send(to: SimAgent, bytes: number, receive: (other: SimAgent) => void): void {
    this.sentMessages++
    this.sentBytes += bytes
    this.#world.queue.after(this.#world.latencyMs(), () => {
      if (to.isAlive) receive(to)
    })
  }

  /** To all neighbours at once, with one event. */
  #sendAll(bytes: number, receive: (other: SimAgent) => void): void {
    const others = this.#peers.map(({ agent }) => agent)
    this.sentMessages += others.length
    this.sentBytes += bytes * others.length
    this.#world.queue.after(this.#world.latencyMs(), () => {
      for (const other of others) if (other.isAlive) receive(other)
    })
  }

  #flush(): void {
    const messages = this.#gossip.due(this.#hasStarted && !this.isDone, this.#world.queue.nowMs)
    for (const [key, told] of messages) {
      const other = this.#neighbours.get(key)?.agent
      if (other) this.#send(other, claimBytes(told), (it) => it.#hearClaims(this, told))
    }
  }

  #hearInterest(from: SimAgent): void {
    if (this.#hasStarted) {
      this.#gossip.join(from.key)
      this.#flush()
    }
    const held = this.holdings.copy()
    this.#send(from, haveBytes({ rangeCount: held.ranges().length, statementCount: 0 }), (other) => {
      other.#hearHave(this, { positions: held, ranges: held.ranges() })
      other.#crowd.answered(this.key)
    })
  }

  #hearClaims(from: SimAgent, told: readonly ToldState[]): void {
    if (!this.#hasStarted) return
    const { nowMs } = this.#world.queue
    if (!this.#gossip.heard(from.key, told, nowMs)) return
    if (this.#claims.size > 0) this.#crowd.yields(nowMs)
    this.#update()
  }

  #announce(index: number): void {
    this.#news.add(index)
    const { queue } = this.#world
    const dueMs = Math.max(queue.nowMs, this.#toldAtMs + newsPauseMs(this.#peers.length, this.#news.size))
    if (dueMs >= this.#newsDueMs) return
    this.#newsDueMs = dueMs
    queue.at(dueMs, () => {
      if (this.#newsDueMs === dueMs && this.isAlive) this.#tellNews()
    })
  }

  #tellNews(): void {
    this.#toldAtMs = this.#world.queue.nowMs
    this.#newsDueMs = Number.POSITIVE_INFINITY
    const news = this.#news.copy()
    const ranges = news.ranges()
    this.#news.clear()
    const others: SimAgent[] = []
    for (const { agent, holds } of this.#peers) {
      let count = 0
      for (let at = news.next(0); at !== -1; at = news.next(at + 1)) if (!holds.has(at)) count++
      if (count === 0) continue
      others.push(agent)
      this.sentMessages++
      this.sentBytes += haveBytes({ rangeCount: count, statementCount: count })
    }
    this.#world.queue.after(this.#world.latencyMs(), () => {
      for (const other of others) if (other.isAlive) other.#hearHave(this, { positions: news, ranges })
    })
  }

  #hearHave(from: SimAgent, news: { readonly positions: PositionSet; readonly ranges: readonly SegmentRange[] }): void {
    const neighbour = this.#neighbours.get(from.key)
    if (!neighbour) return
    this.#holders.add(from.key, news.ranges, this.#world.queue.nowMs)
    if (neighbour.holds === this.#nothing) neighbour.holds = this.#holders.of(from.key) ?? this.#nothing
    // What changes no plan costs none.
    if (this.missing.nextCommon(news.positions, 0) !== -1) this.#replan()
  }

  // What is fetched

  #replan(): void {
    if (this.#isPlanScheduled || this.isDone || !this.#hasStarted || this.#peerFlights.count >= LIMITS.maxInFlight)
      return
    this.#isPlanScheduled = true
    this.#world.queue.after(0, () => {
      this.#isPlanScheduled = false
      if (this.isAlive) this.#plan()
    })
  }

  /** What a slow neighbour was asked for, and a fast one has by now, is had from that one. */
  #leaveStragglers(): void {
    const { nowMs } = this.#world.queue
    for (const { peer } of this.#peerFlights.all()) {
      const neighbour = this.#neighbours.get(peer)
      if (neighbour) neighbour.bytesPerSec = this.#peerFlights.rateOf(peer, neighbour.measuredBytesPerSec, nowMs)
    }
    const options = { nowMs, perPeerInFlight: perPeerDepth(this.#peers, LIMITS) }
    for (const flight of this.#peerFlights.overtaken(this.#peers, options)) {
      flight.giveUp()
    }
    for (const flight of [...this.#peerFlights.all()]) if (this.#overdue.positions.has(flight.index)) flight.giveUp()
  }

  /** What may be had from neighbours. */
  #available(): PositionSet {
    const { positions } = this.#overdue
    if (positions.size === 0) return this.#holders.available
    const available = this.#holders.available.copy()
    available.deleteAll(positions)
    return available
  }

  #lookForOverdue(): void {
    this.#overdue.look({
      missing: this.missing,
      flights: this.#peerFlights,
      holders: this.#holders,
      crowd: this.#crowd,
      nowMs: this.#world.queue.nowMs,
    })
  }

  #plan(): void {
    this.#lookForOverdue()
    this.#leaveStragglers()
    const decisions = chooseSources(
      {
        missing: this.missing,
        isKnown: () => true,
        cached: this.#nothing,
        awaited: this.#nothing,
        available: this.#available(),
        windowEnd: Number.POSITIVE_INFINITY,
        inFlightCount: inFlightCount(this.#peerFlights.count, this.#crowd.ownStreamCount),
        peerRoom: this.#peerFlights.room(this.#crowd.ownStreamCount, this.#world.queue.nowMs),
        peers: this.#peers,
      },
      { limits: LIMITS, random: this.#random },
    )
    for (const decision of decisions) {
      const neighbour = decision.source === 'peer' ? this.#neighbours.get(decision.peer) : undefined
      if (neighbour) this.#fetch(decision.index, neighbour)
    }
  }

  #fetch(index: number, neighbour: Neighbour): void {
    const { queue } = this.#world
    this.missing.delete(index)
    neighbour.inFlightCount++
    this.sentMessages++
    this.sentBytes += REQUEST_BYTES
    const startedAtMs = queue.nowMs
    const settle = (isHere: boolean) => {
      if (flight.isOver) return
      flight.isOver = true
      if (isHere) this.#peerFlights.landed(flight, queue.nowMs)
      this.#peerFlights.end(flight)
      neighbour.inFlightCount--
      if (isHere) {
        const { measuredBytesPerSec: known } = neighbour
        const bytesPerSec = rateNow()
        neighbour.measuredBytesPerSec = known === null ? bytesPerSec : (known * 3 + bytesPerSec) / 4
      }
      neighbour.bytesPerSec = neighbour.measuredBytesPerSec
      if (isHere) this.#delivered(index)
      else this.missing.add(index)
      this.#replan()
    }
    const rateNow = () => (SEGMENT_BYTES / Math.max(0.1, queue.nowMs - startedAtMs)) * 1000
    const giveUp = () => {
      flight.stop?.()
      // It is slower than this; how much is not known.
      neighbour.measuredBytesPerSec = Math.min(neighbour.measuredBytesPerSec ?? rateNow(), rateNow())
      settle(false)
    }
    const flight: SimFlight = { index, peer: neighbour.key, startedAtMs, stop: null, giveUp, isOver: false }
    this.#peerFlights.begin(flight)
    queue.after(this.#world.latencyMs(), () =>
      neighbour.agent.#serve({ to: this, asNeighbour: neighbour, flight }, settle),
    )
  }

  #serve(
    { to, asNeighbour, flight }: { to: SimAgent; asNeighbour: Neighbour; flight: SimFlight },
    settle: (isHere: boolean) => void,
  ): void {
    const { queue, network } = this.#world
    if (flight.isOver) return
    if (!this.isAlive) {
      queue.after(STALL_MS, () => to.isAlive && settle(false))
      return
    }
    const hash = String(flight.index) as SegmentHash // a name is enough here
    const entry = this.#admission.enter(to.key, hash)
    if (!entry.isAdmitted) {
      this.#world.refusals++
      queue.after(this.#world.latencyMs(), () => {
        if (!to.isAlive) return
        asNeighbour.state = 'busy'
        queue.after(entry.retryAfterMs, () => {
          asNeighbour.state = 'ready'
          to.#replan()
        })
        settle(false)
      })
      return
    }
    const startedAtMs = queue.nowMs
    const flow = network.start(this.node, to.node, {
      bytes: SEGMENT_BYTES,
      onDone: () => {
        flight.stop = null
        this.#admission.leave(to.key, hash, queue.nowMs - startedAtMs)
        queue.after(this.#world.latencyMs(), () => to.isAlive && settle(true))
      },
      onCut: () => {
        flight.stop = null
        this.#admission.leave(to.key, hash, queue.nowMs - startedAtMs)
        if (to.isAlive) queue.after(STALL_MS, () => to.isAlive && settle(false))
      },
    })
    flight.stop = () => {
      flight.stop = null
      network.stop(flow)
      this.#admission.leave(to.key, hash, queue.nowMs - startedAtMs)
    }
  }

  #delivered(index: number): void {
    this.holdings.add(index)
    this.#announce(index)
    if (this.holdings.isFull && this.doneAtMs === null) {
      this.doneAtMs = this.#world.queue.nowMs
      this.#crowd.leave()
      this.#flush()
      this.#world.finished()
    }
  }

  // The origin

  #update(): void {
    if (this.isDone || !this.isAlive) return
    const { nowMs } = this.#world.queue
    for (const [claim, stream] of this.#claims) {
      if (claim.end <= claim.next && !stream.isAborted) this.#abort(claim, stream)
    }
    while (this.#crowd.ownStreamCount < this.#crowd.streamShare(nowMs)) {
      const free = this.missing.copy()
      free.deleteAll(this.#available())
      free.deleteAll(this.#crowd.ownClaims)
      const claim = this.#crowd.claim(free, nowMs, { overdue: this.#overdue.positions })
      if (!claim) break
      const stream: Stream = { flow: null, toldBytes: 0, isAborted: false }
      this.#claims.set(claim, stream)
      this.#world.queue.after(this.#world.scenario.wanRttMs, () => this.#nextOf(claim, stream))
    }
    this.#flush()
  }

  #nextOf(claim: Claim, stream: Stream): void {
    if (!this.isAlive || stream.isAborted) return
    if (claim.next >= claim.end || !this.missing.delete(claim.next)) {
      this.#endClaim(claim)
      return
    }
    const index = claim.next
    stream.toldBytes = 0
    stream.flow = this.#world.network.start(this.#world.origin, this.node, {
      bytes: SEGMENT_BYTES,
      maxBytesPerMs: this.#world.scenario.connectionMbit * 125,
      onDone: () => {
        this.#progress(claim, stream, SEGMENT_BYTES)
        this.originBytes += SEGMENT_BYTES
        this.#world.originBytes += SEGMENT_BYTES
        this.#world.originDoneAtMs = this.#world.queue.nowMs
        stream.flow = null
        this.#crowd.advance(claim, index + 1)
        this.#crowd.fetched(index)
        this.#delivered(index)
        this.#nextOf(claim, stream)
      },
    })
  }

  #progress(claim: Claim, stream: Stream, totalBytes: number): void {
    const bytes = totalBytes - stream.toldBytes
    stream.toldBytes = totalBytes
    if (bytes > 0) this.#crowd.progressed(claim, bytes, this.#world.queue.nowMs)
  }

  #tellProgress(): void {
    for (const [claim, stream] of this.#claims) {
      if (stream.flow) this.#progress(claim, stream, SEGMENT_BYTES - this.#world.network.leftBytes(stream.flow))
    }
  }

  #abort(claim: Claim, stream: Stream): void {
    stream.isAborted = true
    if (stream.flow) {
      const bytes = SEGMENT_BYTES - this.#world.network.stop(stream.flow)
      this.#world.originBytes += bytes
      if (!this.holdings.has(claim.next)) this.missing.add(claim.next)
    }
    this.#endClaim(claim)
  }

  #endClaim(claim: Claim): void {
    this.#claims.delete(claim)
    this.#crowd.end(claim, this.#world.queue.nowMs)
    this.#update()
  }
}
