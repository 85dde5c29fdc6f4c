/**
 * A part that a process of our own user lends: we write the content, and that process does the rest. So verified bytes need
 * not cross a socket, and the part is still of the one whose target it is: its name, its mode, and its end.
 *
 * When the lender dies, a write that is under way still lands. `close` waits for it.
 */
import type { FileHandle } from 'node:fs/promises'
import { systemCode } from '../errors.ts'
import { PartContent } from './part-content.ts'
import type { PartOffer } from './request.ts'
import { fileOf, isOurs, openPart } from './staged-part.ts'

/** Of a part that a process writes: host, process, number. Not of one at rest, nor of a job's. */
const LIVE_PART = /\.[A-Za-z0-9]+-[0-9]{1,10}-[0-9]+\.shorthaul-part$/

export class LentPart {
  readonly content: PartContent
  readonly #handle: FileHandle

  private constructor(offer: PartOffer, handle: FileHandle) {
    this.content = new PartContent(handle, offer.target)
    this.#handle = handle
  }

  /**
   * Whoever opens it closes it.
   * @returns null when it cannot be had: we see other files than the lender does, or may not write where it may, or are
   *   another user
   */
  static async open(offer: PartOffer): Promise<LentPart | null> {
    const { path, file } = offer
    if (!LIVE_PART.test(path)) return null
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

  /** Whoever writes has stopped; nothing of ours is written to it when this returns. To be called once. */
  async close(): Promise<void> {
    await this.content.settled()
    await this.#handle.close()
  }
}
