/**
 * How segments come: into a file of our own, or as a range of somebody's part file.
 *
 * Invariants:
 * 1. A row is written after its file stands under its name. A kill in between leaves a file without a row, in a shard that
 *    changed since the time mark; recovery finds it.
 * 2. A hash has one commit at a time, and publishing runs inside the Serial.
 */
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import type { SegmentHash } from '../content/ids.ts'
import type { Statement } from '../content/statement.ts'
import type { VerifiedSegment } from '../content/verify.ts'
import { isShorthaulError, localIoError, throwIfAborted } from '../errors.ts'
import { type Change, type IndexDb, isNoSpace } from './index-db.ts'
import type { Reference } from './index-keys.ts'
import type { LastUse } from './last-use.ts'
import type { LocatedSegments } from './located.ts'
import type { ResourceIndex } from './resource-index.ts'
import type { Room } from './room.ts'
import type { SegmentFiles } from './segment-files.ts'
import type { SegmentIndex } from './segment-index.ts'
import type { Serial } from './serial.ts'
import type { StatementIndex } from './statement-index.ts'

export interface CommitsComponents {
  readonly clock: Clock
  readonly log: Logger
  readonly serial: Serial
  readonly db: IndexDb
  readonly files: SegmentFiles
  readonly index: SegmentIndex
  readonly resources: ResourceIndex
  readonly statements: StatementIndex
  readonly located: LocatedSegments
  readonly lastUse: LastUse
  readonly room: Room
}

export interface Placement extends Reference {
  readonly statement?: Statement | undefined
}

export class Commits {
  readonly #components: CommitsComponents
  readonly #running = new Map<SegmentHash, Promise<boolean>>()

  constructor(components: CommitsComponents) {
    this.#components = components
  }

  /** @returns false when there is no room */
  async commit(segment: VerifiedSegment, at: Placement, options: { signal: AbortSignal }): Promise<boolean> {
    const { hash } = segment
    for (let running = this.#running.get(hash); running !== undefined; running = this.#running.get(hash)) {
      await running.catch(() => undefined)
    }
    throwIfAborted(options.signal)
    const commit = this.#commit(segment, at, options).finally(() => this.#running.delete(hash))
    this.#running.set(hash, commit)
    return commit
  }

  async #commit(segment: VerifiedSegment, at: Placement, options: { signal: AbortSignal }): Promise<boolean> {
    const { files, log, room, serial } = this.#components
    if (await serial.run(() => this.#claim(segment.hash, at))) return true
    // Twice, because a disk may be full although statfs said otherwise: then eviction makes room once.
    for (let attempt = 1; attempt <= 2; attempt++) {
      throwIfAborted(options.signal)
      try {
        if (!(await serial.run(() => room.reserve(segment.bytes.byteLength)))) return false
        await this.#write(segment, at, options)
        return true
      } catch (error) {
        if (isNoSpace(error)) {
          log.warn({ err: error, attempt }, 'disk full, segment not cached')
          room.noteDiskFull()
        } else if (isShorthaulError(error)) throw error
        else throw localIoError('write', files.path(segment.hash), error, 'SHORTHAUL_STORE_IO')
      }
    }
    return false
  }

  /** Ends the reservation in any case. */
  async #write({ hash, bytes }: VerifiedSegment, at: Placement, { signal }: { signal: AbortSignal }): Promise<void> {
    const { clock, files, index, room, serial } = this.#components
    let isStored = false
    let temp: string | null = null
    try {
      const written = await files.writeTemp(bytes)
      temp = written
      throwIfAborted(signal)
      await serial.run(async () => {
        if (await this.#claim(hash, at)) return // recovery adopted a file of this hash in the meantime
        const changes = await this.#placementChanges(hash, at)
        await files.publish(written, hash)
        temp = null
        const row = { lengthBytes: bytes.byteLength, lastUsedAtMs: Math.floor(clock.nowMs()) }
        try {
          await index.add({ hash, row, isUnsynced: true }, changes)
        } catch (error) {
          await files.remove(hash).catch(() => undefined)
          throw error
        }
        // Still inside the Serial, so that nobody sees the bytes both reserved and stored.
        isStored = true
        room.release(bytes.byteLength, { isUsed: true })
        room.noteQueued(row.lastUsedAtMs)
      })
    } finally {
      if (!isStored) room.release(bytes.byteLength, { isUsed: false })
      if (temp !== null) await files.discard(temp).catch(() => undefined)
    }
  }

  /** Runs inside the Serial. Adds a reference to a segment that is here already: the first copy stays. */
  async #claim(hash: SegmentHash, at: Placement): Promise<boolean> {
    const { db, index, lastUse, clock } = this.#components
    if (!(await index.has(hash))) return false
    await db.write(await this.#placementChanges(hash, at))
    lastUse.noteSegment(hash, clock.nowMs())
    return true
  }

  async #placementChanges(hash: SegmentHash, at: Placement): Promise<Change[]> {
    const statement = await this.#statementChanges(at)
    // Removed while its transfer runs: the segment may stay as cache content, but nothing may refer to the resource.
    if (statement === null) return []
    return [...(await this.#components.index.referenceChanges(hash, at)), ...statement]
  }

  /** Null when the resource is not known. */
  async #statementChanges({ resource, index, statement }: Placement): Promise<Change[] | null> {
    const { log, resources, statements } = this.#components
    const record = await resources.get(resource)
    if (record === null) {
      log.debug({ resource, index }, 'segment of an unknown resource')
      return null
    }
    if (statement === undefined) return []
    return statements.additions({ id: resource, lengthBytes: record.resource.lengthBytes }, [statement])
  }

  /** Runs inside the Serial. */
  async commitLocated(
    segment: { hash: SegmentHash; lengthBytes: number },
    at: Placement & { path: string; offset: number },
  ): Promise<void> {
    const { db, located } = this.#components
    const { hash, lengthBytes } = segment
    if (await this.#claim(hash, at)) return
    // Only the statement outlives the process; a reference must not, because the part file is not ours.
    const statement = await this.#statementChanges(at)
    if (statement === null) return
    await db.write(statement)
    const range = { path: at.path, offset: at.offset, lengthBytes, isWholeFile: false }
    located.add(hash, range, { resource: at.resource, index: at.index })
  }
}
