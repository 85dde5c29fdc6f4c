import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { hashSegment } from '../../src/content/digest.ts'
import { idFromBytes, type SegmentHash } from '../../src/content/ids.ts'
import { createManifest, encodeManifest } from '../../src/content/manifest.ts'
import {
  decodePublishedHead,
  decodePublishedManifest,
  encodePublishedManifest,
  PUBLISHED_HEAD_BYTES,
  type PublishedManifest,
  publishedManifestBytes,
} from '../../src/content/published-manifest.ts'
import { MAX_CONTENT_BYTES, SEGMENT_BYTES } from '../../src/content/segmentation.ts'
import { isShorthaulError } from '../../src/errors.ts'

const id = fc.uint8Array({ minLength: 32, maxLength: 32 })
const published = fc
  .record({
    hashes: fc.array(
      id.map((bytes) => idFromBytes<SegmentHash>(bytes)),
      { maxLength: 20 },
    ),
    last: fc.integer({ min: 1, max: SEGMENT_BYTES }),
    digest: id,
    modifiedNs: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  })
  .map(({ hashes, last, digest, modifiedNs }) => ({
    manifest: createManifest(hashes.length === 0 ? 0 : (hashes.length - 1) * SEGMENT_BYTES + last, hashes),
    sha256: Buffer.from(digest).toString('hex'),
    modifiedNs,
  }))

function sample(): PublishedManifest {
  const hashes = [hashSegment(Buffer.from('one')), hashSegment(Buffer.from('two'))]
  const sha256 = createHash('sha256').update('all').digest('hex')
  return { manifest: createManifest(2 * SEGMENT_BYTES - 5, hashes), sha256, modifiedNs: 1_700_000_000_123_456_789n }
}

/** Null when the bytes are refused; anything but a proper refusal is thrown on. */
function tryDecode(bytes: Uint8Array): PublishedManifest | null {
  try {
    return decodePublishedManifest(bytes)
  } catch (error: unknown) {
    if (!isShorthaulError(error, 'SHORTHAUL_MANIFEST_INVALID')) throw error
    return null
  }
}

await t.test('what is encoded is decoded as the same, and is as long as foretold', async () => {
  fc.assert(
    fc.property(published, (given) => {
      const bytes = encodePublishedManifest(given)
      const decoded = decodePublishedManifest(bytes)
      const { lengthBytes } = given.manifest
      return (
        bytes.byteLength === publishedManifestBytes(lengthBytes) &&
        decoded.sha256 === given.sha256 &&
        decoded.modifiedNs === given.modifiedNs &&
        decoded.manifest.root === given.manifest.root &&
        decoded.manifest.hashes.join() === given.manifest.hashes.join() &&
        decodePublishedHead(bytes.subarray(0, PUBLISHED_HEAD_BYTES)).lengthBytes === lengthBytes
      )
    }),
  )
})

await t.test('the encoding is the documented one, byte for byte', async (t) => {
  const given = sample()
  const head = `5348504d${'01000000'}${'fbff1f0000000000'}${'15cdfae8da9a9717'}${given.sha256}`
  const time = Buffer.alloc(8)
  time.writeBigInt64LE(given.modifiedNs)
  const expected =
    head.replace('15cdfae8da9a9717', time.toString('hex')) + encodeManifest(given.manifest).toString('hex')
  t.equal(encodePublishedManifest(given).toString('hex'), expected)
})

await t.test('every other byte string is refused', async (t) => {
  const good = encodePublishedManifest(sample())
  for (let length = 0; length < good.byteLength; length++) t.equal(tryDecode(good.subarray(0, length)), null)
  t.equal(tryDecode(Buffer.concat([good, Buffer.alloc(1)])), null, 'longer')
  // Length, magic, version, reserved bytes and all of the manifest are bound; time and SHA-256 may be anything.
  for (let at = 0; at < good.byteLength; at++) {
    const bad = Buffer.from(good)
    bad[at] = (bad[at] ?? 0) ^ 0x10
    const decoded = tryDecode(bad)
    const isFree = at >= 16 && at < PUBLISHED_HEAD_BYTES
    t.equal(decoded === null, !isFree, `byte ${at}`)
    if (decoded) t.ok(encodePublishedManifest(decoded).equals(bad))
  }
  const long = Buffer.from(good)
  long.writeBigUInt64LE(BigInt(MAX_CONTENT_BYTES) + 1n, 8)
  t.throws(() => decodePublishedHead(long), { code: 'SHORTHAUL_MANIFEST_INVALID', message: /out of range/ })
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      const decoded = tryDecode(bytes)
      return decoded === null || encodePublishedManifest(decoded).equals(Buffer.from(bytes))
    }),
  )
})
