/**
 * Another user of this machine: what it can do on the public socket of a daemon, and to the daemon's files. Real: the tests
 * run as root, the other user as 65534. Who asks is found out in test/control/sessions.test.ts.
 */
import { execFile } from 'node:child_process'
import { chmodSync, chownSync, lstatSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { ControlClient } from '../../src/control/client.ts'
import { ask, openApi, reaches } from '../control/job-api.ts'
import { startTestOrigin } from '../support/test-origin.ts'
import { TS_IMPORT } from '../support/ts-import.ts'
import type { FileOrder, Orders, Outcome } from './other-user.ts'

const run = promisify(execFile)
const NOBODY = 65_534
const skip = process.geteuid?.() !== 0 && 'needs root, to be somebody else'

const origin = await startTestOrigin()
t.teardown(() => origin.close())

async function asNobody(socketPath: string, orders: Orders): Promise<Outcome> {
  const script = fileURLToPath(new URL('other-user.ts', import.meta.url))
  const { stdout } = await run(process.execPath, [TS_IMPORT, script, socketPath, JSON.stringify(orders)], {
    uid: NOBODY,
    gid: NOBODY,
    env: { PATH: process.env.PATH, HOME: '/' },
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    maxBuffer: 16 * 1024 * 1024,
  })
  return JSON.parse(stdout) as Outcome
}

/**
 * Every route, and who gets in: `anyone` on the socket; `user` who proved who they are, and then to their own jobs; `owner`
 * of the agent. It is written here once more, by hand: a route that is new or let down is decided on purpose.
 */
const WHO: Readonly<Record<string, 'anyone' | 'user' | 'owner'>> = {
  'GET /v1/status': 'anyone',
  'GET /v1/network': 'anyone',
  'POST /v1/network/refresh': 'anyone',
  'POST /v1/origin/probe': 'anyone',
  'POST /v1/fetch': 'anyone',
  'POST /v1/fetch/{id}/digest': 'anyone',
  'POST /v1/session': 'anyone',
  'POST /v1/session/{id}': 'anyone',
  'GET /v1/openapi.json': 'anyone',
  'GET /v1/jobs': 'user',
  'POST /v1/jobs': 'user',
  'GET /v1/jobs/{id}': 'user',
  'PATCH /v1/jobs/{id}': 'user',
  'GET /v1/jobs/{id}/files': 'user',
  'POST /v1/jobs/{id}/files': 'user',
  'PATCH /v1/jobs/{id}/files/{index}': 'user',
  'POST /v1/jobs/{id}/suspend': 'user',
  'POST /v1/jobs/{id}/resume': 'user',
  'POST /v1/jobs/{id}/cancel': 'user',
  'POST /v1/jobs/{id}/take-ownership': 'user',
  'POST /v1/jobs/{id}/complete': 'user',
  'POST /v1/jobs/{id}/replace-prefix': 'user',
  'GET /v1/jobs/{id}/why': 'user',
  'GET /v1/events': 'user',
  'POST /v1/handover': 'owner',
  'GET /v1/cache': 'owner',
  'GET /v1/cache/stat': 'owner',
  'POST /v1/cache/verify': 'owner',
  'POST /v1/cache/pin': 'owner',
  'POST /v1/cache/unpin': 'owner',
  'POST /v1/cache/rm': 'owner',
  'GET /v1/quarantine': 'anyone',
  'GET /v1/branch': 'owner',
  'POST /v1/branch/invitations': 'owner',
  'POST /v1/branch/members': 'owner',
  'POST /v1/branch/revoke': 'owner',
  'POST /v1/quarantine/lift': 'owner',
}

t.test('another user gets into the routes that are for it, and into no other', { skip }, async (t) => {
  await using api = await openApi({ access: 'public' })
  for (const dir of [api.dir, join(api.dir, 'run')]) chmodSync(dir, 0o755)
  const url = `${origin.serve('/of-root', { seed: 1, lengthBytes: 5000 })}`
  const job = await api.agent.jobs.create({
    name: 'the-name-of-a-job-of-root',
    files: [{ url, target: api.target('the-target-of-root') }],
    isStarted: false,
  })
  const before = JSON.stringify(await api.agent.jobs.get(job.id))

  const { body } = await ask(api.socketPath, 'GET', '/v1/openapi.json')
  const { paths } = body as { readonly paths: Readonly<Record<string, Readonly<Record<string, unknown>>>> }
  const found = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  )
  t.same(found.sort(), Object.keys(WHO).sort(), 'all routes are in the table above')

  const concrete = (route: string) => route.replace('{id}', job.id).replace('{index}', '0')
  const routes = Object.keys(WHO).map((route) => {
    const [method = '', path = ''] = concrete(route).split(' ')
    // Of all users' jobs and events, as an administrator sees them.
    return { method, path: path === '/v1/jobs' && method === 'GET' ? '/v1/jobs?all=true' : path }
  })
  const { unknown, known } = await asNobody(api.socketPath, { routes, files: [] })
  for (const [at, [route, who]] of Object.entries(WHO).entries()) {
    const key = `${routes[at]?.method} ${routes[at]?.path}`
    const [without, with_] = [unknown[key], known[key]]
    const refused = { code: 'SHORTHAUL_FORBIDDEN' }
    if (who === 'anyone') {
      t.notOk([401, 405].includes(without?.status ?? 0), `${route}: ${without?.status} ${without?.code}`)
    } else {
      t.match(without, { status: who === 'user' ? 401 : 403, ...refused }, `${route} without a session`)
    }
    if (who === 'owner') t.match(with_, { status: 403, ...refused }, `${route} with one`)
    if (route.includes('/jobs/{id}')) t.ok([400, 403, 404].includes(with_?.status ?? 0), `${route}: ${with_?.status}`)
  }
  const told = JSON.stringify([unknown, known])
  for (const secret of ['the-name-of-a-job-of-root', 'the-target-of-root', url]) {
    t.notOk(told.includes(secret), `no answer says ${secret}`)
  }
  t.equal(JSON.stringify(await api.agent.jobs.get(job.id)), before, 'and nothing of it was changed')
})

function* filesBelow(dir: string): Generator<string> {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name)
    yield path
    if (entry.isDirectory()) yield* filesBelow(path)
  }
}

t.test('nothing in the data directory is for others, whoever made it and with whatever umask', { skip }, async (t) => {
  const umask = process.umask(0)
  t.teardown(() => process.umask(umask))
  await using api = await openApi({
    access: 'public',
    // As an administrator makes directories.
    config: { 'serve.enabled': false },
  })
  const data = join(api.dir, 'data')
  const target = api.target('file')
  const url = origin.serve('/cached', { seed: 2, lengthBytes: 1_300_000 })
  const job = await api.agent.jobs.create({
    files: [{ url, target }],
    headers: [['Authorization', 'Bearer mark']],
    webhookSecret: 'whsec_mark',
    autoComplete: true,
  })
  await reaches(api.agent.jobs, job.id, ['acknowledged', 'error'])
  chmodSync(data, 0o755)
  chmodSync(api.dir, 0o755)
  chmodSync(join(api.dir, 'run'), 0o755)
  const paths = [...filesBelow(data)]
  t.ok(paths.some((path) => path.includes('/segments/')) && paths.some((path) => path.includes('/jobs/')))
  // The ledger holds sums of bytes, which everybody is told by the status anyway.
  const open = paths.filter((path) => path.startsWith(data) && !path.endsWith('/ledger.json'))
  const files: FileOrder[] = open.flatMap((path): FileOrder[] => {
    if (lstatSync(path).isDirectory())
      return [
        { do: 'list', path },
        { do: 'make', path: join(path, 'planted') },
      ]
    return [
      { do: 'read', path },
      { do: 'write', path },
      { do: 'remove', path },
      { do: 'chmod', path },
    ]
  })
  const { files: outcome } = await asNobody(api.socketPath, { routes: [], files })
  t.same(
    Object.entries(outcome).filter(([, code]) => !['EACCES', 'EPERM', 'ENOENT'].includes(code)),
    [],
  )
  t.ok(Object.keys(outcome).length > 20)
})

t.test('the way to the daemon is nobody else’s to change', { skip }, async (t) => {
  await using api = await openApi({ access: 'public' })
  const runDir = join(api.dir, 'run')
  for (const dir of [api.dir, runDir]) chmodSync(dir, 0o755)
  const { body } = await ask(api.socketPath, 'POST', '/v1/session')
  const { path: challenge, token } = body as { readonly path: string; readonly token: string }
  writeFileSync(challenge, token, { mode: 0o600 })
  const { files } = await asNobody(api.socketPath, {
    routes: [],
    files: [
      { do: 'remove', path: api.socketPath },
      { do: 'rename', path: api.socketPath },
      { do: 'chmod', path: api.socketPath },
      { do: 'make', path: join(runDir, 'planted') },
      { do: 'listen', path: join(runDir, 'other.sock') },
      { do: 'link', path: join(runDir, 'link') },
      { do: 'list', path: join(runDir, 'challenges') },
      { do: 'read', path: challenge },
      { do: 'write', path: challenge },
      { do: 'remove', path: challenge },
      { do: 'rename', path: challenge },
      { do: 'make', path: join(api.dir, 'data', 'planted') },
      { do: 'connect', path: api.socketPath },
    ],
  })
  const { [`connect ${api.socketPath}`]: reached, ...others } = files
  t.equal(reached, 'done', 'that is what it is there for')
  t.same(
    Object.entries(others).filter(([, code]) => !['EACCES', 'EPERM'].includes(code)),
    [],
  )
  t.equal((await ask(api.socketPath, 'GET', '/v1/status')).status, 200)
})

t.test('a command does not talk to a socket that another user planted', { skip }, async (t) => {
  await using api = await openApi({ access: 'public' })
  const planted = join(api.dir, 'planted')
  mkdirSync(planted)
  // The real socket, by a name that somebody else can exchange at any moment.
  symlinkSync(api.socketPath, join(planted, 'c.sock'))
  chownSync(planted, NOBODY, NOBODY)
  const client = await ControlClient.connect(join(planted, 'c.sock'))
  t.teardown(() => client?.close())
  if (client !== null) await t.rejects(client.jobs.list(), { code: 'SHORTHAUL_FORBIDDEN' })
  else t.pass('it is as if there was none')
})
