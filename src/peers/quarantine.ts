/**
 * Members that signed what their origin did not say. Nothing that they say of content is believed, and nothing is had from
 * them, until their time is over or a person lets them out. What they are given and how they connect does not change.
 *
 * Holds what this agent saw with its own eyes, and never what it was told. Kept in one small file, so that a restart
 * forgets nothing.
 *
 * Invariants: at most MAX_ENTRIES are remembered, the one that ends first is forgotten first; a listener hears of an
 * entry once it counts, and before `impose` returns.
 */
import { readFile } from 'node:fs/promises'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import { putDurably } from '../config/exclusive-file.ts'
import { type AgentKey, parseId } from '../content/ids.ts'
import { systemCode } from '../errors.ts'

export interface QuarantineEntry {
  readonly key: AgentKey
  /** IPv4 of its host when it was caught; null when it was not connected. */
  readonly address: string | null
  readonly sinceMs: number
  /** Wall clock. */
  readonly untilMs: number
  /** How often it was caught; each time doubles the next term. */
  readonly count: number
  readonly reason: 'false-statement' | 'same-address'
}

export interface QuarantineOptions {
  readonly path: string
  /**
   * Whether keys are bound to machines by a roster. Without one a liar makes itself a new key whenever it likes, so its
   * address counts too.
   */
  readonly hasRoster: boolean
}

const FORMAT = 1
const MAX_ENTRIES = 1024
const MAX_FILE_BYTES = 1024 * 1024
const DAY_MS = 24 * 3600 * 1000
/** Not longer: an origin that puts other bytes under an old validator makes an honest member look like a liar. */
const FIRST_TERM_MS = DAY_MS
const LONGEST_TERM_MS = 365 * DAY_MS

export class Quarantine {
  readonly #clock: Clock
  readonly #log: Logger
  readonly #options: QuarantineOptions
  readonly #entries = new Map<AgentKey, QuarantineEntry>()
  readonly #listeners = new Set<(key: AgentKey) => void>()
  #writing: Promise<void> = Promise.resolve()

  private constructor(components: { clock: Clock; log: Logger }, options: QuarantineOptions) {
    this.#clock = components.clock
    this.#log = components.log.child({ module: 'quarantine' })
    this.#options = options
  }

  /** A file that cannot be read is said and left behind: an agent that does not start helps nobody. */
  static async open(components: { clock: Clock; log: Logger }, options: QuarantineOptions): Promise<Quarantine> {
    const quarantine = new Quarantine(components, options)
    try {
      const text = await readFile(options.path, 'utf8')
      for (const entry of parseEntries(text)) quarantine.#entries.set(entry.key, entry)
    } catch (err) {
      if (systemCode(err) !== 'ENOENT') {
        quarantine.#log.error({ err, path: options.path }, 'quarantine not readable: those in it are out')
      }
    }
    return quarantine
  }

  has(key: AgentKey): boolean {
    const entry = this.#entries.get(key)
    return entry !== undefined && entry.untilMs > this.#clock.nowMs()
  }

  /** Those in it now, the one that came last first. */
  list(): QuarantineEntry[] {
    const nowMs = this.#clock.nowMs()
    return [...this.#entries.values()].filter((entry) => entry.untilMs > nowMs).sort((a, b) => b.sinceMs - a.sinceMs)
  }

  /** Puts a member in, for a day the first time. Does nothing while it is in already. */
  impose(key: AgentKey, address: string | null): void {
    this.#enter(key, { address, reason: 'false-statement' })
  }

  /** A member connected: whoever shares the address of one that is in is in too, as far as addresses count. */
  meet(key: AgentKey, address: string): void {
    if (this.#options.hasRoster || isShared(address)) return
    const other = this.list().find((entry) => entry.address === address && entry.reason === 'false-statement')
    if (other !== undefined && other.key !== key) {
      this.#enter(key, { address, reason: 'same-address', untilMs: other.untilMs })
    }
  }

  /** Lets a member out, and whoever was put in for its address. @returns how many it let out */
  lift(key: AgentKey): number {
    const entry = this.#entries.get(key)
    if (entry === undefined) return 0
    let count = 0
    for (const other of [...this.#entries.values()]) {
      const isNamesake = other.reason === 'same-address' && entry.address !== null && other.address === entry.address
      if (other.key !== key && !isNamesake) continue
      this.#entries.delete(other.key)
      count++
    }
    this.#save()
    return count
  }

  /** Calls back with each member that is put in. */
  on(listener: (key: AgentKey) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async close(): Promise<void> {
    await this.#writing
  }

  #enter(
    key: AgentKey,
    why: { readonly address: string | null; readonly reason: QuarantineEntry['reason']; readonly untilMs?: number },
  ): void {
    if (this.has(key)) return
    const nowMs = this.#clock.nowMs()
    const count = (this.#entries.get(key)?.count ?? 0) + 1
    const termMs = Math.min(LONGEST_TERM_MS, FIRST_TERM_MS * 2 ** (count - 1))
    const untilMs = why.untilMs ?? nowMs + termMs
    this.#entries.delete(key)
    if (this.#entries.size >= MAX_ENTRIES) this.#forgetOne()
    this.#entries.set(key, { key, address: why.address, sinceMs: nowMs, untilMs, count, reason: why.reason })
    this.#log.error(
      { code: 'SHORTHAUL_PEER_LIED', peerId: key, address: why.address, reason: why.reason, untilMs },
      'member in quarantine',
    )
    this.#save()
    for (const listener of this.#listeners) listener(key)
  }

  #forgetOne(): void {
    let first: QuarantineEntry | undefined
    for (const entry of this.#entries.values()) if (first === undefined || entry.untilMs < first.untilMs) first = entry
    if (first !== undefined) this.#entries.delete(first.key)
  }

  #save(): void {
    const text = `${JSON.stringify({ format: FORMAT, entries: [...this.#entries.values()] })}\n`
    this.#writing = this.#writing
      .then(() => putDurably(this.#options.path, Buffer.from(text)))
      .catch((err: unknown) => this.#log.error({ err, path: this.#options.path }, 'quarantine not written'))
  }
}

/** Of a machine that runs several agents; tests and the demo do. */
function isShared(address: string): boolean {
  return address.startsWith('127.')
}

/** @throws when it is not what we write */
function parseEntries(text: string): QuarantineEntry[] {
  if (text.length > MAX_FILE_BYTES) throw new Error(`it has ${text.length} characters`)
  const file = JSON.parse(text) as { format?: unknown; entries?: unknown }
  if (file.format !== FORMAT || !Array.isArray(file.entries)) throw new Error('it has another format')
  return file.entries.slice(0, MAX_ENTRIES).map(parseEntry)
}

function parseEntry(value: unknown): QuarantineEntry {
  const given = (value ?? {}) as Partial<Record<keyof QuarantineEntry, unknown>>
  const key = typeof given.key === 'string' ? parseId<AgentKey>(given.key) : null
  const { address, sinceMs, untilMs, count, reason } = given
  const isWhole =
    (address === null || typeof address === 'string') &&
    typeof sinceMs === 'number' &&
    typeof untilMs === 'number' &&
    typeof count === 'number' &&
    (reason === 'false-statement' || reason === 'same-address')
  if (key === null || !isWhole) throw new Error('an entry is damaged')
  return { key, address, sinceMs, untilMs, count, reason }
}
