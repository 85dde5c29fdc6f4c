import fc from 'fast-check'
import t from 'tap'
import { seededRandom } from '../../src/clock.ts'
import { contentRoot, hashSegment } from '../../src/content/digest.ts'
import { idFromBytes, type SegmentHash } from '../../src/content/ids.ts'
import { createManifest, decodeManifest, encodeManifest, type Manifest } from '../../src/content/manifest.ts'
import { MAX_CONTENT_BYTES, SEGMENT_BYTES, segmentCount } from '../../src/content/segmentation.ts'
import { isShorthaulError } from '../../src/errors.ts'

const HEADER_BYTES = 56

const hash = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => idFromBytes<SegmentHash>(bytes))
const manifest = fc
  .tuple(fc.array(hash, { maxLength: 40 }), fc.integer({ min: 1, max: SEGMENT_BYTES }))
  .map(([hashes, last]) => createManifest(hashes.length === 0 ? 0 : (hashes.length - 1) * SEGMENT_BYTES + last, hashes))

function sample(count: number): Manifest {
  const hashes = Array.from({ length: count }, (_, n) => hashSegment(Buffer.from(`segment ${n}`)))
  return createManifest(Math.max(0, count * SEGMENT_BYTES - 5), hashes)
}

/** The manifest that the bytes stand for, or null when they are refused; anything but a proper refusal is thrown on. */
function tryDecode(bytes: Uint8Array): Manifest | null {
  try {
    return decodeManifest(bytes)
  } catch (error: unknown) {
    if (!isShorthaulError(error, 'SHORTHAUL_MANIFEST_INVALID')) throw error
    return null
  }
}

/** The invariant of the format: one content, one encoding. */
function isRefusedOrCanonical(bytes: Uint8Array): boolean {
  const decoded = tryDecode(bytes)
  return decoded === null || encodeManifest(decoded).equals(bytes)
}

await t.test('what is encoded is decoded as the same', async (t) => {
  fc.assert(
    fc.property(manifest, (given) => {
      const decoded = decodeManifest(encodeManifest(given))
      return (
        decoded.lengthBytes === given.lengthBytes &&
        decoded.root === given.root &&
        decoded.hashes.length === given.hashes.length &&
        decoded.hashes.every((hash, index) => hash === given.hashes[index])
      )
    }),
  )
  for (const count of [0, 1, 2, 33, 4097]) t.same(decodeManifest(encodeManifest(sample(count))), sample(count))
})

await t.test('the encoding is the documented one, byte for byte', async (t) => {
  const { root, hashes } = sample(2)
  const bytes = encodeManifest(sample(2))
  t.equal(
    bytes.toString('hex'),
    `53484d0101000000${'00001000'}${'02000000'}${'fbff1f0000000000'}${root}${hashes.join('')}`,
  )
  t.equal(bytes.byteLength, HEADER_BYTES + 64)
})

await t.test('a view into a larger buffer is decoded by itself, and its memory is not kept', async (t) => {
  const bytes = encodeManifest(sample(3))
  const larger = new Uint8Array(bytes.byteLength + 20).fill(0xee)
  larger.set(bytes, 10)
  const decoded = decodeManifest(larger.subarray(10, 10 + bytes.byteLength))
  larger.fill(0)
  t.same(decoded, sample(3))
})

await t.test('a manifest needs a length in range and as many hashes as segments', async (t) => {
  const refused = { code: 'SHORTHAUL_MANIFEST_INVALID' }
  const [one] = sample(1).hashes as [SegmentHash]
  for (const [lengthBytes, hashes] of [
    [0, [one]],
    [1, []],
    [SEGMENT_BYTES + 1, [one]],
    [SEGMENT_BYTES, [one, one]],
    [-1, []],
    [0.5, [one]],
    [Number.NaN, []],
    [MAX_CONTENT_BYTES + 1, [one]],
  ] as const) {
    t.throws(() => createManifest(lengthBytes, hashes), refused, `${lengthBytes} bytes, ${hashes.length} hashes`)
  }
  const given = [one]
  const created = createManifest(1, given)
  given.push(one)
  t.equal(created.hashes.length, 1, 'the caller’s list stays the caller’s')
})

await t.test('every changed byte is refused or decodes to something that encodes to the same bytes', async (t) => {
  for (const count of [0, 1, 3]) {
    const bytes = encodeManifest(sample(count))
    let accepted = 0
    for (let position = 0; position < bytes.byteLength; position++) {
      const now = bytes[position] ?? 0
      const values = new Set([...[0, 1, 2, 3, 4, 5, 6, 7].map((bit) => now ^ (1 << bit)), 0, 1, 0xff])
      values.delete(now)
      for (const value of values) {
        const changed = Buffer.from(bytes)
        changed[position] = value
        if (!isRefusedOrCanonical(changed)) t.fail(`count ${count}, byte ${position}, value ${value}`)
        if (tryDecode(changed) !== null) accepted++
      }
    }
    t.equal(accepted, 0, 'the root vouches for every byte')
  }
})

await t.test('every truncation and extension is refused', async (t) => {
  const bytes = encodeManifest(sample(3))
  for (let length = 0; length < bytes.byteLength; length++) t.equal(tryDecode(bytes.subarray(0, length)), null)
  for (const extra of [1, 31, 32, 33, 64]) t.equal(tryDecode(Buffer.concat([bytes, Buffer.alloc(extra)])), null)
})

/** A header that claims what it likes, and `total` bytes in all. */
function claim({ length, count, total }: { length: bigint; count: number; total: number }): Buffer {
  const bytes = Buffer.alloc(total)
  encodeManifest(sample(0)).copy(bytes)
  bytes.writeUInt32LE(count, 12)
  bytes.writeBigUInt64LE(length, 16)
  return bytes
}

await t.test('a header that claims a terabyte in 60 bytes is refused before anything is allocated', async (t) => {
  const claims = [
    claim({ length: 2n ** 40n, count: 2 ** 20, total: 60 }),
    claim({ length: 2n ** 40n, count: 2 ** 20, total: HEADER_BYTES }),
    claim({ length: 2n ** 40n + 1n, count: 2 ** 20 + 1, total: 60 }),
    claim({ length: 2n ** 64n - 1n, count: 2 ** 32 - 1, total: 60 }),
    claim({ length: 2n ** 53n, count: 2 ** 32 - 1, total: 60 }),
    claim({ length: 1n, count: 2 ** 32 - 1, total: HEADER_BYTES + 32 }),
    claim({ length: 2n ** 40n, count: 1, total: HEADER_BYTES + 32 }),
  ]
  // The messages of the checks that come before the first hash is read.
  const message = /out of range|segments for|bytes, expected \d/
  for (const bytes of claims) t.throws(() => decodeManifest(bytes), { code: 'SHORTHAUL_MANIFEST_INVALID', message })
})

await t.test('the longest manifest that a stranger can send is decoded', async (t) => {
  const one = hashSegment(Buffer.from('x'))
  const count = 2 ** 14
  const hashes: SegmentHash[] = Array(count).fill(one)
  const bytes = encodeManifest({
    lengthBytes: count * SEGMENT_BYTES,
    hashes,
    root: contentRoot(hashes, count * SEGMENT_BYTES),
  })
  t.equal(decodeManifest(bytes).hashes.length, count)
  t.equal(segmentCount(MAX_CONTENT_BYTES), 2 ** 20)
})

await t.test('20,000 mutated inputs are each refused properly or canonical', async (t) => {
  const random = seededRandom(20_261_122)
  const below = (limit: number) => Math.floor(random() * limit)
  const seeds = [0, 1, 2, 5, 9].map((count) => encodeManifest(sample(count)))
  const interesting = [0, 1, 2, 0x7f, 0x80, 0xff]
  let accepted = 0
  for (let run = 0; run < 20_000; run++) {
    let bytes = Buffer.from(seeds[below(seeds.length)] ?? Buffer.alloc(0))
    for (let change = below(4); change >= 0; change--) {
      const at = below(bytes.byteLength + 1)
      switch (below(6)) {
        case 0: // a bit
          if (at < bytes.byteLength) bytes[at] = (bytes[at] ?? 0) ^ (1 << below(8))
          break
        case 1: // an extreme value, mostly in the header
          if (bytes.byteLength > 0)
            bytes[below(Math.min(24, bytes.byteLength))] = interesting[below(interesting.length)] ?? 0
          break
        case 2: // cut
          bytes = bytes.subarray(0, at)
          break
        case 3: // grow
          bytes = Buffer.concat([bytes, Buffer.alloc(below(70), below(256))])
          break
        case 4: // a slice of another one
          bytes = Buffer.concat([bytes.subarray(0, at), (seeds[below(seeds.length)] ?? bytes).subarray(at)])
          break
        default: // another count and length, for once in agreement
          if (bytes.byteLength >= 24) {
            const count = below(12)
            bytes.writeUInt32LE(count, 12)
            bytes.writeBigUInt64LE(BigInt(count * SEGMENT_BYTES), 16)
          }
      }
    }
    if (!isRefusedOrCanonical(bytes)) t.fail(`run ${run}: ${bytes.toString('hex')}`)
    if (tryDecode(bytes) !== null) accepted++
  }
  // Mutations that undo each other or splice a seed with itself leave a valid manifest now and then.
  t.ok(accepted < 4000, `${accepted} of them were still manifests`)
})

await t.test('no bytes at all make the decoder do anything but refuse', async () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => tryDecode(bytes) === null))
  const headed = fc.uint8Array({ maxLength: 200 }).map((rest) => Buffer.concat([Buffer.from('SHM\u0001\u0001'), rest]))
  fc.assert(fc.property(headed, isRefusedOrCanonical))
})
