/**
 * Virtual time: a heap of events, four below each. Events of the same moment run in the order in which they were entered.
 * Times, orders and events lie in arrays of their own: sifting looks at numbers only.
 */
const WIDTH = 4

export class EventQueue {
  readonly #times: number[] = []
  readonly #orders: number[] = []
  readonly #runs: (() => void)[] = []
  #nowMs = 0
  #order = 0

  get nowMs(): number {
    return this.#nowMs
  }

  after(delayMs: number, run: () => void): void {
    this.at(this.#nowMs + delayMs, run)
  }

  at(atMs: number, run: () => void): void {
    const timeMs = Math.max(atMs, this.#nowMs)
    const order = this.#order++
    let at = this.#runs.length
    while (at > 0) {
      const parent = (at - 1) >> 2
      if ((this.#times[parent] ?? 0) <= timeMs) break // an equal one was entered before
      this.#move(parent, at)
      at = parent
    }
    this.#put(at, timeMs, order, run)
  }

  /** Runs events until there is none, time is up, or `isDone` says so. @returns the number of events that ran */
  run(options: { readonly untilMs: number; readonly isDone: () => boolean }): number {
    let count = 0
    while (this.#runs.length > 0 && !options.isDone()) {
      const atMs = this.#times[0] ?? 0
      if (atMs > options.untilMs) break
      const run = this.#pop()
      this.#nowMs = atMs
      run?.()
      count++
    }
    return count
  }

  #pop(): (() => void) | undefined {
    const first = this.#runs[0]
    const timeMs = this.#times.pop() ?? 0
    const order = this.#orders.pop() ?? 0
    const run = this.#runs.pop()
    const length = this.#runs.length
    if (!run || length === 0) return first
    let at = 0
    for (;;) {
      const child = this.#firstBelow(at)
      if (child === -1 || this.#isBefore(timeMs, order, child)) break
      this.#move(child, at)
      at = child
    }
    this.#put(at, timeMs, order, run)
    return first
  }

  /** The earliest of the events below, or -1. */
  #firstBelow(parent: number): number {
    const start = parent * WIDTH + 1
    const end = Math.min(start + WIDTH, this.#times.length)
    if (start >= end) return -1
    let first = start
    for (let at = start + 1; at < end; at++) {
      if (this.#isBefore(this.#times[at] ?? 0, this.#orders[at] ?? 0, first)) first = at
    }
    return first
  }

  #isBefore(timeMs: number, order: number, other: number): boolean {
    const otherMs = this.#times[other] ?? 0
    return timeMs < otherMs || (timeMs === otherMs && order < (this.#orders[other] ?? 0))
  }

  #move(from: number, to: number): void {
    this.#put(to, this.#times[from] ?? 0, this.#orders[from] ?? 0, this.#runs[from] as () => void)
  }

  #put(at: number, timeMs: number, order: number, run: () => void): void {
    this.#times[at] = timeMs
    this.#orders[at] = order
    this.#runs[at] = run
  }
}
