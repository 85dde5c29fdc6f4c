/** Virtual time: a binary heap of events. Events of the same moment run in the order in which they were entered. */

interface Event {
  readonly atMs: number
  readonly order: number
  readonly run: () => void
}

export class EventQueue {
  readonly #heap: Event[] = []
  #nowMs = 0
  #order = 0

  get nowMs(): number {
    return this.#nowMs
  }

  after(delayMs: number, run: () => void): void {
    this.at(this.#nowMs + delayMs, run)
  }

  at(atMs: number, run: () => void): void {
    const heap = this.#heap
    const event: Event = { atMs: Math.max(atMs, this.#nowMs), order: this.#order++, run }
    let at = heap.length
    heap.push(event)
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = heap[parent] as Event
      if (isBefore(above, event)) break
      heap[at] = above
      at = parent
    }
    heap[at] = event
  }

  /** Runs events until there is none, time is up, or `isDone` says so. @returns the number of events that ran */
  run(options: { readonly untilMs: number; readonly isDone: () => boolean }): number {
    let count = 0
    while (this.#heap.length > 0 && !options.isDone()) {
      const event = this.#pop()
      if (event.atMs > options.untilMs) break
      this.#nowMs = event.atMs
      event.run()
      count++
    }
    return count
  }

  #pop(): Event {
    const heap = this.#heap
    const first = heap[0] as Event
    const last = heap.pop() as Event
    if (heap.length === 0) return first
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Event, heap[child] as Event)) child++
      if (isBefore(last, heap[child] as Event)) break
      heap[at] = heap[child] as Event
      at = child
    }
    heap[at] = last
    return first
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}
