/**
 * The database of the jobs in memory, as store/index-db.ts shows it to job-db.ts: batches are atomic and ordered; those that
 * are not durable may be lost in a power cut, from the last one backwards to the last durable one.
 */
import type { Random } from '../../src/clock.ts'
import { ShorthaulError } from '../../src/errors.ts'
import type { Change, Entry, IndexDb } from '../../src/store/index-db.ts'
import type { KeyRange } from '../../src/store/index-keys.ts'

/** What one run of a machine does to its operations. */
export interface DbWeather {
  /** Waits as long as the disk takes; for ever when the machine is dead. @returns the error that the disk gives */
  before(operation: 'read' | 'write'): Promise<'EIO' | 'ENOSPC' | null>
  /** The batch is in the log, and whoever wrote it does not know yet. */
  after(): Promise<void>
}

interface Batch {
  readonly changes: readonly Change[]
}

export class SimulatedDb {
  #rows = new Map<string, Buffer>()
  #synced = new Map<string, Buffer>()
  #unsynced: Batch[] = []
  /** Told of every batch when it is in the log. */
  onWrite: (changes: readonly Change[]) => void = () => {}

  open(weather: DbWeather): IndexDb {
    const read = async <T>(operation: () => T): Promise<T> => {
      await refuse(await weather.before('read'))
      return operation()
    }
    const get = (key: Buffer) => this.#rows.get(key.toString('hex'))
    const db = {
      path: '/simulated',
      get: (key: Buffer) => read(() => get(key)),
      getMany: (keys: readonly Buffer[]) => read(() => keys.map(get)),
      getManySync: (keys: readonly Buffer[]) => keys.map(get),
      has: (key: Buffer) => read(() => get(key) !== undefined),
      entries: (range: KeyRange) => read(() => this.#entries(range)),
      pages: (range: KeyRange, options: { after?: Buffer; pageSize?: number } = {}) =>
        this.#pages(() => read(() => this.#entries(range)), options),
      write: async (changes: readonly Change[], options: { isDurable?: boolean } = {}) => {
        await refuse(await weather.before('write'))
        this.#write(changes, options.isDurable ?? false)
        await weather.after()
      },
      close: async () => {},
    }
    // It has what job-db.ts calls, and no more.
    return db as unknown as IndexDb
  }

  /** Keys in hex. */
  rows(): Iterable<readonly [key: string, value: Buffer]> {
    return this.#rows
  }

  crash(random: Random, { isKill = false } = {}): void {
    const survivors = isKill ? this.#unsynced.length : Math.floor(random() * (this.#unsynced.length + 1))
    for (const batch of this.#unsynced.slice(0, survivors)) apply(this.#synced, batch)
    this.#unsynced = []
    this.#rows = new Map(this.#synced)
  }

  #write(changes: readonly Change[], isDurable: boolean): void {
    const batch = { changes: [...changes] }
    apply(this.#rows, batch)
    this.#unsynced.push(batch)
    this.onWrite(changes)
    if (!isDurable) return
    for (const one of this.#unsynced.splice(0)) apply(this.#synced, one)
  }

  #entries(range: KeyRange): Entry[] {
    const [from, to] = [Buffer.from(range.gte).toString('hex'), Buffer.from(range.lt).toString('hex')]
    const found: Entry[] = []
    for (const [key, value] of this.#rows) if (key >= from && key < to) found.push([Buffer.from(key, 'hex'), value])
    return found.sort(([one], [other]) => Buffer.compare(one, other))
  }

  async *#pages(
    read: () => Promise<Entry[]>,
    { after, pageSize = 1000 }: { after?: Buffer; pageSize?: number },
  ): AsyncGenerator<Entry[]> {
    const all = await read()
    const rest = after === undefined ? all : all.filter(([key]) => Buffer.compare(key, after) > 0)
    for (let at = 0; at < rest.length; at += pageSize) yield rest.slice(at, at + pageSize)
  }
}

function apply(rows: Map<string, Buffer>, { changes }: Batch): void {
  for (const change of changes) {
    if (change.type === 'put') rows.set(change.key.toString('hex'), change.value)
    else rows.delete(change.key.toString('hex'))
  }
}

/** As index-db.ts translates what level throws. */
async function refuse(code: 'EIO' | 'ENOSPC' | null): Promise<void> {
  if (code === null) return
  const cause = Object.assign(new Error(`${code}: simulated`), { code })
  throw new ShorthaulError(
    code === 'ENOSPC' ? 'SHORTHAUL_DISK_FULL' : 'SHORTHAUL_STORE_IO',
    'Cannot use the index "/simulated": io',
    { cause, details: { failure: 'io' } },
  )
}
