/**
 * The level database of the index, with its errors translated and its corruption noticed.
 *
 * Does not know what is in it (index-keys.ts, index-codec.ts) and never writes anything by itself.
 * Durability: a batch survives the death of the process; only `isDurable` batches survive a power cut for certain.
 */
import { access, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Level } from 'level'
import { isShorthaulError, ShorthaulError, systemCode } from '../errors.ts'
import type { KeyRange } from './index-keys.ts'

export type Change =
  | { readonly type: 'put'; readonly key: Buffer; readonly value: Buffer }
  | { readonly type: 'del'; readonly key: Buffer }

export type Entry = readonly [key: Buffer, value: Buffer]

export const EMPTY = Buffer.alloc(0)

export function put(key: Buffer, value: Buffer = EMPTY): Change {
  return { type: 'put', key, value }
}

export function del(key: Buffer): Change {
  return { type: 'del', key }
}

/** `locked`: another process has it. `corrupt`: what is there is no index any more. `io`: the disk or permissions. */
export type IndexFailure = 'locked' | 'corrupt' | 'io'

/** LevelDB says "IO error" for files that are gone or cut off as well; only these texts are about the disk. */
const DISK_TROUBLE =
  /No space left|quota|Permission denied|not permitted|Read-only file system|Too many open files|Input\/output error|Cannot allocate/i
const LOST_FILES = /No such file|Invalid argument|CURRENT|MANIFEST|missing files/i
const NO_SPACE = /No space left|Disk quota exceeded/i

function messages(error: unknown): string {
  const texts: string[] = []
  for (let current = error, depth = 0; current instanceof Error && depth < 5; current = current.cause, depth++) {
    texts.push(`${String((current as { code?: unknown }).code)} ${current.message}`)
  }
  return texts.join('\n')
}

export function classifyIndexError(error: unknown): IndexFailure {
  if (isShorthaulError(error) && error.details.failure !== undefined) return classifyIndexError(error.cause)
  const text = messages(error)
  if (text.includes('LEVEL_LOCKED')) return 'locked'
  if (DISK_TROUBLE.test(text)) return 'io'
  if (text.includes('LEVEL_CORRUPTION') || LOST_FILES.test(text) || text.includes('EEXIST')) return 'corrupt'
  return 'io'
}

/** A full disk, from the file system or from inside LevelDB, which keeps it in its message only. */
export function isNoSpace(error: unknown): boolean {
  const code = systemCode(error)
  return (
    code === 'ENOSPC' ||
    code === 'EDQUOT' ||
    isShorthaulError(error, 'SHORTHAUL_DISK_FULL') ||
    NO_SPACE.test(messages(error))
  )
}

/**
 * LevelDB's own defaults, written down because they are the index's share of memory: about 16 MiB (the cache, and two
 * write buffers while one is being flushed). Other sizes were not measured; what the cache misses is in the page cache.
 */
const BLOCK_CACHE_BYTES = 8 * 1024 * 1024
const WRITE_BUFFER_BYTES = 4 * 1024 * 1024

export class IndexDb {
  readonly path: string
  readonly #db: Level<Buffer, Buffer>
  readonly #onCorrupt: () => void

  private constructor(db: Level<Buffer, Buffer>, options: { path: string; onCorrupt: () => void }) {
    this.#db = db
    this.path = options.path
    this.#onCorrupt = options.onCorrupt
  }

  /**
   * Opens or creates the database. Throws level's own error: `classifyIndexError` tells what it means.
   * @param options.onCorrupt called when an operation finds the database damaged, before that operation rejects
   */
  static async open(path: string, options: { onCorrupt: () => void }): Promise<IndexDb> {
    if (await hasLostItsHead(path)) {
      // LevelDB would start a new database over the remains and mix the two.
      throw Object.assign(new Error(`CURRENT is missing in "${path}"`), { code: 'LEVEL_CORRUPTION' })
    }
    const db = new Level<Buffer, Buffer>(path, {
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
      cacheSize: BLOCK_CACHE_BYTES,
      writeBufferSize: WRITE_BUFFER_BYTES,
    })
    try {
      await db.open()
    } catch (error) {
      await db.close()
      throw error
    }
    return new IndexDb(db, { path, onCorrupt: options.onCorrupt })
  }

  get(key: Buffer): Promise<Buffer | undefined> {
    return this.#guard(() => this.#db.get(key))
  }

  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    return this.#guard(() => this.#db.getMany(keys))
  }

  /**
   * Blocks the event loop on a disk that has to be waited for, so: a few keys, asked with `getMany` a moment ago. One of
   * these took 13 µs where a trip through the thread pool took 89 (Node 20, 2-core VM, 2026-11).
   */
  getManySync(keys: readonly Buffer[]): (Buffer | undefined)[] {
    try {
      return keys.map((key) => this.#db.getSync(key))
    } catch (error) {
      throw this.#translated(error)
    }
  }

  has(key: Buffer): Promise<boolean> {
    return this.#guard(() => this.#db.has(key))
  }

  /** All changes or none. */
  async write(changes: readonly Change[], options: { isDurable?: boolean } = {}): Promise<void> {
    if (changes.length === 0 && !options.isDurable) return
    await this.#guard(() => this.#db.batch([...changes], { sync: options.isDurable ?? false }))
  }

  /** Entries in key order, as they are when the iteration starts, in pages that are never empty. */
  async *pages(range: KeyRange, options: { after?: Buffer; pageSize?: number } = {}): AsyncGenerator<Entry[]> {
    const start = options.after === undefined ? { gte: range.gte } : { gt: options.after }
    const iterator = this.#db.iterator({ ...start, lt: range.lt, highWaterMarkBytes: 256 * 1024 })
    try {
      for (;;) {
        const page = await this.#guard(() => iterator.nextv(options.pageSize ?? 1000))
        if (page.length === 0) return
        yield page
      }
    } finally {
      await iterator.close()
    }
  }

  /** Everything in the range at once; for ranges that are small by nature. */
  async entries(range: KeyRange): Promise<Entry[]> {
    const found: Entry[] = []
    for await (const page of this.pages(range)) found.push(...page)
    return found
  }

  async close(): Promise<void> {
    await this.#db.close()
  }

  async #guard<T>(operation: () => Promise<T>): Promise<T> {
    try {
      return await operation()
    } catch (error) {
      throw this.#translated(error)
    }
  }

  #translated(error: unknown): ShorthaulError {
    const failure = classifyIndexError(error)
    if (failure === 'corrupt') this.#onCorrupt()
    const code = isNoSpace(error) ? 'SHORTHAUL_DISK_FULL' : 'SHORTHAUL_STORE_IO'
    return new ShorthaulError(code, `Cannot use the index "${this.path}": ${failure}`, {
      cause: error,
      details: { path: this.path, failure },
    })
  }
}

async function hasLostItsHead(path: string): Promise<boolean> {
  const names = await readdir(path).catch(() => [])
  if (!names.some((name) => name.endsWith('.ldb') || name.endsWith('.log'))) return false
  return access(join(path, 'CURRENT')).then(
    () => false,
    () => true,
  )
}
