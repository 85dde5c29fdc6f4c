/**
 * The agent of a `fetch`: one for all its transfers, found when the first needs it. When the daemon that was used goes
 * away, another takes its place.
 */
import type { LoadedConfig } from '../config/load.ts'
import type { Delivery, TransferEvent, TransferRequest, TransferResult } from '../transfer/request.ts'
import { type AcquireOptions, acquireAgent } from './context.ts'

interface Fetching {
  fetch(
    request: TransferRequest,
    delivery: Delivery,
    options: { readonly signal: AbortSignal; readonly onEvent: (event: TransferEvent) => void },
  ): Promise<TransferResult>
}

interface UsedAgent {
  readonly fetching: Fetching
  close(): Promise<void>
}

export class FetchAgent {
  readonly #loaded: LoadedConfig
  readonly #options: AcquireOptions
  #used: Promise<UsedAgent> | null = null
  #failure: unknown = null

  constructor(loaded: LoadedConfig, options: AcquireOptions) {
    this.#loaded = loaded
    this.#options = options
  }

  /** Why there is no agent to be had; null while there is. It is the end of all transfers, not of one. */
  get failure(): unknown {
    return this.#failure
  }

  /** @returns what fetches, and how to say that it went away */
  async use(): Promise<{ readonly fetching: Fetching; readonly lost: () => Promise<void> }> {
    this.#used ??= this.#acquire()
    const used = this.#used
    const { fetching, close } = await used
    const lost = async () => {
      // Of several transfers that lose it, the first makes room for another.
      if (this.#used === used) this.#used = null
      await close()
    }
    return { fetching, lost }
  }

  /** Idempotent. */
  async close(): Promise<void> {
    const used = this.#used
    this.#used = null
    // A failure to get it was told to those who wanted to use it.
    await (await used?.catch(() => null))?.close()
  }

  async #acquire(): Promise<UsedAgent> {
    try {
      const acquired = await acquireAgent(this.#loaded, this.#options)
      if ('client' in acquired) return { fetching: acquired.client, close: () => acquired.client.close() }
      const { embedded } = acquired
      return { fetching: embedded.agent, close: () => embedded.close() }
    } catch (error) {
      this.#failure = error
      throw error
    }
  }
}
