/**
 * What we learnt about each peer: how fast it is, how it failed, and until when to leave it alone. Pure state over
 * (events, monotonic now): no I/O, no timers, no randomness; whoever asks adds jitter.
 *
 * Does not choose. Invariants: everything decays, so that a peer is never judged for ever; at most `maxEntries` peers
 * are remembered, and bans are forgotten last.
 */
import type { Clock } from '../clock.ts'
import type { AgentKey } from '../content/ids.ts'

export const FAILURE_KINDS = ['corrupt', 'stalled', 'unreachable', 'protocol', 'missing', 'busy'] as const
export type FailureKind = (typeof FAILURE_KINDS)[number]

export interface PeerView {
  /** One request's rate, averaged with more weight on the latest; null until measured. */
  readonly bytesPerSec: number | null
  /** In (0, 1]; 1 when nothing ever failed. Multiply the rate by it to compare peers. */
  readonly score: number
  /** Decayed counts, so not whole: each halves in `failureHalfLifeMs`. */
  readonly failures: Readonly<Record<FailureKind, number>>
  readonly isBanned: boolean
  /** It asked us to come back later (503), and there is no other reason to leave it alone. */
  readonly isBusy: boolean
  /** 0 when not banned. */
  readonly bannedForMs: number
  /** 0: ask now; otherwise not before so long, for whatever reason (ban, back-off, busy). */
  readonly availableInMs: number
  /** All that it ever sent us while remembered; does not decay. */
  readonly servedBytes: number
}

export interface PeerBookOptions {
  readonly maxEntries?: number
  readonly failureHalfLifeMs?: number
}

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const MAX_ENTRIES = 4096
const FAILURE_HALF_LIFE_MS = 10 * MINUTE_MS

/** A corrupt segment is a lie or a broken disk: nothing that waiting a moment cures. */
const FIRST_BAN_MS = 10 * MINUTE_MS
const MAX_BAN_MS = 24 * HOUR_MS
/** Strikes halve in a day without corruption, so the next ban after a quiet week is a first one again. */
const STRIKE_HALF_LIFE_MS = 24 * HOUR_MS

/** [first, longest] back-off; doubles with each failure in a row. */
const BACK_OFF_MS = {
  stalled: [500, 30_000],
  unreachable: [500, 30_000],
  protocol: [10_000, 10 * MINUTE_MS],
} as const
/** A row of failures halves in so long without one. */
const ROW_HALF_LIFE_MS = MINUTE_MS

const DEFAULT_BUSY_MS = 250
const MIN_BUSY_MS = 10
const MAX_BUSY_MS = MINUTE_MS

/** How much one failure of each kind weighs in the score. A peer that is busy or evicted something did no wrong. */
const WEIGHTS: Readonly<Record<FailureKind, number>> = {
  corrupt: 4,
  protocol: 2,
  stalled: 1,
  unreachable: 0.5,
  missing: 0.1,
  busy: 0.05,
}

/** The average follows the last few MiB, whatever the sizes of the samples. */
const RATE_WINDOW_BYTES = 4 * 1024 * 1024
/** Guards against a division by a clock that did not move. */
const MIN_SAMPLE_MS = 0.1

/** A number that halves in every half-life. */
interface Decaying {
  value: number
  atMs: number
}

interface Entry {
  bytesPerSec: number | null
  servedBytes: number
  readonly failures: Map<FailureKind, Decaying>
  readonly strikes: Decaying
  /** Stalled, unreachable and protocol failures in a row. */
  readonly row: Decaying
  bannedUntilMs: number
  backOffUntilMs: number
  busyUntilMs: number
}

export class PeerBook {
  readonly #clock: Clock
  readonly #maxEntries: number
  readonly #failureHalfLifeMs: number
  readonly #isQuarantined: (peer: AgentKey) => boolean
  /** Order is last event first-to-last: the first is the one longest without any. */
  readonly #entries = new Map<AgentKey, Entry>()

  /** @param components.quarantine those in it count as banned */
  constructor(
    components: { clock: Clock; quarantine?: { has(peer: AgentKey): boolean } },
    options: PeerBookOptions = {},
  ) {
    this.#clock = components.clock
    this.#isQuarantined = (peer) => components.quarantine?.has(peer) ?? false
    this.#maxEntries = options.maxEntries ?? MAX_ENTRIES
    this.#failureHalfLifeMs = options.failureHalfLifeMs ?? FAILURE_HALF_LIFE_MS
  }

  /** It sent `bytes` that verified. Ends its back-off, but never a ban. */
  served(peer: AgentKey, sample: { bytes: number; durationMs: number }): void {
    const entry = this.#touch(peer)
    entry.servedBytes += sample.bytes
    entry.row.value = 0
    entry.backOffUntilMs = Number.NEGATIVE_INFINITY
    entry.busyUntilMs = Number.NEGATIVE_INFINITY
    if (sample.bytes <= 0) return
    const bytesPerSec = (sample.bytes / Math.max(MIN_SAMPLE_MS, sample.durationMs)) * 1000
    // Weighted by size: the tail of a file says little about the line.
    const weight = 1 - Math.exp(-sample.bytes / RATE_WINDOW_BYTES)
    entry.bytesPerSec =
      entry.bytesPerSec === null ? bytesPerSec : entry.bytesPerSec + weight * (bytesPerSec - entry.bytesPerSec)
  }

  /** It had not sent `bytes` after so long: its rate is lower, which is no failure. */
  overtaken(peer: AgentKey, { bytes, durationMs }: { bytes: number; durationMs: number }): void {
    const entry = this.#touch(peer)
    const mostBytesPerSec = (bytes / Math.max(MIN_SAMPLE_MS, durationMs)) * 1000
    entry.bytesPerSec = Math.min(entry.bytesPerSec ?? mostBytesPerSec, mostBytesPerSec)
  }

  /** @param options retryAfterMs what a busy peer asked for; 10 ms to a minute are honoured */
  failed(peer: AgentKey, kind: FailureKind, options: { retryAfterMs?: number } = {}): void {
    const nowMs = this.#clock.monotonicMs()
    const entry = this.#touch(peer)
    const count = entry.failures.get(kind) ?? { value: 0, atMs: nowMs }
    entry.failures.set(kind, count)
    bump(count, { nowMs, halfLifeMs: this.#failureHalfLifeMs })
    switch (kind) {
      case 'corrupt': {
        const strikes = bump(entry.strikes, { nowMs, halfLifeMs: STRIKE_HALF_LIFE_MS })
        entry.bannedUntilMs = Math.max(
          entry.bannedUntilMs,
          nowMs + doubled(strikes, { firstMs: FIRST_BAN_MS, longestMs: MAX_BAN_MS }),
        )
        break
      }
      case 'stalled':
      case 'unreachable':
      case 'protocol': {
        const [firstMs, longestMs] = BACK_OFF_MS[kind]
        const row = bump(entry.row, { nowMs, halfLifeMs: ROW_HALF_LIFE_MS })
        entry.backOffUntilMs = Math.max(entry.backOffUntilMs, nowMs + doubled(row, { firstMs, longestMs }))
        break
      }
      case 'busy': {
        const waitMs = Math.min(MAX_BUSY_MS, Math.max(MIN_BUSY_MS, options.retryAfterMs ?? DEFAULT_BUSY_MS))
        entry.busyUntilMs = Math.max(entry.busyUntilMs, nowMs + waitMs)
        break
      }
      case 'missing':
        break
    }
  }

  /** A peer that nothing is known of is available and has a score of 1. Asking does not make an entry. */
  view(peer: AgentKey): PeerView {
    const entry = this.#entries.get(peer)
    const view = this.#viewOf(entry ?? newEntry(this.#clock.monotonicMs()))
    return this.#isQuarantined(peer) ? { ...view, isBanned: true, isBusy: false } : view
  }

  /** Everybody remembered, the one longest without an event first. */
  all(): (PeerView & { readonly peer: AgentKey })[] {
    return [...this.#entries].map(([peer, entry]) => ({ peer, ...this.#viewOf(entry) }))
  }

  #viewOf(entry: Entry): PeerView {
    const nowMs = this.#clock.monotonicMs()
    const decayedCount = (kind: FailureKind) => {
      const count = entry.failures.get(kind)
      return count ? decayed(count, { nowMs, halfLifeMs: this.#failureHalfLifeMs }) : 0
    }
    const failures: Record<FailureKind, number> = {
      corrupt: decayedCount('corrupt'),
      stalled: decayedCount('stalled'),
      unreachable: decayedCount('unreachable'),
      protocol: decayedCount('protocol'),
      missing: decayedCount('missing'),
      busy: decayedCount('busy'),
    }
    const weight = FAILURE_KINDS.reduce((sum, kind) => sum + WEIGHTS[kind] * failures[kind], 0)
    const bannedForMs = Math.max(0, entry.bannedUntilMs - nowMs)
    const untilMs = Math.max(entry.bannedUntilMs, entry.backOffUntilMs, entry.busyUntilMs)
    return {
      bytesPerSec: entry.bytesPerSec,
      score: 1 / (1 + weight),
      failures,
      isBanned: bannedForMs > 0,
      isBusy: entry.busyUntilMs > nowMs && entry.backOffUntilMs <= nowMs && bannedForMs === 0,
      bannedForMs,
      availableInMs: Math.max(0, untilMs - nowMs),
      servedBytes: entry.servedBytes,
    }
  }

  #touch(peer: AgentKey): Entry {
    const nowMs = this.#clock.monotonicMs()
    const entry = this.#entries.get(peer) ?? newEntry(nowMs)
    this.#entries.delete(peer)
    if (this.#entries.size >= this.#maxEntries) this.#forgetOne(nowMs)
    this.#entries.set(peer, entry)
    return entry
  }

  /** Not a banned one while there is another: a liar could have itself forgotten by making up keys. */
  #forgetOne(nowMs: number): void {
    const [longestSilent] = this.#entries.keys()
    for (const [peer, entry] of this.#entries) {
      if (entry.bannedUntilMs > nowMs) continue
      this.#entries.delete(peer)
      return
    }
    if (longestSilent !== undefined) this.#entries.delete(longestSilent)
  }
}

function newEntry(nowMs: number): Entry {
  return {
    bytesPerSec: null,
    servedBytes: 0,
    failures: new Map(),
    strikes: { value: 0, atMs: nowMs },
    row: { value: 0, atMs: nowMs },
    bannedUntilMs: Number.NEGATIVE_INFINITY,
    backOffUntilMs: Number.NEGATIVE_INFINITY,
    busyUntilMs: Number.NEGATIVE_INFINITY,
  }
}

function decayed(count: Decaying, at: { nowMs: number; halfLifeMs: number }): number {
  return count.value * 2 ** (-(at.nowMs - count.atMs) / at.halfLifeMs)
}

/** One more. @returns the count with it */
function bump(count: Decaying, at: { nowMs: number; halfLifeMs: number }): number {
  count.value = decayed(count, at) + 1
  count.atMs = at.nowMs
  return count.value
}

/** `firstMs` for a count of 1, twice as long for each more; whole steps, so that decay alone makes no odd times. */
function doubled(count: number, bounds: { firstMs: number; longestMs: number }): number {
  return Math.min(bounds.longestMs, bounds.firstMs * 2 ** Math.max(0, Math.round(count) - 1))
}
