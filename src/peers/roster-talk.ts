/** What the two ends of a session say to each other about the roster, and what comes of it. */
import type { AgentKey } from '../content/ids.ts'
import { protocolError } from './frame-bytes.ts'
import { type Acceptance, compareHeads, type RosterHead } from './roster.ts'
import type { RosterBook } from './roster-book.ts'
import type { RosterFrame, RosterHeadMessage, RosterMessage } from './wire.ts'

/** Of a session, what this needs. */
interface Other {
  readonly key: AgentKey
  /** What it showed to be let in; null: nothing. */
  readonly acceptance: Acceptance | null
}

export class RosterTalk {
  readonly #book: RosterBook | null

  /** @param book null: there is no roster, ever */
  constructor(book: RosterBook | null) {
    this.#book = book
  }

  /** Null: the branch has no roster. */
  head(): RosterHeadMessage | null {
    if (this.#book === null || !this.#book.isEnforced) return null
    return { type: 'roster-head', head: this.#book.head, acceptance: this.#book.ownAcceptance() }
  }

  /** What to send to whoever has that one; null when it is as new as ours. */
  rosterFor(head: RosterHead): RosterMessage | null {
    const bytes = this.#book?.bytes ?? null
    if (this.#book === null || bytes === null || compareHeads(this.#book.head, head) <= 0) return null
    return { type: 'roster', bytes }
  }

  isListed({ key, acceptance }: Other): boolean {
    if (this.#book === null) return true
    // Only now: the invitation may be on the roster that they sent after it.
    if (acceptance !== null) this.#book.accept(acceptance)
    return this.#book.admits(key)
  }

  /** @throws SHORTHAUL_PEER_PROTOCOL */
  onFrame({ key }: Other, frame: RosterFrame): void {
    switch (frame.type) {
      case 'roster-head':
        if (frame.acceptance !== null && frame.acceptance.agent !== key) {
          throw protocolError('it shows the acceptance of somebody else')
        }
        break
      case 'roster':
        this.#book?.offer(frame.bytes)
        break
      case 'acceptance':
        this.#book?.accept(frame.acceptance)
        break
    }
  }
}
