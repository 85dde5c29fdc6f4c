import { execFileSync } from 'node:child_process'
import { chmodSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { MAX_URL_BYTES } from '../../src/content/resource.ts'
import { fileSharing, isNetworkFileSystem } from '../../src/origin/file-origin.ts'
import { normaliseUrl } from '../../src/origin/origins.ts'
import { openOrigins, originRequest, readBody } from '../support/open-origins.ts'

const signal = new AbortController().signal
const CONTENT = Buffer.from('0123456789'.repeat(100_000))

async function setUp(t: Test) {
  const dir = t.testdir({ 'a file.bin': CONTENT, sub: {} })
  const path = `${dir}/a file.bin`
  const origins = await openOrigins()
  t.teardown(() => origins.close())
  const request = originRequest(pathToFileURL(path).href)
  const age = () => utimesSync(path, new Date('2020-01-01'), new Date('2020-01-01'))
  return { dir, path, origins, request, age }
}

void t.test('a file is an origin with ranges', async (t) => {
  const { origins, request, age } = await setUp(t)
  age()
  const facts = await origins.probe(request, { signal })
  t.match(facts, {
    lengthBytes: CONTENT.byteLength,
    acceptsRanges: true,
    degradations: [],
    validator: { kind: 'etag' },
  })
  const { validator } = facts
  if (!validator) throw new Error('no validator')
  const expected = { validator, lengthBytes: CONTENT.byteLength }
  const whole = await origins.open(request, { signal, expected })
  t.ok((await readBody(whole)).equals(CONTENT))
  const part = await origins.open(request, { signal, expected, range: { start: 300_001, end: 999_999_999 } })
  t.equal(part.offset, 300_001)
  t.ok((await readBody(part)).equals(CONTENT.subarray(300_001)))
})

void t.test('a file that was just written has no validator', async (t) => {
  const { origins, request } = await setUp(t)
  t.match(await origins.probe(request, { signal }), { validator: null, degradations: ['no-validator'] })
})

void t.test('a file that changes is not mixed', async (t) => {
  const { origins, request, path, age } = await setUp(t)
  age()
  const { validator } = await origins.probe(request, { signal })
  if (!validator) throw new Error('no validator')
  const changed = { code: 'SHORTHAUL_ORIGIN_CHANGED', retryable: true }
  const during = async (change: () => void) => {
    for await (const _ of (await origins.open(request, { signal })).body) change()
  }
  await t.rejects(
    during(() => writeFileSync(path, Buffer.alloc(CONTENT.byteLength))),
    changed,
    'overwritten while it is read',
  )
  await t.rejects(
    during(() => truncateSync(path, 10)),
    changed,
    'truncated while it is read',
  )
  await t.rejects(origins.open(request, { signal, expected: { validator, lengthBytes: CONTENT.byteLength } }), changed)
  await t.rejects(origins.open(request, { signal, range: { start: 10, end: 20 } }), changed, 'beyond its end')
})

void t.test('what is no readable file is refused', async (t) => {
  const { origins, dir, request, path } = await setUp(t)
  const probe = (name: string) => origins.probe(originRequest(pathToFileURL(`${dir}/${name}`).href), { signal })
  await t.rejects(probe('missing'), { code: 'SHORTHAUL_ORIGIN_NOT_FOUND' })
  await t.rejects(probe('sub'), { code: 'SHORTHAUL_ORIGIN_REFUSED', message: /directory/ })
  if (process.platform !== 'win32') {
    execFileSync('mkfifo', [`${dir}/fifo`])
    await t.rejects(probe('fifo'), { code: 'SHORTHAUL_ORIGIN_REFUSED' }, 'a FIFO is refused and does not block')
  }
  if (process.platform !== 'win32' && process.getuid?.() !== 0) {
    chmodSync(path, 0)
    await t.rejects(origins.probe(request, { signal }), { code: 'SHORTHAUL_ORIGIN_REFUSED' })
  }
})

void t.test('cancel, abort and close end a read', async (t) => {
  const { origins, request } = await setUp(t)
  const stream = await origins.open(request, { signal })
  await stream.cancel()
  await stream.cancel()
  await t.rejects(readBody(stream), { code: 'SHORTHAUL_ABORTED' })
  const controller = new AbortController()
  const aborted = await origins.open(request, { signal: controller.signal })
  controller.abort()
  await t.rejects(readBody(aborted), { code: 'SHORTHAUL_ABORTED' })
  const open = await origins.open(request, { signal })
  await origins.close()
  await t.rejects(readBody(open), { code: 'SHORTHAUL_ABORTED' })
})

void t.test('a manifest beside a file is named, and read within its bounds', async (t) => {
  const { origins, request, path } = await setUp(t)
  t.match(await origins.probe(request, { signal }), { manifestUrl: null, declaredSha256: null, isTlsOnly: true })
  writeFileSync(`${path}.shorthaul-manifest`, 'twelve bytes')
  const { manifestUrl, lastModifiedMs } = await origins.probe(request, { signal })
  t.equal(manifestUrl, `${request.url}.shorthaul-manifest`)
  const read = (maxBytes: number) => origins.read(originRequest(manifestUrl ?? ''), { maxBytes, signal })
  const found = await read(12)
  t.equal(Buffer.from(found.bytes).toString(), 'twelve bytes')
  t.ok((found.lastModifiedMs ?? 0) >= (lastModifiedMs ?? Number.POSITIVE_INFINITY), 'made after the file')
  await t.rejects(read(11), { code: 'SHORTHAUL_ORIGIN_PROTOCOL', message: /longer than 11/ })
})

void t.test('only files that everybody may read on a share are for the branch', async (t) => {
  const { origins, request } = await setUp(t)
  t.match(await origins.probe(request, { signal }), {
    visibility: 'private',
    privateReason: 'the file is on this machine',
  })
  t.equal(fileSharing({ isOnShare: true, isWorldReadable: true }), null)
  t.match(fileSharing({ isOnShare: true, isWorldReadable: false }), 'not readable')
  t.ok(isNetworkFileSystem(0x6969))
  t.ok(isNetworkFileSystem(0xff534d42 | 0), 'signed')
  t.notOk(isNetworkFileSystem(0xef53))
})

void t.test('normaliseUrl()', async (t) => {
  t.equal(normaliseUrl('HTTP://Example.ORG:80/a/../b#fragment'), 'http://example.org/b')
  t.equal(normaliseUrl('https://u:p@example.org?q=1'), 'https://u:p@example.org/?q=1')
  t.equal(normaliseUrl('file:///a%20b?x#y'), 'file:///a%20b')
  for (const bad of [
    '',
    'example.org/x',
    '/path',
    'ftp://a/b',
    'data:,x',
    'javascript:1',
    'http://',
    'file:///a%2Fb',
    'http://a b/',
  ]) {
    t.throws(() => normaliseUrl(bad), { code: 'SHORTHAUL_URL_INVALID' }, bad)
  }
  t.throws(() => normaliseUrl(`http://a/${'x'.repeat(MAX_URL_BYTES)}`), { code: 'SHORTHAUL_URL_INVALID' })
  t.throws(() => normaliseUrl(`http://a/${'ü'.repeat(MAX_URL_BYTES / 3)}`), { code: 'SHORTHAUL_URL_INVALID' })
  t.throws(() => normaliseUrl('ftp://user:secret@a/b?secret'), { message: /^((?!secret).)*$/ })
})
