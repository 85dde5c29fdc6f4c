/**
 * What an agent says of itself as a fetcher of one resource. The whole state each time and not a change of it: whatever
 * message was lost, the next one makes up for it, and anybody may pass it on.
 */
import type { AgentKey } from './ids.ts'
import type { SegmentRange } from './segmentation.ts'

/**
 * `active`: may be asked to fetch. `local`: not now, for reasons of its own (its origin requests fail); others take over.
 * `wait`: the origin asked to be left alone, which binds everybody. `done`: has everything, or no longer wants it. `busy`:
 * like active, but somebody else needs the WAN at the moment: slow for a reason that binds all, and no cause to take over.
 */
export const CONDITIONS = ['active', 'local', 'wait', 'done', 'busy'] as const
export type Condition = (typeof CONDITIONS)[number]

export interface FetcherState {
  readonly agent: AgentKey
  /** Grows with every change; a restarted agent goes on above its old ones. */
  readonly sequence: number
  readonly condition: Condition
  /** Being had from the origin, or next in a request that runs. Ascending, disjoint. */
  readonly claimed: readonly SegmentRange[]
  /** Had from the origin, verified and stored. Ascending, disjoint. */
  readonly fetched: readonly SegmentRange[]
  /** Content bytes that came from the origin so far: a claim lives as long as this grows. */
  readonly progressBytes: number
  /** From the origin, over the last second; 0 when it is not known. */
  readonly bytesPerSec: number
  /** Connections to the origin that it has now. */
  readonly streamCount: number
  /** How many connections to the origin it thinks that the crowd should have in all; the lead's word counts. */
  readonly streamBudget: number
}

/** One state in a message, and whether the sender has it first-hand (or is it). */
export interface ToldState {
  readonly state: FetcherState
  readonly isDirect: boolean
}

/** Of each kind, in what is told: more are left out, and perhaps fetched twice. */
export const MAX_TOLD_RANGES = 512
/** In one message. */
export const MAX_TOLD_STATES = 16
/** Connections that a crowd may ask of an origin, or an agent may have. */
export const MAX_STREAM_COUNT = 64
