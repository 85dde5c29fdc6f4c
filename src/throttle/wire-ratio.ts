/**
 * How many bytes the network card counts for one of ours. Pure.
 *
 * 1.046 when it counts every packet's headers (Ethernet, IP, TCP with time stamps; TLS adds little), as most cards do, and
 * about 1.00 when it counts them once for what the kernel handed over in one go, as virtual ones do. With 1.06 for all,
 * 5 Mbit/s of somebody else's were invisible beside 90 of ours (2026-11-25). Others only ever make it look larger, so the
 * least that was seen is the truth.
 */

const MAX_RATIO = 1.06
const MIN_RATIO = 1
/** Below it, chatter of others would be learnt as headers: 20 Mbit/s. */
const MIN_OWN_BYTES_PER_SEC = 2_500_000
/** Of what a smaller sample says, because it may be one that was read at a bad moment. */
const TRUST = 0.3
/** Upwards only so fast: from least to most in ten minutes. */
const DRIFT_PER_MS = (MAX_RATIO - MIN_RATIO) / 600_000
/** For what two readings that are not of the same moment make of it. */
const MARGIN = 0.005

export class WireRatio {
  #ratio = MAX_RATIO

  get value(): number {
    return Math.min(MAX_RATIO, this.#ratio + MARGIN)
  }

  /** @param seen of one second or more; @param stepMs since the last one, which may overlap with it */
  learn(seen: { readonly nicBytesPerSec: number; readonly ownBytesPerSec: number }, stepMs: number): void {
    if (seen.ownBytesPerSec < MIN_OWN_BYTES_PER_SEC) return
    const ratio = Math.min(MAX_RATIO, Math.max(MIN_RATIO, seen.nicBytesPerSec / seen.ownBytesPerSec))
    if (ratio < this.#ratio) this.#ratio += TRUST * (ratio - this.#ratio)
    else this.#ratio = Math.min(ratio, this.#ratio + stepMs * DRIFT_PER_MS)
  }
}
