/**
 * A whole control session: raw frames of the connection, before and after the proof of membership, through GuardedStream,
 * Protomux, proof and messages. What Protomux throws comes out of a microtask and would end the process.
 *
 * Input: a byte that says whether the other end proves membership first, then frames, each with its length in 2 bytes.
 */
import crypto from 'hypercore-crypto'
import Protomux, { type Codec } from 'protomux'
import { membershipProofs } from '../../../src/peers/membership.ts'
import { Reception } from '../../../src/peers/reception.ts'
import { RosterTalk } from '../../../src/peers/roster-talk.ts'
import { encodeFrame, type HelloMessage } from '../../../src/peers/wire.ts'
import { silent } from '../../peers/branch-fixture.ts'
import { connectionPair, MemoryConnection } from '../../peers/memory-connection.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'
import type { Seeded } from '../kit/seeded.ts'
import { type FuzzTarget, must, type Verdict } from '../kit/target.ts'
import { MESSAGE_SEEDS } from './wire.ts'
import { encodedMessage } from './wire-messages.ts'

const PROOF_KEY = Buffer.alloc(32, 3)
const KEY_PAIRS = { initiator: crypto.keyPair(Buffer.alloc(32, 1)), responder: crypto.keyPair(Buffer.alloc(32, 2)) }
const HELLO: HelloMessage = {
  type: 'hello',
  protocolVersion: 1,
  instance: Buffer.alloc(8, 1),
  bootstrapPort: 17_736,
  agentVersion: '1',
  hostName: 'host',
  lane: null,
}

const rawCodec: Codec<Buffer> = {
  preencode(state, value) {
    state.end += value.byteLength
  },
  encode(state, value) {
    state.buffer?.set(value, state.start)
    state.start += value.byteLength
  },
  decode(state) {
    state.start = state.end
    return Buffer.alloc(0)
  },
}

/** What an honest end sends first: the opening of the channel with its proof. */
function opening(connection: MemoryConnection): Buffer {
  const proof = membershipProofs([PROOF_KEY], { handshakeHash: connection.handshakeHash, isInitiator: true })
  const alone = new MemoryConnection({
    isInitiator: true,
    own: connection.publicKey,
    remote: connection.remotePublicKey,
    hash: connection.handshakeHash,
  })
  const channel = new Protomux(alone).createChannel<Buffer>({
    protocol: 'shorthaul/1',
    handshake: rawCodec,
    messages: [{ onmessage: () => {} }],
    onopen: () => {},
  })
  channel?.open(proof)
  return alone.written[0] ?? Buffer.alloc(0)
}

/** Channel 1, message 0. */
function onChannel(message: Buffer): Buffer {
  return Buffer.concat([Buffer.from([1, 0]), message])
}

function framed(isProved: boolean, frames: readonly Buffer[]): Buffer {
  const parts = frames.map((frame) => {
    const length = Buffer.alloc(2)
    length.writeUInt16LE(Math.min(frame.byteLength, 0xffff))
    return Buffer.concat([length, frame.subarray(0, 0xffff)])
  })
  return Buffer.concat([Buffer.from([isProved ? 1 : 0]), ...parts])
}

function framesOf(input: Uint8Array): Buffer[] {
  const bytes = Buffer.from(input)
  const frames: Buffer[] = []
  for (let at = 1; at + 2 <= bytes.byteLength; ) {
    const end = Math.min(bytes.byteLength, at + 2 + bytes.readUInt16LE(at))
    frames.push(bytes.subarray(at + 2, end))
    at = end
  }
  return frames
}

/** Protomux's own messages: a batch, an opening, a rejection, a closing, of channels that are there or not. */
function control(random: Seeded): Buffer {
  const body = random.bytes(random.below(12))
  return Buffer.concat([Buffer.from([0, random.below(5)]), random.chance(0.5) ? body : Buffer.from([1, ...body])])
}

/** A batch in a batch in a batch: each has its length before it. */
function nestedBatch(depth: number): Buffer {
  const heads: Buffer[] = []
  let lengthBytes = 3
  for (let count = 0; count < depth; count++) {
    const length = lengthBytes <= 0xfc ? [lengthBytes] : [0xfd, lengthBytes & 0xff, lengthBytes >> 8]
    heads.push(Buffer.from([0, 0, ...length]))
    lengthBytes += 2 + length.length
  }
  return Buffer.concat([Buffer.from([0]), ...heads.reverse(), Buffer.from([0, 0, 5])])
}

export const sessionTarget: FuzzTarget = {
  name: 'session',
  testRuns: { count: 6000, why: 'each is a whole session' },
  covers: ['peers/session', 'peers/guarded-stream', 'peers/reception', 'peers/flood-gate', 'peers/pulse'],
  seeds: [
    framed(true, [encodeFrame(HELLO), ...MESSAGE_SEEDS].map(onChannel)),
    framed(false, [onChannel(encodeFrame(HELLO))]),
    framed(true, [nestedBatch(6000)]),
    framed(false, [nestedBatch(200)]),
    framed(false, [Buffer.from([0, 1, 1, 11, ...Buffer.from('shorthaul/1'), 0]), onChannel(encodeFrame(HELLO))]),
  ],
  tokens: ['\x00\x00', '\x00\x01', '\x00\x02', '\x00\x03', '\x01\x00', '\x0bshorthaul/1'],
  // Signs of life are answered, and the opening is made anew each time.
  maxAllocatedBytes: (input) => 256 * 1024 + 32 * input.byteLength,
  generate(random) {
    const frames = Array.from({ length: 1 + random.below(6) }, () =>
      random.chance(0.75) ? onChannel(encodedMessage(random)) : control(random),
    )
    const hello = onChannel(encodeFrame(HELLO))
    return framed(random.chance(0.8), random.chance(0.8) ? [hello, ...frames] : frames)
  },
  async run(input) {
    const said: string[] = []
    const reception = new Reception(
      { clock: new VirtualClock(), log: silent },
      {
        proofKeys: () => [PROOF_KEY],
        roster: null,
        signedRoster: new RosterTalk(null),
        hello: () => {
          said.push('hello')
          return HELLO
        },
        onOpen: () => said.push('open'),
        onMessage: () => said.push('message'),
        onClosed: () => said.push('closed'),
      },
    )
    const [initiator, responder] = connectionPair(KEY_PAIRS)
    initiator.on('error', () => {})
    reception.receive(responder)
    const isProved = input[0] === 1
    if (isProved) await arrive(responder, opening(responder.other ?? responder))
    for (const frame of framesOf(input)) await arrive(responder, frame)
    responder.destroy()
    await Promise.resolve()
    return judge(said, { isProved, sessionCount: reception.sessionCount })
  },
}

/** Protomux works on in microtasks. */
async function arrive(at: MemoryConnection, frame: Buffer): Promise<void> {
  if (at.destroyed) return
  at.emit('data', Buffer.from(frame))
  await Promise.resolve()
}

function judge(said: readonly string[], state: { isProved: boolean; sessionCount: number }): Verdict {
  const count = (what: string) => said.filter((each) => each === what).length
  const opened = said.indexOf('open')
  const message = said.indexOf('message')
  must(state.isProved || !said.includes('hello'), 'a hello, with the key of the lane, without a proof')
  must(count('hello') <= 1 && count('open') <= 1, `what is said once: ${said.join(' ')}`)
  must(count('closed') === 1 && said.at(-1) === 'closed', `it does not end with its end: ${said.join(' ')}`)
  must(opened === -1 || said.indexOf('hello') < opened, 'it opened before our hello')
  must(message === -1 || (opened !== -1 && opened < message), 'a message before it was open')
  must(state.sessionCount === 0, 'a session is left')
  return opened === -1 ? 'refused' : 'accepted'
}
