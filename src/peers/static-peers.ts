/** Parsing of `network.peers`: 'host' or 'host:port', where host is a name or an IPv4 address. Pure. */
import { ShorthaulError } from '../errors.ts'

/** network.dhtPort of an agent that was not configured. */
export const DEFAULT_DHT_PORT = 17736
const HOST = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,252})$/

/** @throws SHORTHAUL_CONFIG_INVALID */
export function parseStaticPeers(peers: readonly string[]): { host: string; port: number }[] {
  return peers.map((text) => {
    const [host = '', port = String(DEFAULT_DHT_PORT), ...rest] = text.split(':')
    const portNumber = Number(port)
    if (!HOST.test(host) || !/^\d{1,5}$/.test(port) || portNumber < 1 || portNumber > 65_535 || rest.length > 0) {
      throw new ShorthaulError(
        'SHORTHAUL_CONFIG_INVALID',
        `Cannot use the peer "${text}": expected host or host:port`,
        {
          details: { peer: text },
        },
      )
    }
    return { host, port: portNumber }
  })
}
