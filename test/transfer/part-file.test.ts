import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { hashSegment } from '../../src/content/digest.ts'
import { SEGMENT_BYTES } from '../../src/content/segmentation.ts'
import { type VerifiedSegment, verifySegment } from '../../src/content/verify.ts'
import { PartFile } from '../../src/transfer/part-file.ts'
import { TS_IMPORT } from '../support/ts-import.ts'
import { partSegment } from './part-segments.ts'

const TAIL_BYTES = 1234
const LENGTH = 2 * SEGMENT_BYTES + TAIL_BYTES
const CONTENT = Buffer.concat([partSegment(0), partSegment(1), partSegment(2, TAIL_BYTES)])
const HOST = hostname().replace(/[^A-Za-z0-9]/g, '') || 'host'
const PART_CHILD = join(import.meta.dirname, 'part-child.ts')
const IS_ROOT = process.getuid?.() === 0

function segment(index: number): VerifiedSegment {
  return verifySegment(CONTENT.subarray(index * SEGMENT_BYTES, (index + 1) * SEGMENT_BYTES), null)
}

function place(t: Test, name = 'file.bin'): { dir: string; target: string; resting: string } {
  const dir = t.testdir()
  return { dir, target: join(dir, name), resting: join(dir, `.${name}.shorthaul-part`) }
}

async function opened(target: string): Promise<PartFile> {
  const part = await PartFile.open(target)
  await part.begin({ lengthBytes: LENGTH })
  return part
}

async function fill(part: PartFile, order: readonly number[] = [0, 1, 2]): Promise<void> {
  await Promise.all(order.map((index) => part.write(index, segment(index))))
}

async function finish(part: PartFile): Promise<void> {
  await fill(part)
  await part.complete(LENGTH)
}

function isContent(path: string): boolean {
  return readFileSync(path).equals(CONTENT)
}

/** Not t.equal: when it fails, a diff of megabytes takes for ever. */
function isUntouched(victim: string): boolean {
  return readFileSync(victim).equals(Buffer.from('precious'))
}

async function startChild(t: Test, args: readonly string[]): Promise<{ child: ChildProcess; partPath: string }> {
  const child = spawn(process.execPath, [TS_IMPORT, PART_CHILD, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const [line] = await once(child.stdout, 'data', { signal: AbortSignal.timeout(30_000) })
  return { child, partPath: String(line).trim() }
}

async function kill(child: ChildProcess): Promise<void> {
  const exit = once(child, 'exit', { signal: AbortSignal.timeout(10_000) })
  child.kill('SIGKILL')
  await exit
}

void t.test('segments written in any order make the target, and their digest', async (t) => {
  for (const order of [
    [0, 1, 2],
    [2, 1, 0],
    [1, 2, 0],
  ]) {
    const { dir, target } = place(t)
    const part = await opened(target)
    await fill(part, order)
    t.equal(await part.digest(LENGTH), createHash('sha256').update(CONTENT).digest('hex'))
    t.notOk(existsSync(target), 'not before it is whole')
    await part.complete(LENGTH)
    await part.abandon()
    t.ok(isContent(target))
    t.same(readdirSync(dir), ['file.bin'])
  }
})

void t.test('a length that is known only at the end, and no bytes at all, are right', async (t) => {
  const { target } = place(t)
  const part = await PartFile.open(target)
  await part.begin({ lengthBytes: null })
  await fill(part)
  t.equal(await part.digest(LENGTH), createHash('sha256').update(CONTENT).digest('hex'))
  await part.complete(LENGTH)
  t.ok(isContent(target))
  const empty = await PartFile.open(target)
  await empty.begin({ lengthBytes: 0 })
  t.equal(await empty.digest(0), createHash('sha256').digest('hex'))
  await empty.complete(0)
  t.equal(statSync(target).size, 0)
})

void t.test('starting over forgets what was written, in the file and in the digest', async (t) => {
  const { target } = place(t)
  const part = await opened(target)
  await part.write(0, verifySegment(partSegment(9), null))
  await part.restart()
  await part.begin({ lengthBytes: LENGTH })
  await fill(part)
  t.equal(await part.digest(LENGTH), createHash('sha256').update(CONTENT).digest('hex'))
  await part.complete(LENGTH)
  t.ok(isContent(target))
})

void t.test('resuming', async (t) => {
  await t.test('what was abandoned is found again, by the hashes of its segments', async (t) => {
    const { dir, target, resting } = place(t)
    const first = await opened(target)
    await fill(first, [0, 2])
    await first.abandon()
    await first.abandon()
    t.same(readdirSync(dir), [basename(resting)])
    const second = await PartFile.open(target)
    t.same(await second.leftOver(), [segment(0).hash, hashSegment(Buffer.alloc(SEGMENT_BYTES)), segment(2).hash])
    await second.begin({ lengthBytes: LENGTH })
    await second.keep(0)
    await second.keep(2)
    await second.write(1, segment(1))
    t.equal(await second.digest(LENGTH), createHash('sha256').update(CONTENT).digest('hex'), 'kept bytes count')
    await second.complete(LENGTH)
    t.ok(isContent(target))
    t.same(readdirSync(dir), ['file.bin'])
  })

  await t.test('a part without bytes is not left behind', async (t) => {
    const { dir, target } = place(t)
    await (await opened(target)).abandon()
    t.same(readdirSync(dir), [])
  })

  await t.test('a longer part of an older generation is cut', async (t) => {
    const { target, resting } = place(t)
    writeFileSync(resting, Buffer.alloc(5 * SEGMENT_BYTES, 1))
    await finish(await opened(target))
    t.ok(isContent(target))
  })

  await t.test('the part of a process that was killed is taken over', async (t) => {
    const { dir, target } = place(t)
    const { child, partPath } = await startChild(t, [target, '2', 'hang'])
    await kill(child)
    t.same(readdirSync(dir), [basename(partPath)])
    const part = await PartFile.open(target)
    t.same(await part.leftOver(), [segment(0).hash, segment(1).hash])
    await part.begin({ lengthBytes: LENGTH })
    await finish(part)
    t.ok(isContent(target))
    t.same(readdirSync(dir), ['file.bin'])
  })

  const skip = existsSync('/proc/self/stat') ? false : 'the system does not show such processes'
  await t.test('so is that of one whose parent has not noticed its death', { skip }, async (t) => {
    const { dir, target } = place(t)
    // The shell becomes a program that waits for nobody.
    const script = '"$@" & echo $!; exec sleep 600'
    const child = [process.execPath, TS_IMPORT, PART_CHILD, target, '2', 'hang']
    const parent = spawn('sh', ['-c', script, 'sh', ...child], { stdio: ['ignore', 'pipe', 'inherit'] })
    t.teardown(() => parent.kill('SIGKILL'))
    const lines = createInterface(parent.stdout)[Symbol.asyncIterator]()
    const pid = Number((await lines.next()).value)
    await lines.next()
    process.kill(pid, 'SIGKILL')
    while (!/\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'latin1'))) await new Promise(setImmediate)
    await finish(await opened(target))
    t.same(readdirSync(dir), ['file.bin'])
  })

  await t.test('several parts that were left make one, and no litter', async (t) => {
    const { dir, target, resting } = place(t)
    writeFileSync(resting, partSegment(0))
    // No process has this number: it is above the kernel's limit.
    for (const count of [1, 2, 3]) writeFileSync(join(dir, `.file.bin.${HOST}-999999999-${count}.shorthaul-part`), 'x')
    const part = await opened(target)
    t.equal(readdirSync(dir).length, 1)
    await finish(part)
    t.ok(isContent(target))
    t.same(readdirSync(dir), ['file.bin'])
  })

  await t.test('a dead process that had our number, as in a container, does not stand in the way', async (t) => {
    for (const [isOtherLeft, ahead] of [
      [false, 1],
      [true, 1],
      [false, 1000],
    ] as const) {
      const { dir, target, resting } = place(t)
      const probe = await opened(join(dir, 'probe'))
      await probe.abandon()
      const next = Number(/-(\d+)\.shorthaul-part$/.exec(probe.localPath)?.[1]) + ahead
      writeFileSync(join(dir, `.file.bin.${HOST}-${process.pid}-${next}.shorthaul-part`), partSegment(0))
      if (isOtherLeft) writeFileSync(resting, partSegment(0))
      const part = await opened(target)
      t.same(await part.leftOver(), [segment(0).hash])
      await finish(part)
      t.ok(isContent(target))
      t.same(readdirSync(dir), ['file.bin'])
    }
  })

  await t.test('parts of other targets, other hosts and live processes are left alone', async (t) => {
    const { dir, target } = place(t, 'a')
    const others = [
      '.ab.shorthaul-part',
      '.a.b.shorthaul-part',
      `.a.b.${HOST}-999999999-1.shorthaul-part`,
      '.a.elsewhere-999999999-1.shorthaul-part',
      `.a.${HOST}-1-1.shorthaul-part`,
      '.a.shorthaul-part.bak',
    ]
    for (const name of others) writeFileSync(join(dir, name), 'theirs')
    const part = await opened(target)
    t.same(await part.leftOver(), [])
    await finish(part)
    for (const name of others) t.equal(readFileSync(join(dir, name), 'utf8'), 'theirs', name)
  })
})

void t.test('two that write the same target at once', async (t) => {
  await t.test('in one process have parts of their own, and both complete', async (t) => {
    const { dir, target } = place(t)
    const [one, two] = [await opened(target), await opened(target)]
    t.not(one.localPath, two.localPath)
    await Promise.all([fill(one), fill(two)])
    await one.complete(LENGTH)
    t.ok(isContent(target))
    await two.complete(LENGTH)
    t.ok(isContent(target))
    t.same(readdirSync(dir), ['file.bin'])
  })

  await t.test('in two processes likewise', async (t) => {
    const { dir, target } = place(t)
    const { child, partPath } = await startChild(t, [target, '2', 'hang'])
    const part = await opened(target)
    t.not(part.localPath, partPath)
    t.same(await part.leftOver(), [], 'the part of a live process is not taken')
    await finish(part)
    t.ok(isContent(target))
    t.ok(existsSync(partPath), 'nor removed')
    await kill(child)
    const { child: other } = await startChild(t, [target, '3', 'complete'])
    if (other.exitCode === null) await once(other, 'exit', { signal: AbortSignal.timeout(10_000) })
    t.equal(other.exitCode, 0)
    t.equal(statSync(target).size, 3 * SEGMENT_BYTES)
    t.same(readdirSync(dir), ['file.bin'])
  })

  await t.test('and find one part to take over: one has it, the other starts afresh', async (t) => {
    const { target, resting } = place(t)
    writeFileSync(resting, partSegment(0))
    const parts = await Promise.all([opened(target), opened(target), opened(target)])
    const found = await Promise.all(parts.map(async (part) => (await part.leftOver()).length))
    t.same(found.sort(), [0, 0, 1])
    for (const part of parts) await finish(part)
    t.ok(isContent(target))
  })
})

void t.test('what somebody planted where the part goes', async (t) => {
  await t.test('a link is not followed, and does not stop the transfer', async (t) => {
    for (const planted of ['file.bin', `dead`]) {
      const { dir, target, resting } = place(t)
      const victim = join(dir, 'victim')
      writeFileSync(victim, 'precious')
      const at = planted === 'dead' ? join(dir, `.file.bin.${HOST}-999999999-1.shorthaul-part`) : resting
      symlinkSync(victim, at)
      await finish(await opened(target))
      t.ok(isUntouched(victim))
      t.ok(isContent(target))
      t.notOk(lstatSync(target).isSymbolicLink())
    }
  })

  await t.test('a second name of another file is not written to', async (t) => {
    const { dir, target, resting } = place(t)
    const victim = join(dir, 'victim')
    writeFileSync(victim, 'precious')
    linkSync(victim, resting)
    await finish(await opened(target))
    t.ok(isUntouched(victim))
    t.ok(isContent(target))
  })

  await t.test('a directory or a pipe does not stop the transfer', async (t) => {
    const { target, resting } = place(t)
    mkdirSync(resting)
    await finish(await opened(target))
    t.ok(isContent(target))
    const other = place(t, 'other')
    execFileSync('mkfifo', [other.resting])
    await finish(await opened(other.target))
    t.ok(isContent(other.target))
  })

  await t.test('a file of another user is not taken for ours', { skip: !IS_ROOT && 'needs root' }, async (t) => {
    const { target, resting } = place(t)
    writeFileSync(resting, partSegment(0))
    execFileSync('chown', ['65534', resting])
    const part = await opened(target)
    t.same(await part.leftOver(), [])
    await finish(part)
    t.equal(statSync(target).uid, 0)
    t.ok(existsSync(resting))
  })
})

void t.test('targets', async (t) => {
  await t.test('an existing one is replaced, a link to another file is not written through', async (t) => {
    const { dir, target } = place(t)
    writeFileSync(target, 'old and longer than nothing')
    await finish(await opened(target))
    t.ok(isContent(target))
    const other = join(dir, 'other')
    writeFileSync(other, 'precious')
    const link = join(dir, 'link')
    symlinkSync(other, link)
    await finish(await opened(link))
    t.ok(isContent(link))
    t.ok(isUntouched(other))
  })

  await t.test('the mode is what the umask leaves', async (t) => {
    const before = process.umask(0o027)
    t.teardown(() => process.umask(before))
    const { target } = place(t)
    await finish(await opened(target))
    t.equal(statSync(target).mode & 0o777, 0o640)
  })

  await t.test('a name as long as the file system allows can be fetched and resumed', async (t) => {
    for (const name of ['x'.repeat(255), 'ä'.repeat(127)]) {
      const { dir, target } = place(t, name)
      const first = await opened(target)
      await fill(first, [0])
      await first.abandon()
      const part = await opened(target)
      t.same(await part.leftOver(), [segment(0).hash])
      await finish(part)
      t.ok(isContent(target))
      t.same(readdirSync(dir), [name])
    }
  })

  await t.test('a directory, or a place in none, is refused at once and without litter', async (t) => {
    const { dir, target } = place(t)
    mkdirSync(target)
    const unwritable = { code: 'SHORTHAUL_TARGET_UNWRITABLE' }
    await t.rejects(PartFile.open(target), unwritable)
    symlinkSync(target, join(dir, 'link'))
    await t.rejects(PartFile.open(join(dir, 'link')), unwritable)
    await t.rejects(PartFile.open(join(dir, 'missing', 'file.bin')), unwritable)
    writeFileSync(join(dir, 'plain'), '')
    await t.rejects(PartFile.open(join(dir, 'plain', 'file.bin')), unwritable)
    t.same(readdirSync(dir).sort(), ['file.bin', 'link', 'plain'])
  })

  await t.test('a target that becomes a directory meanwhile keeps what can be resumed', async (t) => {
    const { target, resting } = place(t)
    const part = await opened(target)
    await fill(part)
    mkdirSync(target)
    await t.rejects(part.complete(LENGTH), { code: 'SHORTHAUL_TARGET_UNWRITABLE' })
    await part.abandon()
    t.ok(isContent(resting))
  })

  await t.test('what the disk did not take, it has said before the end: there is no target', async (t) => {
    const { dir, target } = place(t)
    const probe = await open(join(dir, 'probe'), 'w')
    const { datasync } = Object.getPrototypeOf(probe) as FileHandle
    await probe.close()
    rmSync(join(dir, 'probe'))
    let flushes = 0
    t.intercept(Object.getPrototypeOf(probe), 'datasync', {
      value: async function (this: FileHandle) {
        flushes++
        await datasync.call(this)
        throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' })
      },
    })
    const part = await PartFile.open(target)
    await part.begin({ lengthBytes: 40 * SEGMENT_BYTES })
    const write = async () => {
      for (let index = 0; index < 40; index++) await part.write(index, verifySegment(partSegment(index), null))
      await part.complete(40 * SEGMENT_BYTES)
    }
    await t.rejects(write(), { code: 'SHORTHAUL_DISK_FULL' })
    t.notOk(existsSync(target))
    t.ok(flushes >= 1 && flushes <= 2, 'few')
    await part.restart()
    await part.begin({ lengthBytes: LENGTH })
    await finish(part)
    t.ok(isContent(target), 'another generation has room')
    await part.abandon()
    t.same(readdirSync(dir), ['file.bin'])
  })

  const canDropRoot = IS_ROOT && existsSync('/usr/bin/setpriv')
  await t.test(
    'a directory that may not be written is refused',
    { skip: !canDropRoot && 'needs setpriv' },
    async (t) => {
      const { dir, target } = place(t)
      const inbox = join(dir, 'inbox', 'file.bin')
      mkdirSync(dirname(inbox))
      chmodSync(dirname(inbox), 0o333) // to be written, not to be listed
      chmodSync(dir, 0o555)
      const asNobody = ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath]
      const source = `
      import { PartFile } from ${JSON.stringify(join(import.meta.dirname, '../../src/transfer/part-file.ts'))}
      const codes = []
      await PartFile.open(${JSON.stringify(target)}).catch((error) => codes.push(error.code))
      const part = await PartFile.open(${JSON.stringify(inbox)})
      await part.begin({ lengthBytes: 0 })
      await part.complete(0)
      console.log(codes.join())`
      const found = execFileSync('setpriv', [...asNobody, TS_IMPORT, '--input-type=module', '-e', source], {
        env: { ...process.env, HOME: '/tmp', TMPDIR: '/tmp' },
        timeout: 30_000,
      })
      t.equal(String(found).trim(), 'SHORTHAUL_TARGET_UNWRITABLE')
      t.same(readdirSync(dir), ['inbox'])
      t.same(readdirSync(dirname(inbox)), ['file.bin'])
    },
  )
})
