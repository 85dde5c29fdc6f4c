/**
 * From where inside the branch which segment comes, now: cache, another transfer of this agent, or which neighbour. Pure:
 * (state, random) -> decisions. What nobody in the branch has is crowd.ts's affair.
 *
 * Invariants:
 * 1. A position is decided at most once; what is in flight is not decided again.
 * 2. What was asked for stays bounded: `maxInFlight` segments in all, `perPeerInFlight` for one peer.
 */
import type { Random } from '../clock.ts'
import type { AgentKey } from '../content/ids.ts'
import type { PositionSet } from '../content/position-set.ts'

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
  /** Positions that our store can serve. */
  readonly cached: PositionSet
  /** Positions that another transfer of this agent fetches at this moment. */
  readonly awaited: PositionSet
  /** Positions that a peer which is not unusable holds. */
  readonly available: PositionSet
  /** Positions from here on may not be fetched yet (a pipe takes them in order). Infinity: no bound. */
  readonly windowEnd: number
  readonly inFlightCount: number
  /** Segments that neighbours may be asked for now, whatever the limits allow. Infinity: that says nothing. */
  readonly peerRoom: number
  readonly peers: readonly PeerView[]
}

export interface PlanLimits {
  readonly maxInFlight: number
  readonly perPeerInFlight: number
}

export type Decision =
  | { readonly source: 'cache'; readonly index: number }
  | { readonly source: 'await'; readonly index: number }
  | { readonly source: 'peer'; readonly index: number; readonly peer: AgentKey }

/** Assumed of a peer nobody measured yet: fast, so that it is tried, but not faster than any measured one on a LAN. */
const UNMEASURED_BYTES_PER_SEC = 20 * 1024 * 1024

/** Positions looked at per call: a decision costs the same whether 4 GiB or 1 TiB are missing. */
const SCAN_LIMIT = 2048

/**
 * So many are taken in random order: in order, so that a target grows from its start; random, so that neighbours who see
 * the same do not all want the same. Rarest first was tried and is worse here: everybody then runs to the one holder of
 * what came last (bench/sim, 100 agents, WAN as fast as the LAN: 1.50 x ideal and three times the refusals, against 1.35).
 */
const SHUFFLED_POSITIONS = 32

interface Candidate {
  readonly index: number
  readonly key: number
}

/** However many streams run, neighbours are asked, too. */
const MAX_COUNTED_STREAMS = 2

/**
 * For PlanState: what comes from the origin is in flight like the rest. All wait for it, and neighbours that are asked for
 * less leave it its bandwidth.
 * @param ownStreamCount connections that this agent has to the origin
 */
export function inFlightCount(segmentCount: number, ownStreamCount: number): number {
  return segmentCount + Math.min(ownStreamCount, MAX_COUNTED_STREAMS)
}

export function chooseSources(state: PlanState, options: { limits: PlanLimits; random: Random }): Decision[] {
  const { limits, random } = options
  const decisions: Decision[] = []
  const most = limits.maxInFlight - state.inFlightCount
  // What is here is not waited for, though another transfer may be on its way to it: it was here before that began.
  const isHere = (index: number) => state.cached.has(index) && state.isKnown(index)
  for (const index of within(state, state.awaited)) {
    if (decisions.length >= most) return decisions
    if (!isHere(index)) decisions.push({ source: 'await', index })
  }
  for (const index of within(state, state.cached)) {
    if (decisions.length >= most) return decisions
    if (isHere(index)) decisions.push({ source: 'cache', index })
  }
  const room = Math.min(most - decisions.length, state.peerRoom)
  return room > 0 ? decisions.concat(choosePeers(state, { limits, random, room })) : decisions
}

function choosePeers(
  state: PlanState,
  options: { limits: PlanLimits; random: Random; room: number },
): readonly Decision[] {
  const { random, room } = options
  const decisions: Decision[] = []
  const candidates = candidatesOf(state, random)
  if (candidates.length === 0) return decisions
  const perPeerInFlight = perPeerDepth(state.peers, options.limits)
  const free = state.peers.filter((peer) => peer.state === 'ready' && peer.inFlightCount < perPeerInFlight)
  /** Segments that this plan asks for, by peer. */
  const asked = new Map<PeerView, number>()
  for (let start = 0; start < candidates.length; start += SHUFFLED_POSITIONS) {
    for (const { index } of inOrder(candidates, start)) {
      if (decisions.length >= room || free.length === 0) return decisions
      const peer = choosePeer(free, { index, asked, random })
      if (!peer) continue // its holders are busy: waited for, never asked of the origin meanwhile
      decisions.push({ source: 'peer', index, peer: peer.key })
      const count = (asked.get(peer) ?? 0) + 1
      asked.set(peer, count)
      if (peer.inFlightCount + count >= perPeerInFlight) free.splice(free.indexOf(peer), 1)
    }
  }
  return decisions
}

/**
 * Segments in flight of one peer: twice an even share, so that a fast one can give more. Where many have something that is
 * one of each: all ask whoever has the newest, and a second request is turned away there while other uplinks have nothing
 * to do (bench/sim, 200 agents, 256 MiB, WAN as fast as the LAN: 1.52 x ideal and under half of the refusals, against 1.69).
 */
export function perPeerDepth(peers: readonly PeerView[], limits: PlanLimits): number {
  let count = 0
  for (const peer of peers) if (peer.state !== 'unusable' && peer.holds.size > 0) count++
  return Math.min(limits.perPeerInFlight, Math.ceil((2 * limits.maxInFlight) / Math.max(1, count)))
}

/** Positions of both sets, within the window; at most SCAN_LIMIT. */
function* within(state: PlanState, set: PositionSet): Generator<number> {
  let scanned = 0
  for (let index = state.missing.nextCommon(set, 0); index !== -1; index = state.missing.nextCommon(set, index + 1)) {
    if (index >= state.windowEnd || scanned++ >= SCAN_LIMIT) return
    yield index
  }
}

/** In order of position. */
function candidatesOf(state: PlanState, random: Random): Candidate[] {
  const candidates: Candidate[] = []
  for (const index of within(state, state.available)) {
    if (!state.isKnown(index) || state.cached.has(index) || state.awaited.has(index)) continue
    candidates.push({ index, key: random() })
  }
  return candidates
}

/** The next few, in random order. Few of many are ever looked at: what is not is not sorted. */
function inOrder(candidates: readonly Candidate[], start: number): Candidate[] {
  return candidates.slice(start, start + SHUFFLED_POSITIONS).sort((a, b) => a.key - b.key)
}

/**
 * Of those who hold the position. Weighted by rate over queue, with a random factor of 1 to 2 so that agents that see the
 * same state do not all run to the same holder.
 */
function choosePeer(
  free: readonly PeerView[],
  options: { index: number; asked: ReadonlyMap<PeerView, number>; random: Random },
): PeerView | undefined {
  const { index, asked, random } = options
  let best: PeerView | undefined
  let bestScore = -1
  for (const peer of free) {
    if (!peer.holds.has(index)) continue
    const load = peer.inFlightCount + (asked.get(peer) ?? 0)
    const score = ((peer.bytesPerSec ?? UNMEASURED_BYTES_PER_SEC) / (1 + load)) * (1 + random())
    if (score > bestScore) {
      best = peer
      bestScore = score
    }
  }
  return best
}
