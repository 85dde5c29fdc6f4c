/** How many agents the branch has, as far as one of them can tell. Pure. */
import { MAX_PEERS } from './discovery.ts'

/** From here on an agent may be connected to not all of the others. */
const FULL_VIEW_RATIO = 0.75

/**
 * Where all can be connected those are who counts: they have proved that they belong here. Beyond that it is who was heard
 * by beacon, of which a member can invent some, and who recorded them can play old ones: neither does anything in a branch
 * that fits into one's sessions.
 * @param connectedCount other agents with a session
 * @param heardCount other agents that were heard by beacon of late
 * @returns this one included
 */
export function branchSize({ connectedCount, heardCount }: { connectedCount: number; heardCount: number }): number {
  const isViewFull = connectedCount >= FULL_VIEW_RATIO * MAX_PEERS
  return 1 + (isViewFull ? Math.max(connectedCount, heardCount) : connectedCount)
}
