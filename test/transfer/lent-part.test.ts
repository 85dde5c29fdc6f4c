import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { linkSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { SEGMENT_BYTES } from '../../src/content/segmentation.ts'
import { type VerifiedSegment, verifySegment } from '../../src/content/verify.ts'
import { Loans } from '../../src/control/loans.ts'
import { LentPart } from '../../src/transfer/lent-part.ts'
import { PartFile } from '../../src/transfer/part-file.ts'
import { partSegment } from './part-segments.ts'

const TAIL_BYTES = 1234
const LENGTH = 2 * SEGMENT_BYTES + TAIL_BYTES
const CONTENT = Buffer.concat([partSegment(0), partSegment(1), partSegment(2, TAIL_BYTES)])
const IS_ROOT = process.getuid?.() === 0

function segment(index: number): VerifiedSegment {
  return verifySegment(CONTENT.subarray(index * SEGMENT_BYTES, (index + 1) * SEGMENT_BYTES), null)
}

async function lender(t: Test) {
  const dir = t.testdir()
  const target = join(dir, 'file.bin')
  const part = await PartFile.open(target)
  t.teardown(() => part.abandon())
  await part.begin({ lengthBytes: LENGTH })
  return { dir, target, part, offer: await part.offer() }
}

function fileOf(path: string): string {
  const { dev, ino } = statSync(path, { bigint: true })
  return `${dev}:${ino}`
}

await t.test('one writes the content, and the other makes the target of it', async (t) => {
  const { dir, target, part, offer } = await lender(t)
  const lent = await LentPart.open(offer)
  lent?.content.begin(LENGTH)
  for (const index of [2, 0, 1]) await lent?.content.write(index, segment(index))
  t.equal(await lent?.content.digest(LENGTH), createHash('sha256').update(CONTENT).digest('hex'))
  await lent?.close()
  await part.complete(LENGTH)
  t.ok(readFileSync(target).equals(CONTENT))
  t.same(readdirSync(dir), ['file.bin'])
})

await t.test('what is not the part that the lender sees is not written to', async (t) => {
  const { dir, offer } = await lender(t)
  const precious = join(dir, 'precious')
  const linked = join(dir, '.file.bin.host-1-1.shorthaul-part')
  const twice = join(dir, '.file.bin.host-1-2.shorthaul-part')
  const resting = join(dir, '.file.bin.shorthaul-part')
  const staged = join(dir, '.file.bin.0123abcd-0.shorthaul-part')
  const digits = join(dir, '.file.bin.01234567-0123-4567-8901-012345678901-0.shorthaul-part')
  const all = [precious, twice, resting, staged, digits]
  for (const path of all) writeFileSync(path, 'precious')
  symlinkSync(precious, linked)
  linkSync(twice, join(dir, 'its-second-name'))
  for (const [path, file] of [
    [offer.path, `${offer.file}0`],
    [join(dir, '.file.bin.host-1-3.shorthaul-part'), offer.file],
    [precious, fileOf(precious)],
    [linked, fileOf(precious)],
    [twice, fileOf(twice)],
    [resting, fileOf(resting)],
    [staged, fileOf(staged)],
    [digits, fileOf(digits)],
    [dir, fileOf(dir)],
  ] as const) {
    t.equal(await LentPart.open({ ...offer, path, file }), null, path)
  }
  t.ok(all.every((path) => readFileSync(path, 'utf8') === 'precious'))
})

await t.test('nor that of another user', { skip: !IS_ROOT && 'needs root' }, async (t) => {
  const { part } = await lender(t)
  execFileSync('chown', ['65534', part.localPath])
  t.equal(await LentPart.open(await part.offer()), null)
})

await t.test('who is lent a part anew waits for the loan before, and is told that it may have changed', async (t) => {
  const { offer } = await lender(t)
  const loans = new Loans()
  const first = await loans.borrow(offer)
  t.ok(first.part)
  t.ok(first.isFresh)
  let hasSecond = false
  const second = loans.borrow(offer).then((loan) => {
    hasSecond = true
    return loan
  })
  await first.part?.content.write(0, segment(0))
  t.notOk(hasSecond)
  await first.end()
  const loan = await second
  t.ok(loan.part)
  t.notOk(loan.isFresh)
  await loan.end()
  const third = await loans.borrow(offer)
  t.ok(third.isFresh)
  let lentCount = 0
  const waiting = [1, 2].map(async () => {
    const next = await loans.borrow(offer)
    t.equal(++lentCount, 1, 'of several that wait, one at a time')
    await next.part?.content.write(0, segment(0))
    lentCount--
    await next.end()
  })
  await third.end()
  await Promise.all(waiting)
  const none = await loans.borrow(null)
  t.equal(none.part, null)
  await none.end()
})
