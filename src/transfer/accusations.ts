/**
 * "This member signed what its origin does not have": says so when this agent saw it, and looks for itself when another
 * says so.
 *
 * An accusation is the signed statement, with the position and where in it the difference is; the segment that hashes to
 * what was signed can be had from whoever accuses. What the origin said is not signed by anybody, so an accusation alone
 * proves nothing: each receiver asks the origin for that small range itself.
 *
 * Invariants: nobody is put in quarantine on another's word; all looking is bounded in requests and memory, whatever
 * neighbours say; who accuses falsely is soon not listened to.
 */
import type { Logger } from 'pino'
import type { Clock, Random } from '../clock.ts'
import type { AgentKey, SegmentHash } from '../content/ids.ts'
import { segmentLength } from '../content/segmentation.ts'
import { isStatementAuthentic, type Statement } from '../content/statement.ts'
import { type VerifiedSegment, verifySegment } from '../content/verify.ts'
import { isShorthaulError } from '../errors.ts'
import type { Origin } from '../origin/origin.ts'
import type { AccusationMessage } from '../peers/messages.ts'
import type { Store } from '../store/store.ts'
import { sampleAround } from '../swarm/spot-check.ts'
import { compareWithOrigin } from './origin-sample.ts'
import type { PeerLane, PeerLike, PeerLink, QuarantineControl } from './ports.ts'
import type { SharedResource } from './shared-resource.ts'

export interface AccusationsComponents {
  readonly origin: Origin
  readonly store: Store
  readonly link: PeerLink | null
  readonly lane: PeerLane | null
  readonly quarantine: QuarantineControl
  readonly self: AgentKey
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  /** Bytes that the origin was asked for here. */
  readonly onOriginBytes: (bytes: number) => void
}

/** Who signed it, which position and hash, and where in the segment the difference is. */
export interface Lie {
  readonly signer: AgentKey
  readonly index: number
  readonly hash: SegmentHash
  readonly offset: number
}

/** Told again to those who come later. */
const MAX_KEPT = 64
/** Segments that were lied about, for those who want to see for themselves. 8 MiB. */
const MAX_EVIDENCE = 8
/** Accusations that wait to be looked at, and how many of them from one neighbour. */
const MAX_WAITING = 64
const MAX_WAITING_PER_ACCUSER = 4
/** So many accusations of one neighbour that prove false end it; who accuses by mistake has good company: itself. */
const MAX_FALSE = 3
/** Segments that we had from the origin and that a member had signed otherwise, before it is out. */
const MAX_CONTRADICTIONS = 3
const FORGIVE_AFTER_MS = 3600 * 1000
/** All members hear of a lie at the same moment and must not ask the origin at the same moment. */
const JITTER_PER_MEMBER_MS = 20
const MAX_JITTER_MS = 5000

interface Waiting {
  readonly accuser: PeerLike
  readonly shared: SharedResource
  readonly message: AccusationMessage
}

export class Accusations {
  readonly #c: AccusationsComponents
  readonly #log: Logger
  readonly #stop = new AbortController()
  readonly #kept: { readonly shared: SharedResource; readonly message: AccusationMessage }[] = []
  readonly #evidence = new Map<SegmentHash, Uint8Array>()
  readonly #waiting: Waiting[] = []
  readonly #contradicted = new Map<AgentKey, Set<string>>()
  readonly #false = new Map<AgentKey, { count: number; atMs: number }>()
  #working: Promise<void> | null = null

  constructor(components: AccusationsComponents) {
    this.#c = components
    this.#log = components.log.child({ module: 'accusations' })
  }

  /** This agent saw the lie itself: puts the member in quarantine, and tells the branch. */
  async accuse(shared: SharedResource, lie: Lie): Promise<void> {
    const { store, quarantine } = this.#c
    const { signer, index, hash } = lie
    if (quarantine.has(signer) || signer === this.#c.self) return
    // Before the quarantine, which makes all of it be forgotten.
    const statement = shared.statementOf(index) ?? (await this.#findStatement(shared, lie))
    const segment = await store.read(hash, { signal: this.#stop.signal }).catch(() => null)
    if (segment) {
      this.#keepEvidence(hash, Buffer.from(segment.bytes))
      store.release(segment.bytes)
    }
    this.#condemn(shared, lie, statement?.signer === signer ? statement : null)
  }

  /** @param statement null: then nobody else can be shown anything */
  #condemn(shared: SharedResource, lie: Lie, statement: Statement | null): void {
    const { quarantine, link } = this.#c
    const { signer, index, offset } = lie
    this.#log.error({ signer, index, offset }, 'a member signed what its origin does not have')
    quarantine.impose(signer, this.#hostOf(signer))
    if (statement === null) return
    const message: AccusationMessage = { type: 'accusation', resource: shared.key, statement, index, offset }
    this.#kept.push({ shared, message })
    if (this.#kept.length > MAX_KEPT) this.#kept.shift()
    link?.broadcast(message)
  }

  /**
   * A segment that we had from the origin ourselves is not what a member signed. Once may be an origin that put other
   * bytes under an old validator; a member of whom it is so again and again is not to be believed. There is nothing to
   * show to others: who never had such bytes cannot give them.
   * @param position of which resource, so that one segment counts once
   */
  contradicted(signer: AgentKey, position: string): void {
    const { quarantine, self } = this.#c
    if (signer === self || quarantine.has(signer)) return
    const positions = this.#contradicted.get(signer) ?? new Set()
    this.#contradicted.delete(signer)
    this.#contradicted.set(signer, positions.add(position))
    forgetFirst(this.#contradicted, MAX_KEPT)
    if (positions.size < MAX_CONTRADICTIONS) return
    this.#contradicted.delete(signer)
    quarantine.impose(signer, this.#hostOf(signer))
  }

  /** Somebody wants a resource that lies were told about: it hears of them. */
  tell(peer: AgentKey, shared: SharedResource): void {
    for (const kept of this.#kept) {
      if (kept.shared.key === shared.key) this.#c.link?.send(peer, kept.message)
    }
  }

  /** A segment that was lied about, for a member that looks for itself; null: not here. Nobody writes to it. */
  evidence(hash: SegmentHash): Uint8Array | null {
    return this.#evidence.get(hash) ?? null
  }

  /** A neighbour accuses somebody of a lie about a resource that we know. */
  heard(accuser: PeerLike, shared: SharedResource, message: AccusationMessage): void {
    const { signer } = message.statement
    if (signer === this.#c.self) {
      // Bad memory or a bad disk looks like this from outside; we cannot be quarantined from ourselves.
      this.#log.warn({ accuser: accuser.key }, 'a neighbour says that we vouched for what the origin does not have')
      return
    }
    if (this.#c.quarantine.has(signer) || this.#c.quarantine.has(accuser.key) || signer === accuser.key) return
    if (this.#isUnreliable(accuser.key) || shared.record.visibility !== 'branch') return
    const ofAccuser = this.#waiting.filter((waiting) => waiting.accuser.key === accuser.key)
    if (this.#waiting.length >= MAX_WAITING || ofAccuser.length >= MAX_WAITING_PER_ACCUSER) return
    this.#waiting.push({ accuser, shared, message })
    this.#working ??= this.#work().finally(() => {
      this.#working = null
    })
  }

  /** False while some wait to be looked into. */
  get isIdle(): boolean {
    return this.#working === null
  }

  async close(): Promise<void> {
    this.#stop.abort()
    this.#waiting.length = 0
    await this.#working
  }

  /** One after another. Never rejects. */
  async #work(): Promise<void> {
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      const { accuser, message } = next
      try {
        await this.#look(next)
      } catch (error) {
        if (this.#stop.signal.aborted) return
        const isOfAccuser = isShorthaulError(error, 'SHORTHAUL_SEGMENT_CORRUPT')
        if (isOfAccuser) this.#noteFalse(accuser.key)
        this.#log.info({ err: error, accuser: accuser.key, signer: message.statement.signer }, 'accusation not settled')
      }
    }
  }

  async #look({ accuser, shared, message }: Waiting): Promise<void> {
    const { origin, quarantine, clock, random, link, onOriginBytes } = this.#c
    const { statement, index, offset } = message
    const hash = statement.hashes[index - statement.firstIndex]
    const lengthBytes = segmentLength(index, shared.record.resource.lengthBytes)
    const isSound = hash !== undefined && offset < lengthBytes && isStatementAuthentic(shared.record.id, statement)
    if (!isSound) {
      this.#noteFalse(accuser.key)
      return
    }
    const memberCount = link?.memberCount() ?? 1
    const { signal } = this.#stop
    await clock.sleep(random() * Math.min(MAX_JITTER_MS, JITTER_PER_MEMBER_MS * memberCount), { signal })
    if (quarantine.has(statement.signer)) return
    const segment = await this.#segment(accuser, { hash, lengthBytes, signal })
    const range = sampleAround(offset, lengthBytes)
    const sample = { index, range, bytes: Buffer.from(segment.bytes.subarray(range.start, range.end)) }
    // Branch-visible, so it was had without anybody's credentials.
    const request = {
      url: shared.record.resource.url,
      headers: [],
      useAgentCredentials: false,
      priority: 'normal',
    } as const
    const verdict = await compareWithOrigin(
      { origin, clock, onBytes: onOriginBytes },
      { request, resource: shared.record.resource, sample },
      { signal },
    )
    if (verdict.is === 'same') {
      this.#noteFalse(accuser.key)
      this.#log.warn({ accuser: accuser.key, signer: statement.signer }, 'a false accusation')
    }
    if (verdict.is !== 'different') return
    this.#keepEvidence(hash, Buffer.from(segment.bytes))
    this.#condemn(shared, { signer: statement.signer, index, hash, offset: verdict.offset }, statement)
  }

  /** From our own cache, else from whoever accuses. @throws when neither has it */
  async #segment(
    accuser: PeerLike,
    wanted: { readonly hash: SegmentHash; readonly lengthBytes: number; readonly signal: AbortSignal },
  ): Promise<VerifiedSegment> {
    const { store, lane } = this.#c
    const { hash, lengthBytes, signal } = wanted
    const own = await store.read(hash, { signal })
    if (own) return own
    if (!lane || !accuser.lane) throw new Error('no lane to see the segment over')
    const into = Buffer.alloc(lengthBytes)
    await lane.fetchSegment({ peer: accuser.key, ...accuser.lane }, hash, { into, signal })
    return verifySegment(into, hash)
  }

  async #findStatement(shared: SharedResource, { signer, index, hash }: Lie): Promise<Statement | undefined> {
    const all = await this.#c.store.statements(shared.record.id)
    return all.find((it) => it.signer === signer && it.hashes[index - it.firstIndex] === hash)
  }

  /** Null: it is not connected. */
  #hostOf(member: AgentKey): string | null {
    return this.#c.link?.peers().find((peer) => peer.key === member)?.lane?.host ?? null
  }

  #keepEvidence(hash: SegmentHash, bytes: Uint8Array): void {
    this.#evidence.delete(hash)
    this.#evidence.set(hash, bytes)
    forgetFirst(this.#evidence, MAX_EVIDENCE)
  }

  #noteFalse(accuser: AgentKey): void {
    const nowMs = this.#c.clock.monotonicMs()
    const count = this.#isForgiven(accuser) ? 0 : (this.#false.get(accuser)?.count ?? 0)
    this.#false.set(accuser, { count: count + 1, atMs: nowMs })
    forgetFirst(this.#false, MAX_WAITING)
  }

  #isUnreliable(accuser: AgentKey): boolean {
    return !this.#isForgiven(accuser) && (this.#false.get(accuser)?.count ?? 0) >= MAX_FALSE
  }

  #isForgiven(accuser: AgentKey): boolean {
    const last = this.#false.get(accuser)
    return last !== undefined && this.#c.clock.monotonicMs() > last.atMs + FORGIVE_AFTER_MS
  }
}

/** Keeps a map at its size: what was entered first goes. */
function forgetFirst<Key>(map: Map<Key, unknown>, maxSize: number): void {
  if (map.size <= maxSize) return
  for (const first of map.keys()) {
    map.delete(first)
    return
  }
}
