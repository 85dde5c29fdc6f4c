/**
 * Many and slow on the lane's port. Keys, tickets, TLS 1.2, certificates, plain HTTP and revoked offers are in
 * test/peers/lane.test.ts ("nobody gets anything without the key of a live offer" and those after it).
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import net, { type Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import tls from 'node:tls'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/clock.ts'
import type { AgentKey, SegmentHash } from '../../src/content/ids.ts'
import { LaneClient } from '../../src/peers/lane-client.ts'
import { LaneOffers } from '../../src/peers/lane-offers.ts'
import { LaneServer } from '../../src/peers/lane-server.ts'
import { laneClientTls, laneServerTls } from '../../src/peers/lane-tls.ts'

const HOST = '127.0.0.1'
const log = pino({ level: 'silent' })
const ada = '0a'.repeat(32) as AgentKey
const bob = '0b'.repeat(32) as AgentKey
const hash = 'c5'.repeat(32) as SegmentHash
const segment = randomBytes(2 ** 20)
const MAX_UPLOADS = 4

async function setUp(t: Test) {
  const offers = new LaneOffers({ clock: systemClock }, { graceMs: 1000, maxOffers: 10 })
  const reads = { now: 0, most: 0, all: 0 }
  const server = await LaneServer.open(
    {
      clock: systemClock,
      log,
      offers,
      read: async () => {
        reads.all++
        reads.most = Math.max(reads.most, ++reads.now)
        await setTimeout(5)
        reads.now--
        return segment
      },
    },
    { host: HOST, port: 0, maxUploads: MAX_UPLOADS, maxConnections: 64, maxConnectionsPerPeer: 8, portFallback: false },
  )
  const client = new LaneClient(
    { clock: systemClock, log, onSocket: () => {} },
    { connectionsPerPeer: 2, requestTimeoutMs: 60_000, stallTimeoutMs: 10_000 },
  )
  t.teardown(async () => {
    await client.close()
    await server.close()
    offers.close()
  })
  const fetches = async () => {
    const endpoint = { peer: ada, host: HOST, port: server.port, ...offers.offerFor(ada) }
    const into = new Uint8Array(segment.byteLength)
    await client.fetchSegment(endpoint, hash, { into, signal: new AbortController().signal })
    return segment.equals(into)
  }
  /** With the key of another member, who means no good. */
  const member = async () => {
    const socket = tls.connect({ host: HOST, port: server.port, ...laneClientTls(offers.offerFor(bob)) })
    socket.on('error', () => {})
    await once(socket, 'secureConnect')
    return socket
  }
  return { server, reads, fetches, member }
}

function received(socket: Socket): { bytes(): number; text(): string } {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  return {
    bytes: () => chunks.reduce((sum, { byteLength }) => sum + byteLength, 0),
    text: () => Buffer.concat(chunks).toString('latin1'),
  }
}

t.test('a thousand idle connections are few at a time, get nothing, and keep no member out', async (t) => {
  const { server, fetches, reads } = await setUp(t)
  const strangers: Socket[] = []
  const told: { bytes(): number }[] = []
  for (let count = 0; count < 1000; count++) {
    const stranger = net.connect(server.port, HOST)
    stranger.on('error', () => {})
    strangers.push(stranger)
    told.push(received(stranger))
    if (count % 50 === 49) await once(stranger, 'connect').catch(() => {})
  }
  t.ok(await fetches(), 'a member fetches among them')
  while (strangers.filter(({ closed }) => !closed).length > 64) await setTimeout(10)
  t.equal(reads.all, 1)
  while (strangers.some(({ closed }) => !closed)) await setTimeout(50) // the deadline of handshakes
  t.equal(
    told.reduce((sum, each) => sum + each.bytes(), 0),
    0,
  )
  t.ok(await fetches())
})

t.test('a handshake of a byte now and then ends with the deadline', async (t) => {
  const { server, fetches } = await setUp(t)
  const stranger = net.connect(server.port, HOST)
  stranger.on('error', () => {})
  const told = received(stranger)
  await once(stranger, 'connect')
  const hello = Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, ...randomBytes(400)])
  let at = 0
  const tick = setInterval(() => stranger.write(hello.subarray(at, ++at)), 200)
  t.teardown(() => clearInterval(tick))
  await new Promise((resolve) => stranger.once('close', resolve))
  t.ok(at < hello.byteLength)
  t.equal(told.bytes(), 0)
  t.ok(await fetches())
})

t.test('a member’s head that does not end, or is too long, costs its own connection', async (t) => {
  const { fetches, member, reads } = await setUp(t)
  const slow = await member()
  const told = received(slow)
  slow.write(`GET /segments/${hash} HTTP/1.1\r\nHost: lane\r\nX-Slow: `)
  const tick = setInterval(() => slow.write('x'), 200)
  t.teardown(() => clearInterval(tick))
  const long = await member()
  const toldLong = received(long)
  long.write(`GET /segments/${hash} HTTP/1.1\r\nHost: lane\r\nX-Long: ${'x'.repeat(64 * 1024)}\r\n\r\n`)
  await new Promise((resolve) => long.once('close', resolve))
  t.ok(toldLong.bytes() < 500 && !toldLong.text().includes(' 200 '))
  t.ok(await fetches(), 'another member meanwhile')
  await new Promise((resolve) => slow.once('close', resolve))
  t.ok(told.bytes() < 500 && !told.text().includes(' 200 '))
  t.equal(reads.all, 1, 'only what the other one had')
})

t.test('requests in a row without waiting are read a few at a time', async (t) => {
  const { fetches, member, reads } = await setUp(t)
  const greedy = await member()
  greedy.pause()
  greedy.write(`GET /segments/${hash} HTTP/1.1\r\nHost: lane\r\n\r\n`.repeat(200))
  t.ok(await fetches(), 'another member meanwhile')
  await setTimeout(200)
  t.ok(reads.most <= MAX_UPLOADS, `${reads.most} segments were in memory at once`)
  t.ok(reads.all < 50, `${reads.all} were read for 200 that nobody takes`)
  greedy.destroy()
})

t.test('who sends requests in a row and goes away gives all slots back', async (t) => {
  const { fetches, member, reads, server } = await setUp(t)
  const greedy = await member()
  greedy.write(`GET /segments/${hash} HTTP/1.1\r\nHost: lane\r\n\r\n`.repeat(20))
  // The second one's turn to be answered has not come: its response has no connection yet that could end.
  while (reads.all < 2) await setTimeout(1)
  greedy.destroy()
  while (server.activeUploads() > 0) await setTimeout(5)
  t.ok(await fetches())
})

t.test('a request says which segment, and nothing else', async (t) => {
  const offer = { identity: randomBytes(16), psk: randomBytes(32) }
  let head = ''
  const server = tls.createServer({ ...laneServerTls(() => offer.psk) }, (socket) => {
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      head += chunk.toString('latin1')
      if (head.includes('\r\n\r\n')) socket.destroy()
    })
  })
  server.listen(0, HOST)
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  const client = new LaneClient(
    { clock: systemClock, log, onSocket: () => {} },
    { connectionsPerPeer: 1, requestTimeoutMs: 10_000, stallTimeoutMs: 10_000 },
  )
  t.teardown(async () => {
    await client.close()
    server.close()
  })
  const into = new Uint8Array(10)
  const endpoint = { peer: ada, host: HOST, port, ...offer }
  await t.rejects(client.fetchSegment(endpoint, hash, { into, signal: new AbortController().signal }))
  t.match(
    head,
    new RegExp(
      `^GET /segments/${hash} HTTP/1\\.1\\r\\n(host: [\\w.:]+\\r\\n|connection: keep-alive\\r\\n)*\\r\\n$`,
      'i',
    ),
  )
})
