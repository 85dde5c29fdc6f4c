/** A trial: for a moment more is read than the line is believed to give, to see whether it gives more. */
import type { DelayView } from '../delay-estimator.ts'
import type { WanSample } from '../wan-sample.ts'
import { comesMoreThan, type Line } from './line.ts'
import { QueueSuspicion } from './queue-suspicion.ts'

const TRIAL_MS = 400
/** What was read in the last 200 ms was then read at the rate that is tried. */
export const LOOK_MS = 200
const FOUND_RATIO = 1.03
const COMES_RATIO = 0.97

export type TrialResult =
  | { readonly is: 'running' }
  /** The queue says that the line is not faster. */
  | { readonly is: 'queued'; readonly delay: DelayView }
  | {
      readonly is: 'over'
      readonly isFaster: boolean
      /** Bytes per second that came off the line, and that were read. */
      readonly found: number
      readonly read: number
    }

export class Trial {
  /** Read, of what the line is believed to give. */
  readonly step: number
  readonly #line: Line
  readonly #fromMs: number
  readonly #untilMs: number
  readonly #seen: number[] = []
  readonly #suspicion = new QueueSuspicion()

  /** @param step above 1 */
  constructor(line: Line, { nowMs, delay }: WanSample, step: number) {
    this.#line = line
    this.step = step
    this.#fromMs = nowMs
    this.#untilMs = nowMs + (delay?.baseMs ?? 100) + TRIAL_MS
  }

  /** @param capacity that the line is believed to have */
  look(sample: WanSample, capacity: number): TrialResult {
    const { nowMs, bytesPerSec, delay, arrivedBytesPerSec } = sample
    // As long as all that is read comes, a queue is not of our making.
    const isOurs = !isAllComing(sample)
    const suspicion = this.#line.suspect(this.#suspicion, sample)
    if (delay !== null && (this.#line.isHot(delay) || (isOurs && suspicion === 'sure'))) return { is: 'queued', delay }
    if (nowMs > this.#fromMs + LOOK_MS) this.#seen.push(bytesPerSec.last200Ms)
    if (nowMs < this.#untilMs || suspicion === 'suspected') return { is: 'running' }
    // What is read may come out of the kernel for a while; what the line gives is what arrives.
    const read = mean(this.#seen)
    const found = Math.min(read, arrivedBytesPerSec ?? read)
    return { is: 'over', isFaster: suspicion === 'none' && found > FOUND_RATIO * capacity, found, read }
  }
}

/** All that is read comes, or nearly. */
export function isAllComing(sample: WanSample): boolean {
  return comesMoreThan(sample, COMES_RATIO)
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, one) => sum + one, 0) / Math.max(1, values.length)
}
