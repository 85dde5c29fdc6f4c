/**
 * Room for segments: quota, floor of free disk, age; evicts the least recently used.
 *
 * The queue by last use lies in the index, not in memory. A cursor remembers how far it was searched: everything before
 * it was protected when looked at, so that a cache full of pinned segments is not searched again for each commit. When a
 * resource is released, the cursor goes back to the first segment that was skipped on its account.
 *
 * `reserve`, `reclaim` and `expire` run inside the store's Serial.
 */
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import type { ResourceId } from '../content/ids.ts'
import { type Candidate, chooseVictims, deficitBytes, type SpaceLimits } from './eviction.ts'
import { timeBytes } from './index-keys.ts'
import type { Protection } from './protection.ts'
import type { SegmentFiles } from './segment-files.ts'
import type { SegmentIndex } from './segment-index.ts'

const FREE_CACHED_MS = 1000
const PAGE = 64
/** A commit into a full cache mostly needs one segment to go: a long page would be looked at for nothing each time. */
const FIRST_PAGE = 4
/** Expiry does this much at a time, so that commits get in between. */
const EXPIRE_AT_ONCE = 256

export interface RoomComponents {
  readonly clock: Clock
  readonly log: Logger
  readonly files: SegmentFiles
  readonly index: SegmentIndex
  readonly protection: Protection
  /** Deletes files, then rows, and tells. @returns the bytes that really went */
  readonly evict: (victims: readonly Candidate[]) => Promise<number>
  /** Writes pending last uses, so that the order is the true one. */
  readonly flushUses: () => Promise<void>
}

type Found = Candidate & { readonly key: Buffer }

export class Room {
  readonly #components: RoomComponents
  readonly #limits: SpaceLimits
  #reservedBytes = 0
  #free: { bytes: number; atMs: number } | null = null
  #cursor: Buffer | null = null
  readonly #skippedFor = new Map<ResourceId | 'reading', Buffer>()

  constructor(components: RoomComponents, limits: SpaceLimits) {
    this.#components = components
    this.#limits = limits
  }

  /** Free bytes of the disk, at most a second old; what we wrote and removed since is accounted for. */
  async freeDiskBytes(): Promise<number> {
    const nowMs = this.#components.clock.monotonicMs()
    if (this.#free === null || nowMs - this.#free.atMs >= FREE_CACHED_MS) {
      this.#free = { bytes: await this.#components.files.freeBytes(), atMs: nowMs }
    }
    return this.#free.bytes
  }

  /**
   * The disk said ENOSPC, whatever statfs thinks (a user's quota, a small index): for a second there is nothing above the
   * floor, so that each byte needs another to go. Not 0 bytes: that would empty the cache down to the floor.
   */
  noteDiskFull(): void {
    this.#free = { bytes: this.#limits.minFreeBytes, atMs: this.#components.clock.monotonicMs() }
  }

  /** Sets bytes aside for a commit, evicting if need be. False: there is no room. Paired with `release`. */
  async reserve(needBytes: number): Promise<boolean> {
    const deficit = await this.#deficit(needBytes)
    if (deficit > 0) {
      // Nobody is helped by emptying the cache for a segment that then does not fit.
      if (needBytes > this.#limits.maxBytes || deficit > this.#components.index.totals.bytes) return false
      if ((await this.#freeUp(deficit)) < deficit) return false
    }
    this.#reservedBytes += needBytes
    return true
  }

  /** Ends a reservation; `isUsed` when its bytes are now in the cache. */
  release(needBytes: number, options: { isUsed: boolean }): void {
    this.#reservedBytes -= needBytes
    if (options.isUsed && this.#free !== null) this.#free.bytes -= needBytes
  }

  /** Gives space back when limits are exceeded without anybody committing: others fill the disk, or the quota shrank. */
  async reclaim(): Promise<void> {
    const deficit = await this.#deficit(0)
    if (deficit > 0) await this.#freeUp(deficit)
  }

  /** Evicts what was last used before the given wall clock time. @returns false when there may be more */
  async expire(usedBeforeMs: number): Promise<boolean> {
    await this.#components.flushUses()
    let count = 0
    while (count < EXPIRE_AT_ONCE) {
      const page = await this.#nextPage(PAGE)
      const victims = chooseVictims(page, { enoughBytes: Number.POSITIVE_INFINITY, usedBeforeMs })
      await this.#components.evict(victims)
      this.#advance(page.filter((it) => it.lastUsedAtMs < usedBeforeMs))
      count += victims.length
      if (page.length === 0 || page.some((it) => it.lastUsedAtMs >= usedBeforeMs)) return true
    }
    return false
  }

  /** A resource lost its protection: look again at what was skipped for it. */
  noteReleased(id: ResourceId | 'reading'): void {
    const first = this.#skippedFor.get(id)
    if (first === undefined) return
    this.#skippedFor.delete(id)
    if (this.#cursor !== null && first.compare(this.#cursor) <= 0) this.#goBackBefore(first)
  }

  /** A segment entered the queue with this time; only a stepped clock or a recovered file puts it behind the cursor. */
  noteQueued(lastUsedAtMs: number): void {
    const first = Buffer.concat([Buffer.from('u'), timeBytes(lastUsedAtMs)])
    if (this.#cursor !== null && first.compare(this.#cursor) <= 0) this.#goBackBefore(first)
  }

  #goBackBefore(key: Buffer): void {
    // The greatest key below: same bytes, last one less, is below every key that starts with `key`.
    const before = Buffer.from(key)
    let last = before.byteLength - 1
    while (last > 0 && before[last] === 0) before[last--] = 0xff
    before[last] = (before[last] ?? 1) - 1
    this.#cursor = last === 0 ? null : before
  }

  async #deficit(needBytes: number): Promise<number> {
    const state = {
      cachedBytes: this.#components.index.totals.bytes,
      reservedBytes: this.#reservedBytes,
      freeDiskBytes: await this.freeDiskBytes(),
    }
    return deficitBytes(state, this.#limits, needBytes)
  }

  async #freeUp(wantedBytes: number): Promise<number> {
    await this.#components.flushUses()
    this.noteReleased('reading') // reads end within milliseconds: worth another look each time
    let freedBytes = 0
    for (let length = FIRST_PAGE; freedBytes < wantedBytes; length = PAGE) {
      const page = await this.#nextPage(length)
      if (page.length === 0) break
      const victims = chooseVictims(page, { enoughBytes: wantedBytes - freedBytes })
      const evictedBytes = await this.#components.evict(victims)
      if (this.#free !== null) this.#free.bytes += evictedBytes
      freedBytes += evictedBytes
      const last = freedBytes >= wantedBytes ? victims.at(-1) : page.at(-1)
      this.#advance(last === undefined ? [] : page.slice(0, page.indexOf(last) + 1))
    }
    return freedBytes
  }

  async #nextPage(length: number): Promise<Found[]> {
    const { index, protection } = this.#components
    const found: Found[] = []
    const queued = await index.leastRecentlyUsed(this.#cursor, length)
    const rows = new Map((await index.known(queued.map((it) => it.hash))).map(({ hash, row }) => [hash, row]))
    for (const { key, hash, lastUsedAtMs } of queued) {
      const row = rows.get(hash)
      if (row === undefined) {
        await index.dropUse(key)
        continue
      }
      const reason = await protection.reason(hash, {
        first: row.grantor,
        all: () => index.referencingResources(hash),
      })
      if (reason !== null) this.#noteSkipped(reason, key)
      found.push({ key, hash, lengthBytes: row.lengthBytes, lastUsedAtMs, isProtected: reason !== null })
    }
    return found
  }

  #noteSkipped(reason: ResourceId | 'reading', key: Buffer): void {
    const first = this.#skippedFor.get(reason)
    if (first === undefined || key.compare(first) < 0) this.#skippedFor.set(reason, key)
  }

  #advance(passed: readonly Found[]): void {
    this.#cursor = passed.at(-1)?.key ?? this.#cursor
  }
}
