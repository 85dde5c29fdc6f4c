/**
 * What this agent moved, by source, today and in all: the numbers that let an admin believe that it works. Kept in one
 * small JSON file, replaced atomically; a crash loses at most the last seconds.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'

export interface LedgerTotals {
  readonly cacheBytes: number
  readonly peerBytes: number
  readonly originBytes: number
  readonly wastedBytes: number
  /** Had from origins to compare with what neighbours gave or said. */
  readonly checkedBytes: number
  /** Sent to neighbours. */
  readonly servedBytes: number
  readonly fetchCount: number
  readonly failedCount: number
}

type Day = { -readonly [K in keyof LedgerTotals]: LedgerTotals[K] }

const FLUSH_INTERVAL_MS = 5000
const KEEP_DAYS = 90
const FORMAT = 1

function emptyDay(): Day {
  return {
    cacheBytes: 0,
    peerBytes: 0,
    originBytes: 0,
    wastedBytes: 0,
    checkedBytes: 0,
    servedBytes: 0,
    fetchCount: 0,
    failedCount: 0,
  }
}

export class Ledger {
  readonly #clock: Clock
  readonly #log: Logger
  readonly #path: string
  readonly #days: Map<string, Day>
  #total: Day
  #isDirty = false
  #timer: NodeJS.Timeout | null = null
  #writing: Promise<void> = Promise.resolve()

  private constructor(
    components: { clock: Clock; log: Logger },
    state: { path: string; total: Day; days: Map<string, Day> },
  ) {
    this.#clock = components.clock
    this.#log = components.log.child({ module: 'ledger' })
    this.#path = state.path
    this.#total = state.total
    this.#days = state.days
  }

  /** A file that is missing or cannot be read starts a new ledger: figures are worth a warning, not a failure. */
  static async open(components: { clock: Clock; log: Logger }, path: string): Promise<Ledger> {
    const days = new Map<string, Day>()
    let total = emptyDay()
    try {
      const parsed: unknown = JSON.parse(await readFile(path, 'utf8'))
      const file = parsed as { format?: unknown; total?: unknown; days?: Record<string, unknown> }
      if (file.format === FORMAT) {
        total = dayOf(file.total)
        for (const [date, day] of Object.entries(file.days ?? {})) days.set(date, dayOf(day))
      }
    } catch (err) {
      if ((err as { code?: unknown }).code !== 'ENOENT')
        components.log.warn({ err, path }, 'ledger not readable, starting a new one')
    }
    return new Ledger(components, { path, total, days })
  }

  add(change: Partial<LedgerTotals>): void {
    const today = this.#today()
    for (const key of Object.keys(this.#total) as (keyof Day)[]) {
      const amount = change[key] ?? 0
      this.#total[key] += amount
      today[key] += amount
    }
    this.#isDirty = true
    this.#timer ??= setTimeout(() => {
      this.#timer = null
      this.#flush()
    }, FLUSH_INTERVAL_MS).unref()
  }

  view(): { readonly today: LedgerTotals; readonly total: LedgerTotals } {
    return { today: { ...this.#today() }, total: { ...this.#total } }
  }

  async close(): Promise<void> {
    if (this.#timer) clearTimeout(this.#timer)
    this.#timer = null
    this.#flush()
    await this.#writing
  }

  #today(): Day {
    const date = new Date(this.#clock.nowMs()).toISOString().slice(0, 10)
    let day = this.#days.get(date)
    if (!day) {
      day = emptyDay()
      this.#days.set(date, day)
      for (const old of [...this.#days.keys()].sort().slice(0, -KEEP_DAYS)) this.#days.delete(old)
    }
    return day
  }

  #flush(): void {
    if (!this.#isDirty) return
    this.#isDirty = false
    const text = JSON.stringify({ format: FORMAT, total: this.#total, days: Object.fromEntries(this.#days) })
    this.#writing = this.#writing
      .then(async () => {
        await mkdir(dirname(this.#path), { recursive: true })
        await writeFile(`${this.#path}.new`, text, { mode: 0o600 })
        await rename(`${this.#path}.new`, this.#path)
      })
      .catch((err: unknown) => {
        this.#isDirty = true // the next flush writes these figures too
        this.#log.warn({ err, path: this.#path }, 'ledger not written')
      })
  }
}

function dayOf(value: unknown): Day {
  const day = emptyDay()
  if (typeof value !== 'object' || value === null) return day
  for (const key of Object.keys(day) as (keyof Day)[]) {
    const amount = (value as Record<string, unknown>)[key]
    if (typeof amount === 'number' && Number.isFinite(amount) && amount >= 0) day[key] = amount
  }
  return day
}
