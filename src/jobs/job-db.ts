/**
 * Jobs on disk: a level database of their own, in `<dataDir>/jobs/v1/`. Every change is one batch, fsynced: after a power
 * cut a job is as it was before a change or after it.
 *
 *   m version                format
 *   j job                    job (JSON)
 *   f job index              one of its files (JSON)
 *   e id                     event (JSON); the last MAX_EVENTS are kept
 *   o id channel             notification that is not delivered yet (JSON)
 *   i owner key              what a create with this idempotency key made (JSON)
 *
 * Numbers are big-endian, so that byte order is number order. Does not know what the changes mean.
 */
import { createHash } from 'node:crypto'
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import { isShorthaulError, localIoError, ShorthaulError } from '../errors.ts'
import { type Change, classifyIndexError, del, IndexDb, ioCodeOf, put } from '../store/index-db.ts'
import type { KeyRange } from '../store/index-keys.ts'
import type { Job, JobFile, JobId, JobOwner } from './job.ts'
import type { JobEventRecord, NotifyChannel, OutboxEntry } from './job-events.ts'

const FORMAT = 1
export const MAX_EVENTS = 10_000

/** What was made under an idempotency key, and from what. */
export interface Made {
  readonly job: JobId
  readonly requestSha256: string
  readonly atMs: number
}

export interface JobBatch {
  readonly job?: Job
  readonly files?: readonly JobFile[]
  readonly events?: readonly JobEventRecord[]
  readonly outbox?: readonly OutboxEntry[]
  readonly settled?: readonly OutboxEntry[]
  /** With all its files; events stay. */
  readonly forget?: { readonly id: JobId; readonly fileCount: number }
  readonly made?: { readonly owner: JobOwner; readonly key: string; readonly value: Made }
}

export interface OpenedJobDb {
  /** Whoever opened it closes it. */
  readonly db: JobDb
  readonly jobs: readonly Job[]
  /** Ids of the oldest event that is kept and of the newest; null when there was none yet. */
  readonly eventRange: { readonly first: number; readonly last: number } | null
}

export class JobDb {
  readonly #db: IndexDb

  private constructor(db: IndexDb) {
    this.#db = db
  }

  /**
   * Opens the database and reads what is always in memory.
   * @throws SHORTHAUL_STORE_IO, SHORTHAUL_STORE_VERSION
   */
  static async open(components: { clock: Clock; log: Logger }, dataDir: string): Promise<OpenedJobDb> {
    const directory = join(dataDir, 'jobs', 'v1')
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 })
    } catch (cause) {
      throw localIoError('create', directory, cause, 'SHORTHAUL_STORE_IO')
    }
    return openOrSetAside(join(directory, 'db'), components, (path, log) => JobDb.#load(path, log))
  }

  static async #load(path: string, log: Logger): Promise<OpenedJobDb> {
    await makeIfMissing(path)
    const onCorrupt = () => log.error({ path }, 'the database of the jobs is damaged')
    const db = await IndexDb.open(path, { onCorrupt })
    const opened = new JobDb(db)
    try {
      // LevelDB 1.20 names its new manifest by a rename that it does not sync: ext4 does so with the next sync of any file,
      // Btrfs does not, and a power cut would leave a database that names nothing.
      await syncPath(path)
      await opened.#checkFormat(path)
      return { db: opened, jobs: await opened.jobs(), eventRange: await opened.eventRange() }
    } catch (error) {
      await db.close()
      throw error
    }
  }

  /** All changes or none; durable when it returns, unless they may be lost (progress). */
  async write(batch: JobBatch, options: { readonly isDurable?: boolean } = {}): Promise<void> {
    await this.#db.write(changesOf(batch), { isDurable: options.isDurable ?? true })
  }

  async jobs(): Promise<Job[]> {
    return this.#values<Job>(table('j'))
  }

  async files(job: JobId): Promise<JobFile[]> {
    return (await this.#values<JobFile>(prefixed(key('f', job)))).map(asFile)
  }

  /** In order, from `after` (not included) on. */
  async filePage(job: JobId, { after, limit }: { after: number; limit: number }): Promise<JobFile[]> {
    const keys = Array.from({ length: limit }, (_, at) => fileKey(job, after + 1 + at))
    const found = await this.#db.getMany(keys)
    return found.filter((value) => value !== undefined).map((value) => asFile(parse<JobFile>(value)))
  }

  async file(job: JobId, index: number): Promise<JobFile | null> {
    const value = await this.#db.get(fileKey(job, index))
    return value === undefined ? null : asFile(parse<JobFile>(value))
  }

  /** Events with a higher id, in order, in pages. */
  async *eventsAfter(id: number): AsyncGenerator<readonly JobEventRecord[]> {
    const range = table('e')
    for await (const page of this.#db.pages(range, { after: key('e', number48(id)), pageSize: 256 })) {
      yield page.map(([, value]) => parse<JobEventRecord>(value))
    }
  }

  /** Ids of the oldest event that is kept and of the newest; null when there was none yet. */
  async eventRange(): Promise<{ readonly first: number; readonly last: number } | null> {
    let first: number | null = null
    let last = 0
    for await (const page of this.#db.pages(table('e'))) {
      for (const [found] of page) {
        last = found.readUIntBE(1, 6)
        first ??= last
      }
    }
    return first === null ? null : { first, last }
  }

  /** The oldest, in order. */
  async outbox(limit: number): Promise<OutboxEntry[]> {
    const found: OutboxEntry[] = []
    for await (const page of this.#db.pages(table('o'))) {
      for (const [, value] of page) {
        if (found.length === limit) return found
        found.push(parse<OutboxEntry>(value))
      }
    }
    return found
  }

  async made(owner: JobOwner, idempotencyKey: string): Promise<Made | null> {
    const value = await this.#db.get(madeKey(owner, idempotencyKey))
    return value === undefined ? null : parse<Made>(value)
  }

  /** Keys under which nothing can be asked for any more. */
  async forgetMade(isOver: (made: Made) => boolean): Promise<void> {
    const over: Change[] = []
    for await (const page of this.#db.pages(table('i'))) {
      for (const [found, value] of page) if (isOver(parse<Made>(value))) over.push(del(found))
    }
    await this.#db.write(over)
  }

  async close(): Promise<void> {
    await this.#db.close()
  }

  async #values<T>(range: KeyRange): Promise<T[]> {
    return (await this.#db.entries(range)).map(([, value]) => parse<T>(value))
  }

  async #checkFormat(path: string): Promise<void> {
    const versionKey = key('m', Buffer.from('version'))
    const found = await this.#db.get(versionKey)
    if (found === undefined) {
      await this.#db.write([put(versionKey, Buffer.from(JSON.stringify(FORMAT)))], { isDurable: true })
      return
    }
    const format = parse<number>(found)
    if (format === FORMAT) return
    throw new ShorthaulError(
      'SHORTHAUL_STORE_VERSION',
      `Cannot use the jobs in "${path}": they have format ${format}, expected ${FORMAT}`,
      { details: { path, found: format, expected: FORMAT } },
    )
  }
}

/** A new database gets its name when all of it is on disk: LevelDB does not sync its first manifest. */
async function makeIfMissing(path: string): Promise<void> {
  const found = await readdir(path).catch(() => [])
  if (found.length > 0) return
  const fresh = `${path}.new`
  await rm(fresh, { recursive: true, force: true })
  const db = await IndexDb.open(fresh, { onCorrupt: () => {} })
  await db.close()
  for (const name of await readdir(fresh)) await syncPath(join(fresh, name))
  await syncPath(fresh)
  await rename(fresh, path)
  await syncPath(dirname(path))
}

/** Makes a file, or the names in a directory, survive a power cut. */
async function syncPath(path: string): Promise<void> {
  if (process.platform === 'win32') return // neither directories nor files that are only read can be synced there
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Jobs cannot be rebuilt from anything. A damaged database is kept for whoever can read it, said loudly, and does not
 * stop an agent that has neighbours to serve.
 */
async function openOrSetAside<T>(
  path: string,
  { clock, log }: { clock: Clock; log: Logger },
  load: (path: string, log: Logger) => Promise<T>,
): Promise<T> {
  try {
    return await load(path, log)
  } catch (error) {
    if (!isDamage(error)) {
      if (isShorthaulError(error)) throw error
      throw localIoError('open the jobs in', path, error, ioCodeOf(error))
    }
    const aside = `${path}.damaged-${clock.nowMs()}`
    await rename(path, aside)
    log.error({ err: error, path, aside }, 'the database of the jobs is damaged and was set aside: its jobs are lost')
    return load(path, log)
  }
}

/** Some damage shows only when what is damaged is read. */
function isDamage(error: unknown): boolean {
  if (isShorthaulError(error) && error.details.failure === undefined) return false
  return error instanceof SyntaxError || classifyIndexError(error) === 'corrupt'
}

function changesOf(batch: JobBatch): Change[] {
  const { job, files = [], events = [], outbox = [], settled = [], forget, made } = batch
  const changes: Change[] = []
  if (job) changes.push(put(key('j', job.id), text(job)))
  for (const file of files) {
    if (job) changes.push(put(fileKey(job.id, file.index), text(file)))
  }
  for (const event of events) {
    changes.push(put(key('e', number48(event.id)), text(event)))
    if (event.id > MAX_EVENTS) changes.push(del(key('e', number48(event.id - MAX_EVENTS))))
  }
  for (const entry of outbox) changes.push(put(outboxKey(entry), text(entry)))
  for (const entry of settled) changes.push(del(outboxKey(entry)))
  if (forget) {
    changes.push(del(key('j', forget.id)))
    for (let index = 0; index < forget.fileCount; index++) changes.push(del(fileKey(forget.id, index)))
  }
  if (made) changes.push(put(madeKey(made.owner, made.key), text(made.value)))
  return changes
}

function key(letter: string, ...parts: readonly (Uint8Array | JobId)[]): Buffer {
  return Buffer.concat([
    Buffer.from(letter, 'latin1'),
    ...parts.map((part) => (typeof part === 'string' ? Buffer.from(part.replaceAll('-', ''), 'hex') : part)),
  ])
}

function fileKey(job: JobId, index: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(index)
  return key('f', job, bytes)
}

function outboxKey({ event, channel }: { readonly event: JobEventRecord; readonly channel: NotifyChannel }): Buffer {
  return key('o', number48(event.id), Buffer.from(channel))
}

/** Hashed: of any length, whatever it is made of. */
function madeKey(owner: JobOwner, idempotencyKey: string): Buffer {
  return key(
    'i',
    createHash('sha256')
      .update(`${owner.uid ?? owner.name}\0${idempotencyKey}`)
      .digest(),
  )
}

function number48(value: number): Buffer {
  const bytes = Buffer.alloc(6)
  bytes.writeUIntBE(value, 0, 6)
  return bytes
}

function table(letter: string): KeyRange {
  return prefixed(Buffer.from(letter, 'latin1'))
}

/** All keys that begin with `prefix`: none is longer by 40 bytes. */
function prefixed(prefix: Buffer): KeyRange {
  const lt = Buffer.concat([prefix, Buffer.alloc(40, 0xff)])
  return { gte: prefix, lt }
}

function text(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}

/** An earlier version did not say how a file is known. */
function asFile(file: Omit<JobFile, 'trust'> & { readonly trust?: JobFile['trust'] }): JobFile {
  return { ...file, trust: file.trust ?? null }
}

/** We wrote it, under this format. */
function parse<T>(value: Buffer): T {
  return JSON.parse(value.toString('utf8')) as T
}
