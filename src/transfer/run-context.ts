/** What the parts of one run share: collaborators, what was asked for, and what it has come to. */
import type { KeyPair } from 'hypercore-crypto'
import type { Logger } from 'pino'
import type { Clock, Random } from '../clock.ts'
import type { AgentKey } from '../content/ids.ts'
import type { SegmentPool } from '../content/segment-pool.ts'
import type { Origin, OriginRequest } from '../origin/origin.ts'
import type { ResourceRecord } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import type { TokenBucket } from '../throttle/token-bucket.ts'
import type { Hold } from '../throttle/wan-governor.ts'
import type { Accusations } from './accusations.ts'
import type { Exchange } from './exchange.ts'
import type { PeerLane, PeerLink, PeerRecord, QuarantineLike, WanControl } from './ports.ts'
import type { Delivery, TransferEvent, TransferRequest, TransferResult } from './request.ts'
import type { RunReporter } from './run-reporter.ts'
import type { Tally } from './tally.ts'

export interface TransfersComponents {
  readonly store: Store
  readonly origin: Origin
  readonly exchange: Exchange
  /** Null: peers are switched off. */
  readonly link: PeerLink | null
  readonly lane: PeerLane | null
  readonly book: PeerRecord
  readonly quarantine: QuarantineLike
  readonly accusations: Accusations
  /** Null: nobody governs the WAN. */
  readonly wan: WanControl | null
  readonly pool: SegmentPool
  readonly keyPair: KeyPair
  readonly self: AgentKey
  readonly clock: Clock
  readonly random: Random
  /** Says which bytes are checked: nobody may know before. */
  readonly unpredictable: Random
  readonly log: Logger
}

export interface TransfersOptions {
  /** What the word of a member is worth that it had a segment from the origin: `trust.attested`. */
  readonly attested: 'accept' | 'spot-check' | 'refuse'
  /** Content below this does not wait for neighbours: waiting costs more than it saves. */
  readonly minClaimBytes: number
}

export interface RunOptions {
  readonly signal: AbortSignal
  readonly onEvent: (event: TransferEvent) => void
  /**
   * False for a user who shares the agent with others: private content is had from the origin only, which decides, and
   * the agent's credentials are not used.
   */
  readonly isOwner: boolean
}

/** What the target has in the end. */
export type Completed = Pick<TransferResult, 'bytes' | 'sha256' | 'trust'>

export interface RunContext {
  readonly components: TransfersComponents
  readonly settings: TransfersOptions
  readonly request: TransferRequest
  /** The same for the origin. */
  readonly originRequest: OriginRequest
  readonly delivery: Delivery
  readonly options: RunOptions
  readonly log: Logger
  readonly tally: Tally
  /** Cap of this transfer on what comes from the origin; null: none. */
  readonly limiter: TokenBucket | null
  readonly reporter: RunReporter
}

/** Whether what is cached of it is for who asks. */
export function mayUse({ options }: RunContext, record: ResourceRecord): boolean {
  return record.visibility === 'branch' || options.isOwner
}

/** Why nothing may be had from the origin now; null: it may. */
export function holdOf({ components, request }: RunContext): Hold | null {
  return components.wan?.hold(request.priority) ?? null
}
