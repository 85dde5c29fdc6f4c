/** Tests of ids.ts and resource.ts: names of things. */
import fc from 'fast-check'
import crypto from 'hypercore-crypto'
import t from 'tap'
import { idBytes, idFromBytes, parseId, type SegmentHash } from '../../src/content/ids.ts'
import {
  identificationPayload,
  locationKey,
  type Resource,
  resourceId,
  resourceKey,
  type Validator,
  WIRE_KEY_BYTES,
} from '../../src/content/resource.ts'

const KEY = Buffer.alloc(WIRE_KEY_BYTES, 7)
const BASE: Resource = {
  url: 'https://origin.example/file.iso',
  selection: '',
  validator: { kind: 'etag', value: '"abc"' },
  lengthBytes: 1000,
}

/** BASE with each field changed, alone; and with text moved from one field to its neighbour. */
const VARIANTS: readonly Resource[] = [
  BASE,
  { ...BASE, url: `${BASE.url}x` },
  { ...BASE, url: BASE.url.slice(0, -1) },
  { ...BASE, url: BASE.url.toUpperCase() },
  { ...BASE, selection: 'accept-language: de' },
  { ...BASE, validator: { kind: 'etag', value: '"abd"' } },
  { ...BASE, validator: { kind: 'last-modified', value: '"abc"' } },
  { ...BASE, validator: { kind: 'sha256', value: '"abc"' } },
  { ...BASE, lengthBytes: 1001 },
  { ...BASE, lengthBytes: 100 },
  { ...BASE, lengthBytes: 0 },
  { ...BASE, url: BASE.url.slice(0, -1), selection: BASE.url.slice(-1) },
  { ...BASE, validator: { kind: 'etag', value: '"abc"1' }, lengthBytes: 0 },
]

await t.test('ids and bytes are two spellings of one thing', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
      const id = idFromBytes<SegmentHash>(bytes)
      return idBytes(id).equals(bytes) && parseId(id) === id
    }),
  )
  const larger = Buffer.alloc(40, 0xee).fill(0x11, 4, 36)
  t.equal(idFromBytes(larger.subarray(4, 36)), '11'.repeat(32), 'a view is its own bytes only')
})

await t.test('what is not 32 bytes or 64 lower-case hex digits is no id', async (t) => {
  for (const length of [0, 1, 31, 33, 64]) t.throws(() => idFromBytes(Buffer.alloc(length)), RangeError)
  const good = 'ab'.repeat(32)
  for (const text of [
    '',
    good.slice(1),
    `${good}a`,
    good.toUpperCase(),
    `${good}\n`,
    ` ${good}`,
    `g${good.slice(1)}`,
  ]) {
    t.equal(parseId(text), null, JSON.stringify(text))
  }
})

await t.test('ids and keys differ by every field', async (t) => {
  t.equal(new Set(VARIANTS.map(resourceId)).size, VARIANTS.length)
  t.equal(new Set(VARIANTS.map((resource) => resourceKey(KEY, resource))).size, VARIANTS.length)
  const locations = new Set(VARIANTS.map(({ url, selection }) => locationKey(KEY, url, selection)))
  t.equal(locations.size, new Set(VARIANTS.map(({ url, selection }) => JSON.stringify([url, selection]))).size)
  t.equal(resourceId(BASE), resourceId(structuredClone(BASE)), 'and by nothing else')
})

await t.test('wire keys differ by every bit of the branch’s key, and need all of it', async (t) => {
  const keys = [KEY]
  for (let bit = 0; bit < 256; bit++) {
    const other = Buffer.from(KEY)
    other[bit >> 3] = (other[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    keys.push(other)
  }
  t.equal(new Set(keys.map((key) => resourceKey(key, BASE))).size, 257)
  t.equal(new Set(keys.map((key) => locationKey(key, BASE.url, ''))).size, 257)
  for (const length of [0, 31, 33, 64]) {
    t.throws(() => resourceKey(Buffer.alloc(length), BASE), RangeError)
    t.throws(() => locationKey(Buffer.alloc(length), BASE.url, ''), RangeError)
  }
})

await t.test('the kinds of names never collide with each other', async (t) => {
  t.notSame(resourceId(BASE), resourceKey(KEY, BASE))
  t.notSame(resourceKey(KEY, BASE), locationKey(KEY, BASE.url, BASE.selection))
  t.notSame(resourceId(BASE), crypto.hash(Buffer.from(BASE.url)).toString('hex'))
})

await t.test('no two lists of fields run together', async () => {
  const text = fc.string({ maxLength: 6 })
  const validator: fc.Arbitrary<Validator> = fc.record({
    kind: fc.constantFrom('etag', 'last-modified', 'sha256'),
    value: text,
  })
  const resource: fc.Arbitrary<Resource> = fc.record({
    url: text,
    selection: text,
    validator,
    lengthBytes: fc.nat({ max: 1000 }),
  })
  const spell = ({ url, selection, validator, lengthBytes }: Resource) =>
    JSON.stringify([url, selection, validator.kind, validator.value, lengthBytes])
  fc.assert(
    fc.property(
      resource,
      resource,
      (one, two) => (resourceId(one) === resourceId(two)) === (spell(one) === spell(two)),
    ),
  )
  fc.assert(
    fc.property(text, fc.nat({ max: 6 }), fc.nat({ max: 6 }), (whole, a, b) => {
      const cut = (at: number) => locationKey(KEY, whole.slice(0, at), whole.slice(at))
      const [first, second] = [Math.min(a, whole.length), Math.min(b, whole.length)]
      // fc.string() is ASCII here: cutting a surrogate pair would give two halves that UTF-8 cannot tell apart.
      return (cut(first) === cut(second)) === (first === second)
    }),
  )
})

await t.test('names are stable: stores and neighbours of another version know the same ones', async (t) => {
  // Computed from the definition: length-framed fields after a domain, BLAKE2b-256.
  const framed = (...values: string[]) =>
    Buffer.concat(
      values.map((value) => {
        const length = Buffer.alloc(4)
        length.writeUInt32LE(Buffer.byteLength(value))
        return Buffer.concat([length, Buffer.from(value)])
      }),
    )
  const resource = framed('shorthaul/resource/1', BASE.url, '', 'etag', '"abc"', '1000')
  const location = framed('shorthaul/location/1', BASE.url, 'ü')
  t.equal(resourceId(BASE), crypto.hash(resource).toString('hex'))
  t.equal(resourceKey(KEY, BASE), crypto.hash(Buffer.concat([KEY, resource])).toString('hex'))
  t.equal(locationKey(KEY, BASE.url, 'ü'), crypto.hash(Buffer.concat([KEY, location])).toString('hex'))
  const claim = { validator: BASE.validator, lengthBytes: 1000, seenAtMs: 5, freshUntilMs: 6 }
  t.same(
    identificationPayload(BASE.url, '', claim),
    framed('shorthaul/identification/1', BASE.url, '', 'etag', '"abc"', '1000', '5', '6'),
  )
})

await t.test('an identification binds every field that it claims', async (t) => {
  const claim = { validator: BASE.validator, lengthBytes: 1000, seenAtMs: 5, freshUntilMs: 6 }
  const payloads = [
    identificationPayload(BASE.url, '', claim),
    identificationPayload(`${BASE.url}x`, '', claim),
    identificationPayload(BASE.url, 'x', claim),
    identificationPayload(BASE.url, '', { ...claim, validator: { kind: 'etag', value: '"abd"' } }),
    identificationPayload(BASE.url, '', { ...claim, validator: { kind: 'sha256', value: '"abc"' } }),
    identificationPayload(BASE.url, '', { ...claim, lengthBytes: 1001 }),
    identificationPayload(BASE.url, '', { ...claim, seenAtMs: 6 }),
    identificationPayload(BASE.url, '', { ...claim, freshUntilMs: 5 }),
    identificationPayload(BASE.url, '', { ...claim, seenAtMs: 56, freshUntilMs: 6 }),
  ]
  t.equal(new Set(payloads.map((bytes) => bytes.toString('hex'))).size, payloads.length)
})
