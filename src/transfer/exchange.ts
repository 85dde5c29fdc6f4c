/**
 * What this agent tells its neighbours about resources, and what it learns from them, over the control session.
 *
 * Does not move content (the lane does) and does not decide what to fetch (swarm/ does).
 * Invariants:
 * 1. Nothing private is told: the catalog holds branch-visible resources only.
 * 2. `have` is sent after the commit, never before it.
 * 3. A statement or an identification counts only when its signature is right for the URL that we asked for, and whoever
 *    signed it is not in quarantine.
 */
import type { KeyPair } from 'hypercore-crypto'
import crypto from 'hypercore-crypto'
import type { Logger } from 'pino'
import type { Clock, Random } from '../clock.ts'
import { type AgentKey, idBytes, type ResourceId, type SegmentHash } from '../content/ids.ts'
import { PositionSet } from '../content/position-set.ts'
import { type Identification, identificationPayload } from '../content/resource.ts'
import { type SegmentRange, segmentLength } from '../content/segmentation.ts'
import { isStatementAuthentic, SIGNATURE_BYTES, type Statement } from '../content/statement.ts'
import {
  type HaveMessage,
  type InterestMessage,
  MAX_RANGES,
  type ManifestRequestMessage,
  type Message,
} from '../peers/messages.ts'
import type { ResourceRecord } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import type { Accusations } from './accusations.ts'
import { Announcer } from './announcer.ts'
import type { Catalog } from './catalog.ts'
import { CrowdTalk } from './crowd-talk.ts'
import { Inquiry } from './inquiry.ts'
import type { PeerLike, PeerLink, QuarantineControl } from './ports.ts'
import type { SharedResource } from './shared-resource.ts'
import { SharedResources } from './shared-resources.ts'
import { type ShownTrust, shownTrust } from './shown-trust.ts'

export interface ExchangeComponents {
  readonly store: Store
  readonly catalog: Catalog
  /** Null: no neighbours (peers switched off). */
  readonly link: PeerLink | null
  readonly quarantine: QuarantineControl
  readonly accusations: Accusations
  readonly keyPair: KeyPair
  readonly self: AgentKey
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
}

export interface ExchangeOptions {
  /** Connections to the origin of one resource, of this agent. */
  readonly originConnections: number
  /** Content below this is fetched without waiting for what neighbours say: waiting costs more than it saves. */
  readonly minClaimBytes: number
}

/** Messages of one neighbour being worked on; more are dropped, and asked again by who needs them. */
const MAX_PENDING_PER_PEER = 64
/** Hashes per message: 128 KiB of the 256 KiB that a message may have. */
const MAX_HASHES_PER_MESSAGE = 4096
const MAX_STATEMENTS_PER_MESSAGE = 512
/** Generations that holders may name while we ask the origin which one is current. */
const MAX_EARLY_RESOURCES = 64
/** A holder that does not say its hashes for so long is no reason to leave the origin alone. */
const HASHES_EXPECTED_MS = 2000
/** A holder that did not answer, or not what was asked, is not asked again about the same resource for so long. */
const ASK_AGAIN_MS = 30_000

/** What a holder was asked for and has not told yet. */
interface Question {
  readonly index: number
  readonly askedAtMs: number
}

export class Exchange {
  readonly #components: ExchangeComponents
  readonly #log: Logger
  readonly #resources: SharedResources
  readonly #announcer: Announcer
  readonly #talk: CrowdTalk
  readonly #inquiries = new Map<string, Set<Inquiry>>()
  readonly #pending = new Map<AgentKey, number>()
  readonly #tasks = new Set<Promise<void>>()
  readonly #unsubscribe: (() => void)[] = []
  /** Manifest pages being waited for: one question per neighbour and resource at a time. */
  readonly #questions = new WeakMap<SharedResource, Map<AgentKey, Question>>()
  readonly #unsaved = new Map<SharedResource, Statement[]>()
  /** Neighbours whose messages are being dropped: said once, not once for each message. */
  readonly #flooding = new Set<AgentKey>()
  /** What holders said before we knew which generation we want: an answer often comes sooner than the origin's. */
  readonly #early = new Map<SharedResource['key'], Map<AgentKey, HaveMessage>>()

  constructor(components: ExchangeComponents, options: ExchangeOptions) {
    this.#components = components
    this.#log = components.log.child({ module: 'exchange' })
    this.#resources = new SharedResources({ ...components, ...options })
    this.#announcer = new Announcer(components)
    this.#talk = new CrowdTalk(components, options)
    const { link, store } = components
    this.#unsubscribe.push(
      store.on('lost', (events) => this.#withdraw(events)),
      store.on('evicted', (events) => this.#withdraw(events)),
      components.quarantine.on((member) => this.#forget(member)),
    )
    if (link) {
      this.#unsubscribe.push(
        link.on('join', (peer) => this.#joined(peer)),
        link.on('leave', (peer) => this.#left(peer.key)),
        link.on('message', (peer, message) => this.#received(peer, message)),
      )
    }
  }

  /** Asks all neighbours what the location names. Call `end` when the answer no longer matters. */
  ask(url: string, selection: string): { readonly inquiry: Inquiry; end(): void } {
    const { link, catalog } = this.#components
    const location = catalog.locationKey(url, selection)
    const inquiry = new Inquiry({ location, url, selection }, link?.peers().map((peer) => peer.key) ?? [])
    const inquiries = this.#inquiries.get(location) ?? new Set()
    this.#inquiries.set(location, inquiries.add(inquiry))
    const question: InterestMessage = { type: 'interest', location, resource: null, isWanted: true }
    for (const peer of link?.peers() ?? []) {
      if (!link?.send(peer.key, question)) inquiry.answer(peer.key, null)
    }
    return {
      inquiry,
      end: () => {
        inquiries.delete(inquiry)
        if (inquiries.size === 0) this.#inquiries.delete(location)
        if (this.#inquiries.size === 0) this.#early.clear()
      },
    }
  }

  /**
   * The live state of a resource, for a transfer; `release` it in the end. The first user tells the branch that we are
   * interested, unless the resource is private.
   */
  async acquire(record: ResourceRecord): Promise<SharedResource> {
    const shared = await this.#resources.load(record)
    shared.record = record
    shared.useCount++
    this.#components.catalog.put(record)
    const early = this.#early.get(shared.key)
    this.#early.delete(shared.key) // it is bounded, and others may have their inquiries running
    for (const [peer, have] of early ?? []) this.#hear(shared, peer, have)
    if (shared.useCount === 1) {
      if (record.visibility === 'branch') this.#components.link?.broadcast(interest(shared, true))
      this.#talk.join(shared)
    }
    return shared
  }

  release(shared: SharedResource): void {
    shared.useCount--
    if (shared.useCount === 0) {
      this.#talk.leave(shared)
      if (shared.record.visibility === 'branch') this.#components.link?.broadcast(interest(shared, false))
      this.#resources.forgetIdle()
    }
  }

  /**
   * A position was committed to the store: now, and not before, the branch may ask for it. Not when its hash turned out
   * to be a lie meanwhile.
   */
  committed(
    shared: SharedResource,
    at: { readonly index: number; readonly hash: SegmentHash },
    statement: Statement | null,
  ): void {
    const { index, hash } = at
    if (statement) shared.remember(statement)
    if (shared.draft.entry(index)?.hash !== hash) return
    if (shared.holdings.add(index) && shared.record.visibility === 'branch') this.#announcer.add(shared, index)
    shared.changed()
  }

  /** What we fetch from the origin changed: others are told now. */
  claimed(shared: SharedResource): void {
    this.#talk.flush(shared)
  }

  /** Bytes of the resource that the store can serve now. */
  async heldBytes(record: ResourceRecord): Promise<number> {
    const { holdings, draft } = await this.#resources.load(record)
    let bytes = 0
    for (const index of holdings.values()) bytes += segmentLength(index, draft.lengthBytes)
    return bytes
  }

  /** What the cache has of the resource is known by. */
  async trustOf(record: ResourceRecord): Promise<ShownTrust> {
    const { holdings, draft } = await this.#resources.load(record)
    const { sha256, pinnedSha256, declaredSha256 } = record
    return shownTrust({
      isPinned: sha256 !== null && pinnedSha256 === sha256,
      isDeclared: sha256 !== null && declaredSha256 === sha256,
      entries: [...holdings.values()].map((index) => draft.entry(index)),
      self: this.#components.self,
    })
  }

  /** A resource was removed from the store: neighbours hear that it is gone. */
  async removed(record: ResourceRecord): Promise<void> {
    this.#components.catalog.remove(record)
    const shared = this.#resources.get(record.id)
    if (!shared) return
    this.#sendGone(shared, shared.holdings.ranges())
    for (const index of shared.holdings.values()) shared.crowd.lost(index)
    shared.holdings.deleteRange({ start: 0, end: shared.holdings.capacity })
    shared.changed()
  }

  async close(): Promise<void> {
    for (const unsubscribe of this.#unsubscribe) unsubscribe()
    this.#announcer.close()
    await this.#talk.close()
    await Promise.allSettled(this.#tasks)
  }

  #joined(peer: PeerLike): void {
    const { link, quarantine } = this.#components
    if (peer.lane !== null) quarantine.meet(peer.key, peer.lane.host)
    for (const [location, inquiries] of this.#inquiries) {
      for (const inquiry of inquiries) {
        inquiry.asked(peer.key)
        link?.send(peer.key, { type: 'interest', location: inquiry.location, resource: null, isWanted: true })
      }
      if (inquiries.size === 0) this.#inquiries.delete(location)
    }
    for (const shared of this.#resources.all()) {
      if (shared.useCount > 0 && shared.record.visibility === 'branch') link?.send(peer.key, interest(shared, true))
    }
  }

  #left(peer: AgentKey): void {
    for (const inquiries of this.#inquiries.values()) {
      for (const inquiry of inquiries) inquiry.answer(peer, null)
    }
    const nowMs = this.#components.clock.monotonicMs()
    for (const shared of this.#resources.all()) {
      shared.listeners.delete(peer)
      shared.gossip.leave(peer, nowMs)
      this.#questions.get(shared)?.delete(peer)
      if (shared.holders.leave(peer) || shared.useCount > 0) shared.changed()
    }
    for (const early of this.#early.values()) early.delete(peer)
  }

  #received(peer: PeerLike, message: Message): void {
    const pendingCount = this.#pending.get(peer.key) ?? 0
    if (pendingCount >= MAX_PENDING_PER_PEER) {
      if (!this.#flooding.has(peer.key)) {
        this.#flooding.add(peer.key)
        this.#log.warn(
          { peerId: peer.key, type: message.type },
          'neighbour asks faster than we answer, messages dropped',
        )
      }
      return
    }
    this.#pending.set(peer.key, pendingCount + 1)
    const task = this.#handle(peer, message)
      .catch((err: unknown) => this.#log.warn({ err, peerId: peer.key, type: message.type }, 'message not handled'))
      .finally(() => {
        const left = (this.#pending.get(peer.key) ?? 1) - 1
        if (left === 0) {
          this.#pending.delete(peer.key)
          this.#flooding.delete(peer.key)
        } else {
          this.#pending.set(peer.key, left)
        }
        this.#tasks.delete(task)
      })
    this.#tasks.add(task)
  }

  async #handle(peer: PeerLike, message: Message): Promise<void> {
    const { quarantine, accusations } = this.#components
    switch (message.type) {
      case 'interest':
        if (message.location) await this.#answerLocation(peer, message.location)
        if (message.resource) await this.#answerResource(peer, message)
        return
      case 'known':
        for (const inquiry of this.#inquiries.get(message.location) ?? []) {
          const answer = message.newest?.identification ?? null
          const isAuthentic = answer !== null && isIdentificationAuthentic(inquiry, answer)
          const isBelieved = isAuthentic && !quarantine.has(answer.signer)
          if (answer && !isAuthentic)
            this.#log.warn({ peerId: peer.key }, 'identification with a wrong signature dropped')
          inquiry.answer(peer.key, isBelieved ? answer : null)
        }
        return
      case 'have': {
        const shared = this.#resources.find(message.resource)
        if (shared) this.#hear(shared, peer.key, message)
        else this.#keepForLater(peer.key, message)
        return
      }
      case 'gone': {
        const shared = this.#resources.find(message.resource)
        if (!shared) return
        shared.holders.delete(peer.key, message.ranges)
        if (shared.listeners.has(peer.key)) {
          const gone = PositionSet.of(shared.draft.segmentCount, message.ranges)
          this.#announcer.tellOf(shared, peer.key, gone)
        }
        shared.changed()
        return
      }
      case 'manifest-request':
        await this.#answerManifest(peer, message)
        return
      case 'manifest': {
        const shared = this.#resources.find(message.resource)
        if (!shared) return
        this.#learn(shared, message.statements)
        if (this.#isAnswered(shared, peer.key) && message.nextIndex !== null) {
          this.#askHashes(shared, peer.key, message.nextIndex)
        }
        shared.changed()
        return
      }
      case 'claim': {
        const shared = this.#resources.find(message.resource)
        if (shared?.record.visibility !== 'branch' || quarantine.has(peer.key)) return
        // Whoever takes part wants to hear what we get; its interest may have come before we knew the resource.
        const takesPart = message.states.some(({ state }) => state.agent === peer.key && state.condition !== 'done')
        if (takesPart && !shared.listeners.has(peer.key)) {
          shared.listeners.add(peer.key)
          this.#announcer.tellAll(shared, peer.key)
        }
        const states = message.states.filter(({ state }) => !quarantine.has(state.agent))
        this.#talk.heard(shared, peer.key, { ...message, states })
        return
      }
      case 'accusation': {
        const shared = this.#resources.find(message.resource)
        if (shared) accusations.heard(peer, shared, message)
        return
      }
    }
  }

  #hear(shared: SharedResource, peer: AgentKey, have: HaveMessage): void {
    this.#learn(shared, have.statements)
    // It may have left meanwhile: what it holds is then of no use, and nobody would ever take it out again.
    if (!this.#components.link?.peers().some(({ key }) => key === peer)) return
    shared.crowd.answered(peer)
    if (!this.#components.quarantine.has(peer)) {
      shared.holders.add(peer, have.ranges, this.#components.clock.monotonicMs())
      this.#askHashes(shared, peer)
    }
    shared.changed()
  }

  /** A member lied: what rests on its word is unknown again, and nothing of it is told on. */
  #forget(member: AgentKey): void {
    for (const shared of this.#resources.all()) {
      shared.holders.leave(member)
      shared.crowd.left(member, this.#components.clock.monotonicMs())
      const ranges: SegmentRange[] = []
      for (const index of shared.draft.forget(member).sort((a, b) => a - b)) {
        if (!shared.holdings.delete(index)) continue
        shared.crowd.lost(index)
        ranges.push({ start: index, end: index + 1 })
      }
      this.#sendGone(shared, ranges)
      // Others may have told us what is true of these positions while we believed to know it.
      this.#questions.delete(shared)
      for (const peer of this.#components.link?.peers() ?? []) this.#askHashes(shared, peer.key)
      shared.changed()
    }
    const task = this.#components.store
      .removeStatements(member)
      .catch((err: unknown) => this.#log.warn({ err, signer: member }, 'statements not removed'))
      .finally(() => this.#tasks.delete(task))
    this.#tasks.add(task)
  }

  #keepForLater(peer: AgentKey, have: HaveMessage): void {
    if (this.#inquiries.size === 0) return
    const early = this.#early.get(have.resource) ?? new Map<AgentKey, HaveMessage>()
    if (!this.#early.has(have.resource) && this.#early.size >= MAX_EARLY_RESOURCES) return
    this.#early.set(have.resource, early.set(peer, have))
  }

  async #record(key: SharedResource['key']): Promise<ResourceRecord | null> {
    const id = this.#components.catalog.resource(key)
    const record = id === undefined ? null : await this.#components.store.resource(id)
    return record?.visibility === 'branch' ? record : null
  }

  async #answerLocation(peer: PeerLike, key: NonNullable<InterestMessage['location']>): Promise<void> {
    const { catalog, store, link } = this.#components
    const location = catalog.location(key)
    const found = location ? await store.newestAt(location.url, location.selection) : null
    const record = found?.visibility === 'branch' && found.identification ? found : null
    if (!record?.identification) {
      link?.send(peer.key, { type: 'known', location: key, newest: null })
      return
    }
    const shared = await this.#resources.load(record)
    // Holdings first: when the answer arrives, whoever asked knows already where the bytes are.
    shared.listeners.add(peer.key)
    this.#announcer.tellAll(shared, peer.key)
    link?.send(peer.key, {
      type: 'known',
      location: key,
      newest: { resource: shared.key, identification: record.identification },
    })
  }

  async #answerResource(peer: PeerLike, message: InterestMessage): Promise<void> {
    if (!message.resource) return
    if (!message.isWanted) {
      const shared = this.#resources.find(message.resource)
      shared?.listeners.delete(peer.key)
      shared?.gossip.leave(peer.key, this.#components.clock.monotonicMs())
      return
    }
    const record = await this.#record(message.resource)
    if (!record) {
      // Everybody answers, also who knows nothing: nobody waits for silence.
      this.#components.link?.send(peer.key, { type: 'have', resource: message.resource, ranges: [], statements: [] })
      return
    }
    const shared = await this.#resources.load(record)
    // Also to who listens already: it says so again after a session was replaced, when messages may have been lost.
    shared.listeners.add(peer.key)
    shared.gossip.join(peer.key)
    this.#talk.flush(shared) // first, so that the answer is the last word
    this.#components.accusations.tell(peer.key, shared)
    this.#announcer.tellAll(shared, peer.key)
  }

  async #answerManifest(peer: PeerLike, message: ManifestRequestMessage): Promise<void> {
    const record = await this.#record(message.resource)
    if (!record) return
    const { store, quarantine } = this.#components
    const all = (await store.statements(record.id))
      .filter(({ firstIndex, hashes }) => firstIndex + hashes.length > message.firstIndex)
      .filter(({ signer }) => !quarantine.has(signer))
      .sort((a, b) => a.firstIndex - b.firstIndex)
    const statements: Statement[] = []
    let hashCount = 0
    let nextIndex: number | null = null
    for (const statement of all) {
      const isFull =
        statements.length >= MAX_STATEMENTS_PER_MESSAGE ||
        (statements.length > 0 && hashCount + statement.hashes.length > MAX_HASHES_PER_MESSAGE)
      if (isFull) {
        // Only ever forwards, or a page of overlapping statements would be asked for again and again.
        nextIndex = statement.firstIndex > message.firstIndex ? statement.firstIndex : null
        break
      }
      statements.push(statement)
      hashCount += statement.hashes.length
    }
    this.#components.link?.send(peer.key, { type: 'manifest', resource: message.resource, statements, nextIndex })
  }

  /** Asks a holder for hashes when it holds positions that we cannot verify yet. */
  #askHashes(shared: SharedResource, peer: AgentKey, firstIndex = 0): void {
    const questions = this.#questions.get(shared) ?? new Map<AgentKey, Question>()
    this.#questions.set(shared, questions)
    const unanswered = questions.get(peer)
    const nowMs = this.#components.clock.monotonicMs()
    if (unanswered && nowMs < unanswered.askedAtMs + ASK_AGAIN_MS) return
    for (const index of shared.holders.of(peer)?.values(firstIndex) ?? []) {
      // Also what the origin declared to us: others, to whom it did not, need somebody's signature.
      if (isSigned(shared, index) || shared.draft.isDisputed(index)) continue
      questions.set(peer, { index, askedAtMs: nowMs })
      // Only who answers is waited for: a mute holder must not keep us from the origin again and again.
      if (!unanswered) shared.hashesExpectedUntilMs = nowMs + HASHES_EXPECTED_MS
      this.#components.link?.send(peer, { type: 'manifest-request', resource: shared.key, firstIndex: index })
      return
    }
  }

  /**
   * Ends the question when the position that was asked for is told, whoever told it. Otherwise it stays open: pages that
   * nobody asked for, or that do not answer, lead to no further question, so that a talk with a liar ends.
   */
  #isAnswered(shared: SharedResource, peer: AgentKey): boolean {
    const questions = this.#questions.get(shared)
    const index = questions?.get(peer)?.index
    if (index === undefined) return false
    if (!isSigned(shared, index) && !shared.draft.isDisputed(index)) return false
    questions?.delete(peer)
    return true
  }

  #learn(shared: SharedResource, statements: readonly Statement[]): void {
    const useful: Statement[] = []
    for (const statement of statements) {
      const tellsNothing = statement.hashes.every((hash, offset) => {
        const index = statement.firstIndex + offset
        return shared.draft.entry(index)?.hash === hash && isSigned(shared, index)
      })
      if (tellsNothing || this.#components.quarantine.has(statement.signer)) continue
      // Our own word comes back only as an echo; a stranger cannot sign it anyway.
      if (!isStatementAuthentic(shared.record.id, statement)) {
        this.#log.warn({ signer: statement.signer }, 'statement with a wrong signature dropped')
        continue
      }
      const { learnt, disputed } = shared.draft.add(statement)
      shared.remember(statement)
      if (disputed.length > 0) {
        this.#log.warn(
          { signer: statement.signer, positions: disputed.slice(0, 8) },
          'members disagree about a segment',
        )
      }
      if (learnt.length > 0) useful.push(statement)
    }
    if (useful.length > 0) this.#save(shared, useful)
  }

  /** What is known counts at once; it is written behind, several at a time, so that news never wait for the disk. */
  #save(shared: SharedResource, statements: readonly Statement[]): void {
    const waiting = this.#unsaved.get(shared)
    if (waiting) {
      waiting.push(...statements)
      return
    }
    this.#unsaved.set(shared, [...statements])
    const task = this.#saveAll(shared)
      .catch((err: unknown) => this.#log.warn({ err }, 'statements not stored'))
      .finally(() => {
        this.#unsaved.delete(shared)
        this.#tasks.delete(task)
      })
    this.#tasks.add(task)
  }

  async #saveAll(shared: SharedResource): Promise<void> {
    for (;;) {
      const some = this.#unsaved.get(shared)?.splice(0) ?? []
      if (some.length === 0) return
      const believed = some.filter(({ signer }) => !this.#components.quarantine.has(signer))
      await this.#components.store.addStatements(shared.record.id, believed)
    }
  }

  #withdraw(events: readonly { readonly resource: ResourceId; readonly index: number }[]): void {
    const gone = new Map<SharedResource, SegmentRange[]>()
    for (const { resource, index } of events) {
      const shared = this.#resources.get(resource)
      if (!shared?.holdings.delete(index)) continue
      shared.crowd.lost(index)
      const ranges = gone.get(shared) ?? []
      ranges.push({ start: index, end: index + 1 })
      gone.set(shared, ranges)
    }
    for (const [shared, ranges] of gone)
      this.#sendGone(
        shared,
        ranges.sort((a, b) => a.start - b.start),
      )
  }

  #sendGone(shared: SharedResource, ranges: readonly SegmentRange[]): void {
    for (let at = 0; at < ranges.length; at += MAX_RANGES) {
      for (const peer of shared.listeners) {
        this.#components.link?.send(peer, {
          type: 'gone',
          resource: shared.key,
          ranges: ranges.slice(at, at + MAX_RANGES),
        })
      }
    }
  }
}

/** Somebody's word for the position is known. */
function isSigned(shared: SharedResource, index: number): boolean {
  return (shared.draft.entry(index)?.signer ?? null) !== null
}

function interest(shared: SharedResource, isWanted: boolean): InterestMessage {
  return { type: 'interest', location: null, resource: shared.key, isWanted }
}

/** True when the signature fits the URL; only who asked for it knows which one that is. */
function isIdentificationAuthentic(
  location: { readonly url: string; readonly selection: string },
  identification: Identification,
): boolean {
  const { signature, signer } = identification
  if (signature.byteLength !== SIGNATURE_BYTES) return false
  const payload = identificationPayload(location.url, location.selection, identification)
  return crypto.verify(payload, signature, idBytes(signer))
}
