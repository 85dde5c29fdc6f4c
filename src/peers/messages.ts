/**
 * The control session's messages (protomux protocol `shorthaul/1`), as the rest of the program sees them.
 * wire.ts encodes them; every limit below is checked before anything is allocated.
 *
 * Invariants: no message carries a URL, a credential or the name of a file; keys are wire keys of the secret's epoch.
 */
import type { ToldState } from '../content/fetcher-state.ts'
import type { LocationKey, ResourceKey } from '../content/ids.ts'
import type { Identification } from '../content/resource.ts'
import type { SegmentRange } from '../content/segmentation.ts'
import type { Statement } from '../content/statement.ts'
import type { WanReport } from '../throttle/wan-shares.ts'

export const MAX_MESSAGE_BYTES = 256 * 1024
export const MAX_RANGES = 4096
export const MAX_STATEMENTS = 1024
export { MAX_VALIDATOR_BYTES } from '../content/resource.ts'

/** "I want what this location names (or this very generation): tell me what you have, and what you get." */
export interface InterestMessage {
  readonly type: 'interest'
  /** One or both are set. */
  readonly location: LocationKey | null
  readonly resource: ResourceKey | null
  /** False ends the interest; nothing more need be pushed. */
  readonly isWanted: boolean
}

/** Answer to an interest in a location, one for each interest even when nothing is known (then `resource` is null). */
export interface KnownMessage {
  readonly type: 'known'
  readonly location: LocationKey
  readonly newest: { readonly resource: ResourceKey; readonly identification: Identification } | null
}

/** Positions that the sender can serve now, with statements for hashes that the receiver may not know. */
export interface HaveMessage {
  readonly type: 'have'
  readonly resource: ResourceKey
  /** 0 to MAX_RANGES, ascending, disjoint; none: "nothing yet", the answer to an interest in a resource. */
  readonly ranges: readonly SegmentRange[]
  readonly statements: readonly Statement[]
}

/** "I no longer have these." */
export interface GoneMessage {
  readonly type: 'gone'
  readonly resource: ResourceKey
  readonly ranges: readonly SegmentRange[]
}

/** "Tell me the hashes from this position on." */
export interface ManifestRequestMessage {
  readonly type: 'manifest-request'
  readonly resource: ResourceKey
  readonly firstIndex: number
}

/** As many statements as fit; `nextIndex` is where to ask on, null when there is no more. */
export interface ManifestMessage {
  readonly type: 'manifest'
  readonly resource: ResourceKey
  readonly statements: readonly Statement[]
  readonly nextIndex: number | null
}

/** "This is what I fetch for all of us, and what others told me that they fetch." The sender's own state comes first. */
export interface ClaimMessage {
  readonly type: 'claim'
  readonly resource: ResourceKey
  /** 1 to MAX_TOLD_STATES. */
  readonly states: readonly ToldState[]
}

/**
 * "This member signed what the origin does not have: look at this place yourself." The segment that hashes to what was
 * signed can be had from whoever says so.
 */
export interface AccusationMessage {
  readonly type: 'accusation'
  readonly resource: ResourceKey
  readonly statement: Statement
  /** Position, one of the statement's. */
  readonly index: number
  /** In the segment, of a byte that differs. */
  readonly offset: number
}

/** "This is what I have from origins at the moment": agents on one WAN divide it. */
export interface WanMessage {
  readonly type: 'wan'
  readonly report: WanReport
}

/** What the session hands to its owner. `hello` and `ping` are the session's own affair (session.ts). */
export type Message =
  | InterestMessage
  | KnownMessage
  | HaveMessage
  | GoneMessage
  | ManifestRequestMessage
  | ManifestMessage
  | ClaimMessage
  | WanMessage
  | AccusationMessage
