/** Delivers in order to a pipe (`-o -`): holds back what comes early, and lets nothing be fetched far ahead. */
import { createHash } from 'node:crypto'
import type { VerifiedBytes } from '../content/verified.ts'
import { ShorthaulError } from '../errors.ts'
import type { Delivery } from './request.ts'

/** Segments that may be fetched ahead of the pipe: 16 MiB at most are held. */
export const PIPE_WINDOW_SEGMENTS = 16

export class PipeDelivery implements Delivery {
  readonly localPath = null
  readonly #write: (bytes: Uint8Array) => Promise<void>
  readonly #queued = new Map<number, Uint8Array>()
  readonly #hash = createHash('sha256')
  #listener: () => void = () => {}
  #next = 0
  /** First position that is neither written nor queued. */
  #reach = 0
  #hasBegun = false
  #writing: Promise<void> = Promise.resolve()

  /** @param write resolves when the pipe took the bytes; its failure ends the transfer */
  constructor(write: (bytes: Uint8Array) => Promise<void>) {
    this.#write = write
  }

  async leftOver(): Promise<readonly null[]> {
    return []
  }

  async begin(): Promise<void> {}

  async keep(): Promise<void> {}

  async write(index: number, segment: VerifiedBytes): Promise<void> {
    // What is early does not wait for the positions before it: those may never come, when the transfer is aborted. Its
    // buffer is the caller's again, so it is held as a copy.
    const isEarly = index !== this.#reach
    this.#queued.set(index, isEarly ? Uint8Array.from(segment.bytes) : segment.bytes)
    while (this.#queued.has(this.#reach)) this.#reach++
    this.#writing = this.#writing.then(() => this.#drain())
    await this.#writing
  }

  windowEnd(): number {
    return this.#next + PIPE_WINDOW_SEGMENTS
  }

  onWindow(listener: () => void): void {
    this.#listener = listener
  }

  async restart(): Promise<void> {
    if (!this.#hasBegun) {
      this.#queued.clear()
      this.#reach = 0
      return
    }
    throw new ShorthaulError(
      'SHORTHAUL_ORIGIN_CHANGED',
      'Cannot start over: bytes of the old generation have gone into the pipe',
      {
        retryable: false,
      },
    )
  }

  async digest(): Promise<string> {
    await this.#writing
    return this.#hash.copy().digest('hex')
  }

  async complete(): Promise<void> {
    await this.#writing
  }

  async abandon(): Promise<void> {
    this.#queued.clear()
  }

  async #drain(): Promise<void> {
    for (let bytes = this.#queued.get(this.#next); bytes; bytes = this.#queued.get(this.#next)) {
      this.#queued.delete(this.#next)
      this.#hasBegun = true
      this.#hash.update(bytes)
      await this.#write(bytes)
      this.#next++
      this.#listener()
    }
  }
}
