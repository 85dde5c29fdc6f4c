/**
 * Keys of the index. One letter says the table; ids are 32 raw bytes, numbers big-endian so that byte order is number
 * order. Everything has a fixed width: no separators, no escaping.
 *
 *   m name                       meta: version, totals, clean mark, time mark
 *   s hash                       segment: length, last use, grantor
 *   u lastUsedMs hash            segments by last use; the LRU queue lives on disk, so that a million of them cost no memory
 *   r hash resource index        who references a segment: decides visibility, protection and life
 *   p resource index -> hash     the same seen from the resource: the positions that are here
 *   j hash                       segment whose bytes may not have reached the disk yet; recovery re-hashes these
 *   o resource                   resource record (JSON)
 *   l location resource          generations of a location
 *   d sha256 resource            resources by digest of the whole
 *   k resource                   pinned resources
 *   a resource firstIndex signer statement
 *   t root                       manifest
 *   n root resource              who uses a manifest
 */
import { createHash } from 'node:crypto'
import { type AgentKey, ID_BYTES, idBytes, idFromBytes, type ResourceId, type SegmentHash } from '../content/ids.ts'

export interface KeyRange {
  readonly gte: Buffer
  readonly lt: Buffer
}

/** Where a segment belongs: position `index` of `resource`. */
export interface Reference {
  readonly resource: ResourceId
  readonly index: number
}

const SEGMENT_TABLE = 0x73 // 's'
const TIME_BYTES = 6
const MAX_TIME_MS = 2 ** 48 - 1

function key(table: string, ...parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat([Buffer.from(table, 'latin1'), ...parts])
}

function position(index: number): Buffer {
  const bytes = Buffer.allocUnsafe(4)
  bytes.writeUInt32BE(index)
  return bytes
}

export function timeBytes(timeMs: number): Buffer {
  const bytes = Buffer.alloc(TIME_BYTES)
  bytes.writeUIntBE(Math.min(Math.max(0, Math.floor(timeMs)), MAX_TIME_MS), 0, TIME_BYTES)
  return bytes
}

// Asked for by the ten thousand when somebody names a long content: one allocation, no copies.
function segmentKey(hash: SegmentHash): Buffer {
  const bytes = Buffer.allocUnsafe(1 + ID_BYTES)
  bytes[0] = SEGMENT_TABLE
  bytes.write(hash, 1, ID_BYTES, 'hex')
  return bytes
}

/** All keys that start with `prefix`. No table letter is 0xff, so a next prefix exists. */
export function prefixRange(prefix: Buffer): KeyRange {
  const end = Buffer.from(prefix)
  let last = end.byteLength - 1
  while (last > 0 && end[last] === 0xff) last--
  end[last] = (end[last] ?? 0) + 1
  return { gte: prefix, lt: end.subarray(0, last + 1) }
}

export const keys = {
  meta: (name: string) => key('m', Buffer.from(name, 'latin1')),
  segment: segmentKey,
  use: (lastUsedAtMs: number, hash: SegmentHash) => key('u', timeBytes(lastUsedAtMs), idBytes(hash)),
  reference: (hash: SegmentHash, at: Reference) => key('r', idBytes(hash), idBytes(at.resource), position(at.index)),
  position: (at: Reference) => key('p', idBytes(at.resource), position(at.index)),
  journal: (hash: SegmentHash) => key('j', idBytes(hash)),
  resource: (id: ResourceId) => key('o', idBytes(id)),
  location: (url: string, selection: string, id: ResourceId) => key('l', locationHash(url, selection), idBytes(id)),
  digest: (sha256: string, id: ResourceId) => key('d', digestBytes(sha256), idBytes(id)),
  pin: (id: ResourceId) => key('k', idBytes(id)),
  statement: (id: ResourceId, firstIndex: number, signer: AgentKey) =>
    key('a', idBytes(id), position(firstIndex), idBytes(signer)),
  manifest: (root: string) => key('t', Buffer.from(root, 'hex')),
  manifestUser: (root: string, id: ResourceId) => key('n', Buffer.from(root, 'hex'), idBytes(id)),
}

export const ranges = {
  segments: prefixRange(key('s')),
  segmentsOfShard: (shard: number) => prefixRange(key('s', Buffer.of(shard))),
  uses: prefixRange(key('u')),
  references: (hash: SegmentHash) => prefixRange(key('r', idBytes(hash))),
  positions: (id: ResourceId) => prefixRange(key('p', idBytes(id))),
  journal: prefixRange(key('j')),
  resources: prefixRange(key('o')),
  location: (url: string, selection: string) => prefixRange(key('l', locationHash(url, selection))),
  digest: (sha256: string) => prefixRange(key('d', digestBytes(sha256))),
  pins: prefixRange(key('k')),
  statements: (id: ResourceId) => prefixRange(key('a', idBytes(id))),
  allStatements: prefixRange(key('a')),
  manifestUsers: (root: string) => prefixRange(key('n', Buffer.from(root, 'hex'))),
}

// The readers below get keys of their own range; a key of a wrong length means a damaged table and throws RangeError.

/** The id that a key ends with: 's', 'u', 'j', 'o', 'k', 'l', 'd', 'n'. */
export function lastId<T extends SegmentHash | ResourceId>(found: Buffer): T {
  return idFromBytes<T>(found.subarray(-ID_BYTES))
}

export function parseReference(found: Buffer): Reference {
  return {
    resource: idFromBytes<ResourceId>(found.subarray(1 + ID_BYTES, 1 + 2 * ID_BYTES)),
    index: found.readUInt32BE(1 + 2 * ID_BYTES),
  }
}

export function parsePosition(found: Buffer): number {
  return found.readUInt32BE(1 + ID_BYTES)
}

export function parseUseTimeMs(found: Buffer): number {
  return found.readUIntBE(1, TIME_BYTES)
}

export function parseStatementKey(found: Buffer): { firstIndex: number; signer: AgentKey } {
  return {
    firstIndex: found.readUInt32BE(1 + ID_BYTES),
    signer: idFromBytes<AgentKey>(found.subarray(5 + ID_BYTES)),
  }
}

function locationHash(url: string, selection: string): Buffer {
  // The length stands first, so that no two pairs run together.
  return createHash('sha256').update(`${url.length}:${url}${selection}`).digest()
}

function digestBytes(sha256: string): Buffer {
  const bytes = Buffer.from(sha256, 'hex')
  // Somebody's malformed digest must not become a short prefix that matches everything.
  return bytes.byteLength === ID_BYTES ? bytes : createHash('sha256').update(`malformed:${sha256}`).digest()
}
