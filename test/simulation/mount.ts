/**
 * Puts simulated disks under Node's file system: paths below /simulated/<mount>/ go to a disk in memory, all others where
 * they always went. So the real code of parts, targets and jobs runs unchanged on disks that fail and forget.
 *
 * Each run of a machine has a mount of its own; when it dies its calls never return, and those of the next run see what the
 * crash left. The same is done for `IndexDb.open`. Installed once for the process, by importing this file.
 */
import fs, { constants, type Stats } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { dirname } from 'node:path'
import { IndexDb } from '../../src/store/index-db.ts'
import { SimulatedDisk, SimulatedFile } from './disk.ts'
import type { DbWeather } from './simulated-db.ts'

export const ROOT = '/simulated'

export type FileOperation = 'open' | 'read' | 'write' | 'truncate' | 'sync' | 'rename' | 'unlink' | 'look' | 'make'

/** What one run of a machine does to its calls. */
export interface DiskWeather {
  /** Waits as long as the disk takes; for ever when the machine is dead. @returns the error that the system gives */
  before(operation: FileOperation, path: string): Promise<string | null>
  /** How much of a write is done; the rest is the caller's to write. */
  partOf(lengthBytes: number): number
  /** After bytes were written. What it throws ends the world, not the call. */
  onWrite(path: string, bytes: Uint8Array, offset: number): void
  /** After a name came to be, or went to another file. */
  onName(path: string): void
  readonly db: DbWeather
}

class Mount {
  readonly disk: SimulatedDisk
  readonly weather: DiskWeather
  readonly openHandles = new Set<Handle>()

  constructor(disk: SimulatedDisk, weather: DiskWeather) {
    this.disk = disk
    this.weather = weather
  }

  async call(operation: FileOperation, path: string): Promise<void> {
    const code = await this.weather.before(operation, path)
    if (code !== null) throw systemError(code, `${operation} "${path}"`)
  }
}

/** Whose machine is dead: calls do not return. */
const NEVER = new Promise<never>(() => {})
const NOWHERE = new Mount(new SimulatedDisk(), {
  before: () => NEVER,
  partOf: (length) => length,
  onWrite: () => {},
  onName: () => {},
  db: { before: () => NEVER, after: () => NEVER },
})
const mounts = new Map<string, Mount>()
let mountCount = 0

/**
 * @param name of the mount: another run of the same machine may use it again. Default: one that nobody had
 * @returns where the disk is to be found, and what takes it away
 */
export function mount(disk: SimulatedDisk, weather: DiskWeather, name: string | null = null) {
  const its = name ?? String(++mountCount)
  const mounted = new Mount(disk, weather)
  mounts.set(its, mounted)
  return {
    path: `${ROOT}/${its}`,
    /** Of files and directories. */
    openCount: () => mounted.openHandles.size,
    unmount: () => {
      if (mounts.get(its) === mounted) mounts.delete(its)
    },
  }
}

/** The path below the mount, which is the same for every run. */
export function innerPath(path: string): string {
  return path.replace(/^\/simulated\/[^/]+/, '') || '/'
}

function locate(path: unknown): { mounted: Mount; path: string } | null {
  if (typeof path !== 'string' || !path.startsWith(`${ROOT}/`)) return null
  const mounted = mounts.get(path.split('/')[2] ?? '') ?? NOWHERE
  return { mounted, path: innerPath(path) }
}

function systemError(code: string, about: string): Error {
  return Object.assign(new Error(`${code}: simulated, ${about}`), { code })
}

function statsOf({ disk }: Mount, entry: SimulatedFile | 'directory'): Stats {
  const isFile = entry !== 'directory'
  const stats = {
    isFile: () => isFile,
    isDirectory: () => !isFile,
    size: isFile ? entry.size : 0,
    nlink: isFile ? disk.linkCount(entry) : 2,
    uid: process.geteuid?.() ?? 0,
    mode: 0o600,
  }
  return stats as unknown as Stats // what our code looks at
}

function found({ disk }: Mount, path: string): SimulatedFile | 'directory' {
  const entry = disk.find(path)
  if (entry === undefined) throw systemError('ENOENT', path)
  return entry
}

class Handle {
  readonly #mount: Mount
  readonly #path: string
  readonly #entry: SimulatedFile | 'directory'
  #position = 0

  constructor(mounted: Mount, path: string, entry: SimulatedFile | 'directory') {
    this.#mount = mounted
    this.#path = path
    this.#entry = entry
    mounted.openHandles.add(this)
  }

  async stat(): Promise<Stats> {
    await this.#mount.call('look', this.#path)
    return statsOf(this.#mount, this.#entry)
  }

  async read(buffer: Uint8Array, offset: number, length: number, position: number | null) {
    await this.#mount.call('read', this.#path)
    const at = position ?? this.#position
    const bytes = this.#file().bytes.subarray(at, at + length)
    buffer.set(bytes, offset)
    if (position === null) this.#position += bytes.byteLength
    return { bytesRead: bytes.byteLength, buffer }
  }

  async write(buffer: Uint8Array, offset: number, length: number, position: number) {
    await this.#mount.call('write', this.#path)
    const bytesWritten = Math.max(1, this.#mount.weather.partOf(length))
    const bytes = buffer.subarray(offset, offset + bytesWritten)
    this.#file().write(bytes, position)
    this.#mount.weather.onWrite(this.#path, bytes, position)
    return { bytesWritten, buffer }
  }

  async writeFile(bytes: Uint8Array): Promise<void> {
    await this.#mount.call('write', this.#path)
    this.#file().write(bytes, 0)
  }

  async truncate(size: number): Promise<void> {
    await this.#mount.call('truncate', this.#path)
    this.#file().truncate(size)
  }

  async sync(): Promise<void> {
    await this.#mount.call('sync', this.#path)
    if (this.#entry === 'directory') this.#mount.disk.syncDirectory(this.#path)
    else this.#entry.sync()
  }

  async close(): Promise<void> {
    this.#mount.openHandles.delete(this)
  }

  #file(): SimulatedFile {
    if (this.#entry === 'directory') throw systemError('EISDIR', this.#path)
    return this.#entry
  }
}

/** What our code calls; each for a path of ours, or null for anybody else's. */
const calls = {
  async open(mounted: Mount, path: string, flags: string | number = 'r') {
    await mounted.call('open', path)
    const isExclusive = flags === 'wx' || (typeof flags === 'number' && (flags & constants.O_EXCL) !== 0)
    if (isExclusive) {
      if (mounted.disk.find(path) !== undefined) throw systemError('EEXIST', path)
      if (mounted.disk.find(dirname(path)) !== 'directory') throw systemError('ENOENT', path)
      mounted.disk.put(path, new SimulatedFile())
    }
    return new Handle(mounted, path, found(mounted, path))
  },
  async stat(mounted: Mount, path: string) {
    await mounted.call('look', path)
    return statsOf(mounted, found(mounted, path))
  },
  async readdir(mounted: Mount, path: string) {
    await mounted.call('look', path)
    found(mounted, path)
    return mounted.disk.list(path)
  },
  async mkdir(mounted: Mount, path: string) {
    await mounted.call('make', path)
    for (let end = path.indexOf('/', 1); ; end = path.indexOf('/', end + 1)) {
      const directory = end === -1 ? path : path.slice(0, end)
      if (mounted.disk.find(directory) === undefined) mounted.disk.put(directory, 'directory')
      if (end === -1) return
    }
  },
  async unlink(mounted: Mount, path: string) {
    await mounted.call('unlink', path)
    found(mounted, path)
    mounted.disk.remove(path)
  },
  async rm(mounted: Mount, path: string) {
    await mounted.call('unlink', path)
    for (const [other] of [...mounted.disk.paths()]) {
      if (other === path || other.startsWith(`${path}/`)) mounted.disk.remove(other)
    }
  },
  async rename(mounted: Mount, from: string, to: string) {
    await mounted.call('rename', from)
    found(mounted, from)
    mounted.disk.rename(from, innerPath(to))
    mounted.weather.onName(innerPath(to))
  },
  async link(mounted: Mount, from: string, to: string) {
    await mounted.call('make', from)
    if (mounted.disk.find(innerPath(to)) !== undefined) throw systemError('EEXIST', to)
    mounted.disk.put(innerPath(to), found(mounted, from))
    mounted.weather.onName(innerPath(to))
  },
} as const

type AnyCall = (...args: readonly unknown[]) => Promise<unknown>

/** In front of Node's own call. */
function inFront(
  real: AnyCall,
  simulated: (mounted: Mount, path: string, ...rest: never[]) => Promise<unknown>,
): AnyCall {
  return (...args) => {
    const at = locate(args[0])
    if (at === null) return real(...args)
    return simulated(at.mounted, at.path, ...(args.slice(1) as never[]))
  }
}

const promises = fs.promises as unknown as Record<string, AnyCall>
for (const [name, simulated] of Object.entries({ ...calls, lstat: calls.stat })) {
  const real = promises[name]
  if (real) promises[name] = inFront(real.bind(promises), simulated)
}

const realReadStream = fs.createReadStream
fs.createReadStream = ((path: never, ...rest: never[]) => {
  const at = locate(path)
  if (at === null) return realReadStream(path, ...rest)
  return (async function* () {
    await at.mounted.call('read', at.path)
    const entry = found(at.mounted, at.path)
    if (entry !== 'directory') yield Buffer.from(entry.bytes)
  })()
}) as unknown as typeof fs.createReadStream
syncBuiltinESMExports()

const realOpen = IndexDb.open.bind(IndexDb)
IndexDb.open = async (path, options) => {
  const at = locate(path)
  if (at === null) return realOpen(path, options)
  await at.mounted.call('open', at.path)
  const { disk } = at.mounted
  if (disk.find(at.path) === undefined) {
    disk.put(at.path, 'directory')
    disk.put(`${at.path}/CURRENT`, new SimulatedFile())
  }
  return disk.db.open(at.mounted.weather.db)
}
