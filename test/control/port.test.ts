/** The control API over TCP: who gets in, and who does not. */
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { json } from 'node:stream/consumers'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { Agent } from '../../src/agent/agent.ts'
import { loadConfig } from '../../src/config/load.ts'
import { ensureControlToken } from '../../src/config/secret.ts'
import { ControlServer } from '../../src/control/server.ts'

const TOKEN = 'f'.repeat(64)
const log = pino({ level: 'silent' })

async function open(t: Test): Promise<{ url: URL; agent: Agent }> {
  const dir = mkdtempSync(join(tmpdir(), 'shorthaul-port-'))
  const overrides = { dataDir: join(dir, 'data'), 'cache.minFreeBytes': 0 }
  const { config } = await loadConfig({ env: {}, overrides, homeDir: dir, isRoot: false })
  const agent = await Agent.open({ config, role: 'embedded', usePeers: false, hasJobs: true })
  const server = await ControlServer.open({ agent, log }, [{ host: '127.0.0.1', port: 0, token: TOKEN }])
  t.teardown(async () => {
    await server.close()
    await agent.close()
    rmSync(dir, { recursive: true, force: true })
  })
  return { url: new URL(server.urls[0] ?? ''), agent }
}

async function get(url: URL, headers: Readonly<Record<string, string>>) {
  const request = httpRequest(url, { headers, agent: false })
  request.end()
  const [response] = await once(request, 'response')
  return { status: response.statusCode, headers: response.headers, body: await json(response) }
}

await t.test('the token admits to everything, and nothing else does', async (t) => {
  const { url, agent } = await open(t)
  const { id } = await agent.jobs.create({ name: 'x' })
  const jobs = new URL('/v1/jobs', url)
  const admitted = await get(jobs, { authorization: `Bearer ${TOKEN}` })
  t.match(admitted, { status: 200, body: { jobs: [{ id }] } })
  const cache = new URL('/v1/cache', url)
  t.equal((await get(cache, { authorization: `Bearer ${TOKEN}` })).status, 200)
  for (const headers of [{}, { authorization: `Bearer ${TOKEN.slice(1)}` }, { authorization: `Basic ${TOKEN}` }]) {
    for (const path of ['/v1/jobs', '/v1/status', '/v1/openapi.json', '/v1/nothing']) {
      const refused = await get(new URL(path, url), headers as Record<string, string>)
      t.match(refused, { status: 401, body: { code: 'SHORTHAUL_FORBIDDEN', detail: /control\.tokenFile/ } }, path)
      t.match(refused.headers['www-authenticate'], /^Bearer/)
    }
  }
})

await t.test('pages of other sites are refused, even with the token', async (t) => {
  const { url } = await open(t)
  const authorization = `Bearer ${TOKEN}`
  const status = new URL('/v1/status', url)
  for (const host of ['evil.test', `evil.test:${url.port}`, '127.0.0.1.evil.test']) {
    t.match(await get(status, { authorization, host }), { status: 403 }, host)
  }
  for (const origin of ['http://evil.test', 'null', 'https://127.0.0.1', 'http://127.0.0.1:1']) {
    t.equal((await get(status, { authorization, origin })).status, 403, origin)
  }
  for (const host of ['localhost', `LOCALHOST:${url.port}`, '127.0.0.1', `[::1]:${url.port}`]) {
    t.equal((await get(status, { authorization, host })).status, 200, host)
  }
  t.equal((await get(status, { authorization, origin: url.origin })).status, 200)
})

await t.test('a port that is taken is said to be', async (t) => {
  const taken = createServer()
  taken.listen(0, '127.0.0.1')
  await once(taken, 'listening')
  t.teardown(() => taken.close())
  const { agent } = await open(t)
  const address = taken.address()
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0
  await t.rejects(ControlServer.open({ agent, log }, [{ host: '127.0.0.1', port, token: TOKEN }]), {
    code: 'SHORTHAUL_PORT_IN_USE',
    details: { port },
  })
})

await t.test('the token is made once, for its owner alone', async (t) => {
  const dir = t.testdir({})
  const path = join(dir, 'made', 'control.token')
  const [one, other] = await Promise.all([ensureControlToken(path), ensureControlToken(path)])
  t.equal(one.token, other.token)
  t.match(one.token, /^[0-9a-f]{64}$/)
  t.equal(one.warning, null)
  t.equal(statSync(path).mode & 0o777, 0o600)
  mkdirSync(join(dir, 'bad'))
  for (const content of ['', 'short', `${TOKEN} ${TOKEN}`, 'x'.repeat(600)]) {
    writeFileSync(join(dir, 'bad', 'token'), content)
    await t.rejects(ensureControlToken(join(dir, 'bad', 'token')), { code: 'SHORTHAUL_SECRET_INVALID' })
  }
  writeFileSync(join(dir, 'own'), `${'Own-'.repeat(10)}\n`, { mode: 0o644 })
  t.match(await ensureControlToken(join(dir, 'own')), {
    token: 'Own-'.repeat(10),
    warning: /can be read by other users/,
  })
})
