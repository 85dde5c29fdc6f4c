import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/clock.ts'
import { gatherMs, PacedSocket } from '../../src/origin/paced-socket.ts'
import { type PacedReader, Pacer } from '../../src/throttle/pacer.ts'
import type { Priority } from '../../src/throttle/priority.ts'
import { openOrigins, originRequest, readBody } from '../support/open-origins.ts'
import { startTestOrigin, TEST_CERT_FILE } from '../support/test-origin.ts'
import { TestProxy } from '../support/test-proxy.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const signal = new AbortController().signal
const KIB = 1024

/** Grants what the test says, when it says so. */
class HandPacer extends Pacer {
  readonly waiting: PacedReader[] = []
  readonly chargedPieces: number[] = []
  cancelCount = 0
  #onRequest = () => {}

  constructor(bytesPerSec: number | null = 1) {
    super(new VirtualClock(), bytesPerSec)
  }

  override request(reader: PacedReader): void {
    this.waiting.push(reader)
    this.#onRequest()
  }

  override cancel(): void {
    this.cancelCount++
  }

  override charge(bytes: number): void {
    this.chargedPieces.push(bytes)
  }

  /** So many wait for their turn. */
  async asked(count: number): Promise<void> {
    while (this.waiting.length < count) {
      await new Promise<void>((resolve) => {
        this.#onRequest = resolve
      })
    }
  }

  /** The next who asks is granted so much. */
  async grant(maxBytes: number): Promise<void> {
    await this.asked(1)
    this.waiting.shift()?.grant(maxBytes)
  }
}

/** Content that shows where a byte is missing, doubled or out of place. */
function pattern(lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes)
  for (let at = 0; at < lengthBytes; at++) bytes[at] = (at * 31 + (at >> 8) * 7 + (at >> 16)) & 0xff
  return bytes
}

/** A server for one connection, and that connection seen from there. */
async function serve(t: Test): Promise<{ port: number; accepted: Promise<Socket> }> {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true })
  const accepted = new Promise<Socket>((resolve) => {
    server.on('connection', (socket) => {
      sockets.add(socket)
      socket.on('error', () => {})
      resolve(socket)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { port: (server.address() as AddressInfo).port, accepted }
}

async function connected(t: Test, pacer: Pacer, options: { idleTimeoutMs?: number } = {}) {
  const { port, accepted } = await serve(t)
  const socket = new PacedSocket(pacer, { host: '127.0.0.1', port, idleTimeoutMs: 20_000, ...options })
  t.teardown(() => socket.destroy())
  const [server] = await Promise.all([accepted, once(socket, 'connect')])
  return { socket, server, port }
}

/** Lets everything happen that needs no more than the event loop to turn. */
async function turns(count = 20): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
}

async function readPieces(socket: PacedSocket): Promise<Buffer[]> {
  const pieces: Buffer[] = []
  for await (const piece of socket) pieces.push(piece as Buffer)
  return pieces
}

async function readAll(socket: PacedSocket): Promise<Buffer> {
  return Buffer.concat(await readPieces(socket))
}

/** All that is waiting for its turn is granted one, until the socket has ended. */
async function grantAlways(pacer: HandPacer, options: { until: Promise<unknown>; maxBytes: number }): Promise<void> {
  let isOver = false
  const over = options.until.then(
    () => {
      isOver = true
    },
    () => {
      isOver = true
    },
  )
  while (!isOver) await Promise.race([over, pacer.grant(options.maxBytes)])
}

await t.test('nothing is read before it is granted, and no more than that', async (t) => {
  const pacer = new HandPacer()
  const { socket, server } = await connected(t, pacer)
  const content = pattern(300 * KIB)
  server.end(content)
  const bytes = readAll(socket)
  // A connection beside it, of which everything arrives, tells that there was time for it.
  const beside = await connected(t, new Pacer(systemClock, null))
  beside.server.end('done')
  await readAll(beside.socket)
  t.equal(socket.raw.bytesRead, 0)

  for (const maxBytes of [64, 2, 30, 2, 64, 5, 2].map((kib) => kib * KIB)) {
    const before = socket.raw.bytesRead
    await pacer.grant(maxBytes)
    await pacer.asked(1)
    await turns()
    const read = socket.raw.bytesRead - before
    t.ok(read > 0 && read <= maxBytes, `${read} of ${maxBytes}`)
  }
  await grantAlways(pacer, { until: bytes, maxBytes: 64 * KIB })
  t.ok((await bytes).equals(content), 'nothing is lost, doubled or out of place')
  t.equal(
    pacer.chargedPieces.reduce((sum, piece) => sum + piece),
    content.byteLength,
    'all of it was charged',
  )
})

await t.test('a large turn is used, also after a small one', async (t) => {
  const pacer = new HandPacer()
  const { socket, server } = await connected(t, pacer)
  server.write(pattern(128 * KIB))
  socket.on('data', () => {})
  await pacer.grant(2 * KIB)
  await pacer.asked(1)
  // What is granted at once is there by now: loopback holds it in the kernel.
  const before = socket.raw.bytesRead
  await pacer.grant(50 * KIB)
  while (socket.raw.bytesRead < before + 50 * KIB) await turns(1)
  await turns()
  t.equal(socket.raw.bytesRead, before + 50 * KIB)
})

await t.test('what the other end says last is read, however late the reader comes', async (t) => {
  for (const lengthBytes of [0, 1, 2 * KIB, 50 * KIB]) {
    const { socket, server } = await connected(t, new Pacer(systemClock, null))
    server.end(pattern(lengthBytes))
    socket.read(0) // reads ahead, and nobody takes it
    if (lengthBytes > 0) while (socket.readableLength < lengthBytes) await turns(1)
    socket.read(0)
    while (!socket.raw.readableEnded) await turns(1)
    await turns()
    t.ok((await readAll(socket)).equals(pattern(lengthBytes)), `${lengthBytes} bytes`)
    if (!socket.closed) await once(socket, 'close')
    t.ok(socket.raw.destroyed, 'and then the connection is closed')
    t.equal(socket.errored, null)
  }
})

await t.test('a reset is passed on as an error', async (t) => {
  const { socket, server } = await connected(t, new Pacer(systemClock, null))
  socket.resume()
  server.resetAndDestroy()
  const [error] = await once(socket, 'error')
  t.match(error, { code: 'ECONNRESET' })
  t.ok(socket.destroyed)
  t.ok(socket.raw.destroyed)
})

await t.test('nobody there is an error, too', async (t) => {
  const { port } = await serve(t)
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port: deadPort } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  t.not(deadPort, port)
  const pacer = new HandPacer()
  const socket = new PacedSocket(pacer, { host: '127.0.0.1', port: deadPort, idleTimeoutMs: 20_000 })
  const [error] = await once(socket, 'error')
  t.match(error, { code: 'ECONNREFUSED' })
})

await t.test('what is written arrives, whether it may read or not', async (t) => {
  const { socket, server } = await connected(t, new HandPacer(0))
  const content = pattern(500 * KIB)
  socket.write(content.subarray(0, 1000))
  socket.cork()
  socket.write(content.subarray(1000, 5000))
  socket.write(content.subarray(5000, 6000))
  socket.uncork()
  socket.end(content.subarray(6000))
  const chunks: Buffer[] = []
  for await (const chunk of server) chunks.push(chunk as Buffer)
  t.ok(Buffer.concat(chunks).equals(content))
})

await t.test('half of it may be closed: what is still to come is read', async (t) => {
  const { socket, server } = await connected(t, new Pacer(systemClock, null))
  socket.end('ask')
  const asked = await once(server, 'data')
  t.equal(String(asked[0]), 'ask')
  server.end(pattern(40 * KIB))
  socket.read(0)
  while (!socket.raw.readableEnded) {
    await turns(1)
    socket.read(0)
  }
  await turns()
  t.ok((await readAll(socket)).equals(pattern(40 * KIB)))
})

await t.test('the time without a byte counts only while it may read', async (t) => {
  const pacer = new HandPacer()
  const { socket, server } = await connected(t, pacer, { idleTimeoutMs: 50 })
  socket.resume()
  // Another connection, which may read and is told nothing, runs out of the same time after it.
  const beside = await connected(t, new Pacer(systemClock, null), { idleTimeoutMs: 100 })
  beside.socket.resume()
  const [error] = await once(beside.socket, 'error')
  t.match(error, { code: 'UND_ERR_BODY_TIMEOUT' })
  t.ok(beside.socket.raw.destroyed)
  t.notOk(socket.destroyed, 'not while it waits for its turn')

  server.write('x')
  const ended = once(socket, 'error')
  await pacer.grant(2 * KIB)
  await pacer.asked(1)
  const later = await connected(t, new Pacer(systemClock, null), { idleTimeoutMs: 100 })
  later.socket.resume()
  await once(later.socket, 'error')
  t.notOk(socket.destroyed, 'nor when the turn was used')

  await pacer.grant(2 * KIB)
  t.match((await ended)[0], { code: 'UND_ERR_BODY_TIMEOUT' }, 'but when nothing comes in its turn')
})

await t.test('destroying it closes the connection and gives its turn back', async (t) => {
  const pacer = new HandPacer()
  const { socket, server } = await connected(t, pacer)
  socket.resume()
  await pacer.asked(1)
  const closed = once(server, 'end')
  server.resume()
  socket.destroy()
  t.ok(socket.raw.destroyed)
  t.equal(pacer.cancelCount, 1)
  await closed
  await pacer.grant(2 * KIB)
  t.equal(pacer.chargedPieces.length, 0, 'a turn that comes too late is no matter')
})

/** What the agent has between its origins and the governor, reduced to one rate. */
function control(pacer: Pacer) {
  const entered: string[] = []
  let current = 0
  return {
    entered,
    get current() {
      return current
    },
    pacerOf: (priority: Priority) => (priority === 'foreground' ? null : pacer),
    enter: (priority: Priority, url: string) => {
      entered.push(`${priority} ${url}`)
      current++
      return () => {
        current--
      }
    },
  }
}

const SIZE = 700_123
const BACKGROUND = { priority: 'normal' } as const

await t.test('http and https through it have the right content, and the connection is used again', async (t) => {
  for (const isTls of [false, true]) {
    for (const rate of [null, 20_000_000]) {
      const origin = await startTestOrigin({ isTls })
      t.teardown(() => origin.close())
      const pacer = new Pacer(systemClock, rate)
      const wan = control(pacer)
      const raws: Socket[] = []
      const origins = await openOrigins(
        { caFile: TEST_CERT_FILE },
        { wan, onSocket: (socket: Socket) => raws.push(socket) },
      )
      t.teardown(() => origins.close())
      const name = `${isTls ? 'https' : 'http'} at ${rate}`
      const url = origin.serve('/a', { seed: 5, lengthBytes: SIZE })
      const content = origin.content('/a').read(0, SIZE)
      for (let count = 0; count < 3; count++) {
        const body = await readBody(await origins.open({ ...originRequest(url), ...BACKGROUND }, { signal }))
        t.ok(body.equals(content), name)
      }
      t.equal(origin.connectionCount, 1, 'one connection')
      t.equal(wan.current, 0)
      t.equal(wan.entered.length, 3)
      t.ok(pacer.chargedBytes >= 3 * SIZE, 'all of it went through the pacer')
      t.equal(raws[0]?.bytesRead, pacer.chargedBytes, 'and what is counted is the connection below it')
    }
  }
})

await t.test('bodies that end with the connection, and those that are cut, are told apart', async (t) => {
  for (const isTls of [false, true]) {
    const origin = await startTestOrigin({ isTls })
    t.teardown(() => origin.close())
    const raws: Socket[] = []
    const origins = await openOrigins(
      { caFile: TEST_CERT_FILE },
      { wan: control(new Pacer(systemClock, 20_000_000)), onSocket: (socket: Socket) => raws.push(socket) },
    )
    t.teardown(() => origins.close())
    const open = (url: string) => origins.open({ ...originRequest(url), ...BACKGROUND }, { signal })
    const content = pattern(200 * KIB)
    const closing = origin.serve('/closing', content, { fields: { connection: 'close' } })
    t.ok((await readBody(await open(closing))).equals(content))
    const endless = origin.serve('/endless', content, { noLength: true, fields: { connection: 'close' } })
    t.ok((await readBody(await open(endless))).equals(content), 'without a length')
    const cut = origin.serve('/cut', content, { cutAfterBytes: 100 * KIB })
    await t.rejects(open(cut).then(readBody), { code: 'SHORTHAUL_ORIGIN_UNREACHABLE', retryable: true })
    t.equal(raws.length, 3)
    for (const raw of raws) if (!raw.closed) await once(raw, 'close')
    await origin.until(() => origin.openConnectionCount === 0)
  }
})

await t.test('a tunnel of a proxy carries it, https inside', async (t) => {
  const origin = await startTestOrigin({ isTls: true })
  t.teardown(() => origin.close())
  const proxy = await TestProxy.start(origin.base)
  t.teardown(() => proxy.close())
  const { port } = proxy
  const pacer = new Pacer(systemClock, 20_000_000)
  const raws: Socket[] = []
  const origins = await openOrigins(
    { caFile: TEST_CERT_FILE, env: { HTTPS_PROXY: `127.0.0.1:${port}` } },
    { wan: control(pacer), onSocket: (socket: Socket) => raws.push(socket) },
  )
  t.teardown(() => origins.close())
  const url = origin.serve('/a', { seed: 6, lengthBytes: SIZE })
  for (let count = 0; count < 2; count++) {
    const body = await readBody(await origins.open({ ...originRequest(url), ...BACKGROUND }, { signal }))
    t.ok(body.equals(origin.content('/a').read(0, SIZE)))
  }
  t.equal(raws.length, 1)
  t.equal(raws[0]?.remotePort, port, 'what is counted is the connection to the proxy')
  t.ok(pacer.chargedBytes >= 2 * SIZE)
})

await t.test('at a rate of 0 a request waits, and goes on when there is one', async (t) => {
  const origin = await startTestOrigin()
  t.teardown(() => origin.close())
  const pacer = new Pacer(systemClock, 0)
  const origins = await openOrigins({}, { wan: control(pacer) })
  t.teardown(() => origins.close())
  const url = origin.serve('/a', { seed: 7, lengthBytes: SIZE })
  const body = origins.open({ ...originRequest(url), ...BACKGROUND }, { signal }).then(readBody)
  await origin.until(() => origin.requests('/a').length === 1)
  // A foreground request is not paced: it passes meanwhile.
  t.equal((await readBody(await origins.open(originRequest(url), { signal }))).byteLength, SIZE)
  t.equal(pacer.chargedBytes, 0)
  pacer.setRate(20_000_000)
  t.ok((await body).equals(origin.content('/a').read(0, SIZE)))
})

await t.test('what trickles in as fast as it comes is read in few pieces once the rate is known', async (t) => {
  const { socket, server } = await connected(t, new Pacer(systemClock, null))
  const content = pattern(800 * KIB)
  const reading = readPieces(socket)
  for (let at = 0; at < content.byteLength; at += KIB) {
    server.write(content.subarray(at, at + KIB))
    await systemClock.sleep(1)
  }
  server.end()
  const pieces = await reading
  t.ok(Buffer.concat(pieces).equals(content))
  const late = pieces.slice(-10).map((piece) => piece.byteLength)
  t.ok(late.reduce((sum, bytes) => sum + bytes, 0) >= 40 * KIB, `${late}`)
})

await t.test('nothing is left to gather of a head or a small file, nor of a fast line', (t) => {
  t.equal(gatherMs(0, 1e6), 0)
  t.equal(gatherMs(60 * KIB, 1e6), 0)
  t.equal(gatherMs(1e6, null), 0, 'nor before the rate is known')
  t.equal(gatherMs(1e6, 100e6), 0)
  t.equal(gatherMs(1e6, 10_000), 20, 'never for long')
  const ms = gatherMs(1e6, 6_250_000)
  t.ok(ms > 5 && ms < 10, `${ms}`)
  t.end()
})
