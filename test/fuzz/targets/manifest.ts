/** Manifests: from neighbours, and from the index on a disk that may be damaged. */
import { contentRoot } from '../../../src/content/digest.ts'
import { idBytes, idFromBytes, type SegmentHash } from '../../../src/content/ids.ts'
import { createManifest, decodeManifest, encodeManifest } from '../../../src/content/manifest.ts'
import { MAX_CONTENT_BYTES, SEGMENT_BYTES, segmentCount } from '../../../src/content/segmentation.ts'
import { Seeded } from '../kit/seeded.ts'
import { decodedOrNull, type FuzzTarget, must, mustBeBounded, toBuffer } from '../kit/target.ts'
import { segmentHash } from './wire-messages.ts'

const HEAD_BYTES = 24
const HASHES_AT = HEAD_BYTES + 32

function manifest(random: Seeded): Buffer {
  const count = random.few(12)
  const shorterBytes = random.chance(0.5) ? random.below(SEGMENT_BYTES) : 0
  const lengthBytes = Math.max(0, count * SEGMENT_BYTES - shorterBytes)
  const hashes = Array.from({ length: segmentCount(lengthBytes) }, () => segmentHash(random))
  return encodeManifest(createManifest(lengthBytes, hashes))
}

function hashAt(bytes: Buffer, at: number): SegmentHash {
  return idFromBytes<SegmentHash>(bytes.subarray(at, at + 32))
}

/** Count and root of what is there; the length only when it is of another count. */
function rooted(input: Buffer): Buffer {
  const count = Math.floor((input.byteLength - HASHES_AT) / 32)
  if (count < 0) return input
  const bytes = input.subarray(0, HASHES_AT + 32 * count)
  bytes.writeUInt32LE(count, 12)
  const told = Number(bytes.readBigUInt64LE(16))
  const lengthBytes = segmentCount(told) === count ? told : count * SEGMENT_BYTES
  bytes.writeBigUInt64LE(BigInt(lengthBytes), 16)
  const hashes = Array.from({ length: count }, (_, at) => hashAt(bytes, HASHES_AT + 32 * at))
  idBytes(contentRoot(hashes, lengthBytes)).copy(bytes, HEAD_BYTES)
  return bytes
}

export const manifestTarget: FuzzTarget = {
  name: 'manifest',
  covers: ['content/manifest', 'content/digest', 'content/segmentation'],
  seeds: Array.from({ length: 6 }, (_, seed) => manifest(new Seeded(seed))),
  maxBytes: 2048,
  tokens: ['SHM\x01\x01\x00\x00\x00', '\x00\x00\x10\x00'],
  // The tree: inner hashes, and the sizes that they bind.
  maxAllocatedBytes: (input) => 16 * 1024 + 64 * input.byteLength,
  generate: manifest,
  repair: rooted,
  run(input) {
    const decoded = decodedOrNull('SHORTHAUL_MANIFEST_INVALID', () => decodeManifest(input))
    if (decoded === null) return 'refused'
    mustBeBounded(decoded, input)
    const { lengthBytes, hashes, root } = decoded
    must(Number.isSafeInteger(lengthBytes) && lengthBytes >= 0 && lengthBytes <= MAX_CONTENT_BYTES, 'its length')
    must(hashes.length === segmentCount(lengthBytes), 'its count of hashes')
    must(contentRoot(hashes, lengthBytes) === root, 'its root')
    must(encodeManifest(decoded).equals(toBuffer(input)), 'one content has two encodings')
    return 'accepted'
  },
}
