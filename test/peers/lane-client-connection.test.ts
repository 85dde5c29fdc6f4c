import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import tls, { type TLSSocket } from 'node:tls'
import { pino } from 'pino'
import t from 'tap'
import { type Clock, systemClock } from '../../src/clock.ts'
import type { AgentKey, SegmentHash } from '../../src/content/ids.ts'
import { isShorthaulError } from '../../src/errors.ts'
import { LaneClient, type LaneEndpoint } from '../../src/peers/lane-client.ts'
import { laneServerTls } from '../../src/peers/lane-tls.ts'

const log = pino({ level: 'silent' })
const hash = 'c5'.repeat(32) as SegmentHash
const never = new AbortController().signal
type Tap = { teardown(handler: () => unknown): void }

const answerOf = (body: string | Buffer, head = 'HTTP/1.1 200 OK') =>
  Buffer.concat([Buffer.from(`${head}\r\nContent-Length: ${body.length}\r\n\r\n`), Buffer.from(body)])

/** A peer that holds the right key, and what it saw. `answer` gets the number of the request, from 0. */
async function peer(t: Tap, answer: (socket: TLSSocket, count: number) => void) {
  const psk = randomBytes(32)
  const sockets: TLSSocket[] = []
  const reads: string[] = []
  const server = tls.createServer({ ...laneServerTls(() => psk), noDelay: true }, (socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    socket.on('data', (chunk) => answer(socket, reads.push(chunk.toString('latin1')) - 1))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const endpoint: LaneEndpoint = {
    peer: '0a'.repeat(32) as AgentKey,
    host: '127.0.0.1',
    port,
    identity: randomBytes(16),
    psk,
  }
  return { endpoint, sockets, reads }
}

function newClient(t: Tap, clock: Clock = systemClock): LaneClient {
  const client = new LaneClient(
    { clock, log },
    { connectionsPerPeer: 1, requestTimeoutMs: 60_000, stallTimeoutMs: 2500 },
  )
  t.teardown(() => client.close())
  return client
}

async function codeOf(fetching: Promise<void>): Promise<string> {
  try {
    await fetching
    return 'none'
  } catch (error) {
    if (!isShorthaulError(error)) throw error
    return error.code
  }
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 1))
}

t.test('an answer that is cut anywhere arrives as one that is not, over one connection', async (t) => {
  const body = randomBytes(24)
  const whole = answerOf(body)
  const { endpoint, sockets, reads } = await peer(t, (socket, count) => {
    socket.write(whole.subarray(0, count))
    turns(3).then(
      () => socket.write(whole.subarray(count)),
      () => {}, // never
    )
  })
  const client = newClient(t)
  for (let cut = 0; cut < whole.byteLength; cut++) {
    const into = new Uint8Array(body.byteLength)
    await client.fetchSegment(endpoint, hash, { into, signal: never })
    if (!body.equals(into)) t.fail(`cut at ${cut}`)
  }
  t.equal(sockets.length, 1)
  t.equal(reads.length, whole.byteLength, 'each request is one small write')
  t.match(reads[0], /^GET \/segments\/[0-9a-f]{64} HTTP\/1\.1\r\nHost: 127\.0\.0\.1:\d+\r\n\r\n$/)
})

t.test('an answer nobody asked for ends the connection, and the next fetch has another', async (t) => {
  const { endpoint, sockets } = await peer(t, (socket, count) => {
    socket.write(answerOf('good'))
    if (count === 0) setImmediate(() => socket.write(answerOf('evil')))
  })
  const client = newClient(t)
  const into = Buffer.alloc(4)
  await client.fetchSegment(endpoint, hash, { into, signal: never })
  await until(() => sockets[0]?.closed === true)
  t.equal(into.toString(), 'good')
  await client.fetchSegment(endpoint, hash, { into, signal: never })
  t.equal(into.toString(), 'good')
  t.equal(sockets.length, 2)
})

t.test('more bytes than the head announced, with the head, are refused and not written', async (t) => {
  const { endpoint } = await peer(t, (socket) => socket.write(Buffer.concat([answerOf('good'), answerOf('evil')])))
  const around = Buffer.alloc(12)
  const fetching = newClient(t).fetchSegment(endpoint, hash, { into: around.subarray(4, 8), signal: never })
  t.equal(await codeOf(fetching), 'SHORTHAUL_PEER_PROTOCOL')
  t.ok(around.every((byte) => byte === 0))
})

t.test('of a long body with more behind it exactly the body is taken', async (t) => {
  const body = randomBytes(200_000)
  const { endpoint, sockets } = await peer(t, (socket) =>
    socket.write(Buffer.concat([answerOf(body), Buffer.alloc(50_000, 1)])),
  )
  const around = Buffer.alloc(body.byteLength + 20_000)
  const into = around.subarray(10_000, 10_000 + body.byteLength)
  await newClient(t).fetchSegment(endpoint, hash, { into, signal: never })
  await until(() => sockets[0]?.closed === true)
  t.ok(body.equals(into))
  t.ok(around.subarray(0, 10_000).every((byte) => byte === 0) && around.subarray(-10_000).every((byte) => byte === 0))
})

t.test('an abort in the middle of a body closes its connection, and nothing is written any more', async (t) => {
  const { endpoint, sockets } = await peer(t, (socket, count) => {
    if (count > 0) socket.write(answerOf(Buffer.alloc(300_000, 3)))
    else socket.write(answerOf(Buffer.alloc(300_000, 1)).subarray(0, 100_000))
  })
  const client = newClient(t)
  const stop = new AbortController()
  const into = Buffer.alloc(300_000)
  const doomed = codeOf(client.fetchSegment(endpoint, hash, { into, signal: stop.signal }))
  const next = Buffer.alloc(300_000)
  const waiting = client.fetchSegment(endpoint, hash, { into: next, signal: never })
  await until(() => into[99_000] === 1)
  sockets[0]?.write(Buffer.alloc(100_000, 2))
  stop.abort(new Error('enough'))
  into.fill(0)
  t.equal(await doomed, 'SHORTHAUL_ABORTED')
  await waiting
  await until(() => sockets[0]?.closed === true)
  t.ok(into.every((byte) => byte === 0))
  t.ok(
    next.every((byte) => byte === 3),
    'who waited got a connection of its own',
  )
})

t.test('a refusal with a short body leaves the connection usable, one that says close does not', async (t) => {
  const answers = [answerOf('not here', 'HTTP/1.1 404 No'), answerOf('last', 'HTTP/1.1 200 OK\r\nConnection: close')]
  const { endpoint, sockets } = await peer(t, (socket, count) => socket.write(answers[count] ?? answerOf('more')))
  const client = newClient(t)
  const into = Buffer.alloc(4)
  t.equal(await codeOf(client.fetchSegment(endpoint, hash, { into, signal: never })), 'SHORTHAUL_PEER_MISSING')
  await client.fetchSegment(endpoint, hash, { into, signal: never })
  t.equal(into.toString(), 'last')
  t.equal(sockets.length, 1)
  await client.fetchSegment(endpoint, hash, { into, signal: never })
  t.equal(into.toString(), 'more')
  t.equal(sockets.length, 2)
})

t.test('an idle connection is closed before the server would, and a handshake does not take for ever', async (t) => {
  const sleeps: { delayMs: number; wake: () => void }[] = []
  let nowMs = 0
  const clock: Clock = {
    ...systemClock,
    monotonicMs: () => nowMs,
    sleep: (delayMs, options = {}) =>
      new Promise((resolve, reject) => {
        sleeps.push({ delayMs, wake: resolve })
        options.signal?.addEventListener('abort', () => reject(options.signal?.reason))
      }),
  }
  const { endpoint, sockets } = await peer(t, (socket) => socket.write(answerOf('good')))
  const client = newClient(t, clock)
  await client.fetchSegment(endpoint, hash, { into: Buffer.alloc(4), signal: never })
  const idle = sleeps.find(({ delayMs }) => delayMs === 30_000)
  t.equal(sockets[0]?.closed, false)
  nowMs = 30_000
  idle?.wake()
  await until(() => sockets[0]?.closed === true)

  const silent = net.createServer()
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  const deaf = { ...endpoint, port: (silent.address() as AddressInfo).port }
  const fetching = codeOf(client.fetchSegment(deaf, hash, { into: Buffer.alloc(4), signal: never }))
  sleeps.findLast(({ delayMs }) => delayMs === 3000)?.wake()
  t.equal(await fetching, 'SHORTHAUL_PEER_UNREACHABLE')
})
