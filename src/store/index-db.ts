/**
 * The level database of the index, with its errors translated and its corruption noticed.
 *
 * Does not know what is in it (index-keys.ts, index-codec.ts) and never writes anything by itself.
 * Durability: a batch survives the death of the process; only `isDurable` batches survive a power cut for certain.
 *
 * After a write that failed the database is opened again before the next. LevelDB (1.20, as in classic-level 3) goes on in
 * the same log as if the record that was cut short were whole: what it acknowledges from then on lies where no reader looks
 * for it, and is gone with the process, silently. Opening replays the log up to the failure and begins a new one; it also
 * ends the refusal of all writes that a failed sync or compaction leaves behind.
 */
import { access, open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Level } from 'level'
import { isShorthaulError, localIoError, ShorthaulError, systemCode } from '../errors.ts'
import type { KeyRange } from './index-keys.ts'
import { Serial } from './serial.ts'

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

/** What is told of an error of the disk below an index. */
export function ioCodeOf(error: unknown): 'SHORTHAUL_DISK_FULL' | 'SHORTHAUL_STORE_IO' {
  return isNoSpace(error) ? 'SHORTHAUL_DISK_FULL' : 'SHORTHAUL_STORE_IO'
}

/**
 * LevelDB's own defaults, written down because they are the index's share of memory: about 16 MiB (the cache, and two
 * write buffers while one is being flushed). Other sizes were not measured; what the cache misses is in the page cache.
 */
const BLOCK_CACHE_BYTES = 8 * 1024 * 1024
const WRITE_BUFFER_BYTES = 4 * 1024 * 1024

/** What opening writes beside a table of what the log holds: a manifest, a new log, LevelDB's own notes. */
const OPENING_BYTES = 256 * 1024
/** LevelDB leaves names alone that are none of its own. */
const ROOM_PROBE = 'room-probe'

export class IndexDb {
  readonly path: string
  readonly #db: Level<Buffer, Buffer>
  readonly #onCorrupt: () => void
  /** One at a time: what LevelDB has queued behind a write that fails would go to the same log. */
  readonly #writes = new Serial()
  /** A write failed, and the log may end in its remains. */
  #isSuspect = false
  /** How often it was opened again. */
  #renewals = 0
  #isClosing = false

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
    // Of a process that was killed. Whatever else may be wrong here, level says it better.
    await rm(join(path, ROOM_PROBE), { force: true }).catch(() => {})
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
    return this.#read(() => this.#db.get(key))
  }

  getMany(keys: Buffer[]): Promise<(Buffer | undefined)[]> {
    return this.#read(() => this.#db.getMany(keys))
  }

  /**
   * Blocks the event loop on a disk that has to be waited for, so: a few keys, asked with `getMany` a moment ago. One of
   * these took 13 µs where a trip through the thread pool took 89 (Node 20, 2-core VM, 2026-11).
   */
  getFew(keys: readonly Buffer[]): Promise<(Buffer | undefined)[]> {
    return this.#read(async () => keys.map((key) => this.#db.getSync(key)))
  }

  has(key: Buffer): Promise<boolean> {
    return this.#read(() => this.#db.has(key))
  }

  /**
   * All changes or none, one batch after the other. After one that failed the database is opened again first.
   * @throws SHORTHAUL_DISK_FULL, SHORTHAUL_STORE_IO; the next write may succeed
   */
  async write(changes: readonly Change[], options: { isDurable?: boolean } = {}): Promise<void> {
    if (changes.length === 0 && !options.isDurable) return
    await this.#writes.run(async () => {
      await this.#renew()
      await this.#guard(async () => {
        try {
          await this.#db.batch([...changes], { sync: options.isDurable ?? false })
        } catch (error) {
          this.#isSuspect = true
          throw error
        }
      })
    })
  }

  /** Entries in key order, in pages that are never empty; as they are when the iteration starts, or was taken up again. */
  async *pages(range: KeyRange, options: { after?: Buffer; pageSize?: number } = {}): AsyncGenerator<Entry[]> {
    let { after } = options
    for (;;) {
      const renewals = this.#renewals
      const start = after === undefined ? { gte: range.gte } : { gt: after }
      const iterator = await this.#read(async () =>
        this.#db.iterator({ ...start, lt: range.lt, highWaterMarkBytes: 256 * 1024 }),
      )
      try {
        for (;;) {
          const page = await this.#read(() => iterator.nextv(options.pageSize ?? 1000))
          const last = page.at(-1)
          if (last === undefined) return
          yield page
          after = last[0]
        }
      } catch (error) {
        // Opening again ends all iterators.
        if (renewals === this.#renewals) throw error
      } finally {
        await iterator.close()
      }
    }
  }

  /** Everything in the range at once; for ranges that are small by nature. */
  async entries(range: KeyRange): Promise<Entry[]> {
    const found: Entry[] = []
    for await (const page of this.pages(range)) found.push(...page)
    return found
  }

  async close(): Promise<void> {
    this.#isClosing = true
    await this.#writes.run(async () => {
      await this.#db.close()
    })
  }

  /**
   * Runs inside `#writes`, if a write failed. Closes and opens the database; while the disk has no room for that, it stays
   * open for reading.
   */
  async #renew(): Promise<void> {
    if (!this.#isSuspect || this.#isClosing) return
    if (this.#db.status === 'open') await proveRoom(this.path)
    await this.#guard(async () => {
      this.#renewals++
      await this.#db.close()
      await this.#db.open()
    })
    this.#isSuspect = false
  }

  /** Waits while the database is being opened again, and does so if that failed before. */
  async #read<T>(operation: () => Promise<T>): Promise<T> {
    if (this.#db.status !== 'open') await this.#writes.run(() => this.#renew())
    return this.#guard(operation)
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
    return new ShorthaulError(ioCodeOf(error), `Cannot use the index "${this.path}": ${failure}`, {
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

/**
 * Opening the database again could fail for want of room, and then nobody could read it.
 * @throws SHORTHAUL_DISK_FULL, SHORTHAUL_STORE_IO
 */
async function proveRoom(path: string): Promise<void> {
  const probe = join(path, ROOM_PROBE)
  try {
    const logs = (await readdir(path)).filter((name) => name.endsWith('.log'))
    const sizes = await Promise.all(logs.map(async (name) => (await stat(join(path, name))).size))
    const neededBytes = sizes.reduce((sum, size) => sum + size, OPENING_BYTES)
    const handle = await open(probe, 'w', 0o600)
    try {
      await handle.writeFile(Buffer.alloc(neededBytes))
      await handle.sync()
    } finally {
      await handle.close()
    }
  } catch (cause) {
    // Not the database's: a log that it removed meanwhile must not be taken for one that is lost.
    throw localIoError('find room in', path, cause, 'SHORTHAUL_STORE_IO')
  } finally {
    await rm(probe, { force: true }).catch(() => {}) // the first error is the one to tell
  }
}
