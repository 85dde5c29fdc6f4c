/** Which parts of our source have run, by V8's own count of blocks. Halves the speed: only for guided runs. */
import { type Profiler, Session } from 'node:inspector'

/** By script: 1 for each character that ran. V8 leaves out blocks that ran as often as what is around them. */
export type Ran = ReadonlyMap<string, Uint8Array>

export class BlockCoverage {
  readonly #session = new Session()
  readonly #covers: readonly string[]
  readonly #seen = new Map<string, Uint8Array>()
  #charCount = 0

  /** @param covers parts of the paths of files below src/ */
  constructor(covers: readonly string[]) {
    this.#covers = covers.map((part) => `/src/${part}`)
    this.#session.connect()
    this.#session.post('Profiler.enable')
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  }

  /** Characters of code that ran so far, in what is made of the source. */
  get charCount(): number {
    return this.#charCount
  }

  /** What ran since the last time; asking begins anew. */
  take(): Ran {
    const ran = new Map<string, Uint8Array>()
    // A session of the same process answers before `post` returns.
    this.#session.post('Profiler.takePreciseCoverage', (error, answer) => {
      if (error) throw error
      for (const { url, functions } of answer.result) {
        if (this.#covers.some((part) => url.includes(part))) ran.set(url, charsThatRan(functions))
      }
    })
    return ran
  }

  hasNew(ran: Ran): boolean {
    for (const [url, chars] of ran) {
      const seen = this.#seen.get(url)
      if (chars.some((hasRun, at) => hasRun === 1 && seen?.[at] !== 1)) return true
    }
    return false
  }

  enter(ran: Ran): void {
    for (const [url, chars] of ran) {
      const seen = this.#seen.get(url) ?? new Uint8Array(0)
      const both = new Uint8Array(Math.max(seen.length, chars.length))
      both.set(seen)
      for (const [at, hasRun] of chars.entries()) {
        if (hasRun === 1 && both[at] === 0) {
          both[at] = 1
          this.#charCount++
        }
      }
      this.#seen.set(url, both)
    }
  }

  stop(): void {
    this.#session.post('Profiler.stopPreciseCoverage')
    this.#session.disconnect()
  }
}

/** Outer functions and blocks come before inner ones. */
function charsThatRan(functions: readonly Profiler.FunctionCoverage[]): Uint8Array {
  const ranges = functions.flatMap((each) => each.ranges)
  const chars = new Uint8Array(Math.max(0, ...ranges.map(({ endOffset }) => endOffset)))
  for (const { startOffset, endOffset, count } of ranges) chars.fill(count > 0 ? 1 : 0, startOffset, endOffset)
  return chars
}
