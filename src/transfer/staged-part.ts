/**
 * Parts as files: their names beside a target, whose file may be taken for one, and how they are opened, written and given
 * their target's name. The parts of jobs (`stagedPath`) have one name from beginning to end.
 *
 * Does not know what stands in a part: part-file.ts and range-part.ts do. Runs as the user who owns the target.
 */
import { createHash } from 'node:crypto'
import { constants, type Stats } from 'node:fs'
import { type FileHandle, lstat, open, rename, stat, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { isShorthaulError, localIoError, ShorthaulError, systemCode } from '../errors.ts'

export const PART_SUFFIX = '.shorthaul-part'
/** A file name has at most 255 bytes; about 100 of them are for host, process, number and suffix. */
const MAX_STEM_BYTES = 150

/** Where the part of a job stands: beside its target, named by the job. */
export function stagedPath(target: string, job: { readonly id: string; readonly index: number }): string {
  return join(dirname(target), `.${partStem(basename(target))}.${job.id}-${job.index}${PART_SUFFIX}`)
}

/**
 * What has the target's name may be a file, or a link to one, which the new one takes the place of. A rename would take the
 * place of a device too: of /dev/null, for everybody.
 * @throws SHORTHAUL_TARGET_UNWRITABLE
 */
export async function mustBeReplaceable(target: string): Promise<void> {
  const found = await stat(target).catch(() => null)
  if (found === null || found.isFile()) return
  const what = found.isDirectory()
    ? 'a directory'
    : found.isFIFO()
      ? 'a pipe'
      : found.isSocket()
        ? 'a socket'
        : 'a device'
  throw new ShorthaulError('SHORTHAUL_TARGET_UNWRITABLE', `Cannot write "${target}": it is ${what}`)
}

/**
 * Opens the part of a job, as an earlier turn left it, or makes it. The caller closes it.
 * @param staged from `stagedPath`; nobody else writes it: one process owns a job
 * @throws SHORTHAUL_TARGET_UNWRITABLE, SHORTHAUL_DISK_FULL
 */
export async function openStaged(target: string, staged: string): Promise<FileHandle> {
  try {
    await mustBeReplaceable(target)
    return (await openOurs(staged)) ?? (await openPart(staged, constants.O_CREAT | constants.O_EXCL))
  } catch (cause) {
    if (isShorthaulError(cause)) throw cause
    throw localIoError('write', target, cause, 'SHORTHAUL_TARGET_UNWRITABLE')
  }
}

/**
 * Gives a whole part its target's name, durably.
 * @returns false when there is no such part
 * @throws SHORTHAUL_TARGET_UNWRITABLE
 */
export async function deliverStaged(target: string, staged: string): Promise<boolean> {
  try {
    const found = await lstat(staged)
    if (!isOurs(found))
      throw new ShorthaulError('SHORTHAUL_TARGET_UNWRITABLE', `Cannot use "${staged}": it is not ours`)
    await mustBeReplaceable(target)
    await rename(staged, target)
    await syncDirectory(dirname(target))
    return true
  } catch (cause) {
    if (systemCode(cause) === 'ENOENT') return false
    if (isShorthaulError(cause)) throw cause
    throw localIoError('write', target, cause, 'SHORTHAUL_TARGET_UNWRITABLE')
  }
}

/** Removes the part of a job. @returns false when there is none */
export async function discardStaged(staged: string): Promise<boolean> {
  try {
    await unlink(staged)
    return true
  } catch (cause) {
    // Without its directory there is no part either.
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(cause) ?? '')) return false
    throw localIoError('remove', staged, cause, 'SHORTHAUL_TARGET_UNWRITABLE')
  }
}

async function openOurs(path: string): Promise<FileHandle | null> {
  let handle: FileHandle
  try {
    handle = await openPart(path, 0)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null
    throw error
  }
  let isKept = false
  try {
    isKept = isOurs(await handle.stat())
    if (isKept) return handle
  } finally {
    if (!isKept) await handle.close()
  }
  throw new ShorthaulError('SHORTHAUL_TARGET_UNWRITABLE', `Cannot use "${path}": it is not a plain file of this user`)
}

export function openPart(path: string, flags: number): Promise<FileHandle> {
  // 0666 less the user's umask, like any program; never through a link that somebody planted.
  return open(path, constants.O_RDWR | constants.O_NOFOLLOW | flags, 0o666)
}

/** A disk that fails is an error with a code, wherever it does. @throws SHORTHAUL_TARGET_UNWRITABLE, SHORTHAUL_DISK_FULL */
export async function onDisk<T>(action: 'read' | 'write', target: string, operation: () => Promise<T>): Promise<T> {
  try {
    return await operation()
  } catch (cause) {
    throw localIoError(action, target, cause, 'SHORTHAUL_TARGET_UNWRITABLE')
  }
}

/** All of the bytes at their place in the part. @throws SHORTHAUL_TARGET_UNWRITABLE, SHORTHAUL_DISK_FULL */
export async function writeAt(
  handle: FileHandle,
  bytes: Uint8Array,
  at: { readonly offset: number; readonly target: string },
): Promise<void> {
  await onDisk('write', at.target, async () => {
    for (let done = 0; done < bytes.byteLength; ) {
      const { bytesWritten } = await handle.write(bytes, done, bytes.byteLength - done, at.offset + done)
      done += bytesWritten
    }
  })
}

/** The target's name, or what stands for a name that leaves no room for what a part's name adds to it. */
export function partStem(name: string): string {
  if (Buffer.byteLength(name) <= MAX_STEM_BYTES) return name
  return `${name.slice(0, 30)}~${createHash('sha256').update(name).digest('hex').slice(0, 32)}`
}

/**
 * A plain file of this user under one name only. Anything else was planted: a link, or a second name of a file that our
 * writes would destroy. And who owns a part could change the target after it was verified.
 */
export function isOurs(found: Stats): boolean {
  const uid = process.geteuid?.() ?? found.uid
  return found.isFile() && found.nlink === 1 && found.uid === uid
}

/** Tells a file from all others of this machine. */
export async function fileOf(handle: FileHandle): Promise<string> {
  const { dev, ino } = await handle.stat({ bigint: true }) // numbers are too short for some file systems
  return `${dev}:${ino}`
}

export async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return // directories cannot be opened there; NTFS journals the rename
  try {
    const handle = await open(path, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  } catch (error) {
    // The target is there already; a directory that cannot be read, or a file system that cannot sync one, is no failure.
    if (!['EACCES', 'EPERM', 'EINVAL', 'ENOTSUP'].includes(systemCode(error) ?? '')) throw error
  }
}
