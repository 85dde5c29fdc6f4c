/**
 * Segments that are here, being read and going: where files and index meet. They come through commits.ts.
 *
 * Invariants:
 * 1. A row is removed after its file is gone. A kill in between leaves a row without a file; recovery finds it.
 * 2. Evicting and dropping run inside the Serial.
 * 3. A read protects its segment before it opens the file (a neighbour's: once it is permitted); eviction marks what it is
 *    about to delete (`#doomed`) in the same tick in which it sees that nobody reads it.
 */
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import type { ResourceId, SegmentHash } from '../content/ids.ts'
import type { SegmentPool } from '../content/segment-pool.ts'
import { SEGMENT_BYTES, type SegmentRange } from '../content/segmentation.ts'
import { type VerifiedSegment, verifySegment } from '../content/verify.ts'
import { isShorthaulError, localIoError } from '../errors.ts'
import type { SegmentRow } from './index-codec.ts'
import type { Reference } from './index-keys.ts'
import type { LocatedSegments } from './located.ts'
import type { Protection } from './protection.ts'
import type { ResourceIndex } from './resource-index.ts'
import { readRange, type SegmentFiles } from './segment-files.ts'
import type { KnownSegment, SegmentIndex } from './segment-index.ts'
import type { Serial } from './serial.ts'
import type { SegmentGone, StoreEvent, StoreEvents } from './store-events.ts'

export interface SegmentsComponents {
  readonly clock: Clock
  readonly log: Logger
  readonly serial: Serial
  readonly files: SegmentFiles
  readonly index: SegmentIndex
  readonly resources: ResourceIndex
  readonly located: LocatedSegments
  readonly protection: Protection
  readonly events: StoreEvents
  readonly pool: SegmentPool
}

export class Segments {
  readonly #components: SegmentsComponents
  readonly #doomed = new Set<SegmentHash>()

  constructor(components: SegmentsComponents) {
    this.#components = components
  }

  async has(hash: SegmentHash): Promise<boolean> {
    if (this.#components.located.get(hash) !== undefined) return true
    return !this.#doomed.has(hash) && (await this.#components.index.has(hash))
  }

  async hasMany(hashes: readonly SegmentHash[]): Promise<boolean[]> {
    const found = await this.#components.index.hasMany(hashes)
    return hashes.map(
      (hash, at) => this.#components.located.get(hash) !== undefined || (found[at] === true && !this.#doomed.has(hash)),
    )
  }

  read(hash: SegmentHash): Promise<VerifiedSegment | null> {
    return this.#components.protection.reading(hash, async () =>
      this.#read(hash, await this.#components.index.row(hash)),
    )
  }

  /** Null, as for absence, unless some resource that references the segment may be given to the branch. */
  async readForBranch(hash: SegmentHash): Promise<VerifiedSegment | null> {
    // Asked for each reader and before joining another's read: only the bytes are shared, never the permission.
    const row = await this.#components.index.row(hash)
    if (!(await this.#isForBranch(hash, row))) return null
    return this.#components.protection.reading(hash, () => this.#read(hash, row))
  }

  async #isForBranch(hash: SegmentHash, row: SegmentRow | null): Promise<boolean> {
    const { index, located } = this.#components
    if (row !== null && row.grantor !== null && (await this.#isOpen(row.grantor))) return true
    const inPart = located.get(hash)?.references.map((it) => it.resource) ?? []
    for (const id of new Set(inPart)) if (await this.#isOpen(id)) return true
    if (row === null) return false
    for await (const id of index.referencingResources(hash)) if (await this.#isOpen(id)) return true
    return false
  }

  async #isOpen(id: ResourceId): Promise<boolean> {
    return (await this.#components.resources.facts(id))?.visibility === 'branch'
  }

  async #read(hash: SegmentHash, row: SegmentRow | null): Promise<VerifiedSegment | null> {
    const { serial, located, pool } = this.#components
    if (!this.#doomed.has(hash)) {
      if (row !== null) {
        const found = await this.#readFile(hash, row.lengthBytes)
        // The second look is inside the Serial: the file may have been evicted, or committed anew, since the first.
        const sure = found ?? (await serial.run(() => this.recheck(hash)))
        if (sure !== null) return sure
      }
    }
    const inPart = located.get(hash)
    if (inPart === undefined) return null
    const { range } = inPart
    const bytes = await readRange(range, pool).catch((error: unknown) => {
      throw localIoError('read', range.path, error, 'SHORTHAUL_STORE_IO')
    })
    const segment = bytes === null ? null : verifiedOrNull(bytes, hash)
    // Removed only if it still is the location that we read: the owner may have named another since.
    if (segment === null && located.get(hash) === inPart) this.#tell('lost', hash, located.remove(hash))
    return segment
  }

  /** Runs inside the Serial. Drops the row of a segment whose file is missing or corrupt. @returns it when it is sound */
  async recheck(hash: SegmentHash): Promise<VerifiedSegment | null> {
    const { files, index, log } = this.#components
    const row = await index.row(hash)
    if (row === null) return null
    const segment = await this.#readFile(hash, row.lengthBytes)
    if (segment !== null) return segment
    const references = await index.references(hash)
    await files.remove(hash).catch((err: unknown) => log.warn({ err, hash }, 'corrupt segment file not removed'))
    await index.remove([{ hash, row, references }])
    log.warn({ hash, references: references.length }, 'segment lost')
    this.#tell('lost', hash, references)
    return null
  }

  /** Re-hashes one segment without counting as a use; drops it when it is not sound. */
  async check(hash: SegmentHash): Promise<'sound' | 'corrupt' | 'missing' | 'unknown'> {
    const { files, index, serial } = this.#components
    const row = await index.row(hash)
    if (row === null) return 'unknown'
    if ((await this.#readFile(hash, row.lengthBytes)) !== null) return 'sound'
    return serial.run(async () => {
      if (!(await index.has(hash))) return 'unknown'
      const isThere = (await files.inspect(hash)) !== null
      if ((await this.recheck(hash)) !== null) return 'sound'
      return isThere ? 'corrupt' : 'missing'
    })
  }

  /** Runs inside the Serial. Gives a file without a row its row back if its bytes are sound, else removes it. */
  async adopt(hash: SegmentHash): Promise<'adopted' | 'removed' | 'nothing to do'> {
    const { files, index, clock } = this.#components
    const found = await files.inspect(hash)
    if (found === null || (await index.has(hash))) return 'nothing to do'
    const isSegmentLength = found.lengthBytes > 0 && found.lengthBytes <= SEGMENT_BYTES
    if (!isSegmentLength || (await this.#readFile(hash, found.lengthBytes)) === null) {
      await files.remove(hash)
      return 'removed'
    }
    // Its last use is not known; its age is, so that what nobody claims goes first.
    const lastUsedAtMs = Math.min(found.modifiedAtMs, clock.nowMs())
    const row = { lengthBytes: found.lengthBytes, lastUsedAtMs, grantor: null }
    await index.add({ hash, row, isUnsynced: true })
    return 'adopted'
  }

  /**
   * Runs inside the Serial. Deletes segments, but not one that is being read.
   * @returns the bytes that went
   */
  async evict(victims: readonly { hash: SegmentHash }[]): Promise<number> {
    const { files, index, protection, log, events } = this.#components
    const free = victims.map((it) => it.hash).filter((hash) => !protection.isBeingRead(hash))
    for (const hash of free) this.#doomed.add(hash)
    try {
      const gone: KnownSegment[] = []
      for (const { hash, row } of await index.known(free)) {
        try {
          await files.remove(hash)
        } catch (err) {
          log.warn({ err, hash }, 'segment file not removed') // stays, with its row: still the truth
          continue
        }
        gone.push({ hash, row, references: await index.references(hash) })
      }
      if (gone.length === 0) return 0
      await index.remove(gone)
      events.emit(
        'evicted',
        gone.flatMap(({ hash, references }) => references.map((at) => ({ ...at, hash }))),
      )
      return gone.reduce((sum, { row }) => sum + row.lengthBytes, 0)
    } finally {
      for (const hash of free) this.#doomed.delete(hash)
    }
  }

  /** Runs inside the Serial. */
  async forgetLocated(path: string): Promise<void> {
    const { index, located, events } = this.#components
    const hashes = located.hashesAt(path)
    const isCached = await index.hasMany(hashes)
    const gone = hashes.flatMap((hash, position) => {
      const references = located.remove(hash)
      return isCached[position] === true ? [] : references.map((at) => ({ ...at, hash }))
    })
    events.emit('evicted', gone)
  }

  async positions(id: ResourceId): Promise<SegmentRange[]> {
    const found = this.#components.located.positions(id)
    for await (const page of this.#components.index.positions(id)) for (const { index } of page) found.push(index)
    return toRanges(found)
  }

  /** Removes what a resource references; segments that nobody else references go with it. */
  async removeResource(id: ResourceId): Promise<void> {
    const { events, index, located, serial } = this.#components
    await serial.run(async () => {
      const gone = located.removeResource(id)
      events.emit(
        'evicted',
        gone.map((it) => ({ ...it, resource: id })),
      )
    })
    // Page by page, so that commits of others get in between.
    for await (const page of index.positions(id)) {
      await serial.run(async () => {
        const unreferenced = await index.dereference(id, page)
        await this.evict(unreferenced.map((hash) => ({ hash })))
        events.emit(
          'evicted',
          page.map((it) => ({ ...it, resource: id })),
        )
      })
    }
  }

  async #readFile(hash: SegmentHash, lengthBytes: number): Promise<VerifiedSegment | null> {
    const { files } = this.#components
    try {
      const bytes = await files.read(hash, lengthBytes)
      return bytes === null ? null : verifiedOrNull(bytes, hash)
    } catch (error) {
      throw localIoError('read', files.path(hash), error, 'SHORTHAUL_STORE_IO')
    }
  }

  #tell(event: StoreEvent, hash: SegmentHash, references: readonly Reference[]): void {
    const gone: SegmentGone[] = references.map((at) => ({ ...at, hash }))
    this.#components.events.emit(event, gone)
  }
}

function verifiedOrNull(bytes: Uint8Array, hash: SegmentHash): VerifiedSegment | null {
  try {
    return verifySegment(bytes, hash)
  } catch (error) {
    if (isShorthaulError(error, 'SHORTHAUL_SEGMENT_CORRUPT')) return null
    throw error
  }
}

function toRanges(positions: number[]): SegmentRange[] {
  const found: { start: number; end: number }[] = []
  for (const position of positions.sort((a, b) => a - b)) {
    const last = found.at(-1)
    if (last !== undefined && position <= last.end) last.end = Math.max(last.end, position + 1)
    else found.push({ start: position, end: position + 1 })
  }
  return found
}
