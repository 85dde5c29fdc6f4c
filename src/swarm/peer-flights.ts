/**
 * The segments that one transfer has asked neighbours for: how many at a time, which neighbour has which, and what is no
 * longer waited for (stragglers.ts). The agent and the simulator run this same code. Pure.
 */
import type { AgentKey } from '../content/ids.ts'
import type { PeerView } from './source-choice.ts'
import { boundedRate, FetcherWindow, type Flight, LaneWindow, overtaken } from './stragglers.ts'

/** So long a segment takes over a slow link of ours, or from a neighbour that does not give it. */
const HANGS_MS = 3000

export class PeerFlights<F extends Flight> {
  /** The oldest first. */
  readonly #flights = new Set<F>()
  readonly #window: LaneWindow
  readonly #fetcherWindow: FetcherWindow
  readonly #landedAtMs = new Map<AgentKey, number>()

  /** @param options.maxCount segments that a transfer asks for at the same time, in all */
  constructor(options: { readonly maxCount: number }) {
    this.#window = new LaneWindow(options)
    this.#fetcherWindow = new FetcherWindow(options)
  }

  begin(flight: F): void {
    this.#flights.add(flight)
  }

  /** All of its bytes came. It is still one until it ends. */
  landed(flight: F, nowMs: number): void {
    const durationMs = nowMs - flight.startedAtMs
    this.#landedAtMs.set(flight.peer, nowMs)
    this.#window.landed(durationMs, this.#flights.size)
    this.#fetcherWindow.landed(durationMs, nowMs)
  }

  /** When the last one came from the neighbour; -Infinity: none did. */
  landedAtMs(peer: AgentKey): number {
    return this.#landedAtMs.get(peer) ?? Number.NEGATIVE_INFINITY
  }

  end(flight: F): void {
    this.#flights.delete(flight)
  }

  get count(): number {
    return this.#flights.size
  }

  all(): Iterable<F> {
    return this.#flights
  }

  /** Of one neighbour, the oldest first; few, so that they are not counted apart. */
  of(peer: AgentKey): F[] {
    return [...this.#flights].filter((flight) => flight.peer === peer)
  }

  /** What the neighbour gives at most, as long as what it was asked for does not come. @see boundedRate */
  rateOf(peer: AgentKey, bytesPerSec: number | null, nowMs: number): number | null {
    for (const flight of this.#flights) {
      if (flight.peer === peer) return boundedRate(bytesPerSec, nowMs - flight.startedAtMs)
    }
    return bytesPerSec
  }

  /** How many more may be asked for; below 0: too many are. @param ownStreamCount connections that this agent has to the origin */
  room(ownStreamCount: number, nowMs: number): number {
    const [oldest] = this.#flights
    const oldestMs = oldest ? nowMs - oldest.startedAtMs : 0
    const fetcherCount = ownStreamCount === 0 ? Number.POSITIVE_INFINITY : this.#fetcherWindow.count(oldestMs, nowMs)
    // Where all that was asked for hangs at one neighbour, nobody would ever learn how fast another is.
    const spare = oldestMs > HANGS_MS ? 1 : 0
    return Math.min(this.#window.count + spare, fetcherCount) - this.#flights.size
  }

  /** Those to give up: what a slow neighbour was asked for, and a fast one has by now, is had from that one. */
  overtaken(peers: readonly PeerView[], options: { readonly nowMs: number; readonly perPeerInFlight: number }): F[] {
    return overtaken(this.#flights, peers, options)
  }
}
