/**
 * The one clock and the one order of a simulated world: whatever is asynchronous in it waits here, and one event happens
 * after the other, in the order of virtual time and, at one moment, in an order that the seed decides.
 *
 * Between two events all that waits only for other promises happens. That is a fixed number of turns of Node's event loop:
 * as long as nothing waits for real I/O or a real timer, the same seed gives the same order to the last message.
 */
import { createHash } from 'node:crypto'
import { type Clock, type Random, seededRandom } from '../../src/clock.ts'

interface Event {
  readonly atMs: number
  readonly tie: number
  readonly number: number
  readonly run: () => void
  isCancelled: boolean
}

/** The code under test waits for the next turn of the event loop at one place; after that it may send and be answered. */
const TURNS_PER_EVENT = 3
/** Of the wall clock when a world begins. */
const EPOCH_MS = 1_700_000_000_000

export class Scheduler {
  readonly seed: number
  readonly random: Random
  /** What happened, a line for each thing; the same for the same seed. */
  readonly trace: string[] = []
  readonly #hash = createHash('sha256')
  readonly #events: Event[] = []
  readonly #ties: Random
  #nowMs = 0
  #count = 0

  constructor(seed: number) {
    this.seed = seed
    this.random = seededRandom(seed)
    this.#ties = seededRandom(seed ^ 0x5eed)
  }

  get nowMs(): number {
    return this.#nowMs
  }

  get eventCount(): number {
    return this.#count
  }

  note(text: string): void {
    const line = `${this.#nowMs.toFixed(3)} ${text}`
    this.#hash.update(`${line}\n`)
    this.trace.push(line)
  }

  /** Of the whole trace so far. */
  digest(): string {
    return this.#hash.copy().digest('hex')
  }

  /** @returns what cancels it */
  schedule(delayMs: number, run: () => void): () => void {
    const atMs = this.#nowMs + Math.max(0, delayMs)
    const event: Event = { atMs, tie: this.#ties(), number: this.#count++, run, isCancelled: false }
    push(this.#events, event)
    return () => {
      event.isCancelled = true
    }
  }

  /** Uniform in [from, to). */
  between(from: number, to: number): number {
    return from + this.random() * (to - from)
  }

  whole(from: number, to: number): number {
    return Math.floor(this.between(from, to))
  }

  chance(probability: number): boolean {
    return this.random() < probability
  }

  pick<T>(choices: readonly T[]): T {
    const found = choices[Math.floor(this.random() * choices.length)]
    if (found === undefined) throw new Error('There is nothing to choose from')
    return found
  }

  /**
   * Lets events happen until `isOver`, or until `limitMs` of virtual time.
   * @param afterEach called after each event, when everything that it led to at once has happened; what it throws ends the run
   * @returns whether it is over
   */
  async run(isOver: () => boolean, limitMs: number, afterEach: () => void): Promise<boolean> {
    await settled()
    while (!isOver()) {
      const event = pop(this.#events)
      if (event === null) return false
      if (event.isCancelled) continue
      if (event.atMs > limitMs) {
        push(this.#events, event)
        this.#nowMs = limitMs
        return false
      }
      this.#nowMs = event.atMs
      event.run()
      await settled()
      afterEach()
    }
    return true
  }
}

/** The clock of one run of one machine: when that dies, nothing of it wakes any more. */
export class SimulatedClock implements Clock {
  /** Of the wall clock, which may be set. */
  stepMs = 0
  readonly #scheduler: Scheduler
  readonly #isAlive: () => boolean
  #sleeperCount = 0

  constructor(scheduler: Scheduler, isAlive: () => boolean = () => true) {
    this.#scheduler = scheduler
    this.#isAlive = isAlive
  }

  /** Who sleeps at this moment: nobody, when all is over. */
  get sleeperCount(): number {
    return this.#sleeperCount
  }

  nowMs(): number {
    return EPOCH_MS + Math.floor(this.#scheduler.nowMs) + this.stepMs
  }

  monotonicMs(): number {
    return this.#scheduler.nowMs
  }

  sleep(delayMs: number, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason)
        return
      }
      this.#sleeperCount++
      const onAbort = () => {
        cancel()
        this.#sleeperCount--
        reject(signal?.reason)
      }
      const cancel = this.#scheduler.schedule(delayMs, () => {
        if (!this.#isAlive()) return
        signal?.removeEventListener('abort', onAbort)
        this.#sleeperCount--
        resolve()
      })
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  /** A wait of the outside world: lasts until its time has come, and for ever when the machine dies before. */
  wait(fromMs: number, toMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#scheduler.schedule(this.#scheduler.between(fromMs, toMs), () => {
        if (this.#isAlive()) resolve()
      })
    })
  }
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < TURNS_PER_EVENT; turn++) await new Promise((resolve) => setImmediate(resolve))
}

function isBefore(one: Event, other: Event): boolean {
  if (one.atMs !== other.atMs) return one.atMs < other.atMs
  return one.tie !== other.tie ? one.tie < other.tie : one.number < other.number
}

/** A binary heap: the first event is at 0. */
function push(heap: Event[], event: Event): void {
  let at = heap.push(event) - 1
  while (at > 0) {
    const above = (at - 1) >> 1
    const parent = heap[above]
    if (!parent || !isBefore(event, parent)) break
    heap[at] = parent
    at = above
  }
  heap[at] = event
}

function pop(heap: Event[]): Event | null {
  const first = heap[0]
  const last = heap.pop()
  if (first === undefined || last === undefined) return null
  if (heap.length === 0) return first
  let at = 0
  for (;;) {
    const left = 2 * at + 1
    const right = left + 1
    const [leftEvent, rightEvent] = [heap[left], heap[right]]
    if (!leftEvent) break
    const [below, child] = rightEvent && isBefore(rightEvent, leftEvent) ? [right, rightEvent] : [left, leftEvent]
    if (!isBefore(child, last)) break
    heap[at] = child
    at = below
  }
  heap[at] = last
  return first
}
