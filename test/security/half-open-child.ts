/**
 * A stranger that begins handshakes with an agent and ends none: `half-open-child.ts KEY PORT COUNT WAY FROM`.
 *
 * KEY is what the DHT tells everybody who asks. Each handshake has a key pair of its own, as if so many machines came.
 * WAY: `direct`, as a client says it to the agent; `relayed`, as a relay says it for a client elsewhere, so that the agent
 * waits for a connection that does not come; `garbage`, bytes by chance. FROM: addresses of this host, with commas.
 *
 * Speaks the wire by itself, since a client of hyperdht holds its own pace. It goes on until COUNT are
 * sent and something came over stdin, and prints how many bytes went and came back.
 */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { setTimeout } from 'node:timers/promises'
import crypto, { type KeyPair } from 'hypercore-crypto'

interface NoiseWrap {
  send(payload: Record<string, unknown>): Buffer
}
const load = createRequire(import.meta.url)
const Noise = load('hyperdht/lib/noise-wrap') as new (keyPair: KeyPair, remote: Buffer) => NoiseWrap
const { handshake } = load('hyperdht/lib/messages') as { readonly handshake: unknown }
const { encode } = load('compact-encoding') as { encode(codec: unknown, value: unknown): Buffer }

const REQUEST = 3
const HAS_TARGET_AND_VALUE = 8 | 16
const PEER_HANDSHAKE = 0
const FROM_CLIENT = 0
const FROM_RELAY = 2
/** Faster than an agent can answer, and not so fast that most are lost in the buffer of its socket. */
const BURST = 16
const PAUSE_MS = 6

const [keyHex = '', port = '', count = '', way = 'direct', from = '127.0.0.9'] = process.argv.slice(2)
const key = Buffer.from(keyHex, 'hex')
const target = crypto.hash(key)

function datagram(number: number): Buffer {
  if (way === 'garbage') return crypto.randomBytes(1 + (number % 1400))
  const noise = new Noise(crypto.keyPair(), key).send({
    version: 1,
    error: 0,
    firewall: way === 'direct' ? 1 : 0,
    holepunch: null,
    addresses4: [],
    addresses6: [],
    udx: { reusableSocket: false, id: number, seq: 0 },
    secretStream: {},
    relayThrough: null,
    relayAddresses: null,
  })
  const peerAddress = way === 'direct' ? null : { host: '127.0.0.9', port: 9 }
  const value = encode(handshake, {
    mode: way === 'direct' ? FROM_CLIENT : FROM_RELAY,
    noise,
    peerAddress,
    relayAddress: null,
  })
  const head = Buffer.alloc(11)
  head.writeUInt8(REQUEST, 0)
  head.writeUInt8(HAS_TARGET_AND_VALUE, 1)
  head.writeUInt16LE(number & 0xffff, 2)
  head.set([127, 0, 0, 1], 4)
  head.writeUInt16LE(Number(port), 8)
  head.writeUInt8(PEER_HANDSHAKE, 10)
  const length = value.byteLength < 0xfd ? [value.byteLength] : [0xfd, value.byteLength & 255, value.byteLength >> 8]
  return Buffer.concat([head, target, Buffer.from(length), value])
}

let backBytes = 0
let sentBytes = 0
const sockets: Socket[] = []
for (const address of from.split(',')) {
  const socket = createSocket('udp4').bind(0, address)
  await once(socket, 'listening')
  socket.on('message', (bytes) => {
    backBytes += bytes.byteLength
  })
  sockets.push(socket)
}
let isEnough = false
process.stdin.resume().on('data', () => {
  isEnough = true
})
for (let number = 1; number <= Number(count) || !isEnough; number++) {
  const bytes = datagram(number)
  sentBytes += bytes.byteLength
  sockets[number % sockets.length]?.send(bytes, Number(port), '127.0.0.1')
  if (number % BURST === 0) await setTimeout(PAUSE_MS)
}
process.stdout.write(`${JSON.stringify({ sentBytes, backBytes })}\n`)
process.exit(0)
