import { createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { isShorthaulError } from '../../src/errors.ts'
import type { OriginStream } from '../../src/origin/origin.ts'
import type { OriginOptions } from '../../src/origin/origins.ts'
import { openOrigins, originRequest, readBody } from '../support/open-origins.ts'
import { startTestOrigin, type TestOriginOptions } from '../support/test-origin.ts'

const MIB = 1024 * 1024
const FILE = { seed: 1, lengthBytes: 3 * MIB + 17 }
const signal = new AbortController().signal

async function setUp(t: Test, options: Partial<OriginOptions> = {}, origin: TestOriginOptions = {}) {
  const server = await startTestOrigin(origin)
  const origins = await openOrigins(options)
  t.teardown(async () => {
    await origins.close()
    await server.close()
  })
  const probe = (url: string, headers?: [string, string][]) => origins.probe(originRequest(url, headers), { signal })
  const open = (url: string, rest: Omit<Parameters<typeof origins.open>[1], 'signal'> = {}) =>
    origins.open(originRequest(url), { signal, ...rest })
  return { server, origins, probe, open }
}

async function drain(stream: OriginStream): Promise<number> {
  let bytes = 0
  for await (const chunk of stream.body) bytes += chunk.byteLength
  return bytes
}

void t.test('probe() of a good origin', async (t) => {
  const { server, probe } = await setUp(t)
  const url = server.serve('/a.bin', FILE)
  const facts = await probe(url)
  t.match(facts, {
    finalUrl: url,
    redirects: [],
    lengthBytes: FILE.lengthBytes,
    validator: { kind: 'etag', value: server.etag('/a.bin') },
    acceptsRanges: true,
    visibility: 'branch',
    privateReason: null,
    selection: '',
    declaredSha256: null,
    degradations: [],
  })
  t.equal(server.contentBytesSent(), 0, 'no content was sent')
  t.match(server.log[0], {
    method: 'HEAD',
    headers: { 'accept-encoding': 'identity', 'want-repr-digest': 'sha-256=10' },
  })
  await probe(url)
  t.equal(server.connectionCount, 1, 'HEAD leaves its connection open for the next request')
})

void t.test('probe() falls back to one byte where HEAD does not work, and remembers it', async (t) => {
  for (const noHead of [403, 404, 405, 500, 501, 'closes', 'hangs', 'no-length', 'zero-length'] as const) {
    const { server, probe } = await setUp(t, { headersTimeoutMs: 300 })
    const url = server.serve('/a.bin', FILE, { noHead })
    const facts = await probe(url)
    t.match(facts, { lengthBytes: FILE.lengthBytes, acceptsRanges: true, degradations: ['no-head'] }, `HEAD: ${noHead}`)
    t.equal(server.contentBytesSent(), 1)
    await probe(url)
    t.equal(server.requests('/a.bin', 'HEAD').length, 1, 'the second probe does not try HEAD')
  }
})

void t.test('probe() does not blame HEAD for a resource that is missing', async (t) => {
  const { server, probe } = await setUp(t)
  const url = server.serve('/a.bin', FILE)
  await t.rejects(probe(server.url('/missing')), { code: 'SHORTHAUL_ORIGIN_NOT_FOUND', retryable: false })
  await probe(url)
  t.equal(server.requests('/a.bin', 'HEAD').length, 1)
})

void t.test('probe() cancels a GET at once when Range is ignored', async (t) => {
  const { server, probe } = await setUp(t)
  const url = server.serve('/a.bin', { seed: 1, lengthBytes: 1024 * MIB }, { noHead: 405, noRange: true })
  const facts = await probe(url)
  t.match(facts, { lengthBytes: 1024 * MIB, acceptsRanges: false })
  t.strictSame(new Set(facts.degradations), new Set(['no-head', 'no-range']))
  await server.until(() => server.requests('/a.bin', 'GET')[0]?.isDone === true)
  t.ok(server.contentBytesSent() < 64 * MIB, 'only what the sockets hold was sent')
})

void t.test('probe() records each thing that an origin lacks', async (t) => {
  const { server, probe } = await setUp(t)
  const url = server.serve('/a.bin', FILE, { noEtag: true })
  t.match((await probe(url)).validator, { kind: 'last-modified' })
  server.behave('/a.bin', { youngLastModified: true })
  t.match(await probe(url), { validator: null, degradations: ['weak-validator', 'no-validator'] })
  server.behave('/a.bin', { noLastModified: true })
  t.match(await probe(url), { validator: null, degradations: ['no-validator'] })
  server.behave('/a.bin', { noEtag: false, weakEtag: true })
  t.match(await probe(url), { validator: null, degradations: ['weak-validator', 'no-validator'] })
  server.behave('/a.bin', { noLastModified: false, youngLastModified: false })
  t.match(await probe(url), { validator: { kind: 'last-modified' }, degradations: ['weak-validator'] })
  server.behave('/a.bin', { weakEtag: false, noAcceptRanges: true })
  t.match(await probe(url), { acceptsRanges: null, degradations: [] }, 'silence about ranges is not a refusal')
  server.behave('/a.bin', { fields: { 'accept-ranges': 'none' } })
  t.match(await probe(url), { acceptsRanges: false, degradations: ['no-range'] })
  const chunked = server.serve('/chunked', FILE, { noLength: true, noRange: true })
  const facts = await probe(chunked)
  t.match(facts, { lengthBytes: null, acceptsRanges: false, validator: { kind: 'etag' } })
  t.strictSame(new Set(facts.degradations), new Set(['no-head', 'no-range', 'no-length']))
})

void t.test('probe() of an empty resource', async (t) => {
  const { server, probe } = await setUp(t)
  const url = server.serve('/empty', Buffer.alloc(0))
  t.match(await probe(url), { lengthBytes: 0 })
  server.behave('/empty', { noRange: true })
  t.match(await probe(url), { lengthBytes: 0, acceptsRanges: null })
})

void t.test('open() of the whole', async (t) => {
  const { server, open } = await setUp(t)
  const url = server.serve('/a.bin', FILE)
  const stream = await open(url)
  t.equal(stream.offset, 0)
  t.match(stream.facts, { lengthBytes: FILE.lengthBytes, validator: { kind: 'etag' }, degradations: [] })
  t.ok((await readBody(stream)).equals(server.content('/a.bin').read(0, FILE.lengthBytes)))
  await stream.cancel()
  server.behave('/a.bin', { noLength: true })
  const chunked = await open(url)
  t.match(chunked.facts, { lengthBytes: null, degradations: ['no-length'] })
  t.ok((await readBody(chunked)).equals(server.content('/a.bin').read(0, FILE.lengthBytes)), 'chunked')
  t.equal(server.connectionCount, 1, 'a body that was read leaves its connection open')
})

void t.test('open() of ranges', async (t) => {
  const { server, probe, open } = await setUp(t)
  const url = server.serve('/a.bin', FILE)
  const { validator } = await probe(url)
  if (!validator) throw new Error('no validator')
  const expected = { validator, lengthBytes: FILE.lengthBytes }
  for (const [start, end] of [
    [0, 1],
    [MIB, 2 * MIB],
    [3 * MIB, FILE.lengthBytes],
    [3 * MIB, 4 * MIB],
  ] as const) {
    const stream = await open(url, { range: { start, end }, expected })
    t.equal(stream.offset, start)
    t.strictSame(stream.facts.validator, validator)
    t.ok((await readBody(stream)).equals(server.content('/a.bin').read(start, Math.min(end, FILE.lengthBytes))))
  }
  t.match(server.log.at(-1), { headers: { range: `bytes=${3 * MIB}-${4 * MIB - 1}`, 'if-range': validator.value } })
  const first = await open(url, { range: { start: 0, end: 10 } })
  t.equal(await drain(first), 10, 'the first range needs no generation')
  await t.rejects(open(url, { range: { start: 5, end: 10 } }), RangeError, 'a later one does')
})

void t.test('a range under Last-Modified', async (t) => {
  const { server, probe, open } = await setUp(t)
  const url = server.serve('/a.bin', FILE, { noEtag: true })
  const { validator } = await probe(url)
  if (validator?.kind !== 'last-modified') throw new Error('no Last-Modified')
  const expected = { validator, lengthBytes: FILE.lengthBytes }
  t.equal(await drain(await open(url, { range: { start: 9, end: 99 }, expected })), 90)
  server.behave('/a.bin', { fields: { 'last-modified': null } })
  t.equal(await drain(await open(url, { range: { start: 9, end: 99 }, expected })), 90, 'a 206 may leave it out')
  server.behave('/a.bin', { fields: {} })
  server.change('/a.bin')
  await t.rejects(open(url, { range: { start: 9, end: 99 }, expected }), { code: 'SHORTHAUL_ORIGIN_CHANGED' })
})

void t.test('another generation is never delivered', async (t) => {
  const { server, probe, open } = await setUp(t)
  const url = server.serve('/a.bin', FILE)
  const { validator } = await probe(url)
  if (!validator) throw new Error('no validator')
  const expected = { validator, lengthBytes: FILE.lengthBytes }
  const range = { start: MIB, end: 2 * MIB }
  const changed = { code: 'SHORTHAUL_ORIGIN_CHANGED', retryable: true }
  await t.rejects(open(url, { range, expected: { ...expected, lengthBytes: 5 * MIB } }), changed, 'another length')
  server.change('/a.bin')
  await t.rejects(open(url, { range, expected }), changed, 'If-Range fails, 200')
  await t.rejects(open(url, { expected }), changed, 'the whole')
  server.behave('/a.bin', { noIfRange: true })
  await t.rejects(open(url, { range, expected }), changed, 'If-Range ignored, 206 with another ETag')
  server.behave('/a.bin', { status: 412 })
  await t.rejects(open(url, { range, expected }), changed, '412')
  server.behave('/a.bin', { status: undefined })
  server.change('/a.bin', Buffer.alloc(100))
  await t.rejects(open(url, { range, expected }), changed, '416 with another length')
  server.behave('/a.bin', { fields: { 'content-range': null } })
  await t.rejects(open(url, { range, expected }), changed, '416 without a length')
})

void t.test('a sha256 is not compared with fields, a length is', async (t) => {
  const { server, open } = await setUp(t)
  const url = server.serve('/a.bin', FILE)
  const validator = { kind: 'sha256', value: '0'.repeat(64) } as const
  const range = { start: 10, end: 20 }
  t.equal(await drain(await open(url, { range, expected: { validator, lengthBytes: FILE.lengthBytes } })), 10)
  t.notOk('if-range' in (server.log.at(-1)?.headers ?? {}))
  await t.rejects(open(url, { expected: { validator, lengthBytes: 1 } }), { code: 'SHORTHAUL_ORIGIN_CHANGED' })
})

void t.test('an origin that ignores Range is told apart from a change', async (t) => {
  const { server, probe, open } = await setUp(t)
  const url = server.serve('/a.bin', { seed: 1, lengthBytes: 512 * MIB }, { noRange: true })
  const { validator } = await probe(url)
  if (!validator) throw new Error('no validator')
  const noRange = { code: 'SHORTHAUL_ORIGIN_PROTOCOL', details: { reason: 'no-range' } }
  const range = { start: MIB, end: 2 * MIB }
  await t.rejects(open(url, { range, expected: { validator, lengthBytes: 512 * MIB } }), noRange)
  await server.until(() => server.log.every((each) => each.isDone))
  t.ok(server.contentBytesSent() < 64 * MIB, 'its connection was closed')
  await t.rejects(open(url, { range: { start: 0, end: MIB } }), noRange)
  server.behave('/a.bin', { noRange: false, noIfRange: true, noEtag: true })
  await t.rejects(open(url, { range, expected: { validator, lengthBytes: 512 * MIB } }), noRange, 'a 206 without ETag')
})

void t.test('a 206 must be the range that was asked for', async (t) => {
  const { server, open } = await setUp(t)
  const url = server.serve('/a.bin', Buffer.alloc(100))
  const range = { start: 0, end: 10 }
  const cases: [string, Record<string, string | null>, string][] = [
    ['another range', { 'content-range': 'bytes 1-10/100' }, 'range-mismatch'],
    ['a shorter range', { 'content-range': 'bytes 0-8/100' }, 'range-mismatch'],
    ['no Content-Range', { 'content-range': null }, 'range-mismatch'],
    ['nonsense', { 'content-range': 'bytes 0-9/5' }, 'range-mismatch'],
    ['too large', { 'content-range': 'bytes 0-9/99999999999999999999' }, 'range-mismatch'],
    ['multipart', { 'content-type': 'multipart/byteranges; boundary=x' }, 'multipart'],
    ['two lengths', { 'content-range': 'bytes 0-9/100', 'content-length': '9' }, 'length'],
  ]
  for (const [name, fields, reason] of cases) {
    server.behave('/a.bin', {
      respond: (_request, response) => {
        response.statusCode = 206
        response.setHeader('content-range', 'bytes 0-9/100')
        for (const [field, value] of Object.entries(fields)) {
          if (value === null) response.removeHeader(field)
          else response.setHeader(field, value)
        }
        response.end(Buffer.alloc(Number(fields['content-length'] ?? 10)))
      },
    })
    await t.rejects(open(url, { range }), { code: 'SHORTHAUL_ORIGIN_PROTOCOL', details: { reason } }, name)
  }
  server.behave('/a.bin', { respond: (_request, response) => response.writeHead(206).end('0123456789') })
  await t.rejects(open(url), { code: 'SHORTHAUL_ORIGIN_PROTOCOL' }, '206 to a request without Range')
})

void t.test('a body that is shorter or longer than promised', async (t) => {
  const { server, open } = await setUp(t)
  const url = server.serve('/a.bin', FILE, { cutAfterBytes: MIB })
  const cut = { code: 'SHORTHAUL_ORIGIN_UNREACHABLE', retryable: true }
  const received: Uint8Array[] = []
  await t.rejects(async () => {
    for await (const chunk of (await open(url)).body) received.push(chunk)
  }, cut)
  const bytes = Buffer.concat(received)
  t.ok(bytes.equals(server.content('/a.bin').read(0, bytes.byteLength)), 'what came before the cut is delivered')
  t.equal(bytes.byteLength, MIB)
  server.behave('/a.bin', { noLength: true })
  await t.rejects(async () => drain(await open(url)), cut, 'chunked')
  const chunkedPart = (body: Buffer) =>
    server.behave('/a.bin', {
      respond: (_request, response) => {
        response.writeHead(206, { 'content-range': 'bytes 0-9/100' }).write(body)
        response.end()
      },
    })
  chunkedPart(Buffer.alloc(9))
  await t.rejects(async () => drain(await open(url, { range: { start: 0, end: 10 } })), cut, 'a clean but early end')
  chunkedPart(Buffer.alloc(11))
  const tooLong = { code: 'SHORTHAUL_ORIGIN_PROTOCOL', details: { reason: 'length' } }
  await t.rejects(async () => drain(await open(url, { range: { start: 0, end: 10 } })), tooLong)
  server.behave('/a.bin', {
    respond: (_request, response) => response.writeHead(200, { 'content-length': 2 ** 41 }).write('x'),
  })
  await t.rejects(open(url), tooLong, 'a length beyond what we handle')
})

void t.test('statuses become codes', async (t) => {
  const { server, probe, open } = await setUp(t)
  const url = server.serve('/a.bin?token=secret', FILE)
  const cases: [number, string, boolean][] = [
    [401, 'SHORTHAUL_ORIGIN_REFUSED', false],
    [403, 'SHORTHAUL_ORIGIN_REFUSED', false],
    [404, 'SHORTHAUL_ORIGIN_NOT_FOUND', false],
    [407, 'SHORTHAUL_ORIGIN_REFUSED', false],
    [408, 'SHORTHAUL_ORIGIN_ERROR', true],
    [410, 'SHORTHAUL_ORIGIN_NOT_FOUND', false],
    [418, 'SHORTHAUL_ORIGIN_REFUSED', false],
    [425, 'SHORTHAUL_ORIGIN_ERROR', true],
    [429, 'SHORTHAUL_ORIGIN_ERROR', true],
    [500, 'SHORTHAUL_ORIGIN_ERROR', true],
    [503, 'SHORTHAUL_ORIGIN_ERROR', true],
    [204, 'SHORTHAUL_ORIGIN_PROTOCOL', false],
    [304, 'SHORTHAUL_ORIGIN_PROTOCOL', false],
  ]
  for (const [status, code, retryable] of cases) {
    server.behave('/a.bin?token=secret', { status })
    const wanted = { code, retryable, details: { status } }
    await t.rejects(open(url), wanted, `open ${status}`)
    await t.rejects(probe(url), wanted, `probe ${status}`)
  }
  server.behave('/a.bin?token=secret', { status: 503, retryAfter: '7' })
  const error: unknown = await open(url).catch((reason: unknown) => reason)
  t.match(error, { details: { retryAfterMs: 7000, url: `${server.base}/a.bin?…` } })
  t.notMatch(`${isShorthaulError(error) && error.message}`, 'secret')
})

void t.test('deadlines', async (t) => {
  const { server, origins, open } = await setUp(t, { headersTimeoutMs: 200, idleTimeoutMs: 200 })
  const url = server.serve('/a.bin', FILE, { respond: () => {} })
  const timeout = { code: 'SHORTHAUL_ORIGIN_TIMEOUT', retryable: true }
  await t.rejects(open(url), timeout, 'no head')
  server.behave('/a.bin', { respond: undefined, stallAfterBytes: 1000 })
  await t.rejects(async () => drain(await open(url)), timeout, 'no bytes')
  await origins.close()
})

void t.test('a body that nobody reads is bounded and does not time out', async (t) => {
  const { server, open } = await setUp(t, { idleTimeoutMs: 200 })
  const url = server.serve('/a.bin', { seed: 3, lengthBytes: 64 * MIB })
  const stalled = server.serve('/stalled.bin', FILE, { stallAfterBytes: 10 })
  const stream = await open(url)
  // Two other bodies time out meanwhile, so that this one has been paused for longer than the idle timeout.
  for (let round = 0; round < 2; round++) {
    await t.rejects(async () => drain(await open(stalled)), { code: 'SHORTHAUL_ORIGIN_TIMEOUT' })
  }
  t.ok(server.contentBytesSent('/a.bin') < 32 * MIB, 'the origin was stopped')
  t.equal(await drain(stream), 64 * MIB, 'and the body is whole when it is read after all')
})

void t.test('cancel() ends the request and an abort ends the body', async (t) => {
  const { server, origins, open } = await setUp(t)
  const url = server.serve('/a.bin', { seed: 3, lengthBytes: 512 * MIB })
  const cancelled = await open(url)
  await cancelled.cancel()
  await cancelled.cancel()
  await server.until(() => server.log.every((each) => each.isDone))
  await t.rejects(drain(cancelled), { code: 'SHORTHAUL_ABORTED' })
  const left = await open(url)
  for await (const _ of left.body) break
  await server.until(() => server.log.every((each) => each.isDone))
  const controller = new AbortController()
  const aborted = await origins.open(originRequest(url), { signal: controller.signal })
  await t.rejects(
    async () => {
      for await (const _ of aborted.body) controller.abort(new Error('enough'))
    },
    { code: 'SHORTHAUL_ABORTED' },
  )
  await server.until(() => server.log.every((each) => each.isDone))
  await t.rejects(origins.open(originRequest(url), { signal: AbortSignal.abort() }), { code: 'SHORTHAUL_ABORTED' })
  server.behave('/a.bin', { respond: () => {} })
  const waiting = new AbortController()
  const pending = origins.open(originRequest(url), { signal: waiting.signal })
  const rejected = t.rejects(pending, { code: 'SHORTHAUL_ABORTED' }, 'while it waits for the head')
  await server.until(() => server.openConnectionCount > 0 && server.log.some((each) => !each.isDone))
  waiting.abort()
  await rejected
  t.ok(server.contentBytesSent() < 256 * MIB)
})

void t.test('a cancelled body that is nearly over leaves its connection open', async (t) => {
  const { server, open } = await setUp(t)
  const url = server.serve('/a.bin', Buffer.alloc(1000))
  await (await open(url)).cancel()
  await (await open(url)).cancel()
  t.equal(server.connectionCount, 1)
})

void t.test('close() ends what runs', async (t) => {
  const { server, origins, open } = await setUp(t)
  const url = server.serve('/a.bin', { seed: 3, lengthBytes: 512 * MIB })
  const stream = await open(url)
  const reading = t.rejects(drain(stream), { code: 'SHORTHAUL_ABORTED' })
  await origins.close()
  await reading
  await origins.close()
  await t.rejects(open(url), { code: 'SHORTHAUL_ABORTED' })
})

void t.test('a reader that lets go while it waits is freed', async (t) => {
  const { server, open } = await setUp(t)
  const url = server.serve('/a.bin', FILE, { stallAfterBytes: 10 })
  const stream = await open(url)
  const reading = t.rejects(drain(stream), { code: 'SHORTHAUL_ABORTED' })
  await server.until(() => server.contentBytesSent() === 10)
  await stream.cancel()
  await reading
})

void t.test('a hostile or broken server', async (t) => {
  const { origins } = await setUp(t)
  let answer = ''
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('data', () => socket.end(answer))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no address')
  const request = originRequest(`http://127.0.0.1:${address.port}/x`)
  const fetched = async () => drain(await origins.open(request, { signal }))
  const protocol = { code: 'SHORTHAUL_ORIGIN_PROTOCOL' }
  answer = 'this is not HTTP\r\n\r\n'
  await t.rejects(fetched(), protocol, 'not HTTP')
  answer = `HTTP/1.1 200 OK\r\nx: ${'y'.repeat(100_000)}\r\n\r\n`
  await t.rejects(fetched(), protocol, 'endless fields')
  answer = 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(1000)
  await t.rejects(fetched(), protocol, 'endless interim answers')
  answer = 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!'
  await t.rejects(fetched(), protocol, 'two lengths')
  answer = 'HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nhello!'
  await t.rejects(fetched(), protocol, 'an enormous length')
  answer = 'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.0 200 OK\r\n\r\nhello'
  t.equal(await fetched(), 5, 'an interim answer and an end by close are fine')
  answer = ''
  await t.rejects(fetched(), { code: 'SHORTHAUL_ORIGIN_UNREACHABLE' }, 'hung up')
  server.close()
  for (const socket of sockets) socket.destroy()
  await t.rejects(fetched(), { code: 'SHORTHAUL_ORIGIN_UNREACHABLE', details: { system: 'ECONNREFUSED' } }, 'refused')
})

void t.test('what the origin says decides about sharing', async (t) => {
  const { server, probe, open } = await setUp(t)
  const url = server.serve('/a.bin', FILE, { cacheControl: 'max-age=60' })
  const before = Date.now()
  const { freshUntilMs } = await probe(url)
  t.ok(freshUntilMs >= before + 50_000 && freshUntilMs <= Date.now() + 60_000)
  for (const [behaviour, reason] of [
    [{ cacheControl: 'no-store' }, /no-store/],
    [{ cacheControl: 'PRIVATE, max-age=5' }, /private/],
    [{ cacheControl: undefined, setCookie: 'a=b' }, /cookie/],
    [{ setCookie: undefined, vary: 'Accept, *' }, /Vary/],
    [{ vary: undefined, fields: { 'content-encoding': 'gzip' } }, /gzip/],
  ] as const) {
    server.behave('/a.bin', behaviour)
    t.match(await probe(url), { visibility: 'private', privateReason: reason })
    const stream = await open(url, { range: { start: 0, end: 5 } })
    t.match(stream.facts, { visibility: 'private', privateReason: reason }, 'the same by 206')
    await stream.cancel()
  }
  server.behave('/a.bin', { fields: {}, vary: 'accept-language, cookie' })
  t.match(await probe(url, [['Accept-Language', 'de']]), { visibility: 'branch', selection: 'accept-language: de' })
  t.match(await probe(url), { visibility: 'branch', selection: '' })
})

void t.test('credentials make an answer private, and reach the origin', async (t) => {
  const { server, origins, probe } = await setUp(t)
  const requireAuth = `Basic ${Buffer.from('us er:pa%ss').toString('base64')}`
  const url = server.serve('/a.bin', FILE, { requireAuth, cacheControl: 'public' })
  await t.rejects(probe(url), { code: 'SHORTHAUL_ORIGIN_REFUSED', details: { status: 401 } })
  const withUser = url.replace('http://', 'http://us%20er:pa%25ss@')
  const facts = await probe(withUser)
  t.match(facts, { visibility: 'private', privateReason: /user information/, finalUrl: url })
  t.match(await probe(url, [['Authorization', requireAuth]]), { visibility: 'private', privateReason: /Authorization/ })
  server.behave('/a.bin', { requireAuth: undefined })
  t.match(await probe(url, [['Cookie', 'a=b']]), { privateReason: /Cookie/ })
  t.match(await probe(url, [['X-Api-Key', 'k']]), { privateReason: /x-api-key/ })
  t.match(await probe(url, [['User-Agent', 'curl']]), { visibility: 'branch' })
  t.equal(server.log.at(-1)?.headers['user-agent'], 'curl')
  await t.rejects(probe(url, [['Range', 'bytes=0-1']]), { code: 'SHORTHAUL_USAGE' })
  await t.rejects(probe(url, [['X', 'a\r\nb: c']]), { code: 'SHORTHAUL_USAGE' })
  await origins.close()
})

void t.test('a generation that ends in the middle of a transfer', async (t) => {
  const { server, open } = await setUp(t)
  const url = server.serve('/a.bin', FILE)
  server.behave('/a.bin', { changeAfterBytes: MIB, ratePerConnectionBytesPerSec: 256 * MIB })
  const first = await open(url, { range: { start: 0, end: MIB } })
  const { validator } = first.facts
  if (!validator) throw new Error('no validator')
  const expected = { validator, lengthBytes: FILE.lengthBytes }
  const before = server.content('/a.bin')
  t.ok((await readBody(first)).equals(before.read(0, MIB)))
  const torn = await readBody(await open(url, { expected }))
  t.notOk(torn.equals(before.read(0, FILE.lengthBytes)), 'an origin that changes within a body tears it')
  const again = open(url, { range: { start: MIB, end: 2 * MIB }, expected })
  await t.rejects(again, { code: 'SHORTHAUL_ORIGIN_CHANGED' }, 'which the next range shows')
})
