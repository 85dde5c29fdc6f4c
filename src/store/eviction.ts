/**
 * Which segments go, as arithmetic: no I/O, no clock. Candidates come least recently used first.
 */
import type { SegmentHash } from '../content/ids.ts'

export interface Candidate {
  readonly hash: SegmentHash
  readonly lengthBytes: number
  readonly lastUsedAtMs: number
  /** Pinned, held or being read. */
  readonly isProtected: boolean
}

export interface SpaceState {
  readonly cachedBytes: number
  /** Promised to commits that are still writing; on the disk for them already or not, it is counted once, as used. */
  readonly reservedBytes: number
  readonly freeDiskBytes: number
}

export interface SpaceLimits {
  readonly maxBytes: number
  readonly minFreeBytes: number
}

/** How many bytes must go before `needBytes` more fit; 0 or less when they fit now. */
export function deficitBytes(state: SpaceState, limits: SpaceLimits, needBytes: number): number {
  const wantedBytes = state.reservedBytes + needBytes
  const overQuotaBytes = state.cachedBytes + wantedBytes - limits.maxBytes
  const underFloorBytes = limits.minFreeBytes + wantedBytes - state.freeDiskBytes
  return Math.max(overQuotaBytes, underFloorBytes)
}

/**
 * Takes unprotected candidates in order until `enoughBytes` are freed; with `usedBeforeMs`, only what was last used
 * before then.
 */
export function chooseVictims<T extends Candidate>(
  candidates: readonly T[],
  goal: { readonly enoughBytes: number; readonly usedBeforeMs?: number | undefined },
): T[] {
  const victims: T[] = []
  let freedBytes = 0
  for (const candidate of candidates) {
    if (freedBytes >= goal.enoughBytes) break
    if (goal.usedBeforeMs !== undefined && candidate.lastUsedAtMs >= goal.usedBeforeMs) break
    if (candidate.isProtected) continue
    victims.push(candidate)
    freedBytes += candidate.lengthBytes
  }
  return victims
}
