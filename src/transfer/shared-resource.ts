/**
 * The live state of one resource in this agent, shared by all its transfers and by what neighbours ask: what is known,
 * what we hold, who else holds what, who listens, and what is on its way.
 *
 * One writer per field: exchange.ts writes holders and listeners, the transfers write flights, both enter knowledge.
 */

import type { Draft } from '../content/draft.ts'
import type { AgentKey, ResourceKey } from '../content/ids.ts'
import { PositionSet } from '../content/position-set.ts'
import type { ResourceRecord } from '../store/records.ts'

/** An origin stream that will come to the positions from `next` up to `end`, if nothing stops it. */
export interface RunningStream {
  next: number
  readonly end: number
}

export class SharedResource {
  record: ResourceRecord
  readonly key: ResourceKey
  readonly draft: Draft
  /** Positions that our store can serve. */
  readonly holdings: PositionSet
  /** Positions that each neighbour said it can serve. */
  readonly holders = new Map<AgentKey, PositionSet>()
  /** Neighbours that want to hear of new holdings. */
  readonly listeners = new Set<AgentKey>()
  /** Positions on their way in this agent, by the transfer that fetches them. */
  readonly flights = new Map<number, object>()
  /** Lazy origin streams of this agent, with the transfer that runs each. */
  readonly streams = new Map<RunningStream, object>()
  /** Monotonic time until when a neighbour that was asked for hashes may still answer. */
  hashesExpectedUntilMs = 0
  /** Transfers that use it now; at zero it may be forgotten. */
  useCount = 0
  readonly #observers = new Set<() => void>()

  constructor(record: ResourceRecord, state: { key: ResourceKey; draft: Draft; holdings: PositionSet }) {
    this.record = record
    this.key = state.key
    this.draft = state.draft
    this.holdings = state.holdings
  }

  holder(peer: AgentKey): PositionSet {
    let positions = this.holders.get(peer)
    if (!positions) {
      positions = new PositionSet(this.draft.segmentCount)
      this.holders.set(peer, positions)
    }
    return positions
  }

  /** True when another transfer of this agent than `self` is about to get the position. */
  isAwaited(index: number, self: object): boolean {
    const owner = this.flights.get(index)
    if (owner !== undefined) return owner !== self
    for (const [stream, streamOwner] of this.streams) {
      if (streamOwner !== self && index >= stream.next && index < stream.end) return true
    }
    return false
  }

  /** Calls back after every change that may make a waiting transfer decide anew. */
  observe(observer: () => void): () => void {
    this.#observers.add(observer)
    return () => this.#observers.delete(observer)
  }

  changed(): void {
    for (const observer of this.#observers) observer()
  }
}
