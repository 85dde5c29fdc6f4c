/** What an agent shows of itself, to people and over the control API. */
import type { AgentKey } from '../content/ids.ts'
import type { Jobs } from '../jobs/jobs.ts'
import type { LedgerTotals } from '../metrics/ledger.ts'
import type { StoreStat } from '../store/store.ts'
import type { HostConditions } from '../throttle/host-state.ts'
import type { LanViews } from '../throttle/lan-governor.ts'
import type { WanView } from '../throttle/wan-governor.ts'
import type { ShownTrust } from '../transfer/shown-trust.ts'

export interface PeerStatus {
  readonly key: AgentKey
  readonly hostName: string
  readonly address: string
  readonly isLocal: boolean
  /** TCP port on which it serves; null when it serves nothing. */
  readonly lanePort: number | null
  readonly rttMs: number | null
  readonly connectedForMs: number
  readonly bytesPerSec: number | null
  readonly servedBytes: number
  /** Nothing is had from it, for now. */
  readonly isBanned: boolean
  /** It signed what an origin does not have. */
  readonly isQuarantined: boolean
  readonly failures: Readonly<Record<string, number>>
  readonly version: string
}

export interface NetworkStatus {
  readonly state: 'off' | 'starting' | 'up' | 'failed'
  readonly address: string | null
  /** TCP port on which neighbours fetch; null when nothing is served. */
  readonly lanePort: number | null
  readonly error: string | null
}

export interface AgentStatus {
  readonly version: string
  readonly key: AgentKey
  readonly branch: string
  readonly dataDir: string
  readonly uptimeMs: number
  readonly network: NetworkStatus
  readonly peers: readonly PeerStatus[]
  readonly activeFetches: number
  readonly activeUploads: number
  /** How many there are in each state; null: this agent carries out none. */
  readonly jobs: ReturnType<Jobs['counts']> | null
  readonly today: LedgerTotals
  readonly total: LedgerTotals
  readonly throttle: { readonly wan: WanView; readonly lan: LanViews; readonly host: HostConditions }
  readonly store: StoreStat
}

/** What identifies a cached resource to people. */
export interface CacheEntry {
  readonly url: string
  readonly bytes: number
  readonly cachedBytes: number
  readonly sha256: string | null
  /** How what is cached of it is known. */
  readonly trust: ShownTrust
  readonly visibility: 'branch' | 'private'
  readonly isPinned: boolean
  readonly lastUsedAtMs: number
}
