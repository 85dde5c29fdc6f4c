/** What the program sees of a peer, taken from its session at one moment. Pure. */
import type { LocalPrefixes } from './interfaces.ts'
import type { Peer } from './network-types.ts'
import type { Session } from './session.ts'

export interface Viewpoint {
  /** The peer's newest session; `session` itself when it has one. */
  readonly newest: Session
  readonly prefixes: LocalPrefixes
  readonly maxPeerRttMs: number
}

export function describePeer(session: Session, viewpoint: Viewpoint): Peer {
  const { newest, prefixes, maxPeerRttMs } = viewpoint
  const { key, hello, address } = session
  const { rttMs } = session.pulse
  const lane = newest.hello?.lane ?? null
  return {
    key,
    hostName: hello?.hostName ?? '',
    address,
    isLocal: prefixes.contains(address) || (rttMs !== null && rttMs <= maxPeerRttMs),
    rttMs,
    connectedAtMonotonicMs: session.openedAtMonotonicMs,
    agentVersion: hello?.agentVersion ?? '',
    lane: lane === null ? null : { host: newest.address, ...lane },
  }
}
