/**
 * What transfer/ needs of the network, as narrow as it uses it. peers/network.ts, peers/lane-client.ts and
 * peers/peer-book.ts fit these shapes; tests and simulations bring their own.
 */
import type { AgentKey, SegmentHash } from '../content/ids.ts'
import type { Message } from '../peers/messages.ts'
import type { Priority } from '../throttle/priority.ts'
import type { Hold } from '../throttle/wan-governor.ts'

export interface LaneEndpointLike {
  readonly peer: AgentKey
  readonly host: string
  readonly port: number
  readonly identity: Uint8Array
  readonly psk: Uint8Array
}

export interface PeerLike {
  readonly key: AgentKey
  readonly isLocal: boolean
  readonly rttMs: number | null
  readonly lane: Omit<LaneEndpointLike, 'peer'> | null
}

export interface PeerLink {
  peers(): readonly PeerLike[]
  /** Agents of the branch as far as is known, this one included: in a large one more than `peers` and we. */
  memberCount(): number
  send(peer: AgentKey, message: Message): boolean
  broadcast(message: Message): number
  on(event: 'join', listener: (peer: PeerLike) => void): () => void
  on(event: 'leave', listener: (peer: PeerLike, reason: string) => void): () => void
  on(event: 'message', listener: (peer: PeerLike, message: Message) => void): () => void
  setInUse(peer: AgentKey, inUse: boolean): void
}

export interface WanControl {
  /** Why nothing of this priority may be had from origins now; null: it may. */
  hold(priority: Priority): Hold | null
  /** Somebody else needs the line: what is slow is so for all. */
  isBusy(priority: Priority): boolean
  /** Connections that were opened before, by the monotonic clock, are better left for new ones. */
  staleBeforeMs(priority: Priority): number
}

export interface PeerLane {
  fetchSegment(
    endpoint: LaneEndpointLike,
    hash: SegmentHash,
    options: { readonly into: Uint8Array; readonly signal: AbortSignal },
  ): Promise<void>
}

export interface PeerRecord {
  served(peer: AgentKey, sample: { readonly bytes: number; readonly durationMs: number }): void
  /** Something of `bytes` had not come from it after so long, and was had elsewhere. */
  overtaken(peer: AgentKey, sample: { readonly bytes: number; readonly durationMs: number }): void
  failed(
    peer: AgentKey,
    kind: 'corrupt' | 'stalled' | 'unreachable' | 'protocol' | 'missing' | 'busy',
    options?: { readonly retryAfterMs?: number },
  ): void
  view(peer: AgentKey): {
    readonly bytesPerSec: number | null
    readonly isBanned: boolean
    /** It asked to be left alone for a while (503), and nothing else is wrong with it. */
    readonly isBusy: boolean
    readonly availableInMs: number
  }
}

/** Whose word counts for nothing. */
export interface QuarantineLike {
  has(member: AgentKey): boolean
}

export interface QuarantineControl extends QuarantineLike {
  /** @param address of its host; null when it is not connected */
  impose(member: AgentKey, address: string | null): void
  meet(member: AgentKey, address: string): void
  on(listener: (member: AgentKey) => void): () => void
}
