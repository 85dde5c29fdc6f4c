/** Who asks on a public socket: real files, and a real other user where the tests run as root. */
import { execFile } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/clock.ts'
import { ControlClient } from '../../src/control/client.ts'
import { ControlServer } from '../../src/control/server.ts'
import { type Challenge, Sessions } from '../../src/control/sessions.ts'
import { startTestOrigin } from '../support/test-origin.ts'
import { TS_IMPORT } from '../support/ts-import.ts'
import { ask, openApi } from './job-api.ts'

const run = promisify(execFile)
const NOBODY = 65_534
const needsRoot = { skip: process.geteuid?.() !== 0 && 'needs root, to be somebody else' }
const needsUnix = { skip: process.platform === 'win32' && 'no such sockets' }

const USER = { uid: process.geteuid?.() ?? null, name: 'self', isAdmin: true }

function tempDir(t: Test): string {
  const dir = mkdtempSync(join(tmpdir(), 'shorthaul-session-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

async function open(t: Test, clock = systemClock) {
  const dir = join(tempDir(t), 'challenges')
  return { dir, sessions: await Sessions.open({ clock, user: USER, nameOf: async (uid) => `name of ${uid}` }, dir) }
}

function answer({ path, token }: Challenge): void {
  writeFileSync(path, token, { mode: 0o600, flag: 'wx' })
}

await t.test('the file that was asked for proves whose it is, once', needsUnix, async (t) => {
  const { dir, sessions } = await open(t)
  t.equal(lstatSync(dir).mode & 0o7777, 0o1733)
  const challenge = await sessions.challenge()
  answer(challenge)
  const { token, user } = await sessions.prove(challenge.id)
  t.same(user, USER)
  t.same(readdirSync(dir), [], 'the file is removed')
  t.same(sessions.callerOf(token), USER)
  t.equal(sessions.callerOf(`${token.slice(0, -1)}x`), null)
  t.equal(sessions.callerOf(token.split('.')[0] ?? ''), null)
  t.equal(sessions.callerOf(''), null)
  answer(challenge)
  await t.rejects(sessions.prove(challenge.id), { code: 'SHORTHAUL_FORBIDDEN' }, 'not twice')
})

await t.test('what is not such a file proves nothing', needsUnix, async (t) => {
  const { dir, sessions } = await open(t)
  const own = tempDir(t)
  const ways: Record<string, (challenge: Challenge) => void> = {
    'no file': () => {},
    'others may read it': ({ path, token }) => {
      writeFileSync(path, token)
      chmodSync(path, 0o644)
    },
    'others may write it': ({ path, token }) => {
      writeFileSync(path, token)
      chmodSync(path, 0o620)
    },
    'other content': ({ path, token }) => writeFileSync(path, token.replace(/./, 'x'), { mode: 0o600 }),
    'more content': ({ path, token }) => writeFileSync(path, `${token}\n`, { mode: 0o600 }),
    empty: ({ path }) => writeFileSync(path, '', { mode: 0o600 }),
    'a link to a right one': ({ path, token }) => {
      writeFileSync(join(own, 'right'), token, { mode: 0o600 })
      symlinkSync(join(own, 'right'), path)
    },
    'a right one that has another name': ({ path, token }) => {
      writeFileSync(join(dir, 'twice'), token, { mode: 0o600 })
      linkSync(join(dir, 'twice'), path)
    },
    'a directory': ({ path }) => mkdirSync(path),
    'a file of somebody else that was moved here': ({ path }) => {
      writeFileSync(join(dir, 'else'), 'of somebody else', { mode: 0o600 })
      renameSync(join(dir, 'else'), path)
    },
  }
  for (const [name, way] of Object.entries(ways)) {
    const challenge = await sessions.challenge()
    way(challenge)
    await t.rejects(sessions.prove(challenge.id), { code: 'SHORTHAUL_FORBIDDEN' }, name)
  }
  const challenge = await sessions.challenge()
  await run('mkfifo', ['-m', '600', challenge.path])
  await t.rejects(sessions.prove(challenge.id), { code: 'SHORTHAUL_FORBIDDEN' }, 'a pipe, which nobody writes into')
})

await t.test('challenges and sessions run out, and there are not too many', needsUnix, async (t) => {
  let nowMs = 0
  const { dir, sessions } = await open(t, { ...systemClock, monotonicMs: () => nowMs })
  const late = await sessions.challenge()
  answer(late)
  nowMs += late.expiresInMs + 1
  await t.rejects(sessions.prove(late.id), { code: 'SHORTHAUL_FORBIDDEN' }, 'too late')
  const left = await sessions.challenge()
  answer(left)
  writeFileSync(join(dir, 'litter'), '')
  nowMs += 61_000
  const begin = async () => {
    const challenge = await sessions.challenge()
    answer(challenge)
    return sessions.prove(challenge.id)
  }
  const first = await begin()
  t.same(readdirSync(dir), [], 'what nobody waits for is swept')
  t.ok(sessions.callerOf(first.token))
  for (let count = 0; count < 16; count++) await begin()
  t.equal(sessions.callerOf(first.token), null, 'the oldest of a user gives way')
  const last = await begin()
  nowMs += last.expiresInMs
  t.equal(sessions.callerOf(last.token), null)
  const oldest = await sessions.challenge()
  for (let count = 0; count < 256; count++) await sessions.challenge()
  answer(oldest)
  await t.rejects(sessions.prove(oldest.id), { code: 'SHORTHAUL_FORBIDDEN' })
})

await t.test('a directory of somebody else is not used', needsRoot, async (t) => {
  const dir = tempDir(t)
  chownSync(dir, NOBODY, NOBODY)
  await t.rejects(Sessions.open({ clock: systemClock, user: USER }, dir), { code: 'SHORTHAUL_FORBIDDEN' })
  const link = join(tempDir(t), 'link')
  symlinkSync(tempDir(t), link)
  await t.rejects(Sessions.open({ clock: systemClock, user: USER }, link), { code: 'SHORTHAUL_FORBIDDEN' })
})

await t.test('on a public socket jobs need a session, which the client begins by itself', needsUnix, async (t) => {
  await using api = await openApi({ access: 'public' })
  const refused = await ask(api.socketPath, 'GET', '/v1/jobs')
  t.match(refused, { status: 401, body: { code: 'SHORTHAUL_FORBIDDEN', detail: /POST \/v1\/session/ } })
  t.match(refused.headers['www-authenticate'], /^Bearer/)
  const headers = { authorization: 'Bearer made.up' }
  t.equal((await ask(api.socketPath, 'GET', '/v1/status', { headers })).status, 401, 'a wrong one is not overlooked')
  t.equal((await ask(api.socketPath, 'GET', '/v1/status')).status, 200)
  t.equal((await ask(api.socketPath, 'GET', '/v1/cache')).status, 403)

  t.equal(api.client.access, 'public')
  const { id } = await api.client.jobs.create({ name: 'by the user of the agent' })
  t.match(await api.client.jobs.get(id), { owner: { uid: USER.uid } })
  t.same(readdirSync(join(api.socketPath, '..', 'challenges')), [])
})

await t.test('a session that the agent has forgotten is begun anew', needsUnix, async (t) => {
  await using api = await openApi({ access: 'public' })
  const { id } = await api.client.jobs.create({ name: 'x' })
  await api.reopen()
  t.match(await api.client.jobs.get(id), { name: 'x' })
})

await t.test('where it is known who asks there are no sessions', async (t) => {
  await using api = await openApi()
  t.match(await ask(api.socketPath, 'POST', '/v1/session'), { status: 409, body: { code: 'SHORTHAUL_USAGE' } })
})

await t.test(
  'another user is known, sees nothing of others, and has jobs whose files are theirs',
  needsRoot,
  async (t) => {
    const origin = await startTestOrigin()
    t.teardown(() => origin.close())
    await using api = await openApi({ access: 'public' })
    const theirs = join(api.dir, 'theirs')
    mkdirSync(theirs)
    chownSync(theirs, NOBODY, NOBODY)
    const url = origin.serve('/theirs', { seed: 5, lengthBytes: 1_200_000 })
    for (const dir of [api.dir, join(api.dir, 'run')]) chmodSync(dir, 0o755)
    const { id } = await api.agent.jobs.create({ name: 'of root' })
    const script = fileURLToPath(new URL('other-user.ts', import.meta.url))
    const args = [TS_IMPORT, script, api.socketPath, id, url, join(theirs, 'file')]
    const { stdout } = await run(process.execPath, args, {
      uid: NOBODY,
      gid: NOBODY,
      env: { PATH: process.env.PATH, HOME: '/' },
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
    })
    const forbidden = { code: 'SHORTHAUL_FORBIDDEN' }
    const unknown = { code: 'SHORTHAUL_JOB_NOT_FOUND' }
    t.match(JSON.parse(stdout), {
      access: 'public',
      list: { jobs: [], next: null },
      all: forbidden,
      others: unknown,
      cancelled: unknown,
      fileUrl: forbidden,
      created: { state: 'acknowledged', owner: { uid: NOBODY } },
      taken: forbidden,
      cache: forbidden,
    })
    t.match(statSync(join(theirs, 'file')), { uid: NOBODY, gid: NOBODY, size: 1_200_000 })
    t.match(await api.agent.jobs.get(id), { state: 'suspended', owner: { uid: 0 } })
  },
)

await t.test('a socket that somebody else made is not told who we are', needsRoot, async (t) => {
  await using api = await openApi({ access: 'public' })
  chownSync(join(api.dir, 'run'), NOBODY, NOBODY)
  const client = await ControlClient.connect(api.socketPath)
  if (client === null) throw new Error('nobody answers')
  t.teardown(() => client.close())
  await t.rejects(client.jobs.list(), { code: 'SHORTHAUL_FORBIDDEN', message: /belongs to another user/ })
})

await t.test('a second agent for the same socket leaves the challenges of the first alone', needsUnix, async (t) => {
  await using api = await openApi({ access: 'public' })
  const { body } = await ask(api.socketPath, 'POST', '/v1/session')
  const challenge = body as Challenge
  answer(challenge)
  const second = ControlServer.open({ agent: api.agent, log: pino({ level: 'silent' }) }, [
    { path: api.socketPath, access: 'public' },
  ])
  await t.rejects(second, { code: 'SHORTHAUL_DATA_DIR_IN_USE' })
  t.match(await ask(api.socketPath, 'POST', `/v1/session/${challenge.id}`), {
    status: 200,
    body: { user: { uid: USER.uid, isAdmin: true } },
  })
})
