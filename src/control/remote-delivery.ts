/**
 * A delivery whose target belongs to the process at the other end of the control socket: verified segments go out as
 * frames, and that process writes them as its own user; or they are written here, into a part that it lends.
 */
import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import type { ResourceId, SegmentHash } from '../content/ids.ts'
import type { VerifiedBytes } from '../content/verified.ts'
import { abortError } from '../errors.ts'
import type { PartContent } from '../transfer/part-content.ts'
import { PIPE_WINDOW_SEGMENTS } from '../transfer/pipe-delivery.ts'
import type { Delivery, TransferEvent, TransferProgress } from '../transfer/request.ts'
import { type ControlFrame, encodeFrame, encodeSegmentHead } from './frames.ts'

export interface RemoteDeliveryOptions {
  /** What the client's part has already. */
  readonly leftOver: readonly (SegmentHash | null)[]
  readonly isInOrder: boolean
  /** The target is the content, and not ranges of it. */
  readonly isWhole: boolean
  /** Null: the client writes. The caller's to close. */
  readonly part: PartContent | null
  /** Aborted when the client is gone. */
  readonly signal: AbortSignal
}

export class RemoteDelivery implements Delivery {
  readonly localPath = null
  readonly #response: ServerResponse
  readonly #options: RemoteDeliveryOptions
  readonly #sent = new Set<number>()
  #part: RemoteDeliveryOptions['part']
  #next = 0
  #listener: () => void = () => {}
  #digest: ((sha256: string) => void) | null = null
  #lengthBytes: number | null = null
  /** Of content that is one segment: the client need not be asked, which takes longer than small content itself. */
  #wholeSha256: string | null = null
  /** The latest that waits for its turn. */
  #progress: TransferProgress | null = null
  /** Frames leave one after another, each when the socket took the one before. */
  #sending: Promise<void> = Promise.resolve()

  constructor(response: ServerResponse, options: RemoteDeliveryOptions) {
    this.#response = response
    this.#options = options
    this.#part = options.part
  }

  async leftOver(): Promise<readonly (SegmentHash | null)[]> {
    return this.#options.leftOver
  }

  async begin(content: { readonly resource: ResourceId | null; readonly lengthBytes: number | null }): Promise<void> {
    this.#lengthBytes = content.lengthBytes
    this.#part?.begin(content.lengthBytes)
    await this.send({ frame: 'begin', ...content })
  }

  async keep(index: number): Promise<void> {
    if (this.#part !== null) return this.#part.keep(index)
    await this.send({ frame: 'keep', index })
  }

  async write(index: number, segment: VerifiedBytes): Promise<void> {
    if (this.#part !== null) return this.#part.write(index, segment)
    const { bytes } = segment
    if (this.#options.isWhole && index === 0 && bytes.byteLength === this.#lengthBytes) {
      this.#wholeSha256 = createHash('sha256').update(bytes).digest('hex')
    }
    await this.#queue(() => [encodeSegmentHead(index, bytes.byteLength), bytes])
    if (!this.#options.isInOrder) return
    this.#sent.add(index)
    while (this.#sent.delete(this.#next)) this.#next++
    this.#listener()
  }

  windowEnd(): number {
    return this.#options.isInOrder ? this.#next + PIPE_WINDOW_SEGMENTS : Number.POSITIVE_INFINITY
  }

  onWindow(listener: () => void): void {
    this.#listener = listener
  }

  async restart(): Promise<void> {
    this.#next = 0
    this.#sent.clear()
    this.#wholeSha256 = null
    // The client empties the part when it comes to this frame, perhaps after we wrote the next segment: from now on it writes.
    this.#part = null
    await this.send({ frame: 'restart' })
  }

  async digest(lengthBytes: number): Promise<string> {
    if (this.#part !== null) return this.#part.digest(lengthBytes)
    if (this.#wholeSha256 !== null) return this.#wholeSha256
    const { signal } = this.#options
    const answered = new Promise<string>((resolve, reject) => {
      this.#digest = resolve
      if (signal.aborted) reject(abortError(signal))
      signal.addEventListener('abort', () => reject(abortError(signal)), { once: true })
    })
    // When asking fails, nobody waits for the answer, and the signal follows.
    answered.catch(() => {})
    await this.send({ frame: 'digest', lengthBytes })
    return answered
  }

  /** The client computed it from the bytes in its target. */
  digestIs(sha256: string): void {
    this.#digest?.(sha256)
    this.#digest = null
  }

  async complete(lengthBytes: number): Promise<void> {
    await this.send({ frame: 'complete', lengthBytes })
  }

  async abandon(): Promise<void> {}

  /** Resolves when the socket took it. */
  send(frame: ControlFrame): Promise<void> {
    return this.#queue(() => [encodeFrame(frame)])
  }

  /**
   * Sends without waiting; may be lost with the connection. Progress that waits for its turn is replaced by newer one: a
   * slow client hears of the latest, and never falls behind.
   */
  tell(event: TransferEvent): void {
    if (event.event !== 'progress') {
      this.send({ frame: 'event', event }).catch(() => {})
      return
    }
    const isQueued = this.#progress !== null
    this.#progress = event
    if (isQueued) return
    this.#queue(() => {
      const latest = this.#progress
      this.#progress = null
      return latest === null ? [] : [encodeFrame({ frame: 'event', event: latest })]
    }).catch(() => {})
  }

  /** @param take gives the bytes when their turn has come */
  #queue(take: () => readonly Uint8Array[]): Promise<void> {
    this.#sending = this.#sending.then(async () => {
      for (const buffer of take()) await this.#write(buffer)
    })
    // A caller that does not wait must not leave a rejection behind; those who wait see it.
    this.#sending.catch(() => {})
    return this.#sending
  }

  /** Resolves when the kernel has the bytes, so that their buffer may be used again. */
  #write(buffer: Uint8Array): Promise<void> {
    const { signal } = this.#options
    return new Promise((resolve, reject) => {
      const onAbort = () => reject(abortError(signal))
      if (signal.aborted) {
        onAbort()
        return
      }
      // A callback may never come when the connection is gone; the signal does.
      signal.addEventListener('abort', onAbort, { once: true })
      this.#response.write(buffer, (error) => {
        signal.removeEventListener('abort', onAbort)
        if (error) reject(error)
        else resolve()
      })
    })
  }
}
