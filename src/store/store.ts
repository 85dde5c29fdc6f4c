/**
 * The segment store: segment files and the level index that leads to them, in one data directory of one process.
 *
 * Does not announce anything, fetch anything or decide what to trust: it keeps verified segments and what is known of
 * resources, and tells (`on`) when something is no longer here. Layout, all of it under `<dataDir>/store/v1`:
 *
 *   segments/ab/<hash>   one file for each segment          index/            level (index-keys.ts)
 *   temp/                segments being written             owner.json        who has it open
 *   format.json          version of the layout              mark              for reading the file system's clock
 */
import { chmod, mkdir, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import type { AgentKey, ResourceId, SegmentHash } from '../content/ids.ts'
import type { Manifest } from '../content/manifest.ts'
import { SegmentPool } from '../content/segment-pool.ts'
import type { SegmentRange } from '../content/segmentation.ts'
import type { Statement } from '../content/statement.ts'
import type { VerifiedSegment } from '../content/verify.ts'
import { isShorthaulError, localIoError, ShorthaulError, throwIfAborted } from '../errors.ts'
import { type Disk, systemDisk } from './disk.ts'
import { claimDir } from './open-dirs.ts'
import { checkVersion } from './open-index.ts'
import { inUseError, removeOwner, writeOwner } from './owner.ts'
import type { ResourceRecord } from './records.ts'
import type { VerifyResult } from './recovery.ts'
import { abortable, Gate } from './serial.ts'
import type { SegmentGoneListener, StoreEvent } from './store-events.ts'
import { openParts, type StoreParts } from './store-parts.ts'

export interface StoreOptions {
  readonly dataDir: string
  /** What the segments together may take. 0: nothing is cached. */
  readonly maxBytes: number
  /** What must stay free on the disk. */
  readonly minFreeBytes: number
  /** Segments and resources unused for longer go; null: never for age. */
  readonly maxAgeMs: number | null
}

export interface StoreStat {
  readonly segmentCount: number
  readonly bytes: number
  readonly resourceCount: number
  /** Bytes of pinned resources that are here, at most 10 s old. What two pinned resources share counts twice. */
  readonly pinnedBytes: number
  readonly maxBytes: number
  /** At most a second old. */
  readonly freeDiskBytes: number
}

export class Store {
  readonly #options: StoreOptions
  readonly #parts: StoreParts
  readonly #root: string
  readonly #releaseDir: () => void
  readonly #gate = new Gate()
  readonly #pool: SegmentPool
  /** How many callers of `read` have each buffer, which reads of one segment at the same time share. */
  readonly #readers = new WeakMap<ArrayBufferLike, number>()
  readonly #background: Promise<void>
  readonly #stopping = new AbortController()
  #closing: Promise<void> | null = null

  private constructor(
    parts: StoreParts,
    options: StoreOptions & { root: string; releaseDir: () => void; pool: SegmentPool },
  ) {
    this.#pool = options.pool
    this.#parts = parts
    this.#options = options
    this.#root = options.root
    this.#releaseDir = options.releaseDir
    this.#background = parts.maintenance.run(this.#stopping.signal)
  }

  /**
   * Opens or creates the store; recovers after an unclean stop. Whoever opens it closes it.
   * @param components.disk replaced by tests only
   * @throws SHORTHAUL_DATA_DIR_IN_USE (`details.pid`), SHORTHAUL_STORE_IO, SHORTHAUL_STORE_VERSION, SHORTHAUL_DISK_FULL
   */
  static async open(
    components: { clock: Clock; log: Logger; disk?: Disk | undefined; pool?: SegmentPool | undefined },
    options: StoreOptions,
  ): Promise<Store> {
    const { clock, disk = systemDisk, pool = new SegmentPool() } = components
    const log = components.log.child({ module: 'store' })
    const root = await makeRoot(options.dataDir)
    const releaseDir = claimDir(root)
    if (releaseDir === null) throw await inUseError(options.dataDir, root)
    try {
      await checkVersion(root, log)
      const parts = await openParts({ clock, log, disk, pool }, { ...options, root })
      await writeOwner(root, clock).catch((err: unknown) => log.warn({ err }, 'owner file not written'))
      return new Store(parts, { ...options, root, releaseDir, pool })
    } catch (error) {
      releaseDir()
      if (isShorthaulError(error, 'SHORTHAUL_DATA_DIR_IN_USE')) throw await inUseError(options.dataDir, root, error)
      if (isShorthaulError(error)) throw error
      throw localIoError('open the store in', root, error, 'SHORTHAUL_STORE_IO')
    }
  }

  /** Whether the segment is here, for whomever. Believes the index: only `read` looks at the bytes. */
  has(hash: SegmentHash): Promise<boolean> {
    return this.#pass(() => this.#parts.segments.has(hash))
  }

  hasMany(hashes: readonly SegmentHash[]): Promise<boolean[]> {
    return this.#pass(() => this.#parts.segments.hasMany(hashes))
  }

  /**
   * Reads and re-hashes. A file that is missing or corrupt is dropped from the index, 'lost' is emitted and null returned.
   * Counts as a use. Reads of one segment at the same time share one buffer of its size: nobody writes to it.
   * @param options.expectVisibility 'branch': null, as for absence, unless some reference permits the branch
   * @throws SHORTHAUL_STORE_IO, SHORTHAUL_ABORTED
   */
  read(
    hash: SegmentHash,
    options: { signal: AbortSignal; expectVisibility?: 'branch' | undefined },
  ): Promise<VerifiedSegment | null> {
    return this.#pass(async () => {
      const { clock, lastUse, maintenance, segments, serial } = this.#parts
      throwIfAborted(options.signal)
      const read = options.expectVisibility === 'branch' ? segments.readForBranch(hash) : segments.read(hash)
      const segment = await abortable(read, options.signal)
      if (segment !== null) {
        lastUse.noteSegment(hash, clock.nowMs())
        const { buffer } = segment.bytes
        this.#readers.set(buffer, (this.#readers.get(buffer) ?? 0) + 1)
      }
      if (lastUse.isFull) await serial.run(() => maintenance.flushUses())
      return segment
    })
  }

  /**
   * Gives the bytes of a segment from `read` back, to be overwritten by later reads: once for each read, and only when
   * the caller, and whoever it gave them to, no longer looks at them. Optional; bytes from elsewhere are left alone.
   */
  release(bytes: Uint8Array): void {
    const { buffer } = bytes
    const readers = this.#readers.get(buffer)
    if (readers === undefined) return
    if (readers > 1) {
      this.#readers.set(buffer, readers - 1)
      return
    }
    this.#readers.delete(buffer)
    this.#pool.give(bytes)
  }

  /**
   * Caches one segment of a resource: temp file, rename, then one atomic batch (row, reference, statement). When the
   * segment is here already, the first copy stays and only reference and statement are added: so a transfer that found a
   * position in the cache calls this too. The resource must have been put; else nothing will refer to the segment.
   * @returns false when there is no room even after eviction; the transfer goes on without caching
   * @throws SHORTHAUL_STORE_IO, SHORTHAUL_ABORTED
   */
  commit(
    segment: VerifiedSegment,
    at: { resource: ResourceId; index: number; statement?: Statement | undefined },
    options: { signal: AbortSignal },
  ): Promise<boolean> {
    return this.#pass(() => this.#parts.commits.commit(segment, at, options))
  }

  /**
   * Makes a range of somebody's part file the location of a segment, until `forgetLocated(path)` or the end of the process.
   * The caller has written and verified those bytes. Its statement is kept for good.
   */
  commitLocated(
    segment: { hash: SegmentHash; lengthBytes: number },
    at: { resource: ResourceId; index: number; path: string; offset: number; statement?: Statement | undefined },
  ): Promise<void> {
    return this.#change(() => this.#parts.commits.commitLocated(segment, at))
  }

  /** To be called before the part file is renamed or removed. Emits 'evicted' for what is then nowhere else. */
  forgetLocated(path: string): Promise<void> {
    return this.#change(() => this.#parts.segments.forgetLocated(path))
  }

  /** Positions of the resource whose segments are here now, ascending and disjoint: what neighbours are told. */
  positions(id: ResourceId): Promise<SegmentRange[]> {
    return this.#pass(() => this.#parts.segments.positions(id))
  }

  /** Inserts or updates; of a known resource it keeps what the caller may not know (`mergeRecord`). */
  putResource(record: ResourceRecord): Promise<void> {
    return this.#change(async () => {
      const { protection, resources } = this.#parts
      await resources.put(record)
      if (record.isPinned && (await resources.get(record.id))?.isPinned) protection.pin(record.id)
    })
  }

  resource(id: ResourceId): Promise<ResourceRecord | null> {
    return this.#pass(() => this.#parts.resources.get(id))
  }

  /** The newest generation known of a location: by the time its identification was seen, else by when we learnt of it. */
  newestAt(url: string, selection: string): Promise<ResourceRecord | null> {
    return this.#pass(() => this.#parts.resources.newestAt(url, selection))
  }

  /** Of several resources with these bytes, one with a manifest, then the one used last. */
  resourceBySha256(sha256: string): Promise<ResourceRecord | null> {
    return this.#pass(() => this.#parts.resources.bySha256(sha256))
  }

  resources(): Promise<ResourceRecord[]> {
    return this.#pass(() => this.#parts.resources.all())
  }

  /** Forgets the resource, pinned or not, and deletes segments that no other resource references. */
  removeResource(id: ResourceId): Promise<void> {
    return this.#pass(() => this.#parts.removeResource(id))
  }

  /** Notes a use; written within seconds. */
  touchResource(id: ResourceId): Promise<void> {
    return this.#pass(async () => this.#parts.lastUse.noteResource(id, this.#parts.clock.nowMs()))
  }

  /** Keeps the resource's segments from eviction, for good. Nothing happens when the resource is not known. */
  pin(id: ResourceId): Promise<void> {
    return this.#change(async () => {
      if (await this.#parts.resources.update(id, { isPinned: true })) this.#parts.protection.pin(id)
    })
  }

  unpin(id: ResourceId): Promise<void> {
    return this.#change(async () => {
      await this.#parts.resources.update(id, { isPinned: false })
      this.#parts.protection.unpin(id)
    })
  }

  /** The caller has checked the signatures. Statements beyond the end of the content are left out. */
  addStatements(id: ResourceId, statements: readonly Statement[]): Promise<void> {
    return this.#changeOf(id, (resource) => this.#parts.statements.additions(resource, statements))
  }

  /** Ascending by first position. */
  statements(id: ResourceId): Promise<Statement[]> {
    return this.#pass(() => this.#parts.statements.list(id))
  }

  /** Forgets all that one member said, about whatever resource. */
  removeStatements(signer: AgentKey): Promise<void> {
    return this.#change(() => this.#parts.statements.removeOf(signer))
  }

  /** Adds these statements and removes those of the same signers that they cover. */
  replaceStatements(id: ResourceId, statements: readonly Statement[]): Promise<void> {
    return this.#changeOf(id, (resource) => this.#parts.statements.replacements(resource, statements))
  }

  /** Stores the manifest, once for all resources with its root, and sets the record's root, and digest when given. */
  sealManifest(id: ResourceId, manifest: Manifest, known: { readonly sha256?: string } = {}): Promise<void> {
    return this.#change(async () => {
      await this.#parts.resources.seal(id, manifest, known)
    })
  }

  manifest(id: ResourceId): Promise<Manifest | null> {
    return this.#pass(() => this.#parts.resources.manifest(id))
  }

  /** Keeps a running transfer's segments from eviction. Counted, in memory. @returns the release, idempotent */
  hold(id: ResourceId): () => void {
    return this.#parts.protection.hold(id)
  }

  /** @returns what ends the subscription. Listeners are called after the index has changed, synchronously. */
  on(event: StoreEvent, listener: SegmentGoneListener): () => void {
    return this.#parts.events.on(event, listener)
  }

  stat(): Promise<StoreStat> {
    return this.#pass(async () => {
      const { index, pinnedBytes, resources, room } = this.#parts
      return {
        ...index.totals,
        resourceCount: await resources.count(),
        pinnedBytes: await pinnedBytes.get(),
        maxBytes: this.#options.maxBytes,
        freeDiskBytes: await room.freeDiskBytes(),
      }
    })
  }

  /** Re-reads everything; drops what is corrupt; gives intact files that the index does not know their rows; removes temp files. */
  verify(options: {
    signal: AbortSignal
    onProgress?: ((done: number, total: number) => void) | undefined
  }): Promise<VerifyResult> {
    return this.#pass(() => this.#parts.recovery.verify(options))
  }

  /** Evicts what is older than `maxAgeMs` or over the limits, and checkpoints, now; otherwise done by itself each hour and minute. */
  maintain(options: { signal: AbortSignal }): Promise<void> {
    return this.#pass(async () => {
      await this.#parts.maintenance.expire(options.signal)
      await this.#parts.maintenance.checkpoint(options.signal)
    })
  }

  /** Waits for what is running, writes last uses and the clean mark, gives the directory up. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    this.#stopping.abort()
    try {
      await Promise.all([this.#gate.empty(), this.#background])
      await this.#parts.close()
      await removeOwner(this.#root)
    } finally {
      this.#releaseDir()
    }
  }

  #pass<T>(task: () => Promise<T>): Promise<T> {
    if (this.#closing !== null) {
      return Promise.reject(
        new ShorthaulError('SHORTHAUL_STORE_IO', `Cannot use the store "${this.#root}": it is closed`),
      )
    }
    return this.#gate.pass(task)
  }

  #change(task: () => Promise<void>): Promise<void> {
    return this.#pass(() => this.#parts.serial.run(task))
  }

  #changeOf(
    id: ResourceId,
    changes: (resource: { id: ResourceId; lengthBytes: number }) => ReturnType<StoreParts['statements']['additions']>,
  ): Promise<void> {
    return this.#change(async () => {
      const record = await this.#parts.resources.get(id)
      // A resource that was removed while somebody learnt about it stays removed.
      if (record !== null) await this.#parts.db.write(await changes({ id, lengthBytes: record.resource.lengthBytes }))
    })
  }
}

/** @returns `<dataDir>/store/v1` without symbolic links, private to its owner */
async function makeRoot(dataDir: string): Promise<string> {
  const path = join(dataDir, 'store', 'v1')
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
    const root = await realpath(path)
    await chmod(root, 0o700) // level makes its files by the umask; nobody else gets as far as them
    return root
  } catch (error) {
    throw localIoError('create', path, error, 'SHORTHAUL_STORE_IO')
  }
}
