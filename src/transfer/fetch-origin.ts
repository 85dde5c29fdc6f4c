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
import type { TokenBucket } from '../throttle/token-bucket.ts'
import type { TransferNote } from './request.ts'
import { readSegments } from './segment-reader.ts'
import type { Tally } from './tally.ts'

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

export interface FetchOptions {
  /** An open first GET to go on with, or null to open one. */
  readonly stream: OriginStream | null
  readonly lengthBytes: number
  readonly signal: AbortSignal
  /** True when the position is, or now becomes, ours to fetch. */
  readonly wants: (index: number) => boolean
  /** Called with the size of every chunk of content that came. */
  readonly onBytes: (bytes: number) => void
  /** Called when a segment is read whole, with the position that comes next; before `onSegment`. */
  readonly onPosition: (next: number) => void
  readonly onSegment: (index: number, bytes: Uint8Array) => Promise<void>
  /** True when what was opened then, by the monotonic clock, is better left for a new connection. */
  readonly isStale: (openedAtMs: number) => boolean
}

export class OriginFetcher {
  readonly #origin: Origin
  readonly #request: OriginRequest
  readonly #resource: Resource
  readonly #c: OriginFetcherComponents
  #canRange: boolean
  /** Another connection did not answer as the first one did: what is open is kept to its end. */
  #mayRenew = true
  #failedAttempts = 0
  #notBeforeMs = 0
  #isAskedToWait = false

  constructor(
    target: { origin: Origin; request: OriginRequest; resource: Resource; acceptsRanges: boolean },
    components: OriginFetcherComponents,
  ) {
    this.#origin = target.origin
    this.#request = target.request
    this.#resource = target.resource
    this.#canRange = target.acceptsRanges
    this.#c = components
  }

  /** False once it is known that the origin ignores ranges. */
  get canRange(): boolean {
    return this.#canRange
  }

  /** Why the origin is left alone for now: it failed us, or it asked to be (Retry-After). Null: it may be asked. */
  pause(): 'local' | 'wait' | null {
    if (this.#c.clock.monotonicMs() >= this.#notBeforeMs) return null
    return this.#isAskedToWait ? 'wait' : 'local'
  }

  /** Counts a failed fetch. @throws the error itself when trying again cannot help or has not helped */
  failed(error: unknown): void {
    if (!isShorthaulError(error)) throw error
    if (error.details.reason === 'no-range') {
      // Several streams may find out at the same time.
      if (!this.#canRange) return
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
    this.#isAskedToWait = typeof retryAfterMs === 'number'
  }

  /** @throws SHORTHAUL_ORIGIN_*, and what `onSegment` throws */
  async fetch(range: SegmentRange, options: FetchOptions): Promise<void> {
    const { lengthBytes, signal } = options
    let stream: OriginStream | null = options.stream ?? (await this.#open(range, { lengthBytes, signal }))
    while (stream !== null) {
      const openedAtMs = this.#c.clock.monotonicMs()
      const renew = async (start: number): Promise<OriginStream | null> =>
        options.isStale(openedAtMs) ? this.#renew({ start, end: range.end }, { lengthBytes, signal }) : null
      stream = await this.#read(stream, range, { ...options, renew })
    }
  }

  /** @returns a stream that goes on where this one was left; null: all has come */
  async #read(
    stream: OriginStream,
    range: SegmentRange,
    options: FetchOptions & { readonly renew: (start: number) => Promise<OriginStream | null> },
  ): Promise<OriginStream | null> {
    const { lengthBytes, signal, wants, onBytes, onPosition, onSegment, renew } = options
    const pending = new Set<Promise<void>>()
    let commitError: unknown = null
    let next = stream.offset / SEGMENT_BYTES
    let better: OriginStream | null = null
    try {
      const segments = readSegments(stream, {
        signal,
        pool: this.#c.pool,
        pace: async (bytes) => {
          onBytes(bytes)
          await this.#c.limiter?.take(bytes, { signal })
        },
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
        onPosition(next)
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
        better = await renew(next)
        if (better !== null) break
      }
      await Promise.all(pending)
      if (commitError !== null) throw commitError
      if (better !== null) return better
      const isCutShort = next < segmentCount(lengthBytes) && next < range.end && wants(next)
      if (isCutShort) {
        throw new ShorthaulError(
          'SHORTHAUL_ORIGIN_UNREACHABLE',
          `Cannot read the body of the origin: it ended before segment ${next}`,
        )
      }
      return null
    } catch (error) {
      await better?.cancel()
      throw error
    } finally {
      await Promise.allSettled(pending)
      await stream.cancel()
    }
  }

  /** The rest over a new connection, while the old one waits; null: it cannot be had so, and the old one goes on. */
  async #renew(
    range: SegmentRange,
    options: { lengthBytes: number; signal: AbortSignal },
  ): Promise<OriginStream | null> {
    if (!this.#canRange || !this.#mayRenew) return null
    try {
      return await this.#open(range, options)
    } catch (error) {
      if (options.signal.aborted) throw error
      this.#mayRenew = false
      return null
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
