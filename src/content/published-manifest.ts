/**
 * What a publisher puts beside a file, so that agents know its segments before they ask anybody for them: the SHA-256 of
 * the whole and the manifest, in one small file. docs/manifest.md describes it for others.
 *
 * Encoding, version 1 (integers little-endian):
 *
 *   magic 'SHPM' | version u8 = 1 | reserved u8[3] = 0 | length u64 | modified i64 | SHA-256 32 | manifest (manifest.ts)
 *
 * One published manifest has exactly one encoding. It is not signed: whoever can write it beside the file can write the
 * file, and on the way it is TLS that protects it.
 */
import { ShorthaulError } from '../errors.ts'
import { ID_BYTES } from './ids.ts'
import { decodeManifest, encodeManifest, type Manifest, manifestBytes } from './manifest.ts'
import { isContentLength } from './segmentation.ts'

/** Behind the name of the file that it is about. */
export const PUBLISHED_MANIFEST_SUFFIX = '.shorthaul-manifest'

export interface PublishedManifest {
  readonly manifest: Manifest
  /** Of the whole content, lower-case hex. */
  readonly sha256: string
  /**
   * When the file was last changed, as its file system said when it was hashed; nanoseconds since 1970. By this the
   * publisher knows that it need not hash it again; agents do not look at it.
   */
  readonly modifiedNs: bigint
}

/** What stands before the manifest. */
export interface PublishedHead {
  readonly lengthBytes: number
  readonly modifiedNs: bigint
  readonly sha256: string
}

const MAGIC = Buffer.from('SHPM')
const VERSION = 1
export const PUBLISHED_HEAD_BYTES = 24 + ID_BYTES
const MIN_INT64 = -(2n ** 63n)
const MAX_INT64 = 2n ** 63n - 1n

function invalid(found: string): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_MANIFEST_INVALID', `Cannot decode a published manifest: ${found}`)
}

/** How long the published manifest of content of this length is: exactly. */
export function publishedManifestBytes(lengthBytes: number): number {
  return PUBLISHED_HEAD_BYTES + manifestBytes(lengthBytes)
}

/** @throws RangeError for a time out of range: no file system has one */
export function encodePublishedManifest({ manifest, sha256, modifiedNs }: PublishedManifest): Buffer {
  if (modifiedNs < MIN_INT64 || modifiedNs > MAX_INT64) throw new RangeError(`No file has the time ${modifiedNs}`)
  const head = Buffer.alloc(PUBLISHED_HEAD_BYTES)
  MAGIC.copy(head, 0)
  head.writeUInt8(VERSION, 4)
  head.writeBigUInt64LE(BigInt(manifest.lengthBytes), 8)
  head.writeBigInt64LE(modifiedNs, 16)
  if (head.write(sha256, 24, 'hex') !== ID_BYTES) throw new RangeError('A SHA-256 has 64 hex digits')
  return Buffer.concat([head, encodeManifest(manifest)])
}

/** @param bytes at least PUBLISHED_HEAD_BYTES; what follows is not looked at. @throws SHORTHAUL_MANIFEST_INVALID */
export function decodePublishedHead(bytes: Uint8Array): PublishedHead {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (buffer.byteLength < PUBLISHED_HEAD_BYTES) throw invalid(`${buffer.byteLength} bytes are too few`)
  if (!buffer.subarray(0, MAGIC.byteLength).equals(MAGIC)) throw invalid('the magic bytes are missing')
  if (buffer.readUInt8(4) !== VERSION) throw invalid(`version ${buffer.readUInt8(4)}, expected ${VERSION}`)
  if (buffer.readUIntLE(5, 3) !== 0) throw invalid('reserved bytes are set')
  const length = buffer.readBigUInt64LE(8)
  const lengthBytes = Number(length)
  if (!isContentLength(lengthBytes)) throw invalid(`length ${length} is out of range`)
  const sha256 = buffer.toString('hex', 24, PUBLISHED_HEAD_BYTES)
  return { lengthBytes, modifiedNs: buffer.readBigInt64LE(16), sha256 }
}

/** @throws SHORTHAUL_MANIFEST_INVALID for anything that `encodePublishedManifest` would not have written */
export function decodePublishedManifest(bytes: Uint8Array): PublishedManifest {
  const { lengthBytes, modifiedNs, sha256 } = decodePublishedHead(bytes)
  const expectedBytes = publishedManifestBytes(lengthBytes)
  if (bytes.byteLength !== expectedBytes) throw invalid(`${bytes.byteLength} bytes, expected ${expectedBytes}`)
  const manifest = decodeManifest(bytes.subarray(PUBLISHED_HEAD_BYTES))
  if (manifest.lengthBytes !== lengthBytes) {
    throw invalid(`its manifest is of ${manifest.lengthBytes} bytes, expected ${lengthBytes}`)
  }
  return { manifest, sha256, modifiedNs }
}
