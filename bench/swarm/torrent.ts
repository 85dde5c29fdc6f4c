/** A .torrent of one file of generated content (BEP 3), with the origin as its web seed (BEP 19) when asked for. */
import { createHash } from 'node:crypto'
import { type GeneratedContent, generate } from '../../test/lab/generated-content.ts'
import { type Bencodable, bencode } from './bencode.ts'

/** What mktorrent and transmission-create take for files of this size. */
export const PIECE_BYTES = 256 * 1024

export interface TorrentOptions {
  readonly trackerUrl: string
  /** Of the file that peers have or write. */
  readonly fileName: string
  readonly webSeedUrl: string | null
}

export function torrentOf(content: GeneratedContent, options: TorrentOptions): Buffer {
  const { trackerUrl, fileName, webSeedUrl } = options
  const info: Bencodable = {
    length: content.bytes,
    name: fileName,
    'piece length': PIECE_BYTES,
    pieces: pieceHashes(content),
    // BEP 27: peers come from this tracker alone, so that two rounds cannot meet.
    private: 1,
  }
  return bencode({
    announce: trackerUrl,
    info,
    ...(webSeedUrl === null ? {} : { 'url-list': webSeedUrl }),
  })
}

function pieceHashes(content: GeneratedContent): Buffer {
  const hashes: Buffer[] = []
  for (let start = 0; start < content.bytes; start += PIECE_BYTES) {
    const hash = createHash('sha1')
    for (const buffer of generate(content, start, Math.min(content.bytes, start + PIECE_BYTES))) hash.update(buffer)
    hashes.push(hash.digest())
  }
  return Buffer.concat(hashes)
}
