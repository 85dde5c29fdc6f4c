/**
 * Neighbours that are slow: what is no longer waited for, and what they must not hold up. Pure.
 *
 * In a crowd the newest segments stand at one agent first. If its link is slow, all ask it, few get them, and from these
 * the rest can have them at once; but not those who wait in the line of the slow one.
 */
import type { AgentKey } from '../content/ids.ts'
import { SEGMENT_BYTES } from '../content/segmentation.ts'
import type { PeerView } from './source-choice.ts'

/** A segment that a neighbour was asked for. */
export interface Flight {
  readonly index: number
  readonly peer: AgentKey
  readonly startedAtMs: number
}

/** Sooner nobody is called slow: connections are made, disks are busy. */
const PATIENCE_MS = 600
/** So many times faster somebody else must be expected to be than what was waited already. */
const TIMES_FASTER = 4

/**
 * Flights to give up, because another holder that may be asked now would probably have it here long before.
 * @param options.perPeerInFlight segments that one peer is asked for at a time
 */
export function overtaken<F extends Flight>(
  flights: Iterable<F>,
  peers: readonly PeerView[],
  options: { readonly nowMs: number; readonly perPeerInFlight: number },
): F[] {
  const { nowMs, perPeerInFlight } = options
  const given: F[] = []
  const asked = new Map<PeerView, number>()
  for (const flight of flights) {
    const waitedMs = nowMs - flight.startedAtMs
    if (waitedMs < PATIENCE_MS) continue
    const faster = peers.find((peer) => {
      const load = peer.inFlightCount + (asked.get(peer) ?? 0)
      if (peer.key === flight.peer || peer.state !== 'ready' || load >= perPeerInFlight) return false
      if (peer.bytesPerSec === null || !peer.holds.has(flight.index)) return false
      return ((SEGMENT_BYTES * (1 + load)) / peer.bytesPerSec) * 1000 * TIMES_FASTER < waitedMs
    })
    if (!faster) continue
    asked.set(faster, (asked.get(faster) ?? 0) + 1)
    given.push(flight)
  }
  return given
}

/** What a peer gives at most, as long as what it was asked for does not come. @param bytesPerSec as measured before; null: never */
export function boundedRate(bytesPerSec: number | null, waitedMs: number): number | null {
  if (waitedMs < PATIENCE_MS) return bytesPerSec
  const mostBytesPerSec = (SEGMENT_BYTES / waitedMs) * 1000
  return bytesPerSec === null ? mostBytesPerSec : Math.min(bytesPerSec, mostBytesPerSec)
}

/** At the beginning, and the least of what takes its time: one comes while the next is asked for. */
const FIRST_COUNT = 2
/** So long a segment should take that is fetched beside others. */
const BESIDE_MS = 1500

/**
 * Segments to ask neighbours for at the same time: as many as come within a second or so each. More would come no sooner
 * over a slow link of ours, each holds a place at a neighbour meanwhile, and at the end they are had twice.
 */
export class LaneWindow {
  #count = FIRST_COUNT
  readonly #maxCount: number

  constructor(options: { readonly maxCount: number }) {
    this.#maxCount = options.maxCount
  }

  get count(): number {
    return this.#count
  }

  /** A segment came from a neighbour. @param flightCount in flight then, with it */
  landed(durationMs: number, flightCount: number): void {
    const count = Math.round((flightCount * BESIDE_MS) / Math.max(1, durationMs))
    this.#count = Math.min(this.#maxCount, Math.max(FIRST_COUNT, count))
  }
}

/** Of a segment from a neighbour; slower is a link of less than about 8 Mbit/s. */
const QUICK_MS = 2000
/** After a slow one; then it is tried again. */
const PAUSE_MS = 5000

/**
 * Segments that neighbours may be asked for at the same time by who also fetches from the origin, for which all the others
 * wait: few until it is known that its link has room for both, and none when it has not. Others ask for as many as they like.
 */
export class FetcherWindow {
  #count = FIRST_COUNT
  #pausedUntilMs = Number.NEGATIVE_INFINITY
  #quickAtMs = Number.NEGATIVE_INFINITY
  readonly #maxCount: number

  constructor(options: { readonly maxCount: number }) {
    this.#maxCount = options.maxCount
  }

  /** A segment came from a neighbour. */
  landed(durationMs: number, nowMs: number): void {
    if (durationMs <= QUICK_MS) {
      this.#quickAtMs = nowMs
      this.#count = Math.min(this.#maxCount, this.#count + 1)
    } else if (this.#isTooSlow(durationMs, nowMs)) {
      this.#count = 1
      this.#pausedUntilMs = nowMs + PAUSE_MS
    }
  }

  /** @param oldestMs how long what is in flight takes already; 0: nothing is */
  count(oldestMs: number, nowMs: number): number {
    return this.#isTooSlow(oldestMs, nowMs) || nowMs < this.#pausedUntilMs ? 0 : this.#count
  }

  /** Our link is, and not one of the neighbours: of late nothing came quickly. */
  #isTooSlow(durationMs: number, nowMs: number): boolean {
    return durationMs > QUICK_MS && nowMs - this.#quickAtMs > QUICK_MS
  }
}
