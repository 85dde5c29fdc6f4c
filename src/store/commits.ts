/**
 * How segments come: into a file of our own, or as a range of somebody's part file.
 *
 * Invariants:
 * 1. A row is written after its file stands under its name. A kill in between leaves a file without a row, in a shard that
 *    changed since the time mark; recovery finds it.
 * 2. A hash has one commit at a time, and publishing runs inside the Serial.
 *
 * Cost of a new segment: one read of the index, four steps of the file system (open, write, close, rename), one batch.
 */
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import type { SegmentHash } from '../content/ids.ts'
import type { VerifiedSegment } from '../content/verify.ts'
import { isShorthaulError, localIoError, throwIfAborted } from '../errors.ts'
import { encodeSegmentRow } from './index-codec.ts'
import { type IndexDb, isNoSpace, put } from './index-db.ts'
import { keys } from './index-keys.ts'
import type { LastUse } from './last-use.ts'
import type { LocatedSegments } from './located.ts'
import type { Look, Placement, Placements } from './placement.ts'
import type { Room } from './room.ts'
import type { SegmentFiles } from './segment-files.ts'
import type { SegmentIndex } from './segment-index.ts'
import type { Serial } from './serial.ts'

export interface CommitsComponents {
  readonly clock: Clock
  readonly log: Logger
  readonly serial: Serial
  readonly db: IndexDb
  readonly files: SegmentFiles
  readonly index: SegmentIndex
  readonly placements: Placements
  readonly located: LocatedSegments
  readonly lastUse: LastUse
  readonly room: Room
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
    const { files, log, room } = this.#components
    // Twice, because a disk may be full although statfs said otherwise: then eviction makes room once.
    for (let attempt = 1; attempt <= 2; attempt++) {
      throwIfAborted(options.signal)
      try {
        const prepared = await this.#prepare(segment, at)
        if (prepared !== 'reserved') return prepared === 'here'
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

  #prepare({ hash, bytes }: VerifiedSegment, at: Placement): Promise<'here' | 'reserved' | 'no room'> {
    const { placements, room, serial } = this.#components
    return serial.run(async () => {
      if (await this.#claim(hash, at, await placements.look(hash, at))) return 'here'
      return (await room.reserve(bytes.byteLength)) ? 'reserved' : 'no room'
    })
  }

  /** Ends the reservation in any case. */
  async #write({ hash, bytes }: VerifiedSegment, at: Placement, { signal }: { signal: AbortSignal }): Promise<void> {
    const { clock, files, index, placements, room, serial } = this.#components
    let isStored = false
    let temp: string | null = null
    try {
      const written = await files.writeTemp(bytes)
      temp = written
      throwIfAborted(signal)
      await serial.run(async () => {
        const look = await placements.lookAgain(hash, at)
        if (await this.#claim(hash, at, look)) return // recovery adopted a file of this hash in the meantime
        await files.publish(written, hash)
        temp = null
        const row = {
          lengthBytes: bytes.byteLength,
          lastUsedAtMs: Math.floor(clock.nowMs()),
          grantor: look.isResourceKnown ? at.resource : null,
        }
        try {
          await index.add({ hash, row, isUnsynced: true }, [...look.referenceChanges, ...look.statementChanges])
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
  async #claim(hash: SegmentHash, at: Placement, look: Look): Promise<boolean> {
    const { db, lastUse, clock, placements } = this.#components
    if (look.row === null) return false
    const row = look.isResourceKnown ? await placements.betterGrantor(look.row, at.resource) : null
    const rowChanges = row === null ? [] : [put(keys.segment(hash), encodeSegmentRow(row))]
    await db.write([...look.referenceChanges, ...look.statementChanges, ...rowChanges])
    lastUse.noteSegment(hash, clock.nowMs())
    return true
  }

  /** Runs inside the Serial. */
  async commitLocated(
    segment: { hash: SegmentHash; lengthBytes: number },
    at: Placement & { path: string; offset: number },
  ): Promise<void> {
    const { db, located, placements } = this.#components
    const { hash, lengthBytes } = segment
    const look = await placements.look(hash, at)
    if (await this.#claim(hash, at, look)) return
    if (!look.isResourceKnown) return
    // Only the statement outlives the process; a reference must not, because the part file is not ours.
    await db.write(look.statementChanges)
    const range = { path: at.path, offset: at.offset, lengthBytes, isWholeFile: false }
    located.add(hash, range, { resource: at.resource, index: at.index })
  }
}
