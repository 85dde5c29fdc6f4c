/**
 * The newest roster that this agent knows, kept on disk, and who has accepted an invitation since. Says who belongs to
 * the branch; does not sign (registrar.ts), and does not talk (network.ts).
 *
 * Invariants: only what the administrator signed is ever taken, and never an older one in the place of a newer; of each
 * invitation only the first acceptance counts, for as long as the invitation is on the roster and has not ended.
 */
import { readFile } from 'node:fs/promises'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import { putDurably } from '../config/exclusive-file.ts'
import type { AgentKey, InvitationKey } from '../content/ids.ts'
import { isShorthaulError, systemCode } from '../errors.ts'
import {
  type Acceptance,
  acceptInvitation,
  compareHeads,
  type Invitation,
  isAcceptanceAuthentic,
  NO_ROSTER,
  openRoster,
  type Roster,
  type RosterHead,
  type SignedRoster,
} from './roster.ts'

/** What the file of the branch secret says about the roster. */
export interface RosterTrust {
  /** Public key of the administrator; null: the branch has no roster. */
  readonly rosterKey: Buffer | null
  /** Of the invitation that this machine joined with. */
  readonly inviteSeed: Buffer | null
}

/** `stranger`: nobody lets it in. `invited`: it is let in, and not on the roster yet. */
export type Standing = 'no-roster' | 'member' | 'invited' | 'stranger'

interface Listeners {
  /** Another roster counts from now. */
  roster: () => void
  /** Somebody accepted an invitation. */
  acceptance: (acceptance: Acceptance) => void
}

export class RosterBook {
  readonly #clock: Clock
  readonly #log: Logger
  readonly #path: string
  readonly #self: AgentKey
  readonly #acceptances = new Map<InvitationKey, Acceptance>()
  readonly #usedTwice = new Set<InvitationKey>()
  readonly #listeners: { [Name in keyof Listeners]: Set<Listeners[Name]> } = {
    roster: new Set(),
    acceptance: new Set(),
  }
  #trust: RosterTrust = { rosterKey: null, inviteSeed: null }
  #current: SignedRoster | null = null
  #members = new Set<AgentKey>()
  #writing: Promise<void> = Promise.resolve()

  private constructor(components: { clock: Clock; log: Logger }, options: { path: string; self: AgentKey }) {
    this.#clock = components.clock
    this.#log = components.log.child({ module: 'roster' })
    this.#path = options.path
    this.#self = options.self
  }

  /** A file that cannot be read is said and left behind: neighbours have the roster too. */
  static async open(
    components: { clock: Clock; log: Logger },
    options: { readonly path: string; readonly self: AgentKey; readonly trust: RosterTrust },
  ): Promise<RosterBook> {
    const book = new RosterBook(components, options)
    await book.setTrust(options.trust)
    return book
  }

  /** Whether the branch has a roster: then nobody is let in who is not on it. */
  get isEnforced(): boolean {
    return this.#trust.rosterKey !== null
  }

  /** Null: none was seen yet, or the branch has none. */
  get roster(): Roster | null {
    return this.#current?.roster ?? null
  }

  get head(): RosterHead {
    return this.#current?.head ?? NO_ROSTER
  }

  /** As it is sent; null as above. */
  get bytes(): Buffer | null {
    return this.#current?.bytes ?? null
  }

  /** Public key of the administrator; null: the branch has no roster. */
  get adminKey(): Buffer | null {
    return this.#trust.rosterKey
  }

  /** The file of the secret may have been replaced. The roster of another administrator is nothing to us. */
  async setTrust(trust: RosterTrust): Promise<void> {
    const isSame = trust.rosterKey === null ? !this.isEnforced : this.#trust.rosterKey?.equals(trust.rosterKey) === true
    this.#trust = trust
    if (isSame) return
    this.#current = null
    this.#members = new Set()
    this.#acceptances.clear()
    await this.#load()
    for (const listener of this.#listeners.roster) listener()
  }

  /**
   * Takes a roster that somebody sent, when it is newer than ours.
   * @throws SHORTHAUL_PEER_PROTOCOL when the administrator did not sign it
   */
  offer(bytes: Uint8Array): void {
    const { rosterKey } = this.#trust
    if (rosterKey === null) return
    const offered = openRoster(bytes, rosterKey)
    if (compareHeads(offered.head, this.head) <= 0) return
    const was = this.isMember(this.#self)
    this.#take(offered)
    const { sequence, members } = offered.roster
    this.#log.info({ sequence, memberCount: members.length }, 'another roster is in force')
    if (was && !this.isMember(this.#self)) {
      this.#log.error({ code: 'SHORTHAUL_PEER_NOT_MEMBER' }, 'this agent was taken off the roster: nobody lets it in')
    }
    this.#writing = this.#writing
      .then(() => putDurably(this.#path, offered.bytes))
      .catch((err: unknown) => this.#log.error({ err, path: this.#path }, 'roster not written'))
    for (const listener of this.#listeners.roster) listener()
  }

  /** Whether the administrator has put this key on the roster. */
  isMember(key: AgentKey): boolean {
    return this.#members.has(key)
  }

  /** Whether the key is let in: it is on the roster, or was the first to accept an invitation that is open. */
  admits(key: AgentKey): boolean {
    if (!this.isEnforced || this.isMember(key)) return true
    for (const { agent, invitation } of this.#acceptances.values()) {
      if (agent === key) return this.#openInvitation(invitation) !== null
    }
    return false
  }

  /**
   * Takes what somebody says about an invitation, its own or another's: it proves itself.
   * @throws SHORTHAUL_PEER_PROTOCOL never: what is not good is nothing
   */
  accept(acceptance: Acceptance): void {
    const { rosterKey } = this.#trust
    const { invitation, agent } = acceptance
    if (rosterKey === null || this.isMember(agent) || this.#openInvitation(invitation) === null) return
    const first = this.#acceptances.get(invitation)
    if (first !== undefined) {
      // Once: whoever knows the secret can say it without end.
      if (first.agent !== agent && !this.#usedTwice.has(invitation)) {
        this.#usedTwice.add(invitation)
        this.#log.warn({ invitation, peerId: agent }, 'an invitation was used twice')
      }
      return
    }
    if (!isAcceptanceAuthentic(acceptance, rosterKey)) return
    this.#acceptances.set(invitation, acceptance)
    this.#log.info({ invitation, peerId: agent }, 'an invitation was accepted')
    for (const listener of this.#listeners.acceptance) listener(acceptance)
  }

  /** What this agent shows to be let in; null: it is on the roster, or was not invited. */
  ownAcceptance(): Acceptance | null {
    const { rosterKey, inviteSeed } = this.#trust
    if (rosterKey === null || inviteSeed === null || this.isMember(this.#self)) return null
    return acceptInvitation(inviteSeed, { agent: this.#self, adminKey: rosterKey })
  }

  /** Where this agent stands. */
  get standing(): Standing {
    if (!this.isEnforced) return 'no-roster'
    if (this.isMember(this.#self)) return 'member'
    const invitation = this.ownAcceptance()?.invitation
    if (invitation === undefined) return 'stranger'
    // Before the first roster was seen it is not known better.
    return this.#current === null || this.#openInvitation(invitation) !== null ? 'invited' : 'stranger'
  }

  /** Those that count now. */
  acceptances(): readonly Acceptance[] {
    return [...this.#acceptances.values()]
  }

  /** Listens until the returned function is called. */
  on<Name extends keyof Listeners>(event: Name, listener: Listeners[Name]): () => void {
    this.#listeners[event].add(listener)
    return () => this.#listeners[event].delete(listener)
  }

  async close(): Promise<void> {
    await this.#writing
  }

  #openInvitation(key: InvitationKey): Invitation | null {
    const found = this.#current?.roster.invitations.find((invitation) => invitation.key === key)
    return found !== undefined && this.#clock.nowMs() < found.validUntilMs ? found : null
  }

  #take(signed: SignedRoster): void {
    this.#current = signed
    this.#members = new Set(signed.roster.members.map(({ key }) => key))
    const open = new Set(signed.roster.invitations.map(({ key }) => key))
    for (const key of this.#acceptances.keys()) if (!open.has(key)) this.#acceptances.delete(key)
    for (const key of this.#usedTwice) if (!open.has(key)) this.#usedTwice.delete(key)
  }

  async #load(): Promise<void> {
    const { rosterKey } = this.#trust
    if (rosterKey === null) return
    try {
      this.#take(openRoster(await readFile(this.#path), rosterKey))
    } catch (err) {
      if (systemCode(err) === 'ENOENT') return
      // After a change of the administrator's key it is the old one's: nothing is wrong then.
      const isForeign = isShorthaulError(err, 'SHORTHAUL_PEER_PROTOCOL')
      this.#log[isForeign ? 'warn' : 'error']({ err, path: this.#path }, 'roster not readable: neighbours have it too')
    }
  }
}
