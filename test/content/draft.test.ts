/** Tests of statement.ts and draft.ts: who said what about a hash, and who is believed. */
import fc from 'fast-check'
import crypto, { type KeyPair } from 'hypercore-crypto'
import t from 'tap'
import { hashSegment } from '../../src/content/digest.ts'
import { Draft } from '../../src/content/draft.ts'
import { type AgentKey, idFromBytes, type ResourceId, type SegmentHash } from '../../src/content/ids.ts'
import { createManifest } from '../../src/content/manifest.ts'
import { MAX_SEGMENT_COUNT, SEGMENT_BYTES } from '../../src/content/segmentation.ts'
import {
  isStatementAuthentic,
  MAX_STATEMENT_HASHES,
  type Statement,
  signStatement,
} from '../../src/content/statement.ts'

const RESOURCE = idFromBytes<ResourceId>(Buffer.alloc(32, 1))
const [self, ann, bob] = [1, 2, 3].map((seed) => crypto.keyPair(Buffer.alloc(32, seed))) as [KeyPair, KeyPair, KeyPair]
const keyOf = (pair: KeyPair) => idFromBytes<AgentKey>(pair.publicKey)

function hashOf(name: string | number): SegmentHash {
  return hashSegment(Buffer.from(`segment ${name}`))
}

function says(pair: KeyPair, firstIndex: number, ...names: (string | number)[]): Statement {
  return signStatement(pair, RESOURCE, firstIndex, names.map(hashOf))
}

function newDraft(count: number): Draft {
  return new Draft(count * SEGMENT_BYTES - 1, keyOf(self))
}

await t.test('a signed statement is authentic for its resource only', async (t) => {
  const statement = says(ann, 5, 'a', 'b')
  t.ok(isStatementAuthentic(RESOURCE, statement))
  t.equal(statement.signer, keyOf(ann))
  t.notOk(isStatementAuthentic(idFromBytes<ResourceId>(Buffer.alloc(32, 2)), statement))
})

await t.test('nobody can change a statement', async () => {
  fc.assert(
    fc.property(
      fc.nat({ max: 1000 }),
      fc.array(fc.nat(), { minLength: 1, maxLength: 20 }),
      fc.nat(),
      (firstIndex, names, at) => {
        const statement = says(ann, firstIndex, ...names)
        const index = at % names.length
        const signature = Buffer.from(statement.signature)
        signature[at % 64] = (signature[at % 64] ?? 0) ^ 1
        const tampered: Statement[] = [
          { ...statement, firstIndex: firstIndex + 1 },
          { ...statement, hashes: statement.hashes.with(index, hashOf('other')) },
          { ...statement, hashes: [...statement.hashes, hashOf('more')] },
          { ...statement, hashes: statement.hashes.slice(0, -1) },
          { ...statement, signer: keyOf(bob) },
          { ...statement, signature },
          { ...statement, signature: signature.subarray(0, 63) },
          { ...statement, signature: Buffer.alloc(64) },
          { ...statement, signature: new Uint8Array(0) },
          { ...statement, signature: Buffer.concat([statement.signature, Buffer.alloc(1)]) },
        ]
        return (
          isStatementAuthentic(RESOURCE, statement) && tampered.every((other) => !isStatementAuthentic(RESOURCE, other))
        )
      },
    ),
    { numRuns: 50 },
  )
})

await t.test('a statement lies within what content can have, also when a member signed otherwise', async (t) => {
  for (const hashes of [[], Array<SegmentHash>(MAX_STATEMENT_HASHES + 1).fill(hashOf(1))]) {
    t.throws(() => signStatement(ann, RESOURCE, 0, hashes), RangeError)
  }
  for (const firstIndex of [-1, 0.5, MAX_SEGMENT_COUNT, 2 ** 53, 2 ** 64, Number.NaN, Number.POSITIVE_INFINITY]) {
    t.throws(() => signStatement(ann, RESOURCE, firstIndex, [hashOf(1)]), RangeError, `sign ${firstIndex}`)
    t.notOk(isStatementAuthentic(RESOURCE, { ...says(ann, 0, 1), firstIndex }), `verify ${firstIndex}`)
  }
  t.ok(isStatementAuthentic(RESOURCE, says(ann, MAX_SEGMENT_COUNT - 2, 1, 2)), 'up to the last position')
  t.throws(() => says(ann, MAX_SEGMENT_COUNT - 1, 1, 2), RangeError, 'and not beyond')
  // What a member could sign with other software: right signature, wrong extent.
  const forge = (hashes: SegmentHash[], firstIndex: bigint): Statement => {
    const head = Buffer.alloc(12)
    head.writeBigUInt64LE(firstIndex)
    head.writeUInt32LE(hashes.length, 8)
    const text = Buffer.concat([
      Buffer.from('shorthaul/statement/1'),
      Buffer.alloc(32, 1),
      head,
      Buffer.from(hashes.join(''), 'hex'),
    ])
    return { firstIndex: Number(firstIndex), hashes, signer: keyOf(ann), signature: crypto.sign(text, ann.secretKey) }
  }
  t.ok(isStatementAuthentic(RESOURCE, forge([hashOf(1)], 3n)), 'the forge works')
  t.notOk(isStatementAuthentic(RESOURCE, forge([], 3n)))
  t.notOk(isStatementAuthentic(RESOURCE, forge([hashOf(1)], 2n ** 40n)))
  t.notOk(isStatementAuthentic(RESOURCE, forge(Array<SegmentHash>(MAX_STATEMENT_HASHES + 1).fill(hashOf(1)), 0n)))
  t.ok(
    isStatementAuthentic(
      RESOURCE,
      signStatement(ann, RESOURCE, 0, Array<SegmentHash>(MAX_STATEMENT_HASHES).fill(hashOf(1))),
    ),
  )
})

await t.test('the caller’s list of hashes stays the caller’s', async (t) => {
  const hashes = [hashOf(1)]
  const statement = signStatement(ann, RESOURCE, 0, hashes)
  hashes.push(hashOf(2))
  t.ok(isStatementAuthentic(RESOURCE, statement))
})

await t.test('a draft learns positions, and each only once', async (t) => {
  const draft = newDraft(4)
  t.equal(draft.segmentCount, 4)
  t.same(draft.add(says(ann, 1, 1, 2)), { learnt: [1, 2], disputed: [] })
  t.same(draft.add(says(bob, 2, 2, 3)), { learnt: [3], disputed: [] })
  t.same(draft.entry(2), { hash: hashOf(2), trust: 'attested', signer: keyOf(ann) }, 'who came first stays the signer')
  t.equal(draft.entry(0), undefined)
  t.equal(draft.knownCount, 3)
  t.notOk(draft.isComplete)
})

await t.test('what a statement says beyond the end of the content is ignored', async (t) => {
  const draft = newDraft(2)
  t.same(draft.add(says(ann, 1, 1, 2, 3)), { learnt: [1], disputed: [] })
  t.same(draft.add(says(ann, 7, 7)), { learnt: [], disputed: [] })
  t.equal(draft.knownCount, 1)
})

await t.test('of two members who disagree nobody is believed, until we fetched it ourselves', async (t) => {
  const draft = newDraft(2)
  draft.add(says(ann, 0, 'right', 1))
  t.same(draft.add(says(bob, 0, 'wrong', 1)), { learnt: [], disputed: [0] })
  t.ok(draft.isDisputed(0))
  t.equal(draft.entry(0), undefined)
  t.same(draft.add(says(ann, 0, 'right')), { learnt: [], disputed: [] }, 'saying it again does not help')
  t.same(draft.add(says(bob, 0, 'wrong')), { learnt: [], disputed: [] })
  t.same(draft.add(says(self, 0, 'right')), { learnt: [0], disputed: [] })
  t.notOk(draft.isDisputed(0))
  t.same(draft.add(says(bob, 0, 'wrong')), { learnt: [], disputed: [] }, 'our own word is final')
  t.same(draft.entry(0), { hash: hashOf('right'), trust: 'attested', signer: keyOf(self) })
})

await t.test('our own word replaces a member’s without a dispute', async (t) => {
  const draft = newDraft(1)
  draft.add(says(ann, 0, 'wrong'))
  t.same(draft.add(says(self, 0, 'right')), { learnt: [0], disputed: [] })
  t.equal(draft.entry(0)?.hash, hashOf('right'))
  t.same(draft.add(says(self, 0, 'right')), { learnt: [], disputed: [] })
})

await t.test(
  'a position whose bytes turned out wrong is fetched again and no longer learnt from members',
  async (t) => {
    const draft = newDraft(1)
    draft.add(says(ann, 0, 'wrong'))
    draft.dispute(0)
    t.ok(draft.isDisputed(0))
    t.equal(draft.knownCount, 0)
    t.same(draft.add(says(ann, 0, 'wrong')), { learnt: [], disputed: [] })
  },
)

await t.test('a digest of the whole outranks members and ourselves', async (t) => {
  const manifest = createManifest(2 * SEGMENT_BYTES - 1, [hashOf('a'), hashOf('b')])
  for (const trust of ['declared', 'pinned'] as const) {
    const draft = newDraft(2)
    draft.add(says(ann, 0, 'wrong'))
    draft.dispute(1)
    draft.addManifest(manifest, trust)
    t.ok(draft.isComplete)
    t.notOk(draft.isDisputed(1))
    for (const liar of [ann, self]) {
      t.same(draft.add(says(liar, 0, 'wrong', 'wrong too')), { learnt: [], disputed: [] })
      t.same(draft.entry(0), { hash: hashOf('a'), trust, signer: null })
    }
    t.same(draft.add(says(self, 0, 'a')), { learnt: [], disputed: [] })
    t.match(draft.entry(0), { hash: hashOf('a'), trust, signer: keyOf(self) }, 'agreement keeps the trust')
    t.same(draft.seal(), manifest)
  }
})

await t.test('what rests on the word of one member is forgotten with it, and learnt from others', async (t) => {
  const draft = newDraft(3)
  draft.add(says(ann, 0, 'a', 'b'))
  draft.add(says(bob, 2, 'c'))
  t.same(draft.forget(keyOf(ann)), [0, 1])
  t.equal(draft.entry(0), undefined)
  t.equal(draft.entry(2)?.signer, keyOf(bob))
  t.same(draft.add(says(bob, 0, 'true')), { learnt: [0], disputed: [] })
  t.same(draft.forget(keyOf(ann)), [])
})

await t.test('a digest of the whole outlives the member that told of it first', async (t) => {
  const manifest = createManifest(SEGMENT_BYTES - 1, [hashOf('a')])
  const draft = newDraft(1)
  draft.add(says(ann, 0, 'a'))
  draft.addManifest(manifest, 'declared')
  t.same(draft.forget(keyOf(ann)), [])
  t.equal(draft.entry(0)?.trust, 'declared')
})

await t.test('who signed something else than we had from the origin is known, disputed or not', async (t) => {
  const draft = newDraft(3)
  draft.add(says(ann, 0, 'a', 'b'))
  draft.add(says(bob, 0, 'x', 'b'))
  t.same(draft.contradictors(0, hashOf('x')), [keyOf(ann)], 'they disagreed: one of them is wrong')
  t.same(draft.contradictors(0, hashOf('y')), [keyOf(ann), keyOf(bob)])
  t.same(draft.contradictors(1, hashOf('b')), [])
  t.same(draft.contradictors(1, hashOf('z')), [keyOf(ann)])
  draft.dispute(1)
  t.same(draft.contradictors(1, hashOf('z')), [keyOf(ann)])
  draft.add(says(self, 2, 'own'))
  t.same(draft.contradictors(2, hashOf('other')), [], 'our own word is nobody’s lie')
})

await t.test('a manifest of other content does not enter a draft', async (t) => {
  const refused = { code: 'SHORTHAUL_MANIFEST_INVALID' }
  const draft = newDraft(2)
  for (const lengthBytes of [2 * SEGMENT_BYTES, SEGMENT_BYTES, 2 * SEGMENT_BYTES + 1]) {
    const hashes = Array.from({ length: Math.ceil(lengthBytes / SEGMENT_BYTES) }, (_, n) => hashOf(n))
    t.throws(() => draft.addManifest(createManifest(lengthBytes, hashes), 'pinned'), refused, String(lengthBytes))
  }
  t.equal(draft.knownCount, 0)
})

await t.test('a draft is sealed when it is complete, and not before', async (t) => {
  const draft = newDraft(3)
  draft.add(says(ann, 0, 0, 1))
  t.throws(() => draft.seal(), { code: 'SHORTHAUL_MANIFEST_INVALID', message: /position 2 is unknown/ })
  draft.add(says(bob, 2, 2))
  t.ok(draft.isComplete)
  t.same(draft.seal(), createManifest(3 * SEGMENT_BYTES - 1, [hashOf(0), hashOf(1), hashOf(2)]))
  const empty = new Draft(0, keyOf(self))
  t.ok(empty.isComplete)
  t.same(empty.seal(), createManifest(0, []))
})

await t.test('whatever members say, in whatever order: what we fetched is what is believed', async () => {
  const word = fc.record({
    signer: fc.constantFrom(self, ann, bob),
    firstIndex: fc.nat({ max: 5 }),
    names: fc.array(fc.constantFrom('x', 'y'), { minLength: 1, maxLength: 4 }),
  })
  fc.assert(
    fc.property(fc.array(word, { maxLength: 12 }), (words) => {
      const draft = newDraft(6)
      const own = new Map<number, SegmentHash>()
      const said = new Map<number, Set<SegmentHash>>()
      for (const { signer, firstIndex, names } of words) {
        draft.add(says(signer, firstIndex, ...names))
        for (const [offset, name] of names.entries()) {
          const index = firstIndex + offset
          // We fetch a position once more when it is disputed; the last fetch counts.
          if (signer === self) own.set(index, hashOf(name))
          said.set(index, (said.get(index) ?? new Set()).add(hashOf(name)))
        }
      }
      for (let index = 0; index < 6; index++) {
        const hash = draft.entry(index)?.hash
        const ours = own.get(index)
        if (ours !== undefined && hash !== ours) return false
        if (draft.isDisputed(index) && hash !== undefined) return false
        if (ours === undefined && (said.get(index)?.size ?? 0) > 1 && hash !== undefined) return false
        if ((said.get(index)?.size ?? 0) === 1 && hash === undefined) return false
      }
      return draft.knownCount === [0, 1, 2, 3, 4, 5].filter((index) => draft.entry(index) !== undefined).length
    }),
    { numRuns: 200 },
  )
})

await t.test('a manifest keeps whose word is known, learns it later, and can be taken back', async (t) => {
  const draft = newDraft(4)
  draft.add(says(self, 0, 0))
  draft.add(says(ann, 1, 1))
  draft.add(says(ann, 2, 'lie'))
  const manifest = createManifest(draft.lengthBytes, [0, 1, 2, 3].map(hashOf))
  t.notOk(draft.isVouchedFor)
  draft.addManifest(manifest, 'declared')
  t.ok(draft.isVouchedFor)
  const signers = () => [0, 1, 2, 3].map((index) => draft.entry(index)?.signer)
  t.strictSame(signers(), [keyOf(self), keyOf(ann), null, null])
  t.strictSame(draft.add(says(bob, 1, 1, 'other lie', 3)), { learnt: [3], disputed: [] })
  t.strictSame(signers(), [keyOf(self), keyOf(ann), null, keyOf(bob)], 'who is right is remembered')
  t.equal(draft.entry(3)?.trust, 'declared')
  draft.addManifest(manifest, 'declared')
  t.strictSame(signers(), [keyOf(self), keyOf(ann), null, keyOf(bob)], 'a second time changes nothing')
  draft.withdrawManifest()
  t.strictSame(draft.entry(0), { hash: hashOf(0), trust: 'attested', signer: keyOf(self) }, 'what we fetched stays')
  t.equal(draft.knownCount, 1)
  t.notOk(draft.isVouchedFor)
})
