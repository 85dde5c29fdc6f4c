/** What Network takes and shows. No code. */

import type { AgentKey } from '../content/ids.ts'
import type { Standing } from './roster-book.ts'

export interface NetworkOptions {
  /** Name or IPv4 of the interface; null: the first that is neither loopback, container nor tunnel. */
  readonly interface: string | null
  /** UDP; the swarm takes the next port as well. 0: any free ports. */
  readonly dhtPort: number
  /** UDP, the same for all agents of a branch, and shared by those of one host; 0: no beacon. */
  readonly beaconPort: number
  readonly beacon: boolean
  /** 'host:dhtPort' or 'host' of other agents; names are looked up each time. */
  readonly staticPeers: readonly string[]
  /** CIDRs that count as local beside the interface's own subnet. */
  readonly localPrefixes: readonly string[]
  /** A peer elsewhere is local too when its round trip is at most this. */
  readonly maxPeerRttMs: number
  /** When the port is taken: any free one (embedded agents) instead of SHORTHAUL_PORT_IN_USE (daemons). */
  readonly dhtPortFallback: boolean
  /** Keys that are let in beside the secret; null: whoever knows the secret. */
  readonly roster: readonly AgentKey[] | null
  /** Shown to peers, cut to 64 printable characters. */
  readonly hostName: string
  readonly agentVersion: string
  /** The serving side of the lane; null: we serve nothing. */
  readonly lane: LaneServing | null
}

export interface LaneServing {
  readonly port: number
  /** Called once for each session, after the peer proved membership. */
  offerFor(peer: AgentKey): { readonly identity: Uint8Array; readonly psk: Uint8Array }
  /** The peer misbehaved, or (without `endSession`) its last session ended. */
  revoke(peer: AgentKey): void
  /** A session ended in order; its offer may outlive it by a grace. */
  endSession?(peer: AgentKey, options: { readonly identity: Uint8Array }): void
}

export interface Peer {
  readonly key: AgentKey
  readonly hostName: string
  /** IPv4 as we see it. */
  readonly address: string
  /** False: another site or a VPN; messages only, no bulk. May become true once the round trip is known. */
  readonly isLocal: boolean
  /** Smallest of the last round trips; null before the first. */
  readonly rttMs: number | null
  readonly connectedAtMonotonicMs: number
  readonly agentVersion: string
  /** Where and how to fetch from it; holds a secret: never log it. Null: it serves nothing. */
  readonly lane: {
    readonly host: string
    readonly port: number
    readonly identity: Buffer
    readonly psk: Buffer
  } | null
}

/** Why connections were refused or ended, counted since the start. */
export interface Rejections {
  /** No valid proof of the branch secret in time. */
  readonly notMember: number
  readonly roster: number
  readonly version: number
  readonly protocol: number
  readonly flood: number
  readonly backlog: number
  /** Too many sessions, all together or unproved. */
  readonly capacity: number
  /** Connections of strangers that came faster than an address, or all together, may. */
  readonly rate: number
  /** Unproved ones that made room for others: the oldest of the address that had most. */
  readonly displaced: number
}

export interface BeaconDiagnosis {
  /** False when the config says so or the interface does no multicast. */
  readonly enabled: boolean
  readonly sent: number
  readonly heard: number
  /** Datagrams that no member of this branch sent. */
  readonly strangers: number
  readonly lastHeardMsAgo: number | null
  /** Multicast works at least as far as this host. */
  readonly heardOwn: boolean
}

export interface Diagnosis {
  readonly interface: string
  readonly address: string
  readonly bootstrapPort: number
  readonly dhtPort: number
  readonly beacon: BeaconDiagnosis
  readonly dhtNodes: number
  /** Where this agent stands with the roster of the branch. */
  readonly standing: Standing
  /** Sessions, proved or not. */
  readonly connections: number
  readonly peers: number
  /** Messages of a later version, ignored. */
  readonly unknownMessages: number
  readonly rejected: Rejections
}
