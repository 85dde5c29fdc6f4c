/**
 * Manifest: the length of a content and the ordered hashes of its segments, sealed by their Merkle root.
 *
 * Canonical binary encoding, version 1 (integers little-endian):
 *
 *   magic 'SHM' | version u8 = 1 | hash algorithm u8 = 1 (BLAKE2b-256 tree) | reserved u8[3] = 0 |
 *   segment bytes u32 = 1048576 | segment count u32 | length u64 | root 32 | hashes 32 x count
 *
 * One content has exactly one encoding: the decoder refuses what the encoder would not have written.
 */
import { ShorthaulError } from '../errors.ts'
import { contentRoot } from './digest.ts'
import { type ContentRoot, ID_BYTES, idBytes, idFromBytes, type SegmentHash } from './ids.ts'
import { isContentLength, SEGMENT_BYTES, segmentCount } from './segmentation.ts'

export interface Manifest {
  readonly lengthBytes: number
  readonly hashes: readonly SegmentHash[]
  readonly root: ContentRoot
}

const MAGIC = Buffer.from('SHM')
const VERSION = 1
const BLAKE2B_256_TREE = 1
const HEADER_BYTES = 24 + ID_BYTES

function invalid(found: string): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_MANIFEST_INVALID', `Cannot decode a manifest: ${found}`)
}

export function createManifest(lengthBytes: number, hashes: readonly SegmentHash[]): Manifest {
  if (!isContentLength(lengthBytes)) throw invalid(`length ${lengthBytes} is out of range`)
  if (hashes.length !== segmentCount(lengthBytes)) {
    throw invalid(`it has ${hashes.length} hashes, expected ${segmentCount(lengthBytes)}`)
  }
  return { lengthBytes, hashes: [...hashes], root: contentRoot(hashes, lengthBytes) }
}

/** How long the encoding of a manifest of content of this length is: exactly. */
export function manifestBytes(lengthBytes: number): number {
  return HEADER_BYTES + segmentCount(lengthBytes) * ID_BYTES
}

export function encodeManifest(manifest: Manifest): Buffer {
  const header = Buffer.alloc(24)
  MAGIC.copy(header, 0)
  header.writeUInt8(VERSION, 3)
  header.writeUInt8(BLAKE2B_256_TREE, 4)
  header.writeUInt32LE(SEGMENT_BYTES, 8)
  header.writeUInt32LE(manifest.hashes.length, 12)
  header.writeBigUInt64LE(BigInt(manifest.lengthBytes), 16)
  return Buffer.concat([header, idBytes(manifest.root), Buffer.from(manifest.hashes.join(''), 'hex')])
}

/** @throws SHORTHAUL_MANIFEST_INVALID for anything that `encodeManifest` would not have written */
export function decodeManifest(bytes: Uint8Array): Manifest {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (buffer.byteLength < HEADER_BYTES) throw invalid(`${buffer.byteLength} bytes are too few`)
  if (!buffer.subarray(0, 3).equals(MAGIC)) throw invalid('the magic bytes are missing')
  if (buffer.readUInt8(3) !== VERSION) throw invalid(`version ${buffer.readUInt8(3)}, expected ${VERSION}`)
  if (buffer.readUInt8(4) !== BLAKE2B_256_TREE) throw invalid(`unknown hash algorithm ${buffer.readUInt8(4)}`)
  if (buffer.readUIntLE(5, 3) !== 0) throw invalid('reserved bytes are set')
  if (buffer.readUInt32LE(8) !== SEGMENT_BYTES) throw invalid(`segments of ${buffer.readUInt32LE(8)} bytes`)
  const count = buffer.readUInt32LE(12)
  const length = buffer.readBigUInt64LE(16)
  const lengthBytes = Number(length)
  if (!isContentLength(lengthBytes)) throw invalid(`length ${length} is out of range`)
  // Both checks come before any allocation: the number of hashes is bounded by the bytes that are really there.
  if (count !== segmentCount(lengthBytes)) throw invalid(`${count} segments for ${lengthBytes} bytes`)
  if (buffer.byteLength !== HEADER_BYTES + count * ID_BYTES) {
    throw invalid(`${buffer.byteLength} bytes, expected ${HEADER_BYTES + count * ID_BYTES}`)
  }
  const hashes: SegmentHash[] = []
  for (let offset = HEADER_BYTES; offset < buffer.byteLength; offset += ID_BYTES) {
    hashes.push(idFromBytes<SegmentHash>(buffer.subarray(offset, offset + ID_BYTES)))
  }
  const root = idFromBytes<ContentRoot>(buffer.subarray(24, HEADER_BYTES))
  if (contentRoot(hashes, lengthBytes) !== root) throw invalid('its root does not match its hashes')
  return { lengthBytes, hashes, root }
}
