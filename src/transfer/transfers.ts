/**
 * The path of a byte, from end to end: identify, learn, plan and fetch, verify, store, deliver, announce. One call of
 * `run` gets one resource into one target.
 *
 * Does not know jobs, priorities between transfers, or who asks.
 */
import type { Logger } from 'pino'
import { abortError } from '../errors.ts'
import type { Delivery, TransferRequest, TransferResult } from './request.ts'
import type { RunOptions, TransfersComponents, TransfersOptions } from './run-context.ts'
import { TransferRun } from './transfer-run.ts'

export class Transfers {
  readonly #c: TransfersComponents
  readonly #o: TransfersOptions
  readonly #log: Logger

  constructor(components: TransfersComponents, options: TransfersOptions) {
    this.#c = components
    this.#o = options
    this.#log = components.log.child({ module: 'transfer' })
  }

  /**
   * Delivers the whole resource, verified. On failure the delivery is abandoned, so that what can be resumed is kept.
   * @throws SHORTHAUL_ORIGIN_*, SHORTHAUL_DIGEST_MISMATCH, local errors of the delivery, SHORTHAUL_ABORTED
   */
  async run(request: TransferRequest, delivery: Delivery, options: RunOptions): Promise<TransferResult> {
    const { clock } = this.#c
    const startedAtMs = clock.monotonicMs()
    const run = new TransferRun(this.#c, this.#o, { request, delivery, options, log: this.#log })
    const ended = new AbortController()
    try {
      // By the clock and not by what happens: a slow line is heard of too, and a fast one as often as may be.
      void run.reporter.tellProgress(ended.signal)
      const { bytes, sha256, trust } = await run.complete()
      return {
        bytes,
        sha256,
        trust,
        sources: run.tally.sources,
        wastedBytes: run.tally.wastedBytes,
        checkedBytes: run.tally.checkedBytes,
        durationMs: Math.round(clock.monotonicMs() - startedAtMs),
      }
    } catch (error) {
      if (options.signal.aborted) throw abortError(options.signal)
      throw error
    } finally {
      ended.abort()
      await delivery.abandon()
    }
  }
}
