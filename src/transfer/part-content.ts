/**
 * What stands in a part: segments at their offset, flushed now and then, and their digest.
 *
 * Does not know names, nor when it is done: part-file.ts does, or a process that lends it (lent-part.ts). The handle is the
 * caller's.
 */
import { createHash, type Hash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { PositionSet } from '../content/position-set.ts'
import { SEGMENT_BYTES, segmentBytes, segmentCount } from '../content/segmentation.ts'
import type { VerifiedBytes } from '../content/verified.ts'
import { localIoError } from '../errors.ts'
import { onDisk, writeAt } from './staged-part.ts'

/** So much is written before the disk is made to take it: few enough flushes for a slow disk, little left at the end. */
const FLUSH_BYTES = 16 * 1024 * 1024
/** One part at a time: on a slow disk several would take every thread that this process reads and writes with. */
let isFlushing = false

/** Each method @throws SHORTHAUL_TARGET_UNWRITABLE, SHORTHAUL_DISK_FULL */
export class PartContent {
  readonly #handle: FileHandle
  readonly #target: string
  #lengthBytes: number | null = null
  #written: PositionSet | null = null
  /** SHA-256 of the first `#hashedCount` segments: fed as the prefix grows, so that the end needs no second pass. */
  #hash: Hash = createHash('sha256')
  #hashedCount = 0
  #hashing: Promise<void> = Promise.resolve()
  #readBuffer: Buffer | null = null
  #unflushedBytes = 0
  #flushing: Promise<unknown> | null = null
  #flushFailure: unknown = null

  /** @param target for messages */
  constructor(handle: FileHandle, target: string) {
    this.#handle = handle
    this.#target = target
  }

  /** @param lengthBytes null: it is known at `digest` */
  begin(lengthBytes: number | null): void {
    this.#lengthBytes = lengthBytes
    this.#written = lengthBytes === null ? null : new PositionSet(segmentCount(lengthBytes))
  }

  /** The segment is there already. */
  async keep(index: number): Promise<void> {
    this.#written?.add(index)
    await this.#hashPrefix(null)
  }

  async write(index: number, { bytes }: VerifiedBytes): Promise<void> {
    this.#mustBeOnDisk()
    await writeAt(this.#handle, bytes, { offset: index * SEGMENT_BYTES, target: this.#target })
    this.#flushNowAndThen(bytes.byteLength)
    this.#written?.add(index)
    await this.#hashPrefix({ index, bytes })
  }

  /** Throws everything away. */
  async restart(): Promise<void> {
    await this.settled()
    await onDisk('write', this.#target, () => this.#handle.truncate(0))
    this.#flushFailure = null
    this.#unflushedBytes = 0
    this.#hash = createHash('sha256')
    this.#hashing = Promise.resolve() // or a read that failed would fail the next generation too
    this.#hashedCount = 0
    this.#written = null
  }

  /** SHA-256 of all of it, hex; every segment is there. */
  async digest(lengthBytes: number): Promise<string> {
    this.#lengthBytes = lengthBytes
    this.#written = PositionSet.full(segmentCount(lengthBytes))
    await this.#hashPrefix(null)
    return this.#hash.copy().digest('hex')
  }

  /** Cut to its length, and on disk. */
  async sync(lengthBytes: number): Promise<void> {
    await onDisk('write', this.#target, () => this.#handle.truncate(lengthBytes)) // a longer part of an older generation
    await this.settled()
    this.#mustBeOnDisk()
    await onDisk('write', this.#target, () => this.#handle.sync())
  }

  /** Nothing is under way when this returns; how it went is told by the other methods. Never rejects. */
  async settled(): Promise<void> {
    await this.#hashing.catch(() => {})
    await this.#flushing
  }

  /** While the rest is on its way, so that little is left to wait for when all of it is here. */
  #flushNowAndThen(bytes: number): void {
    this.#unflushedBytes += bytes
    if (this.#unflushedBytes < FLUSH_BYTES || isFlushing) return
    this.#unflushedBytes = 0
    isFlushing = true
    this.#flushing = this.#handle
      .datasync()
      // The system tells of a failure once: `sync` would not hear of it.
      .catch((error: unknown) => (this.#flushFailure ??= error))
      .finally(() => {
        isFlushing = false
        this.#flushing = null
      })
  }

  /** What the disk did not take is told as soon as it is known, before more is fetched for it. */
  #mustBeOnDisk(): void {
    const cause = this.#flushFailure
    if (cause !== null) throw localIoError('write', this.#target, cause, 'SHORTHAUL_TARGET_UNWRITABLE')
  }

  /** Feeds the digest as far as the content is there without holes. One at a time, in order. */
  #hashPrefix(fresh: { index: number; bytes: Uint8Array } | null): Promise<void> {
    const step = async () => {
      while (this.#lengthBytes !== null && this.#written?.has(this.#hashedCount)) {
        const index = this.#hashedCount
        if (fresh?.index === index) {
          this.#hash.update(fresh.bytes)
        } else {
          const { start, end } = segmentBytes(index, this.#lengthBytes)
          // The same for all: a fresh MiB for each is what makes V8 collect.
          this.#readBuffer ??= Buffer.allocUnsafeSlow(SEGMENT_BYTES)
          const buffer = this.#readBuffer
          const read = () => this.#handle.read(buffer, 0, end - start, start)
          const { bytesRead } = await onDisk('read', this.#target, read)
          this.#hash.update(buffer.subarray(0, bytesRead))
        }
        this.#hashedCount = index + 1
      }
    }
    this.#hashing = this.#hashing.then(step)
    return this.#hashing
  }
}
