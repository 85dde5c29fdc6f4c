/** Bytes per second over the last moments, at the same cost whatever the number of samples. Pure over (bytes, now). */

const BUCKET_MS = 100
const BUCKETS = 10
/** Less than this says nothing yet: the first packets of a connection come in a burst. */
const MIN_SPAN_MS = 300

export class RateMeter {
  readonly #bytes = new Float64Array(BUCKETS)
  #bucket = -1
  #firstMs: number | null = null

  /** @param nowMs monotonic */
  add(bytes: number, nowMs: number): void {
    this.#turn(nowMs)
    this.#firstMs ??= nowMs
    const at = this.#bucket % BUCKETS
    this.#bytes[at] = (this.#bytes[at] ?? 0) + bytes
  }

  /** Over the last second, or since the first byte if that is sooner; null until there is something to say. */
  bytesPerSec(nowMs: number): number | null {
    if (this.#firstMs === null) return null
    this.#turn(nowMs)
    const sinceFirstMs = nowMs - this.#firstMs
    if (sinceFirstMs < MIN_SPAN_MS) return null
    const spanMs = Math.min(sinceFirstMs, (BUCKETS - 1) * BUCKET_MS + (nowMs % BUCKET_MS))
    let sum = 0
    for (const bytes of this.#bytes) sum += bytes
    return (sum / Math.max(1, spanMs)) * 1000
  }

  #turn(nowMs: number): void {
    const bucket = Math.floor(nowMs / BUCKET_MS)
    const passed = Math.min(BUCKETS, bucket - this.#bucket)
    for (let step = 0; step < passed; step++) this.#bytes[(bucket - step) % BUCKETS] = 0
    if (bucket > this.#bucket) this.#bucket = bucket
  }
}
