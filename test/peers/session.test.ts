import crypto from 'hypercore-crypto'
import Protomux from 'protomux'
import t from 'tap'
import { type AgentKey, idFromBytes, type ResourceKey } from '../../src/content/ids.ts'
import { Admission, givesWay } from '../../src/peers/admission.ts'
import { GuardedStream } from '../../src/peers/guarded-stream.ts'
import { membershipProof, membershipProofs } from '../../src/peers/membership.ts'
import type { Message } from '../../src/peers/messages.ts'
import { PeerTable } from '../../src/peers/peer-table.ts'
import { Reception } from '../../src/peers/reception.ts'
import { RosterTalk } from '../../src/peers/roster-talk.ts'
import type { Session } from '../../src/peers/session.ts'
import { encodeFrame, type HelloMessage } from '../../src/peers/wire.ts'
import { settled, VirtualClock } from '../support/virtual-clock.ts'
import { silent } from './branch-fixture.ts'
import { connectionPair, type MemoryConnection } from './memory-connection.ts'

const PROOF_KEY = crypto.randomBytes(32)
const PSK = Buffer.alloc(32, 0x5a)
const REQUEST: Message = { type: 'manifest-request', resource: 'ab'.repeat(32) as ResourceKey, firstIndex: 1 }

function hello(overrides: Partial<HelloMessage> = {}): HelloMessage {
  return {
    type: 'hello',
    protocolVersion: 1,
    instance: Buffer.alloc(8, 1),
    bootstrapPort: 17736,
    agentVersion: '1',
    hostName: 'host',
    lane: { port: 17738, identity: Buffer.alloc(16, 2), psk: PSK },
    ...overrides,
  }
}

/** A reception with a log of what its owner hears. */
function agent(
  options: {
    proofKey?: Buffer
    proofKeys?: () => readonly Buffer[]
    clock?: VirtualClock
    roster?: Set<AgentKey>
  } = {},
) {
  const events: string[] = []
  const sessions: Session[] = []
  const messages: Message[] = []
  const clock = options.clock ?? new VirtualClock()
  const reception = new Reception(
    { clock, log: silent },
    {
      proofKeys: options.proofKeys ?? (() => [options.proofKey ?? PROOF_KEY]),
      roster: options.roster ?? null,
      signedRoster: new RosterTalk(null),
      hello: () => {
        events.push('hello')
        return hello()
      },
      onOpen: (session) => {
        events.push('open')
        sessions.push(session)
      },
      onMessage: (_, message) => messages.push(message),
      onClosed: (_, end) => events.push(end),
    },
  )
  return { events, sessions, messages, reception, clock }
}

/** Somebody who speaks Protomux and says what he likes. */
function outlaw(connection: MemoryConnection, proof: Buffer) {
  const received: Buffer[] = []
  const guard = { isProved: () => true, admit: () => true, onViolation: () => {} }
  connection.on('error', () => {})
  const channel = new Protomux(new GuardedStream(connection, guard)).createChannel<Buffer>({
    protocol: 'shorthaul/1',
    handshake: {
      preencode: (state, value) => {
        state.end += value.byteLength
      },
      encode: (state, value) => {
        state.buffer?.set(value, state.start)
        state.start += value.byteLength
      },
      decode: (state) => {
        state.start = state.end
        return Buffer.alloc(0)
      },
    },
    messages: [{ onmessage: (bytes) => void received.push(Buffer.from(bytes)) }],
    onopen: () => {},
  })
  channel?.open(proof)
  return { received, send: (bytes: Uint8Array) => channel?.messages[0]?.send(bytes) }
}

function proofOf(connection: MemoryConnection, isInitiator = connection.isInitiator): Buffer {
  return membershipProofs([PROOF_KEY], { handshakeHash: connection.handshakeHash, isInitiator })
}

t.test('two members open a session, and messages pass both ways', async (t) => {
  const [a, b] = [agent(), agent()]
  const [initiator, responder] = connectionPair()
  a.reception.receive(initiator)
  b.reception.receive(responder)
  await settled()
  t.strictSame(
    [a.events, b.events],
    [
      ['hello', 'open'],
      ['hello', 'open'],
    ],
  )
  t.strictSame(a.sessions[0]?.hello, hello())
  t.equal(a.sessions[0]?.send(encodeFrame(REQUEST)), true)
  t.equal(b.sessions[0]?.send(encodeFrame(REQUEST)), true)
  await settled()
  t.strictSame([a.messages, b.messages], [[REQUEST], [REQUEST]])
  t.equal(a.sessions[0]?.pulse.rttMs, 0)
  a.sessions[0]?.close('closing')
  await settled()
  t.strictSame([a.events.at(-1), b.events.at(-1)], ['closing', 'closed'])
  t.equal(a.sessions[0]?.send(encodeFrame(REQUEST)), false)
  t.equal(b.reception.sessionCount, 0)
})

t.test('whoever does not prove the secret is closed, and gets no hello', async (t) => {
  const cases: [string, (connection: MemoryConnection) => Buffer | null][] = [
    ['another secret', (c) => membershipProofs([crypto.randomBytes(32)], c)],
    ['our own proof, sent back', (c) => proofOf(c, !c.isInitiator)],
    [
      'a proof of another session',
      (c) => membershipProofs([PROOF_KEY], { ...c, handshakeHash: crypto.randomBytes(64) }),
    ],
    ['one proof without the other place', (c) => membershipProof(PROOF_KEY, c)],
    ['a proof that is too short', (c) => proofOf(c).subarray(1)],
    ['a proof that is too long', (c) => Buffer.concat([proofOf(c), Buffer.alloc(1)])],
    ['nothing', () => null],
  ]
  for (const [name, proof] of cases) {
    const member = agent()
    const [initiator, responder] = connectionPair()
    member.reception.receive(responder)
    const theirs = proof(initiator)
    const received = theirs === null ? [] : outlaw(initiator, theirs).received
    initiator.on('error', () => {})
    await settled()
    await member.clock.pass(5000)
    t.strictSame(member.events, ['not-member'], name)
    t.equal(member.reception.rejected().notMember, 1, name)
    t.equal(initiator.destroyed, true, name)
    t.strictSame(received, [], name)
    t.notOk(
      responder.written.some((frame) => frame.includes(PSK)),
      `${name}: the lane's key did not leave`,
    )
    t.equal(responder.written.length, 1, `${name}: nothing but our own proof left`)
  }
})

t.test(
  'during a rotation members meet with the secret that both hold; with its window end sessions that rest on it',
  async (t) => {
    const [old, fresh] = [crypto.randomBytes(32), crypto.randomBytes(32)]
    let isWindowOpen = true
    const both = () => (isWindowOpen ? [fresh, old] : [fresh])
    const middle = agent({ proofKeys: both })
    const meet = async (others: ReturnType<typeof agent>) => {
      const [initiator, responder] = connectionPair()
      others.reception.receive(initiator)
      middle.reception.receive(responder)
      await settled()
      return responder
    }
    const [behind, ahead, beside] = [agent({ proofKey: old }), agent({ proofKey: fresh }), agent({ proofKeys: both })]
    const [toBehind, toAhead, toBeside] = [await meet(behind), await meet(ahead), await meet(beside)]
    t.strictSame([behind.events.at(-1), ahead.events.at(-1), beside.events.at(-1)], ['open', 'open', 'open'])
    middle.reception.closeExpired()
    t.equal(middle.reception.sessionCount, 3, 'nothing has expired so far')

    const [initiator, responder] = connectionPair()
    behind.reception.receive(initiator)
    ahead.reception.receive(responder)
    await settled()
    t.equal(ahead.reception.rejected().notMember, 1, 'old only and new only are strangers')

    isWindowOpen = false
    middle.reception.closeExpired()
    await settled()
    t.strictSame([toBehind.destroyed, toAhead.destroyed, toBeside.destroyed], [true, false, false])
    t.equal(middle.events.at(-1), 'secret-expired')
    t.equal((await meet(behind)).destroyed, true, 'and the old secret opens nothing any more')
    t.equal(middle.reception.rejected().notMember, 1)
  },
)

t.test('a stranger cannot overflow the stack with batches in batches, nor send long frames or many', async (t) => {
  const nested = nestedBatches(6000)
  const attacks: [string, Buffer[]][] = [
    ['a batch in a batch', [nested]],
    ['a small batch', [nestedBatches(20)]],
    ['a frame of 2 kB', [Buffer.alloc(2048, 7)]],
    ['many frames', Array.from({ length: 20 }, () => Buffer.from([9, 0, 0]))],
  ]
  for (const [name, frames] of attacks) {
    const member = agent()
    const [initiator, responder] = connectionPair()
    initiator.on('error', () => {})
    member.reception.receive(responder)
    for (const frame of frames) initiator.write(frame)
    await settled()
    t.equal(initiator.destroyed, true, name)
    t.match(member.events, [/protocol|flood/], name)
    t.equal(member.events.length, 1, name)
  }
})

/** 30 kB that make protomux 3.12.1 recurse until the process dies. */
function nestedBatches(depth: number): Buffer {
  const heads: Buffer[] = []
  let lengthBytes = 3
  for (let i = 0; i < depth; i++) {
    const length = lengthBytes <= 0xfc ? [lengthBytes] : [0xfd, lengthBytes & 255, lengthBytes >> 8]
    heads.push(Buffer.from([0, 0, ...length]))
    lengthBytes += 2 + length.length
  }
  return Buffer.concat([Buffer.from([0]), ...heads.reverse(), Buffer.from([0, 0, 5])])
}

t.test('a member that breaks the protocol is closed with SHORTHAUL_PEER_PROTOCOL, and counted', async (t) => {
  const greeting = encodeFrame(hello())
  const request = encodeFrame(REQUEST)
  const sins: [string, Uint8Array[], 'protocol' | 'version' | 'flood'][] = [
    ['garbage', [greeting, Buffer.from([18, 1, 2, 3])], 'protocol'],
    ['a message before hello', [request], 'protocol'],
    ['hello twice', [greeting, greeting], 'protocol'],
    ['a trailing byte', [greeting, Buffer.concat([request, Buffer.alloc(1)])], 'protocol'],
    ['another version', [encodeFrame(hello({ protocolVersion: 2 }))], 'version'],
    ['a flood', [greeting, ...Array.from({ length: 9000 }, () => request)], 'flood'],
    ['a frame that is too long', [greeting, Buffer.alloc(300 * 1024, 200)], 'protocol'],
  ]
  for (const [name, frames, end] of sins) {
    const member = agent()
    const [initiator, responder] = connectionPair()
    member.reception.receive(responder)
    const traitor = outlaw(initiator, proofOf(initiator))
    await settled()
    for (const frame of frames) traitor.send(frame)
    await settled()
    t.equal(member.events.at(-1), end, name)
    t.equal(member.reception.rejected()[end], 1, name)
    t.equal(initiator.destroyed, true, name)
  }
})

t.test('a member cannot overflow the stack either', async (t) => {
  const member = agent()
  const [initiator, responder] = connectionPair()
  member.reception.receive(responder)
  outlaw(initiator, proofOf(initiator)).send(encodeFrame(hello()))
  await settled()
  t.equal(member.events.at(-1), 'open')
  initiator.write(nestedBatches(6000))
  await settled()
  t.equal(member.events.at(-1), 'protocol')
  t.equal(initiator.destroyed, true)
})

t.test('a member that never says hello loses its place', async (t) => {
  const member = agent()
  const [initiator, responder] = connectionPair()
  member.reception.receive(responder)
  outlaw(initiator, proofOf(initiator))
  await settled()
  await member.clock.pass(4999)
  t.equal(member.reception.sessionCount, 1)
  await member.clock.pass(1)
  t.equal(member.events.at(-1), 'protocol')
  t.equal(member.reception.sessionCount, 0)
})

t.test('messages of a later version are ignored and counted', async (t) => {
  const member = agent()
  const [initiator, responder] = connectionPair()
  member.reception.receive(responder)
  const later = outlaw(initiator, proofOf(initiator))
  await settled()
  for (const frame of [encodeFrame(hello()), Buffer.from([99, 1, 2]), encodeFrame(REQUEST)]) later.send(frame)
  await settled()
  t.equal(member.reception.unknownCount, 1)
  t.strictSame(member.messages, [REQUEST])
  t.equal(responder.destroyed, false)
})

t.test('a peer that does not read is closed before its backlog grows without end', async (t) => {
  const [a, b] = [agent(), agent()]
  const [initiator, responder] = connectionPair()
  a.reception.receive(initiator)
  b.reception.receive(responder)
  await settled()
  initiator.isDrained = false
  const [session] = a.sessions
  const ranges = Array.from({ length: 4000 }, (_, i) => ({ start: 2 * i, end: 2 * i + 1 }))
  const large = encodeFrame({ type: 'gone', resource: 'ab'.repeat(32) as ResourceKey, ranges })
  let taken = 0
  while (session?.send(large) && taken < 1000) taken++
  t.ok(taken * large.byteLength > 3 * 1024 * 1024 && taken * large.byteLength <= 4 * 1024 * 1024)
  t.equal(a.events.at(-1), 'backlog')
  t.equal(a.reception.rejected().backlog, 1)
})

t.test('the roster turns away keys without a word', async (t) => {
  const friend = crypto.keyPair()
  const guarded = agent({ roster: new Set([idFromBytes<AgentKey>(friend.publicKey)]) })
  const [, fromStranger] = connectionPair()
  const [toFriend, fromFriend] = connectionPair({ initiator: friend })
  for (const connection of [fromStranger, fromFriend]) guarded.reception.receive(connection)
  agent().reception.receive(toFriend)
  await settled()
  t.equal(fromStranger.destroyed, true)
  t.strictSame(fromStranger.written, [])
  t.equal(guarded.reception.rejected().roster, 1)
  t.equal(guarded.sessions.length, 1)
})

t.test('strangers cannot take all places', async (t) => {
  const member = agent()
  const receive = (host: string, count: number) => {
    const responders = Array.from({ length: count }, () => connectionPair({ host })[1])
    for (const responder of responders) member.reception.receive(responder)
    return responders
  }
  receive('10.0.0.1', 20)
  t.equal(member.reception.sessionCount, 16, 'from one address')
  for (let host = 2; host < 10; host++) receive(`10.0.0.${host}`, 16)
  t.equal(member.reception.sessionCount, 64, 'from all together')
  const [initiator] = connectionPair()
  member.reception.receive(initiator)
  t.equal(member.reception.sessionCount, 65, 'those that we dialled ourselves are not held against strangers')
  await member.clock.pass(5000)
  t.equal(member.reception.sessionCount, 0, 'places come back after the deadline')
  t.ok(member.reception.rejected().capacity > 4)
})

t.test('when places are full an honest agent gets one from the address that has most', async (t) => {
  const member = agent()
  for (let host = 1; host <= 4; host++) {
    for (let i = 0; i < 16; i++) member.reception.receive(connectionPair({ host: `10.0.0.${host}` })[1])
  }
  t.equal(member.reception.sessionCount, 64)
  const honest = agent()
  const [initiator, responder] = connectionPair({ host: '10.0.0.99' })
  honest.reception.receive(initiator)
  member.reception.receive(responder)
  await settled()
  t.equal(honest.events.at(-1), 'open')
  t.equal(member.reception.rejected().displaced, 1)
  t.equal(member.reception.sessionCount, 64, 'one of the others went')
})

t.test('one address cannot knock without end, and its knocking costs others nothing', async (t) => {
  const member = agent()
  const knock = (host: string) => {
    const [, responder] = connectionPair({ host })
    member.reception.receive(responder)
    const isLetIn = !responder.destroyed
    responder.destroy()
    return isLetIn
  }
  let letIn = 0
  for (let i = 0; i < 2000; i++) {
    if (knock('10.0.0.1')) letIn++
    await settled()
  }
  t.equal(letIn, 32)
  t.equal(member.reception.rejected().rate, 2000 - 32)
  t.equal(knock('10.0.0.2'), true, 'another address is not held to account')
  await member.clock.pass(1000)
  t.strictSame([knock('10.0.0.1'), knock('10.0.0.1'), knock('10.0.0.1')], [true, true, false], 'two more a second')
  for (let i = 0; i < 100; i++) {
    if (!knock('127.0.0.1')) t.fail('a branch on one machine is not limited')
    await settled()
  }
})

t.test('what is remembered of addresses is bounded, and many addresses have a limit together', async (t) => {
  const admission = new Admission()
  let admitted = 0
  for (let i = 0; i < 5000; i++) if (admission.admit(`10.0.${i >> 8}.${i & 255}`, 0)) admitted++
  t.equal(admitted, 512)
  t.equal(admission.addressCount, 1024)
  t.equal(admission.admit('10.9.9.9', 1000), true)
})

t.test('who gives way is the oldest of the address that has most, and nobody to an equal', async (t) => {
  const waiting = ['a', 'b', 'b', 'c'].map((address, id) => ({ address, id }))
  t.strictSame(givesWay(waiting, 'd'), { address: 'b', id: 1 })
  t.equal(givesWay(waiting, 'b'), null)
  t.equal(givesWay(waiting, 'a'), null, 'it would have as many')
  t.equal(givesWay([], 'a'), null)
})

t.test(
  'an agent with two sessions joins once and leaves once, and its heir is told when messages may be lost',
  async (t) => {
    const table = new PeerTable()
    const own = agent()
    const keyPair = crypto.keyPair()
    for (let i = 0; i < 3; i++) {
      const [initiator, responder] = connectionPair({ initiator: keyPair })
      agent().reception.receive(initiator)
      own.reception.receive(responder)
    }
    await settled()
    const [first, second, third] = own.sessions as [Session, Session, Session]
    t.strictSame(
      [first, second, third].map((session) => table.add(session)),
      [true, false, false],
    )
    t.equal(table.size, 1)
    t.equal(table.session(first.key), first)
    t.equal(table.remove(second), 'nothing', 'nothing had been sent over it')
    first.send(encodeFrame(REQUEST))
    t.equal(table.remove(first), 'replaced')
    t.equal(table.session(first.key), third)
    t.equal(table.remove(first), 'nothing', 'twice')
    t.equal(table.remove(third), 'left')
    t.equal(table.size, 0)
  },
)
