/**
 * Sends the bytes of one answer and knows how far it got.
 *
 * Memory: the segment, which the caller holds anyway, and one piece of it in cipher text: the next piece is encrypted
 * when the kernel has taken the last one.
 */
import type { ServerResponse } from 'node:http'
import type { LaneWatched } from './lane-watch.ts'

/**
 * Bytes handed to TLS at once. Server CPU-s/GiB on a busy 2-core VM, two runs (2026-11-22): 16 KiB 2.8-3.0,
 * 64 KiB 2.3, 128 KiB 2.4, 256 KiB 1.9-2.2, the whole MiB 2.0-2.3 but with four times the cipher text in memory.
 */
export const PIECE_BYTES = 256 * 1024

/** The budget for uploads; it lives outside. */
export interface Pace {
  /** What to hand over at once, as things are now; above zero. */
  pieceBytes(): number
  /** Null: so many bytes may be sent at once. Otherwise they may when it resolves. */
  take(bytes: number, options: { signal: AbortSignal }): Promise<void> | null
  /** Uploads at the same time, as things are now; the server's own limit stays. */
  maxUploads(): number
}

export class LaneUpload implements LaneWatched {
  readonly deadlineMs: number
  readonly #response: ServerResponse
  #sentBytes = 0
  #isPaced = false
  #isEnded = false

  constructor(components: { response: ServerResponse }, options: { deadlineMs: number }) {
    this.#response = components.response
    this.deadlineMs = options.deadlineMs
  }

  /** Bytes of the body that the kernel has taken. */
  get sentBytes(): number {
    return this.#sentBytes
  }

  /** All of it, head to end, is with the kernel. */
  get isEnded(): boolean {
    return this.#isEnded
  }

  progressBytes(): number | null {
    return this.#isPaced ? null : this.#sentBytes
  }

  onOverdue(): void {
    this.#response.destroy()
  }

  /**
   * The head must be written. Resolves when the kernel has all bytes and the response is ended; rejects when the
   * connection breaks or the signal is aborted, which must happen at the latest when the response closes: the callback
   * of a write that is under way then may never come.
   */
  send(bytes: Uint8Array, options: { pace: Pace | undefined; signal: AbortSignal }): Promise<void> {
    const { pace, signal } = options
    return new Promise((resolve, reject) => {
      const next = () => {
        if (signal.aborted) {
          reject(signal.reason)
          return
        }
        if (this.#sentBytes === bytes.byteLength) {
          this.#response.end(() => {
            this.#isEnded = true
            resolve()
          })
          return
        }
        const piece = bytes.subarray(this.#sentBytes, this.#sentBytes + (pace?.pieceBytes() ?? PIECE_BYTES))
        const write = () => {
          this.#isPaced = false
          this.#response.write(piece, (error) => {
            if (error) reject(error)
            else {
              this.#sentBytes += piece.byteLength
              next()
            }
          })
        }
        const turn = pace?.take(piece.byteLength, { signal }) ?? null
        if (turn === null) write()
        else {
          this.#isPaced = true
          turn.then(write, reject)
        }
      }
      signal.addEventListener('abort', () => reject(signal.reason), { once: true })
      next()
    })
  }
}
