import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttpsServer } from 'node:https'
import net, { type AddressInfo, type Socket } from 'node:net'
import tls, { type TLSSocket } from 'node:tls'
import { pino } from 'pino'
import t from 'tap'
import { type Clock, systemClock } from '../../src/clock.ts'
import type { AgentKey, SegmentHash } from '../../src/content/ids.ts'
import { isShorthaulError } from '../../src/errors.ts'
import { LaneAdmission } from '../../src/peers/lane-admission.ts'
import {
  LaneClient,
  type LaneClientComponents,
  type LaneClientOptions,
  type LaneEndpoint,
} from '../../src/peers/lane-client.ts'
import type { Intake } from '../../src/peers/lane-client-connection.ts'
import { LaneConnections } from '../../src/peers/lane-connections.ts'
import { LaneOffers } from '../../src/peers/lane-offers.ts'
import { requestedRange } from '../../src/peers/lane-range.ts'
import { LaneRequest } from '../../src/peers/lane-request.ts'
import { LaneServer, type LaneServerOptions, type ReadForPeer } from '../../src/peers/lane-server.ts'
import { isPskSession, laneClientTls, laneServerTls } from '../../src/peers/lane-tls.ts'
import type { Pace } from '../../src/peers/lane-upload.ts'
import { TS_IMPORT } from '../support/ts-import.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const MIB = 1024 * 1024
const HOST = '127.0.0.1'
const log = pino({ level: 'silent' })
const ada = '0a'.repeat(32) as AgentKey
const bob = '0b'.repeat(32) as AgentKey
const hash = 'c5'.repeat(32) as SegmentHash
const absent = 'd6'.repeat(32) as SegmentHash

/** In steps, letting sockets and promises have their turn after each. */
class HandClock extends VirtualClock {
  async advance(totalMs: number, stepMs = 100): Promise<void> {
    for (let passedMs = 0; passedMs < totalMs; passedMs += stepMs) {
      await this.pass(stepMs)
      await turns(3)
    }
  }
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

/** Waits for something that must come; the test's own timeout ends it when it does not. */
async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 1))
}

interface Setup {
  readonly clock?: Clock
  readonly read?: ReadForPeer
  readonly onServed?: (peer: AgentKey, bytes: number) => void
  readonly pace?: Pace
  readonly server?: Partial<LaneServerOptions>
  readonly client?: Partial<LaneClientOptions> & { clock?: Clock; intake?: Intake }
  readonly graceMs?: number
  readonly onSocket?: (side: 'server' | 'client', socket: Socket) => void
}

const segment = randomBytes(MIB)

async function setUp(t: Tap, setup: Setup = {}) {
  const clock = setup.clock ?? systemClock
  const offers = new LaneOffers({ clock }, { graceMs: setup.graceMs ?? 30_000, maxOffers: 100 })
  const server = await LaneServer.open(
    {
      clock,
      log,
      offers,
      read: setup.read ?? (async (wanted) => (wanted === hash ? segment : null)),
      ...(setup.onServed ? { onServed: setup.onServed } : {}),
      ...(setup.pace ? { pace: setup.pace } : {}),
      onSocket: (socket) => setup.onSocket?.('server', socket),
    },
    {
      host: HOST,
      port: 0,
      maxUploads: 8,
      maxConnections: 64,
      maxConnectionsPerPeer: 8,
      portFallback: false,
      ...setup.server,
    },
  )
  const onSocket = (socket: Socket) => setup.onSocket?.('client', socket)
  const client = newClient(t, { clock, onSocket, ...setup.client })
  t.teardown(async () => {
    await client.close()
    await server.close()
    offers.close()
  })
  const endpointFor = (peer: AgentKey): LaneEndpoint => ({
    peer,
    host: HOST,
    port: server.port,
    ...offers.offerFor(peer),
  })
  return { offers, server, client, endpointFor }
}

function newClient(t: Tap, options: Partial<LaneClientOptions> & Partial<LaneClientComponents> = {}): LaneClient {
  const { clock = systemClock, onSocket = () => {}, intake, ...rest } = options
  const client = new LaneClient(
    { clock, log, onSocket, ...(intake ? { intake } : {}) },
    { connectionsPerPeer: 2, requestTimeoutMs: 60_000, stallTimeoutMs: 2500, ...rest },
  )
  t.teardown(() => client.close())
  return client
}

type Tap = { teardown(handler: () => unknown): void }

const never = new AbortController().signal

/** The code and details with which a fetch failed. */
async function failure(fetching: Promise<void>): Promise<{ code: string; details: Readonly<Record<string, unknown>> }> {
  try {
    await fetching
  } catch (error) {
    if (!isShorthaulError(error)) throw error
    return { code: error.code, details: error.details }
  }
  return { code: 'none', details: {} }
}

/** Connects as TLS, sends `text`, and gives everything that came back until the end, '' when nothing did. */
async function converse(options: tls.ConnectionOptions, text: string): Promise<Buffer> {
  const socket = tls.connect({ host: HOST, ...options })
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.on('error', () => {})
  socket.on('secureConnect', () => socket.write(text))
  await new Promise((resolve) => socket.once('close', resolve))
  return Buffer.concat(chunks)
}

/** True when the handshake is completed, whatever the server does afterwards. */
async function shakesHands(options: tls.ConnectionOptions): Promise<boolean> {
  const socket = tls.connect({ host: HOST, ...options })
  let isSecure = false
  socket.on('secureConnect', () => {
    isSecure = true
    socket.destroy()
  })
  socket.on('error', () => {})
  await new Promise((resolve) => socket.once('close', resolve))
  return isSecure
}

function tlsFor(endpoint: LaneEndpoint): tls.ConnectionOptions {
  return { port: endpoint.port, ...laneClientTls(endpoint) }
}

const getSegment = `GET /segments/${hash} HTTP/1.1\r\nHost: lane\r\nConnection: close\r\n\r\n`

async function ask(endpoint: LaneEndpoint, head: string): Promise<{ status: number; fields: string; body: Buffer }> {
  const answer = await converse(tlsFor(endpoint), `${head}\r\nHost: lane\r\nConnection: close\r\n\r\n`)
  const end = answer.indexOf('\r\n\r\n')
  const fields = answer.subarray(0, end).toString('latin1').toLowerCase()
  return { status: Number(fields.slice(9, 12)), fields, body: answer.subarray(end + 4) }
}

/** A peer that holds the right key and answers each request as `answer` likes. */
async function hostilePeer(t: Tap, answer: (socket: TLSSocket) => void): Promise<LaneEndpoint> {
  const identity = randomBytes(16)
  const psk = randomBytes(32)
  const server = tls.createServer({ ...laneServerTls(() => psk), noDelay: true }, (socket) => {
    socket.on('error', () => {})
    let head = ''
    socket.on('data', (chunk) => {
      head += chunk.toString('latin1')
      if (!head.includes('\r\n\r\n')) return
      head = ''
      answer(socket)
    })
  })
  const sockets = new Set<Socket>()
  server.on('connection', (socket) => sockets.add(socket))
  server.listen(0, HOST)
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { peer: ada, host: HOST, port: (server.address() as AddressInfo).port, identity, psk }
}

const head200 = (bytes: number) => `HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n`

t.test('a segment comes whole and exact, and is accounted for', async (t) => {
  const served: [AgentKey, number][] = []
  const asked: AgentKey[] = []
  const { client, endpointFor, server } = await setUp(t, {
    read: async (_hash, { peer }) => {
      asked.push(peer)
      return segment
    },
    onServed: (peer, bytes) => served.push([peer, bytes]),
  })
  const into = new Uint8Array(MIB)
  await client.fetchSegment(endpointFor(ada), hash, { into, signal: never })
  t.ok(segment.equals(into))
  await until(() => served.length > 0)
  t.same(served, [[ada, MIB]])
  t.same(asked, [ada], 'read was told who asks')
  await until(() => server.activeUploads() === 0)
})

t.test('many fetches at once, of every size, share two connections and mix nothing up', async (t) => {
  const sizes = [1, 2, 16_383, 16_384, 16_385, 128 * 1024, 128 * 1024 + 1, 777_777, MIB - 1, MIB]
  const segments = new Map<SegmentHash, Buffer>()
  for (let i = 0; i < 60; i++) {
    segments.set(i.toString(16).padStart(64, '0') as SegmentHash, randomBytes(sizes[i % sizes.length] ?? 1))
  }
  let connections = 0
  const { client, endpointFor, server } = await setUp(t, {
    read: async (wanted) => segments.get(wanted) ?? null,
    server: { maxUploads: 100 },
  })
  const proxy = await recordingProxy(t, server.port)
  proxy.onConnection(() => connections++)
  const endpoint = { ...endpointFor(ada), port: proxy.port }
  await Promise.all(
    [...segments].map(async ([wanted, bytes]) => {
      const into = new Uint8Array(bytes.byteLength)
      await client.fetchSegment(endpoint, wanted, { into, signal: new AbortController().signal })
      t.ok(bytes.equals(into), `${bytes.byteLength} bytes`)
    }),
  )
  t.equal(connections, 2)
})

t.test('the server speaks plain HTTP: ranges, absence, wrong methods, paths and bodies', async (t) => {
  const { endpointFor } = await setUp(t)
  const endpoint = endpointFor(ada)
  const path = `/segments/${hash}`
  const cases: [head: string, status: number, body: Buffer | null, field?: string][] = [
    [`GET ${path} HTTP/1.1`, 200, segment, `content-length: ${MIB}`],
    [`GET ${path} HTTP/1.1\r\nRange: bytes=5-9`, 206, segment.subarray(5, 10), `content-range: bytes 5-9/${MIB}`],
    [`GET ${path} HTTP/1.1\r\nRange: bytes=1048570-`, 206, segment.subarray(1_048_570)],
    [`GET ${path} HTTP/1.1\r\nRange: bytes=-7`, 206, segment.subarray(MIB - 7)],
    [`GET ${path} HTTP/1.1\r\nRange: bytes=0-99999999`, 206, segment],
    [`GET ${path} HTTP/1.1\r\nRange: bytes=1048576-`, 416, Buffer.alloc(0), `content-range: bytes */${MIB}`],
    [`GET ${path} HTTP/1.1\r\nRange: bytes=0-1,5-6`, 200, segment],
    [`GET /segments/${absent} HTTP/1.1`, 404, Buffer.alloc(0)],
    [`GET ${path.toUpperCase().replace('SEGMENTS', 'segments')} HTTP/1.1`, 404, Buffer.alloc(0)],
    [`GET ${path}0 HTTP/1.1`, 404, Buffer.alloc(0)],
    ['GET / HTTP/1.1', 404, Buffer.alloc(0)],
    [`GET /segments/../segments/${hash} HTTP/1.1`, 404, Buffer.alloc(0)],
    [`POST ${path} HTTP/1.1`, 405, Buffer.alloc(0), 'allow: get'],
    [`DELETE ${path} HTTP/1.1`, 405, Buffer.alloc(0)],
    [`GET ${path} HTTP/1.1\r\nContent-Length: 9`, 413, Buffer.alloc(0)],
    [`GET ${path} HTTP/1.1\r\nX-Long: ${'x'.repeat(8000)}`, 431, null],
    ['NONSENSE', 400, null],
  ]
  for (const [head, status, body, field] of cases) {
    const answer = await ask(endpoint, head)
    t.equal(answer.status, status, head.slice(0, 120))
    if (body) t.ok(answer.body.equals(body), 'the body is exact')
    if (field) t.ok(answer.fields.includes(field), field)
  }
})

t.test('a range is fetched alone', async (t) => {
  const { client, endpointFor } = await setUp(t)
  const endpoint = endpointFor(ada)
  const into = new Uint8Array(1000)
  await client.fetchRange(endpoint, hash, { range: { start: 4096, end: 5096 }, into, signal: never })
  t.ok(segment.subarray(4096, 5096).equals(into))
  const beyond = failure(
    client.fetchRange(endpoint, hash, { range: { start: MIB - 10, end: MIB + 990 }, into, signal: never }),
  )
  t.equal((await beyond).code, 'SHORTHAUL_PEER_PROTOCOL')
  t.equal(requestedRange('bytes=9-5', 100), 'whole', 'a range that ends before it starts is not valid, so ignored')
})

t.test('what a peer has not is missing, and so is what it fails to read', async (t) => {
  const { client, endpointFor } = await setUp(t, {
    read: async (wanted) => {
      if (wanted === absent) return null
      throw new Error('disk on fire')
    },
  })
  const endpoint = endpointFor(ada)
  for (const wanted of [absent, hash]) {
    const { code, details } = await failure(
      client.fetchSegment(endpoint, wanted, { into: new Uint8Array(10), signal: never }),
    )
    t.equal(code, 'SHORTHAUL_PEER_MISSING')
    t.equal(details.receivedBytes, 0)
  }
})

t.test('a full server says busy and when to come back; nothing is read without a slot', async (t) => {
  let reading = 0
  const gates: (() => void)[] = []
  const { client, endpointFor, server } = await setUp(t, {
    read: async () => {
      reading++
      await new Promise<void>((resolve) => gates.push(resolve))
      return segment
    },
    server: { maxUploads: 2 },
    client: { connectionsPerPeer: 4 },
  })
  const endpoint = endpointFor(ada)
  const fetchOne = () => client.fetchSegment(endpoint, hash, { into: new Uint8Array(MIB), signal: never })
  const first = [fetchOne(), fetchOne()]
  await until(() => reading === 2)
  t.equal(server.activeUploads(), 2)
  const { code, details } = await failure(fetchOne())
  t.equal(code, 'SHORTHAUL_PEER_BUSY')
  t.type(details.retryAfterMs, 'number')
  t.ok(Number(details.retryAfterMs) >= 20 && Number(details.retryAfterMs) <= 1000)
  t.equal(reading, 2)
  for (const open of gates.splice(0)) open()
  await Promise.all(first)
  await until(() => server.activeUploads() === 0)
  const after = fetchOne()
  await until(() => gates.length === 1)
  gates[0]?.()
  await after
})

t.test('one peer alone gets every slot, but gives way as soon as another asks', async (t) => {
  const clock = new HandClock()
  const admission = new LaneAdmission({ clock }, { maxUploads: 8 })
  admission.enter(ada, hash)
  admission.leave(ada, hash, 10)
  for (let i = 0; i < 8; i++) t.equal(admission.enter(ada, hash).isAdmitted, true)
  t.equal(admission.enter(bob, hash).isAdmitted, false)
  for (let i = 0; i < 4; i++) {
    admission.leave(ada, hash, 10)
    t.equal(admission.enter(ada, hash).isAdmitted, false, 'over its half')
    t.equal(admission.enter(bob, hash).isAdmitted, true, 'the freed slot is for the other')
  }
  t.equal(admission.enter(bob, hash).isAdmitted, false)
  t.equal(admission.activeCount, 8)
  for (let i = 0; i < 4; i++) admission.leave(bob, hash, 10)
  await clock.advance(2000)
  for (let i = 0; i < 4; i++) t.equal(admission.enter(ada, hash).isAdmitted, true, 'bob wants no more')
  t.equal(admission.enter(ada, hash).isAdmitted, false)
})

t.test('slots are as many as finish soon: two at first, all on a fast uplink, two on a slow one', async (t) => {
  const slotsAfter = (durationsMs: readonly number[]) => {
    const admission = new LaneAdmission({ clock: new HandClock() }, { maxUploads: 8 })
    for (const durationMs of durationsMs) {
      admission.enter(ada, hash)
      admission.leave(ada, hash, durationMs)
    }
    let count = 0
    while (admission.enter(ada, count.toString(16).padStart(64, '0') as SegmentHash).isAdmitted) count++
    return count
  }
  t.equal(slotsAfter([]), 2)
  t.equal(slotsAfter([10]), 8)
  t.equal(slotsAfter([1700]), 2, 'a segment at 5 Mbit/s')
  t.equal(slotsAfter([250]), 4)
  t.equal(slotsAfter([10, 5000, 5000]), 8, 'slow receivers say nothing about the uplink')
  t.equal(slotsAfter([10, ...Array.from({ length: 60 }, () => 1700)]), 2, 'but an uplink may become slow')
})

t.test('while the lane yields fewer slots are given, and who is refused stays away for a second', async (t) => {
  const clock = new HandClock()
  let limit = 2
  const admission = new LaneAdmission({ clock }, { maxUploads: 8, limit: () => limit })
  t.equal(admission.enter(ada, hash).isAdmitted, true)
  t.equal(admission.enter(ada, absent).isAdmitted, true)
  t.same(admission.enter(ada, hash), { isAdmitted: false, retryAfterMs: 1000 })
  admission.leave(ada, hash, 10)
  limit = 0
  t.same(admission.enter(bob, hash), { isAdmitted: false, retryAfterMs: 1000 })
  limit = Number.POSITIVE_INFINITY
  t.equal(admission.enter(bob, hash).isAdmitted, true)
})

t.test(
  'over a slow uplink a segment goes to one at a time, who passes it on before a second could have it',
  async (t) => {
    const admission = new LaneAdmission({ clock: new HandClock() }, { maxUploads: 8 })
    admission.enter(ada, hash)
    admission.leave(ada, hash, 1700)
    t.equal(admission.enter(ada, hash).isAdmitted, true)
    t.equal(admission.enter(bob, hash).isAdmitted, false)
    t.equal(admission.enter(bob, absent).isAdmitted, true, 'another segment')
    admission.leave(ada, hash, 1700)
    t.equal(admission.enter(ada, absent).isAdmitted, false)
    t.equal(admission.enter(ada, hash).isAdmitted, true, 'the first had it, or gave up')
    admission.leave(ada, hash, 10)
    admission.leave(bob, absent, 10)
    for (const peer of [ada, bob])
      t.equal(admission.enter(peer, hash).isAdmitted, true, 'over a fast one each has it at once')
  },
)

t.test('a peer that says too little, too much or nonsense is cut off without harm', async (t) => {
  const cases: [name: string, answer: string, code: string, into?: number][] = [
    ['a shorter length', `${head200(99)}${'x'.repeat(99)}`, 'SHORTHAUL_PEER_PROTOCOL'],
    ['a longer length', `${head200(101)}${'x'.repeat(101)}`, 'SHORTHAUL_PEER_PROTOCOL'],
    ['no length', `HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n${'x'.repeat(100)}`, 'SHORTHAUL_PEER_PROTOCOL'],
    ['chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n', 'SHORTHAUL_PEER_PROTOCOL'],
    [
      'a range that nobody asked for',
      'HTTP/1.1 206 OK\r\nContent-Length: 100\r\nContent-Range: bytes 0-99/100\r\n\r\n',
      'SHORTHAUL_PEER_PROTOCOL',
    ],
    [
      'a redirect',
      'HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n',
      'SHORTHAUL_PEER_PROTOCOL',
    ],
    ['an error', 'HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n', 'SHORTHAUL_PEER_PROTOCOL'],
    ['a long refusal', `HTTP/1.1 404 No\r\nContent-Length: 5000\r\n\r\n${'x'.repeat(5000)}`, 'SHORTHAUL_PEER_PROTOCOL'],
    ['no HTTP', 'SSH-2.0-OpenSSH_9.9\r\n\r\n', 'SHORTHAUL_PEER_PROTOCOL'],
    ['endless fields', `HTTP/1.1 200 OK\r\nX-Long: ${'x'.repeat(20_000)}\r\n\r\n`, 'SHORTHAUL_PEER_PROTOCOL'],
    [
      'busy for ever',
      'HTTP/1.1 503 Busy\r\nRetry-After: 999999999\r\nContent-Length: 0\r\n\r\n',
      'SHORTHAUL_PEER_BUSY',
    ],
    ['busy, whenever', 'HTTP/1.1 503 Busy\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n', 'SHORTHAUL_PEER_BUSY'],
  ]
  for (const [name, answer, expected] of cases) {
    const endpoint = await hostilePeer(t, (socket) => socket.write(answer))
    const client = newClient(t)
    const around = new Uint8Array(300)
    const { code, details } = await failure(
      client.fetchSegment(endpoint, hash, { into: around.subarray(100, 200), signal: never }),
    )
    t.equal(code, expected, name)
    t.type(details.receivedBytes, 'number')
    if (code === 'SHORTHAUL_PEER_BUSY') t.ok(Number(details.retryAfterMs) <= 60_000, 'the wait is bounded')
    t.ok(around.subarray(0, 100).every((byte) => byte === 0) && around.subarray(200).every((byte) => byte === 0))
  }
})

t.test('bytes after the announced end do not reach the next segment', async (t) => {
  const endpoint = await hostilePeer(t, (socket) => socket.write(`${head200(100)}${'x'.repeat(150)}`))
  const client = newClient(t, { connectionsPerPeer: 1 })
  for (let i = 0; i < 3; i++) {
    const into = new Uint8Array(100)
    const { code } = await failure(client.fetchSegment(endpoint, hash, { into, signal: never }))
    t.match(code, /none|SHORTHAUL_PEER_PROTOCOL/)
    if (code === 'none') t.ok(into.every((byte) => byte === 0x78))
  }
})

t.test('a fetch gives out its buffer while it runs, and neither a byte more nor one later', async (t) => {
  let destroyedCount = 0
  const answer = {
    status: 200,
    bodyBytes: 10,
    contentRange: null,
    retryAfter: null,
    retryAfterMs: null,
    isLast: false,
  }
  const around = new Uint8Array(30)
  const request = new LaneRequest({ into: around.subarray(10, 20), range: null, deadlineMs: 0 })
  request.start({ isHeld: false, destroy: () => destroyedCount++ })
  request.judge(answer)
  request.target()?.fill(1)
  request.received(6)
  request.target()?.fill(2)
  t.same([...around], [...Array(10).fill(0), ...Array(6).fill(1), ...Array(4).fill(2), ...Array(10).fill(0)])
  request.fail('SHORTHAUL_ABORTED', 'enough')
  t.match(await failure(request.done), { code: 'SHORTHAUL_ABORTED', details: { receivedBytes: 6 } })
  t.equal(destroyedCount, 1, 'its connection is ended')
  t.equal(request.target(), null)
})

t.test('a peer that dies in the middle is unreachable, and the bytes that came are counted', async (t) => {
  const endpoint = await hostilePeer(t, (socket) => socket.end(`${head200(100)}${'x'.repeat(60)}`))
  const { code, details } = await failure(
    newClient(t).fetchSegment(endpoint, hash, { into: new Uint8Array(100), signal: never }),
  )
  t.equal(code, 'SHORTHAUL_PEER_UNREACHABLE')
  t.equal(details.receivedBytes, 60)
  const gone = { ...endpoint, port: 1, peer: bob }
  const refused = await failure(newClient(t).fetchSegment(gone, hash, { into: new Uint8Array(1), signal: never }))
  t.equal(refused.code, 'SHORTHAUL_PEER_UNREACHABLE', 'nobody listens')
})

t.test('a peer that stops sending has stalled; one that sends slowly has not', async (t) => {
  const clock = new HandClock()
  let socket: TLSSocket | undefined
  const endpoint = await hostilePeer(t, (opened) => {
    socket = opened
    opened.write(`${head200(100)}${'x'.repeat(60)}`)
  })
  const client = newClient(t, { clock, stallTimeoutMs: 2500 })
  const into = new Uint8Array(100)
  const fetching = failure(client.fetchSegment(endpoint, hash, { into, signal: never }))
  await until(() => socket !== undefined)
  for (let i = 0; i < 10; i++) {
    await clock.advance(2000)
    socket?.write('x')
    await turns(8)
  }
  t.equal(clock.sleeperCount, 1, 'still waiting after twenty slow seconds')
  await clock.advance(4000)
  const { code, details } = await fetching
  t.equal(code, 'SHORTHAUL_PEER_STALLED')
  t.equal(details.receivedBytes, 70)
  into.fill(0)
  socket?.write('x'.repeat(30))
  await turns(8)
  t.ok(
    into.every((byte) => byte === 0),
    'nothing is written once it has failed',
  )
})

t.test('a fetch as a whole has a deadline', async (t) => {
  const clock = new HandClock()
  let socket: TLSSocket | undefined
  const endpoint = await hostilePeer(t, (opened) => {
    socket = opened
    opened.write(head200(100))
  })
  const client = newClient(t, { clock, stallTimeoutMs: 2500, requestTimeoutMs: 10_000, connectionsPerPeer: 1 })
  const fetching = failure(client.fetchSegment(endpoint, hash, { into: new Uint8Array(100), signal: never }))
  const queued = failure(client.fetchSegment(endpoint, hash, { into: new Uint8Array(100), signal: never }))
  await until(() => socket !== undefined)
  for (let i = 0; i < 8; i++) {
    await clock.advance(1500)
    socket?.write('x')
    await turns(8)
  }
  t.equal((await fetching).code, 'SHORTHAUL_PEER_STALLED')
  t.equal((await queued).code, 'SHORTHAUL_PEER_UNREACHABLE', 'one that never got a connection says so')
})

t.test('an abort ends only its own fetch', async (t) => {
  const gates: (() => void)[] = []
  const { client, endpointFor, server } = await setUp(t, {
    read: async (_hash, { signal }) => {
      await new Promise<void>((resolve, reject) => {
        gates.push(resolve)
        signal.addEventListener('abort', () => reject(signal.reason))
      })
      return segment
    },
  })
  const endpoint = endpointFor(ada)
  const stop = new AbortController()
  const start = (signal: AbortSignal) => client.fetchSegment(endpoint, hash, { into: new Uint8Array(MIB), signal })
  const doomed = failure(start(stop.signal))
  const other = start(never)
  await until(() => gates.length === 2)
  const waiting = failure(start(stop.signal))
  stop.abort(new Error('enough'))
  t.equal((await doomed).code, 'SHORTHAUL_ABORTED')
  t.equal((await waiting).code, 'SHORTHAUL_ABORTED', 'also when it waits for a connection')
  await until(() => server.activeUploads() === 1)
  for (const open of gates) open()
  await other
  t.equal((await failure(start(AbortSignal.abort()))).code, 'SHORTHAUL_ABORTED')
})

t.test('a new offer of the same peer replaces its connections, and what is under way finishes', async (t) => {
  const gates: (() => void)[] = []
  const { client, endpointFor } = await setUp(t, {
    read: async () => {
      await new Promise<void>((resolve) => gates.push(resolve))
      return segment
    },
  })
  const start = (endpoint: LaneEndpoint) =>
    client.fetchSegment(endpoint, hash, { into: new Uint8Array(MIB), signal: never })
  const first = start(endpointFor(ada))
  await until(() => gates.length === 1)
  const second = start(endpointFor(ada))
  await until(() => gates.length === 2)
  for (const open of gates) open()
  await Promise.all([first, second])
})

t.test('forgetting a peer and closing fail what is under way', async (t) => {
  const endpoint = await hostilePeer(t, () => {})
  const client = newClient(t)
  const start = () => failure(client.fetchSegment(endpoint, hash, { into: new Uint8Array(100), signal: never }))
  const first = start()
  await client.forget(ada)
  t.equal((await first).code, 'SHORTHAUL_PEER_UNREACHABLE')
  const second = start()
  await client.close()
  t.equal((await second).code, 'SHORTHAUL_PEER_UNREACHABLE')
  t.equal((await start()).code, 'SHORTHAUL_ABORTED')
  await client.close()
})

t.test('a peer that does not read loses its slot', async (t) => {
  const clock = new HandClock()
  // More than the kernel's buffers hold on loopback.
  const huge = Buffer.alloc(48 * MIB)
  const served: number[] = []
  const { server, endpointFor } = await setUp(t, {
    clock,
    read: async () => huge,
    onServed: (_peer, bytes) => served.push(bytes),
  })
  const socket = tls.connect({ host: HOST, ...tlsFor(endpointFor(ada)) })
  socket.on('error', () => {})
  await once(socket, 'secureConnect')
  socket.write(getSegment)
  await until(() => server.activeUploads() === 1)
  while (server.activeUploads() > 0) await clock.advance(1000)
  t.ok((served[0] ?? 0) < huge.byteLength, 'it got a part only')
  socket.destroy()
})

t.test('a peer that asks again before its answer came, and is cut off, holds no slot', async (t) => {
  const { server, endpointFor } = await setUp(t)
  // The first answer ends the connection, so that the second, which was begun, never gets one to leave by.
  const refused = `GET /segments/${hash} HTTP/1.1\r\nHost: lane\r\nContent-Length: 3\r\n\r\nabc`
  const answers = await converse(tlsFor(endpointFor(ada)), refused + getSegment)
  t.match(answers.toString('latin1'), /^HTTP\/1.1 413 /)
  await turns(20)
  t.equal(server.activeUploads(), 0)
})

t.test('an upload that waits for its budget is not taken for a stall', async (t) => {
  const clock = new HandClock()
  const waiting: { bytes: number; go: () => void }[] = []
  const { server, client, endpointFor } = await setUp(t, {
    clock,
    pace: {
      pieceBytes: () => 256 * 1024,
      take: (bytes) => new Promise<void>((resolve) => waiting.push({ bytes, go: resolve })),
      maxUploads: () => 1,
    },
    client: { clock: systemClock },
  })
  const into = new Uint8Array(MIB)
  const fetching = client.fetchSegment(endpointFor(ada), hash, { into, signal: never })
  let sentBytes = 0
  while (sentBytes < MIB) {
    await until(() => waiting.length > 0)
    await clock.advance(10_000, 1000)
    t.equal(server.activeUploads(), 1)
    const turn = waiting.shift()
    sentBytes += turn?.bytes ?? 0
    turn?.go()
  }
  await fetching
  t.ok(segment.equals(into))
})

t.test('an upload goes in pieces of the size that its budget names, at once where it says so', async (t) => {
  const pieces: number[] = []
  let pieceBytes = 300_000
  const { client, endpointFor } = await setUp(t, {
    pace: {
      pieceBytes: () => pieceBytes,
      take: (bytes) => {
        pieces.push(bytes)
        pieceBytes = 200_000
        return null
      },
      maxUploads: () => 8,
    },
  })
  const into = new Uint8Array(MIB)
  await client.fetchSegment(endpointFor(ada), hash, { into, signal: never })
  t.ok(segment.equals(into))
  t.same(pieces, [300_000, 200_000, 200_000, 200_000, MIB - 900_000])
})

t.test('a fetch that is held by our own budget has not stalled, and goes on where it was', async (t) => {
  const clock = new HandClock()
  const ready: (() => void)[] = []
  let isOpen = false
  let isHeld = false
  let chargedBytes = 0
  const intake: Intake = {
    reader: (onReady) => {
      ready.push(onReady)
      return {
        charge: (bytes) => {
          chargedBytes += bytes
          isHeld = !isOpen
          return isOpen
        },
        get isHeld() {
          return isHeld
        },
        close: () => {},
      }
    },
  }
  const { client, endpointFor } = await setUp(t, { client: { clock, intake } })
  const into = new Uint8Array(MIB)
  const fetching = client.fetchSegment(endpointFor(ada), hash, { into, signal: never })
  await until(() => chargedBytes > 0)
  await clock.advance(20_000, 500)
  t.ok(chargedBytes < MIB / 2, `${chargedBytes} bytes came although nobody reads`)
  for (let turn = 0; turn < 3; turn++) {
    const before = chargedBytes
    isHeld = false
    for (const go of ready) go()
    await until(() => chargedBytes > before)
  }
  isOpen = true
  isHeld = false
  for (const go of ready) go()
  await fetching
  t.ok(segment.equals(into))
  t.ok(chargedBytes > MIB, 'heads are charged too')
})

t.test('both sides tell of their connections, the server of what is below TLS', async (t) => {
  const told: { side: string; socket: Socket }[] = []
  const { client, endpointFor } = await setUp(t, { onSocket: (side, socket) => told.push({ side, socket }) })
  const endpoint = endpointFor(ada)
  for (let count = 0; count < 3; count++) {
    await client.fetchSegment(endpoint, hash, { into: new Uint8Array(MIB), signal: never })
  }
  t.same(told.map(({ side }) => side).sort(), ['client', 'server'])
  for (const { side, socket } of told) {
    const bytes = side === 'client' ? socket.bytesRead : socket.bytesWritten
    t.ok(bytes > 3 * MIB && bytes < 3.02 * MIB, `${side}: ${bytes}`)
  }
})

t.test('memory stays bounded, whatever is asked at once', async (t) => {
  let reading = 0
  let mostReading = 0
  const { client, endpointFor } = await setUp(t, {
    read: async () => {
      reading++
      mostReading = Math.max(mostReading, reading)
      await turns(1)
      reading--
      return segment
    },
    server: { maxUploads: 4 },
    client: { connectionsPerPeer: 8 },
  })
  const endpoint = endpointFor(ada)
  const intos = Array.from({ length: 16 }, () => new Uint8Array(MIB))
  const baseBytes = process.memoryUsage().arrayBuffers
  let mostBytes = 0
  let fetched = 0
  let busy = 0
  await Promise.all(
    intos.map(async (into) => {
      while (fetched < 256) {
        const { code } = await failure(client.fetchSegment(endpoint, hash, { into, signal: never }))
        if (code === 'none') fetched++
        else busy++
        if (code !== 'none' && code !== 'SHORTHAUL_PEER_BUSY') throw new Error(code)
        mostBytes = Math.max(mostBytes, process.memoryUsage().arrayBuffers)
      }
    }),
  )
  t.ok(busy > 0 && mostReading <= 4, `${mostReading} read at once`)
  t.ok(mostBytes - baseBytes < 128 * MIB, `${Math.round((mostBytes - baseBytes) / MIB)} MiB while 256 were sent`)
})

t.test('a taken port is an error, or another port when that is allowed', async (t) => {
  const { server, offers } = await setUp(t)
  const open = (portFallback: boolean) =>
    LaneServer.open(
      { clock: systemClock, log, offers, read: async () => null },
      { host: HOST, port: server.port, maxUploads: 1, maxConnections: 1, maxConnectionsPerPeer: 1, portFallback },
    )
  await t.rejects(open(false), { code: 'SHORTHAUL_PORT_IN_USE' })
  const other = await open(true)
  t.not(other.port, server.port)
  await other.close()
  await other.close()
})

// Security: each of these fails when the mechanism it names is taken out.

t.test('nobody gets anything without the key of a live offer', async (t) => {
  let reads = 0
  const { endpointFor, server } = await setUp(t, {
    read: async () => {
      reads++
      return segment
    },
  })
  const endpoint = endpointFor(ada)
  const port = server.port
  const psk = randomBytes(32)
  const anyone: tls.ConnectionOptions = { port, rejectUnauthorized: false }
  const strangers: [name: string, options: tls.ConnectionOptions][] = [
    ['no key', anyone],
    ['no key, TLS 1.2', { ...anyone, maxVersion: 'TLSv1.2' }],
    [
      'no key, a certificate that we would trust',
      { ...anyone, cert: CERTIFICATE, key: PRIVATE_KEY, ca: [CERTIFICATE] },
    ],
    ['a wrong key under a made-up identity', { port, ...laneClientTls({ identity: randomBytes(16), psk }) }],
    ['a wrong key under the identity of another', { port, ...laneClientTls({ identity: endpoint.identity, psk }) }],
    [
      'the right key under TLS 1.2',
      { ...tlsFor(endpoint), minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2', ciphers: 'PSK' },
    ],
    [
      'the key of zeros under a made-up identity',
      { port, ...laneClientTls({ identity: randomBytes(16), psk: Buffer.alloc(32) }) },
    ],
    ['the key of zeros', { port, ...laneClientTls({ identity: endpoint.identity, psk: Buffer.alloc(32) }) }],
  ]
  for (const [name, options] of strangers) {
    t.equal((await converse(options, getSegment)).byteLength, 0, name)
    t.equal(await shakesHands(options), false, 'does not even get through the handshake')
  }
  t.equal(await plainText(port), 0, 'no TLS at all')
  t.equal(reads, 0)
  t.ok((await converse(tlsFor(endpoint), getSegment)).byteLength > MIB, 'the right key does')
})

async function plainText(port: number): Promise<number> {
  const socket = net.connect(port, HOST)
  let bytes = 0
  socket.on('data', (chunk) => {
    if (chunk.includes('HTTP/1.1 200')) bytes += chunk.byteLength
  })
  socket.on('error', () => {})
  socket.write(getSegment)
  await new Promise((resolve) => socket.once('close', resolve))
  return bytes
}

async function recordingProxy(t: Tap, port: number) {
  const recorded: Buffer[] = []
  const sockets = new Set<Socket>()
  let onConnection = () => {}
  const proxy = net.createServer((near) => {
    onConnection()
    const far = net.connect(port, HOST)
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from)
      from.on('data', (chunk) => {
        recorded.push(chunk)
        to.write(chunk)
      })
      from.on('error', () => {})
      from.on('close', () => to.destroy())
    }
  })
  proxy.listen(0, HOST)
  await once(proxy, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    proxy.close()
  })
  return {
    port: (proxy.address() as AddressInfo).port,
    recorded: () => Buffer.concat(recorded),
    onConnection: (listener: () => void) => {
      onConnection = listener
    },
  }
}

t.test('the wire shows neither segment bytes nor names nor the key', async (t) => {
  const { client, endpointFor, server } = await setUp(t)
  const proxy = await recordingProxy(t, server.port)
  const endpoint = { ...endpointFor(ada), port: proxy.port }
  const into = new Uint8Array(MIB)
  await client.fetchSegment(endpoint, hash, { into, signal: never })
  t.ok(segment.equals(into))
  const wire = proxy.recorded()
  t.ok(wire.byteLength > MIB, 'all of it went through the proxy')
  for (let start = 0; start < MIB; start += 4096) {
    if (wire.includes(segment.subarray(start, start + 12))) t.fail(`plain text at ${start}`)
  }
  t.notOk(wire.includes(hash) || wire.includes('HTTP/1.1') || wire.includes('segments'), 'no request in clear')
  t.notOk(wire.includes(Buffer.from(endpoint.psk)) || wire.includes(Buffer.from(endpoint.psk).toString('hex')))
})

t.test('revoking an offer destroys its sockets, and neither its key nor a ticket opens again', async (t) => {
  const { endpointFor, offers } = await setUp(t)
  const endpoint = endpointFor(ada)
  const other = endpointFor(bob)
  const sessions: Buffer[] = []
  const socket = tls.connect({ host: HOST, ...tlsFor(endpoint), secureOptions: 0 })
  socket.on('session', (session) => sessions.push(session))
  socket.on('error', () => {})
  await once(socket, 'secureConnect')
  socket.write(getSegment.replace('Connection: close\r\n', ''))
  await once(socket, 'data')
  socket.resume()
  const current = socket.getSession()
  if (current) sessions.push(current)
  const bystander = tls.connect({ host: HOST, ...tlsFor(other) })
  await once(bystander, 'secureConnect')
  bystander.write(getSegment.replace('Connection: close\r\n', ''))
  await once(bystander, 'data')

  offers.revoke(ada)
  await until(() => socket.closed)
  t.equal(bystander.destroyed, false, 'others keep theirs')
  bystander.destroy()
  t.equal((await converse(tlsFor(endpoint), getSegment)).byteLength, 0, 'the key')
  t.ok(sessions.length > 0, 'there is a session to try')
  for (const session of sessions) {
    const { pskCallback: _, ...withoutKey } = { ...tlsFor(endpoint), secureOptions: 0, rejectUnauthorized: false }
    t.equal((await converse({ ...withoutKey, session }, getSegment)).byteLength, 0, 'a session without the key')
    t.equal((await converse({ ...tlsFor(endpoint), session }, getSegment)).byteLength, 0, 'a session with it')
    t.equal(await shakesHands({ ...withoutKey, session }), false, 'a session does not even get through the handshake')
  }
})

t.test('an upload under way is cut when its offer is revoked', async (t) => {
  const signals: AbortSignal[] = []
  const { client, endpointFor, offers, server } = await setUp(t, {
    read: (_hash, { signal }) => {
      signals.push(signal)
      return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    },
  })
  const fetching = failure(client.fetchSegment(endpointFor(ada), hash, { into: new Uint8Array(MIB), signal: never }))
  await until(() => signals.length === 1)
  offers.revoke(ada)
  t.equal((await fetching).code, 'SHORTHAUL_PEER_UNREACHABLE')
  await until(() => server.activeUploads() === 0)
  t.equal(signals[0]?.aborted, true, 'read was told')
})

t.test('an offer outlives its session by the grace and not longer', async (t) => {
  const clock = new HandClock()
  const { endpointFor, offers } = await setUp(t, { clock, graceMs: 30_000 })
  const endpoint = endpointFor(ada)
  const connect = async () => {
    const socket = tls.connect({ host: HOST, ...tlsFor(endpoint) })
    socket.on('error', () => {})
    await once(socket, 'secureConnect')
    return socket
  }
  const open = await connect()
  open.write(getSegment.replace('Connection: close\r\n', ''))
  await once(open, 'data')
  open.resume()
  await clock.advance(100_000, 10_000)
  t.ok(offers.lookup(endpoint.identity), 'a live session has no end')
  offers.endSession(ada)
  await clock.advance(29_900)
  t.ok(offers.lookup(endpoint.identity))
  t.ok((await converse(tlsFor(endpoint), getSegment)).byteLength > MIB, 'still good within the grace')
  t.equal(open.destroyed, false)
  await clock.advance(200)
  t.equal(offers.lookup(endpoint.identity), null)
  await until(() => open.closed)
  t.equal((await converse(tlsFor(endpoint), getSegment)).byteLength, 0)
  await clock.advance(5000)
  t.equal(clock.sleeperCount, 0, 'no timer is left')
})

t.test('offers: one for each session, bounded, gone even when the timer is late', async (t) => {
  const clock = new HandClock()
  const offers = new LaneOffers({ clock }, { graceMs: 1000, maxOffers: 6 })
  const first = offers.offerFor(ada)
  const second = offers.offerFor(ada)
  t.equal(first.identity.byteLength, 16)
  t.equal(first.psk.byteLength, 32)
  t.notOk(first.identity.equals(second.identity) || first.psk.equals(second.psk))
  offers.endSession(ada, { identity: first.identity })
  await clock.advance(1000)
  t.equal(offers.lookup(first.identity), null, 'the session that ended')
  t.match(offers.lookup(second.identity), { peer: ada }, 'the other goes on')

  const late = new LaneOffers(
    { clock: { ...systemClock, monotonicMs: () => clock.monotonicMs(), sleep: () => new Promise(() => {}) } },
    { graceMs: 1000, maxOffers: 6 },
  )
  const stale = late.offerFor(ada)
  late.endSession(ada)
  await clock.advance(1000)
  t.equal(late.lookup(stale.identity), null, 'no timer ever fired')

  const many = Array.from({ length: 20 }, (_, i) => offers.offerFor(i.toString(16).padStart(64, '0') as AgentKey))
  t.equal(many.filter(({ identity }) => offers.lookup(identity)).length, 6)
  const own = Array.from({ length: 20 }, () => offers.offerFor(bob))
  t.equal(own.filter(({ identity }) => offers.lookup(identity)).length, 4, 'one peer has a few')
  const ended: string[] = []
  offers.onEnd(({ peer }) => ended.push(peer))
  offers.close()
  t.equal(ended.length, 6)
  t.equal(clock.sleeperCount, 0)
})

t.test('an offer that ends during the handshake lets nobody in', async (t) => {
  const { offers, server } = await setUp(t)
  const endpoint: LaneEndpoint = { peer: ada, host: HOST, port: server.port, ...offers.offerFor(ada) }
  const lookup = offers.lookup.bind(offers)
  offers.lookup = (identity) => {
    const found = lookup(identity)
    // The key is copied out before it is wiped: as if OpenSSL had taken it already.
    const copy = found && { ...found, psk: Buffer.from(found.psk) }
    offers.revoke(ada)
    return copy
  }
  t.equal((await converse(tlsFor(endpoint), getSegment)).byteLength, 0)
})

t.test('strangers are bounded in number and do not keep members out', async (t) => {
  const { client, endpointFor, server } = await setUp(t, { server: { maxPending: 3 } })
  const strangers = Array.from({ length: 10 }, () => net.connect(server.port, HOST))
  for (const stranger of strangers) stranger.on('error', () => {})
  await Promise.all(strangers.map((stranger) => once(stranger, 'connect')))
  await until(() => strangers.filter((stranger) => stranger.closed).length >= 7)
  await client.fetchSegment(endpointFor(ada), hash, { into: new Uint8Array(MIB), signal: never })
  t.ok(strangers.filter((stranger) => stranger.closed).length >= 7)
  for (const stranger of strangers) stranger.destroy()
})

t.test('of sockets without identity the oldest goes first', async (t) => {
  const offers = new LaneOffers({ clock: systemClock }, { graceMs: 1000, maxOffers: 1 })
  const connections = new LaneConnections({ offers }, { maxPending: 3, maxConnections: 9, maxConnectionsPerPeer: 9 })
  // No TLS here, and so no handshake timeout that would close them too.
  const server = net.createServer((socket) => connections.addPending(socket))
  server.listen(0, HOST)
  await once(server, 'listening')
  const strangers: Socket[] = []
  for (let i = 0; i < 10; i++) {
    const stranger = net.connect((server.address() as AddressInfo).port, HOST)
    strangers.push(stranger)
    await once(stranger, 'connect')
  }
  await until(() => strangers.slice(0, 7).every((stranger) => stranger.closed))
  t.equal(connections.pendingCount, 3)
  t.ok(strangers.slice(7).every((stranger) => !stranger.closed))
  connections.close()
  await until(() => strangers.every((stranger) => stranger.closed))
  t.equal(connections.pendingCount, 0)
  server.close()
})

t.test('connections are bounded for each peer; an idle one gives way, a busy one does not', async (t) => {
  const gates: (() => void)[] = []
  const { endpointFor, server } = await setUp(t, {
    read: async (_hash, { signal }) => {
      await new Promise<void>((resolve, reject) => {
        gates.push(resolve)
        signal.addEventListener('abort', () => reject(signal.reason))
      })
      return segment
    },
    server: { maxConnectionsPerPeer: 2, maxConnections: 3 },
  })
  const endpoint = endpointFor(ada)
  const connect = async (to: LaneEndpoint) => {
    const socket = tls.connect({ host: HOST, ...tlsFor(to) })
    socket.on('error', () => {})
    socket.resume()
    await once(socket, 'secureConnect')
    return socket
  }
  // One is served at once: until something was, slots are few.
  const first = await connect(endpoint)
  first.write(getSegment)
  await until(() => gates.length === 1)
  gates.pop()?.()
  await until(() => server.activeUploads() === 0)
  first.destroy()
  const idle = await connect(endpoint)
  const busy = await connect(endpoint)
  busy.write(getSegment)
  await until(() => gates.length === 1)
  const third = await connect(endpoint)
  await until(() => idle.closed)
  third.write(getSegment)
  await until(() => gates.length === 2)
  const fourth = await connect(endpoint)
  await until(() => fourth.closed)
  t.equal(busy.closed || third.closed, false)
  const neighbour = await connect(endpointFor(bob))
  neighbour.write(getSegment)
  await until(() => gates.length === 3)
  const last = await connect(endpointFor('0c'.repeat(32) as AgentKey))
  await until(() => last.closed)
  server.destroyPeer(ada)
  await until(() => busy.closed && third.closed)
  t.equal(neighbour.closed, false)
  neighbour.destroy()
})

t.test('the client takes no certificate, not even one that this machine trusts', async (t) => {
  let requests = 0
  const impostor = createHttpsServer({ cert: CERTIFICATE, key: PRIVATE_KEY }, (_request, response) => {
    requests++
    response.end('x')
  })
  impostor.listen(0, HOST)
  await once(impostor, 'listening')
  t.teardown(() => {
    impostor.closeAllConnections()
    impostor.close()
  })
  const port = (impostor.address() as AddressInfo).port
  const trusted = tls.connect({ host: HOST, port, ca: CERTIFICATE })
  await once(trusted, 'secureConnect')
  t.equal(isPskSession(trusted), false, 'the last belt tells a certificate from a key')
  trusted.destroy()
  const certificateFile = `${t.testdir({ 'ca.pem': CERTIFICATE })}/ca.pem`

  const withEnvironment = async (environment: Record<string, string>) => {
    requests = 0
    const child = spawn(process.execPath, [TS_IMPORT, '--input-type=module', '--eval', IMPOSTOR_PROBE], {
      env: { ...process.env, ...environment, LANE_PORT: String(port), LANE_CA: CERTIFICATE },
      cwd: new URL('../..', import.meta.url),
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let output = ''
    child.stdout.on('data', (chunk) => {
      output += chunk
    })
    await once(child, 'close')
    return JSON.parse(output) as Record<string, string>
  }
  const expected = {
    plain: 'let in',
    lane: 'SHORTHAUL_PEER_UNREACHABLE',
    settings: 'kept out',
    withTrustedCa: 'kept out',
    withLenientNameCheck: 'kept out',
  }
  t.same(await withEnvironment({ NODE_EXTRA_CA_CERTS: certificateFile }), expected)
  t.equal(requests, 1, 'only the plain client asked for anything')
  t.same(await withEnvironment({ NODE_TLS_REJECT_UNAUTHORIZED: '0', NODE_NO_WARNINGS: '1' }), expected)
  t.equal(requests, 1)
})

/** Runs in a process of its own, because the environment's trust is read at start. */
const IMPOSTOR_PROBE = `
  import https from 'node:https'
  import tls from 'node:tls'
  import { randomBytes } from 'node:crypto'
  import { pino } from 'pino'
  import { systemClock } from './src/clock.ts'
  import { LaneClient } from './src/peers/lane-client.ts'
  import { laneClientTls } from './src/peers/lane-tls.ts'
  const port = Number(process.env.LANE_PORT)
  const offer = { identity: randomBytes(16), psk: randomBytes(32) }
  const enter = (options) => new Promise((resolve) => {
    const socket = tls.connect({ host: '127.0.0.1', port, ...options })
    socket.on('secureConnect', () => { resolve('let in'); socket.destroy() })
    socket.on('error', () => resolve('kept out'))
  })
  const plain = await new Promise((resolve) => {
    https.get({ host: '127.0.0.1', port, agent: false }, (response) => { response.resume(); resolve('let in') })
      .on('error', () => resolve('kept out'))
  })
  const client = new LaneClient(
    { clock: systemClock, log: pino({ level: 'silent' }) },
    { connectionsPerPeer: 1, requestTimeoutMs: 5000, stallTimeoutMs: 2500 },
  )
  const endpoint = { peer: 'aa'.repeat(32), host: '127.0.0.1', port, ...offer }
  const lane = await client.fetchSegment(endpoint, 'bb'.repeat(32), { into: new Uint8Array(1), signal: new AbortController().signal })
    .then(() => 'let in', (error) => error.code)
  await client.close()
  const settings = laneClientTls(offer)
  // The cipher of an impostor is its own choice: TLS 1.3 with a certificate has the same one.
  const result = {
    plain,
    lane,
    settings: await enter(settings),
    withTrustedCa: await enter({ ...settings, ca: [process.env.LANE_CA] }),
    withLenientNameCheck: await enter({ ...settings, checkServerIdentity: () => undefined }),
  }
  console.log(JSON.stringify(result))
`

/** Made for these tests with openssl req -x509; valid for 127.0.0.1 until 2126. Protects nothing. */
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBmDCCAT6gAwIBAgIUfaWsxCAJYZt/UZHmMgU0+pGGrzEwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbGFuZS10ZXN0MCAXDTI2MTEyMjIwNDU1MFoYDzIxMjYxMDI5
MjA0NTUwWjAUMRIwEAYDVQQDDAlsYW5lLXRlc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQlgJf+fyZUApd4uu5fUpzRkiAmIAfh2J68q3X1WTddcxQfmTDkyKfQ
jCAZmZLWYM+qSV31Xo6ZmYUfNorPG1ygo2wwajAdBgNVHQ4EFgQU7BLo+kiiaAbn
zva7dBt1DHGjD0EwHwYDVR0jBBgwFoAU7BLo+kiiaAbnzva7dBt1DHGjD0EwGgYD
VR0RBBMwEYcEfwAAAYIJbG9jYWxob3N0MAwGA1UdEwQFMAMBAf8wCgYIKoZIzj0E
AwIDSAAwRQIhALOyYkvb/F/OtZ1JwhxI5kGCsvJfIq0CxIQzlaOY/3h4AiA1NXW4
XOSPGwq+Ha7JlB6t5dh09msxGKi5+rwTf1LGoA==
-----END CERTIFICATE-----
`
const PRIVATE_KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgOaBFcW2/mPPXri6X
+nThzUz7FOUrJd8R9B46Kyee8IWhRANCAAQlgJf+fyZUApd4uu5fUpzRkiAmIAfh
2J68q3X1WTddcxQfmTDkyKfQjCAZmZLWYM+qSV31Xo6ZmYUfNorPG1yg
-----END PRIVATE KEY-----
`
