/**
 * Creates a small secret file so that it either exists complete or not at all, and exactly one of several racing
 * processes makes it; replaces one so that readers see the old or the new, whole.
 */
import { constants } from 'node:fs'
import { type FileHandle, link, mkdir, open, realpath, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { secretBytes } from '../clock.ts'
import { localIoError, ShorthaulError, systemCode } from '../errors.ts'

/** No secret file is longer. */
const MAX_BYTES = 1024

/**
 * Writes `content` to `path`, mode 0600, durable when it returns. Missing directories are made, mode 0700.
 * @param what for messages: "the branch secret"
 * @returns false when somebody else's file is there already, complete; it is left alone
 * @throws SHORTHAUL_TARGET_UNWRITABLE, SHORTHAUL_DISK_FULL
 */
export async function createExclusive(path: string, content: Uint8Array, what: string): Promise<boolean> {
  const dir = dirname(path)
  const temporary = join(dir, `.${basename(path)}.${secretBytes(8).toString('hex')}`)
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 })
    await writeDurably(temporary, content)
    try {
      // link() fails where rename() would replace, and shows the file only when all of it is there.
      await link(temporary, path)
    } catch (error: unknown) {
      const system = systemCode(error)
      if (system === 'EEXIST') return false
      // FAT and some network file systems have no hard links: exclusive, but a crash may leave a short file, which
      // every reader refuses.
      if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK', 'EISDIR'].includes(system ?? '')) throw error
      if (!(await writeInPlace(path, content))) return false
    }
    await syncDirectory(dir)
    return true
  } catch (error: unknown) {
    throw localIoError(`create ${what}`, path, error, 'SHORTHAUL_TARGET_UNWRITABLE')
  } finally {
    await rm(temporary, { force: true }).catch(() => {}) // the first error is the one to tell
  }
}

/**
 * Writes `content` in the place of the file that is there: mode 0600, of the same owner (root may rotate the secret of
 * an agent that runs as somebody else), durable when it returns. A link stays, and what it names is replaced.
 * @throws SHORTHAUL_TARGET_UNWRITABLE also when there is none, SHORTHAUL_DISK_FULL
 */
export async function replaceDurably(path: string, content: Uint8Array, what: string): Promise<void> {
  try {
    const real = await realpath(path)
    const { uid, gid } = await stat(real)
    await putDurably(real, content, process.getuid?.() === 0 ? { uid, gid } : null)
  } catch (error: unknown) {
    throw localIoError(`replace ${what}`, path, error, 'SHORTHAUL_TARGET_UNWRITABLE')
  }
}

/**
 * Writes `content` to `path`, whether something is there or not: mode 0600, durable when it returns. Missing directories
 * are made, mode 0700. For the small files of an agent's own state.
 * @param owner whose the file shall be; null: of this process
 * @throws the system's error
 */
export async function putDurably(
  path: string,
  content: Uint8Array,
  owner: { readonly uid: number; readonly gid: number } | null = null,
): Promise<void> {
  const dir = dirname(path)
  const temporary = join(dir, `.${basename(path)}.${secretBytes(8).toString('hex')}`)
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 })
    await writeDurably(temporary, content, owner)
    await rename(temporary, path)
    await syncDirectory(dir)
  } finally {
    await rm(temporary, { force: true }).catch(() => {}) // the first error is the one to tell
  }
}

async function writeDurably(
  path: string,
  content: Uint8Array,
  owner: { readonly uid: number; readonly gid: number } | null = null,
): Promise<void> {
  const handle = await open(path, 'wx', 0o600)
  try {
    if (owner !== null) await handle.chown(owner.uid, owner.gid)
    await handle.writeFile(content)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

async function writeInPlace(path: string, content: Uint8Array): Promise<boolean> {
  try {
    await writeDurably(path, content)
    return true
  } catch (error: unknown) {
    if (systemCode(error) === 'EEXIST') return false
    throw error
  }
}

/** Makes the new name survive a power loss; Windows cannot open directories and journals names by itself. */
export async function syncDirectory(dir: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(dir, constants.O_RDONLY)
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

export interface SmallFile {
  readonly content: Buffer
  /** Whether others than the owner may read it. Always false on Windows, which has no mode. */
  readonly isExposed: boolean
}

/** Reads a whole small file; null when there is none. @throws the system's error, or one about what the file is */
export async function readSmallFile(path: string): Promise<SmallFile | null> {
  let handle: FileHandle
  try {
    handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)) // a FIFO must not block us
  } catch (error: unknown) {
    if (systemCode(error) === 'ENOENT') return null
    throw error
  }
  try {
    const stats = await handle.stat()
    if (!stats.isFile()) throw new ShorthaulError('SHORTHAUL_SECRET_INVALID', 'it is not a regular file')
    const buffer = Buffer.alloc(MAX_BYTES)
    let length = 0
    for (;;) {
      const { bytesRead } = await handle.read(buffer, length, MAX_BYTES - length, null)
      length += bytesRead
      if (bytesRead === 0 || length === MAX_BYTES) break
    }
    const isExposed = process.platform !== 'win32' && (stats.mode & 0o044) !== 0
    return { content: buffer.subarray(0, length), isExposed }
  } finally {
    await handle.close()
  }
}
