/** Tests of digest.ts, segmentation.ts and verify.ts: what bytes are. */
import fc from 'fast-check'
import crypto from 'hypercore-crypto'
import t from 'tap'
import { contentRoot, hashSegment } from '../../src/content/digest.ts'
import { idBytes, idFromBytes, type SegmentHash } from '../../src/content/ids.ts'
import {
  isContentLength,
  MAX_CONTENT_BYTES,
  MAX_SEGMENT_COUNT,
  SEGMENT_BYTES,
  segmentBytes,
  segmentCount,
  segmentLength,
} from '../../src/content/segmentation.ts'
import { verifySegment } from '../../src/content/verify.ts'

const length = fc.oneof(
  fc.integer({ min: 0, max: MAX_CONTENT_BYTES }),
  fc.integer({ min: 0, max: 64 }).map((count) => count * SEGMENT_BYTES),
  fc.integer({ min: 1, max: 64 }).map((count) => count * SEGMENT_BYTES - 1),
  fc.constantFrom(0, 1, MAX_CONTENT_BYTES),
)

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

function blake2b(...parts: Uint8Array[]): Buffer {
  return crypto.hash(Buffer.concat(parts))
}

interface Node {
  index: number
  size: number
  hash: Buffer
}

/**
 * The same root from the definition: recursive, with flat-tree indices by depth and offset, and every hash framed by
 * hand. Shares nothing with the implementation but BLAKE2b.
 */
function referenceRoot(hashes: readonly SegmentHash[], lengthBytes: number): string {
  const subtree = (firstLeaf: number, depth: number): Node => {
    if (depth === 0) {
      const size = Math.min(SEGMENT_BYTES, lengthBytes - firstLeaf * SEGMENT_BYTES)
      return { index: firstLeaf * 2, size, hash: Buffer.from(hashes[firstLeaf] ?? '', 'hex') }
    }
    const left = subtree(firstLeaf, depth - 1)
    const right = subtree(firstLeaf + 2 ** (depth - 1), depth - 1)
    const size = left.size + right.size
    const offset = firstLeaf / 2 ** depth
    return {
      index: offset * 2 ** (depth + 1) + 2 ** depth - 1,
      size,
      hash: blake2b(Buffer.from([1]), u64(size), left.hash, right.hash),
    }
  }
  const roots: Node[] = []
  let firstLeaf = 0
  for (let depth = 30; depth >= 0; depth--) {
    if ((hashes.length & (2 ** depth)) === 0) continue
    roots.push(subtree(firstLeaf, depth))
    firstLeaf += 2 ** depth
  }
  const framed = roots.flatMap(({ index, size, hash }) => [hash, u64(index), u64(size)])
  return blake2b(Buffer.from([2]), ...framed).toString('hex')
}

function someHashes(count: number, salt = ''): SegmentHash[] {
  return Array.from({ length: count }, (_, n) => hashSegment(Buffer.from(`${salt}segment ${n}`)))
}

await t.test('a segment hash is BLAKE2b over type, length and bytes', async (t) => {
  for (const bytes of [Buffer.from('a'), Buffer.alloc(SEGMENT_BYTES, 7)]) {
    t.equal(hashSegment(bytes), blake2b(Buffer.from([0]), u64(bytes.byteLength), bytes).toString('hex'))
  }
  const whole = Buffer.from('xxabcxx')
  t.equal(hashSegment(whole.subarray(2, 5)), hashSegment(Buffer.from('abc')), 'a view is its own bytes only')
  t.equal(hashSegment(new Uint8Array(Buffer.from('abc'))), hashSegment(Buffer.from('abc')))
})

await t.test(
  'the content root is the reference tree for 0 to 33 segments, with a whole and a short last one',
  async (t) => {
    for (let count = 0; count <= 33; count++) {
      const hashes = someHashes(count)
      const lengths =
        count === 0 ? [0] : [count * SEGMENT_BYTES, count * SEGMENT_BYTES - 1, (count - 1) * SEGMENT_BYTES + 1]
      for (const lengthBytes of lengths) {
        t.equal(
          contentRoot(hashes, lengthBytes),
          referenceRoot(hashes, lengthBytes),
          `${count} segments, ${lengthBytes} bytes`,
        )
      }
    }
  },
)

await t.test('the content root of larger counts is the reference tree too', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 34, max: 600 }), fc.integer({ min: 1, max: SEGMENT_BYTES }), (count, last) => {
      const hashes = someHashes(count)
      const lengthBytes = (count - 1) * SEGMENT_BYTES + last
      return contentRoot(hashes, lengthBytes) === referenceRoot(hashes, lengthBytes)
    }),
    { numRuns: 30 },
  )
})

await t.test('the root changes with the length, the order, any hash and the count', async (t) => {
  const roots = new Set<string>()
  let added = 0
  const add = (hashes: readonly SegmentHash[], lengthBytes: number) => {
    roots.add(contentRoot(hashes, lengthBytes))
    added++
  }
  for (let count = 1; count <= 17; count++) {
    const hashes = someHashes(count)
    add(hashes, count * SEGMENT_BYTES)
    add(hashes, count * SEGMENT_BYTES - 1)
    for (let index = 0; index < count; index++) {
      add(hashes.with(index, hashSegment(Buffer.from('other'))), count * SEGMENT_BYTES)
    }
    if (count > 1) add(hashes.toReversed(), count * SEGMENT_BYTES)
  }
  t.equal(roots.size, added)
})

await t.test('segments tile the content: contiguous, whole except the last, as many as counted', async () => {
  fc.assert(
    fc.property(length, (lengthBytes) => {
      const count = segmentCount(lengthBytes)
      // The ends suffice for long content; the middle is regular by the same formula.
      const indices = [0, 1, 2, Math.floor(count / 2), count - 2, count - 1].filter((n) => n >= 0 && n < count)
      for (const index of indices) {
        const { start, end } = segmentBytes(index, lengthBytes)
        if (start !== index * SEGMENT_BYTES || end <= start || end - start > SEGMENT_BYTES || end > lengthBytes)
          return false
        if (index < count - 1 && end !== segmentBytes(index + 1, lengthBytes).start) return false
        if (index === count - 1 && end !== lengthBytes) return false
        if (segmentLength(index, lengthBytes) !== end - start) return false
      }
      return (
        segmentLength(count, lengthBytes) === 0 && count <= MAX_SEGMENT_COUNT && (count === 0) === (lengthBytes === 0)
      )
    }),
  )
})

await t.test('lengths have one range', async (t) => {
  for (const value of [0, 1, MAX_CONTENT_BYTES]) t.ok(isContentLength(value), String(value))
  for (const value of [-1, 0.5, MAX_CONTENT_BYTES + 1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
    t.notOk(isContentLength(value), String(value))
  }
})

await t.test('verifySegment() lets through what hashes right, unchanged', async (t) => {
  const bytes = Buffer.from('some bytes')
  const hash = hashSegment(bytes)
  t.same(verifySegment(bytes, hash), { hash, bytes })
  t.equal(verifySegment(bytes, hash).bytes, bytes, 'no copy')
  t.equal(verifySegment(bytes, null).hash, hash, 'straight from the origin: the hash becomes known')
  const whole = Buffer.alloc(SEGMENT_BYTES, 1)
  t.equal(verifySegment(whole, hashSegment(whole)).bytes.byteLength, SEGMENT_BYTES)
})

await t.test('verifySegment() refuses every other byte, length and hash', async (t) => {
  const refused = { code: 'SHORTHAUL_SEGMENT_CORRUPT', retryable: true }
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 300 }),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (bytes, at, flip) => {
        const hash = hashSegment(bytes)
        const changed = Uint8Array.from(bytes)
        const position = at % bytes.length
        changed[position] = (changed[position] ?? 0) ^ flip
        for (const wrong of [changed, bytes.subarray(1), Buffer.concat([bytes, Buffer.alloc(1)])]) {
          try {
            verifySegment(wrong, hash)
            return false
          } catch {
            // as it should be
          }
        }
        return true
      },
    ),
  )
  const bytes = Buffer.from('x')
  t.throws(() => verifySegment(Buffer.alloc(0), null), refused, 'empty')
  t.throws(() => verifySegment(Buffer.alloc(SEGMENT_BYTES + 1), null), refused, 'too long')
  const expected = idFromBytes<SegmentHash>(Buffer.alloc(32))
  t.throws(() => verifySegment(bytes, expected), { ...refused, details: { expected, found: hashSegment(bytes) } })
  t.equal(idBytes(expected).byteLength, 32)
})
