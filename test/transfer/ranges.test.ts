import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { verifySegment } from '../../src/content/verify.ts'
import { PipeDelivery } from '../../src/transfer/pipe-delivery.ts'
import { RangePart } from '../../src/transfer/range-part.ts'
import type { FileRange } from '../../src/transfer/request.ts'
import { faultOf, slicesOf, Wanted } from '../../src/transfer/wanted.ts'
import { type FakeAgent, FakeBranch } from '../support/fake-branch.ts'
import { startTestOrigin, type TestOrigin } from '../support/test-origin.ts'

const MIB = 2 ** 20
/** Not a whole number of segments. */
const SIZE = 20 * MIB + 12_345

async function setUp(t: Test, agentCount = 1) {
  const branch = new FakeBranch()
  const origin = await startTestOrigin()
  t.teardown(async () => {
    await branch.close()
    await origin.close()
  })
  const root = t.testdir()
  const agents: FakeAgent[] = []
  while (agents.length < agentCount) agents.push(await branch.add(join(root, `${agents.length}`)))
  const [agent] = agents
  if (!agent) throw new Error('there are no agents')
  return { branch, origin, agent, agents }
}

function range(startBytes: number, endBytes: number | null): FileRange {
  return { startBytes, endBytes }
}

function assembled(origin: TestOrigin, ranges: readonly FileRange[], path = '/a'): Buffer {
  const content = origin.content(path)
  return Buffer.concat(
    ranges.map(({ startBytes, endBytes }) => content.read(startBytes, endBytes ?? content.lengthBytes)),
  )
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Not t.same: a diff of megabytes takes for ever. */
function isFile(path: string, bytes: Buffer): boolean {
  return readFileSync(path).equals(bytes)
}

function sum(sources: { cache: number; peer: number; origin: number }): number {
  return sources.cache + sources.peer + sources.origin
}

void t.test('ranges are what they say', async (t) => {
  t.equal(faultOf([range(5, 6), range(0, 5), range(6, null)]), null, 'side by side, in any order')
  for (const [what, ranges] of [
    ['none', []],
    ['too many', Array.from({ length: 501 }, (_, at) => range(2 * at, 2 * at + 1))],
    ['empty', [range(5, 5)]],
    ['before the beginning', [range(-1, 5)]],
    ['not whole', [range(0, 1.5)]],
    ['overlapping', [range(0, 6), range(5, 7)]],
    ['overlapping an open one', [range(7, 9), range(3, null)]],
    ['an open one that is not the last', [range(5, null), range(0, 5)]],
  ] as const) {
    t.type(faultOf(ranges), 'string', what)
    t.throws(() => Wanted.of(ranges, 10_000), { code: 'SHORTHAUL_RANGE_INVALID', retryable: false }, what)
  }
  for (const beyond of [range(0, 11), range(10, null), range(10, 12)]) {
    t.throws(() => Wanted.of([beyond], 10), { code: 'SHORTHAUL_RANGE_INVALID' })
  }
  t.ok(Wanted.of([range(0, 10)], 10).isWhole)
  t.ok(Wanted.of([range(0, null)], 10).isWhole)
  t.notOk(Wanted.of([range(5, 10), range(0, 5)], 10).isWhole, 'all of it, in another order')
})

void t.test('every byte of a segment has its place in the target', async (t) => {
  const ranges = [range(3 * MIB - 2, 3 * MIB + 2), range(0, 3)]
  const wanted = Wanted.of(ranges, 4 * MIB)
  t.same(wanted.positions.ranges(), [
    { start: 0, end: 1 },
    { start: 2, end: 4 },
  ])
  t.equal(wanted.bytes, 7)
  t.same(
    [0, 1, 2, 3].map((index) => wanted.bytesOf(index)),
    [3, 0, 2, 2],
  )
  t.same(slicesOf(ranges, { start: 2 * MIB, end: 3 * MIB }), [{ start: MIB - 2, end: MIB, targetOffset: 0 }])
  t.same(slicesOf(ranges, { start: 3 * MIB, end: 4 * MIB }), [{ start: 0, end: 2, targetOffset: 2 }])
  t.same(slicesOf(ranges, { start: 0, end: MIB }), [{ start: 0, end: 3, targetOffset: 4 }])
  t.same(
    slicesOf([range(0, 2), range(4, 5), range(3, 4), range(6, null)], { start: 0, end: 8 }),
    [
      { start: 0, end: 2, targetOffset: 0 },
      { start: 4, end: 5, targetOffset: 2 },
      { start: 3, end: 4, targetOffset: 3 },
      { start: 6, end: 8, targetOffset: 4 },
    ],
    'several ranges of one segment',
  )
})

void t.test('alone, only the segments that cover the ranges are fetched', async (t) => {
  const cases: readonly (readonly [what: string, ranges: readonly FileRange[], segmentBytes: number])[] = [
    ['several in one segment', [range(10, 20), range(100, 101), range(5000, 9000)], MIB],
    ['across segments', [range(3 * MIB - 10, 5 * MIB + 10)], 4 * MIB],
    ['far apart', [range(MIB + 1, MIB + 2), range(15 * MIB, 16 * MIB)], 2 * MIB],
    ['out of order', [range(9 * MIB, 9 * MIB + 7), range(2 * MIB, 3 * MIB + 1), range(5, 6)], 4 * MIB],
    ['open', [range(100, 200), range(19 * MIB - 1, null)], MIB + 2 * MIB + 12_345],
    ['everything', [range(0, SIZE)], SIZE],
    ['everything, turned round', [range(7 * MIB + 3, SIZE), range(0, 7 * MIB + 3)], SIZE],
  ].map(([what, ranges, bytes]) => [what as string, ranges as FileRange[], bytes as number])
  for (const [what, ranges, segmentBytes] of cases) {
    await t.test(what, async (t) => {
      const { origin, agent } = await setUp(t)
      const url = origin.serve('/a', { seed: 1, lengthBytes: SIZE })
      const seen: (number | null)[] = []
      const result = await agent.fetch(url, {
        ranges,
        onEvent: (event) => {
          if (event.event === 'progress') seen.push(event.bytesTotal)
        },
      })
      const expected = assembled(origin, ranges)
      t.ok(isFile(result.path, expected), 'the bytes are right')
      t.equal(result.sha256, sha256(expected))
      t.equal(result.bytes, expected.byteLength)
      t.equal(seen.at(-1), expected.byteLength)
      t.same(result.sources, { cache: 0, peer: 0, origin: expected.byteLength })
      t.equal(result.wastedBytes, segmentBytes - expected.byteLength, 'what else is in the segments')
      // Cut off when its last segment is here: what was under way by then is the network's.
      const sent = origin.contentBytesSent('/a')
      t.ok(sent >= segmentBytes && sent <= segmentBytes + 12 * MIB, `${sent} bytes sent`)
      t.equal(origin.requests('/a')[0]?.method, 'HEAD')
      const again = await agent.fetch(url, { ranges, name: 'again' })
      t.same(again.sources, { cache: expected.byteLength, peer: 0, origin: 0 }, 'whole segments are in the cache')
      t.equal(origin.contentBytesSent('/a'), sent)
    })
  }
})

void t.test('a range and the rest later make the whole, and cost one copy', async (t) => {
  const { origin, agent } = await setUp(t)
  const url = origin.serve('/a', { seed: 2, lengthBytes: SIZE })
  await agent.fetch(url, { ranges: [range(4 * MIB, 8 * MIB)], name: 'part' })
  t.equal((await agent.store.newestAt(url, ''))?.sha256 ?? null, null, 'nobody knows the digest of the whole yet')
  const whole = await agent.fetch(url)
  t.same(whole.sources, { cache: 4 * MIB, peer: 0, origin: SIZE - 4 * MIB })
  t.ok(isFile(whole.path, assembled(origin, [range(0, null)])), 'the bytes are right')
  t.equal((await agent.store.newestAt(url, ''))?.sha256, whole.sha256)
  const sent = origin.log.length
  const offline = await agent.fetch(url, { ranges: [range(1, 2)], name: 'offline', useOrigin: false })
  t.same(offline.sources, { cache: 1, peer: 0, origin: 0 })
  t.equal(origin.log.length, sent)
})

void t.test('a pinned digest is that of the target', async (t) => {
  const { origin, agent } = await setUp(t)
  const url = origin.serve('/a', { seed: 3, lengthBytes: SIZE })
  const ranges = [range(6 * MIB - 1, 6 * MIB + 1), range(0, 10)]
  const expected = assembled(origin, ranges)
  const ofWhole = sha256(assembled(origin, [range(0, null)]))
  await t.rejects(agent.fetch(url, { ranges, sha256: ofWhole }), {
    code: 'SHORTHAUL_DIGEST_MISMATCH',
    details: { found: sha256(expected) },
  })
  t.same(readdirSync(agent.dir), ['data'], 'nothing is left')
  const right = await agent.fetch(url, { ranges, sha256: sha256(expected) })
  t.ok(isFile(right.path, expected), 'the bytes are right')
  t.equal(right.sources.origin, 0, 'a digest mistyped costs nobody the cached content')
})

void t.test('a range that the content does not have is an error that no retry cures', async (t) => {
  const { origin, agent } = await setUp(t)
  const invalid = { code: 'SHORTHAUL_RANGE_INVALID', retryable: false, exit: 3 }
  for (const behaviour of [{}, { noLength: true, noRange: true }, { noEtag: true, noLastModified: true }]) {
    const url = origin.serve('/a', { seed: 4, lengthBytes: 3 * MIB }, behaviour)
    await t.rejects(agent.fetch(url, { ranges: [range(0, 10), range(2 * MIB, 3 * MIB + 1)] }), invalid)
    await t.rejects(agent.fetch(url, { ranges: [range(3 * MIB, null)] }), invalid)
    t.same(readdirSync(agent.dir), ['data'])
  }
  await t.rejects(agent.fetch(origin.serve('/empty', Buffer.alloc(0)), { ranges: [range(0, null)] }), invalid)
})

void t.test('a pipe takes no ranges', async (t) => {
  const { origin, agent } = await setUp(t)
  const url = origin.serve('/a', { seed: 5, lengthBytes: MIB })
  const request = { url, headers: [], sha256: null, priority: 'foreground', usePeers: false, useOrigin: true } as const
  await t.rejects(
    agent.transfers.run(
      { ...request, originMaxBytesPerSec: null, ranges: [range(0, 1)] },
      new PipeDelivery(async () => {}),
      { signal: new AbortController().signal, onEvent: () => {}, isOwner: true },
    ),
    { code: 'SHORTHAUL_USAGE' },
  )
})

void t.test('origins that cannot do all of it', async (t) => {
  const ranges = [range(7 * MIB + 1, 7 * MIB + 11), range(2 * MIB, 3 * MIB + 5)]
  await t.test('without ranges: one stream for all of them, to the last that is wanted', async (t) => {
    const { origin, agent } = await setUp(t)
    const url = origin.serve('/a', { seed: 6, lengthBytes: SIZE }, { noRange: true })
    const { path, notes, sources } = await agent.fetch(url, { ranges })
    t.ok(isFile(path, assembled(origin, ranges)), 'the bytes are right')
    t.ok(notes.some(({ note }) => note === 'no-range'))
    t.equal(sources.origin, MIB + 15)
    const whole = origin.requests('/a', 'GET').filter(({ contentBytesSent }) => contentBytesSent >= 8 * MIB)
    t.equal(whole.length, 1)
  })

  for (const [what, behaviour, note] of [
    ['length', { noLength: true, noRange: true }, 'no-length'],
    ['validator', { noEtag: true, noLastModified: true }, 'no-validator'],
  ] as const) {
    await t.test(`without a ${what}: one stream, and what is not wanted is dropped`, async (t) => {
      const { origin, agent } = await setUp(t)
      const url = origin.serve('/a', { seed: 7, lengthBytes: SIZE }, behaviour)
      const { path, notes, bytes, sources, wastedBytes } = await agent.fetch(url, { ranges })
      t.ok(isFile(path, assembled(origin, ranges)), 'the bytes are right')
      t.ok(notes.some((each) => each.note === note))
      t.equal(bytes, MIB + 15)
      t.same(sources, { cache: 0, peer: 0, origin: MIB + 15 })
      t.ok(wastedBytes >= 7 * MIB - 15, `${wastedBytes} bytes were read and dropped`)
      const open = [range(5, 10), range(SIZE - 3, null)]
      const toTheEnd = await agent.fetch(url, { ranges: open, name: 'open' })
      t.ok(isFile(toTheEnd.path, assembled(origin, open)), 'the bytes are right')
    })
  }

  await t.test('that cut the body: it goes on from there', async (t) => {
    const { origin, agent } = await setUp(t)
    const url = origin.serve('/a', { seed: 8, lengthBytes: SIZE }, { cutAfterBytes: 2 * MIB + 5000 })
    const wanted = [range(3 * MIB + 1, 8 * MIB)]
    const { path, sources } = await agent.fetch(url, { ranges: wanted })
    t.ok(isFile(path, assembled(origin, wanted)), 'the bytes are right')
    t.equal(sources.origin, 5 * MIB - 1)
  })

  await t.test('that change: the target has one generation only', async (t) => {
    const { origin, agent } = await setUp(t)
    const url = origin.serve('/a', { seed: 9, lengthBytes: SIZE }, { changeAfterBytes: 3 * MIB })
    const wanted = [range(12 * MIB, 13 * MIB), range(MIB, 5 * MIB + 1)]
    const { path, notes } = await agent.fetch(url, { ranges: wanted })
    t.ok(notes.some(({ note }) => note === 'origin-changed'))
    t.ok(isFile(path, assembled(origin, wanted)), 'the bytes are right')
  })
})

void t.test('an aborted fetch leaves no part, and goes on from the cache', async (t) => {
  const { origin, agent } = await setUp(t)
  const url = origin.serve('/a', { seed: 10, lengthBytes: SIZE }, { stallAfterBytes: 3 * MIB + 1000 })
  const ranges = [range(2 * MIB + 5, 8 * MIB)]
  const abort = new AbortController()
  const running = agent.fetch(url, {
    ranges,
    signal: abort.signal,
    onEvent: (event) => {
      if (event.event === 'progress' && event.bytesDone >= 2 * MIB) abort.abort()
    },
  })
  await t.rejects(running, { code: 'SHORTHAUL_ABORTED' })
  t.same(readdirSync(agent.dir), ['data'])
  origin.behave('/a', { stallAfterBytes: undefined })
  const { path, sources } = await agent.fetch(url, { ranges })
  t.ok(sources.cache >= 2 * MIB - 5, `${sources.cache} bytes were kept`)
  t.equal(sum(sources), 6 * MIB - 5)
  t.ok(isFile(path, assembled(origin, ranges)), 'the bytes are right')
})

void t.test('a range and the whole at once in one agent share one copy', async (t) => {
  for (const [name, behaviour] of [
    ['with ranges', {}],
    ['without', { noRange: true }],
  ] as const) {
    await t.test(name, async (t) => {
      const { origin, agent } = await setUp(t)
      const paced = { ...behaviour, ratePerConnectionBytesPerSec: 16 * MIB }
      const url = origin.serve('/a', { seed: 18, lengthBytes: SIZE }, paced)
      const ranges = [range(14 * MIB, 15 * MIB + 1), range(3, 2 * MIB)]
      const [some, all] = await Promise.all([agent.fetch(url, { ranges, name: 'some' }), agent.fetch(url)])
      t.ok(isFile(some.path, assembled(origin, ranges)), 'the range is right')
      t.ok(isFile(all.path, assembled(origin, [range(0, null)])), 'the whole is right')
      const copies = origin.contentBytesSent('/a') / SIZE
      t.comment(`${copies} copies sent`)
      if (name === 'with ranges') t.ok(copies < 1.5, `${copies} copies`)
    })
  }
})

void t.test('an older, longer part in its place does not show through', async (t) => {
  const dir = t.testdir({ part: 'something that was here before' })
  const paths = { target: join(dir, 'target'), staged: join(dir, 'part') }
  const part = await RangePart.openStaged(paths, [range(2, 4), range(0, 1)])
  await part.begin()
  await part.write(0, verifySegment(Buffer.from('abcdef'), null))
  t.equal(await part.digest(6), sha256(Buffer.from('cda')))
  await part.complete(6)
  await part.abandon()
  t.equal(readFileSync(paths.staged, 'utf8'), 'cda')
  t.notOk(existsSync(paths.target))
})

void t.test('in a branch', async (t) => {
  for (const [what, ranges] of [
    ['a range', [range(5 * MIB + 1, 8 * MIB - 1)]],
    ['both ends', [range(0, MIB), range(17 * MIB, null)]],
    ['one byte', [range(10 * MIB, 10 * MIB + 1)]],
  ] as const) {
    await t.test(`one wants ${what} and the other all of it: one copy in all`, async (t) => {
      const { origin, agents } = await setUp(t, 2)
      const url = origin.serve('/a', { seed: 11, lengthBytes: SIZE }, { ratePerConnectionBytesPerSec: 4 * MIB })
      const [some, all] = await Promise.all([agents[0]?.fetch(url, { ranges }), agents[1]?.fetch(url)])
      t.ok(some && isFile(some.path, assembled(origin, ranges)), 'the range is right')
      t.ok(all && isFile(all.path, assembled(origin, [range(0, null)])), 'the whole is right')
      t.equal(all && sum(all.sources), SIZE)
      const sent = origin.contentBytesSent('/a')
      t.comment(`${sent} bytes sent of ${SIZE}`)
      t.ok(sent >= SIZE && sent < 1.15 * SIZE, `${sent} of ${SIZE} bytes`)
    })
  }

  await t.test('those who want different ranges do not wait for each other', async (t) => {
    const { origin, agents } = await setUp(t, 4)
    const url = origin.serve('/a', { seed: 14, lengthBytes: SIZE }, { ratePerConnectionBytesPerSec: 4 * MIB })
    const wanted = agents.map((_, at) => [range(5 * at * MIB, (5 * at + 2) * MIB + 1)])
    const results = await Promise.all(agents.map((agent, at) => agent.fetch(url, { ranges: wanted[at] ?? null })))
    for (const [at, { path, sources }] of results.entries()) {
      t.ok(isFile(path, assembled(origin, wanted[at] ?? [])), 'the bytes are right')
      t.same(sources, { cache: 0, peer: 0, origin: 2 * MIB + 1 }, 'each from the origin: nobody else has it')
    }
    t.equal(
      results.reduce((bytes, { wastedBytes }) => bytes + wastedBytes, 0),
      4 * (MIB - 1),
    )
  })

  await t.test('what one has of a range the next gets from it', async (t) => {
    const { origin, agents } = await setUp(t, 2)
    const [first, second] = agents
    const url = origin.serve('/a', { seed: 15, lengthBytes: SIZE })
    await first?.fetch(url, { ranges: [range(2 * MIB, 6 * MIB)] })
    const sent = origin.contentBytesSent('/a')
    const result = await second?.fetch(url, { ranges: [range(3 * MIB + 5, 4 * MIB + 5)] })
    t.ok(result && isFile(result.path, assembled(origin, [range(3 * MIB + 5, 4 * MIB + 5)])), 'the bytes are right')
    t.same(result?.sources, { cache: 0, peer: MIB, origin: 0 })
    t.equal(origin.contentBytesSent('/a'), sent)
    const whole = await second?.fetch(url, { name: 'whole' })
    t.same(whole?.sources, { cache: 2 * MIB, peer: 2 * MIB, origin: SIZE - 4 * MIB })
  })

  await t.test('a range of an origin without ranges does not keep the other from the whole', async (t) => {
    const { origin, agents } = await setUp(t, 2)
    const url = origin.serve('/a', { seed: 16, lengthBytes: SIZE }, { noRange: true })
    const ranges = [range(3 * MIB, 3 * MIB + 1), range(9 * MIB, 9 * MIB + 1)]
    const [some, all] = await Promise.all([agents[0]?.fetch(url, { ranges }), agents[1]?.fetch(url)])
    t.ok(some && isFile(some.path, assembled(origin, ranges)), 'the range is right')
    t.ok(all && isFile(all.path, assembled(origin, [range(0, null)])), 'the whole is right')
  })

  await t.test('a lie about a range is found by its digest, and the origin is believed', async (t) => {
    const { origin, agents } = await setUp(t, 2)
    const [liar, victim] = agents
    if (liar) liar.faults.isLying = true
    const url = origin.serve('/a', { seed: 17, lengthBytes: 4 * MIB })
    const ranges = [range(MIB + 1, 2 * MIB)]
    await liar?.fetch(url, { ranges })
    const result = await victim?.fetch(url, { ranges, sha256: sha256(assembled(origin, ranges)) })
    t.ok(result && isFile(result.path, assembled(origin, ranges)), 'the bytes are right')
    t.equal(result?.sources.peer, 0)
  })
})
