/** `shorthaul peers`: the neighbours that the running agent is connected to. */
import type { PeerStatus } from '../agent/views.ts'
import { formatBytes, formatRate } from '../config/units.ts'
import { printable, readStatus, remarkVersion, shortKey, withAgent } from './agent-view.ts'
import { type GlobalOptions, loadCliConfig } from './context.ts'
import { createOutput, formatTable } from './output.ts'

export async function peersVerb(options: GlobalOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const { config } = await loadCliConfig(options)
  const status = await withAgent(options, config, readStatus)
  remarkVersion(status, output)
  output.json({ event: 'peers', peers: status.peers.map((peer) => ({ ...peer, state: peerState(peer) })) })
  if (status.peers.length === 0) output.remark('shorthaul: no neighbours; `shorthaul doctor` looks for the reason')
  else output.text(formatPeers(status.peers))
}

/** `quarantine`: it signed what an origin does not have; `banned`: it sent corrupt bytes; `far`: another site or a VPN, so that it gets and gives no bulk. */
export function peerState(peer: PeerStatus): 'ok' | 'quarantine' | 'banned' | 'far' {
  if (peer.isQuarantined) return 'quarantine'
  return peer.isBanned ? 'banned' : peer.isLocal ? 'ok' : 'far'
}

export function formatPeers(peers: readonly PeerStatus[]): string {
  return formatTable([
    ['HOST', 'ADDRESS', 'KEY', 'RTT', 'RATE', 'SERVED US', 'STATE', 'VERSION'],
    ...peers.map((peer) => [
      printable(peer.hostName) || '-',
      peer.address,
      shortKey(peer.key),
      peer.rttMs === null ? '-' : `${peer.rttMs.toFixed(1)} ms`,
      peer.bytesPerSec === null ? '-' : formatRate(peer.bytesPerSec),
      formatBytes(peer.servedBytes),
      peerState(peer),
      printable(peer.version) || '-',
    ]),
  ])
}
