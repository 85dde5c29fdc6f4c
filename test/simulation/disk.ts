/**
 * A disk in memory that loses what was not synced. A file's writes survive a crash each by itself, whole, in part or not at
 * all, unless the file was synced after them; changes of names survive in the order in which they were made, up to some
 * point that is not before the last sync of a directory they concern.
 */
import { dirname } from 'node:path'
import type { Random } from '../../src/clock.ts'
import { SimulatedDb } from './simulated-db.ts'

type Change = { readonly offset: number; readonly bytes: Uint8Array } | { readonly truncateTo: number }

export class SimulatedFile {
  #bytes: Uint8Array = new Uint8Array(0)
  #size = 0
  #synced: Uint8Array = new Uint8Array(0)
  #pending: Change[] = []

  get size(): number {
    return this.#size
  }

  /** Not to be written to, nor kept. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#size)
  }

  write(bytes: Uint8Array, offset: number): void {
    this.#pending.push({ offset, bytes: Uint8Array.from(bytes) })
    this.#reserve(offset + bytes.byteLength)
    this.#bytes.set(bytes, offset)
    this.#size = Math.max(this.#size, offset + bytes.byteLength)
  }

  truncate(size: number): void {
    if (size === this.#size) return
    this.#pending.push({ truncateTo: size })
    this.#resize(size)
  }

  sync(): void {
    this.#synced = this.bytes.slice()
    this.#pending = []
  }

  /** What is on the platter afterwards. */
  crash(random: Random): void {
    const changes = this.#pending
    this.#bytes = this.#synced.slice()
    this.#size = this.#synced.byteLength
    for (const change of changes) {
      const luck = random()
      if (luck < 0.4) continue
      if ('truncateTo' in change) {
        this.#resize(change.truncateTo)
        continue
      }
      const { offset, bytes } = change
      const survives = luck < 0.7 ? bytes.byteLength : Math.floor(random() * bytes.byteLength)
      this.#reserve(offset + bytes.byteLength)
      this.#bytes.set(bytes.subarray(0, survives), offset)
      // The length may be on disk though the bytes are not.
      this.#size = Math.max(this.#size, offset + (random() < 0.5 ? bytes.byteLength : survives))
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
    const larger = new Uint8Array(Math.max(size, 2 * this.#bytes.byteLength))
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
