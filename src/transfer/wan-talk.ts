/** Carries what agents say of their part in the WAN between the governor and the neighbours that share it. */
import type { WanGovernor } from '../throttle/wan-governor.ts'
import type { PeerLink } from './ports.ts'

/** From now on, for as long as both live. Only neighbours on the same LAN are taken to have the same WAN. */
export function talkOfWan(governor: WanGovernor, link: PeerLink): void {
  governor.onReport((report) => link.broadcast({ type: 'wan', report }))
  link.on('message', (peer, message) => {
    if (message.type === 'wan' && peer.isLocal) governor.heard(peer.key, message.report)
  })
  link.on('leave', (peer) => governor.left(peer.key))
}
