/**
 * A disk in memory that loses what was not synced. A file's writes survive a crash each by itself, whole, in part or not at
 * all, unless the file was synced after them; changes of names survive in the order in which they were made, up to some
 * point that is not before the last sync of a directory they concern.
 */
import { dirname } from 'node:path'
import type { Random } from '../../src/clock.ts'
import { SimulatedDb } from './simulated-db.ts'

/** What undoes a change that was not synced. */
interface Undo {
  readonly offset: number
  /** What stood there. */
  readonly bytes: Uint8Array
  readonly size: number
  readonly end: number
}

/** Room that is only spoken for costs nothing: a part grows without being copied. */
const LARGE_BYTES = 9 * 2 ** 20
const SMALL_BYTES = 4096

export class SimulatedFile {
  #bytes: Uint8Array = new Uint8Array(0)
  #size = 0
  #unsynced: Undo[] = []

  get size(): number {
    return this.#size
  }

  /** Not to be written to, nor kept. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#size)
  }

  write(bytes: Uint8Array, offset: number): void {
    const end = offset + bytes.byteLength
    this.#unsynced.push({ offset, bytes: this.bytes.slice(offset, end), size: this.#size, end })
    this.#reserve(end)
    this.#bytes.set(bytes, offset)
    this.#size = Math.max(this.#size, end)
  }

  truncate(size: number): void {
    if (size === this.#size) return
    this.#unsynced.push({ offset: size, bytes: this.bytes.slice(size), size: this.#size, end: this.#size })
    this.#resize(size)
  }

  sync(): void {
    this.#unsynced = []
  }

  /** What is on the platter afterwards: each change whole, in part or not at all. */
  crash(random: Random): void {
    for (const { offset, bytes, size, end } of this.#unsynced.reverse()) {
      const luck = random()
      if (luck < 0.3) continue
      const kept = luck < 0.6 ? Math.floor(random() * (end - offset)) : 0
      const isLengthKept = random() < 0.5 // it may be on disk though the bytes are not
      this.#reserve(end)
      this.#bytes.fill(0, offset + kept, Math.min(end, this.#bytes.byteLength))
      this.#bytes.set(bytes.subarray(kept), offset + kept)
      if (!isLengthKept) this.#size = kept === 0 ? size : Math.max(size, offset + kept)
    }
    this.sync()
  }

  #resize(size: number): void {
    this.#reserve(size)
    if (size < this.#size) this.#bytes.fill(0, size, this.#size)
    this.#size = size
  }

  #reserve(size: number): void {
    if (size <= this.#bytes.byteLength) return
    const larger = new Uint8Array(size <= SMALL_BYTES ? SMALL_BYTES : Math.max(size, LARGE_BYTES))
    larger.set(this.bytes)
    this.#bytes = larger
  }
}

type Names = Map<string, SimulatedFile | 'directory'>

interface NameChange {
  readonly directories: readonly string[]
  readonly apply: (names: Names) => void
}

/** Of one machine; outlives its crashes. Paths begin with a slash and are those below the mount. */
export class SimulatedDisk {
  /** The jobs' database. */
  readonly db = new SimulatedDb()
  #names: Names = new Map([['/', 'directory']])
  #synced: Names = new Map(this.#names)
  #pending: NameChange[] = []

  find(path: string): SimulatedFile | 'directory' | undefined {
    return this.#names.get(path)
  }

  list(directory: string): string[] {
    const prefix = directory === '/' ? '/' : `${directory}/`
    const found: string[] = []
    for (const path of this.#names.keys()) {
      const rest = path.slice(prefix.length)
      if (path.startsWith(prefix) && rest !== '' && !rest.includes('/')) found.push(rest)
    }
    return found
  }

  paths(): IterableIterator<[string, SimulatedFile | 'directory']> {
    return this.#names.entries()
  }

  linkCount(file: SimulatedFile): number {
    let count = 0
    for (const other of this.#names.values()) if (other === file) count++
    return count
  }

  put(path: string, entry: SimulatedFile | 'directory'): void {
    this.#change([dirname(path)], (names) => names.set(path, entry))
  }

  remove(path: string): void {
    this.#change([dirname(path)], (names) => names.delete(path))
  }

  rename(from: string, to: string): void {
    this.#change([dirname(from), dirname(to)], (names) => {
      for (const [path, entry] of [...names]) {
        if (path !== from && !path.startsWith(`${from}/`)) continue
        names.delete(path)
        names.set(to + path.slice(from.length), entry)
      }
    })
  }

  syncDirectory(path: string): void {
    const last = this.#pending.findLastIndex(({ directories }) => directories.includes(path))
    for (const { apply } of this.#pending.splice(0, last + 1)) apply(this.#synced)
  }

  /** Everything so far is on the platter. */
  syncAll(): void {
    for (const { apply } of this.#pending.splice(0)) apply(this.#synced)
    for (const entry of this.#names.values()) if (entry !== 'directory') entry.sync()
  }

  /** The power fails. @param isKill only the process dies: the system still has what it was given */
  crash(random: Random, { isKill = false } = {}): void {
    if (isKill) {
      this.syncAll()
    } else {
      const count = Math.floor(random() * (this.#pending.length + 1))
      for (const { apply } of this.#pending.splice(0).slice(0, count)) apply(this.#synced)
      this.#names = new Map(this.#synced)
      for (const entry of new Set(this.#names.values())) if (entry !== 'directory') entry.crash(random)
    }
    this.db.crash(random, { isKill })
  }

  #change(directories: readonly string[], apply: (names: Names) => void): void {
    apply(this.#names)
    this.#pending.push({ directories, apply })
  }
}
