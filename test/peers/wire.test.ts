import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import {
  CONDITIONS,
  type FetcherState,
  MAX_STREAM_COUNT,
  MAX_TOLD_RANGES,
  MAX_TOLD_STATES,
} from '../../src/content/fetcher-state.ts'
import type { AgentKey, InvitationKey, LocationKey, ResourceKey, SegmentHash } from '../../src/content/ids.ts'
import { idFromBytes } from '../../src/content/ids.ts'
import { MAX_CONTENT_BYTES, MAX_SEGMENT_COUNT, SEGMENT_BYTES } from '../../src/content/segmentation.ts'
import { MAX_STATEMENT_HASHES } from '../../src/content/statement.ts'
import { isShorthaulError } from '../../src/errors.ts'
import { MAX_MESSAGE_BYTES, MAX_RANGES, MAX_VALIDATOR_BYTES } from '../../src/peers/messages.ts'
import type { Acceptance } from '../../src/peers/roster.ts'
import { decodeFrame, encodedLength, encodeFrame, type Frame } from '../../src/peers/wire.ts'
import { PRIORITIES } from '../../src/throttle/priority.ts'
import { PHASES } from '../../src/throttle/wan-sample.ts'
import type { WanReport } from '../../src/throttle/wan-shares.ts'

const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }) => fc.record<T>(model, { noNullPrototype: true })
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length }).map((b) => Buffer.from(b))
const id32 = bytes(32)
const location = id32.map((b) => idFromBytes<LocationKey>(b))
const resource = id32.map((b) => idFromBytes<ResourceKey>(b))
const agent = id32.map((b) => idFromBytes<AgentKey>(b))
const segment = id32.map((b) => idFromBytes<SegmentHash>(b))
const index = fc.nat(MAX_SEGMENT_COUNT - 1)
const printable = (maxLength: number) =>
  fc.string({ unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)), maxLength })
const ranges = fc
  .uniqueArray(fc.nat(MAX_SEGMENT_COUNT), { minLength: 2, maxLength: 40 })
  .map((cuts) => cuts.sort((a, b) => a - b))
  .map((cuts) =>
    Array.from({ length: cuts.length >> 1 }, (_, i) => ({ start: cuts[2 * i] ?? 0, end: cuts[2 * i + 1] ?? 0 })),
  )
const statement = record({
  firstIndex: fc.nat(MAX_SEGMENT_COUNT - 20),
  hashes: fc.array(segment, { minLength: 1, maxLength: 20 }),
  signer: agent,
  signature: bytes(64),
})
const statements = fc.array(statement, { maxLength: 6 })
const text = fc
  .string({ unit: 'binary', minLength: 1, maxLength: 200 })
  .filter((value) => Buffer.from(value).toString() === value)
const validator = fc.oneof(
  record({ kind: fc.constantFrom('etag' as const, 'last-modified' as const), value: text }),
  record({ kind: fc.constant('sha256' as const), value: id32.map((b) => b.toString('hex')) }),
)
const identification = record({
  validator,
  lengthBytes: fc.maxSafeNat().map((n) => n % (MAX_CONTENT_BYTES + 1)),
  seenAtMs: fc.maxSafeNat(),
  freshUntilMs: fc.maxSafeNat(),
  signer: agent,
  signature: bytes(64),
})
const state = record<FetcherState>({
  agent,
  sequence: fc.maxSafeNat(),
  condition: fc.constantFrom(...CONDITIONS),
  claimed: fc.oneof(ranges, fc.constant([])),
  fetched: fc.oneof(ranges, fc.constant([])),
  progressBytes: fc.maxSafeNat(),
  bytesPerSec: fc.maxSafeNat(),
  streamCount: fc.nat(MAX_STREAM_COUNT),
  streamBudget: fc.integer({ min: 1, max: MAX_STREAM_COUNT }),
})
const states = fc.array(record({ state, isDirect: fc.boolean() }), { minLength: 1, maxLength: MAX_TOLD_STATES })
const report = record<WanReport>({
  priority: fc.option(fc.constantFrom(...PRIORITIES)),
  readBytesPerSec: fc.maxSafeNat(),
  arrivedBytesPerSec: fc.maxSafeNat(),
  isLimited: fc.boolean(),
  isUserHere: fc.boolean(),
  law: record({
    phase: fc.constantFrom(...PHASES),
    bytesPerSec: fc.maxSafeNat(),
    capacityBytesPerSec: fc.option(fc.maxSafeNat()),
  }),
})
const acceptance = record<Acceptance>({
  invitation: id32.map((b) => idFromBytes<InvitationKey>(b)),
  agent,
  signature: bytes(64),
})
const frame: fc.Arbitrary<Frame> = fc.oneof(
  record({
    type: fc.constant('hello' as const),
    protocolVersion: fc.nat(65_535),
    instance: bytes(8),
    bootstrapPort: fc.nat(65_535),
    agentVersion: printable(32),
    hostName: printable(64),
    lane: fc.option(record({ port: fc.integer({ min: 1, max: 65_535 }), identity: bytes(16), psk: bytes(32) })),
  }),
  record({ type: fc.constantFrom('ping' as const, 'pong' as const), nonce: bytes(8) }),
  record({
    type: fc.constant('interest' as const),
    location: fc.option(location),
    resource: fc.option(resource),
    isWanted: fc.boolean(),
  }).filter((message) => message.location !== null || message.resource !== null),
  record({
    type: fc.constant('known' as const),
    location,
    newest: fc.option(record({ resource, identification })),
  }),
  record({ type: fc.constant('have' as const), resource, ranges: fc.oneof(ranges, fc.constant([])), statements }),
  record({ type: fc.constant('gone' as const), resource, ranges }),
  record({ type: fc.constant('manifest-request' as const), resource, firstIndex: index }),
  record({ type: fc.constant('manifest' as const), resource, statements, nextIndex: fc.option(index) }),
  record({ type: fc.constant('claim' as const), resource, states }),
  record({ type: fc.constant('wan' as const), report }),
  record({
    type: fc.constant('roster-head' as const),
    head: record({ sequence: fc.maxSafeNat(), mark: bytes(8) }),
    acceptance: fc.option(acceptance),
  }),
  record({ type: fc.constant('roster' as const), bytes: fc.integer({ min: 0, max: 400 }).chain(bytes) }),
  record({ type: fc.constant('acceptance' as const), acceptance }),
  fc.tuple(resource, statement, fc.nat(SEGMENT_BYTES - 1), fc.nat()).map(([key, signed, offset, at]) => ({
    type: 'accusation' as const,
    resource: key,
    statement: signed,
    index: signed.firstIndex + (at % signed.hashes.length),
    offset,
  })),
)

/** Anything but a frame or a protocol error is a failure of the test. */
function decodesOrRefuses(input: Uint8Array): 'decoded' | 'refused' {
  try {
    decodeFrame(input)
    return 'decoded'
  } catch (error) {
    if (isShorthaulError(error, 'SHORTHAUL_PEER_PROTOCOL')) return 'refused'
    throw error
  }
}

t.test('every message survives encoding, and its length is known before', async () => {
  fc.assert(
    fc.property(frame, (message) => {
      const encoded = encodeFrame(message)
      assert.equal(encoded.byteLength, encodedLength(message))
      assert.deepStrictEqual(decodeFrame(encoded), message)
    }),
    { numRuns: 1500 },
  )
})

t.test('one value has one encoding', async () => {
  fc.assert(
    fc.property(frame, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 }), (message, edits) => {
      const encoded = encodeFrame(message)
      for (const [position, value] of edits) encoded[position % encoded.byteLength] = value
      if (decodesOrRefuses(encoded) === 'refused') return true
      const decoded = decodeFrame(encoded)
      return decoded.type === 'unknown' || encodeFrame(decoded).equals(encoded)
    }),
    { numRuns: 1500 },
  )
})

t.test('bytes from strangers are decoded or refused, whatever they are', async (t) => {
  const outcomes = { decoded: 0, refused: 0 }
  // Random bytes behind each tag: the first one decides how far a decoder gets.
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 23 }), fc.uint8Array({ maxLength: 400 }), (tag, body) => {
      outcomes[decodesOrRefuses(Buffer.concat([Buffer.from([tag]), body]))]++
    }),
    { numRuns: 12_000 },
  )
  // Real messages, damaged: bytes changed, cut off, appended.
  const damage = record({
    edits: fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }),
    cutBytes: fc.option(fc.nat(200)),
    tail: fc.uint8Array({ maxLength: 8 }),
  })
  fc.assert(
    fc.property(frame, damage, (message, { edits, cutBytes, tail }) => {
      const encoded = encodeFrame(message)
      for (const [position, value] of edits) encoded[position % encoded.byteLength] = value
      const cut = cutBytes === null ? encoded : encoded.subarray(0, Math.max(0, encoded.byteLength - cutBytes))
      outcomes[decodesOrRefuses(Buffer.concat([cut, tail]))]++
    }),
    { numRuns: 12_000 },
  )
  t.ok(outcomes.refused > 1000, 'most of it is refused')
  t.ok(outcomes.decoded > 100, 'and some of it passes, so that the decoders were reached')
})

t.test('a count is refused before anything is allocated for it', async (t) => {
  const head = Buffer.concat([Buffer.from([18]), Buffer.alloc(32, 1)])
  const claims: [string, Buffer][] = [
    ['4096 ranges without a byte', Buffer.concat([head, Buffer.from([0x00, 0x10])])],
    ['65535 ranges', Buffer.concat([head, Buffer.from([0xff, 0xff]), Buffer.alloc(600_00)])],
    ['a gone without ranges', Buffer.concat([Buffer.from([19]), Buffer.alloc(32, 1), Buffer.from([0, 0])])],
    ['a claim of 16 states without a byte', Buffer.concat([Buffer.from([22]), Buffer.alloc(32, 1), Buffer.from([16])])],
    ['a claim of 255 states', Buffer.concat([Buffer.from([22]), Buffer.alloc(32, 1), Buffer.alloc(60_000, 255)])],
    ['a claim of nobody', Buffer.concat([Buffer.from([22]), Buffer.alloc(32, 1), Buffer.from([0])])],
    ['1024 statements without a byte', Buffer.concat([Buffer.from([21]), Buffer.alloc(32), Buffer.from([0x00, 0x04])])],
  ]
  for (const [name, claim] of claims) t.throws(() => decodeFrame(claim), { code: 'SHORTHAUL_PEER_PROTOCOL' }, name)
  t.throws(() => decodeFrame(Buffer.alloc(MAX_MESSAGE_BYTES + 1)), { code: 'SHORTHAUL_PEER_PROTOCOL' })
  t.throws(() => decodeFrame(Buffer.alloc(0)), { code: 'SHORTHAUL_PEER_PROTOCOL' }, 'an empty frame')
})

t.test('a frame keeps nothing of the buffer that it came in', async (t) => {
  const message: Frame = { type: 'ping', nonce: Buffer.alloc(8, 7) }
  const encoded = encodeFrame(message)
  const decoded = decodeFrame(encoded)
  encoded.fill(0)
  t.strictSame(decoded, message)
})

t.test('a tag of a later version is told apart from garbage', async (t) => {
  t.strictSame(decodeFrame(Buffer.from([200, 1, 2, 3])), { type: 'unknown', tag: 200 })
})

t.test('what a message may not say is refused on the way out and on the way in', async (t) => {
  const key = idFromBytes<ResourceKey>(Buffer.alloc(32, 3))
  const bad: Frame[] = [
    { type: 'gone', resource: key, ranges: [] },
    { type: 'gone', resource: key, ranges: [{ start: 5, end: 5 }] },
    {
      type: 'gone',
      resource: key,
      ranges: [
        { start: 5, end: 9 },
        { start: 8, end: 10 },
      ],
    },
    { type: 'gone', resource: key, ranges: [{ start: 0, end: MAX_SEGMENT_COUNT + 1 }] },
    {
      type: 'gone',
      resource: key,
      ranges: Array.from({ length: MAX_RANGES + 1 }, (_, i) => ({ start: 2 * i, end: 2 * i + 1 })),
    },
  ]
  for (const message of bad) t.throws(() => encodeFrame(message), RangeError)
  const valid = encodeFrame({
    type: 'gone',
    resource: key,
    ranges: [
      { start: 5, end: 9 },
      { start: 9, end: 10 },
    ],
  })
  valid.writeUInt32LE(8, 1 + 32 + 2 + 8) // the second range now starts inside the first
  t.throws(() => decodeFrame(valid), { code: 'SHORTHAUL_PEER_PROTOCOL' })
  const full = {
    firstIndex: 0,
    hashes: Array(MAX_STATEMENT_HASHES).fill('ab'.repeat(32) as SegmentHash),
    signer: 'cd'.repeat(32) as AgentKey,
    signature: Buffer.alloc(64),
  }
  t.ok(encodeFrame({ type: 'manifest', resource: key, statements: [full], nextIndex: 7 }), 'a full statement fits')
  t.throws(
    () => encodeFrame({ type: 'manifest', resource: key, statements: [full, full], nextIndex: null }),
    RangeError,
  )
  const long = { kind: 'etag', value: 'x'.repeat(MAX_VALIDATOR_BYTES + 1) } as const
  t.throws(
    () =>
      encodeFrame({
        type: 'known',
        location: 'ab'.repeat(32) as LocationKey,
        newest: {
          resource: key,
          identification: {
            validator: long,
            lengthBytes: 1,
            seenAtMs: 1,
            freshUntilMs: 1,
            signer: full.signer,
            signature: full.signature,
          },
        },
      }),
    RangeError,
  )
})

t.test('a claim says no more than a crowd can mean', async (t) => {
  const resource = idFromBytes<ResourceKey>(Buffer.alloc(32, 3))
  const runs = (count: number) => Array.from({ length: count }, (_, i) => ({ start: 2 * i, end: 2 * i + 1 }))
  const valid: FetcherState = {
    agent: idFromBytes<AgentKey>(Buffer.alloc(32, 4)),
    sequence: 5,
    condition: 'active',
    claimed: [],
    fetched: [],
    progressBytes: 6,
    bytesPerSec: 7,
    streamCount: 8,
    streamBudget: 9,
  }
  const claim = (count: number, rest: Partial<FetcherState> = {}): Frame => {
    return { type: 'claim', resource, states: Array(count).fill({ state: { ...valid, ...rest }, isDirect: true }) }
  }
  const largest = encodeFrame(
    claim(MAX_TOLD_STATES, { claimed: runs(MAX_TOLD_RANGES), fetched: runs(MAX_TOLD_RANGES) }),
  )
  t.ok(largest.byteLength <= MAX_MESSAGE_BYTES, `the largest has ${largest.byteLength} bytes`)
  for (const bad of [
    claim(0),
    claim(MAX_TOLD_STATES + 1),
    claim(1, { claimed: runs(MAX_TOLD_RANGES + 1) }),
    claim(1, { fetched: runs(MAX_TOLD_RANGES + 1) }),
    claim(1, { claimed: [{ start: 5, end: 5 }] }),
    claim(1, { fetched: [{ start: 0, end: MAX_SEGMENT_COUNT + 1 }] }),
  ]) {
    t.throws(() => encodeFrame(bad), RangeError)
  }
  const encoded = encodeFrame(claim(1))
  const lengthBytes = encoded.byteLength
  const conditionAt = 1 + 32 + 1 + 32 + 8 + 1
  for (const [name, at, value] of [
    ['an unknown condition', conditionAt, CONDITIONS.length],
    ['a flag that is neither', conditionAt - 1, 2],
    ['too many streams', lengthBytes - 2, MAX_STREAM_COUNT + 1],
    ['a budget of none', lengthBytes - 1, 0],
    ['a budget of too many', lengthBytes - 1, MAX_STREAM_COUNT + 1],
    ['a sequence that no number holds', conditionAt - 2, 0xff],
    ['512 ranges without a byte', conditionAt + 2, 2],
  ] as const) {
    const changed = Buffer.from(encoded)
    changed[at] = value
    t.throws(() => decodeFrame(changed), { code: 'SHORTHAUL_PEER_PROTOCOL' }, name)
  }
})

t.test('a report of the WAN says no more than there is to say', async (t) => {
  const valid: WanReport = {
    priority: 'low',
    readBytesPerSec: 1.5,
    arrivedBytesPerSec: Number.POSITIVE_INFINITY,
    isLimited: true,
    isUserHere: false,
    law: { phase: 'ramp', bytesPerSec: -1, capacityBytesPerSec: null },
  }
  const encoded = encodeFrame({ type: 'wan', report: valid })
  t.strictSame(
    decodeFrame(encoded),
    {
      type: 'wan',
      report: {
        ...valid,
        readBytesPerSec: 2,
        arrivedBytesPerSec: Number.MAX_SAFE_INTEGER,
        law: { ...valid.law, bytesPerSec: 0 },
      },
    },
    'rates are whole, and fit',
  )
  const refused = { code: 'SHORTHAUL_PEER_PROTOCOL' }
  for (const [name, at, value] of [
    ['a priority that is none', 1, PRIORITIES.length],
    ['priority 9', 1, 9],
    ['a flag of nothing', 2, 8],
    ['a phase that is none', 3, PHASES.length],
    ['phase 200', 3, 200],
    ['a capacity without its flag', encoded.byteLength - 8, 1],
    ['a rate that no number holds', 4 + 7, 0xff],
  ] as const) {
    const changed = Buffer.from(encoded)
    changed[at] = value
    t.throws(() => decodeFrame(changed), refused, name)
  }
  for (let lengthBytes = 1; lengthBytes < encoded.byteLength; lengthBytes++) {
    t.throws(() => decodeFrame(encoded.subarray(0, lengthBytes)), refused, `${lengthBytes} bytes of it`)
  }
  t.throws(() => decodeFrame(Buffer.concat([encoded, Buffer.alloc(1)])), refused, 'a byte more')
})

await t.test('an accusation is of one position of one statement, and of a byte that a segment has', async (t) => {
  const [signed] = fc.sample(statement, { numRuns: 1, seed: 1 })
  const [key] = fc.sample(resource, { numRuns: 1, seed: 1 })
  if (!signed || !key) throw new Error('nothing generated')
  const accusation = { type: 'accusation' as const, resource: key, statement: signed, offset: 0 }
  const after = signed.firstIndex + signed.hashes.length
  for (const wrong of [
    { index: after },
    { index: signed.firstIndex - 1 + (signed.firstIndex === 0 ? after + 1 : 0) },
    { index: signed.firstIndex, offset: SEGMENT_BYTES },
  ]) {
    t.throws(() => decodeFrame(encodeFrame({ ...accusation, ...wrong })), { code: 'SHORTHAUL_PEER_PROTOCOL' })
  }
  const bytes = encodeFrame({ ...accusation, index: signed.firstIndex })
  t.same(decodeFrame(bytes), { ...accusation, index: signed.firstIndex })
})
