/**
 * One question to the branch, "who knows what this location names?", and the answers as they come. Every neighbour
 * answers once, also when it knows nothing, so that nobody waits longer than the slowest link of the LAN.
 */
import type { AgentKey, LocationKey } from '../content/ids.ts'
import type { Identification } from '../content/resource.ts'

export class Inquiry {
  readonly location: LocationKey
  readonly url: string
  readonly selection: string
  readonly #awaited: Set<AgentKey>
  readonly #answers = new Map<AgentKey, Identification>()
  readonly #waiters = new Set<() => void>()

  constructor(question: { location: LocationKey; url: string; selection: string }, asked: readonly AgentKey[]) {
    this.location = question.location
    this.url = question.url
    this.selection = question.selection
    this.#awaited = new Set(asked)
  }

  get isAnswered(): boolean {
    return this.#awaited.size === 0
  }

  asked(peer: AgentKey): void {
    this.#awaited.add(peer)
  }

  /** @param identification authentic, or null when the neighbour knows nothing (or left) */
  answer(peer: AgentKey, identification: Identification | null): void {
    this.#awaited.delete(peer)
    if (identification) this.#answers.set(peer, identification)
    for (const waiter of this.#waiters) waiter()
  }

  /** The generation that was seen at the origin last, as far as the answers go. */
  newest(): Identification | null {
    let newest: Identification | null = null
    for (const answer of this.#answers.values()) {
      if (!newest || answer.seenAtMs > newest.seenAtMs) newest = answer
    }
    return newest
  }

  onAnswer(waiter: () => void): () => void {
    this.#waiters.add(waiter)
    return () => this.#waiters.delete(waiter)
  }
}
