/**
 * One generation with segments, from the store, the neighbours and the origin into the target: until nothing in it rests
 * on a lie that was found out, and its digest is right. The segments themselves are segmented-transfer.ts's affair.
 */
import type { AgentKey } from '../content/ids.ts'
import { isShorthaulError, ShorthaulError } from '../errors.ts'
import type { OriginFacts, OriginStream } from '../origin/origin.ts'
import type { ResourceRecord } from '../store/records.ts'
import { Committer } from './commit.ts'
import { OriginFetcher } from './fetch-origin.ts'
import { OFFLINE_PATIENCE_MS } from './identification.ts'
import type { Inquiry } from './inquiry.ts'
import { learnPublished } from './published.ts'
import type { FileRange, TransferNote } from './request.ts'
import { type Completed, holdOf, type RunContext } from './run-context.ts'
import { seal } from './seal.ts'
import { SegmentedTransfer } from './segmented-transfer.ts'
import type { SharedResource } from './shared-resource.ts'
import { shownTrust } from './shown-trust.ts'
import { SpotChecks } from './spot-checks.ts'
import { Wanted } from './wanted.ts'

/** Neighbours have this long to say what they know before the origin is asked for content; most answer within one RTT. */
const NEIGHBOURS_ANSWER_MS = 150
/** Each repeat has one member less to believe; a branch of which more lie is not worth asking. */
const MAX_LIARS = 16

/** How the generation was found. */
export interface Found {
  /** Null: the origin was not asked. */
  readonly facts: OriginFacts | null
  /** The first GET, when it served as the question. */
  readonly stream: OriginStream | null
  readonly inquiry: Inquiry | null
}

export class GenerationRun {
  readonly #run: RunContext
  readonly #components: RunContext['components']
  readonly #ranges: readonly FileRange[] | null

  constructor(run: RunContext) {
    this.#run = run
    this.#components = run.components
    this.#ranges = run.request.ranges ?? null
  }

  /** Fetches all that is wanted of it into the delivery, verified. */
  async complete(record: ResourceRecord, found: Found): Promise<Completed> {
    const { exchange, store, self } = this.#components
    const { lengthBytes } = record.resource
    const wanted = Wanted.of(this.#ranges, lengthBytes)
    this.#run.reporter.bytesTotal = wanted.bytes
    const shared = await exchange.acquire(record)
    const release = store.hold(record.id)
    const ended = new AbortController()
    let published: string | null = null
    const learning = this.#learnPublished(shared, found.facts, ended.signal).then((sha256) => {
      published = sha256
    })
    try {
      await this.#run.delivery.begin({ resource: record.id, lengthBytes })
      await this.#fetchTruth(shared, wanted, { ...found, declared: learning })
      // What has not come by now is not waited for: then all is the origin's own.
      const declared = wanted.isWhole ? (found.facts?.declaredSha256 ?? published ?? known(record, found)) : null
      const sha256 = await this.#checked(shared, { wanted, declared, found })
      const pinned = this.#run.request.sha256
      if (wanted.isWhole) {
        await seal(shared, { ...this.#components, sha256, pinnedSha256: pinned, declaredSha256: declared })
      }
      await this.#run.delivery.complete(lengthBytes)
      this.#run.reporter.progress()
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
      if (this.#run.delivery.localPath !== null) await store.forgetLocated(this.#run.delivery.localPath)
    }
  }

  /** Throws away what was delivered of this generation; it comes again. */
  async #startOver({ record }: SharedResource): Promise<void> {
    this.#run.tally.restart()
    await this.#run.delivery.restart()
    await this.#run.delivery.begin({ resource: record.id, lengthBytes: record.resource.lengthBytes })
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
        this.#run.reporter.note({
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
    const isShared =
      shared.record.visibility === 'branch' && this.#run.request.usePeers && this.#components.link !== null
    if (!facts || !isShared || shared.draft.isVouchedFor) return Promise.resolve(null)
    return learnPublished(
      { ...this.#components, log: this.#run.log, note: (note) => this.#run.reporter.note(note) },
      shared,
      {
        facts,
        request: this.#run.originRequest,
        expectedSha256: (this.#ranges === null ? this.#run.request.sha256 : null) ?? facts.declaredSha256,
        signal: AbortSignal.any([this.#run.options.signal, signal]),
      },
    )
  }

  async #fetchSegments(
    shared: SharedResource,
    wanted: Wanted,
    found: Found & { readonly declared: Promise<unknown> },
  ): Promise<void> {
    const { clock, random } = this.#components
    const { signal } = this.#run.options
    const note = (event: TransferNote) => this.#run.reporter.note(event)
    const originFetcher = found.facts
      ? new OriginFetcher(
          {
            origin: this.#components.origin,
            request: this.#run.originRequest,
            resource: shared.record.resource,
            acceptsRanges: found.facts.acceptsRanges !== false,
          },
          { clock, random, tally: this.#run.tally, pool: this.#components.pool, limiter: this.#run.limiter, note },
        )
      : null
    const isShared = shared.record.visibility === 'branch' && this.#run.request.usePeers
    const checks =
      isShared && originFetcher?.canRange && this.#run.settings.attested === 'spot-check' ? this.#checks(shared) : null
    const transfer = new SegmentedTransfer(
      {
        ...this.#components,
        link: isShared ? this.#components.link : null,
        lane: isShared ? this.#components.lane : null,
        log: this.#run.log,
        committer: new Committer(
          { ...this.#components, delivery: this.#run.delivery, log: this.#run.log, note },
          shared,
          { signal },
        ),
        originFetcher,
        checks,
        delivery: this.#run.delivery,
        tally: this.#run.tally,
        note,
      },
      shared,
      {
        isAttestedTrusted: this.#run.settings.attested !== 'refuse' || this.#run.request.sha256 !== null,
        self: this.#components.self,
        wanted,
        priority: this.#run.request.priority,
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
    const { link } = this.#components
    return new SpotChecks(
      {
        ...this.#components,
        log: this.#run.log,
        tally: this.#run.tally,
        memberCount: () => link?.memberCount() ?? 1,
        isHeld: () => holdOf(this.#run) !== null,
      },
      { request: this.#run.originRequest, shared },
      this.#run.options,
    )
  }

  /** Neighbours that are connected get one short chance to say what they have before content is asked of the origin. */
  async #originHold(shared: SharedResource, inquiry: Inquiry | null): Promise<void> {
    if (!inquiry || shared.record.resource.lengthBytes < this.#run.settings.minClaimBytes) return
    if (!inquiry.isAnswered) {
      let off = () => {}
      const answered = new Promise<void>((resolve) => {
        off = inquiry.onAnswer(() => {
          if (inquiry.isAnswered) resolve()
        })
      })
      await Promise.race([answered, this.#components.clock.sleep(NEIGHBOURS_ANSWER_MS, this.#run.options)])
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
    const expected = this.#run.request.sha256 ?? options.declared
    let sha256 = await this.#run.delivery.digest(lengthBytes)
    if (expected === null || sha256 === expected) return sha256
    const foreign: number[] = []
    for (const index of options.wanted.positions.values()) {
      if (shared.draft.entry(index)?.signer !== this.#components.self) foreign.push(index)
    }
    if (foreign.length > 0 && options.found.facts) {
      this.#run.log.warn(
        { expected, found: sha256, segments: foreign.length },
        'content does not have its digest, asking the origin again',
      )
      for (const index of foreign) shared.draft.dispute(index)
      await this.#startOver(shared)
      const declared = Promise.resolve()
      await this.#fetchTruth(shared, options.wanted, { ...options.found, stream: null, declared })
      sha256 = await this.#run.delivery.digest(lengthBytes)
      if (sha256 === expected) return sha256
    }
    if (expected === options.declared) await this.#discard(shared.record)
    // A digest that only the user gave may be mistyped: what the origin serves stays cached, for others and for later.
    else await this.#run.delivery.restart()
    throw digestMismatch(expected, sha256)
  }

  async #discard(record: ResourceRecord): Promise<void> {
    await this.#components.exchange.removed(record)
    await this.#components.store.removeResource(record.id)
    await this.#run.delivery.restart()
  }
}

/** What the origin declared of this generation earlier, for when it is not asked. */
function known(record: ResourceRecord, { facts }: Found): string | null {
  return facts === null ? record.declaredSha256 : null
}

export function digestMismatch(expected: string, found: string): ShorthaulError {
  return new ShorthaulError(
    'SHORTHAUL_DIGEST_MISMATCH',
    `Cannot accept the content: its SHA-256 is ${found}, expected ${expected}`,
    {
      details: { expected, found },
    },
  )
}
