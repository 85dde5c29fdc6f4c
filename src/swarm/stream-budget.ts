/**
 * How many connections to the origin the crowd has in all. Pure: (progress, now) -> budget.
 *
 * A few are enough for a line that is the bottleneck. An origin that limits each connection shows itself by doubling: the
 * rate grows with the number, and as long as it does, the number may grow too. Only the lead (the first fetcher) tries; the
 * others follow its word, because a fetcher that only looks at itself would take from the others and call it growth.
 */

/** What a browser opens to one host. */
export const INITIAL_STREAMS = 6
export const MAX_STREAMS = 16
/** After a change of the number: slow start, and rates that are told late, are over. */
const SETTLE_MS = 1500
const SAMPLES_MS = 700
const MIN_SAMPLES = 8
const GROWTH_RATIO = 1.1
/** After a trial that gained nothing: things may have changed after so long. */
const REST_MS = 30_000

export class StreamBudget {
  #value: number
  #max: number
  /** Rate with the number before the trial that runs; null: no trial. */
  #baseline: { readonly value: number; readonly bytesPerSec: number } | null = null
  #sinceMs: number | null = null
  #samples: number[] = []
  #restUntilMs = 0

  constructor(options: { readonly initial?: number; readonly max?: number } = {}) {
    this.#max = options.max ?? MAX_STREAMS
    this.#value = Math.min(options.initial ?? INITIAL_STREAMS, this.#max)
  }

  get value(): number {
    return this.#value
  }

  /** An origin without ranges: one stream does it all. */
  limit(max: number): void {
    this.#max = max
    this.#value = Math.min(this.#value, max)
    this.#baseline = null
  }

  /** Another agent led until now: go on with its number, without a trial for a while. */
  adopt(value: number, nowMs: number): void {
    if (value === this.#value) return
    this.#value = Math.max(1, Math.min(value, this.#max))
    this.#baseline = null
    this.#restart(null)
    this.#restUntilMs = nowMs + REST_MS / 10
  }

  /**
   * To be called some 20 times per second.
   * @param crowd.bytesPerSec of all fetchers together
   * @param crowd.isBusy as many streams as the budget allows run, no fewer and no more: only then does the rate say
   *   anything about their number
   */
  update(crowd: { readonly bytesPerSec: number; readonly isBusy: boolean }, nowMs: number): void {
    if (!crowd.isBusy || crowd.bytesPerSec === 0 || nowMs < this.#restUntilMs) return
    this.#sinceMs ??= nowMs
    const settledMs = nowMs - this.#sinceMs - SETTLE_MS
    if (settledMs < 0) return
    this.#samples.push(crowd.bytesPerSec)
    if (settledMs < SAMPLES_MS || this.#samples.length < MIN_SAMPLES) return
    this.#decide(this.#samples.reduce((sum, sample) => sum + sample, 0) / this.#samples.length, nowMs)
  }

  #decide(bytesPerSec: number, nowMs: number): void {
    if (this.#baseline && bytesPerSec < this.#baseline.bytesPerSec * GROWTH_RATIO) {
      this.#value = this.#baseline.value
      this.#baseline = null
      this.#restUntilMs = nowMs + REST_MS
    } else if (this.#value < this.#max) {
      this.#baseline = { value: this.#value, bytesPerSec }
      this.#value = Math.min(this.#max, this.#value * 2)
    } else {
      this.#baseline = null
      this.#restUntilMs = nowMs + REST_MS
    }
    this.#restart(this.#restUntilMs > nowMs ? null : nowMs)
  }

  #restart(sinceMs: number | null): void {
    this.#sinceMs = sinceMs
    this.#samples = []
  }
}
