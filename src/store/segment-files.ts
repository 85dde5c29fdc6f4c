/**
 * Segment files: `segments/ab/<hash>`, written in `temp/` first and renamed. Mode 0600 in directories of 0700.
 *
 * Does not verify and does not know the index. No fsync on writing: every read re-hashes, and recovery re-hashes what
 * was not yet known to be on the disk (checkpoint in recovery.ts).
 */
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, rename, rm, stat, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseId, type SegmentHash } from '../content/ids.ts'
import type { SegmentPool } from '../content/segment-pool.ts'
import { systemCode } from '../errors.ts'
import type { Disk } from './disk.ts'

export const SHARD_COUNT = 256
// Never follow a link and never hang on a FIFO that somebody put in the place of a part file. Absent on Windows.
const READ_FLAGS = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)
/** The file is not there, or the disk cannot give its bytes any more: the same to us. */
const LOST_CODES = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'EISDIR', 'EIO', 'ENXIO', 'ESPIPE'])

export interface FileRange {
  readonly path: string
  readonly offset: number
  /** At most SEGMENT_BYTES; what is allocated. */
  readonly lengthBytes: number
  /** True when the file must end where the range ends. */
  readonly isWholeFile: boolean
}

/** @returns exactly the range's bytes, or null when they are not there. Other failures reject with the system's error. */
export async function readRange(range: FileRange, pool: SegmentPool): Promise<Uint8Array | null> {
  let file: FileHandle
  try {
    file = await open(range.path, READ_FLAGS)
  } catch (error) {
    if (LOST_CODES.has(systemCode(error) ?? '')) return null
    throw error
  }
  try {
    // A whole file is asked for one byte more than it should have: that says whether it ends here, without a stat.
    const bytes = pool.take(range.lengthBytes + (range.isWholeFile ? 1 : 0))
    let done = 0
    // A short read says that the file ends; a signal or a network file system may cut one short as well, so ask again.
    while (done < bytes.byteLength) {
      const { bytesRead } = await file.read(bytes, done, bytes.byteLength - done, range.offset + done)
      if (bytesRead === 0) break
      done += bytesRead
      if (done === range.lengthBytes) break
    }
    return done === range.lengthBytes ? bytes.subarray(0, done) : null
  } catch (error) {
    if (LOST_CODES.has(systemCode(error) ?? '')) return null
    throw error
  } finally {
    await file.close()
  }
}

export class SegmentFiles {
  readonly #segments: string
  readonly #temp: string
  readonly #pool: SegmentPool
  readonly #mark: string
  readonly #disk: Disk
  readonly #madeShards = new Set<string>()
  readonly #activeTemps = new Set<string>()
  #nextTemp = 0

  private constructor(components: { disk: Disk; pool: SegmentPool }, root: string) {
    const { disk, pool } = components
    this.#pool = pool
    this.#disk = disk
    this.#segments = join(root, 'segments')
    this.#temp = join(root, 'temp')
    this.#mark = join(root, 'mark')
  }

  /** @param root `<dataDir>/store/v1`; created when missing */
  static async open(components: { disk: Disk; pool: SegmentPool }, root: string): Promise<SegmentFiles> {
    const files = new SegmentFiles(components, root)
    await mkdir(files.#segments, { recursive: true, mode: 0o700 })
    await mkdir(files.#temp, { recursive: true, mode: 0o700 })
    return files
  }

  path(hash: SegmentHash): string {
    return join(this.#segments, hash.slice(0, 2), hash)
  }

  /** @returns a path for `publish` or `discard`; nothing is left behind when it rejects */
  async writeTemp(bytes: Uint8Array): Promise<string> {
    const path = join(this.#temp, `${process.pid}-${this.#nextTemp++}`)
    this.#activeTemps.add(path)
    try {
      await this.#disk.writeNew(path, bytes)
      return path
    } catch (error) {
      await this.discard(path)
      throw error
    }
  }

  async publish(temp: string, hash: SegmentHash): Promise<void> {
    const shard = hash.slice(0, 2)
    if (!this.#madeShards.has(shard)) {
      await mkdir(join(this.#segments, shard), { recursive: true, mode: 0o700 })
      this.#madeShards.add(shard)
    }
    await rename(temp, this.path(hash))
    this.#activeTemps.delete(temp)
  }

  async discard(temp: string): Promise<void> {
    await unlinkIfThere(temp)
    this.#activeTemps.delete(temp)
  }

  read(hash: SegmentHash, lengthBytes: number): Promise<Uint8Array | null> {
    return readRange({ path: this.path(hash), offset: 0, lengthBytes, isWholeFile: true }, this.#pool)
  }

  async remove(hash: SegmentHash): Promise<void> {
    await unlinkIfThere(this.path(hash))
  }

  /** @returns size and time of a regular file, null when there is none */
  async inspect(hash: SegmentHash): Promise<{ lengthBytes: number; modifiedAtMs: number } | null> {
    const found = await stat(this.path(hash)).catch(() => null)
    return found?.isFile() ? { lengthBytes: found.size, modifiedAtMs: found.mtimeMs } : null
  }

  /** Makes the bytes durable. A file that is gone is none of our business. */
  async sync(hash: SegmentHash): Promise<void> {
    // Windows flushes only handles that may write.
    const file = await open(this.path(hash), process.platform === 'win32' ? 'r+' : 'r').catch(() => null)
    if (file === null) return
    try {
      await file.sync()
    } finally {
      await file.close()
    }
  }

  /** When an entry of the shard last came or went, in the file system's own time; null when there is no such shard. */
  async shardChangedAtMs(shard: number): Promise<number | null> {
    const found = await stat(join(this.#segments, shardName(shard))).catch(() => null)
    return found?.mtimeMs ?? null
  }

  /** Hashes that have a file, ascending. Names that are none are left alone: they are not ours. */
  async listShard(shard: number): Promise<SegmentHash[]> {
    const prefix = shardName(shard)
    const names = await readdir(join(this.#segments, prefix)).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return []
      throw error
    })
    const hashes: SegmentHash[] = []
    for (const name of names) {
      const hash = name.startsWith(prefix) ? parseId<SegmentHash>(name) : null
      if (hash !== null) hashes.push(hash)
    }
    return hashes.sort()
  }

  /** Removes temp files that no running commit of ours writes. */
  async clearTemp(): Promise<void> {
    for (const name of await readdir(this.#temp)) {
      const path = join(this.#temp, name)
      if (!this.#activeTemps.has(path)) await rm(path, { recursive: true, force: true })
    }
  }

  /** The file system's idea of now, milliseconds: to be compared with modification times, never with a clock of ours. */
  async fileSystemNowMs(): Promise<number> {
    await writeFile(this.#mark, '.', { mode: 0o600 })
    return (await stat(this.#mark)).mtimeMs
  }

  freeBytes(): Promise<number> {
    return this.#disk.freeBytes(this.#segments)
  }
}

/** `rm` with force asks for the file's status first. */
async function unlinkIfThere(path: string): Promise<void> {
  try {
    await unlink(path)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
}

function shardName(shard: number): string {
  return shard.toString(16).padStart(2, '0')
}
