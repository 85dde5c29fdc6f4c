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
    if (offer === null) return { part: null, isFresh: true, end: async () => {} }
    const { file } = offer
    let isFresh = true
    // Looked at again: of several that waited one was first.
    for (let before = this.#running.get(file); before !== undefined; before = this.#running.get(file)) {
      isFresh = false
      await before
    }
    let ended = () => {}
    this.#running.set(
      file,
      new Promise<void>((resolve) => {
        ended = resolve
      }),
    )
    const free = () => {
      this.#running.delete(file)
      ended()
    }
    let part: LentPart | null = null
    try {
      part = await LentPart.open(offer)
    } finally {
      if (part === null) free()
    }
    return { part, isFresh, end: async () => part?.close().finally(free) }
  }
}
