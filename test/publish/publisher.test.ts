import { createHash } from 'node:crypto'
import {
  appendFileSync,
  chmodSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { hashSegment } from '../../src/content/digest.ts'
import { decodePublishedManifest } from '../../src/content/published-manifest.ts'
import { SEGMENT_BYTES } from '../../src/content/segmentation.ts'
import { checkFile, type PublishOptions, planPublishing, publishFile } from '../../src/publish/publisher.ts'
import { generatedContent } from '../support/generated-content.ts'

const signal = new AbortController().signal
const quiet = { signal, onBytes: () => {} }
const SUFFIX = '.shorthaul-manifest'

function content(seed: number, lengthBytes: number): Buffer {
  return generatedContent(seed, lengthBytes).read(0, lengthBytes)
}

function plan(dir: string, options: Partial<PublishOptions> = {}) {
  return planPublishing(dir, { out: null, isForced: false, signal, ...options })
}

async function publish(dir: string, options: Partial<PublishOptions> = {}): Promise<string[]> {
  const { files } = await plan(dir, options)
  for (const file of files) await publishFile(file, quiet)
  return files.map(({ name }) => name)
}

void t.test('each file of a tree gets a manifest of its bytes', async (t) => {
  const big = content(1, 2 * SEGMENT_BYTES + 7)
  const dir = t.testdir({ 'big.iso': big, empty: '', sub: { 'whole.bin': content(2, SEGMENT_BYTES) } })
  t.same(await publish(dir), ['big.iso', 'empty', join('sub', 'whole.bin')])
  for (const name of ['big.iso', 'empty', 'sub/whole.bin']) {
    const bytes = readFileSync(join(dir, name))
    const { manifest, sha256 } = decodePublishedManifest(readFileSync(join(dir, `${name}${SUFFIX}`)))
    t.equal(manifest.lengthBytes, bytes.byteLength)
    t.equal(sha256, createHash('sha256').update(bytes).digest('hex'), name)
    for (const [index, hash] of manifest.hashes.entries()) {
      const start = index * SEGMENT_BYTES
      t.equal(hash, hashSegment(bytes.subarray(start, start + SEGMENT_BYTES)), `${name}, segment ${index}`)
    }
  }
  t.equal(readdirSync(dir).length, 5, 'and nothing else is left')
  for (const file of (await plan(dir, { isForced: true })).files) t.equal((await checkFile(file, quiet)).length, 64)
})

void t.test('what has the size and time of its manifest is not read again', async (t) => {
  const dir = t.testdir({ a: 'one', b: 'two' })
  await publish(dir)
  t.match(await plan(dir), { files: [], upToDateCount: 2 })
  t.same(await publish(dir, { isForced: true }), ['a', 'b'])
  const time = statSync(join(dir, 'a')).mtime
  writeFileSync(join(dir, 'a'), 'longer')
  utimesSync(join(dir, 'a'), time, time)
  t.same(await publish(dir), ['a'], 'another size')
  utimesSync(join(dir, 'b'), time, new Date(time.getTime() - 5000))
  t.same(await publish(dir), ['b'], 'another time')
  writeFileSync(join(dir, `b${SUFFIX}`), readFileSync(join(dir, `b${SUFFIX}`)).subarray(0, -1))
  t.same(await publish(dir), ['b'], 'a manifest that was cut')
  writeFileSync(join(dir, `b${SUFFIX}`), 'nonsense')
  t.same(await publish(dir), ['b'], 'a manifest that is none')
})

void t.test('nothing outside of the directory is read', { skip: process.platform === 'win32' }, async (t) => {
  const root = t.testdir({ dir: { file: 'here', sub: { deep: 'deep' } }, secret: 'outside', other: { x: 'outside' } })
  const dir = join(root, 'dir')
  symlinkSync('../secret', join(dir, 'out'))
  symlinkSync('../other', join(dir, 'outdir'))
  symlinkSync('../../secret', join(dir, 'sub', 'out'))
  symlinkSync('nowhere', join(dir, 'dangling'))
  symlinkSync('sub', join(dir, 'subdir'))
  symlinkSync('loop', join(dir, 'loop'))
  symlinkSync('sub/deep', join(dir, 'latest'))
  const { files, skippedLinks } = await plan(dir)
  t.same(
    files.map(({ name }) => name),
    ['file', 'latest', 'sub/deep'],
  )
  t.same([...skippedLinks].sort(), ['dangling', 'loop', 'out', 'outdir', 'sub/out', 'subdir'])
  await publish(dir)
  const deep = readFileSync(join(dir, 'sub', `deep${SUFFIX}`))
  t.ok(readFileSync(join(dir, `latest${SUFFIX}`)).equals(deep), 'a link within has one under its own name')
  t.same(readdirSync(join(root, 'other')), ['x'])
})

void t.test('manifests go into a tree of their own when asked, also below the directory', async (t) => {
  const root = t.testdir({ dir: { a: 'one', sub: { b: 'two' } } })
  const dir = join(root, 'dir')
  for (const out of [join(root, 'out'), join(dir, 'manifests')]) {
    t.same(await publish(dir, { out }), ['a', join('sub', 'b')])
    t.same(await publish(dir, { out }), [], 'which is not published itself')
    t.same(readdirSync(out).sort(), [`a${SUFFIX}`, 'sub'])
  }
  t.same(readdirSync(join(dir, 'sub')), ['b'])
})

void t.test('who may read the file may read its manifest', { skip: process.platform === 'win32' }, async (t) => {
  const dir = t.testdir({ open: 'x', closed: 'y' })
  chmodSync(join(dir, 'open'), 0o754)
  chmodSync(join(dir, 'closed'), 0o600)
  await publish(dir)
  t.equal(statSync(join(dir, `open${SUFFIX}`)).mode & 0o777, 0o644)
  t.equal(statSync(join(dir, `closed${SUFFIX}`)).mode & 0o777, 0o600)
})

void t.test('a file that changes while it is read is not published', async (t) => {
  const dir = t.testdir({ a: content(3, 3 * SEGMENT_BYTES) })
  const [file] = (await plan(dir)).files
  if (!file) throw new Error('nothing was planned')
  let isChanged = false
  const onBytes = () => {
    if (!isChanged) appendFileSync(file.path, 'more')
    isChanged = true
  }
  await t.rejects(publishFile(file, { signal, onBytes }), { code: 'SHORTHAUL_ORIGIN_CHANGED' })
  const abort = new AbortController()
  const aborting = publishFile(file, { signal: abort.signal, onBytes: () => abort.abort() })
  await t.rejects(aborting, { code: 'SHORTHAUL_ABORTED' })
  t.same(readdirSync(dir), ['a'])
})

void t.test('a check finds what is missing, damaged, of other bytes or of nothing', async (t) => {
  const dir = t.testdir({ a: 'right', b: 'right', c: 'right', d: 'right' })
  await publish(dir)
  const time = new Date(1_700_000_000_000)
  utimesSync(join(dir, 'a'), time, time)
  await publish(dir)
  writeFileSync(join(dir, 'a'), 'wrong')
  utimesSync(join(dir, 'a'), time, time)
  t.match(await plan(dir), { files: [], upToDateCount: 4 }, 'size and time do not tell')
  writeFileSync(join(dir, `b${SUFFIX}`), 'nonsense')
  const [a, b, c] = (await plan(dir, { isForced: true })).files
  if (!a || !b || !c) throw new Error('not all were planned')
  await t.rejects(checkFile(a, quiet), { code: 'SHORTHAUL_DIGEST_MISMATCH' })
  await t.rejects(checkFile(b, quiet), { code: 'SHORTHAUL_MANIFEST_INVALID' })
  await t.rejects(checkFile({ ...c, manifestPath: join(dir, 'none') }, quiet), { code: 'SHORTHAUL_MANIFEST_INVALID' })
  t.equal((await checkFile(c, quiet)).length, 64)
  const before = readFileSync(join(dir, `a${SUFFIX}`))
  t.ok(readFileSync(join(dir, `a${SUFFIX}`)).equals(before), 'a check changes nothing')
  writeFileSync(join(dir, `gone${SUFFIX}`), 'x')
  t.same((await plan(dir)).orphans, [`gone${SUFFIX}`])
})

void t.test('what cannot be read or written is an error with a code', async (t) => {
  const dir = t.testdir({ a: 'x', file: 'y' })
  await t.rejects(plan(join(dir, 'missing')), { code: 'SHORTHAUL_ORIGIN_NOT_FOUND' })
  await t.rejects(plan(join(dir, 'a')), { code: 'SHORTHAUL_ORIGIN_REFUSED' })
  const [a] = (await plan(dir)).files
  if (!a) throw new Error('nothing was planned')
  const unwritable = { ...a, manifestPath: join(dir, 'file', 'x') }
  await t.rejects(publishFile(unwritable, quiet), { code: /TARGET_UNWRITABLE/ })
  await t.rejects(publishFile({ ...a, path: join(dir, 'missing') }, quiet), { code: 'SHORTHAUL_ORIGIN_REFUSED' })
})
