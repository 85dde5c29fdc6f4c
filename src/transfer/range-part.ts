/**
 * Deliver, when only byte ranges of the content are wanted: of each verified segment the slices that are in a range, at
 * their places in a part that holds the ranges one after another. For jobs: the part has one name and gets the target's
 * when the job is completed (`deliverStaged`).
 *
 * What an earlier run left is of no use: slices cannot be matched with the hashes of segments. Going on rests on the
 * agent's cache, which has the whole segments; without a cache (or when it is full) it starts over.
 */
import { createHash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { segmentBytes } from '../content/segmentation.ts'
import type { VerifiedBytes } from '../content/verified.ts'
import { localIoError } from '../errors.ts'
import type { Delivery, FileRange } from './request.ts'
import { discardStaged, onDisk, openStaged, syncDirectory, writeAt } from './staged-part.ts'
import { slicesOf, Wanted } from './wanted.ts'

/** Of the file that is read once more for its digest. */
const READ_BYTES = 1024 * 1024

export class RangePart implements Delivery {
  /** The places of segments in the part are not those in the content: nobody can be served from it. */
  readonly localPath = null
  readonly #target: string
  readonly #staged: string
  readonly #ranges: readonly FileRange[]
  readonly #handle: FileHandle
  #isEnded = false

  private constructor(
    paths: { readonly target: string; readonly staged: string },
    ranges: readonly FileRange[],
    handle: FileHandle,
  ) {
    this.#target = paths.target
    this.#staged = paths.staged
    this.#ranges = ranges
    this.#handle = handle
  }

  /**
   * @param paths.staged from `stagedPath`; nobody else writes it: one process owns a job
   * @param ranges in the order in which they stand in the target; only the last may be open
   * @throws SHORTHAUL_TARGET_UNWRITABLE, SHORTHAUL_DISK_FULL
   */
  static async openStaged(
    paths: { readonly target: string; readonly staged: string },
    ranges: readonly FileRange[],
  ): Promise<RangePart> {
    return new RangePart(paths, ranges, await openStaged(paths.target, paths.staged))
  }

  async leftOver(): Promise<readonly null[]> {
    return []
  }

  async begin(): Promise<void> {}

  async keep(): Promise<void> {}

  async write(index: number, segment: VerifiedBytes): Promise<void> {
    const { bytes } = segment
    const { start } = segmentBytes(index, Number.POSITIVE_INFINITY)
    for (const slice of slicesOf(this.#ranges, { start, end: start + bytes.byteLength })) {
      const at = { offset: slice.targetOffset, target: this.#target }
      await writeAt(this.#handle, bytes.subarray(slice.start, slice.end), at)
    }
  }

  windowEnd(): number {
    return Number.POSITIVE_INFINITY
  }

  onWindow(): void {}

  restart(): Promise<void> {
    return onDisk('write', this.#target, () => this.#handle.truncate(0))
  }

  /** Reads the part once more: slices come in any order, and one segment may go to several places. */
  async digest(lengthBytes: number): Promise<string> {
    const { bytes: total } = Wanted.of(this.#ranges, lengthBytes)
    const hash = createHash('sha256')
    const buffer = Buffer.allocUnsafe(READ_BYTES)
    try {
      for (let offset = 0; offset < total; ) {
        const { bytesRead } = await this.#handle.read(buffer, 0, Math.min(READ_BYTES, total - offset), offset)
        if (bytesRead === 0) break // cut by somebody else: its digest is not the right one
        hash.update(buffer.subarray(0, bytesRead))
        offset += bytesRead
      }
    } catch (cause) {
      throw localIoError('read', this.#staged, cause, 'SHORTHAUL_TARGET_UNWRITABLE')
    }
    return hash.digest('hex')
  }

  async complete(lengthBytes: number): Promise<void> {
    try {
      await this.#handle.truncate(Wanted.of(this.#ranges, lengthBytes).bytes) // a longer part of an earlier run
      await this.#handle.sync()
      await this.#handle.close()
      this.#isEnded = true
      await syncDirectory(dirname(this.#target))
    } catch (cause) {
      throw localIoError('write', this.#target, cause, 'SHORTHAUL_TARGET_UNWRITABLE')
    }
  }

  /** Nothing of it can be resumed: it is removed. */
  async abandon(): Promise<void> {
    if (this.#isEnded) return
    this.#isEnded = true
    await this.#handle.close()
    await discardStaged(this.#staged).catch(() => {}) // what ended the transfer is the better story
  }
}
