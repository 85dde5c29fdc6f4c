/**
 * Where connections become sessions: limits, roster, and the count of those that were turned away. Whoever floods from
 * one address takes places from itself only (admission.ts).
 *
 * Does not use hyperswarm's firewall hook: a key that it rejects once is banned for the life of the process, and the
 * list of banned keys never shrinks.
 */
import type { SwarmConnection } from 'hyperswarm'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import { type AgentKey, idFromBytes } from '../content/ids.ts'
import type { ErrorCode } from '../errors.ts'
import { Admission, givesWay } from './admission.ts'
import type { Message } from './messages.ts'
import type { Rejections } from './network-types.ts'
import type { RosterTalk } from './roster-talk.ts'
import { Session, type SessionEnd } from './session.ts'
import type { HelloMessage } from './wire.ts'

/** Hyperswarm does not bound what comes in. */
const MAX_SESSIONS = 256
const MAX_UNPROVED = 64
/** One host cannot take the places of all the others. */
const MAX_UNPROVED_PER_ADDRESS = 16
/** Keys that were complained about once; a stranger with ever new keys does not fill the log. */
const MAX_COMPLAINTS = 256

export interface ReceptionOptions {
  /** Of the secrets in force now, newest first. */
  readonly proofKeys: () => readonly Buffer[]
  /** Of the configuration: others are not even asked for a proof. */
  readonly roster: ReadonlySet<AgentKey> | null
  /** Of the administrator. */
  readonly signedRoster: RosterTalk
  readonly hello: (session: Session) => HelloMessage
  readonly onOpen: (session: Session) => void
  readonly onMessage: (session: Session, message: Message) => void
  /** Only for sessions that were open. */
  readonly onClosed: (session: Session, end: SessionEnd) => void
}

export class Reception {
  readonly #clock: Clock
  readonly #log: Logger
  readonly #options: ReceptionOptions
  readonly #sessions = new Set<Session>()
  readonly #rejected = {
    notMember: 0,
    roster: 0,
    version: 0,
    protocol: 0,
    flood: 0,
    backlog: 0,
    capacity: 0,
    rate: 0,
    displaced: 0,
  }
  readonly #complaints = new Set<AgentKey>()
  readonly #admission = new Admission()
  #unknownCount = 0

  constructor(components: { clock: Clock; log: Logger }, options: ReceptionOptions) {
    this.#clock = components.clock
    this.#log = components.log
    this.#options = options
  }

  get sessionCount(): number {
    return this.#sessions.size
  }

  get unknownCount(): number {
    return this.#unknownCount
  }

  rejected(): Rejections {
    return { ...this.#rejected }
  }

  receive(connection: SwarmConnection): void {
    const refusal = this.#refusal(connection)
    if (refusal !== null) {
      this.#rejected[refusal]++
      connection.on('error', () => {}) // a connection without a listener for it would end the process
      connection.destroy()
      return
    }
    const { proofKeys, signedRoster, hello, onOpen, onMessage } = this.#options
    const session = new Session(
      { clock: this.#clock, connection },
      {
        proofKeys,
        owner: {
          hello,
          roster: signedRoster,
          onOpen,
          onMessage,
          onUnknown: () => {
            this.#unknownCount++
          },
          onClosed: (closed, end, detail) => this.#onClosed(closed, end, detail),
        },
      },
    )
    this.#sessions.add(session)
    session.start()
  }

  closeAll(end: SessionEnd): void {
    for (const session of [...this.#sessions]) session.close(end)
  }

  /** Ends the sessions whose other end proved only secrets that are in force no longer. */
  closeExpired(): void {
    const proofKeys = this.#options.proofKeys()
    for (const session of [...this.#sessions]) {
      if (!session.isProvedBy(proofKeys)) session.close('secret-expired')
    }
  }

  /** Ends the sessions of those that were taken off the roster, or whose invitation ended. */
  closeUnlisted(): void {
    for (const session of [...this.#sessions]) {
      if (session.isOpen && !this.#options.signedRoster.isListed(session)) session.close('roster')
    }
  }

  #refusal(connection: SwarmConnection): 'roster' | 'capacity' | 'rate' | null {
    const { roster } = this.#options
    if (roster !== null && !roster.has(idFromBytes<AgentKey>(connection.remotePublicKey))) return 'roster'
    if (this.#sessions.size >= MAX_SESSIONS) return 'capacity'
    // Those that we dialled are bounded by hyperswarm.
    if (connection.isInitiator) return null
    const address = connection.rawStream?.remoteHost ?? ''
    // A whole branch on one machine: tests, `shorthaul demo`.
    const isLoopback = address.startsWith('127.')
    if (!isLoopback && !this.#admission.admit(address, this.#clock.monotonicMs())) return 'rate'
    // A set keeps the order of arrival: the oldest is first.
    const unproved = [...this.#sessions].filter((session) => !session.isOpen && !session.isInitiator)
    const own = unproved.filter((session) => session.address === address).length
    if (!isLoopback && own >= MAX_UNPROVED_PER_ADDRESS) return 'capacity'
    if (unproved.length < MAX_UNPROVED) return null
    const displaced = givesWay(unproved, address)
    if (displaced === null) return 'capacity'
    displaced.close('displaced')
    return null
  }

  #onClosed(session: Session, end: SessionEnd, detail: string | undefined): void {
    this.#sessions.delete(session)
    const fields = { peerId: session.key, address: session.address, found: detail }
    switch (end) {
      case 'not-member':
        this.#rejected.notMember++
        this.#complain({ ...fields, code: 'SHORTHAUL_PEER_NOT_MEMBER' }, 'not a member of the branch')
        break
      case 'roster':
      case 'no-roster':
        this.#rejected.roster++
        this.#complain({ ...fields, code: 'SHORTHAUL_PEER_NOT_MEMBER' }, this.#rosterRemark(end))
        break
      case 'protocol':
      case 'flood':
      case 'version':
        this.#rejected[end]++
        this.#complain({ ...fields, code: 'SHORTHAUL_PEER_PROTOCOL', kind: end }, 'peer broke the protocol')
        break
      case 'backlog':
        this.#rejected.backlog++
        this.#complain({ ...fields, code: 'SHORTHAUL_PEER_UNREACHABLE' }, 'peer does not read what it is sent')
        break
      case 'displaced':
        this.#rejected.displaced++
        break
      case 'secret-expired':
        this.#log.info(fields, 'session ended: the secret that it was proved with is out of force')
        break
      case 'closed':
      case 'silent':
      case 'network-changed':
      case 'closing':
        break
    }
    this.#options.onClosed(session, end)
  }

  #rosterRemark(end: 'roster' | 'no-roster'): string {
    if (end === 'roster') return 'not on the roster of the branch'
    return this.#options.signedRoster.head() === null
      ? 'a neighbour goes by a roster, and this agent was never invited: `shorthaul branch join`'
      : 'a neighbour knows the secret and of no roster: invite it'
  }

  /** Once for each key at a level that is seen; it comes back as long as it lives. */
  #complain(
    fields: { readonly peerId: AgentKey; readonly code: ErrorCode } & Record<string, unknown>,
    text: string,
  ): void {
    const isNew = !this.#complaints.has(fields.peerId) && this.#complaints.size < MAX_COMPLAINTS
    if (isNew) this.#complaints.add(fields.peerId)
    this.#log[isNew ? 'warn' : 'debug'](fields, text)
  }
}
