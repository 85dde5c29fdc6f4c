/**
 * The agent of a `fetch`: one for all its transfers, found when the first needs it. When the daemon that was used goes
 * away, another takes its place. When a daemon comes, an agent of our own makes room for it and the fetch goes on there:
 * a daemon would else wait for as long as commands follow each other, and jobs and neighbours with it.
 */
import type { LoadedConfig } from '../config/load.ts'
import { handedOver, hasSuccessor } from '../control/handover.ts'
import type { Delivery, TransferEvent, TransferRequest, TransferResult } from '../transfer/request.ts'
import { type AcquireOptions, acquireAgent, awaitSuccessor } from './context.ts'
import type { EmbeddedAgent } from './embedded.ts'

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
  readonly #options: Omit<AcquireOptions, 'onHandover'> & { readonly mayHandOver: boolean }
  #used: Promise<UsedAgent> | null = null
  #failure: unknown = null
  /** A daemon takes the place of the agent that was used last. */
  #isSuccessorDue = false

  /** @param options.mayHandOver whether what was begun can go on with another agent */
  constructor(loaded: LoadedConfig, options: Omit<AcquireOptions, 'onHandover'> & { readonly mayHandOver: boolean }) {
    this.#loaded = loaded
    this.#options = options
  }

  /** Why there is no agent to be had; null while there is. It is the end of all transfers, not of one. */
  get failure(): unknown {
    return this.#failure
  }

  /** @returns what fetches, and how to say that it went away, by what a fetch of it ended with */
  async use(): Promise<{ readonly fetching: Fetching; readonly lost: (error: unknown) => Promise<void> }> {
    this.#used ??= this.#acquire()
    const used = this.#used
    const { fetching, close } = await used
    const lost = async (error: unknown) => {
      // Of several transfers that lose it, the first makes room for another.
      if (this.#used === used) {
        this.#used = null
        this.#isSuccessorDue = hasSuccessor(error)
      }
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
      const successor = this.#isSuccessorDue ? await awaitSuccessor(this.#loaded, this.#options) : null
      this.#isSuccessorDue = false
      if (successor) return { fetching: successor, close: () => successor.close() }
      return await this.#acquireAny()
    } catch (error) {
      this.#failure = error
      throw error
    }
  }

  async #acquireAny(): Promise<UsedAgent> {
    let embedded: EmbeddedAgent | null = null
    let isReplaced = false
    const onHandover = () => {
      isReplaced = true
      // Ends what is under way; whoever asked for it closes it too, and sees what went wrong.
      embedded?.close(handedOver()).catch(() => {})
    }
    const acquired = await acquireAgent(this.#loaded, {
      ...this.#options,
      onHandover: this.#options.mayHandOver ? onHandover : null,
    })
    if ('client' in acquired) return { fetching: acquired.client, close: () => acquired.client.close() }
    embedded = acquired.embedded
    const { agent, close } = embedded
    const fetch: Fetching['fetch'] = async (request, delivery, options) => {
      try {
        return await agent.fetch(request, delivery, options)
      } catch (cause) {
        if (!isReplaced || options.signal.aborted) throw cause
        throw handedOver({ cause })
      }
    }
    return { fetching: { fetch }, close: () => close() }
  }
}
