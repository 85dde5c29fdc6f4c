/**
 * Where the administrator's key is: invites, admits, revokes, and puts whoever accepted an invitation on the roster.
 *
 * One agent of a branch holds the key. When two do, each takes what the other signed and goes on from there; of two
 * that signed at the same moment one gives way, and what its change was is made again only if it was an acceptance.
 */
import crypto, { type KeyPair } from 'hypercore-crypto'
import { type Clock, secretBytes } from '../clock.ts'
import { type AgentKey, type InvitationKey, idFromBytes } from '../content/ids.ts'
import { ShorthaulError } from '../errors.ts'
import {
  type Acceptance,
  MAX_INVITATIONS,
  MAX_MEMBER_NAME_BYTES,
  MAX_MEMBERS,
  type Roster,
  type RosterMember,
  signRoster,
} from './roster.ts'
import type { RosterBook } from './roster-book.ts'

const SEED_BYTES = 32
const NAME = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/

export class Registrar {
  readonly #clock: Clock
  readonly #book: RosterBook
  readonly #keyPair: KeyPair
  readonly #self: { readonly key: AgentKey; readonly name: string }
  readonly #stops: readonly (() => void)[]

  private constructor(
    components: { readonly clock: Clock; readonly book: RosterBook },
    options: { readonly keyPair: KeyPair; readonly self: { readonly key: AgentKey; readonly name: string } },
  ) {
    this.#clock = components.clock
    this.#book = components.book
    this.#keyPair = options.keyPair
    this.#self = options.self
    this.#stops = [
      this.#book.on('acceptance', (acceptance) => this.#confirm(acceptance)),
      this.#book.on('roster', () => this.#settle()),
    ]
    this.#settle()
  }

  /**
   * Puts this agent on the roster and starts one when there is none.
   * @param options adminSeed 32 bytes; self of this agent, its name as neighbours see it
   * @throws SHORTHAUL_SECRET_INVALID when the branch's secret names another administrator, or none
   */
  static open(
    components: { readonly clock: Clock; readonly book: RosterBook },
    options: { readonly adminSeed: Buffer; readonly self: { readonly key: AgentKey; readonly name: string } },
  ): Registrar {
    const keyPair = crypto.keyPair(options.adminSeed)
    if (components.book.adminKey?.equals(keyPair.publicKey) !== true) {
      const found = components.book.isEnforced ? 'another administrator' : 'no administrator'
      throw new ShorthaulError(
        'SHORTHAUL_SECRET_INVALID',
        `Cannot use branch.adminFile: the branch secret names ${found}, expected the one with this key; ` +
          '`shorthaul branch init --roster` makes both',
      )
    }
    return new Registrar(components, { keyPair, self: options.self })
  }

  /**
   * A new invitation for one machine.
   * @returns its seed, 32 bytes, which is kept nowhere here
   * @throws SHORTHAUL_USAGE when the name is taken or cannot be one, or the roster is full
   */
  invite(
    name: string,
    options: { readonly validMs: number },
  ): { readonly seed: Buffer; readonly validUntilMs: number } {
    const roster = this.#roster()
    this.#checkName(roster, name)
    if (roster.invitations.length >= MAX_INVITATIONS) throw usage(`${MAX_INVITATIONS} invitations are open`)
    const seed = secretBytes(SEED_BYTES)
    const key = idFromBytes<InvitationKey>(crypto.keyPair(seed).publicKey)
    const validUntilMs = this.#clock.nowMs() + options.validMs
    this.#sign({ ...roster, invitations: [...roster.invitations, { key, name, validUntilMs }] })
    return { seed, validUntilMs }
  }

  /** Puts an agent on the roster whose key is known. @throws SHORTHAUL_USAGE as above, and when the key is on it */
  admit(key: AgentKey, name: string): void {
    const roster = this.#roster()
    this.#checkName(roster, name)
    if (roster.members.some((member) => member.key === key)) throw usage('the key is on the roster already')
    this.#sign(withMember(roster, { key, name, sinceMs: this.#clock.nowMs() }))
  }

  /**
   * Takes a member off the roster, or an invitation back.
   * @param who the name, or a key or its first digits
   * @throws SHORTHAUL_USAGE when it names none, several, or this agent
   */
  revoke(who: string): { readonly kind: 'member' | 'invitation'; readonly name: string; readonly key: string } {
    const roster = this.#roster()
    const all = [
      ...roster.members.map((entry) => ({ kind: 'member' as const, name: entry.name, key: entry.key as string })),
      ...roster.invitations.map((entry) => ({
        kind: 'invitation' as const,
        name: entry.name,
        key: entry.key as string,
      })),
    ]
    const named = all.filter(({ name }) => name === who)
    const found =
      named.length > 0 ? named : all.filter(({ key }) => who.length >= 8 && key.startsWith(who.toLowerCase()))
    const [only] = found
    if (only === undefined || found.length > 1) {
      throw usage(`"${who}" names ${found.length} members or invitations, expected one; \`branch members\` lists them`)
    }
    if (only.key === this.#self.key) throw usage('this is the agent that holds the key: it would shut itself out')
    this.#sign({
      ...roster,
      members: roster.members.filter(({ key }) => key !== only.key),
      invitations: roster.invitations.filter(({ key }) => (key as string) !== only.key),
    })
    return only
  }

  close(): void {
    for (const stop of this.#stops) stop()
  }

  #roster(): Roster {
    return this.#book.roster ?? { sequence: 0, signedAtMs: 0, members: [], invitations: [] }
  }

  /** Ourselves first, then those whose acceptance another's change may have undone. */
  #settle(): void {
    const nowMs = this.#clock.nowMs()
    const roster = this.#roster()
    if (!this.#book.isMember(this.#self.key) && roster.members.length < MAX_MEMBERS) {
      const isTaken = [...roster.members, ...roster.invitations].some(({ name }) => name === this.#self.name)
      const name = (isTaken ? `${this.#self.name} ${this.#self.key.slice(0, 8)}` : this.#self.name).slice(
        -MAX_MEMBER_NAME_BYTES,
      )
      this.#sign(withMember(roster, { key: this.#self.key, name, sinceMs: nowMs }))
      return // signing told us of the new one
    }
    for (const acceptance of this.#book.acceptances()) this.#confirm(acceptance)
  }

  #confirm({ invitation, agent }: Acceptance): void {
    const roster = this.#roster()
    const open = roster.invitations.find(({ key }) => key === invitation)
    if (open === undefined || open.validUntilMs <= this.#clock.nowMs() || roster.members.length >= MAX_MEMBERS) return
    const invitations = roster.invitations.filter((other) => other !== open)
    if (this.#book.isMember(agent)) return
    this.#sign(withMember({ ...roster, invitations }, { key: agent, name: open.name, sinceMs: this.#clock.nowMs() }))
  }

  #checkName(roster: Roster, name: string): void {
    if (!NAME.test(name) || name.length > MAX_MEMBER_NAME_BYTES) {
      throw usage(`the name "${name}" is none: expected 1 to ${MAX_MEMBER_NAME_BYTES} printable characters`)
    }
    const isTaken = [...roster.members, ...this.#live(roster)].some((other) => other.name === name)
    if (isTaken) throw usage(`the name "${name}" is taken`)
  }

  #live({ invitations }: Roster): Roster['invitations'] {
    return invitations.filter(({ validUntilMs }) => validUntilMs > this.#clock.nowMs())
  }

  #sign(roster: Roster): void {
    const next = { ...roster, sequence: roster.sequence + 1, signedAtMs: this.#clock.nowMs() }
    this.#book.offer(signRoster(this.#keyPair, { ...next, invitations: this.#live(roster) }).bytes)
  }
}

function withMember(roster: Roster, member: RosterMember): Roster {
  if (roster.members.length >= MAX_MEMBERS)
    throw usage(`the roster has ${MAX_MEMBERS} members, which is all that it holds`)
  return { ...roster, members: [...roster.members, member] }
}

function usage(found: string): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_USAGE', `Cannot change the roster: ${found}`)
}
