/** Puts the parts of an open store together: opening, recovering and closing in their order. */
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import type { ResourceId } from '../content/ids.ts'
import type { SegmentPool } from '../content/segment-pool.ts'
import { segmentLength } from '../content/segmentation.ts'
import { isShorthaulError } from '../errors.ts'
import { Commits } from './commits.ts'
import type { Disk } from './disk.ts'
import { del, type IndexDb, put } from './index-db.ts'
import { keys } from './index-keys.ts'
import { LastUse } from './last-use.ts'
import { LocatedSegments } from './located.ts'
import { Maintenance } from './maintenance.ts'
import { markBuilt, type OpenedIndex, openIndex } from './open-index.ts'
import { Placements } from './placement.ts'
import { Protection } from './protection.ts'
import { Recovery } from './recovery.ts'
import { ResourceIndex } from './resource-index.ts'
import { Room } from './room.ts'
import { SegmentFiles } from './segment-files.ts'
import { SegmentIndex } from './segment-index.ts'
import { Segments } from './segments.ts'
import { Serial } from './serial.ts'
import { StatementIndex } from './statement-index.ts'
import { StoreEvents } from './store-events.ts'

export interface PartsComponents {
  readonly clock: Clock
  readonly log: Logger
  readonly disk: Disk
  /** Buffers for reading. */
  readonly pool: SegmentPool
}

export interface PartsOptions {
  readonly root: string
  readonly maxBytes: number
  readonly minFreeBytes: number
  readonly maxAgeMs: number | null
}

export type StoreParts = Awaited<ReturnType<typeof openParts>>

const PINNED_CACHED_MS = 10_000

/** The index is open, and recovered or built again, when this resolves; nothing is left open when it rejects. */
export async function openParts(components: PartsComponents, options: PartsOptions) {
  const { root } = options
  const files = await SegmentFiles.open(components, root)
  const opened = await openIndex(components, { root })
  try {
    return await assemble(components, { ...options, opened, files })
  } catch (error) {
    await opened.db.close()
    if (!isShorthaulError(error) || error.details.failure !== 'corrupt') throw error
  }
  // It opened, but could not be read: start anew, once, rather than fail at each start.
  const again = await openIndex(components, { root, isDistrusted: true })
  try {
    return await assemble(components, { ...options, opened: again, files })
  } catch (error) {
    await again.db.close()
    throw error
  }
}

async function assemble(
  components: PartsComponents,
  options: PartsOptions & { opened: OpenedIndex; files: SegmentFiles },
) {
  const { clock, log } = components
  const { opened, files } = options
  const { db } = opened
  const serial = new Serial()
  const events = new StoreEvents(log)
  const lastUse = new LastUse()
  const located = new LocatedSegments()
  const resources = new ResourceIndex(db)
  const statements = new StatementIndex(db)
  const protection = new Protection(await resources.pins())
  const index = await SegmentIndex.open(db)
  const shared = { clock, log, serial, db, files, index, resources, statements, located, protection, events, lastUse }
  const segments = new Segments({ ...shared, pool: components.pool })
  const recovery = new Recovery({ ...shared, segments })
  const room = new Room(
    {
      ...shared,
      evict: (victims) => segments.evict(victims),
      flushUses: () => maintenance.flushUses(),
    },
    options,
  )
  const placements = new Placements({ db, resources, log })
  const commits = new Commits({ ...shared, placements, room })
  protection.onReleased((id) => room.noteReleased(id))
  const pinnedBytes = new PinnedBytes({ clock, index, protection, resources })

  async function removeResource(id: ResourceId): Promise<void> {
    // The record first: from then on no running transfer can add to it (Segments looks for the record).
    await serial.run(() => resources.remove(id))
    protection.unpin(id)
    await serial.run(() => statements.removeAll(id))
    await segments.removeResource(id)
  }
  const maintenance: Maintenance = new Maintenance({ ...shared, recovery, room, removeResource }, options)

  await files.clearTemp()
  await startIndex({ db, files, recovery, isNew: opened.isNew })

  async function close(): Promise<void> {
    try {
      await serial.run(() => maintenance.flushUses())
      // With suspects left, the next opening must go on looking at them.
      if (recovery.isScrubbed) await writeCleanMark(db, files)
    } finally {
      await db.close()
    }
  }
  return { ...shared, segments, commits, recovery, room, maintenance, pinnedBytes, removeResource, close }
}

async function startIndex(parts: {
  db: IndexDb
  files: SegmentFiles
  recovery: Recovery
  isNew: boolean
}): Promise<void> {
  const { db, recovery, isNew } = parts
  if (isNew) {
    await recovery.rebuild()
    await markBuilt(db)
    return
  }
  const isClean = (await db.get(keys.meta('clean'))) !== undefined
  if (isClean) await db.write([del(keys.meta('clean'))], { isDurable: true })
  else await recovery.recover()
}

async function writeCleanMark(db: IndexDb, files: SegmentFiles): Promise<void> {
  const mark = Buffer.from(String(await files.fileSystemNowMs()), 'latin1')
  await db.write([put(keys.meta('mark'), mark), put(keys.meta('clean'))], { isDurable: true })
}

/** What pins keep on the disk. Costs a walk over the pinned positions, so it is not done for every question. */
class PinnedBytes {
  readonly #parts: { clock: Clock; index: SegmentIndex; protection: Protection; resources: ResourceIndex }
  #known: { bytes: number; atMs: number; pins: string } | null = null

  constructor(parts: { clock: Clock; index: SegmentIndex; protection: Protection; resources: ResourceIndex }) {
    this.#parts = parts
  }

  async get(): Promise<number> {
    const { clock, protection } = this.#parts
    const pins = [...protection.pins].join()
    const isFresh = this.#known?.pins === pins && clock.monotonicMs() - this.#known.atMs < PINNED_CACHED_MS
    if (this.#known === null || !isFresh) {
      this.#known = { bytes: await this.#count(), atMs: clock.monotonicMs(), pins }
    }
    return this.#known.bytes
  }

  async #count(): Promise<number> {
    const { index, protection, resources } = this.#parts
    let bytes = 0
    for (const id of protection.pins) {
      const record = await resources.get(id)
      if (record === null) continue
      for await (const page of index.positions(id)) {
        for (const position of page) bytes += segmentLength(position.index, record.resource.lengthBytes)
      }
    }
    return bytes
  }
}
