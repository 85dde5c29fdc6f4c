/**
 * One control session: Protomux channel `shorthaul/1` over one swarm connection.
 *
 *   proving --their proof is right--> greeting --their hello--> open      any --end--> closed
 *
 * In a branch with a roster there is a state between: judging. Each end says which roster it has, whoever has the newer
 * one sends it, and then each looks whether the other is on it: also who was away when somebody was taken off knows it
 * before it says anything.
 *
 * Does not know other sessions of the same agent (peer-table.ts), nor what messages mean.
 *
 * Invariants:
 * 1. Our hello, and with it the lane's key, leaves only after we verified the other's proof, and found it on the roster.
 * 2. The owner hears onOpen at most once, before any message, and onClosed exactly once, last.
 * 3. Everything received was bounded before: frames by guarded-stream.ts, fields by wire.ts.
 */
import type { SwarmConnection } from 'hyperswarm'
import Protomux, { type Channel, type Codec } from 'protomux'
import { type Clock, secretBytes } from '../clock.ts'
import { type AgentKey, idFromBytes } from '../content/ids.ts'
import { isShorthaulError, ShorthaulError } from '../errors.ts'
import { FloodGate } from './flood-gate.ts'
import { GuardedStream } from './guarded-stream.ts'
import { membershipProofs, PROOFS_BYTES, provedKeys } from './membership.ts'
import type { Message } from './messages.ts'
import { Pulse } from './pulse.ts'
import { type Acceptance, compareHeads, type RosterHead } from './roster.ts'
import type { RosterTalk } from './roster-talk.ts'
import {
  decodeFrame,
  encodeFrame,
  type Frame,
  type HelloMessage,
  NONCE_BYTES,
  PROTOCOL_VERSION,
  type RosterFrame,
} from './wire.ts'

const PROTOCOL = 'shorthaul/1'
/** From the connection to their hello: strangers hold a slot no longer. */
const GREETING_DEADLINE_MS = 5000
/** From the last that we say to whom we show out to the end of the connection. */
const LEAVE_DEADLINE_MS = 1000
/** What we let pile up for a peer that does not read, in bytes: 16 messages of the largest kind. */
const MAX_BACKLOG_BYTES = 4 * 1024 * 1024

export type SessionEnd =
  | 'closed' // by the other end, or the connection broke
  | 'silent' // no sign of life
  | 'not-member'
  | 'roster' // not on it, or no longer
  | 'no-roster' // the branch has one, and one of the two ends does not know
  | 'displaced' // unproved, and made room for one from an address that has fewer
  | 'secret-expired' // proved with a secret that is good no longer
  | 'version'
  | 'protocol'
  | 'flood'
  | 'backlog'
  | 'network-changed'
  | 'closing'

export interface SessionOwner {
  /** Called once their proof is verified: what we tell them. */
  hello(session: Session): HelloMessage
  /** What to say of the roster, and who is on it. */
  readonly roster: RosterTalk
  onOpen(session: Session): void
  onMessage(session: Session, message: Message): void
  onUnknown(session: Session): void
  onClosed(session: Session, end: SessionEnd, detail: string | undefined): void
}

/** The proofs as the channel's handshake. Null stands for anything of another length: decoding never throws. */
const proofCodec: Codec<Buffer | null> = {
  preencode(state, proof) {
    state.end += proof?.byteLength ?? 0
  },
  encode(state, proof) {
    if (!proof || !state.buffer) return
    state.buffer.set(proof, state.start)
    state.start += proof.byteLength
  },
  decode(state) {
    const bytes = state.buffer?.subarray(state.start, state.end)
    state.start = state.end
    return bytes?.byteLength === PROOFS_BYTES ? Buffer.from(bytes) : null
  },
}

export class Session {
  readonly key: AgentKey
  /** IPv4 of the other end as we see it. */
  readonly address: string
  readonly isInitiator: boolean
  readonly pulse: Pulse
  readonly #clock: Clock
  readonly #connection: SwarmConnection
  readonly #proofKeys: () => readonly Buffer[]
  readonly #owner: SessionOwner
  readonly #gate: FloodGate
  readonly #stream: GuardedStream
  readonly #channel: Channel<Buffer | null> | null
  readonly #deadline = new AbortController()
  readonly #gone = new AbortController()
  /** Those of our keys that the other end proved to know. */
  #proved: readonly Buffer[] = []
  #state: 'proving' | 'judging' | 'greeting' | 'open' | 'closed' = 'proving'
  #hello: HelloMessage | null = null
  #acceptance: Acceptance | null = null
  /** The newest roster of which we know that the other end has it; null: there is none. */
  #rosterToldOf: RosterHead | null = null
  #laneIdentity: Buffer | null = null
  #backlogBytes = 0
  #sentCount = 0
  #openedAtMs = 0

  constructor(
    components: { clock: Clock; connection: SwarmConnection },
    options: { proofKeys: () => readonly Buffer[]; owner: SessionOwner },
  ) {
    const { clock, connection } = components
    this.#clock = clock
    this.#connection = connection
    this.#proofKeys = options.proofKeys
    this.#owner = options.owner
    this.key = idFromBytes<AgentKey>(connection.remotePublicKey)
    this.address = connection.rawStream?.remoteHost ?? ''
    this.isInitiator = connection.isInitiator
    this.pulse = new Pulse(clock.monotonicMs())
    this.#gate = new FloodGate(clock.monotonicMs())
    connection.on('error', () => {}) // 'close' follows and is handled; without a listener the process would die
    connection.on('close', () => {
      this.#gone.abort()
      this.close('closed')
    })
    this.#stream = new GuardedStream(connection, {
      isProved: () => this.#state !== 'proving' && this.#state !== 'closed',
      admit: (frameBytes) => {
        const nowMs = clock.monotonicMs()
        this.pulse.heard(nowMs)
        return this.#gate.admit(frameBytes, nowMs)
      },
      onViolation: (verdict) => this.close(verdict === 'flood' ? 'flood' : 'protocol', verdict),
    })
    this.#channel = new Protomux(this.#stream).createChannel<Buffer | null>({
      protocol: PROTOCOL,
      handshake: proofCodec,
      messages: [{ onmessage: (bytes) => this.#onFrame(bytes) }],
      onopen: (proof) => this.#onProof(proof),
      onclose: () => this.close('closed'),
      ondrain: () => {
        this.#backlogBytes = 0
      },
    })
  }

  /** Sends our proof and starts the deadline. Call it once the owner has entered the session into its books. */
  start(): void {
    const { handshakeHash } = this.#connection
    if (this.#channel === null || handshakeHash === null) {
      this.close('closed')
      return
    }
    this.#channel.open(membershipProofs(this.#proofKeys(), { handshakeHash, isInitiator: this.isInitiator }))
    this.#clock.sleep(GREETING_DEADLINE_MS, { signal: this.#deadline.signal }).then(
      () => this.close(this.#state === 'proving' ? 'not-member' : 'protocol', 'no hello in time'),
      () => {}, // open or closed before
    )
  }

  get isOpen(): boolean {
    return this.#state === 'open'
  }

  get isClosed(): boolean {
    return this.#state === 'closed'
  }

  /** What the other end told about itself; null before it is open. */
  get hello(): HelloMessage | null {
    return this.#hello
  }

  /** What the other end showed to be let in, not being on the roster; null: nothing. */
  get acceptance(): Acceptance | null {
    return this.#acceptance
  }

  /** Identity of the lane offer that went out over this session. */
  get offeredIdentity(): Buffer | null {
    return this.#laneIdentity
  }

  /** False when every secret that the other end proved has gone out of force; true before it proved one. */
  isProvedBy(proofKeys: readonly Buffer[]): boolean {
    return this.#proved.length === 0 || this.#proved.some((key) => proofKeys.some((other) => other.equals(key)))
  }

  get openedAtMonotonicMs(): number {
    return this.#openedAtMs
  }

  /** Messages of the owner that this session took; they may be lost when it ends. */
  get sentCount(): number {
    return this.#sentCount
  }

  /** @returns false when the session is not open, or was closed because the other end does not read */
  send(encoded: Uint8Array): boolean {
    if (!this.isOpen) return false
    this.#sentCount++
    return this.#write(encoded)
  }

  /** Asks for a sign of life, and learns the round trip. */
  ping(): void {
    const nonce = secretBytes(NONCE_BYTES)
    this.pulse.pinged(nonce.toString('hex'), this.#clock.monotonicMs())
    this.#write(encodeFrame({ type: 'ping', nonce }))
  }

  /** Idempotent. The connection is destroyed at once, or within a second; nothing is sent after. */
  close(end: SessionEnd, detail?: string): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#deadline.abort()
    const code = end === 'not-member' ? 'SHORTHAUL_PEER_NOT_MEMBER' : 'SHORTHAUL_PEER_PROTOCOL'
    const isFault = end === 'not-member' || end === 'protocol' || end === 'flood' || end === 'version'
    if (end === 'roster') this.#leaveInOrder()
    else this.#stream.destroy(isFault ? new ShorthaulError(code, `Session ended: ${detail ?? end}`) : undefined)
    this.#owner.onClosed(this, end, detail)
  }

  /** Whoever is shown out hears of the roster before: it may be the administrator's agent, with an old one. */
  #leaveInOrder(): void {
    this.#stream.end()
    const destroy = () => this.#stream.destroy()
    this.#clock.sleep(LEAVE_DEADLINE_MS, { signal: this.#gone.signal }).then(destroy, destroy)
  }

  #write(encoded: Uint8Array): boolean {
    const isDrained = this.#channel?.messages[0]?.send(encoded) ?? true
    if (isDrained) this.#backlogBytes = 0
    else this.#backlogBytes += encoded.byteLength
    if (this.#backlogBytes <= MAX_BACKLOG_BYTES) return true
    this.close('backlog')
    return false
  }

  #onProof(proof: Buffer | null): void {
    const { handshakeHash } = this.#connection
    if (this.#state !== 'proving' || handshakeHash === null) return
    const session = { handshakeHash, isInitiator: !this.isInitiator }
    // Asked again: a secret may have gone out of force since our proofs left.
    this.#proved = proof === null ? [] : provedKeys(proof, { proofKeys: this.#proofKeys(), session })
    if (this.#proved.length === 0) {
      this.close('not-member', 'wrong proof')
      return
    }
    const roster = this.#owner.roster.head()
    if (roster === null) {
      this.#greet()
      return
    }
    this.#state = 'judging'
    this.#write(encodeFrame(roster))
  }

  #greet(): void {
    this.#state = 'greeting'
    const hello = this.#owner.hello(this)
    this.#laneIdentity = hello.lane?.identity ?? null
    this.#write(encodeFrame(hello))
  }

  /** @throws SHORTHAUL_PEER_PROTOCOL */
  #onRosterFrame(frame: RosterFrame): void {
    const { roster } = this.#owner
    const own = roster.head()
    if (own === null) {
      this.close('no-roster')
      return
    }
    if (this.#state === 'proving' || (frame.type === 'roster-head' && this.#state !== 'judging')) {
      this.close('protocol', `unexpected ${frame.type}`)
      return
    }
    roster.onFrame(this, frame)
    if (frame.type === 'roster') this.#judge()
    if (frame.type !== 'roster-head') return
    this.#acceptance = frame.acceptance
    this.#rosterToldOf = frame.head
    this.#tellRoster()
    // If theirs is the newer one it follows, and is what they are judged by.
    if (compareHeads(frame.head, own.head) <= 0) this.#judge()
  }

  #tellRoster(): void {
    const { roster } = this.#owner
    const newer = this.#rosterToldOf === null ? null : roster.rosterFor(this.#rosterToldOf)
    if (newer === null) return
    this.#rosterToldOf = roster.head()?.head ?? null
    this.#write(encodeFrame(newer))
  }

  #judge(): void {
    if (this.#state !== 'judging') return
    if (this.#owner.roster.isListed(this)) this.#greet()
    else this.close('roster')
  }

  #onFrame(bytes: Uint8Array): void {
    if (this.#state === 'closed') return
    try {
      const frame = decodeFrame(bytes)
      if (frame.type === 'unknown') this.#owner.onUnknown(this)
      else this.#onDecoded(frame)
    } catch (error) {
      if (!isShorthaulError(error, 'SHORTHAUL_PEER_PROTOCOL')) throw error
      this.close('protocol', error.message)
    }
  }

  #onDecoded(frame: Frame): void {
    switch (frame.type) {
      case 'hello':
        this.#onHello(frame)
        return
      case 'ping':
        if (this.#state === 'proving') this.close('protocol', 'ping before proof')
        else this.#write(encodeFrame({ type: 'pong', nonce: frame.nonce }))
        return
      case 'pong':
        this.pulse.ponged(frame.nonce.toString('hex'), this.#clock.monotonicMs())
        return
      case 'roster-head':
      case 'roster':
      case 'acceptance':
        this.#onRosterFrame(frame)
        return
      default:
        if (this.isOpen) this.#owner.onMessage(this, frame)
        else this.close('protocol', `${frame.type} before hello`)
    }
  }

  #onHello(hello: HelloMessage): void {
    if (this.#state === 'judging') {
      this.close('no-roster')
      return
    }
    if (this.#state !== 'greeting') {
      this.close('protocol', 'unexpected hello')
      return
    }
    if (hello.protocolVersion !== PROTOCOL_VERSION) {
      this.close('version', `protocol version ${hello.protocolVersion}`)
      return
    }
    if (!this.#owner.roster.isListed(this)) {
      this.close('roster')
      return
    }
    this.#hello = hello
    this.#state = 'open'
    this.#deadline.abort()
    this.#openedAtMs = this.#clock.monotonicMs()
    this.ping()
    this.#tellRoster() // from here on the owner tells, of what comes; this is what came since we judged
    this.#owner.onOpen(this)
  }
}
