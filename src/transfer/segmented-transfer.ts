/**
 * One transfer of one identified resource: plans, starts fetches, re-plans when something ends, until every segment is
 * delivered. What comes from where inside the branch is swarm/source-choice.ts's decision, and what from the origin that of
 * origin-claims.ts; this file carries out the former and keeps the books.
 *
 * Invariants:
 * 1. A position is in exactly one of: missing, in flight, delivered.
 * 2. Whatever fails on the way to a position puts it back into missing; only local faults, a changed origin and an
 *    origin that refuses end the transfer.
 * 3. Bytes reach the store and the delivery only as VerifiedSegment.
 */
import { setMaxListeners } from 'node:events'
import type { Logger } from 'pino'
import type { Clock, Random } from '../clock.ts'
import type { AgentKey } from '../content/ids.ts'
import { PositionSet } from '../content/position-set.ts'
import type { SegmentPool } from '../content/segment-pool.ts'
import { SEGMENT_BYTES, segmentLength } from '../content/segmentation.ts'
import { verifySegment } from '../content/verify.ts'
import { abortError, isShorthaulError, ShorthaulError } from '../errors.ts'
import type { OriginStream } from '../origin/origin.ts'
import type { Store } from '../store/store.ts'
import { Overdue } from '../swarm/overdue.ts'
import { PeerFlights } from '../swarm/peer-flights.ts'
import {
  chooseSources,
  type Decision,
  inFlightCount,
  type PeerView,
  type PlanLimits,
  perPeerDepth,
} from '../swarm/source-choice.ts'
import type { Flight } from '../swarm/stragglers.ts'
import type { Priority } from '../throttle/priority.ts'
import type { Accusations } from './accusations.ts'
import type { Committer } from './commit.ts'
import type { Exchange } from './exchange.ts'
import type { OriginFetcher } from './fetch-origin.ts'
import { fetchFromPeer } from './fetch-peer.ts'
import { type ClaimedPositions, OriginClaims } from './origin-claims.ts'
import type { PeerLane, PeerLike, PeerLink, PeerRecord, QuarantineLike, WanControl } from './ports.ts'
import { type Delivery, heldNote, type TransferNote } from './request.ts'
import type { SharedResource } from './shared-resource.ts'
import type { SpotChecks } from './spot-checks.ts'
import type { Tally } from './tally.ts'
import type { Wanted } from './wanted.ts'

export interface SegmentedComponents {
  readonly store: Store
  readonly exchange: Exchange
  readonly link: PeerLink | null
  readonly lane: PeerLane | null
  readonly book: PeerRecord
  readonly pool: SegmentPool
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly committer: Committer
  readonly originFetcher: OriginFetcher | null
  readonly quarantine: QuarantineLike
  readonly accusations: Pick<Accusations, 'contradicted'>
  /** Null: what members vouch for is not checked. */
  readonly checks: SpotChecks | null
  readonly wan: WanControl | null
  readonly delivery: Delivery
  readonly tally: Tally
  readonly note: (note: TransferNote) => void
}

export interface SegmentedOptions {
  readonly isAttestedTrusted: boolean
  readonly self: AgentKey
  readonly wanted: Wanted
  readonly priority: Priority
  /** The first GET, when it served as the probe. */
  readonly firstStream: OriginStream | null
  /** Resolves when the origin may be asked: neighbours had their chance to answer. */
  readonly originHold: Promise<void>
  /**
   * Resolves when it is known what the origin declares of the segments, or that it will not be: until then nothing is taken
   * from neighbours or the cache, since it could be a lie that shows a moment later. Never rejects.
   */
  readonly declared: Promise<unknown>
  /** With no source left, how long to wait for one to appear. */
  readonly patienceMs: number
  readonly signal: AbortSignal
}

/**
 * Four to one peer keep a 1 Gbit/s link busy over a LAN round trip. More in all would only wait in the neighbours' queues,
 * and what waits there spreads late: in the simulator, with a WAN as fast as the LAN, 16 took 1.3 x as long as 6.
 */
export const LIMITS: PlanLimits = { maxInFlight: 6, perPeerInFlight: 4 }
/** Nothing moves and nothing is planned: look again this often, for bans and back-offs that end by themselves. */
const IDLE_TICK_MS = 250
/** No reason: an error would have to be made each time, with its stack. */
const WOKEN = 'woken'
/** A back-off of this length comes after several failures in a row: what such a neighbour fetches, we shall not get. */
const LOST_AFTER_MS = 3000
const STARVED_MIN_MS = 5_000
const STARVED_SPREAD_MS = 5_000

/** Each can be given up by itself. */
interface PeerFlight extends Flight {
  readonly abort: AbortController
}

export class SegmentedTransfer {
  readonly #c: SegmentedComponents
  readonly #o: SegmentedOptions
  readonly #shared: SharedResource
  readonly #missing: PositionSet
  readonly #claims: OriginClaims | null
  readonly #tasks = new Set<Promise<void>>()
  readonly #peerFlights = new PeerFlights<PeerFlight>({ maxCount: LIMITS.maxInFlight })
  /** Members on whose word something rests that was delivered. */
  readonly #believed = new Set<AgentKey>()
  /** Ends all tasks when the transfer ends, however it ends. */
  readonly #stop = new AbortController()
  #inFlightCount = 0
  #deliveredCount = 0
  #isHeld = true
  #isDeclared = false
  /** Positions at which the origin sent something else than it declares; once each. */
  readonly #contradicted = new Set<number>()
  #failure: unknown = null
  #wake: (() => void) | null = null
  #lastChangeMs: number
  #lastDeliveryMs: number
  readonly #overdue: Overdue
  /** Holders that stay busy for so long are no reason to wait; jittered, so that not all waiters turn to the origin at once. */
  readonly #starvedAfterMs: number

  constructor(components: SegmentedComponents, shared: SharedResource, options: SegmentedOptions) {
    this.#c = components
    this.#o = options
    this.#shared = shared
    this.#missing = options.wanted.positions.copy()
    this.#overdue = new Overdue(shared.draft.segmentCount)
    this.#claims = this.#originClaims()
    this.#lastChangeMs = components.clock.monotonicMs()
    this.#lastDeliveryMs = this.#lastChangeMs
    this.#starvedAfterMs = STARVED_MIN_MS + components.random() * STARVED_SPREAD_MS
  }

  /**
   * Resolves when every segment that is wanted is delivered.
   * @throws the reason why that cannot be; SHORTHAUL_PEER_LIED when something was delivered that must be had anew
   */
  async run(): Promise<void> {
    const { signal } = this.#o
    // One listener for each fetch in flight and no more: the default of 10 would warn of a leak that is none.
    setMaxListeners(2 * LIMITS.maxInFlight, this.#stop.signal)
    const onAbort = () => this.#fail(abortError(signal))
    const unobserve = this.#shared.observe(() => this.#changed())
    this.#c.delivery.onWindow(() => this.#changed())
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    this.#o.originHold.then(
      () => {
        this.#isHeld = false
        this.#changed()
      },
      (error: unknown) => this.#fail(error),
    )
    void this.#o.declared.then(() => {
      this.#isDeclared = true
      this.#changed()
    })
    try {
      await this.#keepLeftOver()
      if (this.#o.firstStream) {
        this.#isHeld = false
        this.#claims?.startFirst(this.#o.firstStream)
      }
      while (this.#deliveredCount < this.#o.wanted.positions.size) {
        if (this.#failure !== null) throw this.#failure
        this.throwIfLiedTo()
        const peers = this.#peers()
        this.#lookForOverdue()
        this.#leaveStragglers(peers)
        if (this.#isDeclared) for (const decision of this.#plan(peers)) this.#start(decision)
        if (!this.#isHeld) this.#claims?.update()
        this.#giveUpWhenStuck()
        await this.#changeOrTick()
      }
    } finally {
      unobserve()
      signal.removeEventListener('abort', onAbort)
      this.#stop.abort(new ShorthaulError('SHORTHAUL_ABORTED', 'The transfer ended'))
      for (const { abort } of this.#peerFlights.all()) abort.abort(this.#stop.signal.reason)
      await this.#o.firstStream?.cancel().catch(() => {})
      await Promise.allSettled(this.#tasks)
    }
  }

  /** @throws SHORTHAUL_PEER_LIED when something that was delivered rests on the word of a member in quarantine */
  throwIfLiedTo(): void {
    for (const member of this.#believed) {
      if (!this.#c.quarantine.has(member)) continue
      throw new ShorthaulError(
        'SHORTHAUL_PEER_LIED',
        `Cannot use what ${member.slice(0, 8)} vouched for: the origin does not have it`,
        { details: { peer: member } },
      )
    }
  }

  /** What the part already has counts as cache, when its hash is the one that the draft knows. */
  async #keepLeftOver(): Promise<void> {
    const hashes = await this.#c.delivery.leftOver()
    if (hashes.some((hash) => hash !== null) && !this.#o.firstStream) await this.#o.declared
    for (const [index, hash] of hashes.entries()) {
      if (hash === null || !this.#isKnown(index) || this.#shared.draft.entry(index)?.hash !== hash) continue
      if (!this.#missing.delete(index)) continue
      await this.#c.delivery.keep(index)
      this.#delivered(index, 'cache')
    }
  }

  #isKnown(index: number): boolean {
    const entry = this.#shared.draft.entry(index)
    if (!entry) return false
    return this.#o.isAttestedTrusted || entry.trust !== 'attested' || entry.signer === this.#o.self
  }

  #plan(peers: readonly PeerView[]): Decision[] {
    return chooseSources(
      {
        missing: this.#missing,
        isKnown: (index) => this.#isKnown(index),
        cached: this.#shared.holdings,
        awaited: this.#awaitedPositions(),
        available: this.#available(peers),
        windowEnd: this.#c.delivery.windowEnd(),
        inFlightCount: inFlightCount(this.#inFlightCount, this.#shared.crowd.ownStreamCount),
        peerRoom: this.#peerFlights.room(this.#shared.crowd.ownStreamCount, this.#c.clock.monotonicMs()),
        peers,
      },
      { limits: LIMITS, random: this.#c.random },
    )
  }

  #leaveStragglers(peers: readonly PeerView[]): void {
    const nowMs = this.#c.clock.monotonicMs()
    const options = { nowMs, perPeerInFlight: perPeerDepth(peers, LIMITS) }
    for (const { peer, startedAtMs, abort } of this.#peerFlights.overtaken(peers, options)) {
      this.#c.book.overtaken(peer, { bytes: SEGMENT_BYTES, durationMs: nowMs - startedAtMs })
      abort.abort(new ShorthaulError('SHORTHAUL_ABORTED', 'Another neighbour is faster'))
    }
    for (const { index, abort } of this.#peerFlights.all()) {
      if (this.#overdue.positions.has(index)) abort.abort(new ShorthaulError('SHORTHAUL_ABORTED', 'It is overdue'))
    }
  }

  #lookForOverdue(): void {
    if (this.#claims === null || this.#isHeld) return
    const { holders, crowd } = this.#shared
    const nowMs = this.#c.clock.monotonicMs()
    this.#overdue.look({ missing: this.#missing, flights: this.#peerFlights, holders, crowd, nowMs })
  }

  /** Held by a neighbour that can be asked, or waited for. */
  #available(peers: readonly PeerView[]): PositionSet {
    const isAllUsable = peers.every((peer) => peer.state !== 'unusable')
    if (isAllUsable && this.#overdue.positions.size === 0) return this.#shared.holders.available
    const available = new PositionSet(this.#shared.draft.segmentCount)
    for (const peer of peers) if (peer.state !== 'unusable') available.addAll(peer.holds)
    available.deleteAll(this.#overdue.positions)
    return available
  }

  /** What other transfers of this agent are about to get. */
  #awaitedPositions(): PositionSet {
    const positions = new PositionSet(this.#shared.draft.segmentCount)
    for (const [index, owner] of this.#shared.flights) if (owner !== this) positions.add(index)
    for (const [claim, owner] of this.#shared.claims) {
      if (owner !== this) positions.addRange({ start: claim.next, end: claim.end })
    }
    return positions
  }

  #originClaims(): OriginClaims | null {
    const { originFetcher: fetcher, clock, exchange, wan } = this.#c
    if (!fetcher) return null
    const shared = this.#shared
    const { priority, wanted } = this.#o
    return new OriginClaims(
      { fetcher, shared, clock, wan, positions: this.#claimedPositions() },
      {
        owner: this,
        wanted: wanted.positions,
        priority,
        signal: this.#stop.signal,
        onChange: () => exchange.claimed(shared),
      },
    )
  }

  #claimedPositions(): ClaimedPositions {
    return {
      free: () => this.#freePositions(),
      overdue: this.#overdue.positions,
      isAlone: () => !this.#hasCompany(),
      take: (index) => {
        if (!this.#missing.delete(index)) return false
        this.#shared.flights.set(index, this)
        return true
      },
      land: (index, isDelivered) => this.#land(index, isDelivered),
      commit: (index, bytes) => this.#commitFromOrigin(index, bytes),
      spawn: (run) => this.#spawn(run),
      onRetry: (error) => this.#noteRetry(error),
      onHold: (hold) => this.#c.note(heldNote(hold)),
    }
  }

  /** Neither here, nor to be had from a neighbour, nor on its way in this agent. */
  #freePositions(): PositionSet {
    const { draft, holdings, crowd, hashesExpectedUntilMs } = this.#shared
    const free = this.#missing.copy()
    const available = this.#available(this.#peers())
    const areHashesExpected = this.#c.clock.monotonicMs() < hashesExpectedUntilMs
    for (let index = free.nextCommon(available, 0); index !== -1; index = free.nextCommon(available, index + 1)) {
      const isHashExpected = areHashesExpected && draft.entry(index) === undefined && !draft.isDisputed(index)
      if (this.#isKnown(index) || isHashExpected) free.delete(index)
    }
    for (let index = free.nextCommon(holdings, 0); index !== -1; index = free.nextCommon(holdings, index + 1)) {
      if (this.#isKnown(index)) free.delete(index)
    }
    free.deleteAll(crowd.ownClaims)
    free.deleteAll(this.#awaitedPositions())
    free.deleteRange({ start: this.#c.delivery.windowEnd(), end: free.capacity })
    return free
  }

  #peers(): PeerView[] {
    const { link, lane, book } = this.#c
    if (!link || !lane) return []
    const views: PeerView[] = []
    const nowMs = this.#c.clock.monotonicMs()
    for (const peer of link.peers()) {
      const holds = this.#shared.holders.of(peer.key)
      if (!holds) continue
      views.push({
        key: peer.key,
        holds,
        inFlightCount: this.#peerFlights.of(peer.key).length,
        bytesPerSec: this.#peerFlights.rateOf(peer.key, book.view(peer.key).bytesPerSec, nowMs),
        state: this.#peerState(peer),
      })
    }
    return views
  }

  /** True when there are neighbours who could fetch for us, and we for them. Leaves the others out of the crowd. */
  #hasCompany(): boolean {
    const { link, lane, book } = this.#c
    if (!link || !lane) return false
    // What they fetch is of use to who believes their word, or has (or may get) the origin's word for it. To others it is
    // not: each would wait for the other's half for ever.
    const isOfUse = this.#o.isAttestedTrusted || !this.#isDeclared || this.#shared.draft.isVouchedFor
    const ignored = new Set<AgentKey>()
    let count = 0
    for (const peer of link.peers()) {
      const { isBanned, isBusy, availableInMs } = book.view(peer.key)
      const isLost = isBanned || (!isBusy && availableInMs > LOST_AFTER_MS)
      if (isOfUse && peer.isLocal && peer.lane !== null && !isLost) count++
      else ignored.add(peer.key)
    }
    this.#shared.crowd.ignore(ignored)
    return count > 0
  }

  #peerState(peer: PeerLike): PeerView['state'] {
    const { isBanned, isBusy, availableInMs } = this.#c.book.view(peer.key)
    if (!peer.isLocal || peer.lane === null || isBanned) return 'unusable'
    if (availableInMs <= 0) return 'ready'
    const isStarved = this.#c.clock.monotonicMs() - this.#lastDeliveryMs > this.#starvedAfterMs
    return isBusy && !isStarved ? 'busy' : 'unusable'
  }

  #start(decision: Decision): void {
    switch (decision.source) {
      case 'cache':
        this.#fly(decision.index, () => this.#fromCache(decision.index))
        return
      case 'await':
        this.#missing.delete(decision.index)
        this.#inFlightCount++
        this.#spawn(async () => {
          try {
            await this.#awaited(decision.index)
          } finally {
            this.#inFlightCount--
            this.#missing.add(decision.index)
          }
        })
        return
      case 'peer':
        this.#fly(decision.index, () => this.#fromPeer(decision.index, decision.peer))
        return
    }
  }

  /** Takes a position out of missing for as long as `fetch` runs, and puts it back when it was not delivered. */
  #fly(index: number, fetch: () => Promise<boolean>): void {
    this.#missing.delete(index)
    this.#shared.flights.set(index, this)
    this.#inFlightCount++
    this.#spawn(async () => {
      let isDelivered = false
      try {
        isDelivered = await fetch()
      } finally {
        this.#inFlightCount--
        this.#land(index, isDelivered)
      }
    })
  }

  #land(index: number, isDelivered: boolean): void {
    if (this.#shared.flights.get(index) === this) this.#shared.flights.delete(index)
    if (!isDelivered) this.#missing.add(index)
    this.#shared.changed()
  }

  /** Runs a task whose end wakes the loop and whose failure ends the transfer. */
  #spawn(run: () => Promise<void>): void {
    const task = run()
      .catch((error: unknown) => {
        if (!this.#stop.signal.aborted) this.#fail(error)
      })
      .finally(() => {
        this.#tasks.delete(task)
        this.#changed()
      })
    this.#tasks.add(task)
  }

  async #fromCache(index: number): Promise<boolean> {
    const hash = this.#shared.draft.entry(index)?.hash
    const segment = hash ? await this.#c.store.read(hash, { signal: this.#stop.signal }) : null
    if (!segment) {
      this.#shared.holdings.delete(index)
      return false
    }
    await this.#c.delivery.write(index, segment)
    this.#c.store.release(segment.bytes)
    this.#delivered(index, 'cache')
    return true
  }

  async #awaited(index: number): Promise<void> {
    const { signal } = this.#stop
    // What is here of an unknown hash (somebody disputed it) is of no use: without a wait for more this would spin.
    const isHere = () => this.#shared.holdings.has(index) && this.#isKnown(index)
    while (!signal.aborted && this.#shared.isAwaited(index, this) && !isHere()) {
      await new Promise<void>((resolve) => {
        const done = () => {
          unobserve()
          signal.removeEventListener('abort', done)
          resolve()
        }
        const unobserve = this.#shared.observe(done)
        signal.addEventListener('abort', done, { once: true })
      })
    }
  }

  async #fromPeer(index: number, key: AgentKey): Promise<boolean> {
    const { link, lane, book, clock, tally, log, pool } = this.#c
    const entry = this.#shared.draft.entry(index)
    const peer = link?.peers().find((candidate) => candidate.key === key)
    if (!entry || !peer?.lane || !lane) return false
    const abort = new AbortController()
    const flight = { index, peer: key, startedAtMs: clock.monotonicMs(), abort }
    if (this.#peerFlights.of(key).length === 0) link?.setInUse(key, true)
    this.#peerFlights.begin(flight)
    try {
      const lengthBytes = segmentLength(index, this.#shared.draft.lengthBytes)
      const segment = await fetchFromPeer(
        { lane, book, clock, tally, pool },
        { endpoint: { peer: key, ...peer.lane }, hash: entry.hash, lengthBytes, signal: abort.signal },
      )
      this.#peerFlights.landed(flight, clock.monotonicMs())
      const isOutdated = () => this.#shared.draft.entry(index)?.hash !== entry.hash
      if (!isOutdated()) await this.#c.committer.commit(index, segment, null)
      if (isOutdated()) {
        // Disputed, or known better, while it was on its way.
        tally.waste(segment.bytes.byteLength)
        return false
      }
      this.#c.checks?.consider(index, entry, segment.bytes)
      pool.give(segment.bytes)
      this.#delivered(index, 'peer')
      return true
    } catch (error) {
      if (this.#stop.signal.aborted || !isShorthaulError(error)) throw error
      if (abort.signal.aborted) return false
      switch (error.code) {
        case 'SHORTHAUL_SEGMENT_CORRUPT':
          log.warn({ peerId: key, segmentId: entry.hash }, 'peer sent a corrupt segment, banned')
          this.#c.note({
            event: 'note',
            note: 'peer-corrupt',
            message: 'A neighbour sent corrupt bytes; they were dropped',
            peer: key,
          })
          return false
        case 'SHORTHAUL_PEER_MISSING':
          this.#shared.holders.delete(key, [{ start: index, end: index + 1 }])
          return false
        case 'SHORTHAUL_PEER_BUSY':
        case 'SHORTHAUL_PEER_STALLED':
        case 'SHORTHAUL_PEER_UNREACHABLE':
        case 'SHORTHAUL_PEER_PROTOCOL':
          log.debug({ err: error, peerId: key }, 'segment not had from peer')
          return false
        default:
          throw error
      }
    } finally {
      this.#peerFlights.end(flight)
      if (this.#peerFlights.of(key).length === 0) link?.setInUse(key, false)
    }
  }

  async #commitFromOrigin(index: number, bytes: Uint8Array): Promise<boolean> {
    const segment = verifySegment(bytes, null)
    const known = this.#shared.draft.entry(index)
    if (known && known.trust !== 'attested' && known.hash !== segment.hash) {
      this.#contradict(index)
      this.#c.tally.waste(bytes.byteLength)
      this.#c.pool.give(bytes)
      return false
    }
    for (const peer of this.#shared.draft.contradictors(index, segment.hash)) {
      this.#c.log.warn({ signer: peer, index }, 'the origin contradicts what a member signed')
      this.#c.note({
        event: 'note',
        note: 'hash-disputed',
        message: 'A neighbour vouched for bytes that the origin does not have; the origin was believed',
        peer,
      })
      this.#c.accusations.contradicted(peer, `${this.#shared.record.id}/${index}`)
    }
    await this.#c.committer.commit(index, segment, this.#c.committer.state(index, segment.hash))
    this.#c.pool.give(segment.bytes)
    this.#delivered(index, 'origin')
    return true
  }

  /** The origin sent other bytes than it declares: damaged on the way perhaps, so it is asked once more. */
  #contradict(index: number): void {
    if (this.#contradicted.has(index)) {
      throw new ShorthaulError(
        'SHORTHAUL_DIGEST_MISMATCH',
        `Cannot accept the content: the origin sends another segment ${index} than the one that its manifest declares`,
        { details: { index } },
      )
    }
    this.#contradicted.add(index)
    this.#c.log.warn({ index }, 'the origin contradicts its own manifest, asking again')
  }

  #noteRetry(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error)
    this.#c.log.info({ err: error }, 'origin failed, trying again')
    this.#c.note({ event: 'note', note: 'origin-retry', message })
  }

  #delivered(index: number, source: 'cache' | 'peer' | 'origin'): void {
    this.#deliveredCount++
    this.#lastDeliveryMs = this.#c.clock.monotonicMs()
    const { signer } = this.#shared.draft.entry(index) ?? { signer: null }
    if (signer !== null && signer !== this.#o.self) this.#believed.add(signer)
    const bytes = this.#o.wanted.bytesOf(index)
    this.#c.tally.deliver(source, bytes)
    if (source !== 'cache') this.#c.tally.waste(segmentLength(index, this.#shared.draft.lengthBytes) - bytes)
  }

  /** Without any source there is nothing to wait for but a new neighbour; that wait is bounded. */
  #giveUpWhenStuck(): void {
    const isIdle = this.#tasks.size === 0
    if (!isIdle || this.#missing.size === 0 || this.#c.originFetcher !== null) return
    const isHeldByNeighbour = this.#peers().some((peer) => peer.holds.size > 0)
    const waitedMs = this.#c.clock.monotonicMs() - this.#lastChangeMs
    const patienceMs = isHeldByNeighbour ? this.#o.patienceMs * 4 : this.#o.patienceMs
    if (waitedMs > patienceMs) {
      throw new ShorthaulError(
        'SHORTHAUL_ORIGIN_DISALLOWED',
        `Cannot complete without the origin: ${this.#missing.size} of ${this.#o.wanted.positions.size} segments are not in this branch`,
      )
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= error
    this.#changed()
  }

  #changed(): void {
    this.#wake?.()
  }

  /** Waits until something happened that may change the plan. */
  async #changeOrTick(): Promise<void> {
    if (this.#failure !== null || this.#deliveredCount >= this.#o.wanted.positions.size) return
    const deliveredBefore = this.#deliveredCount
    const awake = new AbortController()
    this.#wake = () => awake.abort(WOKEN)
    await this.#c.clock.sleep(IDLE_TICK_MS, { signal: awake.signal }).catch(() => {})
    this.#wake = null
    // What comes in together is planned for together.
    await new Promise((resolve) => setImmediate(resolve))
    if (this.#deliveredCount !== deliveredBefore || this.#tasks.size > 0)
      this.#lastChangeMs = this.#c.clock.monotonicMs()
  }
}
