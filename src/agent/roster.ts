/** An agent's part in the roster of its branch: the book, the registrar where the administrator's key is, and both as the control API sees them. */
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import { formatInviteCode } from '../config/invite-code.ts'
import type { Config } from '../config/schema.ts'
import { type BranchSecret, readAdminSeed } from '../config/secret.ts'
import type { AgentKey } from '../content/ids.ts'
import { ShorthaulError } from '../errors.ts'
import { deriveBranchKeys } from '../peers/branch-keys.ts'
import { Registrar } from '../peers/registrar.ts'
import { MAX_MEMBER_NAME_BYTES, type Roster } from '../peers/roster.ts'
import { RosterBook, type Standing } from '../peers/roster-book.ts'

/** What is known of the roster, for people. */
export interface RosterView {
  /** False: whoever has the secret belongs to the branch. */
  readonly isEnforced: boolean
  /** Whether this agent holds the administrator's key. */
  readonly isRegistrar: boolean
  /** Where this agent stands. */
  readonly standing: Standing
  /** Null: none was seen yet, or there is none. */
  readonly roster: Roster | null
}

export class AgentRoster {
  readonly book: RosterBook
  readonly #registrar: Registrar | null
  readonly #secret: () => BranchSecret

  private constructor(
    parts: { readonly book: RosterBook; readonly registrar: Registrar | null },
    secret: () => BranchSecret,
  ) {
    this.book = parts.book
    this.#registrar = parts.registrar
    this.#secret = secret
  }

  /**
   * @param options secret what is in force, each time
   * @throws SHORTHAUL_SECRET_INVALID when branch.adminFile is not the key of this branch
   */
  static async open(
    components: { readonly clock: Clock; readonly log: Logger },
    options: {
      readonly config: Config
      readonly role: 'daemon' | 'embedded'
      readonly self: AgentKey
      readonly secret: () => BranchSecret
    },
  ): Promise<AgentRoster> {
    const { config, role, self, secret } = options
    const path = join(config.dataDir, 'branch.roster')
    const book = await RosterBook.open(components, { path, self, trust: secret() })
    // A command's agent may have another data directory and so another key, and would put that on the roster.
    if (config.branch.adminFile === null || role !== 'daemon') return new AgentRoster({ book, registrar: null }, secret)
    const { seed, warning } = await readAdminSeed(config.branch.adminFile)
    if (warning !== null) components.log.warn({ warning }, "the administrator's key is not private")
    const name =
      hostname()
        .replace(/[^\x21-\x7e]/g, '-')
        .slice(0, MAX_MEMBER_NAME_BYTES) || 'administrator'
    const registrar = Registrar.open({ clock: components.clock, book }, { adminSeed: seed, self: { key: self, name } })
    return new AgentRoster({ book, registrar }, secret)
  }

  view(): RosterView {
    return {
      isEnforced: this.book.isEnforced,
      isRegistrar: this.#registrar !== null,
      standing: this.book.standing,
      roster: this.book.roster,
    }
  }

  /** @returns a code for `shorthaul branch join`; as secret as the branch's secret @throws SHORTHAUL_USAGE */
  invite(name: string, validMs: number): { readonly code: string; readonly validUntilMs: number } {
    const { seed, validUntilMs } = this.#writer().invite(name, { validMs })
    const secret = this.#secret()
    const { wireKey } = deriveBranchKeys(secret.secret, secret)
    if (secret.rosterKey === null) throw noRegistrar() // a registrar has one
    const code = { secret: secret.secret, wireKey, rosterKey: secret.rosterKey, inviteSeed: seed }
    return { code: formatInviteCode(code), validUntilMs }
  }

  /** @throws SHORTHAUL_USAGE */
  admit(key: AgentKey, name: string): void {
    this.#writer().admit(key, name)
  }

  /** @throws SHORTHAUL_USAGE */
  revoke(who: string): ReturnType<Registrar['revoke']> {
    return this.#writer().revoke(who)
  }

  async close(): Promise<void> {
    this.#registrar?.close()
    await this.book.close()
  }

  #writer(): Registrar {
    if (this.#registrar === null) throw noRegistrar()
    return this.#registrar
  }
}

function noRegistrar(): ShorthaulError {
  return new ShorthaulError(
    'SHORTHAUL_USAGE',
    "Cannot change the roster here: this agent does not hold the administrator's key; " +
      'use the machine whose configuration has branch.adminFile, or make a roster with `shorthaul branch init --roster`',
  )
}
