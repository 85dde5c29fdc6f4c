/** How the content of a target, or of the cache, is known, as one word for people and programs. Pure. */
import type { DraftEntry } from '../content/draft.ts'
import type { AgentKey } from '../content/ids.ts'

/**
 * Strongest first. `pinned`: it has the digest that the user gave. `declared`: it has what the origin declared.
 * `origin`: nothing was declared, but this agent had all of it from the origin itself. `attested`: some of it rests on
 * the word of other members.
 */
export const SHOWN_TRUST = ['pinned', 'declared', 'origin', 'attested'] as const
export type ShownTrust = (typeof SHOWN_TRUST)[number]

export interface TrustEvidence {
  /** The whole was compared with a digest of the user. */
  readonly isPinned: boolean
  /** The whole was compared with a digest that the origin declared. */
  readonly isDeclared: boolean
  /** Of the positions that are in question; undefined: not known, so nobody's word but that of others. */
  readonly entries: Iterable<Pick<DraftEntry, 'trust' | 'signer'> | undefined>
  readonly self: AgentKey
}

export function shownTrust({ isPinned, isDeclared, entries, self }: TrustEvidence): ShownTrust {
  if (isPinned) return 'pinned'
  if (isDeclared) return 'declared'
  let areAllVouchedFor = true
  let areAllOwn = true
  let isEmpty = true
  for (const entry of entries) {
    isEmpty = false
    const isVouchedFor = entry !== undefined && entry.trust !== 'attested'
    areAllVouchedFor &&= isVouchedFor
    areAllOwn &&= isVouchedFor || entry?.signer === self
  }
  if (areAllVouchedFor && !isEmpty) return 'declared'
  return areAllOwn ? 'origin' : 'attested'
}
