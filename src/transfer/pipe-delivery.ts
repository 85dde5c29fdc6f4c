/** Delivers in order to a pipe (`-o -`): holds back what comes early, and lets nothing be fetched far ahead. */
import { createHash } from 'node:crypto'
import type { VerifiedSegment } from '../content/verify.ts'
import { ShorthaulError } from '../errors.ts'
import type { Delivery } from './request.ts'

/** Segments that may be fetched ahead of the pipe: 16 MiB at most are held. */
export const PIPE_WINDOW_SEGMENTS = 16

export class PipeDelivery implements Delivery {
  readonly localPath = null
  readonly #write: (bytes: Uint8Array) => Promise<void>
  readonly #early = new Map<number, { readonly bytes: Uint8Array; readonly onWritten: () => void }>()
  readonly #hash = createHash('sha256')
  #listener: () => void = () => {}
  #next = 0
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

  write(index: number, segment: VerifiedSegment): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#early.set(index, { bytes: segment.bytes, onWritten: resolve })
      this.#writing = this.#writing.then(() => this.#drain())
      this.#writing.catch(reject)
    })
  }

  windowEnd(): number {
    return this.#next + PIPE_WINDOW_SEGMENTS
  }

  onWindow(listener: () => void): void {
    this.#listener = listener
  }

  async restart(): Promise<void> {
    if (this.#next === 0 && this.#early.size === 0) return
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
    this.#early.clear()
  }

  async #drain(): Promise<void> {
    for (let first = this.#early.get(this.#next); first; first = this.#early.get(this.#next)) {
      this.#early.delete(this.#next)
      this.#hash.update(first.bytes)
      await this.#write(first.bytes)
      this.#next++
      first.onWritten()
      this.#listener()
    }
  }
}
