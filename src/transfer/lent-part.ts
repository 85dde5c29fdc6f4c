/**
 * A part that a process of our own user lends: we write segments into it, and that process does all the rest. So verified
 * bytes need not cross a socket, and the part is still of the one whose target it is: its name, its mode, and its end.
 *
 * When the lender dies, a write that is under way still lands. `close` waits for it.
 */
import type { FileHandle } from 'node:fs/promises'
import { SEGMENT_BYTES } from '../content/segmentation.ts'
import type { VerifiedBytes } from '../content/verified.ts'
import { systemCode } from '../errors.ts'
import type { PartOffer } from './request.ts'
import { fileOf, isOurs, openPart, PART_SUFFIX, writeAt } from './staged-part.ts'

/** Of a part that a process writes; not of one at rest, nor of a job's. */
const LIVE_PART = /-[0-9]+-[0-9]+\.shorthaul-part$/

export class LentPart {
  /** Tells the file from all others. */
  readonly file: string
  readonly #target: string
  readonly #handle: FileHandle
  readonly #writing = new Set<Promise<void>>()

  private constructor(offer: PartOffer, handle: FileHandle) {
    this.file = offer.file
    this.#target = offer.target
    this.#handle = handle
  }

  /**
   * Whoever opens it closes it.
   * @returns null when it cannot be had: we see other files than the lender does, or may not write where it may, or are
   *   another user
   */
  static async open(offer: PartOffer): Promise<LentPart | null> {
    const { path, file } = offer
    if (!path.endsWith(PART_SUFFIX) || !LIVE_PART.test(path)) return null
    let handle: FileHandle | null = null
    let isTaken = false
    try {
      handle = await openPart(path, 0)
      isTaken = isOurs(await handle.stat()) && (await fileOf(handle)) === file
      return isTaken ? new LentPart(offer, handle) : null
    } catch (error) {
      if (systemCode(error) === undefined) throw error
      return null
    } finally {
      if (!isTaken) await handle?.close()
    }
  }

  /** @throws SHORTHAUL_TARGET_UNWRITABLE, SHORTHAUL_DISK_FULL */
  async write(index: number, { bytes }: VerifiedBytes): Promise<void> {
    const writing = writeAt(this.#handle, bytes, { offset: index * SEGMENT_BYTES, target: this.#target })
    this.#writing.add(writing)
    try {
      await writing
    } finally {
      this.#writing.delete(writing)
    }
  }

  /** Nothing of ours is written to it when this returns. To be called once. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#writing)
    await this.#handle.close()
  }
}
