/**
 * Agents of one branch share one WAN: who decides for all, and how much of the rate each may use. Pure over what they say
 * of themselves; each agent computes the same answer.
 *
 * Governors that do not know of each other fight: each takes the other's queue for a person, and the line stands half
 * empty or one has all of it (measured, see DESIGN.md "Throttle").
 */
import { GOVERNED, type GovernedPriority, type Priority } from './priority.ts'
import type { WanState } from './wan-sample.ts'

/** What an agent says of its part in the WAN while it uses it, and once when it no longer does. */
export interface WanReport {
  /** The most urgent that it has from origins now; null: nothing. */
  readonly priority: Priority | null
  readonly readBytesPerSec: number
  /** What came off the line for it, before its kernel held it back; equal to what it reads where that is not known. */
  readonly arrivedBytesPerSec: number
  /** It would read more if it might. */
  readonly isLimited: boolean
  /** Somebody on its machine uses the line so much that nothing is left. */
  readonly isUserHere: boolean
  readonly law: WanState
}

export interface WanUser {
  readonly key: string
  readonly report: WanReport
}

/** Of an agent that reads less than it may, this much more than it reads is kept for it. */
const SPARE_FACTOR = 1.25

/** The most urgent governed priority that anybody has; null: nobody has any. */
export function topPriority(users: readonly WanUser[]): GovernedPriority | null {
  return GOVERNED.find((level) => users.some(({ report }) => report.priority === level)) ?? null
}

/** Whose law all follow: of those with the most urgent work the lowest key. Null: nobody needs one. */
export function leadOf(users: readonly WanUser[]): WanUser | null {
  const top = topPriority(users)
  let lead: WanUser | null = null
  for (const user of users) {
    if (user.report.priority === top && top !== null && (lead === null || user.key < lead.key)) lead = user
  }
  return lead
}

/** A person waits for what one of these fetches, or uses the line of its machine. */
export function isUserAmong(users: readonly WanUser[]): boolean {
  return users.some(
    ({ report }) => report.isUserHere || (report.priority === 'foreground' && report.readBytesPerSec > 0),
  )
}

/**
 * Our part of `totalBytesPerSec`: even among those with the most urgent work, except that what one cannot use goes to the
 * others. Less urgent work gets a trickle that keeps its connections alive.
 */
export function shareOf(
  self: string,
  options: { readonly users: readonly WanUser[]; readonly totalBytesPerSec: number; readonly floorBytesPerSec: number },
): number {
  const { users, totalBytesPerSec, floorBytesPerSec } = options
  const top = topPriority(users)
  const own = users.find(({ key }) => key === self)
  if (!own) return 0
  if (own.report.priority !== top) return floorBytesPerSec / Math.max(1, users.length)
  const peers = users.filter(({ report }) => report.priority === top)
  const even = totalBytesPerSec / peers.length
  const wants = ({ report }: WanUser) =>
    report.isLimited ? Number.POSITIVE_INFINITY : Math.max(even / 4, report.readBytesPerSec * SPARE_FACTOR)
  // Water-filling: the most modest first, what they leave is the others'.
  let left = totalBytesPerSec
  const byWant = [...peers].sort((a, b) => wants(a) - wants(b) || (a.key < b.key ? -1 : 1))
  for (const [at, user] of byWant.entries()) {
    const share = Math.min(wants(user), left / (byWant.length - at))
    if (user.key === self) return share
    left -= share
  }
  return 0
}
