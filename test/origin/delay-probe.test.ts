import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createSecureServer } from 'node:http2'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import t, { type Test } from 'tap'
import { openOrigins } from '../support/open-origins.ts'
import { TEST_CERT_FILE, TEST_KEY_FILE } from '../support/test-origin.ts'

const TLS = { cert: readFileSync(TEST_CERT_FILE), key: readFileSync(TEST_KEY_FILE) }
/** Begins when it is asked for: files in one process are loaded long before their tests run. */
const deadline = (): AbortSignal => AbortSignal.timeout(20_000)

async function listen(t: Test, server: Server): Promise<number> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  t.teardown(() => {
    server.close()
  })
  return (server.address() as AddressInfo).port
}

async function probeOf(t: Test, url: string) {
  const origins = await openOrigins({ caFile: TEST_CERT_FILE })
  const probe = origins.delayProbe(url)
  t.teardown(async () => {
    await probe.close()
    await origins.close()
  })
  return probe
}

void t.test('http: HEAD of what is being fetched, without who the user is', async (t) => {
  const seen: string[] = []
  let isLast = false
  const server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers.authorization ?? 'nobody'}`)
    response.statusCode = 404 // when it comes counts, not what it is
    if (isLast) response.setHeader('connection', 'close')
    response.end()
  })
  const port = await listen(t, server)
  const probe = await probeOf(t, `http://user:secret@127.0.0.1:${port}/file?key=1`)
  t.equal(await probe.roundTrip({ signal: deadline() }), 'with-connection')
  t.equal(await probe.roundTrip({ signal: deadline() }), 'round-trip')
  t.same(seen, ['HEAD /file?key=1 nobody', 'HEAD /file?key=1 nobody'])
  isLast = true
  t.equal(await probe.roundTrip({ signal: deadline() }), 'round-trip')
  isLast = false
  t.equal(await probe.roundTrip({ signal: deadline() }), 'with-connection', 'the origin has closed it')
})

void t.test('https with HTTP/2: PING, and no request at all', async (t) => {
  let requests = 0
  let pings = 0
  const server = createSecureServer(TLS, () => {
    requests++
  })
  server.on('session', (session) => session.on('ping', () => pings++))
  const port = await listen(t, server)
  const probe = await probeOf(t, `https://localhost:${port}/file`)
  t.equal(await probe.roundTrip({ signal: deadline() }), 'with-connection')
  for (let count = 0; count < 2; count++) t.equal(await probe.roundTrip({ signal: deadline() }), 'round-trip')
  t.equal(requests, 0)
  t.equal(pings, 3)
})

void t.test('https without HTTP/2: one failure, then HEAD', async (t) => {
  const seen: unknown[] = []
  const server = createHttpsServer(TLS, (request, response) => {
    seen.push(request.method)
    response.end()
  })
  const port = await listen(t, server)
  const probe = await probeOf(t, `https://localhost:${port}/file`)
  await t.rejects(probe.roundTrip({ signal: deadline() }), 'not measured: it would be two round trips')
  t.equal(await probe.roundTrip({ signal: deadline() }), 'with-connection')
  t.equal(await probe.roundTrip({ signal: deadline() }), 'round-trip')
  t.same(seen, ['HEAD', 'HEAD'])
})

void t.test('nobody there: it fails, each time', async (t) => {
  const server = createServer()
  const port = await listen(t, server)
  server.close()
  const probe = await probeOf(t, `http://127.0.0.1:${port}/file`)
  await t.rejects(probe.roundTrip({ signal: deadline() }))
  await t.rejects(probe.roundTrip({ signal: deadline() }))
})
