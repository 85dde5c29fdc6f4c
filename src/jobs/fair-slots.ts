/** A few may work at a time, and of each owner fewer still: one whose work hangs does not keep others from theirs. */

export interface FairSlotsOptions {
  readonly maxCount: number
  readonly maxPerOwner: number
}

interface Waiter {
  readonly owner: string
  readonly enter: () => void
}

export class FairSlots {
  readonly #options: FairSlotsOptions
  readonly #waiting = new Set<Waiter>()
  readonly #counts = new Map<string, number>()
  #count = 0

  constructor(options: FairSlotsOptions) {
    this.#options = options
  }

  /** Works when its turn has come, in the order of asking. Rejects with the signal's reason while it waits. */
  async run<T>(owner: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    await this.#enter(owner, signal)
    try {
      return await work()
    } finally {
      this.#count--
      const left = (this.#counts.get(owner) ?? 1) - 1
      if (left === 0) this.#counts.delete(owner)
      else this.#counts.set(owner, left)
      this.#admit()
    }
  }

  #enter(owner: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason)
        return
      }
      const onAbort = () => {
        this.#waiting.delete(waiter)
        reject(signal.reason)
      }
      const waiter: Waiter = {
        owner,
        enter: () => {
          signal.removeEventListener('abort', onAbort)
          resolve()
        },
      }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#waiting.add(waiter)
      this.#admit()
    })
  }

  #admit(): void {
    const { maxCount, maxPerOwner } = this.#options
    for (const waiter of this.#waiting) {
      if (this.#count >= maxCount) return
      const count = this.#counts.get(waiter.owner) ?? 0
      if (count >= maxPerOwner) continue
      this.#waiting.delete(waiter)
      this.#count++
      this.#counts.set(waiter.owner, count + 1)
      waiter.enter()
    }
  }
}
