/**
 * When to ping a peer, when to call it dead, and its round trip. Pure: the owner brings the time and sends.
 *
 * Any frame is a sign of life. Death is only called by a look that came on time: after this process stood still itself
 * (a long garbage collection, a laptop's sleep), the frames that prove life are still in the socket.
 */

/** While a transfer depends on the peer, so that its segments are asked elsewhere soon. */
const IN_USE = { pingEveryMs: 1000, deadAfterMs: 2500 }
const IDLE = { pingEveryMs: 5000, deadAfterMs: 15_000 }
const RTT_SAMPLES = 8
const MAX_PENDING = 4

export class Pulse {
  #isInUse = false
  #heardAtMs: number
  #pingedAtMs = Number.NEGATIVE_INFINITY
  #lookedAtMs: number
  readonly #pending = new Map<string, number>()
  readonly #rtts: number[] = []

  /** @param nowMs monotonic, as everywhere here */
  constructor(nowMs: number) {
    this.#heardAtMs = nowMs
    this.#lookedAtMs = nowMs
  }

  /** Smallest of the last round trips, in ms: what queues and busy loops add is not distance. Null: none measured. */
  get rttMs(): number | null {
    return this.#rtts.length === 0 ? null : Math.min(...this.#rtts)
  }

  /** The shorter deadline counts from the change, not from the last sign of an idle peer. */
  setInUse(isInUse: boolean, nowMs: number): void {
    if (isInUse && !this.#isInUse) {
      this.#heardAtMs = Math.max(this.#heardAtMs, nowMs)
      this.#pingedAtMs = Number.NEGATIVE_INFINITY
    }
    this.#isInUse = isInUse
  }

  heard(nowMs: number): void {
    this.#heardAtMs = nowMs
  }

  pinged(nonce: string, nowMs: number): void {
    this.#pingedAtMs = nowMs
    this.#pending.set(nonce, nowMs)
    const [oldest] = this.#pending.keys()
    if (this.#pending.size > MAX_PENDING && oldest !== undefined) this.#pending.delete(oldest)
  }

  /** A pong that answers no ping of ours tells nothing. */
  ponged(nonce: string, nowMs: number): void {
    const sentAtMs = this.#pending.get(nonce)
    if (sentAtMs === undefined) return
    this.#pending.delete(nonce)
    this.#rtts.push(nowMs - sentAtMs)
    if (this.#rtts.length > RTT_SAMPLES) this.#rtts.shift()
  }

  /** @param maxGapMs how late a look may be and still call death */
  look(nowMs: number, maxGapMs: number): 'dead' | 'ping' | 'fine' {
    const { pingEveryMs, deadAfterMs } = this.#isInUse ? IN_USE : IDLE
    const isLate = nowMs - this.#lookedAtMs > maxGapMs
    this.#lookedAtMs = nowMs
    if (nowMs - this.#heardAtMs >= deadAfterMs && !isLate) return 'dead'
    return nowMs - this.#pingedAtMs >= pingEveryMs ? 'ping' : 'fine'
  }
}
