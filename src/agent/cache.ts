/** The cache as its owner sees and changes it: by URL. */
import { normaliseUrl } from '../origin/origins.ts'
import type { ResourceRecord } from '../store/records.ts'
import type { Store, StoreStat } from '../store/store.ts'
import type { Exchange } from '../transfer/exchange.ts'
import type { CacheEntry } from './views.ts'

export class AgentCache {
  readonly #store: Store
  readonly #exchange: Exchange

  constructor({ store, exchange }: { readonly store: Store; readonly exchange: Exchange }) {
    this.#store = store
    this.#exchange = exchange
  }

  async entries(): Promise<readonly CacheEntry[]> {
    const entries: CacheEntry[] = []
    for (const record of await this.#store.resources()) {
      entries.push({
        url: record.resource.url,
        bytes: record.resource.lengthBytes,
        cachedBytes: await this.#exchange.heldBytes(record),
        sha256: record.sha256,
        trust: await this.#exchange.trustOf(record),
        visibility: record.visibility,
        isPinned: record.isPinned,
        lastUsedAtMs: record.lastUsedAtMs,
      })
    }
    return entries
  }

  stat(): Promise<StoreStat> {
    return this.#store.stat()
  }

  /** Hashes all that is cached, and drops what is not what it should be. */
  verify(options: Parameters<Store['verify']>[0]): ReturnType<Store['verify']> {
    return this.#store.verify(options)
  }

  /** @returns how many resources matched: all generations of the URL */
  pin(url: string): Promise<number> {
    return this.#each(url, (record) => this.#store.pin(record.id))
  }

  /** @returns as `pin` */
  unpin(url: string): Promise<number> {
    return this.#each(url, (record) => this.#store.unpin(record.id))
  }

  /** @returns as `pin` */
  remove(url: string): Promise<number> {
    return this.#each(url, async (record) => {
      await this.#exchange.removed(record)
      await this.#store.removeResource(record.id)
    })
  }

  async #each(url: string, change: (record: ResourceRecord) => Promise<void>): Promise<number> {
    const wanted = normaliseUrl(url)
    let matched = 0
    for (const record of await this.#store.resources()) {
      if (record.resource.url !== wanted) continue
      await change(record)
      matched++
    }
    return matched
  }
}
