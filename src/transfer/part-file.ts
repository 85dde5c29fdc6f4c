/**
 * Deliver: verified segments at their offset into a part beside the target, which is fsynced and renamed when whole.
 *
 * While a process writes it, the part is `.<name>.<host>-<pid>-<n>.shorthaul-part`: two processes that fetch to one
 * target never write into one file, and what a dead process left is told from what a live one writes. When a transfer
 * ends without a target, it is renamed to `.<name>.shorthaul-part`. Either is taken over by the next run.
 *
 * It may be lent to another process of the user (`offer`, lent-part.ts), which writes the content; its name and its end stay
 * with this one.
 *
 * A job's part (`openStaged`) has one name of its own from beginning to end, and gets the target's name only when the job
 * is completed (staged-part.ts).
 *
 * Does not verify and does not know where bytes come from. Runs as the user who owns the target.
 */
import { constants } from 'node:fs'
import { type FileHandle, lstat, readdir, readFile, rename, unlink } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import type { SegmentHash } from '../content/ids.ts'
import { SEGMENT_BYTES, segmentBytes, segmentCount } from '../content/segmentation.ts'
import type { VerifiedBytes } from '../content/verified.ts'
import { isShorthaulError, localIoError, systemCode } from '../errors.ts'
import { PartContent } from './part-content.ts'
import type { Delivery, PartOffer } from './request.ts'
import {
  fileOf,
  isOurs,
  mustBeReplaceable,
  onDisk,
  openPart,
  openStaged,
  PART_SUFFIX,
  partStem,
  syncDirectory,
} from './staged-part.ts'

const HOST =
  hostname()
    .replace(/[^A-Za-z0-9]/g, '')
    .slice(0, 64) || 'host'
let partCount = 0
/** Parts that this process writes now: any other with its number was left by an earlier process that had it. */
const livePaths = new Set<string>()

export class PartFile implements Delivery {
  readonly target: string
  readonly localPath: string
  readonly #restingPath: string
  readonly #wholePath: string
  readonly #handle: FileHandle
  readonly #content: PartContent
  #isClosed = false
  #isEnded = false

  private constructor(target: string, paths: { working: string; resting: string; whole: string }, handle: FileHandle) {
    this.target = target
    this.localPath = paths.working
    this.#restingPath = paths.resting
    this.#wholePath = paths.whole
    this.#handle = handle
    this.#content = new PartContent(handle, target)
  }

  /**
   * Opens the part, taking over what an earlier run left.
   * @throws SHORTHAUL_TARGET_UNWRITABLE, SHORTHAUL_DISK_FULL
   */
  static async open(path: string): Promise<PartFile> {
    const target = resolve(path)
    const directory = dirname(target)
    const stem = partStem(basename(target))
    const working = join(directory, `.${stem}.${HOST}-${process.pid}-${++partCount}${PART_SUFFIX}`)
    const resting = join(directory, `.${stem}${PART_SUFFIX}`)
    livePaths.add(working)
    try {
      await mustBeReplaceable(target)
      const handle =
        (await adopt(directory, { stem, working })) ?? (await openPart(working, constants.O_CREAT | constants.O_EXCL))
      return new PartFile(target, { working, resting, whole: target }, handle)
    } catch (cause) {
      livePaths.delete(working)
      if (isShorthaulError(cause)) throw cause
      throw localIoError('write', target, cause, 'SHORTHAUL_TARGET_UNWRITABLE')
    }
  }

  /**
   * Opens the part of a job, as an earlier turn left it. `complete` leaves it where it is, whole and durable.
   * @param staged from `stagedPath`; nobody else writes it: one process owns a job
   * @throws SHORTHAUL_TARGET_UNWRITABLE, SHORTHAUL_DISK_FULL
   */
  static async openStaged(target: string, staged: string): Promise<PartFile> {
    const handle = await openStaged(target, staged)
    return new PartFile(target, { working: staged, resting: staged, whole: staged }, handle)
  }

  async offer(): Promise<PartOffer> {
    const file = await onDisk('read', this.target, () => fileOf(this.#handle))
    return { target: this.target, path: this.localPath, file }
  }

  async leftOver(): Promise<readonly (SegmentHash | null)[]> {
    const { size } = await onDisk('read', this.target, () => this.#handle.stat())
    if (size === 0) return []
    const { hashSegment } = await loadHashing()
    const hashes: (SegmentHash | null)[] = []
    const buffer = Buffer.allocUnsafe(SEGMENT_BYTES)
    for (let index = 0; index < segmentCount(size); index++) {
      const { start, end } = segmentBytes(index, size)
      const read = () => this.#handle.read(buffer, 0, end - start, start)
      const { bytesRead } = await onDisk('read', this.target, read)
      hashes.push(bytesRead > 0 ? hashSegment(buffer.subarray(0, bytesRead)) : null)
    }
    return hashes
  }

  async begin(content: { readonly lengthBytes: number | null }): Promise<void> {
    this.#content.begin(content.lengthBytes)
  }

  keep(index: number): Promise<void> {
    return this.#content.keep(index)
  }

  write(index: number, segment: VerifiedBytes): Promise<void> {
    return this.#content.write(index, segment)
  }

  windowEnd(): number {
    return Number.POSITIVE_INFINITY
  }

  onWindow(): void {}

  restart(): Promise<void> {
    return this.#content.restart()
  }

  digest(lengthBytes: number): Promise<string> {
    return this.#content.digest(lengthBytes)
  }

  async complete(lengthBytes: number): Promise<void> {
    await this.#content.sync(lengthBytes)
    try {
      await this.#close()
      if (this.localPath !== this.#wholePath) await rename(this.localPath, this.#wholePath)
      this.#isEnded = true
      await syncDirectory(dirname(this.target))
    } catch (cause) {
      throw localIoError('write', this.target, cause, 'SHORTHAUL_TARGET_UNWRITABLE')
    }
  }

  async abandon(): Promise<void> {
    if (this.#isEnded) return
    this.#isEnded = true
    // What the file system says on closing is of less use than why the transfer ended.
    await this.#close().catch(() => {})
    try {
      const { size } = await lstat(this.localPath)
      // An empty part has nothing to resume, and is but litter beside the user's files.
      if (size === 0) await unlink(this.localPath)
      else if (this.localPath !== this.#restingPath) await rename(this.localPath, this.#restingPath)
    } catch (error) {
      // What ended the transfer is the better story; the next run finds the part under its working name too.
      if (systemCode(error) === undefined) throw error
    }
  }

  async #close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.#content.settled()
    try {
      await this.#handle.close()
    } finally {
      livePaths.delete(this.localPath)
    }
  }
}

let hashing: Promise<typeof import('../content/digest.ts')> | null = null

/**
 * What `leftOver` needs, and loads late: a command that starts afresh need not wait for the hash library. Who will not be
 * able to read it later has it loaded before.
 */
export function loadHashing(): Promise<typeof import('../content/digest.ts')> {
  hashing ??= import('../content/digest.ts')
  return hashing
}

/** Takes over what an earlier run left, by renaming it: of two that try, one wins. Others of dead processes are removed. */
async function adopt(directory: string, names: { stem: string; working: string }): Promise<FileHandle | null> {
  const { stem, working } = names
  const prefix = `.${stem}.`
  let adopted: FileHandle | null = null
  for (const entry of await list(directory)) {
    if (!entry.startsWith(prefix) || !entry.endsWith(PART_SUFFIX)) continue
    const owner = entry.slice(prefix.length - 1, -PART_SUFFIX.length)
    const path = join(directory, entry)
    // What stands under our own new name cannot be of a live process.
    if (owner !== '' && path !== working && !(await isLeftByDead(owner, path))) continue
    if (adopted && path === working) continue
    try {
      if (!isOurs(await lstat(path))) continue
      if (adopted) await unlink(path)
      else adopted = await takeOver(path, working)
    } catch (error) {
      // Another process took it first, or it is not ours to take: then we start afresh.
      if (!['ENOENT', 'EACCES', 'EPERM'].includes(systemCode(error) ?? '')) throw error
    }
  }
  return adopted
}

async function list(directory: string): Promise<string[]> {
  try {
    return await readdir(directory)
  } catch (error) {
    if (systemCode(error) === 'EACCES') return [] // one may be allowed to write where one may not look
    throw error
  }
}

async function takeOver(path: string, working: string): Promise<FileHandle | null> {
  await rename(path, working)
  let handle: FileHandle | null = null
  try {
    handle = await openPart(working, 0)
    if (isOurs(await handle.stat())) return handle
  } catch (error) {
    if (systemCode(error) === undefined) throw error
  }
  // Exchanged between look and rename, or not to be opened: it must not stand where the new part goes.
  await handle?.close()
  await unlink(working)
  return null
}

/** @param owner `.<host>-<pid>-<n>` */
async function isLeftByDead(owner: string, path: string): Promise<boolean> {
  const match = /^\.([A-Za-z0-9]+)-(\d{1,10})-\d+$/.exec(owner)
  // Another host's process cannot be looked up: its part on a shared directory is left alone.
  if (!match || match[1] !== HOST) return false
  const pid = Number(match[2])
  // In a container every run may have the same number.
  if (pid === process.pid) return !livePaths.has(path)
  try {
    process.kill(pid, 0)
  } catch (error) {
    return systemCode(error) === 'ESRCH'
  }
  return isUnreaped(pid)
}

/** A killed process whose parent never asks for its end, as under `timeout` or a container's first process, keeps its number. */
async function isUnreaped(pid: number): Promise<boolean> {
  try {
    // Linux: `pid (name) state ...`, where the name may hold anything.
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1')
    return /^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2))
  } catch {
    return false
  }
}
