/**
 * Who has been heard by beacon, and what to do about it: pure bookkeeping and the laws of when to speak.
 *
 * Invariants: at most MAX_AGENTS are remembered, the longest silent is forgotten first; a beacon whose sequence is not
 * newer than the last of its instance is a replay and changes nothing.
 */
import type { Random } from '../clock.ts'
import type { Beacon } from './beacon-codec.ts'

/** One address each; replays of what dead instances once sent can fill it, and nothing else. */
const MAX_AGENTS = 1024
/** Three of the longest intervals and some loss. */
const FORGET_AFTER_MS = 120_000

/** Quick beacons at the start, so that one lost datagram does not cost seconds. They ask for answers. */
export const FIRST_DELAYS_MS = [0, 100, 300, 900, 2700] as const
const MIN_INTERVAL_MS = 5000
const MAX_INTERVAL_MS = 30_000
/** Agents that may send every 5 s; a larger branch sends less often, so that all together stay under 10 a second. */
const AGENTS_AT_FULL_RATE = 48
/** How many answers a newcomer should get from all of us together: it learns the others from the DHT of the first. */
const WANTED_ANSWERS = 4
const MAX_ANSWER_DELAY_MS = 200

export interface HeardAgent {
  /** Hex of the random instance. */
  readonly instance: string
  readonly address: string
  readonly port: number
}

interface Entry extends HeardAgent {
  readonly sequence: number
  readonly heardAtMs: number
}

export class BeaconBook {
  /** Insertion order is the order of the last beacon. */
  readonly #agents = new Map<string, Entry>()
  #intervalMs = MIN_INTERVAL_MS
  #isStable = true

  /** Those heard of late, silent longest first. */
  agents(nowMs: number): HeardAgent[] {
    for (const [instance, { heardAtMs }] of this.#agents) {
      if (nowMs - heardAtMs < FORGET_AFTER_MS) break
      this.#agents.delete(instance)
    }
    return [...this.#agents.values()]
  }

  /** Enters an authentic beacon of another agent. */
  hear(beacon: Beacon, nowMs: number): 'new' | 'known' | 'replay' {
    const instance = beacon.instance.toString('hex')
    const known = this.#agents.get(instance)
    if (known && beacon.sequence <= known.sequence) return 'replay'
    const { address, bootstrapPort: port, sequence } = beacon
    this.#agents.delete(instance)
    this.#agents.set(instance, { instance, address, port, sequence, heardAtMs: nowMs })
    if (this.#agents.size > MAX_AGENTS) {
      const [oldest] = this.#agents.keys()
      if (oldest !== undefined) this.#agents.delete(oldest)
    }
    // A new address of a known instance is news too: its network changed.
    if (known && known.address === address && known.port === port) return 'known'
    this.#isStable = false
    return 'new'
  }

  forget(instance: string): void {
    this.#agents.delete(instance)
  }

  /** Pause before the next unasked beacon: 5 s while agents come, growing to 30 s when none does; +-20 %. */
  nextIntervalMs(random: Random): number {
    const floorMs = Math.min(MAX_INTERVAL_MS, MIN_INTERVAL_MS * Math.max(1, this.#agents.size / AGENTS_AT_FULL_RATE))
    this.#intervalMs = this.#isStable ? Math.min(MAX_INTERVAL_MS, this.#intervalMs * 1.5) : floorMs
    this.#isStable = true
    return Math.max(floorMs, this.#intervalMs) * (0.8 + 0.4 * random())
  }

  /**
   * Whether and when this agent answers a newcomer. Everyone decides alone; the expected number of answers stays at
   * WANTED_ANSWERS however many agents hear it.
   * @returns the delay, or null to stay silent
   */
  answerDelayMs(random: Random): number | null {
    const others = Math.max(1, this.#agents.size)
    if (random() >= WANTED_ANSWERS / others) return null
    return random() * Math.min(MAX_ANSWER_DELAY_MS, 2 * (others - 1))
  }
}
