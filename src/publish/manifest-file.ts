/** The files in which published manifests stand: read strictly, written whole or not at all. */
import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { syncDirectory } from '../config/exclusive-file.ts'
import {
  decodePublishedHead,
  decodePublishedManifest,
  encodePublishedManifest,
  PUBLISHED_HEAD_BYTES,
  type PublishedHead,
  type PublishedManifest,
  publishedManifestBytes,
} from '../content/published-manifest.ts'
import { isShorthaulError, localIoError, ShorthaulError, systemCode } from '../errors.ts'

/**
 * Only what stands before the hashes; null when there is no such file, or another kind of it.
 * @throws SHORTHAUL_ORIGIN_REFUSED when it is there and cannot be read
 */
export async function readPublishedHead(path: string): Promise<PublishedHead | null> {
  return reading(path, async (file) => {
    const { size } = await file.stat()
    const head = decodePublishedHead(await readPart(file, { start: 0, end: Math.min(size, PUBLISHED_HEAD_BYTES) }))
    return size === publishedManifestBytes(head.lengthBytes) ? head : null
  }).catch((error: unknown) => {
    if (isShorthaulError(error, 'SHORTHAUL_MANIFEST_INVALID')) return null
    throw error
  })
}

/** Null when there is none. @throws SHORTHAUL_MANIFEST_INVALID, SHORTHAUL_ORIGIN_REFUSED */
export async function readPublishedManifest(path: string): Promise<PublishedManifest | null> {
  return reading(path, async (file) => {
    const { size } = await file.stat()
    const { lengthBytes } = decodePublishedHead(
      await readPart(file, { start: 0, end: Math.min(size, PUBLISHED_HEAD_BYTES) }),
    )
    // Before anything is allocated for it.
    if (size !== publishedManifestBytes(lengthBytes)) {
      throw new ShorthaulError(
        'SHORTHAUL_MANIFEST_INVALID',
        `Cannot decode "${path}": it has ${size} bytes, expected ${publishedManifestBytes(lengthBytes)}`,
      )
    }
    return decodePublishedManifest(await readPart(file, { start: 0, end: size }))
  })
}

/**
 * Under a name of its own, fsynced, then renamed over what was there: a web server sees the old one or the new one.
 * Missing directories are made.
 * @throws SHORTHAUL_TARGET_UNWRITABLE, SHORTHAUL_DISK_FULL
 */
export async function writePublishedManifest(
  path: string,
  published: PublishedManifest,
  options: { readonly mode: number },
): Promise<void> {
  const dir = dirname(path)
  const temporary = join(dir, `.${basename(path).slice(0, 180)}.${randomUUID()}.tmp`)
  try {
    await mkdir(dir, { recursive: true })
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(encodePublishedManifest(published))
      await file.chmod(options.mode & 0o666) // the umask is no matter: who may read the file may read this
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
    await syncDirectory(dir)
  } catch (error) {
    throw localIoError('write the manifest', path, error, 'SHORTHAUL_TARGET_UNWRITABLE')
  } finally {
    await rm(temporary, { force: true }).catch(() => {}) // the first error is the one to tell
  }
}

async function reading<T>(path: string, read: (file: FileHandle) => Promise<T>): Promise<T | null> {
  let file: FileHandle | null = null
  try {
    file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
    return (await file.stat()).isFile() ? await read(file) : null
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null
    if (error instanceof ShorthaulError) throw error
    throw localIoError('read the manifest', path, error, 'SHORTHAUL_ORIGIN_REFUSED')
  } finally {
    await file?.close()
  }
}

async function readPart(file: FileHandle, range: { readonly start: number; readonly end: number }): Promise<Buffer> {
  const buffer = Buffer.alloc(range.end - range.start)
  const { bytesRead } = await file.read(buffer, 0, buffer.byteLength, range.start)
  return buffer.subarray(0, bytesRead) // cut short: the decoder refuses it
}
