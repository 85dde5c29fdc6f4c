import { createHash } from 'node:crypto'
import type { Socket } from 'node:net'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/clock.ts'
import type { OriginOptions } from '../../src/origin/origins.ts'
import { openOrigins, originRequest, readBody } from '../support/open-origins.ts'
import { startTestOrigin, TEST_CERT_FILE, TEST_KEY_FILE, type TestOriginOptions } from '../support/test-origin.ts'
import { TestProxy } from '../support/test-proxy.ts'

const signal = new AbortController().signal
const CONTENT = Buffer.from('long-haul bytes cross the WAN once')
const TLS = { caFile: TEST_CERT_FILE }

async function origin(t: Test, options: TestOriginOptions = {}) {
  const server = await startTestOrigin(options)
  t.teardown(() => server.close())
  return server
}

async function client(t: Test, options: Partial<OriginOptions> = {}) {
  const sockets: Socket[] = []
  const origins = await openOrigins(options, { onSocket: (socket) => sockets.push(socket) })
  t.teardown(() => origins.close())
  return {
    sockets,
    probe: (url: string, headers: [string, string][] = []) => origins.probe(originRequest(url, headers), { signal }),
    read: async (url: string) => readBody(await origins.open(originRequest(url), { signal })),
  }
}

void t.test('redirects are followed and recorded, without their secrets', async (t) => {
  const server = await origin(t)
  const { probe, read, sockets } = await client(t)
  const last = server.serve('/last', CONTENT)
  for (const redirectStatus of [301, 302, 303, 307, 308]) {
    const first = server.serve('/first?token=secret', CONTENT, { redirectTo: 'second', redirectStatus })
    server.serve('/second', CONTENT, { redirectTo: last })
    t.ok((await read(first)).equals(CONTENT), `${redirectStatus}`)
    const facts = await probe(first)
    t.match(facts, { finalUrl: last, visibility: 'branch' })
    t.strictSame(facts.redirects, [`${server.base}/first?…`, `${server.base}/second`])
  }
  t.equal(server.connectionCount, 1, 'over one connection')
  t.equal(sockets.length, 1, 'which was told of')
})

void t.test('redirects that lead nowhere are refused', async (t) => {
  const server = await origin(t)
  const { probe } = await client(t, { maxRedirects: 3 })
  const redirect = { code: 'SHORTHAUL_ORIGIN_REDIRECT', retryable: false }
  const url = server.serve('/0', CONTENT, { redirectTo: '/0' })
  await t.rejects(probe(url), { ...redirect, message: /loop/ })
  for (let hop = 0; hop < 4; hop++) server.serve(`/${hop}`, CONTENT, { redirectTo: `/${hop + 1}` })
  server.serve('/4', CONTENT)
  await t.rejects(probe(url), { ...redirect, message: /more than 3/ })
  t.match(await probe(server.url('/1')), { finalUrl: server.url('/4') }, 'three are allowed')
  for (const location of ['file:///etc/passwd', 'ftp://example.org/', 'http://[bad']) {
    server.behave('/0', { redirectTo: location })
    await t.rejects(probe(url), redirect, location)
  }
  server.behave('/0', { redirectTo: undefined, status: 302 })
  await t.rejects(probe(url), { ...redirect, message: /no Location/ })
})

void t.test('credentials stay with the origin that they are for', async (t) => {
  const first = await origin(t)
  const second = await origin(t)
  const netrc = t.testdir({ netrc: 'default login d password default-secret\n' })
  const { probe } = await client(t, { netrcFile: `${netrc}/netrc` })
  const target = second.serve('/b', CONTENT, { redirectTo: first.url('/c') })
  const url = first.serve('/a', CONTENT, { redirectTo: '/same' })
  first.serve('/same', CONTENT, { redirectTo: target })
  first.serve('/c', CONTENT)
  const facts = await probe(url, [
    ['Authorization', 'Bearer secret'],
    ['Cookie', 'a=b'],
    ['X-Api-Key', 'secret'],
    ['Accept', 'text/plain'],
  ])
  t.match(facts, { visibility: 'private', finalUrl: first.url('/c') }, 'one personal hop makes it private')
  for (const path of ['/a', '/same']) {
    t.match(first.requests(path)[0]?.headers, { authorization: 'Bearer secret', cookie: 'a=b', 'x-api-key': 'secret' })
  }
  for (const request of [...second.log, ...first.requests('/c')]) {
    t.notOk('authorization' in request.headers || 'cookie' in request.headers || 'x-api-key' in request.headers)
    t.match(request.headers, { accept: 'text/plain' }, 'safe fields go along')
  }
})

void t.test('a private redirect makes the answer private; its freshness bounds that of the answer', async (t) => {
  const server = await origin(t)
  const { probe } = await client(t)
  server.serve('/b', CONTENT, { cacheControl: 'max-age=1000' })
  const url = server.serve('/a', CONTENT, { redirectTo: '/b', cacheControl: 'private' })
  t.match(await probe(url), { visibility: 'private', privateReason: /redirect/ })
  server.behave('/a', { cacheControl: 'no-store' })
  const before = Date.now()
  const facts = await probe(url)
  t.equal(facts.visibility, 'branch')
  t.ok(facts.freshUntilMs <= Date.now() && facts.freshUntilMs >= before, 'not fresh beyond now')
})

void t.test('netrc logs in, and makes the answer private', async (t) => {
  const server = await origin(t)
  const dir = t.testdir({ netrc: 'machine 127.0.0.1 login me password "se cret"\n' })
  const requireAuth = `Basic ${Buffer.from('me:se cret').toString('base64')}`
  const url = server.serve('/a', CONTENT, { requireAuth })
  for (const options of [{ netrcFile: `${dir}/netrc` }, { env: { NETRC: `${dir}/netrc` } }]) {
    const { probe } = await client(t, options)
    t.match(await probe(url), { visibility: 'private', privateReason: /netrc/ })
  }
  await t.rejects(client(t, { netrcFile: `${dir}/missing` }), { code: 'SHORTHAUL_CONFIG_INVALID' })
  await t.resolves(client(t, { env: { NETRC: `${dir}/missing`, HOME: dir } }), 'a default file may be missing')
})

void t.test("who is not the agent's owner gets neither its netrc nor its client certificate", async (t) => {
  const dir = t.testdir({ netrc: 'default login me password secret\n' })
  const options = { ...TLS, netrcFile: `${dir}/netrc` }
  const origins = await openOrigins({ ...options, clientCert: { certFile: TEST_CERT_FILE, keyFile: TEST_KEY_FILE } })
  t.teardown(() => origins.close())
  const asOther = (url: string) => ({ ...originRequest(url), useAgentCredentials: false })

  const server = await origin(t)
  const locked = server.serve('/locked', CONTENT, { requireAuth: `Basic ${btoa('me:secret')}` })
  t.match(await origins.probe(originRequest(locked), { signal }), { visibility: 'private' })
  const denied = { code: 'SHORTHAUL_ORIGIN_REFUSED', details: { status: 401 } }
  await t.rejects(origins.probe(asOther(locked), { signal }), denied)
  await t.rejects(origins.open(asOther(locked), { signal }), denied)
  const redirected = server.serve('/to-locked', CONTENT, { redirectTo: locked })
  await t.rejects(origins.probe(asOther(redirected), { signal }), denied, 'nor after a redirect')
  const open = server.serve('/open', CONTENT)
  t.match(
    await origins.probe(asOther(open), { signal }),
    { visibility: 'branch' },
    'so that the answer is for everybody',
  )
  const own = `http://me:secret@127.0.0.1:${new URL(locked).port}/locked`
  t.match(await origins.probe(asOther(own), { signal }), { visibility: 'private' }, 'credentials of their own count')

  const strict = await origin(t, { isTls: true, requireClientCert: true })
  const guarded = strict.serve('/guarded', CONTENT)
  t.match(await origins.probe(originRequest(guarded), { signal }), { privateReason: /client certificate|netrc/ })
  await t.rejects(
    origins.probe(asOther(guarded), { signal }),
    { code: /TLS|UNREACHABLE/ },
    'also when a connection with the certificate stands',
  )
})

void t.test('TLS: trust, digests and client certificates', async (t) => {
  const server = await origin(t, { isTls: true })
  const digest = createHash('sha256').update(CONTENT).digest()
  const fields = { 'repr-digest': `sha-256=:${digest.toString('base64')}:` }
  const url = server.serve('/a', CONTENT, { fields })
  await t.rejects((await client(t)).probe(url), {
    code: 'SHORTHAUL_ORIGIN_TLS',
    retryable: false,
    details: { system: 'DEPTH_ZERO_SELF_SIGNED_CERT' },
  })
  const { probe, read } = await client(t, TLS)
  t.ok((await read(url)).equals(CONTENT))
  t.match(await probe(url), { declaredSha256: digest.toString('hex'), isTlsOnly: true, visibility: 'branch' })
  await probe(url)
  t.equal(server.connectionCount, 2, 'connections are reused (one was refused by the first client)')
  server.behave('/a', { fields: { ...fields, 'content-encoding': 'gzip' } })
  t.match(await probe(url), { declaredSha256: null }, 'not for encoded content')
  server.behave('/a', { fields: { 'repr-digest': 'sha-256=nonsense' } })
  t.match(await probe(url), { declaredSha256: null })
  await t.rejects(probe(url, [['Host', 'other.test']]), { code: 'SHORTHAUL_ORIGIN_TLS' }, 'another name')

  const plain = await origin(t)
  const inClear = { declaredSha256: digest.toString('hex'), isTlsOnly: false }
  t.match(await probe(plain.serve('/a', CONTENT, { fields })), inClear, 'over plain http it counts, and is told apart')
  server.behave('/a', { fields })
  const upgraded = plain.serve('/up', CONTENT, { redirectTo: url })
  t.match(await probe(upgraded), { finalUrl: url, ...inClear }, 'also when only the first hop was plain')
  const downgraded = server.serve('/down', CONTENT, { redirectTo: plain.url('/a') })
  await t.rejects(probe(downgraded), { code: 'SHORTHAUL_ORIGIN_REDIRECT', message: /https to http/ })

  const strict = await origin(t, { isTls: true, requireClientCert: true })
  const guarded = strict.serve('/a', CONTENT)
  // In TLS 1.3 the refusal comes after the handshake, often as a mere close.
  const noCertificate = { code: /TLS|UNREACHABLE/ }
  await t.rejects(probe(guarded), noCertificate)
  const withCert = await client(t, { ...TLS, clientCert: { certFile: TEST_CERT_FILE, keyFile: TEST_KEY_FILE } })
  t.match(await withCert.probe(guarded), { visibility: 'private', privateReason: /client certificate/ })
  const elsewhere = server.serve('/to-strict', CONTENT, { redirectTo: guarded })
  await t.rejects(
    withCert.probe(elsewhere),
    noCertificate,
    'an origin that a redirect names is not offered the certificate',
  )
  await t.rejects(client(t, { caFile: '/nowhere.pem' }), { code: 'SHORTHAUL_CONFIG_INVALID' })
})

void t.test('no connection', async (t) => {
  const server = await startTestOrigin()
  await server.close()
  const { probe } = await client(t)
  const unreachable = { code: 'SHORTHAUL_ORIGIN_UNREACHABLE', retryable: true }
  await t.rejects(probe(server.url('/a')), { ...unreachable, details: { system: 'ECONNREFUSED' } })
  await t.rejects(probe('http://does-not-exist.invalid/a'), unreachable)
})

void t.test('plain http goes to the proxy in absolute form', async (t) => {
  const proxy = await origin(t)
  proxy.serve('/a?b=c', CONTENT)
  const withUser = proxy.base.replace('http://', 'http://user:pass@')
  const { probe, read } = await client(t, { env: { http_proxy: withUser, NO_PROXY: 'direct.test' } })
  t.ok((await read('http://origin.test/a?b=c')).equals(CONTENT))
  const [request] = proxy.log
  t.match(request?.headers, {
    host: 'origin.test',
    'proxy-authorization': `Basic ${Buffer.from('user:pass').toString('base64')}`,
  })
  t.match(await probe('http://origin.test/a?b=c'), { visibility: 'branch' }, 'the proxy is no secret of the user')
  proxy.behave('/a?b=c', { status: 407 })
  await t.rejects(read('http://origin.test/a?b=c'), { code: 'SHORTHAUL_ORIGIN_REFUSED', details: { status: 407 } })
  await t.rejects(read('http://direct.test/a'), { code: 'SHORTHAUL_ORIGIN_UNREACHABLE' }, 'NO_PROXY')
})

void t.test('https goes through a tunnel of the proxy', async (t) => {
  const server = await origin(t, { isTls: true })
  const url = server.serve('/a', CONTENT)
  const proxy = await TestProxy.start(server.base)
  t.teardown(() => proxy.close())
  const { port } = proxy
  const env = { HTTPS_PROXY: `user:pass@127.0.0.1:${port}` }
  const { read, sockets: told } = await client(t, { ...TLS, env })
  t.ok((await read(url)).equals(CONTENT))
  t.equal(told.length, 1)
  t.equal(told[0]?.remotePort, port, 'the connection that is told of is the one to the proxy, below TLS')
  t.match(proxy.asked[0], { url: new URL(url).host, headers: { 'proxy-authorization': /^Basic / } })
  await t.rejects((await client(t, { env })).read(url), { code: 'SHORTHAUL_ORIGIN_TLS' }, 'the certificate is checked')
  proxy.status = '407 Proxy Authentication Required'
  await t.rejects((await client(t, { ...TLS, env })).read(url), { code: 'SHORTHAUL_ORIGIN_UNREACHABLE' })
  const direct = await client(t, { ...TLS, env: { ...env, no_proxy: '127.0.0.0/8' } })
  t.ok((await direct.read(url)).equals(CONTENT))
  t.equal(direct.sockets[0]?.remotePort, Number(new URL(server.base).port))
})

void t.test('a request may name its proxy, or none', async (t) => {
  const server = await origin(t, { isTls: true })
  const url = server.serve('/a', CONTENT)
  const environment = await TestProxy.start(server.base)
  const named = await TestProxy.start(server.base)
  t.teardown(() => Promise.all([environment.close(), named.close()]))
  const origins = await openOrigins({ ...TLS, env: { https_proxy: environment.url(), no_proxy: '127.0.0.2' } })
  t.teardown(() => origins.close())
  const ask = async (proxy?: string) => {
    await origins.probe({ ...originRequest(url), proxy }, { signal })
    t.ok((await readBody(await origins.open({ ...originRequest(url), proxy }, { signal }))).equals(CONTENT))
  }
  await ask()
  await ask('auto')
  t.equal(environment.asked.length, 1, 'one tunnel for the question and the content')
  await ask('none')
  t.equal(environment.asked.length + named.asked.length, 1, 'directly')
  await ask(named.url('me:secret'))
  await ask(named.url('me:secret'))
  t.equal(named.asked.length, 1, 'its connections are used again')
  const login = (text: string) => ({ headers: { 'proxy-authorization': `Basic ${btoa(text)}` } })
  t.match(named.asked[0], login('me:secret'))
  await ask(named.url('other:secret'))
  t.equal(named.asked.length, 2, 'but not those of another login')
  t.match(named.asked[1], login('other:secret'))
  await ask(named.url())
  t.notOk('proxy-authorization' in (named.asked[2]?.headers ?? {}))
  const exempt = { ...originRequest(url.replace('127.0.0.1', '127.0.0.2')), proxy: named.url() }
  await t.rejects(origins.probe(exempt, { signal }), { code: 'SHORTHAUL_ORIGIN_TLS' }, 'NO_PROXY is not about it')
  t.equal(named.asked.length, 4)
  t.equal(environment.asked.length, 1)
  const direct = origins.delayProbe(url, 'none')
  await direct.roundTrip({ signal }).catch(() => {}) // the server speaks no HTTP/2; from then on it is asked otherwise
  await direct.roundTrip({ signal })
  t.equal(named.asked.length + environment.asked.length, 5)
  await origins.delayProbe(url, named.url('third:secret')).roundTrip({ signal })
  t.match(named.asked.at(-1), login('third:secret'), 'the delay is that of the same way')
})

void t.test('requests go to no connection that is better left, and what one carries ends well', async (t) => {
  const server = await origin(t, { isTls: true })
  const proxy = await TestProxy.start(server.base)
  t.teardown(() => proxy.close())
  const url = server.serve('/a', { seed: 2, lengthBytes: 3_000_000 })
  let staleBeforeMs = Number.NEGATIVE_INFINITY
  const wan = { pacerOf: () => null, staleBeforeMs: () => staleBeforeMs, enter: () => () => {} }
  const origins = await openOrigins(TLS, { wan })
  t.teardown(() => origins.close())
  for (const way of ['none', proxy.url()]) {
    const open = () => origins.open({ ...originRequest(url), priority: 'normal', proxy: way }, { signal })
    const before = server.connectionCount
    const count = () => server.connectionCount - before
    await readBody(await open())
    const running = await open()
    t.equal(count(), 1, 'used again')
    staleBeforeMs = systemClock.monotonicMs()
    t.equal((await readBody(await open())).byteLength, 3_000_000)
    t.equal(count(), 2, 'a new one')
    t.equal((await readBody(running)).byteLength, 3_000_000)
    await readBody(await open())
    t.equal(count(), 2, 'which is used again')
  }
})

void t.test('closing ends what runs over connections that were left', async (t) => {
  const server = await origin(t)
  const url = server.serve('/a', { seed: 3, lengthBytes: 3_000_000 }, { ratePerConnectionBytesPerSec: 100_000 })
  let staleBeforeMs = Number.NEGATIVE_INFINITY
  const wan = { pacerOf: () => null, staleBeforeMs: () => staleBeforeMs, enter: () => () => {} }
  const origins = await openOrigins({}, { wan })
  const open = () => origins.open({ ...originRequest(url), priority: 'normal' }, { signal })
  const left = await open()
  staleBeforeMs = systemClock.monotonicMs()
  const running = await open()
  const ends = [left, running].map((stream) => t.rejects(readBody(stream), { code: 'SHORTHAUL_ABORTED' }))
  await origins.close()
  await Promise.all(ends)
})

void t.test('of many proxies those used longest ago are given up, without harm to what they carry', async (t) => {
  const server = await origin(t, { isTls: true })
  const url = server.serve('/a', { seed: 1, lengthBytes: 3_000_000 })
  const proxy = await TestProxy.start(server.base)
  t.teardown(() => proxy.close())
  const origins = await openOrigins(TLS)
  t.teardown(() => origins.close())
  const open = (login: string) => origins.open({ ...originRequest(url), proxy: proxy.url(login) }, { signal })
  const first = await open('first:x')
  for (let count = 0; count < 40; count++)
    await origins.probe({ ...originRequest(url), proxy: proxy.url(`${count}:x`) }, { signal })
  t.equal((await readBody(first)).byteLength, 3_000_000)
  await origins.probe({ ...originRequest(url), proxy: proxy.url('39:x') }, { signal })
  t.equal(proxy.asked.length, 41, 'the latest is there still')
  await origins.probe({ ...originRequest(url), proxy: proxy.url('first:x') }, { signal })
  t.equal(proxy.asked.length, 42, 'the first was given up')
})

void t.test('plain http goes to a named proxy too, for the owner of the agent only', async (t) => {
  const proxy = await origin(t)
  proxy.serve('/a', CONTENT)
  const origins = await openOrigins()
  t.teardown(() => origins.close())
  const request = { ...originRequest('http://origin.test/a'), proxy: proxy.base.replace('//', '//user:pass@') }
  t.ok((await readBody(await origins.open(request, { signal }))).equals(CONTENT))
  t.match(proxy.log[0]?.headers, { host: 'origin.test', 'proxy-authorization': `Basic ${btoa('user:pass')}` })
  const byOther = { ...request, useAgentCredentials: false }
  const forbidden = { code: 'SHORTHAUL_FORBIDDEN', message: /expected https/ }
  await t.rejects(origins.probe(byOther, { signal }), forbidden, 'its answer would be shared, and nothing proves it')
  await t.rejects(origins.open(byOther, { signal }), forbidden)
  t.equal(proxy.log.length, 1)
})

void t.test('a proxy that cannot be used is told without its secrets', async (t) => {
  const gone = await startTestOrigin()
  await gone.close()
  const origins = await openOrigins()
  t.teardown(() => origins.close())
  const ask = (proxy: string, url = 'http://origin.test/a') =>
    origins.open({ ...originRequest(url), proxy }, { signal })
  for (const proxy of ['socks5://me:secret@127.0.0.1', 'me:secret@proxy', 'http://me:secret@']) {
    await t.rejects(ask(proxy), { code: 'SHORTHAUL_USAGE', message: /^(?!.*secret)/ })
  }
  const withLogin = gone.base.replace('//', '//me:secret@')
  for (const url of ['http://origin.test/a', 'https://origin.test/a']) {
    const error = await ask(withLogin, url).then(
      () => t.fail('nobody is there'),
      (found: unknown) => found,
    )
    t.match(error, { code: 'SHORTHAUL_ORIGIN_UNREACHABLE' })
    const login = btoa('me:secret')
    t.notMatch(inspect(error, { depth: 10 }), /secret/)
    t.notOk(inspect(error, { depth: 10 }).includes(login))
  }
})

await t.test(
  'a client certificate that TLS cannot use is refused when it is read, not when it is needed',
  async (t) => {
    const dir = t.testdir({ 'cert.pem': 'not a certificate', 'key.pem': 'not a key' })
    const clientCert = { certFile: `${dir}/cert.pem`, keyFile: `${dir}/key.pem` }
    await t.rejects(client(t, { clientCert }), { code: 'SHORTHAUL_CONFIG_INVALID', message: /cert\.pem" with its key/ })
  },
)
