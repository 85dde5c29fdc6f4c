/**
 * Stands between a swarm connection and Protomux, and lets through only frames that our own side could have sent.
 *
 * Why: Protomux decodes a batch inside a batch by recursion, so one frame of 30 kB from anybody, before any proof of
 * membership, overflows the stack, and safety-catch turns that RangeError into an uncaught exception: the process dies
 * (protomux 3.12.1, tested). Frames also come up to 16 MiB long, and are gathered below us before we see them: until the
 * proof, what comes is counted there as well. We never send batches, so none is accepted.
 *
 * Does not decode frames beyond their first two bytes.
 */
import { EventEmitter } from 'node:events'
import type { SwarmConnection } from 'hyperswarm'
import type { MuxStream } from 'protomux'
import { MAX_MESSAGE_BYTES } from './messages.ts'

/** Channel number and message number, which Protomux puts before a message. */
const MUX_HEAD_BYTES = 18
/** Enough to open our channel; strangers get no more. */
const MAX_UNPROVED_FRAME_BYTES = 1024
const MAX_UNPROVED_FRAMES = 8
/** The same below the encryption, with the heads of frames and the head of the stream, and some room. */
const MAX_UNPROVED_RAW_BYTES = 16 * 1024

export type FrameVerdict = 'ok' | 'too-long' | 'batch' | 'flood'

export interface FrameGuard {
  /** True once the other end proved membership: then messages may have their full length. */
  isProved(): boolean
  /** Charges the frame to the sender's allowance; false when it is used up. */
  admit(frameBytes: number): boolean
  /** The session must end; nothing of the frame was passed on, and nothing more will be. */
  onViolation(verdict: Exclude<FrameVerdict, 'ok'>): void
}

export class GuardedStream extends EventEmitter implements MuxStream {
  userData: unknown = null
  readonly #connection: SwarmConnection
  readonly #guard: FrameGuard
  readonly #onRaw: (bytes: Uint8Array) => void
  #unprovedFrames = 0
  #unprovedRawBytes = 0
  #isShut = false

  constructor(connection: SwarmConnection, guard: FrameGuard) {
    super()
    this.#connection = connection
    this.#guard = guard
    this.#onRaw = (bytes) => this.#countRaw(bytes.byteLength)
    connection.rawStream?.on('data', this.#onRaw)
    connection.on('data', (frame: Buffer) => this.#onFrame(frame))
    connection.on('drain', () => this.emit('drain'))
    connection.on('end', () => this.emit('end'))
    connection.on('close', () => this.emit('close'))
  }

  get destroyed(): boolean {
    return this.#connection.destroyed
  }

  alloc(lengthBytes: number): Buffer {
    return this.#connection.alloc(lengthBytes)
  }

  write(bytes: Uint8Array): boolean {
    return this.#connection.write(bytes)
  }

  end(): void {
    this.#connection.end()
  }

  pause(): void {
    this.#connection.pause()
  }

  resume(): void {
    this.#connection.resume()
  }

  /** Passes nothing on from now; the connection's own 'close' follows. */
  destroy(error?: Error): void {
    this.#isShut = true
    this.#connection.destroy(error)
  }

  /**
   * secret-stream reserves what a frame says it has, up to 16 MiB, and fills it while it comes: memory that nobody touches costs
   * nothing, so it is enough that little is ever filled before the proof.
   */
  #countRaw(bytes: number): void {
    if (this.#guard.isProved()) {
      this.#connection.rawStream?.removeListener('data', this.#onRaw)
      return
    }
    this.#unprovedRawBytes += bytes
    if (this.#isShut || this.#unprovedRawBytes <= MAX_UNPROVED_RAW_BYTES) return
    this.#isShut = true
    this.#guard.onViolation('too-long')
  }

  #onFrame(frame: Buffer): void {
    if (this.#isShut || frame.byteLength === 0) return
    const verdict = this.#judge(frame)
    if (verdict === 'ok') {
      this.emit('data', frame)
      return
    }
    this.#isShut = true
    this.#guard.onViolation(verdict)
  }

  #judge(frame: Buffer): FrameVerdict {
    // Channel 0 is Protomux's own; its message 0 is a batch.
    if (frame[0] === 0 && frame[1] === 0) return 'batch'
    if (!this.#guard.isProved()) {
      if (frame.byteLength > MAX_UNPROVED_FRAME_BYTES) return 'too-long'
      if (++this.#unprovedFrames > MAX_UNPROVED_FRAMES) return 'flood'
    }
    if (frame.byteLength > MAX_MESSAGE_BYTES + MUX_HEAD_BYTES) return 'too-long'
    return this.#guard.admit(frame.byteLength) ? 'ok' : 'flood'
  }
}
