/** Order and lifetime of the store's asynchronous work. */
import { abortError } from '../errors.ts'

/** Runs tasks one after the other: the index has one writer. A failed task does not stop the next. */
export class Serial {
  #tail: Promise<unknown> = Promise.resolve()

  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(task)
    this.#tail = result.catch(() => undefined)
    return result
  }
}

/** Counts work in progress, so that closing can wait for it. */
export class Gate {
  #count = 0
  #onEmpty: (() => void) | null = null

  async pass<T>(task: () => Promise<T>): Promise<T> {
    this.#count++
    try {
      return await task()
    } finally {
      this.#count--
      if (this.#count === 0) this.#onEmpty?.()
    }
  }

  /** Resolves when nothing is inside; the caller lets nothing new in. */
  empty(): Promise<void> {
    if (this.#count === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#onEmpty = resolve
    })
  }
}

/** The promise's result, unless the signal aborts first; the work behind it goes on for others who wait for it. */
export async function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  promise.catch(() => {}) // nobody waits for it when the signal is first
  if (signal.aborted) throw abortError(signal)
  let onAbort: (() => void) | undefined
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(abortError(signal))
    signal.addEventListener('abort', onAbort, { once: true })
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    if (onAbort) signal.removeEventListener('abort', onAbort)
  }
}
