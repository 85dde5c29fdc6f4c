/** What the law of the WAN is told and what it says: see wan-law.ts. All rates are of the branch as a whole. */
import type { DelayView } from './delay-estimator.ts'

export const PHASES = ['startup', 'drain', 'cruise', 'yield', 'ramp'] as const
export type WanPhase = (typeof PHASES)[number]

/** More is read from one look to the next, until something queues. */
export function isRising(phase: WanPhase | undefined): boolean {
  return phase === 'startup' || phase === 'ramp'
}

export const MBIT = 125_000

/** What differs between the priorities that are governed. */
export interface WanLevel {
  /** Of the capacity, that is read when nobody else is there. */
  readonly useRatio: number
  readonly thresholdFactor: number
  /** Never less: a connection at which nothing moves is cut by its origin. */
  readonly floorBytesPerSec: number
  /** The line must have been free for so long before we come back. */
  readonly holdMs: number
}

export const WAN_LEVELS = {
  high: { useRatio: 0.97, thresholdFactor: 2, floorBytesPerSec: MBIT, holdMs: 1000 },
  normal: { useRatio: 0.95, thresholdFactor: 1, floorBytesPerSec: 0.25 * MBIT, holdMs: 1000 },
  low: { useRatio: 0.8, thresholdFactor: 1, floorBytesPerSec: 0.1 * MBIT, holdMs: 3000 },
} as const satisfies Record<string, WanLevel>

export interface WanSample {
  readonly nowMs: number
  /** Null: no probe answers. */
  readonly delay: DelayView | null
  /** See DelayEstimator.spreadMs. */
  readonly delaySpreadMs: number | null
  /** Read from origins by all agents of the branch that are governed. */
  readonly bytesPerSec: { readonly last200Ms: number; readonly last500Ms: number }
  /** What came off the line for the same agents, before their kernels held it back; null: not known. */
  readonly arrivedBytesPerSec: number | null
  /** Somebody wanted to read more than the rate let it. */
  readonly isLimited: boolean
  /** What is allowed at most, whatever the line gives; null: no cap. */
  readonly capBytesPerSec: number | null
  /** What others do on this machine, by its network counters; null: not known. */
  readonly local: LocalTraffic | null
  /** An agent of the branch fetches for a person who waits, or sees such traffic on its machine. */
  readonly isUserElsewhere: boolean
}

export interface LocalTraffic {
  readonly foregroundBytesPerSec: number
  readonly totalBytesPerSec: number
  readonly peakBytesPerSec: number
  readonly isActive: boolean
}

/** What the law has found out; told to the other agents of the branch, so that any of them can go on with it. */
export interface WanState {
  readonly phase: WanPhase
  readonly bytesPerSec: number
  /** What the line gives; null before it is known. */
  readonly capacityBytesPerSec: number | null
}

export interface WanDecision extends WanState {
  /** Why it is not faster, for people. */
  readonly why: 'starting' | 'line' | 'queue' | 'user-here' | 'user-elsewhere'
  /** The estimator is to take what it sees now for an empty line. */
  readonly isRebase: boolean
  /** The estimator is to forget the path. */
  readonly isReset: boolean
}

/** Somebody on this machine has a good part of a line that is nearly full. */
export function isUserHere(local: LocalTraffic | null): boolean {
  if (local === null || !local.isActive) return false
  const { foregroundBytesPerSec, totalBytesPerSec, peakBytesPerSec } = local
  return totalBytesPerSec > 0.8 * peakBytesPerSec && foregroundBytesPerSec > 0.1 * peakBytesPerSec
}
