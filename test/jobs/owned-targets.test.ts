import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pino from 'pino'
import t, { type Test } from 'tap'
import { verifySegment } from '../../src/content/verify.ts'
import { accountOf, parseAccount } from '../../src/jobs/accounts.ts'
import type { Job, JobFile, JobId } from '../../src/jobs/job.ts'
import { OwnedTargets } from '../../src/jobs/owned-targets.ts'
import { OwnerProcess } from '../../src/jobs/owner-process.ts'
import { OwnerProcesses } from '../../src/jobs/owner-processes.ts'
import { stagedPath } from '../../src/transfer/staged-part.ts'
import { openJobsAgent, reaches } from '../support/jobs-agent.ts'
import { startTestOrigin } from '../support/test-origin.ts'

const run = promisify(execFile)
const NOBODY = 65_534
const nobody = await accountOf(NOBODY, { signal: AbortSignal.timeout(10_000) })
const skip =
  process.geteuid?.() !== 0
    ? 'only root can work as another user'
    : nobody === null
      ? `there is no user with uid ${NOBODY} here`
      : false
const caller = { uid: NOBODY, name: 'nobody', isAdmin: false }
const log = pino({ level: 'silent' })

const origin = await startTestOrigin()
t.teardown(() => origin.close())

/** Where others can get to, unlike the tree we may stand in. */
async function makeDir(t: Test): Promise<{ readonly dir: string; readonly theirs: string }> {
  const dir = await mkdtemp(join(tmpdir(), 'shorthaul-owned-'))
  t.teardown(() => rm(dir, { recursive: true, force: true }))
  await chmod(dir, 0o755)
  const theirs = join(dir, 'theirs')
  await mkdir(theirs)
  await chown(theirs, NOBODY, nobody?.gid ?? NOBODY)
  return { dir, theirs }
}

t.test('an account is found by its number', async (t) => {
  const text = 'root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1001:100:Ann,,,:/home/ann:/bin/sh\nbob:x:1002:101:::\n'
  t.same(parseAccount(text, 1001), { uid: 1001, gid: 100, name: 'ann', home: '/home/ann' })
  t.same(parseAccount(text, 1002), { uid: 1002, gid: 101, name: 'bob', home: '/' })
  t.equal(parseAccount(text, 100), null)
})

t.test('files of another user are that user’s, and written with no other rights', { skip }, async (t) => {
  const { dir, theirs } = await makeDir(t)
  await using agent = await openJobsAgent(dir)
  const jobs = agent.jobsAs(caller)
  const url = origin.serve('/owned', { seed: 1, lengthBytes: 5_000_001 })
  const small = origin.serve('/owned-small', { seed: 2, lengthBytes: 7 })
  const { id } = await jobs.create({
    files: [
      { url, target: join(theirs, 'large') },
      { url: small, target: join(theirs, 'small') },
    ],
  })
  t.match(await reaches(jobs, id, ['transferred', 'error', 'transient-error']), { state: 'transferred', error: null })
  t.ok((await readdir(theirs)).every((name) => name.endsWith('.shorthaul-part')))
  await jobs.complete(id)
  t.same((await readdir(theirs)).sort(), ['large', 'small'])
  const found = await stat(join(theirs, 'large'))
  t.match(found, { uid: NOBODY, gid: nobody?.gid })
  t.equal(found.mode & 0o777, 0o644)
  const { files } = await jobs.files(id)
  for (const { target, foundSha256 } of files) {
    t.equal(
      createHash('sha256')
        .update(await readFile(target))
        .digest('hex'),
      foundSha256,
    )
  }

  // root could; nobody cannot.
  const forbidden = await jobs.create({ files: [{ url, target: join(dir, 'not-theirs') }] })
  const failed = await reaches(jobs, forbidden.id, ['transferred', 'error', 'transient-error'])
  t.match(failed, { state: 'error', error: { code: 'SHORTHAUL_TARGET_UNWRITABLE', message: /EACCES/ } })
  t.notOk((await readdir(dir)).some((name) => name.includes('not-theirs')))
  t.equal((await jobs.cancel(forbidden.id)).state, 'cancelled')
})

t.test('what was planted at the part’s name is not written through', { skip }, async (t) => {
  const { dir, theirs } = await makeDir(t)
  const precious = join(dir, 'precious')
  await writeFile(precious, 'as it was')
  await chmod(precious, 0o666)
  await using agent = await openJobsAgent(dir)
  const jobs = agent.jobsAs(caller)
  const url = origin.serve('/planted', { seed: 3, lengthBytes: 100 })
  const target = join(theirs, 'file')
  const { id } = await jobs.create({ files: [{ url, target }], isStarted: false })
  await symlink(precious, stagedPath(target, { id, index: 0 }))
  await jobs.resume(id)
  const failed = await reaches(jobs, id, ['transferred', 'error', 'transient-error'])
  t.match(failed, { state: 'error', error: { code: 'SHORTHAUL_TARGET_UNWRITABLE' } })
  t.equal(await readFile(precious, 'utf8'), 'as it was')
  await jobs.cancel(id)
})

t.test('a job of a user whom the system does not know fails, and says so', { skip }, async (t) => {
  const { dir, theirs } = await makeDir(t)
  await chmod(theirs, 0o777)
  await using agent = await openJobsAgent(dir)
  const jobs = agent.jobsAs({ uid: 3_999_999_999, name: 'ghost', isAdmin: false })
  const url = origin.serve('/ghost', { seed: 4, lengthBytes: 100 })
  const { id } = await jobs.create({ files: [{ url, target: join(theirs, 'file') }] })
  const failed = await reaches(jobs, id, ['transferred', 'error', 'transient-error'])
  t.match(failed, { state: 'error', error: { code: 'SHORTHAUL_TARGET_UNWRITABLE', message: /no such user/ } })
  t.same(await readdir(theirs), [])
})

t.test('the command of a job runs as its owner, with the owner’s groups and home', { skip }, async (t) => {
  const { dir, theirs } = await makeDir(t)
  const bin = join(dir, 'bin')
  await mkdir(bin)
  const program = join(bin, 'tell')
  await writeFile(program, '#!/bin/sh\necho "$(id -u) $(id -g) $(id -G) $HOME $USER $SHORTHAUL_EVENT $(pwd)" > "$1"\n')
  await chmod(program, 0o755)
  await using agent = await openJobsAgent(dir, { 'jobs.commandDirs': [bin] })
  const jobs = agent.jobsAs(caller)
  const told = join(theirs, 'told')
  await run('mkfifo', [told])
  await chown(told, NOBODY, 0)
  const heard = readFile(told, 'utf8') // waits for whoever writes
  const { id } = await jobs.create({
    files: [{ url: origin.serve('/told', { seed: 5, lengthBytes: 100 }), target: join(theirs, 'file') }],
    notify: { command: [program, told], webhookUrl: null, events: ['transferred'] },
  })
  await reaches(jobs, id, ['transferred'])
  t.equal(await heard, `${NOBODY} ${nobody?.gid} ${nobody?.gid} ${nobody?.home} nobody transferred /\n`)
})

t.test('a program of another user ends when its time or its agent is over', { skip }, async (t) => {
  const { theirs } = await makeDir(t)
  const processes = new OwnerProcesses({ log })
  t.teardown(() => processes.close())
  const path = '/bin/sh'
  const begun = join(theirs, 'begun')
  await run('mkfifo', [begun])
  await chown(begun, NOBODY, 0)
  const program = (deadlineMs: number) => ({
    path,
    argv: ['sh', '-c', `sleep 600 & echo $! > ${begun}; wait`],
    variables: {},
    deadlineMs,
  })
  const isGone = (pid: number) => {
    try {
      process.kill(pid, 0)
      return false
    } catch {
      return true
    }
  }
  const stop = new AbortController()
  const ended = processes.run(caller, program(60_000), { signal: stop.signal })
  const sleeper = Number(await readFile(begun, 'utf8'))
  t.notOk(isGone(sleeper))
  stop.abort()
  t.match(await ended, { kind: 'ended', isKilled: true, exitCode: null })
  const late = processes.run(caller, program(300), { signal: new AbortController().signal })
  await readFile(begun, 'utf8')
  t.match(await late, { kind: 'ended', isKilled: true })
  const closed = processes.run(caller, program(60_000), { signal: new AbortController().signal })
  await readFile(begun, 'utf8')
  await processes.close()
  t.match(await closed, { kind: 'ended', isKilled: true })
})

t.test('a process that is to stay root does nothing', async (t) => {
  const root = { uid: 0, gid: 0, name: 'root', home: '/' }
  await t.rejects(OwnerProcess.start(root, { log }), { code: 'SHORTHAUL_FORBIDDEN', message: /^Cannot become root/ })
})

t.test('a part is found again, one process serves many files, and a dead one is replaced', { skip }, async (t) => {
  const { theirs } = await makeDir(t)
  const processes = new OwnerProcesses({ log })
  t.teardown(() => processes.close())
  const targets = new OwnedTargets({ processes }, { ownUid: 0 })
  const job = { id: 'b1f5a8d2-6d6d-4b39-8f6c-1c7b43cc61a5' as JobId, owner: caller } as unknown as Job
  const fileOf = (index: number) =>
    ({ index, target: join(theirs, `file-${index}`), ranges: null, bytesTotal: null, foundSha256: null }) as JobFile
  const segment = (fill: number) => verifySegment(Buffer.alloc(2 ** 20, fill), null)

  const parts = await Promise.all([0, 1, 2].map((index) => targets.open(job, fileOf(index))))
  const pids = await Promise.all([0, 1].map(() => processes.use(caller, async ({ pid }) => pid)))
  t.equal(pids[0], pids[1])
  for (const part of parts) await part.begin({ resource: null, lengthBytes: 2 ** 21 })
  await Promise.all(parts.flatMap((part, at) => [part.write(1, segment(at + 1)), part.write(0, segment(at))]))
  const expected = createHash('sha256')
    .update(Buffer.alloc(2 ** 20, 0))
    .update(Buffer.alloc(2 ** 20, 1))
    .digest('hex')
  t.equal(await parts[0]?.digest(2 ** 21), expected)
  await parts[1]?.abandon()
  await parts[1]?.abandon()
  await parts[0]?.complete(2 ** 21)
  await parts[0]?.abandon()

  const again = await targets.open(job, fileOf(1))
  t.same(await again.leftOver(), [segment(1).hash, segment(2).hash])
  process.kill(pids[0] ?? 0, 'SIGKILL')
  await t.rejects(again.digest(2 ** 21), { code: 'SHORTHAUL_TARGET_UNWRITABLE', retryable: true })
  await again.abandon()
  await parts[2]?.abandon()
  // Its end may not have been heard of yet: whoever asks then comes again.
  let another: number | undefined
  while (another === undefined) {
    another = await processes.use(caller, async ({ pid }) => pid).catch(() => undefined)
  }
  t.not(another, pids[0])
  const third = await targets.open(job, fileOf(2))
  t.same(await third.leftOver(), [segment(2).hash, segment(3).hash])
  await third.abandon()
  t.equal(await targets.deliver(job, fileOf(0)), true)
  for (const index of [1, 2]) await targets.discard(job, fileOf(index))
  t.same(await readdir(theirs), ['file-0'])
  await processes.close()
  t.throws(() => process.kill(another ?? 0, 0), { code: 'ESRCH' })
  await t.rejects(targets.open(job, fileOf(3)), { code: 'SHORTHAUL_TARGET_UNWRITABLE', retryable: true })
})
