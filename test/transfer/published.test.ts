/** Content whose origin names a manifest: what lies and mistakes cost then. */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { hashSegment } from '../../src/content/digest.ts'
import { createManifest } from '../../src/content/manifest.ts'
import { encodePublishedManifest } from '../../src/content/published-manifest.ts'
import { SEGMENT_BYTES } from '../../src/content/segmentation.ts'
import { formatContentRange, parseRange } from '../../src/origin/http-range.ts'
import { FakeBranch } from '../support/fake-branch.ts'
import { generatedContent } from '../support/generated-content.ts'
import { type Behaviour, startTestOrigin, type TestOrigin } from '../support/test-origin.ts'

/** Not a whole number of segments. */
const SIZE = 7 * SEGMENT_BYTES + 12_345
const LINK = { link: '<a.shorthaul-manifest>; rel="describedby"; type="application/vnd.shorthaul.manifest"' }
const MANIFEST = '/a.shorthaul-manifest'

async function setUp(t: Test): Promise<{ branch: FakeBranch; origin: TestOrigin; dir: (name: string) => string }> {
  const branch = new FakeBranch()
  const origin = await startTestOrigin()
  t.teardown(async () => {
    await branch.close()
    await origin.close()
  })
  const root = t.testdir()
  return { branch, origin, dir: (name) => join(root, name) }
}

function bytesOf(seed: number, lengthBytes = SIZE): Buffer {
  return generatedContent(seed, lengthBytes).read(0, lengthBytes)
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function publishedOf(bytes: Buffer): Buffer {
  const hashes = []
  for (let start = 0; start < bytes.byteLength; start += SEGMENT_BYTES) {
    hashes.push(hashSegment(bytes.subarray(start, start + SEGMENT_BYTES)))
  }
  const manifest = createManifest(bytes.byteLength, hashes)
  return encodePublishedManifest({ manifest, sha256: sha256(bytes), modifiedNs: 0n })
}

/** Content at /a with its manifest beside it. @returns its URL */
function publish(origin: TestOrigin, bytes: Buffer, manifest: Buffer = publishedOf(bytes), behaviour: Behaviour = {}) {
  origin.serve(MANIFEST, manifest, behaviour)
  return origin.serve('/a', bytes, { fields: LINK })
}

function forge(bytes: Buffer, ...positions: number[]): Buffer {
  const forged = Buffer.from(bytes)
  for (const index of positions) forged[index * SEGMENT_BYTES + 7] = (forged[index * SEGMENT_BYTES + 7] ?? 0) ^ 1
  return forged
}

/** Not t.same: a diff of megabytes takes for ever. */
function isFile(path: string, bytes: Buffer): boolean {
  return readFileSync(path).equals(bytes)
}

void t.test('a member that signs and serves a lie costs the segments that it forged, and no more', async (t) => {
  const { branch, origin, dir } = await setUp(t)
  const truth = bytesOf(1)
  const [liar, reader] = [await branch.add(dir('1')), await branch.add(dir('2'))]
  // The liar's origin has other bytes under the same validator: it signs and serves them in good form.
  const url = origin.serve('/a', forge(truth, 2, 5))
  await liar.fetch(url)
  publish(origin, truth)
  const before = origin.contentBytesSent('/a')
  const result = await reader.fetch(url)
  t.ok(isFile(result.path, truth), 'the bytes are right')
  t.match(result, { trust: 'declared', wastedBytes: 0 })
  t.equal(result.sources.origin, 2 * SEGMENT_BYTES, 'only what was forged comes from the origin')
  t.equal(origin.contentBytesSent('/a') - before, 2 * SEGMENT_BYTES, 'nothing was had twice')
})

void t.test('a member that forges on the way is found by its first bytes', async (t) => {
  const { branch, origin, dir } = await setUp(t)
  const truth = bytesOf(2)
  const url = publish(origin, truth)
  const [liar, reader] = [await branch.add(dir('1')), await branch.add(dir('2'))]
  await liar.fetch(url)
  liar.faults.isLying = true
  const result = await reader.fetch(url)
  t.ok(isFile(result.path, truth), 'the bytes are right')
  t.ok(reader.book.view(liar.key).isBanned)
  t.ok(result.wastedBytes <= 4 * SEGMENT_BYTES, `${result.wastedBytes} bytes were in flight`)
  t.equal(result.trust, 'declared')
})

void t.test('nothing is taken from a neighbour before the manifest is known', async (t) => {
  const { branch, origin, dir } = await setUp(t)
  const truth = bytesOf(15)
  const url = publish(origin, truth)
  const [one, reader] = [await branch.add(dir('1')), await branch.add(dir('2'))]
  await one.fetch(url)
  let served = 0
  one.faults.onServe = () => {
    served++
  }
  let servedBefore = -1
  const respond = async (_request: IncomingMessage, response: ServerResponse) => {
    // It comes late: all that the neighbour has to say of its segments has been heard.
    const isTold = () => branch.messages.some(({ message, to }) => message.type === 'manifest' && to === reader.key)
    for (let turns = 0; turns < 200 || !isTold(); turns++) await new Promise((resolve) => setImmediate(resolve))
    servedBefore = served
    response.end(publishedOf(truth))
  }
  origin.behave(MANIFEST, { respond: (request, response) => void respond(request, response) })
  const result = await reader.fetch(url)
  t.match(result, { trust: 'declared', sources: { peer: SIZE } })
  t.equal(servedBefore, 0)
  t.equal(served, 8)
})

void t.test('what the origin declares is taken from neighbours also where their word is refused', async (t) => {
  const { branch, origin, dir } = await setUp(t)
  const truth = bytesOf(3)
  const url = publish(origin, truth)
  const one = await branch.add(dir('1'))
  const strict = await branch.add(dir('2'), { attested: 'refuse' })
  t.equal((await one.fetch(url)).sources.origin, SIZE)
  const result = await strict.fetch(url)
  t.same(result.sources, { cache: 0, peer: SIZE, origin: 0 })
  t.equal(result.trust, 'declared')
})

void t.test('who has it by a manifest passes on who signed it, for those who cannot ask the origin', async (t) => {
  const { branch, origin, dir } = await setUp(t)
  const truth = bytesOf(4)
  const url = publish(origin, truth)
  const [first, second, third] = [await branch.add(dir('1')), await branch.add(dir('2')), await branch.add(dir('3'))]
  // The second knows the manifest before anybody has signed anything but its own segment.
  await second.fetch(url, { ranges: [{ startBytes: 0, endBytes: 1 }], name: 'part' })
  await first.fetch(url)
  t.equal((await second.fetch(url)).sources.peer, SIZE - SEGMENT_BYTES)
  branch.drop(first)
  const result = await third.fetch(url, { useOrigin: false })
  t.ok(isFile(result.path, truth), 'the bytes are right')
  t.match(result, { sources: { peer: SIZE }, trust: 'attested' })
  await first.close()
})

void t.test(
  'what was declared once stays so: in the cache, without the origin, and without a second question',
  async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const truth = bytesOf(5)
    const url = publish(origin, truth)
    const [one] = [await branch.add(dir('1')), await branch.add(dir('2'))]
    t.equal((await one.fetch(url)).trust, 'declared')
    t.equal(origin.requests(MANIFEST).length, 1)
    t.match(await one.fetch(url, { name: 'again' }), { trust: 'declared', sources: { cache: SIZE } })
    t.equal(origin.requests(MANIFEST).length, 1)
    t.match(await one.fetch(url, { name: 'offline', useOrigin: false }), {
      trust: 'declared',
      sources: { cache: SIZE },
    })
    const [record] = await one.store.resources()
    if (!record) throw new Error('nothing is cached')
    t.match(record, { declaredSha256: sha256(truth), pinnedSha256: null })
    t.equal(await one.exchange.trustOf(record), 'declared')
    t.equal((await one.fetch(url, { name: 'pinned', sha256: sha256(truth) })).trust, 'pinned')
    const [pinned] = await one.store.resources()
    t.equal(pinned && (await one.exchange.trustOf(pinned)), 'pinned')
  },
)

void t.test('an agent that starts again knows the segments that were declared', async (t) => {
  const { branch, origin, dir } = await setUp(t)
  const url = publish(origin, bytesOf(14))
  const [one] = [await branch.add(dir('1'), { keySeed: 9 }), await branch.add(dir('2'))]
  await one.fetch(url)
  branch.drop(one)
  await one.close()
  const again = await branch.add(dir('1'), { keySeed: 9 })
  t.match(await again.fetch(url, { name: 'again' }), { trust: 'declared', sources: { cache: SIZE } })
  t.equal(origin.requests(MANIFEST).length, 1)
})

void t.test('an agent that believed a lie learns better from the manifest, for good', async (t) => {
  const { branch, origin, dir } = await setUp(t)
  const truth = bytesOf(16)
  const url = origin.serve('/a', forge(truth, 2))
  const [liar, one] = [await branch.add(dir('1')), await branch.add(dir('2'), { keySeed: 9 })]
  await liar.fetch(url)
  t.equal((await one.fetch(url)).trust, 'attested')
  publish(origin, truth)
  const better = await one.fetch(url)
  t.ok(isFile(better.path, truth), 'the bytes are right')
  t.match(better, { trust: 'declared', sources: { cache: SIZE - SEGMENT_BYTES, origin: SEGMENT_BYTES } })
  branch.drop(one)
  await one.close()
  const again = await branch.add(dir('2'), { keySeed: 9 })
  const later = await again.fetch(url, { useOrigin: false })
  t.ok(isFile(later.path, truth), 'also after it started again, without the origin')
  t.match(later, { trust: 'declared', sources: { cache: SIZE } })
})

void t.test('without a manifest the result says whose word it rests on', async (t) => {
  const { branch, origin, dir } = await setUp(t)
  const url = origin.serve('/a', bytesOf(6))
  const [one, two] = [await branch.add(dir('1')), await branch.add(dir('2'))]
  t.equal((await one.fetch(url)).trust, 'origin')
  t.match(await two.fetch(url), { trust: 'attested', sources: { peer: SIZE } })
  for (const [agent, trust] of [
    [one, 'origin'],
    [two, 'attested'],
  ] as const) {
    const [record] = await agent.store.resources()
    t.equal(record && (await agent.exchange.trustOf(record)), trust)
  }
  const noLength = origin.serve('/b', bytesOf(6, 1000), { noLength: true })
  t.equal((await one.fetch(noLength)).trust, 'origin')
})

void t.test('a manifest that is of no use is said, and the fetch goes on without it', async (t) => {
  const truth = bytesOf(7)
  const good = publishedOf(truth)
  const old = 'Wed, 01 Jan 2014 00:00:00 GMT'
  const cases: readonly (readonly [string, Buffer, Behaviour, RegExp])[] = [
    ['missing', good, { status: 404 }, /404/],
    ['moved elsewhere', good, { redirectTo: '/elsewhere' }, /more than 0 redirects/],
    ['no manifest', Buffer.from('nonsense'), {}, /too few/],
    ['longer than it can be', Buffer.alloc(good.byteLength + 1), {}, /longer than/],
    ['longer than it says', Buffer.alloc(good.byteLength + 1), { noLength: true }, /longer than/],
    ['of other content', publishedOf(bytesOf(8, 3)), {}, /is of 3 bytes/],
    ['cut short', good, { cutAfterBytes: 100 }, /UND_ERR_SOCKET|cut short/],
    ['older than the content', good, { fields: { 'last-modified': old } }, /older than the content/],
  ]
  for (const [name, manifest, behaviour, message] of cases) {
    await t.test(name, async (t) => {
      const { branch, origin, dir } = await setUp(t)
      origin.serve('/elsewhere', good)
      const url = publish(origin, truth, manifest, behaviour)
      const [one, two] = [await branch.add(dir('1')), await branch.add(dir('2'))]
      await one.fetch(url)
      const result = await two.fetch(url)
      t.ok(isFile(result.path, truth), 'the bytes are right')
      t.equal(result.trust, 'attested')
      t.match(result.notes, [{ note: 'manifest-unused', message }])
      t.equal(origin.requests('/elsewhere').length, 0)
    })
  }
})

void t.test('a manifest of another digest than the one that is pinned or declared is not used', async (t) => {
  const { branch, origin, dir } = await setUp(t)
  const truth = bytesOf(9)
  const url = publish(origin, truth, publishedOf(forge(truth, 1)))
  const [one] = [await branch.add(dir('1')), await branch.add(dir('2'))]
  const pinned = await one.fetch(url, { sha256: sha256(truth) })
  t.match(pinned, { trust: 'pinned', notes: [{ note: 'manifest-unused' }] })
  await one.store.removeResource((await one.store.resources())[0]?.id as never)
  const reprDigest = `sha-256=:${createHash('sha256').update(truth).digest('base64')}:`
  origin.behave('/a', { fields: { ...LINK, 'repr-digest': reprDigest } })
  const declared = await one.fetch(url, { name: 'declared' })
  t.equal(declared.trust, 'declared')
  t.ok(declared.notes.some(({ note }) => note === 'manifest-unused'))
})

void t.test('an origin that contradicts its own manifest is refused until it is put right', async (t) => {
  const { branch, origin, dir } = await setUp(t)
  const truth = bytesOf(10)
  const url = publish(origin, truth, publishedOf(forge(truth, 3)))
  const one = await branch.add(dir('1'))
  await branch.add(dir('2'))
  await t.rejects(one.fetch(url), { code: 'SHORTHAUL_DIGEST_MISMATCH', message: /segment 3/ })
  t.notOk(existsSync(join(one.dir, 'target.bin')))
  origin.behave('/a', { fields: { link: null } })
  t.match(await one.fetch(url), { trust: 'origin', notes: [] }, 'by taking the manifest away')
  await t.rejects(one.fetch(publish(origin, truth, publishedOf(forge(truth, 3)))), {
    code: 'SHORTHAUL_DIGEST_MISMATCH',
  })
  const right = await one.fetch(publish(origin, truth))
  t.equal(right.trust, 'declared', 'or by one that is right')
  t.ok(isFile(right.path, truth))
})

void t.test('a segment that was damaged on the way from the origin is asked for again, once', async (t) => {
  const { branch, origin, dir } = await setUp(t)
  const truth = bytesOf(11)
  let served = 0
  const respond = (request: IncomingMessage, response: ServerResponse) => {
    const range = parseRange(request.headers.range ?? '', SIZE)
    const { start, end } = range === null || range === 'unsatisfiable' ? { start: 0, end: SIZE } : range
    response.setHeader('etag', '"1"')
    response.setHeader('accept-ranges', 'bytes')
    response.setHeader('content-length', end - start)
    response.setHeader('link', LINK.link)
    if (request.headers.range !== undefined) {
      response.statusCode = 206
      response.setHeader('content-range', formatContentRange({ start, end }, SIZE))
    }
    if (request.method === 'HEAD') response.end()
    else response.end((served++ === 0 ? forge(truth, Math.floor(start / SEGMENT_BYTES)) : truth).subarray(start, end))
  }
  const url = publish(origin, truth)
  origin.behave('/a', { respond })
  const one = await branch.add(dir('1'))
  await branch.add(dir('2'))
  const result = await one.fetch(url)
  t.ok(isFile(result.path, truth), 'the bytes are right')
  t.match(result, { trust: 'declared', wastedBytes: SEGMENT_BYTES, sources: { origin: SIZE } })
})

void t.test('nobody waits for a manifest who has all from the origin itself', async (t) => {
  const { branch, origin, dir } = await setUp(t)
  const truth = bytesOf(12)
  const url = publish(origin, truth)
  origin.behave(MANIFEST, { respond: () => {} }) // it never answers
  const alone = await branch.add(dir('1'))
  const result = await alone.fetch(url)
  t.ok(isFile(result.path, truth), 'the bytes are right')
  t.match(result, { trust: 'origin', notes: [] })
})

void t.test('the manifest is not asked for where nothing of neighbours can come', async (t) => {
  const { branch, origin, dir } = await setUp(t)
  const truth = bytesOf(13)
  const url = publish(origin, truth)
  const [one] = [await branch.add(dir('1')), await branch.add(dir('2'))]
  await one.fetch(url, { headers: [['X-Token', 'secret']] })
  await one.fetch(url, { name: 'no-peers', usePeers: false })
  t.equal(origin.requests(MANIFEST).length, 0)
  const ranges = [{ startBytes: 5, endBytes: 2 * SEGMENT_BYTES }]
  const two = [...branch.agents.values()][1]
  t.equal((await two?.fetch(url, { ranges }))?.trust, 'declared', 'for a part of the content it is')
})
