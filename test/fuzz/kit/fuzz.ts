/**
 * The loop: what is kept first, then inputs that the target makes and inputs that are changed. Guided, it also keeps those
 * that reach a block which none before has reached, and changes them on.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { InputCheck } from './check.ts'
import { readCorpus } from './corpus.ts'
import { BlockCoverage } from './coverage.ts'
import { mutate } from './mutate.ts'
import { Seeded } from './seeded.ts'
import { type FuzzTarget, latin1 } from './target.ts'

const BATCH = 256
const DEFAULT_MAX_BYTES = 4096
/** Then it goes on without: nearly all that can be reached was reached, and counting halves the speed. */
const GUIDED_RUNS = 50_000
/** Made a moment ago: what is changed is not always the same. */
const MAX_RECENT = 64

export interface FuzzOptions {
  readonly runs: number
  readonly seed: number
  /** Keeps what reaches new blocks. */
  readonly isGuided?: boolean
  readonly maxMs?: number
  /** Called after each batch. */
  readonly onProgress?: (report: FuzzReport) => void
}

export interface FuzzFailure {
  readonly input: Buffer
  readonly error: Error
}

export interface FuzzReport {
  runs: number
  accepted: number
  refused: number
  elapsedMs: number
  coveredChars: number
  failure: FuzzFailure | null
  /** Reached new blocks, in this run. */
  readonly kept: Buffer[]
  /** After a collection, a tenth into the run and at its end: what is not given back grows. */
  earlyHeapBytes: number
  lateHeapBytes: number
}

export async function fuzz(target: FuzzTarget, options: FuzzOptions): Promise<FuzzReport> {
  const run = new FuzzRun(target, options)
  return run.run()
}

/** One input; null: nothing is broken. */
export async function tryInput(target: FuzzTarget, input: Uint8Array): Promise<Error | null> {
  const check = new InputCheck(target)
  try {
    const verdict = await check.run(input)
    return verdict instanceof Error ? verdict : await check.stray()
  } finally {
    await check.close()
  }
}

class FuzzRun {
  readonly #target: FuzzTarget
  readonly #options: FuzzOptions
  readonly #random: Seeded
  readonly #check: InputCheck
  #coverage: BlockCoverage | null
  readonly #pool: Buffer[]
  readonly #recent: Buffer[] = []
  readonly #tokens: readonly Buffer[]
  readonly #startedMs = performance.now()
  readonly #report: FuzzReport = {
    runs: 0,
    accepted: 0,
    refused: 0,
    elapsedMs: 0,
    coveredChars: 0,
    failure: null,
    kept: [],
    earlyHeapBytes: 0,
    lateHeapBytes: 0,
  }

  constructor(target: FuzzTarget, options: FuzzOptions) {
    this.#target = target
    this.#options = options
    this.#random = new Seeded(options.seed)
    this.#pool = [...target.seeds.map((seed) => Buffer.from(seed)), ...readCorpus(target.name)]
    this.#tokens = (target.tokens ?? []).map(latin1)
    this.#check = new InputCheck(target)
    this.#coverage = options.isGuided ? new BlockCoverage(target.covers) : null
  }

  async run(): Promise<FuzzReport> {
    const { runs, maxMs = Number.POSITIVE_INFINITY, onProgress } = this.#options
    const report = this.#report
    try {
      let batch = [...this.#pool]
      while (report.failure === null) {
        await this.#runBatch(batch)
        report.elapsedMs = performance.now() - this.#startedMs
        onProgress?.(report)
        if (report.earlyHeapBytes === 0 && report.runs * 10 >= runs) report.earlyHeapBytes = usedBytes()
        if (report.runs >= runs || report.elapsedMs >= maxMs) break
        batch = Array.from({ length: Math.min(BATCH, runs - report.runs) }, () => this.#next())
      }
      report.lateHeapBytes = usedBytes()
      return report
    } finally {
      this.#coverage?.stop()
      await this.#check.close()
    }
  }

  async #runBatch(batch: readonly Buffer[]): Promise<void> {
    const report = this.#report
    for (const input of batch) {
      const verdict = await this.#check.run(input)
      report.runs++
      if (verdict instanceof Error) {
        report.failure = { input, error: verdict }
        return
      }
      report[verdict]++
    }
    const stray = await this.#check.stray()
    if (stray !== null) report.failure = { input: await this.#strayInput(batch), error: stray }
    else if (this.#coverage !== null) await this.#keepNew(batch, this.#coverage)
    if (report.runs < GUIDED_RUNS) return
    this.#coverage?.stop()
    this.#coverage = null
  }

  /** Which of them it was; the last one when it does not happen again. */
  async #strayInput(batch: readonly Buffer[]): Promise<Buffer> {
    for (const input of batch) {
      await this.#check.run(input)
      if ((await this.#check.stray()) !== null) return input
    }
    return batch.at(-1) ?? Buffer.alloc(0)
  }

  async #keepNew(batch: readonly Buffer[], coverage: BlockCoverage): Promise<void> {
    const ran = coverage.take()
    if (!coverage.hasNew(ran)) return
    await this.#search(batch, coverage)
    // What did not happen again is not looked for again.
    coverage.enter(ran)
    this.#report.coveredChars = coverage.charCount
  }

  /** By halves: those that reach a new block are kept. */
  async #search(batch: readonly Buffer[], coverage: BlockCoverage): Promise<void> {
    for (const input of batch) await this.#check.run(input)
    const ran = coverage.take()
    if (!coverage.hasNew(ran)) return
    const [only] = batch
    if (batch.length === 1 && only !== undefined) {
      coverage.enter(ran)
      if (!this.#pool.includes(only)) this.#report.kept.push(only)
      this.#pool.push(only)
      return
    }
    const middle = batch.length >> 1
    await this.#search(batch.slice(0, middle), coverage)
    await this.#search(batch.slice(middle), coverage)
  }

  #next(): Buffer {
    const { maxBytes = DEFAULT_MAX_BYTES, repair } = this.#target
    const random = this.#random
    if (random.chance(0.3)) {
      const made = Buffer.from(this.#target.generate(random))
      if (this.#recent.length < MAX_RECENT) this.#recent.push(made)
      else this.#recent[random.below(MAX_RECENT)] = made
      return made
    }
    const recent = this.#recent
    const from = random.pick(random.chance(0.5) ? this.#pool : recent) ?? Buffer.from(this.#target.generate(random))
    const others = random.chance(0.5) ? this.#pool : recent
    const mutated = mutate(from, random, { others, tokens: this.#tokens, maxBytes })
    return repair && random.chance(0.5) ? Buffer.from(repair(Buffer.from(mutated))) : mutated
  }
}

let collect: (() => void) | null = null

/** After a collection. */
function usedBytes(): number {
  if (collect === null) {
    setFlagsFromString('--expose-gc')
    collect = runInNewContext('gc') as () => void // what the flag adds to every new context
  }
  collect()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
