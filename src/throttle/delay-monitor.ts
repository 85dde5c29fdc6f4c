/**
 * Keeps a probe going to where the bytes come from, on a connection of its own, and says what queues in between. On the
 * connection of the bytes the answer would wait behind them in the sender's own buffer.
 */
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import { DelayEstimator, type DelayView } from './delay-estimator.ts'

/** What it took from question to answer: a round trip, or those that make a connection as well. */
export type ProbeAnswer = 'round-trip' | 'with-connection'

export interface DelayProbe {
  /** One small question and its answer, whatever it says. @throws when there is none */
  roundTrip(options: { readonly signal: AbortSignal }): Promise<ProbeAnswer>
  close(): Promise<void>
}

const TIMEOUT_MS = 2000
/** So many questions without an answer: nobody answers there, which says nothing about the line. */
const MAX_TIMEOUTS = 3
const FIRST_RETRY_MS = 1000
const MAX_RETRY_MS = 30_000
/** Ways that are remembered; the one used longest ago is forgotten. */
const MAX_PATHS = 16
/**
 * Samples that are thrown away in a row, because this process was busy or a connection had to be made; then they count all
 * the same: it may be the line that makes us late, and some origins close after each answer.
 */
const MAX_LATE = 3

export class DelayMonitor {
  readonly #clock: Clock
  readonly #log: Logger
  readonly #isLate: () => boolean
  readonly #isQuiet: () => boolean
  /** Of each way, what was learnt: the one used longest ago comes first. */
  readonly #estimators = new Map<string, DelayEstimator>()
  #estimator = new DelayEstimator()
  #running: AbortController | null = null
  #loop: Promise<void> = Promise.resolve()
  #askedAtMs: number | null = null
  #isSilent = true
  #lateCount = 0
  #intervalMs = 1000

  /**
   * @param options.isLate this process was busy a moment ago, so that what it measures is its own delay
   * @param options.isQuiet so little is read that nothing of ours can queue
   */
  constructor(components: { clock: Clock; log: Logger }, options: { isLate: () => boolean; isQuiet: () => boolean }) {
    this.#clock = components.clock
    this.#log = components.log
    this.#isLate = options.isLate
    this.#isQuiet = options.isQuiet
  }

  get isRunning(): boolean {
    return this.#running !== null
  }

  /** Null: nobody answers, or not yet. */
  view(): DelayView | null {
    if (this.#isSilent) return null
    const pendingMs = this.#askedAtMs === null ? 0 : this.#clock.monotonicMs() - this.#askedAtMs
    return this.#estimator.view(pendingMs)
  }

  spreadMs(): number | null {
    return this.#isSilent ? null : this.#estimator.spreadMs(this.#clock.monotonicMs())
  }

  rebase(): void {
    this.#estimator.rebase(this.#clock.monotonicMs())
  }

  reset(): void {
    for (const estimator of this.#estimators.values()) estimator.reset()
  }

  setInterval(intervalMs: number): void {
    this.#intervalMs = intervalMs
  }

  /** What an empty line is like on this way was learnt, and not forgotten yet. */
  knows(path: string): boolean {
    return this.#estimators.get(path)?.view(0) != null
  }

  /**
   * Asks there from now on.
   * @param path where to: an empty line is as long as the way, and so is known for each; what was learnt is kept
   */
  start(probe: DelayProbe, path: string): void {
    this.stop()
    this.#estimator = this.#estimatorOf(path)
    const running = new AbortController()
    this.#running = running
    this.#loop = this.#loop.then(() => this.#run(probe, running.signal))
  }

  stop(): void {
    this.#running?.abort()
    this.#running = null
    this.#isSilent = true
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.stop()
    await this.#loop
  }

  #estimatorOf(path: string): DelayEstimator {
    const estimator = this.#estimators.get(path) ?? new DelayEstimator()
    this.#estimators.delete(path)
    this.#estimators.set(path, estimator)
    const [oldest] = this.#estimators.keys()
    if (oldest !== undefined && this.#estimators.size > MAX_PATHS) this.#estimators.delete(oldest)
    return estimator
  }

  async #run(probe: DelayProbe, signal: AbortSignal): Promise<void> {
    let failures = 0
    let retryMs = FIRST_RETRY_MS
    try {
      while (!signal.aborted) {
        const askedAtMs = this.#clock.monotonicMs()
        this.#askedAtMs = askedAtMs
        try {
          const answer = await this.#ask(probe, signal)
          if (signal.aborted) return // the answer came all the same, and nobody wants it
          failures = 0
          retryMs = FIRST_RETRY_MS
          this.#answered(answer, this.#clock.monotonicMs() - askedAtMs)
        } catch (err) {
          if (signal.aborted) return
          failures++
          if (failures === MAX_TIMEOUTS) this.#log.info({ err }, 'no delay probe: going by the network card alone')
          if (failures >= MAX_TIMEOUTS) this.#isSilent = true
        }
        this.#askedAtMs = null
        const restMs = this.#intervalMs - (this.#clock.monotonicMs() - askedAtMs)
        const waitMs = failures >= MAX_TIMEOUTS ? retryMs : Math.max(1, restMs)
        if (failures >= MAX_TIMEOUTS) retryMs = Math.min(MAX_RETRY_MS, retryMs * 2)
        await this.#clock.sleep(waitMs, { signal }).catch(() => {})
      }
    } finally {
      this.#askedAtMs = null
      await probe.close().catch((err: unknown) => this.#log.debug({ err }, 'delay probe did not close'))
    }
  }

  /** @throws when there is no answer in time */
  async #ask(probe: DelayProbe, signal: AbortSignal): Promise<ProbeAnswer> {
    const late = new AbortController()
    const answered = new AbortController()
    this.#clock.sleep(TIMEOUT_MS, { signal: answered.signal }).then(
      () => late.abort(NO_ANSWER),
      () => {}, // it came
    )
    try {
      return await probe.roundTrip({ signal: AbortSignal.any([signal, late.signal]) })
    } finally {
      answered.abort(ANSWERED)
    }
  }

  #answered(answer: ProbeAnswer, rttMs: number): void {
    const isMore = answer === 'with-connection' || this.#isLate()
    if (isMore && ++this.#lateCount <= MAX_LATE) return
    this.#lateCount = 0
    this.#estimator.add(rttMs, this.#clock.monotonicMs(), this.#isQuiet())
    this.#isSilent = false
  }
}

/** Given, because the DOMException that stands in for none costs a stack. */
const NO_ANSWER = new Error('No answer in time')
const ANSWERED = new Error('Answered')
