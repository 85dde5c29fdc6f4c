/** What a BitTorrent tracker over HTTP does (BEP 3, compact answers of BEP 23), without the HTTP: for tracker-main.ts. */
import { type Bencodable, bencode } from './bencode.ts'

/** Short, so that a peer which came too early for the others asks again soon. */
const INTERVAL_SEC = 5

export interface Announcement {
  /** Percent-encoded as it came: only its identity matters. */
  readonly infoHash: string
  readonly address: string
  readonly port: number
  readonly event: string
  /** Bytes that it lacks; 0: a seed. */
  readonly leftBytes: number
}

/** Undefined when a field is missing or no number. The info hash is no UTF-8, so URLSearchParams would destroy it. */
export function parseAnnouncement(query: string, address: string): Announcement | undefined {
  const fields = new Map(
    query.split('&').map((pair): [string, string] => {
      const at = pair.indexOf('=')
      return at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)]
    }),
  )
  const infoHash = fields.get('info_hash')
  const port = Number(fields.get('port'))
  const leftBytes = Number(fields.get('left') ?? 0)
  if (!infoHash || !Number.isInteger(port) || port < 1 || port > 65535 || Number.isNaN(leftBytes)) return undefined
  return { infoHash, address, port, event: fields.get('event') ?? '', leftBytes }
}

/** Swarms in memory; peers stay until they say that they stop. */
export class Swarms {
  readonly #peers = new Map<string, Map<string, Buffer>>()

  /** The answer: all the others of its swarm. */
  announce(announcement: Announcement): Buffer {
    const { infoHash, address, port, event } = announcement
    const peers = this.#peers.get(infoHash) ?? new Map<string, Buffer>()
    this.#peers.set(infoHash, peers)
    const own = `${address}:${port}`
    const others = [...peers].filter(([key]) => key !== own).map(([, compact]) => compact)
    if (event === 'stopped') peers.delete(own)
    else peers.set(own, compactPeer(address, port))
    const answer: Bencodable = { interval: INTERVAL_SEC, 'min interval': INTERVAL_SEC, peers: Buffer.concat(others) }
    return bencode(answer)
  }
}

function compactPeer(address: string, port: number): Buffer {
  return Buffer.from([...address.split('.').map(Number), port >> 8, port & 0xff])
}
