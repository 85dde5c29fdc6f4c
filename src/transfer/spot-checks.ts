/**
 * The spot checks of one transfer: a few bytes of what neighbours vouch for are compared with the origin, while the
 * transfer goes on; it ends when they have ended. How many and where is swarm/spot-check.ts's decision.
 *
 * What cannot be checked (the origin is away, the line is held, it does no ranges) is believed as before: a check is a
 * sample, and no proof.
 */
import type { Logger } from 'pino'
import type { Clock, Random } from '../clock.ts'
import type { DraftEntry } from '../content/draft.ts'
import type { AgentKey, SegmentHash } from '../content/ids.ts'
import { isShorthaulError } from '../errors.ts'
import type { Origin, OriginRequest } from '../origin/origin.ts'
import { spotCheckChance, spotCheckRange } from '../swarm/spot-check.ts'
import type { Accusations } from './accusations.ts'
import { compareWithOrigin, type Sample } from './origin-sample.ts'
import type { QuarantineLike } from './ports.ts'
import type { SharedResource } from './shared-resource.ts'
import type { Tally } from './tally.ts'

export interface SpotChecksComponents {
  readonly origin: Origin
  readonly accusations: Accusations
  readonly quarantine: QuarantineLike
  readonly clock: Clock
  /** Nobody can tell in advance what it gives: whoever could would lie elsewhere. */
  readonly unpredictable: Random
  readonly tally: Tally
  readonly log: Logger
  /** Agents of the branch, this one included. */
  readonly memberCount: () => number
  /** Whether nothing may be asked of the origin now. */
  readonly isHeld: () => boolean
}

/** Two at a time: they share the origin's connections with the content. */
const MAX_RUNNING = 2
/** 1 MiB of samples. More come only when the origin answers slower than the LAN gives; those are not checked. */
const MAX_WAITING = 256
/** How long a transfer that is otherwise done waits for its last checks. */
const SETTLE_DEADLINE_MS = 15_000

interface Suspect extends Sample {
  readonly hash: SegmentHash
  readonly signer: AgentKey
}

export class SpotChecks {
  readonly #c: SpotChecksComponents
  readonly #request: OriginRequest
  readonly #shared: SharedResource
  readonly #signal: AbortSignal
  readonly #waiting: Suspect[] = []
  readonly #running = new Set<Promise<void>>()
  #isPossible = true

  constructor(
    components: SpotChecksComponents,
    about: { readonly request: OriginRequest; readonly shared: SharedResource },
    options: { readonly signal: AbortSignal },
  ) {
    this.#c = components
    this.#request = about.request
    this.#shared = about.shared
    this.#signal = options.signal
  }

  /** Perhaps checks a segment that a neighbour gave. Keeps nothing of `bytes`. */
  consider(index: number, entry: DraftEntry, bytes: Uint8Array): void {
    if (entry.trust !== 'attested' || entry.signer === null || !this.#isPossible) return
    if (this.#c.unpredictable() >= spotCheckChance(bytes.byteLength, this.#c.memberCount())) return
    if (this.#waiting.length >= MAX_WAITING || this.#c.isHeld()) return
    const range = spotCheckRange(bytes.byteLength, this.#c.unpredictable)
    const sample = Buffer.from(bytes.subarray(range.start, range.end))
    this.#waiting.push({ index, range, bytes: sample, hash: entry.hash, signer: entry.signer })
    this.#startMore()
  }

  /** Resolves when no check is under way, or when waiting for them is no longer worth it. Never rejects. */
  async settled(): Promise<void> {
    const deadline = new AbortController()
    const isOver = this.#c.clock
      .sleep(SETTLE_DEADLINE_MS, { signal: AbortSignal.any([this.#signal, deadline.signal]) })
      .catch(() => {})
      .then(() => {
        this.#waiting.length = 0
        return true
      })
    while (this.#running.size > 0) {
      const all = Promise.all(this.#running).then(() => false)
      if (await Promise.race([all, isOver])) break
    }
    deadline.abort()
  }

  #startMore(): void {
    while (this.#running.size < MAX_RUNNING) {
      const suspect = this.#waiting.shift()
      if (suspect === undefined) return
      const task = this.#check(suspect)
        .catch((error: unknown) => this.#notChecked(error))
        .finally(() => {
          this.#running.delete(task)
          this.#startMore()
        })
      this.#running.add(task)
    }
  }

  async #check(suspect: Suspect): Promise<void> {
    const { origin, tally, quarantine, accusations, log, clock } = this.#c
    const { signer, hash, index } = suspect
    if (quarantine.has(signer) || this.#signal.aborted) return
    const verdict = await compareWithOrigin(
      { origin, clock, onBytes: (bytes) => tally.check(bytes) },
      { request: this.#request, resource: this.#shared.record.resource, sample: suspect },
      { signal: this.#signal },
    )
    if (verdict.is === 'inconsistent') log.warn({ index }, 'the origin gives different bytes for the same question')
    if (verdict.is !== 'different') return
    await accusations.accuse(this.#shared, { signer, index, hash, offset: verdict.offset })
  }

  #notChecked(error: unknown): void {
    if (isShorthaulError(error) && error.details.reason === 'no-range') this.#isPossible = false
    if (!this.#signal.aborted) this.#c.log.debug({ err: error }, 'a segment was not checked')
  }
}
