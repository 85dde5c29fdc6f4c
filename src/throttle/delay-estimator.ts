/**
 * What queues before us at the bottleneck: how much later than the shortest round trip of the last minutes the answers
 * to a small probe come. Pure over (round trips, monotonic now).
 *
 * The shortest round trip is kept by the minute, so that a path that has become longer is believed after ten of them;
 * sooner only when the law says so (`rebase`). Source of the constants: measured in the lab, see DESIGN.md "Throttle".
 */

const BUCKET_MS = 60_000
const BUCKETS = 10
/** Samples that tell how far round trips scatter when nothing queues: a busy radio scatters more than a cable. */
const NOISE_SAMPLES = 32
const MIN_NOISE_SAMPLES = 5
const THRESHOLD_MS = { min: 25, max: 80 } as const
const NOISE_FACTOR = 1.5
const NOISE_MARGIN_MS = 10
/** Samples that a change of the base is judged by. */
const RECENT_MS = 8000
/** Long enough for some answers of a line that scatters to find it empty. */
export const LEAST_MS = 600
/** Where answers are rare it takes longer. */
const LEAST_SAMPLES = 3
/** More than this is never empty. */
const KEPT_QUEUE_MS = 4
const KEPT_NOISE_RATIO = 0.5
const MAX_RECENT = 128

export interface DelayView {
  readonly baseMs: number
  /** Of the newest round trip; one that is not answered yet counts with its age when that is more. */
  readonly queueMs: number
  /** The smallest of the last two, or three where round trips scatter: late answers alone are noise, a queue stays. */
  readonly recentQueueMs: number
  /** Of one less: sooner, for what is so much that it need not be looked at so long. */
  readonly soonQueueMs: number
  /** Of one more: surer, for what is so little that it may be chance. */
  readonly standingQueueMs: number
  /** The smallest of the last 0.6 s: of an empty line next to nothing, however much round trips scatter. */
  readonly leastQueueMs: number
  /** Above: somebody else is in the queue, for as long as our own reading is the slowest part of our flow. */
  readonly thresholdMs: number
  /** By how much nine of ten round trips exceed the least of the last few when nobody queues: less than this says nothing. */
  readonly noiseMs: number
}

/** Scatters more than a cable and an idle machine do. */
export const NOISY_MS = 8
/** Answers that must agree: where they do not scatter, and where they do. */
const AGREEING = { steady: 2, noisy: 3 } as const
const MAX_LAST = AGREEING.noisy + 1
/** Of the threshold: what stands above it need not be looked at a third time, and what is far above not a second time. */
const CLEAR_FACTOR = 1.3
const OBVIOUS_FACTOR = 2.5

export class DelayEstimator {
  /** The least round trip of each minute, by number of the minute. */
  readonly #minima = new Map<number, number>()
  readonly #quietMs: number[] = []
  #noiseMs = 0
  #recent: { readonly atMs: number; readonly rttMs: number }[] = []
  /** Newest first. */
  #lastMs: readonly number[] = []
  #noiseThresholdMs: number = THRESHOLD_MS.min

  /** @param isQuiet what is late now is not late because of us: nothing of ours can queue */
  add(rttMs: number, nowMs: number, isQuiet: boolean): void {
    const bucket = Math.floor(nowMs / BUCKET_MS)
    this.#minima.set(bucket, Math.min(rttMs, this.#minima.get(bucket) ?? Number.POSITIVE_INFINITY))
    for (const old of this.#minima.keys()) if (old <= bucket - BUCKETS) this.#minima.delete(old)
    this.#lastMs = [rttMs, ...this.#lastMs].slice(0, MAX_LAST)
    this.#recent = this.#recent.filter(({ atMs }) => nowMs - atMs < RECENT_MS).slice(-MAX_RECENT)
    this.#recent.push({ atMs: nowMs, rttMs })
    const leastQueueMs = this.#leastMs() - this.#baseMs()
    const isSomebodys =
      rttMs - this.#baseMs() > this.thresholdMs || isKeptQueue({ leastQueueMs, noiseMs: this.#noiseMs })
    if (isQuiet && !isSomebodys) this.#learnNoise(rttMs)
  }

  /** Null until there is a first answer. @param pendingMs age of a probe that is not answered yet; 0: none */
  view(pendingMs: number): DelayView | null {
    const [newest] = this.#lastMs
    if (newest === undefined) return null
    const baseMs = this.#baseMs()
    const last = pendingMs > newest ? [pendingMs, ...this.#lastMs] : this.#lastMs
    const count = this.#noiseMs > NOISY_MS ? AGREEING.noisy : AGREEING.steady
    const queueOf = (samples: number) => Math.min(...last.slice(0, samples)) - baseMs
    return {
      baseMs,
      queueMs: queueOf(1),
      recentQueueMs: queueOf(count),
      soonQueueMs: queueOf(count - 1),
      standingQueueMs: queueOf(count + 1),
      leastQueueMs: this.#leastMs() - baseMs,
      thresholdMs: this.thresholdMs,
      noiseMs: this.#noiseMs,
    }
  }

  get thresholdMs(): number {
    return this.#noiseThresholdMs
  }

  /** How far the round trips of the last seconds lie apart; null while they are too few to tell. */
  spreadMs(nowMs: number): number | null {
    const rtts = this.#recent.filter(({ atMs }) => nowMs - atMs < RECENT_MS).map(({ rttMs }) => rttMs)
    const [oldest] = this.#recent
    if (rtts.length < MIN_NOISE_SAMPLES || !oldest || nowMs - oldest.atMs < RECENT_MS * 0.95) return null
    return Math.max(...rtts) - Math.min(...rtts)
  }

  /** The path has become longer: what came of late is the new base. */
  rebase(nowMs: number): void {
    this.#minima.clear()
    for (const { rttMs } of this.#recent) {
      const bucket = Math.floor(nowMs / BUCKET_MS)
      this.#minima.set(bucket, Math.min(rttMs, this.#minima.get(bucket) ?? Number.POSITIVE_INFINITY))
    }
  }

  /** Another path: nothing that was learnt holds. */
  reset(): void {
    this.#minima.clear()
    this.#quietMs.length = 0
    this.#noiseMs = 0
    this.#recent = []
    this.#lastMs = []
    this.#noiseThresholdMs = THRESHOLD_MS.min
  }

  #baseMs(): number {
    return Math.min(...this.#minima.values())
  }

  #leastMs(): number {
    const untilMs = this.#recent.at(-1)?.atMs ?? 0
    const late = this.#recent.filter(({ atMs }) => untilMs - atMs < LEAST_MS).length
    return Math.min(...this.#recent.slice(-Math.max(late, LEAST_SAMPLES)).map(({ rttMs }) => rttMs))
  }

  /** What the last few have in common is no scatter: it may be the small queue that somebody keeps. */
  #learnNoise(rttMs: number): void {
    this.#quietMs.push(rttMs - Math.min(...this.#lastMs))
    if (this.#quietMs.length > NOISE_SAMPLES) this.#quietMs.shift()
    if (this.#quietMs.length < MIN_NOISE_SAMPLES) return
    this.#noiseMs = quantile(this.#quietMs, 0.9)
    const wanted = NOISE_FACTOR * this.#noiseMs + NOISE_MARGIN_MS
    this.#noiseThresholdMs = Math.min(THRESHOLD_MS.max, Math.max(THRESHOLD_MS.min, wanted))
  }
}

function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) * part)] ?? 0
}

/** Somebody is in the queue. @param factor of the threshold, for who looks less closely */
export function isHot(delay: DelayView, factor = 1): boolean {
  const thresholdMs = factor * delay.thresholdMs
  return (
    delay.standingQueueMs > thresholdMs ||
    delay.recentQueueMs > CLEAR_FACTOR * thresholdMs ||
    delay.soonQueueMs > OBVIOUS_FACTOR * thresholdMs
  )
}

/** It stays above, or the newest are far above: both would be chance. */
export function isAbove({ recentQueueMs, soonQueueMs }: DelayView, queueMs: number): boolean {
  return recentQueueMs > queueMs || soonQueueMs > 2 * queueMs
}

/** What queues is nothing to speak of. */
export function isCool({ recentQueueMs, thresholdMs }: DelayView): boolean {
  return recentQueueMs < thresholdMs / 2
}

/** A queue that never goes, however small: somebody fills the line. @param delay null: not known */
export function isKeptQueue(delay: Pick<DelayView, 'leastQueueMs' | 'noiseMs'> | null): boolean {
  return delay !== null && delay.leastQueueMs > Math.max(KEPT_QUEUE_MS, KEPT_NOISE_RATIO * delay.noiseMs)
}

/** Something stands in the line now, or never goes. @param delay null: not known */
export function isLineQueued(delay: DelayView | null): boolean {
  return isKeptQueue(delay) || (delay !== null && !isCool(delay))
}
