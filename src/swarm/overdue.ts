/**
 * What a member of the crowd had from the origin for all, and is too slow to pass on: one of those who wait has it from
 * there once more. Pure; for one transfer, in the agent and in the simulator.
 */
import type { AgentKey } from '../content/ids.ts'
import { PositionSet } from '../content/position-set.ts'
import type { Crowd } from './crowd.ts'
import type { Holders } from './holders.ts'
import type { PeerFlights } from './peer-flights.ts'
import type { Flight } from './stragglers.ts'

/** A segment may stand at one neighbour alone for so long, or this many times as long as they usually do. */
const PATIENCE_MS = 1000
const TIMES_USUAL = 4
/** The first who is idle begins; when nothing comes of that for so long, the next. */
const TURN_MS = 2000
const LOOK_MS = 200
/** At a time; the neighbour goes on to give the others. */
const MAX_POSITIONS = 4

export interface Wait {
  /** What the transfer lacks, and has not asked for. */
  readonly missing: PositionSet
  readonly flights: Pick<PeerFlights<Flight>, 'all' | 'landedAtMs'>
  readonly holders: Holders
  readonly crowd: Crowd
  readonly nowMs: number
}

export class Overdue {
  /** Ours to have from the origin, and not to be asked neighbours for. Not to be written to. */
  readonly positions: PositionSet
  #lookAtMs = Number.NEGATIVE_INFINITY

  constructor(segmentCount: number) {
    this.positions = new PositionSet(segmentCount)
  }

  /** To be called at every change, and a few times a second. */
  look({ missing, flights, holders, crowd, nowMs }: Wait): void {
    if (nowMs < this.#lookAtMs) return
    this.#lookAtMs = nowMs + LOOK_MS
    if (crowd.ownStreamCount > 0) {
      for (const index of [...this.positions.values()]) if (holders.count(index) !== 1) this.positions.delete(index)
      return
    }
    this.positions.clear()
    if (!crowd.isIdle(nowMs)) return
    const patienceMs = Math.max(PATIENCE_MS, TIMES_USUAL * holders.usuallyAloneMs)
    const late: { readonly index: number; readonly sinceMs: number }[] = []
    const slow = new Set<AgentKey>()
    const wanted = missing.copy()
    for (const { index } of flights.all()) wanted.add(index)
    for (const index of wanted.values()) {
      const sinceMs = holders.aloneMs(index, nowMs) - patienceMs
      const holder = sinceMs > 0 ? holders.firstOf(index) : undefined
      if (holder === undefined || !crowd.hasFetchedWithUs(holder, index)) continue
      if (nowMs - flights.landedAtMs(holder) < patienceMs) continue // it gives what it has, one after the other
      late.push({ index, sinceMs })
      slow.add(holder)
    }
    const turnMs = crowd.idlePlace(nowMs, slow) * TURN_MS
    // The last ones: what comes first may be about to come.
    for (const { index } of late.filter(({ sinceMs }) => sinceMs > turnMs).slice(-MAX_POSITIONS)) {
      this.positions.add(index)
    }
  }
}
