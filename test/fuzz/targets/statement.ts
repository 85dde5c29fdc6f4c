/** Statements: whether one is authentic is asked of whatever a member sent; and drafts, which are made of them. */
import crypto from 'hypercore-crypto'
import { Draft, type DraftEntry } from '../../../src/content/draft.ts'
import { type AgentKey, idFromBytes, type ResourceId, type SegmentHash } from '../../../src/content/ids.ts'
import { createManifest, decodeManifest, encodeManifest } from '../../../src/content/manifest.ts'
import { MAX_SEGMENT_COUNT, SEGMENT_BYTES } from '../../../src/content/segmentation.ts'
import { isStatementAuthentic, type Statement, signStatement } from '../../../src/content/statement.ts'
import type { Seeded } from '../kit/seeded.ts'
import { decodedOrNull, type FuzzTarget, must } from '../kit/target.ts'

const KEY_PAIR = crypto.keyPair(Buffer.alloc(32, 5))
const SIGNER = idFromBytes<AgentKey>(KEY_PAIR.publicKey)
const RESOURCE = '1b'.repeat(32) as ResourceId
const OTHER_RESOURCE = '2c'.repeat(32) as ResourceId
/** First position as a double, so that it can be anything that a number can be. */
const HEAD_BYTES = 8
const SIGNATURE_BYTES = 64
const HASHES_AT = HEAD_BYTES + SIGNATURE_BYTES

function statementOf(bytes: Buffer): Statement {
  const hashes: SegmentHash[] = []
  for (let at = HASHES_AT; at + 32 <= bytes.byteLength; at += 32) {
    hashes.push(idFromBytes<SegmentHash>(bytes.subarray(at, at + 32)))
  }
  return {
    firstIndex: bytes.byteLength < HEAD_BYTES ? 0 : bytes.readDoubleLE(0),
    hashes,
    signer: SIGNER,
    signature: bytes.subarray(HEAD_BYTES, HASHES_AT),
  }
}

function signed(bytes: Buffer): Buffer {
  const { firstIndex, hashes } = statementOf(bytes)
  if (hashes.length === 0 || !Number.isSafeInteger(firstIndex) || firstIndex < 0) return bytes
  if (firstIndex + hashes.length > MAX_SEGMENT_COUNT) return bytes
  Buffer.from(signStatement(KEY_PAIR, RESOURCE, firstIndex, hashes).signature).copy(bytes, HEAD_BYTES)
  return bytes
}

function statement(random: Seeded): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(HASHES_AT), random.bytes(32 * (1 + random.few(8)))])
  const odd = [0.5, -1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, MAX_SEGMENT_COUNT] as const
  bytes.writeDoubleLE(random.chance(0.8) ? random.below(MAX_SEGMENT_COUNT - 10) : random.pick(odd))
  return signed(bytes)
}

export const statementTarget: FuzzTarget = {
  name: 'statement',
  covers: ['content/statement'],
  seeds: [],
  maxBytes: 1024,
  generate: statement,
  repair: signed,
  run(input) {
    const found = statementOf(Buffer.from(input))
    if (!isStatementAuthentic(RESOURCE, found)) return 'refused'
    const { firstIndex, hashes, signature } = found
    const ours = signStatement(KEY_PAIR, RESOURCE, firstIndex, hashes)
    must(Buffer.from(ours.signature).equals(signature), 'a signature that we did not make')
    must(!isStatementAuthentic(OTHER_RESOURCE, found), 'it counts for another resource too')
    must(!isStatementAuthentic(RESOURCE, { ...found, firstIndex: firstIndex + 1 }), 'it counts elsewhere too')
    return 'accepted'
  },
}

const SEGMENT_COUNT = 9
const LENGTH_BYTES = SEGMENT_COUNT * SEGMENT_BYTES - 1
const OP_BYTES = 4

function key(byte: number): AgentKey {
  return idFromBytes<AgentKey>(Buffer.alloc(32, byte & 3))
}

const SELF = key(0)

function hashOf(variant: number, index: number): SegmentHash {
  return idFromBytes<SegmentHash>(Buffer.alloc(32, ((variant & 3) << 4) + index))
}

/** Each 4 bytes are something that is entered: what, whose or where, from which position, how many. */
export const draftTarget: FuzzTarget = {
  name: 'draft',
  testRuns: { count: 8000, why: 'each is many statements' },
  covers: ['content/draft'],
  seeds: [Buffer.from([0, 1, 0, 3, 0, 2, 0, 0x13, 1, 1, 0, 0, 0, 0, 0, 9, 2, 0, 0, 1])],
  maxBytes: 512,
  maxAllocatedBytes: (input) => 64 * 1024 + 8192 * input.byteLength,
  generate(random) {
    const ops = Array.from({ length: 1 + random.below(24) }, () => [
      random.pick([0, 0, 0, 0, 0, 1, 2] as const),
      random.below(4),
      random.below(SEGMENT_COUNT + 1),
      random.below(SEGMENT_COUNT) + 16 * random.few(3),
    ])
    return Buffer.from(ops.flat())
  },
  run(input) {
    const draft = new Draft(LENGTH_BYTES, SELF)
    for (let at = 0; at + OP_BYTES <= input.byteLength; at += OP_BYTES) enter(draft, input.subarray(at, at + OP_BYTES))
    const sealed = decodedOrNull('SHORTHAUL_MANIFEST_INVALID', () => draft.seal())
    must((sealed !== null) === draft.isComplete, 'it is complete and cannot be sealed, or the reverse')
    if (sealed === null) return 'refused'
    must(decodeManifest(encodeManifest(sealed)).root === sealed.root, 'a sealed draft is no manifest')
    return 'accepted'
  },
}

function enter(draft: Draft, op: Uint8Array): void {
  const [kind = 0, whose = 0, first = 0, many = 0] = op
  const variant = many >> 4
  if (kind % 3 === 0) {
    const hashes = Array.from({ length: many & 15 }, (_, at) => hashOf(variant, first + at))
    addStatement(draft, { firstIndex: first, hashes, signer: key(whose), signature: new Uint8Array(64) })
  } else if (kind % 3 === 1) {
    draft.dispute(first % SEGMENT_COUNT)
  } else {
    const isFitting = (many & 1) === 1
    const hashes = Array.from({ length: SEGMENT_COUNT }, (_, at) => hashOf(variant, at))
    const manifest = isFitting ? createManifest(LENGTH_BYTES, hashes) : createManifest(LENGTH_BYTES + 1, hashes)
    const isEntered = decodedOrNull('SHORTHAUL_MANIFEST_INVALID', () => {
      draft.addManifest(manifest, 'declared')
      return true
    })
    must((isEntered === true) === isFitting, 'a manifest of another length')
  }
  let knownCount = 0
  for (let index = 0; index < SEGMENT_COUNT; index++) {
    if (draft.entry(index) !== undefined) knownCount++
    must(!(draft.isDisputed(index) && draft.entry(index) !== undefined), 'a position is disputed and believed')
  }
  must(draft.knownCount === knownCount, 'more or fewer are known than there are')
}

function addStatement(draft: Draft, statement: Statement): void {
  const before = Array.from({ length: SEGMENT_COUNT }, (_, index) => draft.entry(index))
  const { learnt, disputed } = draft.add(statement)
  const told = [...learnt, ...disputed]
  must(new Set(told).size === told.length, 'a position is told twice')
  for (const index of told) must(index >= 0 && index < SEGMENT_COUNT, `position ${index}`)
  for (const index of disputed) must(draft.isDisputed(index), 'what became disputed is not')
  for (const index of learnt) {
    must(draft.entry(index)?.hash === statement.hashes[index - statement.firstIndex], 'something else was learnt')
  }
  for (const [index, entry] of before.entries()) keepsItsWord(draft, { index, before: entry, statement })
}

function keepsItsWord(
  draft: Draft,
  { index, before, statement }: { index: number; before: DraftEntry | undefined; statement: Statement },
): void {
  const after = draft.entry(index)
  const hash = statement.hashes[index - statement.firstIndex]
  if (hash === undefined) {
    must(after === before, 'a position changed that the statement is not about')
    return
  }
  if (before !== undefined && before.trust !== 'attested') must(after?.hash === before.hash, 'a digest was overruled')
  else if (statement.signer === SELF) must(after?.hash === hash && after.signer === SELF, 'our own word is not final')
  else if (before?.signer === SELF) must(after === before, 'our own word was overruled')
}
