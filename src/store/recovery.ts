/**
 * Makes index and files agree again: after an unclean stop, from nothing, and when asked to verify everything.
 *
 * After an unclean stop two things are doubtful, and only they are looked at:
 * - shards whose directory changed since the time mark: a file without a row, or a row without a file, came about there;
 * - segments in the journal: committed, but not yet known to be on the disk.
 * A checkpoint, about once a minute, moves the time mark and empties the journal, so both stay small however long the
 * agent runs and however much it holds.
 *
 * Files that nobody's reference leads to (recovered ones) are kept as cache content: they may be read by hash, are never
 * served to the branch, go by age like everything else, and belong to a resource again as soon as a commit places them.
 */
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import type { SegmentHash } from '../content/ids.ts'
import { SEGMENT_BYTES } from '../content/segmentation.ts'
import { throwIfAborted } from '../errors.ts'
import { del, type IndexDb, put } from './index-db.ts'
import { keys, lastId, ranges } from './index-keys.ts'
import { type SegmentFiles, SHARD_COUNT } from './segment-files.ts'
import type { SegmentIndex } from './segment-index.ts'
import type { Segments } from './segments.ts'
import type { Serial } from './serial.ts'

/** Coarsest time stamp of a file system in use (FAT), and then some. */
const TIMESTAMP_SLACK_MS = 4000
/** What opening spends on re-hashing; the rest is re-hashed while the store is in use, which is safe: reads hash anyway. */
const OPEN_SCRUB_MS = 500
/** Files synced by one checkpoint at most; the rest waits for the next. */
const SYNC_AT_ONCE = 4096

export interface RecoveryComponents {
  readonly clock: Clock
  readonly log: Logger
  readonly serial: Serial
  readonly db: IndexDb
  readonly files: SegmentFiles
  readonly index: SegmentIndex
  readonly segments: Segments
}

export interface VerifyResult {
  readonly checked: number
  readonly corrupt: number
  readonly missing: number
  readonly recovered: number
}

export class Recovery {
  readonly #components: RecoveryComponents
  /** Doubtful segments that opening had no time for. While there are any, the time mark stays where it is. */
  #suspects: SegmentHash[] = []
  #journalAtLastCheckpoint = new Set<SegmentHash>()

  constructor(components: RecoveryComponents) {
    this.#components = components
  }

  /** After an unclean stop, before anybody uses the store. */
  async recover(): Promise<void> {
    const { clock, db, files, log } = this.#components
    const startedAtMs = clock.monotonicMs()
    const markMs = Number((await db.get(keys.meta('mark')))?.toString('latin1') ?? 'NaN')
    // No mark, or a file system clock that went back: every shard is doubtful.
    const sinceMs = markMs <= (await files.fileSystemNowMs()) ? markMs - TIMESTAMP_SLACK_MS : Number.NEGATIVE_INFINITY
    const orphans: SegmentHash[] = []
    const missing: SegmentHash[] = []
    for (let shard = 0; shard < SHARD_COUNT; shard++) {
      const changedAtMs = await files.shardChangedAtMs(shard)
      if (changedAtMs !== null && changedAtMs < sinceMs) continue
      const found = await this.#compareShard(shard)
      orphans.push(...found.withoutRow)
      missing.push(...found.withoutFile)
    }
    const unsynced: SegmentHash[] = []
    for await (const page of db.pages(ranges.journal)) {
      for (const [key] of page) unsynced.push(lastId<SegmentHash>(key))
    }
    // Taken from the end: first the rows that are wrong for certain.
    this.#suspects = [...unsynced, ...orphans, ...missing]
    await this.scrub({ untilMs: startedAtMs + OPEN_SCRUB_MS })
    log.info(
      { missing: missing.length, orphans: orphans.length, unsynced: unsynced.length, left: this.#suspects.length },
      'store recovered after an unclean stop',
    )
  }

  get isScrubbed(): boolean {
    return this.#suspects.length === 0
  }

  /** Re-hashes doubtful segments, until none is left or the monotonic clock says so. */
  async scrub(options: { untilMs?: number; signal?: AbortSignal }): Promise<void> {
    const { clock } = this.#components
    while (this.#suspects.length > 0) {
      if (options.signal?.aborted || clock.monotonicMs() >= (options.untilMs ?? Number.POSITIVE_INFINITY)) return
      const hash = this.#suspects.at(-1)
      if (hash !== undefined) await this.#settle(hash)
      this.#suspects.pop()
    }
  }

  /** Fills a new index from the files. Sizes and names are believed: every read re-hashes. */
  async rebuild(): Promise<void> {
    const { files, index, log } = this.#components
    let count = 0
    for (let shard = 0; shard < SHARD_COUNT; shard++) {
      const hashes = await files.listShard(shard)
      const inspected = await Promise.all(hashes.map(async (hash) => ({ hash, found: await files.inspect(hash) })))
      const rows: Parameters<SegmentIndex['addUncounted']>[0][number][] = []
      for (const { hash, found } of inspected) {
        if (found === null || found.lengthBytes === 0 || found.lengthBytes > SEGMENT_BYTES) continue
        const lastUsedAtMs = Math.floor(found.modifiedAtMs)
        rows.push({ hash, row: { lengthBytes: found.lengthBytes, lastUsedAtMs, grantor: null } })
      }
      await index.addUncounted(rows)
      count += rows.length
    }
    await index.recount()
    if (count > 0) log.warn({ segments: count }, 'index built again from the segment files')
  }

  /**
   * Makes durable what was committed before the last checkpoint (by then the system has written most of it by itself, so
   * this seldom waits for the disk), and moves the time mark.
   */
  async checkpoint(options: { signal?: AbortSignal } = {}): Promise<void> {
    const { db, files, serial } = this.#components
    // Inside the Serial no file is between its name and its row, so nothing older than the mark is undecided.
    const markMs = await serial.run(() => files.fileSystemNowMs())
    const journal = new Set<SegmentHash>()
    const durable: SegmentHash[] = []
    for await (const page of db.pages(ranges.journal)) {
      for (const [key] of page) {
        const hash = lastId<SegmentHash>(key)
        if (this.#journalAtLastCheckpoint.has(hash) && durable.length < SYNC_AT_ONCE) durable.push(hash)
        else journal.add(hash)
      }
    }
    for (const hash of durable) {
      if (options.signal?.aborted) return
      await files.sync(hash)
    }
    const mark = this.isScrubbed ? [put(keys.meta('mark'), Buffer.from(String(markMs), 'latin1'))] : []
    await serial.run(() => db.write([...durable.map((hash) => del(keys.journal(hash))), ...mark], { isDurable: true }))
    this.#journalAtLastCheckpoint = journal
  }

  async verify(options: {
    signal: AbortSignal
    onProgress?: ((done: number, total: number) => void) | undefined
  }): Promise<VerifyResult> {
    const { db, files, index, segments, serial } = this.#components
    const { signal, onProgress } = options
    const result = { checked: 0, corrupt: 0, missing: 0, recovered: 0 }
    let total = index.totals.segmentCount
    const step = () => {
      result.checked++
      total = Math.max(total, result.checked)
      onProgress?.(result.checked, total)
    }
    await files.clearTemp()
    for await (const page of db.pages(ranges.segments)) {
      for (const [key] of page) {
        throwIfAborted(signal)
        const hash = lastId<SegmentHash>(key)
        const found = await segments.check(hash)
        if (found === 'corrupt' || found === 'missing') result[found]++
        step()
      }
    }
    for (let shard = 0; shard < SHARD_COUNT; shard++) {
      const { withoutRow } = await this.#compareShard(shard)
      for (const hash of withoutRow) {
        throwIfAborted(signal)
        const adopted = await serial.run(() => segments.adopt(hash))
        if (adopted === 'adopted') result.recovered++
        if (adopted === 'removed') result.corrupt++
        step()
      }
    }
    await serial.run(() => index.recount())
    onProgress?.(result.checked, result.checked)
    return result
  }

  /** Sorted list of files against sorted list of rows: one pass, no look-ups. */
  async #compareShard(shard: number): Promise<{ withoutRow: SegmentHash[]; withoutFile: SegmentHash[] }> {
    const { db, files } = this.#components
    // Files first: whatever is committed meanwhile then looks like a row without a file, and `recheck` finds the file.
    const onDisk = new Set(await files.listShard(shard))
    const withoutFile: SegmentHash[] = []
    for await (const page of db.pages(ranges.segmentsOfShard(shard))) {
      for (const [key] of page) {
        const hash = lastId<SegmentHash>(key)
        if (!onDisk.delete(hash)) withoutFile.push(hash)
      }
    }
    return { withoutRow: [...onDisk], withoutFile }
  }

  async #settle(hash: SegmentHash): Promise<void> {
    const { segments, serial } = this.#components
    if ((await segments.check(hash)) === 'unknown') await serial.run(() => segments.adopt(hash))
  }
}
