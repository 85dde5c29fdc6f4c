/**
 * What the lane costs: MB/s and CPU-seconds per GiB of server and client, in two processes over loopback.
 *
 *   tsx bench/lane-bench.ts [--json] [--mib 1024] [--quick]
 *
 * Baseline: node:https with a certificate, the same cipher, and node:https's own client, one keep-alive agent.
 * Measures transport alone: segments come from memory and are not hashed.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import https from 'node:https'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { pino } from 'pino'
import { secretBytes, systemClock } from '../src/clock.ts'
import type { AgentKey, SegmentHash } from '../src/content/ids.ts'
import { SEGMENT_BYTES } from '../src/content/segmentation.ts'
import { LaneClient, type LaneEndpoint } from '../src/peers/lane-client.ts'
import { LaneOffers } from '../src/peers/lane-offers.ts'
import { LaneServer } from '../src/peers/lane-server.ts'

type Kind = 'lane' | 'https'
interface Row {
  readonly kind: Kind
  readonly connections: number
  readonly inFlight: number
  readonly megabytesPerSec: number
  readonly serverCpuSecPerGib: number
  readonly clientCpuSecPerGib: number
}
interface Ready {
  readonly lane: { readonly port: number; readonly identity: string; readonly psk: string }
  readonly https: { readonly port: number }
}
type Fetch = (into: Uint8Array) => Promise<void>

const HOST = '127.0.0.1'
const PEER = '0a'.repeat(32) as AgentKey // made up: the bench has no control session
const HASH = 'c5'.repeat(32) as SegmentHash
const CIPHER = 'TLS_AES_128_GCM_SHA256'
const log = pino({ level: 'silent' })

/** Valid for loopback only, made for this bench and the tests; protects nothing. */
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

async function serve(): Promise<void> {
  // Many different buffers, as a store would give: a single hot one would flatter the caches.
  const segments = Array.from({ length: 32 }, () => secretBytes(SEGMENT_BYTES))
  let next = 0
  const segment = () => segments[next++ % segments.length] ?? new Uint8Array()
  const offers = new LaneOffers({ clock: systemClock }, { graceMs: 1000, maxOffers: 10 })
  const lane = await LaneServer.open(
    { clock: systemClock, log, offers, read: async () => segment() },
    { host: HOST, port: 0, maxUploads: 64, maxConnections: 64, maxConnectionsPerPeer: 64, portFallback: false },
  )
  const plain = https.createServer(
    { cert: CERTIFICATE, key: PRIVATE_KEY, minVersion: 'TLSv1.3', ciphers: CIPHER },
    (_request, response) => {
      response.writeHead(200, { 'content-length': SEGMENT_BYTES })
      response.end(segment())
    },
  )
  plain.listen(0, HOST)
  await once(plain, 'listening')
  const offer = offers.offerFor(PEER)
  const ready: Ready = {
    lane: { port: lane.port, identity: offer.identity.toString('hex'), psk: offer.psk.toString('hex') },
    https: { port: (plain.address() as AddressInfo).port },
  }
  process.on('message', () => process.send?.(process.cpuUsage()))
  process.on('disconnect', () => process.exit(0))
  process.send?.(ready)
}

function laneFetch(ready: Ready, connections: number): { fetch: Fetch; close: () => Promise<void> } {
  const client = new LaneClient(
    { clock: systemClock, log },
    { connectionsPerPeer: connections, requestTimeoutMs: 60_000, stallTimeoutMs: 10_000 },
  )
  const { port, identity, psk } = ready.lane
  const endpoint: LaneEndpoint = {
    peer: PEER,
    host: HOST,
    port,
    identity: Buffer.from(identity, 'hex'),
    psk: Buffer.from(psk, 'hex'),
  }
  const { signal } = new AbortController()
  return {
    fetch: (into) => client.fetchSegment(endpoint, HASH, { into, signal }),
    close: () => client.close(),
  }
}

function httpsFetch(ready: Ready, connections: number): { fetch: Fetch; close: () => Promise<void> } {
  const agent = new https.Agent({
    keepAlive: true,
    maxSockets: connections,
    ca: CERTIFICATE,
    minVersion: 'TLSv1.3',
    ciphers: CIPHER,
  })
  const fetchOne: Fetch = (into) =>
    new Promise((resolve, reject) => {
      https
        .get({ host: HOST, port: ready.https.port, path: `/segments/${HASH}`, agent }, (response) => {
          let received = 0
          response.on('data', (chunk: Buffer) => {
            into.set(chunk, received)
            received += chunk.byteLength
          })
          response.on('end', resolve)
          response.on('error', reject)
        })
        .on('error', reject)
    })
  return { fetch: fetchOne, close: async () => agent.destroy() }
}

async function measure(kind: Kind, setting: { connections: number; inFlight: number; mib: number }): Promise<Row> {
  const { connections, inFlight, mib } = setting
  const server = fork(fileURLToPath(import.meta.url), ['--serve'], { execArgv: process.execArgv })
  const [ready] = (await once(server, 'message')) as [Ready]
  const serverCpu = async () => {
    server.send('cpu')
    const [usage] = (await once(server, 'message')) as [NodeJS.CpuUsage]
    return usage.user + usage.system
  }
  const { fetch: fetchOne, close } = (kind === 'lane' ? laneFetch : httpsFetch)(ready, connections)
  const run = async (total: number) => {
    let left = total
    await Promise.all(
      Array.from({ length: inFlight }, async () => {
        const into = new Uint8Array(SEGMENT_BYTES)
        while (left-- > 0) await fetchOne(into)
      }),
    )
  }
  await run(Math.min(128, mib)) // handshakes, and the compiler's time to warm up
  const serverBefore = await serverCpu()
  const clientBefore = process.cpuUsage()
  const startMs = systemClock.monotonicMs()
  await run(mib)
  const durationMs = systemClock.monotonicMs() - startMs
  const client = process.cpuUsage(clientBefore)
  const serverMicros = (await serverCpu()) - serverBefore
  await close()
  server.disconnect()
  await once(server, 'exit')
  const gib = mib / 1024
  return {
    kind,
    connections,
    inFlight,
    megabytesPerSec: round((mib * SEGMENT_BYTES) / 1e3 / durationMs),
    serverCpuSecPerGib: round(serverMicros / 1e6 / gib),
    clientCpuSecPerGib: round((client.user + client.system) / 1e6 / gib),
  }
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      json: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      serve: { type: 'boolean', default: false },
      mib: { type: 'string', default: '1024' },
    },
  })
  if (values.serve) return serve()
  const mib = Number(values.mib)
  const connectionCounts = values.quick ? [2] : [1, 2, 4]
  const inFlightCounts = values.quick ? [4] : [2, 4, 8]
  const print = (row: Row) =>
    console.log(
      values.json
        ? JSON.stringify(row)
        : `| ${row.kind} | ${row.connections} | ${row.inFlight} | ${row.megabytesPerSec} | ${row.serverCpuSecPerGib} | ${row.clientCpuSecPerGib} |`,
    )
  if (!values.json)
    console.log('| | connections | in flight | MB/s | server CPU-s/GiB | client CPU-s/GiB |\n|---|---|---|---|---|---|')
  for (const connections of connectionCounts) {
    for (const inFlight of inFlightCounts) {
      for (const kind of ['lane', 'https'] as const) print(await measure(kind, { connections, inFlight, mib }))
    }
  }
}

await main()
