/** Which parts clients lend the agent now: of each file one loan at a time. */
import { LentPart } from '../transfer/lent-part.ts'
import type { PartOffer } from '../transfer/request.ts'

export interface Loan {
  /** Null: the client writes. */
  readonly part: LentPart | null
  /**
   * What the client read of the part before it asked still stands. False when the loan before ended only now, as of a client
   * that died: a write of ours may have landed after this one had looked.
   */
  readonly isFresh: boolean
  /** Nothing of ours is written into it when this returns. To be called once. */
  end(): Promise<void>
}

export class Loans {
  /** By file; each resolves when its loan has ended. */
  readonly #running = new Map<string, Promise<void>>()

  /** Waits for the loan before. @param offer null: nothing is offered */
  async borrow(offer: PartOffer | null): Promise<Loan> {
    const before = offer === null ? undefined : this.#running.get(offer.file)
    await before
    const isFresh = before === undefined
    const part = offer === null ? null : await LentPart.open(offer)
    if (part === null) return { part, isFresh, end: async () => {} }
    let ended = () => {}
    const running = new Promise<void>((resolve) => {
      ended = resolve
    })
    this.#running.set(part.file, running)
    const end = async () => {
      try {
        await part.close()
      } finally {
        if (this.#running.get(part.file) === running) this.#running.delete(part.file)
        ended()
      }
    }
    return { part, isFresh, end }
  }
}
