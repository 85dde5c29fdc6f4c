import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ShorthaulError } from '../../src/errors.ts'
import type { Hold } from '../../src/throttle/wan-governor.ts'
import { FakeBranch } from '../support/fake-branch.ts'
import { type Behaviour, startTestOrigin, type TestOrigin } from '../support/test-origin.ts'

const MIB = 2 ** 20
/** Not a whole number of segments. */
const SIZE = 5 * MIB + 12_345

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

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function contentOf(origin: TestOrigin, path: string): Buffer {
  const content = origin.content(path)
  return content.read(0, content.lengthBytes)
}

/** Not t.same: a diff of megabytes takes for ever. */
function isFile(path: string, bytes: Buffer): boolean {
  return readFileSync(path).equals(bytes)
}

function sum(sources: { cache: number; peer: number; origin: number }): number {
  return sources.cache + sources.peer + sources.origin
}

function leftOvers(dir: string): string[] {
  return readdirSync(dir).filter((name) => name.includes('shorthaul-part'))
}

void t.test('alone', async (t) => {
  await t.test('the first fetch is one GET, the second costs no content', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 1, lengthBytes: SIZE })
    const agent = await branch.add(dir('a'))
    const first = await agent.fetch(url)
    t.ok(isFile(first.path, contentOf(origin, '/a')), 'the bytes are right')
    t.equal(first.sha256, sha256(contentOf(origin, '/a')))
    t.same(first.sources, { cache: 0, peer: 0, origin: SIZE })
    t.equal(first.wastedBytes, 0)
    t.same(
      origin.requests('/a').map((request) => request.method),
      ['GET'],
    )
    const second = await agent.fetch(url, { name: 'again.bin' })
    t.same(second.sources, { cache: SIZE, peer: 0, origin: 0 })
    t.equal(origin.contentBytesSent('/a'), SIZE)
    t.ok(isFile(second.path, contentOf(origin, '/a')), 'the bytes are right')
    t.same(leftOvers(agent.dir), [])
  })

  await t.test('nothing, one byte, a whole segment and one more are right', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const agent = await branch.add(dir('a'))
    for (const lengthBytes of [0, 1, MIB, MIB + 1]) {
      const url = origin.serve(`/${lengthBytes}`, { seed: 2, lengthBytes })
      const { path, bytes } = await agent.fetch(url, { name: `${lengthBytes}` })
      t.equal(bytes, lengthBytes)
      t.ok(isFile(path, contentOf(origin, `/${lengthBytes}`)), 'the bytes are right')
    }
  })

  await t.test('an aborted fetch keeps its part and goes on where it was', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 3, lengthBytes: SIZE }, { stallAfterBytes: 3 * MIB + 1000 })
    const agent = await branch.add(dir('a'), { maxBytes: 0 }) // no cache: the part alone must do
    const abort = new AbortController()
    const running = agent.fetch(url, {
      signal: abort.signal,
      onEvent: (event) => {
        if (event.event === 'progress' && event.bytesDone >= 3 * MIB) abort.abort()
      },
    })
    const poll = setInterval(() => {
      if (origin.contentBytesSent('/a') >= 3 * MIB) abort.abort()
    }, 300)
    await t.rejects(running, { code: 'SHORTHAUL_ABORTED' })
    clearInterval(poll)
    t.same(leftOvers(agent.dir), ['.target.bin.shorthaul-part'])
    t.notOk(existsSync(join(agent.dir, 'target.bin')))
    origin.behave('/a', { stallAfterBytes: undefined })
    const before = origin.contentBytesSent('/a')
    const { path, sources } = await agent.fetch(url)
    t.ok(sources.cache >= 2 * MIB, `${sources.cache} bytes were kept`)
    t.equal(origin.contentBytesSent('/a') - before, sources.origin)
    t.ok(isFile(path, contentOf(origin, '/a')), 'the bytes are right')
    t.same(leftOvers(agent.dir), [])
  })

  await t.test('a cache smaller than the content does not stop the delivery', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 4, lengthBytes: SIZE })
    const agent = await branch.add(dir('a'), { maxBytes: 2 * MIB })
    const { path, notes } = await agent.fetch(url)
    t.ok(isFile(path, contentOf(origin, '/a')), 'the bytes are right')
    t.ok(notes.some((note) => note.note === 'cache-full'))
  })

  await t.test('two fetches at once in one agent share one copy', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 5, lengthBytes: SIZE }, { ratePerConnectionBytesPerSec: 8 * MIB })
    const agent = await branch.add(dir('a'))
    const results = await Promise.all([agent.fetch(url, { name: 'x' }), agent.fetch(url, { name: 'y' })])
    for (const { path } of results) t.ok(isFile(path, contentOf(origin, '/a')), 'the bytes are right')
    t.ok(origin.contentBytesSent('/a') < 1.5 * SIZE, `${origin.contentBytesSent('/a')} bytes from the origin`)
  })

  await t.test('a body that is cut is gone on with from where it ended', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 6, lengthBytes: SIZE }, { cutAfterBytes: 2 * MIB + 5000 })
    const agent = await branch.add(dir('a'))
    const { path, sources, notes } = await agent.fetch(url)
    t.ok(isFile(path, contentOf(origin, '/a')), 'the bytes are right')
    t.equal(sources.origin, SIZE)
    t.ok(notes.some((note) => note.note === 'origin-retry'))
    t.ok(origin.contentBytesSent('/a') < SIZE + 4 * MIB)
  })

  await t.test('a pinned digest that the content does not have leaves no target', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 7, lengthBytes: SIZE })
    const agent = await branch.add(dir('a'))
    await t.rejects(agent.fetch(url, { sha256: '00'.repeat(32) }), { code: 'SHORTHAUL_DIGEST_MISMATCH' })
    t.same(readdirSync(agent.dir), ['data'])
    const right = await agent.fetch(url, { sha256: sha256(contentOf(origin, '/a')) })
    t.same(right.sources, { cache: SIZE, peer: 0, origin: 0 }, 'a digest mistyped costs nobody the cached content')
    const sent = origin.log.length
    await agent.fetch(url, { sha256: right.sha256, name: 'again' })
    t.equal(origin.log.length, sent, 'content that is here and has the digest needs no question to the origin')
  })

  for (const [status, code] of [
    [404, 'SHORTHAUL_ORIGIN_NOT_FOUND'],
    [410, 'SHORTHAUL_ORIGIN_NOT_FOUND'],
    [403, 'SHORTHAUL_ORIGIN_REFUSED'],
  ] as const) {
    await t.test(`${status} ends the fetch at once, without litter`, async (t) => {
      const { branch, origin, dir } = await setUp(t)
      const url = origin.serve('/a', { seed: 8, lengthBytes: 100 }, { status })
      const agent = await branch.add(dir('a'))
      await t.rejects(agent.fetch(url), { code })
      t.same(readdirSync(agent.dir), ['data'])
    })
  }

  await t.test('503 is tried again, and its Retry-After is waited for', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 9, lengthBytes: 100 }, { status: 503, retryAfter: '1' })
    const agent = await branch.add(dir('a'))
    const running = agent.fetch(url)
    await origin.until(() => origin.requests('/a').length > 0)
    origin.behave('/a', { status: undefined, retryAfter: undefined })
    const { path, notes } = await running
    t.ok(isFile(path, contentOf(origin, '/a')), 'the bytes are right')
    t.ok(notes.some((note) => note.note === 'origin-retry'))
  })
})

void t.test('degraded origins work, and say once what they lack', async (t) => {
  const cases: [string, Behaviour, string | null][] = [
    ['HEAD is refused', { noHead: 405 }, 'no-head'],
    ['HEAD closes the connection', { noHead: 'closes' }, 'no-head'],
    ['no ranges', { noRange: true }, null],
    ['no ranges, and not said so', { noRange: true, noAcceptRanges: true }, null],
    ['no length, but ranges tell it', { noLength: true }, null],
    ['no length at all', { noLength: true, noRange: true }, 'no-length'],
    ['no ETag', { noEtag: true }, null],
    ['a weak ETag', { weakEtag: true }, 'weak-validator'],
    ['a weak ETag and nothing else', { weakEtag: true, noLastModified: true }, 'no-validator'],
    ['no validator at all', { noEtag: true, noLastModified: true }, 'no-validator'],
  ]
  for (const [name, behaviour, note] of cases) {
    await t.test(name, async (t) => {
      const { branch, origin, dir } = await setUp(t)
      const url = origin.serve('/a', { seed: 10, lengthBytes: SIZE }, behaviour)
      const other = await branch.add(dir('other')) // with a neighbour, the origin is probed
      const agent = await branch.add(dir('a'))
      const { path, notes, sources } = await agent.fetch(url)
      t.ok(isFile(path, contentOf(origin, '/a')), 'the bytes are right')
      t.equal(sources.origin, SIZE)
      if (note) t.equal(notes.filter((each) => each.note === note).length, 1)
      const again = await other.fetch(url)
      t.ok(isFile(again.path, contentOf(origin, '/a')), 'the bytes are right')
      const isShared = !['no-length', 'no-validator'].includes(note ?? '')
      t.equal(again.sources.peer, isShared ? SIZE : 0)
    })
  }

  await t.test('without ranges, what is here already is skipped in the stream', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 11, lengthBytes: SIZE }, { noRange: true, cutAfterBytes: 3 * MIB })
    const agent = await branch.add(dir('a'))
    const running = agent.fetch(url)
    await origin.until(() => origin.requests('/a', 'GET').length > 1)
    origin.behave('/a', { cutAfterBytes: undefined })
    const { path, sources, wastedBytes } = await running
    t.ok(isFile(path, contentOf(origin, '/a')), 'the bytes are right')
    t.equal(sum(sources), SIZE)
    t.ok(wastedBytes >= MIB, 'what came twice is counted as waste')
  })
})

void t.test('a changing origin', async (t) => {
  await t.test('the result is wholly the new generation', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 12, lengthBytes: SIZE }, { cutAfterBytes: 2 * MIB + 1 })
    const agent = await branch.add(dir('a'))
    const running = agent.fetch(url)
    await origin.until(() => origin.requests('/a', 'GET')[0]?.isDone === true)
    origin.change('/a')
    origin.behave('/a', { cutAfterBytes: undefined })
    const { path, notes, sources, wastedBytes } = await running
    t.ok(isFile(path, contentOf(origin, '/a')), 'the bytes are right')
    t.ok(notes.some((note) => note.note === 'origin-changed'))
    t.equal(sum(sources), SIZE)
    t.ok(wastedBytes >= MIB, 'the old generation is waste')
  })

  await t.test('one that changes all the time ends with a clear error and no target', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 13, lengthBytes: SIZE }, { cutAfterBytes: MIB + 1 })
    const agent = await branch.add(dir('a'))
    let requests = 0
    const poll = setInterval(() => {
      const now = origin
        .requests('/a', 'GET')
        .filter((request) => request.isDone && request.contentBytesSent > 0).length
      if (now > requests) origin.change('/a')
      requests = now
    }, 5)
    await t.rejects(agent.fetch(url), { code: 'SHORTHAUL_ORIGIN_CHANGED' })
    clearInterval(poll)
    t.notOk(existsSync(join(agent.dir, 'target.bin')))
  })

  await t.test('a new generation is fetched anew, and the old one stays apart', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 14, lengthBytes: SIZE })
    const [one, two] = [await branch.add(dir('1')), await branch.add(dir('2'))]
    await one.fetch(url)
    origin.change('/a')
    const { path, sources } = await two.fetch(url)
    t.ok(isFile(path, contentOf(origin, '/a')), 'the bytes are right')
    t.equal(sources.peer, 0, 'what the neighbour has is another generation')
  })
})

void t.test('with neighbours', async (t) => {
  await t.test('the second and the third take nothing from the origin', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 20, lengthBytes: SIZE })
    const agents = [await branch.add(dir('1')), await branch.add(dir('2')), await branch.add(dir('3'))]
    const results = []
    for (const agent of agents) results.push(await agent.fetch(url))
    t.same(
      results.map((result) => result.sources.origin),
      [SIZE, 0, 0],
    )
    for (const { path } of results) t.ok(isFile(path, contentOf(origin, '/a')), 'the bytes are right')
    t.equal(origin.contentBytesSent('/a'), SIZE)
    const urls = branch.messages.filter(({ message }) => JSON.stringify(message).includes(origin.base))
    t.equal(urls.length, 0, 'no message carries a URL')
  })

  await t.test('a late joiner takes what a running transfer has', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 21, lengthBytes: 12 * MIB }, { ratePerConnectionBytesPerSec: 16 * MIB })
    const one = await branch.add(dir('1'))
    const running = one.fetch(url)
    await origin.until(() => origin.contentBytesSent('/a') > 6 * MIB)
    const two = await branch.add(dir('2'))
    const results = await Promise.all([running, two.fetch(url)])
    for (const { path } of results) t.ok(isFile(path, contentOf(origin, '/a')), 'the bytes are right')
    const [, late] = results
    t.ok(late.sources.peer >= 4 * MIB, `${late.sources.peer} bytes from the neighbour`)
  })

  await t.test('the only neighbour dies halfway: the origin completes it without an error', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 22, lengthBytes: 12 * MIB })
    const [one, two] = [await branch.add(dir('1')), await branch.add(dir('2'))]
    await one.fetch(url)
    let servedCount = 0
    one.faults.onServe = () => {
      if (++servedCount === 6) branch.drop(one)
    }
    const { path, sources } = await two.fetch(url)
    t.ok(isFile(path, contentOf(origin, '/a')), 'the bytes are right')
    t.ok(sources.peer > 0 && sources.origin > 0)
    t.equal(sum(sources), 12 * MIB)
    await one.close()
  })

  await t.test('a neighbour that vanishes without a word is left for the origin', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 23, lengthBytes: SIZE })
    const [one, two] = [await branch.add(dir('1')), await branch.add(dir('2'))]
    await one.fetch(url)
    one.faults.onServe = () => {
      throw new ShorthaulError('SHORTHAUL_PEER_STALLED', 'Cannot wait longer', { details: { receivedBytes: 1000 } })
    }
    const { path, sources, wastedBytes } = await two.fetch(url)
    t.ok(isFile(path, contentOf(origin, '/a')), 'the bytes are right')
    t.equal(sources.origin, SIZE)
    t.ok(wastedBytes >= 1000)
  })

  await t.test('a busy neighbour is waited for, not bypassed', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 24, lengthBytes: SIZE })
    const [one, two] = [await branch.add(dir('1')), await branch.add(dir('2'))]
    await one.fetch(url)
    let refusals = 0
    one.faults.onServe = () => {
      if (++refusals % 2 === 0) return
      throw new ShorthaulError('SHORTHAUL_PEER_BUSY', 'Busy', { details: { receivedBytes: 0, retryAfterMs: 30 } })
    }
    const { sources } = await two.fetch(url)
    t.same(sources, { cache: 0, peer: SIZE, origin: 0 })
  })

  await t.test('corrupt segments are dropped, the liar is named and banned, the result is right', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 25, lengthBytes: SIZE })
    const [honest, liar, reader] = [await branch.add(dir('1')), await branch.add(dir('2')), await branch.add(dir('3'))]
    await honest.fetch(url)
    await liar.fetch(url)
    liar.faults.isLying = true
    const { path, notes, sources, wastedBytes } = await reader.fetch(url)
    t.ok(isFile(path, contentOf(origin, '/a')), 'the bytes are right')
    t.same(sources, { cache: 0, peer: SIZE, origin: 0 })
    t.same(
      notes.filter((note) => note.note === 'peer-corrupt').map((note) => note.peer),
      [liar.key],
    )
    t.ok(reader.book.view(liar.key).isBanned)
    t.ok(wastedBytes >= MIB)
  })

  await t.test('a lie that was signed is overruled by a pinned digest', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 26, lengthBytes: SIZE })
    const [liar, reader] = [await branch.add(dir('1')), await branch.add(dir('2'))]
    const truth = contentOf(origin, '/a')
    const forged = Buffer.from(truth)
    forged[MIB + 7] = (forged[MIB + 7] ?? 0) ^ 1
    // The liar's origin serves other bytes under the same validator: it signs and serves them in good form.
    origin.serve('/a', forged)
    await liar.fetch(url)
    origin.serve('/a', truth)
    const { path, sources } = await reader.fetch(url, { sha256: sha256(truth) })
    t.ok(isFile(path, truth), 'the bytes are right')
    t.ok(sources.origin > 0)
    // Without a digest, what a member signed is believed: said in the README, until spot checks come.
    const trusting = await branch.add(dir('3'))
    branch.drop(reader)
    t.notOk(isFile((await trusting.fetch(url)).path, truth))
    await reader.close()
  })

  await t.test('what an origin declares must be what it sends, and one thing', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const agent = await branch.add(dir('1'))
    const base64 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('base64')
    const right = Buffer.alloc(2 * MIB + 5, 'right')
    const reprDigest = (bytes: Uint8Array) => ({ 'repr-digest': `sha-256=:${base64(bytes)}:` })
    const url = origin.serve('/a', right, { fields: reprDigest(Buffer.from('other')) })
    const mismatch = { code: 'SHORTHAUL_DIGEST_MISMATCH', exit: 5 }
    await t.rejects(agent.fetch(url), mismatch)
    t.same(readdirSync(agent.dir), ['data'], 'no target is left')
    const both = { ...reprDigest(right), 'x-amz-checksum-sha256': base64(Buffer.from('other')) }
    origin.behave('/a', { fields: both })
    await t.rejects(agent.fetch(url), { ...mismatch, message: /contradicts itself .*Repr-Digest says/ })
    const pinned = await agent.fetch(url, { sha256: sha256(right) })
    t.ok(isFile(pinned.path, right), 'the word of the user decides')
    origin.behave('/a', { fields: reprDigest(right) })
    t.match(
      (await agent.fetch(url)).notes,
      [{ note: 'declared-in-clear' }],
      'it came over plain http, and that is said',
    )
  })

  await t.test('trust.attested refuse: nobody is believed but the origin', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 27, lengthBytes: SIZE })
    const one = await branch.add(dir('1'))
    const strict = await branch.add(dir('2'), { attested: 'refuse' })
    await one.fetch(url)
    t.same((await strict.fetch(url)).sources, { cache: 0, peer: 0, origin: SIZE })
    t.same((await strict.fetch(url, { name: 'again' })).sources, { cache: SIZE, peer: 0, origin: 0 })
  })

  await t.test('what was fetched with credentials stays on this machine', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 28, lengthBytes: SIZE }, { requireAuth: 'Bearer s3cret' })
    const [one, two] = [await branch.add(dir('1')), await branch.add(dir('2'))]
    const { notes } = await one.fetch(url, { headers: [['Authorization', 'Bearer s3cret']] })
    t.ok(notes.some((note) => note.note === 'private'))
    t.equal(branch.messages.length, 0, 'neighbours were not even asked')
    await t.rejects(two.fetch(url), { code: 'SHORTHAUL_ORIGIN_REFUSED' })
    await t.rejects(two.fetch(url, { useOrigin: false }), { code: 'SHORTHAUL_ORIGIN_DISALLOWED' })
    const again = await one.fetch(url, { headers: [['Authorization', 'Bearer s3cret']], name: 'again' })
    t.equal(again.sources.cache, SIZE, 'but it is cached here')
  })

  await t.test('a private response of an open origin stays on this machine', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 29, lengthBytes: SIZE }, { cacheControl: 'private' })
    const [one, two] = [await branch.add(dir('1')), await branch.add(dir('2'))]
    await one.fetch(url)
    t.equal((await two.fetch(url)).sources.origin, SIZE)
  })

  await t.test('--no-origin: the branch answers for an origin that is out of reach', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 30, lengthBytes: SIZE })
    const [one, two] = [await branch.add(dir('1')), await branch.add(dir('2'))]
    await one.fetch(url)
    const truth = contentOf(origin, '/a')
    const asked = origin.log.length
    const { path, sources } = await two.fetch(url, { useOrigin: false })
    t.ok(isFile(path, truth), 'the bytes are right')
    t.equal(sources.peer, SIZE)
    t.equal(origin.log.length, asked)
  })

  await t.test('a small file goes straight to the origin when nobody announced it', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 31, lengthBytes: 20_000 })
    const [one, two] = [await branch.add(dir('1')), await branch.add(dir('2'))]
    t.equal((await one.fetch(url)).sources.origin, 20_000)
    t.equal((await two.fetch(url)).bytes, 20_000)
  })

  await t.test('a full cache serves its neighbours from the part while it fetches', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 32, lengthBytes: 8 * MIB }, { ratePerConnectionBytesPerSec: 12 * MIB })
    const one = await branch.add(dir('1'), { maxBytes: 0 })
    const two = await branch.add(dir('2'))
    const running = one.fetch(url)
    await origin.until(() => origin.contentBytesSent('/a') > 4 * MIB)
    const [, late] = await Promise.all([running, two.fetch(url)])
    t.ok(isFile(late.path, contentOf(origin, '/a')), 'the bytes are right')
    t.ok(late.sources.peer > 0, 'the part was served')
  })
})

/** Holds until it is lifted. */
function holdingWan() {
  const wan = {
    current: { code: 'urgent-work', text: 'work of priority high goes first', untilMs: null } as Hold | null,
    hold: () => wan.current,
    isBusy: () => false,
    staleBeforeMs: () => Number.NEGATIVE_INFINITY,
  }
  return wan
}

void t.test('connections that the governor calls stale are left between two segments', async (t) => {
  for (const [name, behaviour] of [
    ['an origin that does ranges', {}],
    ['one that does not: what is open goes on', { noRange: true }],
  ] as const) {
    await t.test(name, async (t) => {
      const { branch, origin, dir } = await setUp(t)
      const url = origin.serve('/a', { seed: 35, lengthBytes: SIZE }, behaviour)
      let looks = 0
      const staleBeforeMs = () => (++looks === 2 ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY)
      const agent = await branch.add(dir('a'), { wan: { hold: () => null, isBusy: () => false, staleBeforeMs } })
      const { path, sources } = await agent.fetch(url, { priority: 'low' })
      const ranges = origin.requests('/a', 'GET').map(({ headers }) => headers.range ?? null)
      t.same(ranges, [null, `bytes=${2 * MIB}-${SIZE - 1}`])
      t.equal(sources.origin, SIZE)
      t.ok(isFile(path, contentOf(origin, '/a')), 'the bytes are right')
    })
  }
})

void t.test('when nothing may be had from the origin for now', async (t) => {
  for (const [name, behaviour] of [
    ['in segments', {}],
    ['in one stream', { noEtag: true, noLastModified: true }],
  ] as const) {
    await t.test(`${name}: the first GET waits, and the fetch ends right once it may`, async (t) => {
      const { branch, origin, dir } = await setUp(t)
      const url = origin.serve('/a', { seed: 31, lengthBytes: SIZE }, behaviour)
      const wan = holdingWan()
      const agent = await branch.add(dir('a'), { wan })
      let gets: number | null = null
      const { path, sources, notes } = await agent.fetch(url, {
        priority: 'low',
        onEvent: (event) => {
          if (event.event !== 'note' || event.note !== 'held') return
          gets = origin.requests('/a', 'GET').length
          wan.current = null
        },
      })
      t.equal(gets, 0, 'nothing was asked for but what it is')
      t.equal(origin.requests('/a', 'GET').length, 1)
      t.same(
        notes.filter(({ note }) => note === 'held').map(({ message }) => message),
        ['Waiting: work of priority high goes first'],
      )
      t.equal(sources.origin, SIZE)
      t.ok(isFile(path, contentOf(origin, '/a')), 'the bytes are right')
    })
  }

  await t.test('neighbours are asked all the same, and fetch it when they may', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 32, lengthBytes: SIZE })
    const held = await branch.add(dir('a'), { wan: holdingWan() })
    const other = await branch.add(dir('b'))
    const [first, second] = await Promise.all([held.fetch(url, { priority: 'low' }), other.fetch(url)])
    t.same([first.sources.origin, first.sources.peer], [0, SIZE])
    t.equal(second.sources.origin, SIZE)
    t.ok(isFile(first.path, contentOf(origin, '/a')), 'the bytes are right')
  })

  await t.test('what is here already is delivered', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 33, lengthBytes: SIZE })
    const wan = holdingWan()
    const agent = await branch.add(dir('a'), { wan })
    const hold = wan.current
    wan.current = null
    await agent.fetch(url)
    wan.current = hold
    const { sources } = await agent.fetch(url, { name: 'again.bin', priority: 'low' })
    t.same(sources, { cache: SIZE, peer: 0, origin: 0 })
  })

  await t.test('an abort ends the wait', async (t) => {
    const { branch, origin, dir } = await setUp(t)
    const url = origin.serve('/a', { seed: 34, lengthBytes: SIZE })
    const agent = await branch.add(dir('a'), { wan: holdingWan() })
    const abort = new AbortController()
    const running = agent.fetch(url, {
      signal: abort.signal,
      onEvent: (event) => {
        if (event.event === 'note' && event.note === 'held') abort.abort()
      },
    })
    await t.rejects(running, { code: 'SHORTHAUL_ABORTED' })
    t.equal(origin.requests('/a', 'GET').length, 0)
  })
})
