/**
 * Targets that lead elsewhere than they say. Parts and what is planted at their names: test/transfer/part-file.test.ts and
 * test/jobs/owned-targets.test.ts.
 */
import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import {
  access,
  chmod,
  chown,
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { PartFile } from '../../src/transfer/part-file.ts'
import { deliverStaged, stagedPath } from '../../src/transfer/staged-part.ts'
import { openJobsAgent, reaches } from '../support/jobs-agent.ts'
import { startTestOrigin } from '../support/test-origin.ts'

const run = promisify(execFile)
const NOBODY = 65_534
const skip = process.geteuid?.() !== 0 && 'needs root, to be somebody else'
const caller = { uid: NOBODY, name: 'nobody', isAdmin: false }
const unwritable = { code: 'SHORTHAUL_TARGET_UNWRITABLE' }

const origin = await startTestOrigin()
t.teardown(() => origin.close())

async function makeDir(t: Test): Promise<{ readonly dir: string; readonly theirs: string; readonly precious: string }> {
  const dir = await mkdtemp(join(tmpdir(), 'shorthaul-targets-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  await chmod(dir, 0o755)
  const theirs = join(dir, 'theirs')
  await mkdir(theirs)
  await chown(theirs, NOBODY, NOBODY)
  const precious = join(dir, 'precious')
  await mkdir(precious, { mode: 0o700 })
  await writeFile(join(precious, 'file'), 'as it was')
  return { dir, theirs, precious }
}

t.test('devices, pipes and sockets are no targets, and stay what they are', { skip }, async (t) => {
  const { dir } = await makeDir(t)
  const job = { id: 'b1f5a8d2-6d6d-4b39-8f6c-1c7b43cc61a5', index: 0 }
  const device = join(dir, 'null')
  await run('mknod', [device, 'c', '1', '3'])
  const pipe = join(dir, 'pipe')
  await run('mkfifo', [pipe])
  const socket = join(dir, 'socket')
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(socket, resolve))
  t.teardown(() => new Promise((resolve) => server.close(resolve)))
  await symlink(device, join(dir, 'link'))
  for (const target of [device, pipe, socket, join(dir, 'link')]) {
    const before = await stat(target)
    await t.rejects(PartFile.open(target), unwritable, target)
    const staged = stagedPath(target, job)
    await t.rejects(PartFile.openStaged(target, staged), unwritable)
    // It came there while the job ran.
    await writeFile(staged, 'content')
    await t.rejects(deliverStaged(target, staged), unwritable)
    t.equal(await readFile(staged, 'utf8'), 'content', 'what was fetched is kept')
    await rm(staged)
    t.equal((await stat(target)).mode, before.mode)
  }
})

t.test(
  'a directory that is exchanged for a link meanwhile leads to nothing that is not theirs',
  { skip },
  async (t) => {
    const { dir, theirs, precious } = await makeDir(t)
    await using agent = await openJobsAgent(dir)
    const jobs = agent.jobsAs(caller)
    const url = origin.serve('/swapped', { seed: 1, lengthBytes: 2_500_000 })
    const inner = join(theirs, 'inner')
    await mkdir(inner)
    await chown(inner, NOBODY, NOBODY)
    const { id } = await jobs.create({ files: [{ url, target: join(inner, 'file') }] })
    t.match(await reaches(jobs, id, ['transferred', 'error', 'transient-error']), { state: 'transferred' })
    await rename(inner, join(theirs, 'away'))
    await symlink(precious, inner)
    await jobs.complete(id).catch(() => {})
    t.same(await readdir(precious), ['file'])
    t.equal(await readFile(join(precious, 'file'), 'utf8'), 'as it was')
    // And once more while it is fetched: the link goes to and fro.
    const flipping = { isOver: false }
    const flip = (async () => {
      while (!flipping.isOver) {
        await rm(inner).catch(() => {})
        await rename(join(theirs, 'away'), inner).catch(() => {})
        await new Promise((resolve) => setImmediate(resolve))
        await rename(inner, join(theirs, 'away')).catch(() => {})
        await symlink(precious, inner).catch(() => {})
      }
    })()
    for (let round = 0; round < 5; round++) {
      const path = `/race-${round}`
      const files = [{ url: origin.serve(path, { seed: round, lengthBytes: 1_300_000 }), target: join(inner, 'file') }]
      const made = await jobs.create({ files, autoComplete: true })
      await reaches(jobs, made.id, ['acknowledged', 'error', 'transient-error', 'transferred'])
      await jobs.cancel(made.id).catch(() => {})
    }
    flipping.isOver = true
    await flip
    t.same(await readdir(precious), ['file'], 'nothing of it came there')
    t.equal(await readFile(join(precious, 'file'), 'utf8'), 'as it was')
  },
)

t.test('a second name of somebody else’s file is replaced, and the file is not written', { skip }, async (t) => {
  const { dir, theirs } = await makeDir(t)
  const victim = join(dir, 'victim')
  await writeFile(victim, 'as it was')
  await chmod(victim, 0o666)
  await using agent = await openJobsAgent(dir)
  const jobs = agent.jobsAs(caller)
  const target = join(theirs, 'file')
  await link(victim, target)
  const url = origin.serve('/linked', { seed: 2, lengthBytes: 1000 })
  const { id } = await jobs.create({ files: [{ url, target }], autoComplete: true })
  await reaches(jobs, id, ['acknowledged', 'error'])
  t.equal(await readFile(victim, 'utf8'), 'as it was')
  t.match(await stat(target), { uid: NOBODY, size: 1000 })
})

t.test('orders whose targets are no paths are refused before anything is touched', { skip }, async (t) => {
  const { dir, theirs } = await makeDir(t)
  await using agent = await openJobsAgent(dir)
  const jobs = agent.jobsAs(caller)
  const url = origin.serve('/nowhere', { seed: 3, lengthBytes: 10 })
  for (const target of [
    'file',
    './file',
    '../file',
    `${theirs}/../precious/file`,
    `${theirs}/a\0b`,
    `${theirs}/.`,
    '',
    `/${'x/'.repeat(3000)}f`,
  ]) {
    await t.rejects(
      jobs.create({ files: [{ url, target }] }),
      { code: 'SHORTHAUL_USAGE' },
      JSON.stringify(target.slice(0, 40)),
    )
  }
  for (const target of ['/etc/shorthaul-planted', '/dev/sda', '/root/file', `${dir}/precious/file`]) {
    const { id } = await jobs.create({ files: [{ url, target }] })
    t.match(await reaches(jobs, id, ['transferred', 'error']), { state: 'error', error: unwritable }, target)
    await jobs.cancel(id)
  }
  await t.rejects(access('/etc/shorthaul-planted', constants.F_OK))
  t.same(await readdir(theirs), [])
})
