/**
 * Which source for which segment, now. Pure: (state, random) -> decisions; no I/O, no clock of its own, so that the
 * agent and a simulator can run the same code.
 *
 * Invariants:
 * 1. A position is decided at most once; what is in flight is not decided again.
 * 2. A position that a usable peer holds is never asked of the origin: WAN bytes are what we exist to save.
 * 3. What was asked for stays bounded: `maxInFlight` segments in all, `perPeerInFlight` for one peer.
 * 4. An origin claim is a run of consecutive positions and is never longer than the caller's limit.
 */

import type { Random } from '../clock.ts'
import type { AgentKey } from '../content/ids.ts'
import type { PositionSet } from '../content/position-set.ts'
import type { SegmentRange } from '../content/segmentation.ts'

export interface PeerView {
  readonly key: AgentKey
  readonly holds: PositionSet
  readonly inFlightCount: number
  /** Null until measured. */
  readonly bytesPerSec: number | null
  /**
   * `ready`: may be asked. `busy`: asked us to come back, its segments are waited for. `unusable`: banned, failing or
   * not local; as if it held nothing.
   */
  readonly state: 'ready' | 'busy' | 'unusable'
}

export interface PlanState {
  /** Positions that are neither delivered nor in flight. */
  readonly missing: PositionSet
  /** Positions whose hash is known, and may be believed: only these can come from cache or peers. */
  readonly isKnown: (index: number) => boolean
  /** The hash is unknown, but a holder was asked for it and should answer any moment. */
  readonly isHashExpected: (index: number) => boolean
  readonly isCached: (index: number) => boolean
  /** True when another transfer of this agent fetches the position at this moment. */
  readonly isAwaited: (index: number) => boolean
  /** Positions from here on may not be fetched yet (a pipe takes them in order). Infinity: no bound. */
  readonly windowEnd: number
  readonly inFlightCount: number
  readonly peers: readonly PeerView[]
  /** Null while the origin may not be asked (forbidden, backing off, or a hold for answers of peers). */
  readonly origin: OriginView | null
}

export interface OriginView {
  /** Streams that may still be opened now. */
  readonly freeStreamCount: number
  /** Longest claim, in segments. */
  readonly maxClaimSegments: number
}

export interface PlanLimits {
  readonly maxInFlight: number
  readonly perPeerInFlight: number
}

export type Decision =
  | { readonly source: 'cache'; readonly index: number }
  | { readonly source: 'await'; readonly index: number }
  | { readonly source: 'peer'; readonly index: number; readonly peer: AgentKey }
  | { readonly source: 'origin'; readonly range: SegmentRange }

/** Assumed of a peer nobody measured yet: fast, so that it is tried, but not faster than any measured one on a LAN. */
const UNMEASURED_BYTES_PER_SEC = 20 * 1024 * 1024

/** Positions looked at per call: a decision costs the same whether 4 GiB or 1 TiB are missing. */
const SCAN_LIMIT = 2048

export function chooseSources(state: PlanState, options: { limits: PlanLimits; random: Random }): Decision[] {
  const { limits, random } = options
  const decisions: Decision[] = []
  const load = new Map(state.peers.map((peer) => [peer.key, peer.inFlightCount]))
  let inFlightCount = state.inFlightCount
  let freeStreamCount = state.origin?.freeStreamCount ?? 0
  let claim: { start: number; end: number } | null = null
  const usable = state.peers.filter((peer) => peer.state !== 'unusable')

  const endClaim = () => {
    if (claim) decisions.push({ source: 'origin', range: claim })
    claim = null
  }

  let scanned = 0
  for (const index of state.missing.values()) {
    if (index >= state.windowEnd || scanned++ >= SCAN_LIMIT) break
    if (claim !== null && !(claim.end === index && claim.end - claim.start < (state.origin?.maxClaimSegments ?? 0))) {
      endClaim()
    }
    if (inFlightCount >= limits.maxInFlight && freeStreamCount === 0 && claim === null) break

    if (state.isAwaited(index)) {
      if (inFlightCount < limits.maxInFlight) {
        decisions.push({ source: 'await', index })
        inFlightCount++
      }
      continue
    }
    if (state.isKnown(index)) {
      if (state.isCached(index)) {
        if (inFlightCount < limits.maxInFlight) {
          decisions.push({ source: 'cache', index })
          inFlightCount++
        }
        continue
      }
      const holders = usable.filter((peer) => peer.holds.has(index))
      if (holders.length > 0) {
        const free = holders.filter(
          (peer) => peer.state === 'ready' && (load.get(peer.key) ?? 0) < limits.perPeerInFlight,
        )
        if (free.length > 0 && inFlightCount < limits.maxInFlight) {
          const peer = choosePeer(free, { load, random })
          load.set(peer.key, (load.get(peer.key) ?? 0) + 1)
          inFlightCount++
          decisions.push({ source: 'peer', index, peer: peer.key })
        }
        continue // invariant 2: a busy holder is waited for
      }
    } else if (state.isHashExpected(index)) {
      continue
    }
    if (claim !== null) {
      claim.end = index + 1
    } else if (freeStreamCount > 0) {
      freeStreamCount--
      claim = { start: index, end: index + 1 }
    }
  }
  endClaim()
  return decisions
}

/**
 * Weighted by rate over queue, with a random factor of 1 to 2 so that agents that see the same state do not all run to
 * the same holder.
 */
function choosePeer(
  candidates: readonly PeerView[],
  options: { load: ReadonlyMap<AgentKey, number>; random: Random },
): PeerView {
  let best: PeerView | undefined
  let bestScore = -1
  for (const peer of candidates) {
    const rate = peer.bytesPerSec ?? UNMEASURED_BYTES_PER_SEC
    const score = (rate / (1 + (options.load.get(peer.key) ?? 0))) * (1 + options.random())
    if (score > bestScore) {
      best = peer
      bestScore = score
    }
  }
  if (!best) throw new RangeError('No candidate to choose from')
  return best
}
