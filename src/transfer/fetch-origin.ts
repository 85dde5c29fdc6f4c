/**
 * Fetch from the origin, for one transfer: how many streams may run, what a claim becomes on the wire, when to try
 * again, and when to give up. The retry of the transfer lives here; transports never retry.
 */
import type { Clock, Random } from '../clock.ts'
import type { Resource } from '../content/resource.ts'
import type { SegmentPool } from '../content/segment-pool.ts'
import { SEGMENT_BYTES, type SegmentRange, segmentCount, segmentLength } from '../content/segmentation.ts'
import { isShorthaulError, ShorthaulError } from '../errors.ts'
import type { Origin, OriginRequest, OriginStream } from '../origin/origin.ts'
import type { OriginView } from '../swarm/source-choice.ts'
import type { TokenBucket } from '../throttle/token-bucket.ts'
import type { TransferNote } from './request.ts'
import { readSegments } from './segment-reader.ts'
import type { Tally } from './tally.ts'

/** Longest claim while neighbours take part: little is lost when one of us dies, and a round trip hardly shows. */
const MAX_CLAIM_SEGMENTS = 16
/** Segments of one stream being stored and delivered while the next is read. 4 MiB. */
const MAX_COMMITS_IN_FLIGHT = 4
const MAX_ATTEMPTS = 5
const FIRST_RETRY_MS = 500
const MAX_RETRY_MS = 30_000

export interface OriginFetcherComponents {
  readonly clock: Clock
  readonly random: Random
  readonly tally: Tally
  readonly pool: SegmentPool
  /** The caller's cap on origin bytes; null: none. */
  readonly limiter: TokenBucket | null
  readonly note: (note: TransferNote) => void
}

export interface OriginFetcherOptions {
  readonly maxStreams: number
}

export interface FetchOptions {
  /** An open first GET to go on with, or null to open one. */
  readonly stream: OriginStream | null
  readonly lengthBytes: number
  readonly signal: AbortSignal
  /** True when the position is, or now becomes, ours to fetch. */
  readonly wants: (index: number) => boolean
  readonly onSegment: (index: number, bytes: Uint8Array) => Promise<void>
}

export class OriginFetcher {
  readonly #origin: Origin
  readonly #request: OriginRequest
  readonly #resource: Resource
  readonly #c: OriginFetcherComponents
  readonly #options: OriginFetcherOptions
  #canRange: boolean
  #streamCount = 0
  #hasLazyStream = false
  #failedAttempts = 0
  #notBeforeMs = 0

  constructor(
    target: { origin: Origin; request: OriginRequest; resource: Resource; acceptsRanges: boolean },
    components: OriginFetcherComponents,
    options: OriginFetcherOptions,
  ) {
    this.#origin = target.origin
    this.#request = target.request
    this.#resource = target.resource
    this.#canRange = target.acceptsRanges
    this.#c = components
    this.#options = options
  }

  /** What may be asked of the origin now; null while it is left alone after a failure. */
  view(options: { readonly isAlone: boolean }): OriginView | null {
    if (this.#c.clock.monotonicMs() < this.#notBeforeMs) return null
    // Alone, or without ranges, one stream does it: that is what the user's other tools do, and what origins expect.
    const isSingle = options.isAlone || !this.#canRange || this.#hasLazyStream
    return {
      freeStreamCount: Math.max(0, (isSingle ? 1 : this.#options.maxStreams) - this.#streamCount),
      maxClaimSegments: isSingle ? Number.POSITIVE_INFINITY : MAX_CLAIM_SEGMENTS,
    }
  }

  /** True when the claim is taken position by position as the stream comes to it. */
  isLazy(range: SegmentRange): boolean {
    return !this.#canRange || range.end - range.start > MAX_CLAIM_SEGMENTS
  }

  /** @throws SHORTHAUL_ORIGIN_*, and what `onSegment` throws */
  async fetch(range: SegmentRange, options: FetchOptions): Promise<void> {
    const isLazy = options.stream !== null || this.isLazy(range)
    this.#streamCount++
    if (isLazy) this.#hasLazyStream = true
    try {
      await this.#fetch(range, options)
    } finally {
      this.#streamCount--
      if (isLazy) this.#hasLazyStream = false
    }
  }

  /** Counts a failed fetch. @throws the error itself when trying again cannot help or has not helped */
  failed(error: unknown): void {
    if (!isShorthaulError(error)) throw error
    if (error.details.reason === 'no-range' && this.#canRange) {
      this.#canRange = false
      this.#c.note({
        event: 'note',
        note: 'no-range',
        message: 'The origin does not do ranges: one stream, and resuming starts over',
      })
      return
    }
    this.#failedAttempts++
    if (!error.retryable || error.code === 'SHORTHAUL_ORIGIN_CHANGED' || this.#failedAttempts >= MAX_ATTEMPTS)
      throw error
    if (!error.code.startsWith('SHORTHAUL_ORIGIN_')) throw error
    const { retryAfterMs } = error.details
    const backoffMs =
      Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** (this.#failedAttempts - 1)) * (0.5 + this.#c.random())
    const waitMs = typeof retryAfterMs === 'number' ? Math.max(retryAfterMs, backoffMs) : backoffMs
    // Waiting longer than this is a job's affair, not a fetch's: then the error and its Retry-After are the answer.
    if (waitMs > MAX_RETRY_MS * 2) throw error
    this.#notBeforeMs = this.#c.clock.monotonicMs() + waitMs
  }

  async #fetch(range: SegmentRange, options: FetchOptions): Promise<void> {
    const { lengthBytes, signal, wants, onSegment } = options
    const stream = options.stream ?? (await this.#open(range, { lengthBytes, signal }))
    const pending = new Set<Promise<void>>()
    let commitError: unknown = null
    let next = stream.offset / SEGMENT_BYTES
    try {
      const segments = readSegments(stream, {
        signal,
        pool: this.#c.pool,
        pace: async (bytes) => this.#c.limiter?.take(bytes, { signal }),
        onPartial: (bytes) => this.#c.tally.waste(bytes),
      })
      for await (const [index, bytes] of segments) {
        next = index + 1
        if (bytes.byteLength !== segmentLength(index, lengthBytes)) {
          throw new ShorthaulError(
            'SHORTHAUL_ORIGIN_UNREACHABLE',
            `Cannot read the body of the origin: it ended within segment ${index}, expected ${lengthBytes} bytes in all`,
          )
        }
        this.#failedAttempts = 0
        if (wants(index)) {
          const commit = onSegment(index, bytes)
            .catch((error: unknown) => {
              commitError ??= error
            })
            .finally(() => pending.delete(commit))
          pending.add(commit)
          if (pending.size >= MAX_COMMITS_IN_FLIGHT) await Promise.race(pending)
          if (commitError !== null) throw commitError
        } else {
          this.#c.tally.waste(bytes.byteLength)
          this.#c.pool.give(bytes)
        }
        if (next >= range.end) break
        // A stream that cannot be asked for a range is read through what we have already.
        if (!wants(next) && this.#canRange) break
      }
      await Promise.all(pending)
      if (commitError !== null) throw commitError
      const isCutShort = next < segmentCount(lengthBytes) && next < range.end && wants(next)
      if (isCutShort) {
        throw new ShorthaulError(
          'SHORTHAUL_ORIGIN_UNREACHABLE',
          `Cannot read the body of the origin: it ended before segment ${next}`,
        )
      }
    } finally {
      await Promise.allSettled(pending)
      await stream.cancel()
    }
  }

  async #open(range: SegmentRange, options: { lengthBytes: number; signal: AbortSignal }): Promise<OriginStream> {
    const { lengthBytes, signal } = options
    const isWhole = range.start === 0 && range.end === segmentCount(lengthBytes)
    const bytes = { start: range.start * SEGMENT_BYTES, end: Math.min(range.end * SEGMENT_BYTES, lengthBytes) }
    return this.#origin.open(this.#request, {
      ...(this.#canRange && !isWhole ? { range: bytes } : {}),
      expected: { validator: this.#resource.validator, lengthBytes },
      signal,
    })
  }
}
