/**
 * One call of `Transfers.run`: identifies, follows the generations of a changing origin, and goes the way that the origin
 * allows: in segments, or in one stream.
 */
import type { Logger } from 'pino'
import { isShorthaulError, ShorthaulError } from '../errors.ts'
import type { OriginStream } from '../origin/origin.ts'
import type { ResourceRecord } from '../store/records.ts'
import { TokenBucket } from '../throttle/token-bucket.ts'
import { fetchStream } from './fetch-stream.ts'
import { digestMismatch, GenerationRun } from './generation-run.ts'
import { heedFacts, identifyAtOrigin, identifyOffline, recordIdentified } from './identification.ts'
import { resourceOf } from './identify.ts'
import type { Inquiry } from './inquiry.ts'
import { type Delivery, type FileRange, heldNote, type TransferRequest } from './request.ts'
import {
  type Completed,
  holdOf,
  mayUse,
  type RunContext,
  type RunOptions,
  type TransfersComponents,
  type TransfersOptions,
} from './run-context.ts'
import { RunReporter } from './run-reporter.ts'
import { shownTrust } from './shown-trust.ts'
import { Tally } from './tally.ts'
import { Wanted } from './wanted.ts'

/** A changed origin is followed this often before we say that it changes faster than we can fetch. */
const MAX_GENERATIONS = 4
const HOLD_LOOK_MS = 250

/** The state of one `run`. */
export class TransferRun {
  readonly tally: Tally
  readonly reporter: RunReporter
  readonly #run: RunContext
  readonly #ranges: readonly FileRange[] | null

  constructor(
    components: TransfersComponents,
    settings: TransfersOptions,
    run: { request: TransferRequest; delivery: Delivery; options: RunOptions; log: Logger },
  ) {
    const { request, options } = run
    const { url, headers, priority, proxy, originMaxBytesPerSec } = request
    this.tally = new Tally(components.clock)
    this.reporter = new RunReporter({ clock: components.clock, tally: this.tally }, options)
    this.#ranges = request.ranges ?? null
    this.#run = {
      ...run,
      components,
      settings,
      originRequest: { url, headers, useAgentCredentials: options.isOwner, priority, proxy },
      tally: this.tally,
      limiter: originMaxBytesPerSec === null ? null : new TokenBucket(components.clock, originMaxBytesPerSec),
      reporter: this.reporter,
    }
  }

  async complete(): Promise<Completed> {
    const { delivery } = this.#run
    if (this.#ranges !== null && delivery.windowEnd() !== Number.POSITIVE_INFINITY) {
      throw new ShorthaulError('SHORTHAUL_USAGE', 'Cannot fetch ranges into a pipe: expected a file')
    }
    for (let generation = 1; ; generation++) {
      try {
        return await this.#completeGeneration()
      } catch (error) {
        if (!isShorthaulError(error, 'SHORTHAUL_ORIGIN_CHANGED') || generation >= MAX_GENERATIONS) throw error
        this.reporter.note({
          event: 'note',
          note: 'origin-changed',
          message: 'The resource changed at the origin: starting over with the new one',
        })
        this.tally.restart()
        await delivery.restart()
      }
    }
  }

  async #completeGeneration(): Promise<Completed> {
    const { store, exchange } = this.#run.components
    const { url, sha256 } = this.#run.request
    const isOfContent = this.#ranges === null // with ranges it names what is in the target
    const pinned = sha256 && isOfContent ? await store.resourceBySha256(sha256) : null
    if (pinned?.root && mayUse(this.#run, pinned)) {
      // The digest names the bytes: what the URL says today does not matter.
      const done = await this.#fromCacheAlone(pinned)
      if (done) return done
    }
    const question = this.#mayAskNeighbours() ? exchange.ask(url, '') : null
    try {
      return await this.#identifyAndFetch(question?.inquiry ?? null)
    } finally {
      question?.end()
    }
  }

  async #identifyAndFetch(inquiry: Inquiry | null): Promise<Completed> {
    const run = this.#run
    const { url, useOrigin, usePeers } = run.request
    const { origin, store, link } = run.components
    const generation = new GenerationRun(run)
    if (!useOrigin) {
      return generation.complete(await identifyOffline(run, inquiry), { facts: null, stream: null, inquiry })
    }
    const isAlone = !usePeers || !link || link.peers().length === 0
    const isUnseen = (await store.newestAt(url, '')) === null
    // The first GET brings the content from its start: no question to ask when only some of it is wanted.
    const isFirstGetAllowed = isAlone && isUnseen && this.#ranges === null && holdOf(run) === null
    const { facts, stream } = await identifyAtOrigin(run, { isFirstGetAllowed })
    try {
      heedFacts(run, facts)
      const resource = resourceOf(url, facts)
      if (!resource) {
        const { lengthBytes } = facts
        this.reporter.bytesTotal = lengthBytes === null ? null : Wanted.of(this.#ranges, lengthBytes).bytes
        if (!stream) await this.#whenAllowed()
        return await this.#streamed(stream ?? (await origin.open(run.originRequest, run.options)))
      }
      const record = await recordIdentified(run.components, resource, facts)
      return await generation.complete(record, { facts, stream, inquiry })
    } finally {
      await stream?.cancel()
    }
  }

  /** Everything is here already and the digest says that it is right: no question to anybody. */
  async #fromCacheAlone(record: ResourceRecord): Promise<Completed | null> {
    const { store } = this.#run.components
    const manifest = await store.manifest(record.id)
    if (!manifest) return null
    const isHere = await store.hasMany(manifest.hashes)
    if (!isHere.every(Boolean)) return null
    try {
      return await new GenerationRun(this.#run).complete(record, { facts: null, stream: null, inquiry: null })
    } catch (error) {
      if (!isShorthaulError(error, 'SHORTHAUL_ORIGIN_DISALLOWED')) throw error
      this.tally.restart() // a segment was lost or corrupt: the long way then
      await this.#run.delivery.restart()
      return null
    }
  }

  async #streamed(stream: OriginStream): Promise<Completed> {
    const { components, request, delivery, tally, limiter, options } = this.#run
    const ranges = this.#ranges
    await delivery.restart() // a left-over part cannot be told from another generation
    await delivery.begin({ resource: null, lengthBytes: null })
    const { pool, self } = components
    const { signal } = options
    const lengthBytes = await fetchStream(stream, { ranges, delivery, tally, limiter, pool, signal })
    const wanted = Wanted.of(ranges, lengthBytes)
    const sha256 = await delivery.digest(lengthBytes)
    const expected = request.sha256 ?? (ranges === null ? stream.facts.declaredSha256 : null)
    if (expected !== null && sha256 !== expected) {
      await delivery.restart()
      throw digestMismatch(expected, sha256)
    }
    await delivery.complete(lengthBytes)
    this.reporter.bytesTotal = wanted.bytes
    this.reporter.progress()
    const trust = shownTrust({ isPinned: request.sha256 !== null, isDeclared: expected !== null, entries: [], self })
    return { bytes: wanted.bytes, sha256, trust }
  }

  /** Waits until something may be had from the origin. */
  async #whenAllowed(): Promise<void> {
    for (let hold = holdOf(this.#run); hold !== null; hold = holdOf(this.#run)) {
      this.reporter.note(heldNote(hold))
      await this.#run.components.clock.sleep(HOLD_LOOK_MS, this.#run.options)
    }
  }

  /** Requests that carry secrets are private whatever the answer says: nobody need be asked. */
  #mayAskNeighbours(): boolean {
    const { request, components, originRequest } = this.#run
    if (!request.usePeers || !components.link || request.headers.length > 0) return false
    return !components.origin.carriesCredentials(originRequest)
  }
}
