/**
 * One call of `Transfers.run`: identifies, follows the generations of a changing origin, checks the digest of the whole,
 * and tells progress. The segments themselves are segmented-transfer.ts's affair.
 */
import type { KeyPair } from 'hypercore-crypto'
import type { Logger } from 'pino'
import type { Clock, Random } from '../clock.ts'
import type { AgentKey } from '../content/ids.ts'
import type { Resource } from '../content/resource.ts'
import { resourceId } from '../content/resource.ts'
import type { SegmentPool } from '../content/segment-pool.ts'
import { isShorthaulError, redactUrl, ShorthaulError } from '../errors.ts'
import type { Origin, OriginFacts, OriginRequest, OriginStream } from '../origin/origin.ts'
import type { ResourceRecord } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { TokenBucket } from '../throttle/token-bucket.ts'
import type { Hold } from '../throttle/wan-governor.ts'
import type { Accusations } from './accusations.ts'
import { Committer } from './commit.ts'
import type { Exchange } from './exchange.ts'
import { OriginFetcher } from './fetch-origin.ts'
import { fetchStream } from './fetch-stream.ts'
import { identify, recordOf, resourceOf, signIdentification } from './identify.ts'
import type { Inquiry } from './inquiry.ts'
import type { PeerLane, PeerLink, PeerRecord, QuarantineLike, WanControl } from './ports.ts'
import { learnPublished } from './published.ts'
import {
  type Delivery,
  type FileRange,
  heldNote,
  type TransferEvent,
  type TransferNote,
  type TransferRequest,
  type TransferResult,
} from './request.ts'
import { seal } from './seal.ts'
import { SegmentedTransfer } from './segmented-transfer.ts'
import type { SharedResource } from './shared-resource.ts'
import { shownTrust } from './shown-trust.ts'
import { SpotChecks } from './spot-checks.ts'
import { Tally } from './tally.ts'
import { Wanted } from './wanted.ts'

export interface TransfersComponents {
  readonly store: Store
  readonly origin: Origin
  readonly exchange: Exchange
  /** Null: peers are switched off. */
  readonly link: PeerLink | null
  readonly lane: PeerLane | null
  readonly book: PeerRecord
  readonly quarantine: QuarantineLike
  readonly accusations: Accusations
  /** Null: nobody governs the WAN. */
  readonly wan: WanControl | null
  readonly pool: SegmentPool
  readonly keyPair: KeyPair
  readonly self: AgentKey
  readonly clock: Clock
  readonly random: Random
  /** Says which bytes are checked: nobody may know before. */
  readonly unpredictable: Random
  readonly log: Logger
}

export interface TransfersOptions {
  /** What the word of a member is worth that it had a segment from the origin: `trust.attested`. */
  readonly attested: 'accept' | 'spot-check' | 'refuse'
  /** Content below this does not wait for neighbours: waiting costs more than it saves. */
  readonly minClaimBytes: number
}

export interface RunOptions {
  readonly signal: AbortSignal
  readonly onEvent: (event: TransferEvent) => void
  /**
   * False for a user who shares the agent with others: private content is had from the origin only, which decides, and
   * the agent's credentials are not used.
   */
  readonly isOwner: boolean
}

/** A changed origin is followed this often before we say that it changes faster than we can fetch. */
const MAX_GENERATIONS = 4
/** Neighbours have this long to say what they know before the origin is asked for content; most answer within one RTT. */
const NEIGHBOURS_ANSWER_MS = 150
/** Without the origin: how long to look for somebody who has it. Covers discovery of an agent that just started. */
const OFFLINE_PATIENCE_MS = 4000
/** Each repeat has one member less to believe; a branch of which more lie is not worth asking. */
const MAX_LIARS = 16
const PROGRESS_INTERVAL_MS = 200
const HOLD_LOOK_MS = 250

/** What the target has in the end. */
export type Completed = Pick<TransferResult, 'bytes' | 'sha256' | 'trust'>

interface Found {
  readonly facts: OriginFacts | null
  readonly stream: OriginStream | null
  readonly inquiry: Inquiry | null
}

/** The state of one `run`. */
export class TransferRun {
  readonly tally: Tally
  readonly #c: TransfersComponents
  readonly #o: TransfersOptions
  readonly #request: TransferRequest
  readonly #delivery: Delivery
  readonly #options: RunOptions
  readonly #log: Logger
  readonly #limiter: TokenBucket | null
  readonly #said = new Set<string>()
  /** Of the target. Null while that is not known. */
  #bytesTotal: number | null = null

  constructor(
    components: TransfersComponents,
    settings: TransfersOptions,
    run: { request: TransferRequest; delivery: Delivery; options: RunOptions; log: Logger },
  ) {
    this.#c = components
    this.#o = settings
    this.#request = run.request
    this.#delivery = run.delivery
    this.#options = run.options
    this.#log = run.log
    this.tally = new Tally(components.clock)
    const { originMaxBytesPerSec } = run.request
    this.#limiter = originMaxBytesPerSec === null ? null : new TokenBucket(components.clock, originMaxBytesPerSec)
  }

  async complete(): Promise<Completed> {
    if (this.#ranges() !== null && this.#delivery.windowEnd() !== Number.POSITIVE_INFINITY) {
      throw new ShorthaulError('SHORTHAUL_USAGE', 'Cannot fetch ranges into a pipe: expected a file')
    }
    for (let generation = 1; ; generation++) {
      try {
        return await this.#completeGeneration()
      } catch (error) {
        if (!isShorthaulError(error, 'SHORTHAUL_ORIGIN_CHANGED') || generation >= MAX_GENERATIONS) throw error
        this.#note({
          event: 'note',
          note: 'origin-changed',
          message: 'The resource changed at the origin: starting over with the new one',
        })
        this.tally.restart()
        await this.#delivery.restart()
      }
    }
  }

  async #completeGeneration(): Promise<Completed> {
    const { url, sha256 } = this.#request
    const isOfContent = this.#ranges() === null // with ranges it names what is in the target
    const pinned = sha256 && isOfContent ? await this.#c.store.resourceBySha256(sha256) : null
    if (pinned?.root && this.#mayUse(pinned)) {
      // The digest names the bytes: what the URL says today does not matter.
      const done = await this.#fromCacheAlone(pinned)
      if (done) return done
    }
    const question = this.#mayAskNeighbours() ? this.#c.exchange.ask(url, '') : null
    try {
      return await this.#identifyAndFetch(question?.inquiry ?? null)
    } finally {
      question?.end()
    }
  }

  async #identifyAndFetch(inquiry: Inquiry | null): Promise<Completed> {
    const { url, useOrigin } = this.#request
    const { origin, store, link } = this.#c
    if (!useOrigin) return this.#segmented(await this.#identifyOffline(inquiry), { facts: null, stream: null, inquiry })

    const isAlone = !this.#request.usePeers || !link || link.peers().length === 0
    const isUnseen = (await store.newestAt(url, '')) === null
    // The first GET brings the content from its start: no question to ask when only some of it is wanted.
    const isFirstGetAllowed = isAlone && isUnseen && this.#ranges() === null && this.#hold() === null
    const { facts, stream } = await this.#identified({ isFirstGetAllowed })
    try {
      for (const degradation of facts.degradations) this.#noteDegradation(degradation)
      if (facts.privateReason !== null) {
        this.#note({ event: 'note', note: 'private', message: `Not shared with the branch: ${facts.privateReason}` })
      }
      this.#heedDeclared(facts)
      const resource = resourceOf(url, facts)
      if (!resource) {
        const { lengthBytes } = facts
        this.#bytesTotal = lengthBytes === null ? null : Wanted.of(this.#ranges(), lengthBytes).bytes
        if (!stream) await this.#whenAllowed()
        return await this.#streamed(stream ?? (await origin.open(this.#originRequest(), this.#options)))
      }
      return await this.#segmented(await this.#recordIdentified(resource, facts), { facts, stream, inquiry })
    } finally {
      await stream?.cancel()
    }
  }

  /** No content satisfies two declarations that differ. @throws SHORTHAUL_DIGEST_MISMATCH unless the user said what is right */
  #heedDeclared({ declaredConflict, declaredSha256, isTlsOnly }: OriginFacts): void {
    if (this.#request.sha256 !== null || this.#ranges() !== null) return
    if (declaredConflict !== null) {
      throw new ShorthaulError(
        'SHORTHAUL_DIGEST_MISMATCH',
        `Cannot accept the content: the origin contradicts itself about its SHA-256 (${declaredConflict}), expected one`,
      )
    }
    if (declaredSha256 === null || isTlsOnly) return
    this.#note({
      event: 'note',
      note: 'declared-in-clear',
      message: 'The origin declares its SHA-256 over plain http: worth no more than the line it comes over',
    })
  }

  /** Identification is retried like any other request to the origin: a passing fault must not end a fetch. */
  async #identified(options: {
    isFirstGetAllowed: boolean
  }): Promise<{ facts: OriginFacts; stream: OriginStream | null }> {
    const { clock, random } = this.#c
    const { signal } = this.#options
    for (let attempt = 1; ; attempt++) {
      try {
        return await identify(this.#c.origin, this.#originRequest(), { ...options, signal })
      } catch (error) {
        const retryAfterMs = isShorthaulError(error) ? error.details.retryAfterMs : undefined
        const waitMs = Math.max(
          500 * 2 ** (attempt - 1) * (0.5 + random()),
          typeof retryAfterMs === 'number' ? retryAfterMs : 0,
        )
        if (signal.aborted || !isShorthaulError(error) || !error.retryable || attempt >= 4 || waitMs > 30_000)
          throw error
        this.#note({ event: 'note', note: 'origin-retry', message: error.message })
        await clock.sleep(waitMs, { signal })
      }
    }
  }

  async #recordIdentified(resource: Resource, facts: OriginFacts): Promise<ResourceRecord> {
    const { store, clock, keyPair, self } = this.#c
    const record = recordOf(resource, {
      previous: await store.resource(resourceId(resource)),
      visibility: facts.visibility,
      finalUrl: facts.finalUrl,
      declaredSha256: facts.declaredSha256,
      identification: signIdentification(resource, { freshUntilMs: facts.freshUntilMs, keyPair, self, clock }),
      nowMs: clock.nowMs(),
    })
    await store.putResource(record)
    return record
  }

  /** --no-origin: the newest generation that this store or the branch knows. */
  async #identifyOffline(inquiry: Inquiry | null): Promise<ResourceRecord> {
    const { store, clock } = this.#c
    const { url } = this.#request
    const newest = await store.newestAt(url, '')
    const own = newest && this.#mayUse(newest) ? newest : null
    if (inquiry && !own?.root) {
      const deadlineMs = clock.monotonicMs() + OFFLINE_PATIENCE_MS
      while (inquiry.newest() === null && clock.monotonicMs() < deadlineMs) {
        await clock.sleep(20, this.#options)
      }
    }
    const told = inquiry?.newest() ?? null
    const isTold = told !== null && (!own?.identification || told.seenAtMs > own.identification.seenAtMs)
    if (!isTold) {
      if (own) return own
      throw new ShorthaulError(
        'SHORTHAUL_ORIGIN_DISALLOWED',
        `Cannot fetch ${redactUrl(url)} without the origin: nobody in this branch knows it`,
      )
    }
    const resource: Resource = { url, selection: '', validator: told.validator, lengthBytes: told.lengthBytes }
    const record = recordOf(resource, {
      previous: await store.resource(resourceId(resource)),
      visibility: 'branch',
      finalUrl: url,
      declaredSha256: null,
      identification: told,
      nowMs: clock.nowMs(),
    })
    await store.putResource(record)
    return record
  }

  async #segmented(record: ResourceRecord, found: Found): Promise<Completed> {
    const { exchange, store, self } = this.#c
    const { lengthBytes } = record.resource
    const wanted = Wanted.of(this.#ranges(), lengthBytes)
    this.#bytesTotal = wanted.bytes
    const shared = await exchange.acquire(record)
    const release = store.hold(record.id)
    const ended = new AbortController()
    let published: string | null = null
    const learning = this.#learnPublished(shared, found.facts, ended.signal).then((sha256) => {
      published = sha256
    })
    try {
      await this.#delivery.begin({ resource: record.id, lengthBytes })
      await this.#fetchTruth(shared, wanted, { ...found, declared: learning })
      // What has not come by now is not waited for: then all is the origin's own.
      const declared = wanted.isWhole ? (found.facts?.declaredSha256 ?? published ?? known(record, found)) : null
      const sha256 = await this.#checked(shared, { wanted, declared, found })
      const pinned = this.#request.sha256
      if (wanted.isWhole) await seal(shared, { ...this.#c, sha256, pinnedSha256: pinned, declaredSha256: declared })
      await this.#delivery.complete(lengthBytes)
      this.#progress()
      const entries = [...wanted.positions.values()].map((index) => shared.draft.entry(index))
      const isDeclared = declared === sha256
      return {
        bytes: wanted.bytes,
        sha256,
        trust: shownTrust({ isPinned: pinned !== null, isDeclared, entries, self }),
      }
    } catch (error) {
      if (published !== null && isShorthaulError(error, 'SHORTHAUL_DIGEST_MISMATCH')) {
        // The next one begins without it: what the origin has may have been put right.
        shared.draft.withdrawManifest()
        await this.#discard(shared.record)
      }
      throw error
    } finally {
      ended.abort()
      await learning
      release()
      exchange.release(shared)
      if (this.#delivery.localPath !== null) await store.forgetLocated(this.#delivery.localPath)
    }
  }

  /** Throws away what was delivered of this generation; it comes again. */
  async #startOver({ record }: SharedResource): Promise<void> {
    this.tally.restart()
    await this.#delivery.restart()
    await this.#delivery.begin({ resource: record.id, lengthBytes: record.resource.lengthBytes })
  }

  /** Until nothing that was delivered rests on the word of somebody who was found to lie meanwhile. */
  async #fetchTruth(
    shared: SharedResource,
    wanted: Wanted,
    found: Found & { readonly declared: Promise<unknown> },
  ): Promise<void> {
    for (let liars = 0; ; liars++) {
      try {
        return await this.#fetchSegments(shared, wanted, { ...found, stream: liars === 0 ? found.stream : null })
      } catch (error) {
        if (!isShorthaulError(error, 'SHORTHAUL_PEER_LIED') || liars >= MAX_LIARS) throw error
        this.#note({
          event: 'note',
          note: 'peer-lied',
          message:
            'A neighbour vouched for bytes that the origin does not have: what rests on its word is fetched anew',
          peer: error.details.peer as AgentKey,
        })
        await this.#startOver(shared)
      }
    }
  }

  /** The manifest that the origin names, where neighbours may give us bytes. Never rejects. */
  #learnPublished(shared: SharedResource, facts: OriginFacts | null, signal: AbortSignal): Promise<string | null> {
    const isShared = shared.record.visibility === 'branch' && this.#request.usePeers && this.#c.link !== null
    if (!facts || !isShared || shared.draft.isVouchedFor) return Promise.resolve(null)
    return learnPublished({ ...this.#c, log: this.#log, note: (note) => this.#note(note) }, shared, {
      facts,
      request: this.#originRequest(),
      expectedSha256: (this.#ranges() === null ? this.#request.sha256 : null) ?? facts.declaredSha256,
      signal: AbortSignal.any([this.#options.signal, signal]),
    })
  }

  async #fetchSegments(
    shared: SharedResource,
    wanted: Wanted,
    found: Found & { readonly declared: Promise<unknown> },
  ): Promise<void> {
    const { clock, random } = this.#c
    const { signal } = this.#options
    const note = (event: TransferNote) => this.#note(event)
    const originFetcher = found.facts
      ? new OriginFetcher(
          {
            origin: this.#c.origin,
            request: this.#originRequest(),
            resource: shared.record.resource,
            acceptsRanges: found.facts.acceptsRanges !== false,
          },
          { clock, random, tally: this.tally, pool: this.#c.pool, limiter: this.#limiter, note },
        )
      : null
    const isShared = shared.record.visibility === 'branch' && this.#request.usePeers
    const checks =
      isShared && originFetcher?.canRange && this.#o.attested === 'spot-check' ? this.#checks(shared) : null
    const transfer = new SegmentedTransfer(
      {
        ...this.#c,
        link: isShared ? this.#c.link : null,
        lane: isShared ? this.#c.lane : null,
        log: this.#log,
        committer: new Committer({ ...this.#c, delivery: this.#delivery, log: this.#log, note }, shared, { signal }),
        originFetcher,
        checks,
        delivery: this.#delivery,
        tally: this.tally,
        note,
      },
      shared,
      {
        isAttestedTrusted: this.#o.attested !== 'refuse' || this.#request.sha256 !== null,
        self: this.#c.self,
        wanted,
        priority: this.#request.priority,
        firstStream: found.stream,
        originHold: this.#originHold(shared, found.inquiry),
        declared: found.declared,
        patienceMs: OFFLINE_PATIENCE_MS,
        signal,
      },
    )
    await transfer.run()
    await checks?.settled()
    transfer.throwIfLiedTo()
  }

  #checks(shared: SharedResource): SpotChecks {
    const { link } = this.#c
    return new SpotChecks(
      {
        ...this.#c,
        log: this.#log,
        tally: this.tally,
        memberCount: () => (link?.peers().length ?? 0) + 1,
        isHeld: () => this.#hold() !== null,
      },
      { request: this.#originRequest(), shared },
      this.#options,
    )
  }

  /** Neighbours that are connected get one short chance to say what they have before content is asked of the origin. */
  async #originHold(shared: SharedResource, inquiry: Inquiry | null): Promise<void> {
    if (!inquiry || shared.record.resource.lengthBytes < this.#o.minClaimBytes) return
    if (!inquiry.isAnswered) {
      let off = () => {}
      const answered = new Promise<void>((resolve) => {
        off = inquiry.onAnswer(() => {
          if (inquiry.isAnswered) resolve()
        })
      })
      await Promise.race([answered, this.#c.clock.sleep(NEIGHBOURS_ANSWER_MS, this.#options)])
      off()
    }
  }

  /**
   * The digest of the target against what was pinned or declared. When neighbours' bytes took part, all that rests on
   * their word is forgotten and fetched from the origin, once: the result is right or there is none.
   */
  async #checked(
    shared: SharedResource,
    options: {
      wanted: Wanted
      /** By the origin, if the target is all that it has. */
      declared: string | null
      found: { facts: OriginFacts | null; inquiry: Inquiry | null }
    },
  ): Promise<string> {
    const { lengthBytes } = shared.record.resource
    const expected = this.#request.sha256 ?? options.declared
    let sha256 = await this.#delivery.digest(lengthBytes)
    if (expected === null || sha256 === expected) return sha256
    const foreign: number[] = []
    for (const index of options.wanted.positions.values()) {
      if (shared.draft.entry(index)?.signer !== this.#c.self) foreign.push(index)
    }
    if (foreign.length > 0 && options.found.facts) {
      this.#log.warn(
        { expected, found: sha256, segments: foreign.length },
        'content does not have its digest, asking the origin again',
      )
      for (const index of foreign) shared.draft.dispute(index)
      await this.#startOver(shared)
      const declared = Promise.resolve()
      await this.#fetchTruth(shared, options.wanted, { ...options.found, stream: null, declared })
      sha256 = await this.#delivery.digest(lengthBytes)
      if (sha256 === expected) return sha256
    }
    if (expected === options.declared) await this.#discard(shared.record)
    // A digest that only the user gave may be mistyped: what the origin serves stays cached, for others and for later.
    else await this.#delivery.restart()
    throw digestMismatch(expected, sha256)
  }

  async #discard(record: ResourceRecord): Promise<void> {
    await this.#c.exchange.removed(record)
    await this.#c.store.removeResource(record.id)
    await this.#delivery.restart()
  }

  /** Everything is here already and the digest says that it is right: no question to anybody. */
  async #fromCacheAlone(record: ResourceRecord): Promise<Completed | null> {
    const manifest = await this.#c.store.manifest(record.id)
    if (!manifest) return null
    const isHere = await this.#c.store.hasMany(manifest.hashes)
    if (!isHere.every(Boolean)) return null
    try {
      return await this.#segmented(record, { facts: null, stream: null, inquiry: null })
    } catch (error) {
      if (!isShorthaulError(error, 'SHORTHAUL_ORIGIN_DISALLOWED')) throw error
      this.tally.restart() // a segment was lost or corrupt: the long way then
      await this.#delivery.restart()
      return null
    }
  }

  async #streamed(stream: OriginStream): Promise<Completed> {
    const { delivery, tally } = { delivery: this.#delivery, tally: this.tally }
    const ranges = this.#ranges()
    await delivery.restart() // a left-over part cannot be told from another generation
    await delivery.begin({ resource: null, lengthBytes: null })
    const lengthBytes = await fetchStream(stream, {
      ranges,
      delivery,
      tally,
      limiter: this.#limiter,
      pool: this.#c.pool,
      signal: this.#options.signal,
    })
    const wanted = Wanted.of(ranges, lengthBytes)
    const sha256 = await delivery.digest(lengthBytes)
    const expected = this.#request.sha256 ?? (ranges === null ? stream.facts.declaredSha256 : null)
    if (expected !== null && sha256 !== expected) {
      await delivery.restart()
      throw digestMismatch(expected, sha256)
    }
    await delivery.complete(lengthBytes)
    this.#bytesTotal = wanted.bytes
    this.#progress()
    const isPinned = this.#request.sha256 !== null
    const trust = shownTrust({ isPinned, isDeclared: expected !== null, entries: [], self: this.#c.self })
    return { bytes: wanted.bytes, sha256, trust }
  }

  #ranges(): readonly FileRange[] | null {
    return this.#request.ranges ?? null
  }

  #originRequest(): OriginRequest {
    const { url, headers, priority, proxy } = this.#request
    return { url, headers, useAgentCredentials: this.#options.isOwner, priority, proxy }
  }

  #hold(): Hold | null {
    return this.#c.wan?.hold(this.#request.priority) ?? null
  }

  /** Waits until something may be had from the origin. */
  async #whenAllowed(): Promise<void> {
    for (let hold = this.#hold(); hold !== null; hold = this.#hold()) {
      this.#note(heldNote(hold))
      await this.#c.clock.sleep(HOLD_LOOK_MS, this.#options)
    }
  }

  #mayUse(record: ResourceRecord): boolean {
    return record.visibility === 'branch' || this.#options.isOwner
  }

  /** Requests that carry secrets are private whatever the answer says: nobody need be asked. */
  #mayAskNeighbours(): boolean {
    if (!this.#request.usePeers || !this.#c.link || this.#request.headers.length > 0) return false
    return !this.#c.origin.carriesCredentials(this.#originRequest())
  }

  #noteDegradation(degradation: OriginFacts['degradations'][number]): void {
    this.#note({ event: 'note', note: degradation, message: DEGRADATION_TEXT[degradation] })
  }

  /** Once per kind (and peer) and transfer. */
  #note(note: TransferNote): void {
    const isPlural = note.note === 'origin-retry' || note.note === 'held'
    const key = isPlural ? `${note.note}/${note.message}` : `${note.note}/${note.peer ?? ''}`
    if (this.#said.has(key)) return
    this.#said.add(key)
    this.#options.onEvent(note)
  }

  /** Until `signal` aborts; never rejects. */
  async tellProgress(signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        await this.#c.clock.sleep(PROGRESS_INTERVAL_MS, { signal })
      } catch {
        return
      }
      this.#progress()
    }
  }

  #progress(): void {
    this.#options.onEvent({
      event: 'progress',
      bytesDone: this.tally.deliveredBytes,
      bytesTotal: this.#bytesTotal,
      bytesPerSec: Math.round(this.tally.bytesPerSec()),
      sources: this.tally.sources,
    })
  }
}

/** What the origin declared of this generation earlier, for when it is not asked. */
function known(record: ResourceRecord, { facts }: Found): string | null {
  return facts === null ? record.declaredSha256 : null
}

const DEGRADATION_TEXT: Record<OriginFacts['degradations'][number], string> = {
  'no-head': 'The origin does not answer HEAD: asked with a small GET instead',
  'no-range': 'The origin does not do ranges: one stream, and resuming starts over',
  'no-length': 'The origin does not say the length: one stream, not shared and not resumable',
  'no-validator': 'The origin gives no validator: not shared and not resumable',
  'weak-validator': 'The origin gives only a weak ETag, which does not identify bytes',
}

function digestMismatch(expected: string, found: string): ShorthaulError {
  return new ShorthaulError(
    'SHORTHAUL_DIGEST_MISMATCH',
    `Cannot accept the content: its SHA-256 is ${found}, expected ${expected}`,
    {
      details: { expected, found },
    },
  )
}
