/**
 * Agents with an open session, one entry for each key. Two agents that dial each other at once have two sessions for a
 * moment; both are kept while they last, and the agent leaves with the last of them.
 *
 * Does no I/O and knows no network: it turns sessions that open and close into agents that join and leave.
 */
import type { AgentKey } from '../content/ids.ts'
import type { Session } from './session.ts'

export class PeerTable {
  readonly #sessions = new Map<AgentKey, Session[]>()

  get size(): number {
    return this.#sessions.size
  }

  keys(): AgentKey[] {
    return [...this.#sessions.keys()]
  }

  /** The session to send over: the oldest, which both ends learnt of first. */
  session(key: AgentKey): Session | undefined {
    return this.#sessions.get(key)?.[0]
  }

  sessions(key: AgentKey): readonly Session[] {
    return this.#sessions.get(key) ?? []
  }

  /** @returns true when the agent was not there before */
  add(session: Session): boolean {
    const known = this.#sessions.get(session.key)
    if (known === undefined) this.#sessions.set(session.key, [session])
    else known.push(session)
    return known === undefined
  }

  /**
   * @returns 'left' when it was the agent's last; 'replaced' when others go on but messages sent over this one may be
   *   lost; 'nothing' when nobody need know
   */
  remove(session: Session): 'left' | 'replaced' | 'nothing' {
    const known = this.#sessions.get(session.key)
    const position = known?.indexOf(session) ?? -1
    if (known === undefined || position < 0) return 'nothing'
    known.splice(position, 1)
    if (known.length > 0) return session.sentCount > 0 ? 'replaced' : 'nothing'
    this.#sessions.delete(session.key)
    return 'left'
  }
}
