/** Origins that do not answer HEAD usefully, remembered for a while so that it is not tried before every probe. */
import type { Clock } from '../clock.ts'

/** Long enough for a batch of downloads, short enough to notice a repaired origin. */
const REMEMBER_MS = 10 * 60 * 1000
/** About 100 KiB; the oldest is forgotten, which costs one request. */
const MAX_ORIGINS = 1024

export class HeadMemory {
  readonly #clock: Clock
  /** Origin -> monotonic time of expiry, oldest first. */
  readonly #failed = new Map<string, number>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  failed(url: URL): boolean {
    const expiresMs = this.#failed.get(url.origin)
    return expiresMs !== undefined && this.#clock.monotonicMs() < expiresMs
  }

  remember(url: URL): void {
    this.#failed.delete(url.origin)
    this.#failed.set(url.origin, this.#clock.monotonicMs() + REMEMBER_MS)
    if (this.#failed.size <= MAX_ORIGINS) return
    const [oldest] = this.#failed.keys()
    if (oldest !== undefined) this.#failed.delete(oldest)
  }
}
