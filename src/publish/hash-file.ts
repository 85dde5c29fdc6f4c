/** Reads a file once and says what its published manifest is. Holds two segments in memory, whatever the file. */
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { hashSegment } from '../content/digest.ts'
import type { SegmentHash } from '../content/ids.ts'
import { createManifest } from '../content/manifest.ts'
import type { PublishedManifest } from '../content/published-manifest.ts'
import { isContentLength, SEGMENT_BYTES, segmentCount, segmentLength } from '../content/segmentation.ts'
import { localIoError, ShorthaulError, throwIfAborted } from '../errors.ts'

export interface HashedFile {
  readonly published: PublishedManifest
  /** Permission bits: who may read the file may read what is said of it. */
  readonly mode: number
}

/**
 * @param path no link
 * @param options.onBytes called with the size of each segment that was hashed
 * @throws SHORTHAUL_ORIGIN_CHANGED when the file changed meanwhile, SHORTHAUL_ORIGIN_REFUSED when it cannot be read
 */
export async function hashFile(
  path: string,
  options: { readonly signal: AbortSignal; readonly onBytes: (bytes: number) => void },
): Promise<HashedFile> {
  // A FIFO must not block us, and what became a link since it was found is not followed. Windows has neither flag.
  const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOFOLLOW ?? 0)
  let file: FileHandle | null = null
  try {
    file = await open(path, flags)
    const before = await file.stat({ bigint: true })
    const lengthBytes = Number(before.size)
    if (!before.isFile() || !isContentLength(lengthBytes)) throw refused(path)
    const { hashes, sha256 } = await hashSegments(file, { ...options, path, lengthBytes })
    const after = await file.stat({ bigint: true })
    if (after.size !== before.size || after.mtimeNs !== before.mtimeNs) throw changed(path)
    const published = { manifest: createManifest(lengthBytes, hashes), sha256, modifiedNs: before.mtimeNs }
    return { published, mode: Number(before.mode) & 0o777 }
  } catch (error) {
    if (error instanceof ShorthaulError) throw error
    throw localIoError('read', path, error, 'SHORTHAUL_ORIGIN_REFUSED')
  } finally {
    await file?.close()
  }
}

interface Reading {
  readonly path: string
  readonly lengthBytes: number
  readonly signal: AbortSignal
  readonly onBytes: (bytes: number) => void
}

async function hashSegments(file: FileHandle, reading: Reading): Promise<{ hashes: SegmentHash[]; sha256: string }> {
  const { lengthBytes, signal, onBytes } = reading
  const whole = createHash('sha256')
  const hashes: SegmentHash[] = []
  const count = segmentCount(lengthBytes)
  const buffers = [Buffer.allocUnsafeSlow(SEGMENT_BYTES), Buffer.allocUnsafeSlow(SEGMENT_BYTES)] as const
  const read = (index: number) => {
    const buffer = buffers[index % 2 === 0 ? 0 : 1].subarray(0, segmentLength(index, lengthBytes))
    return readAll(file, buffer, { offset: index * SEGMENT_BYTES, path: reading.path })
  }
  let next: Promise<Uint8Array> | null = null
  try {
    for (let index = 0; index < count; index++) {
      throwIfAborted(signal)
      const bytes = await (next ?? read(index))
      // The next one is read while this one is hashed.
      next = index + 1 < count ? read(index + 1) : null
      hashes.push(hashSegment(bytes))
      whole.update(bytes)
      onBytes(bytes.byteLength)
    }
  } finally {
    await next?.catch(() => {}) // the file is closed behind us
  }
  return { hashes, sha256: whole.digest('hex') }
}

async function readAll(
  file: FileHandle,
  buffer: Buffer,
  at: { readonly offset: number; readonly path: string },
): Promise<Uint8Array> {
  for (let filled = 0; filled < buffer.byteLength; ) {
    const { bytesRead } = await file.read(buffer, filled, buffer.byteLength - filled, at.offset + filled)
    if (bytesRead === 0) throw changed(at.path)
    filled += bytesRead
  }
  return buffer
}

function changed(path: string): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_ORIGIN_CHANGED', `Cannot read "${path}": it changed while it was read`, {
    details: { path },
  })
}

function refused(path: string): ShorthaulError {
  return new ShorthaulError(
    'SHORTHAUL_ORIGIN_REFUSED',
    `Cannot read "${path}": it is not a regular file of at most 1 TiB`,
    { details: { path } },
  )
}
