/**
 * The live state of one resource in this agent, shared by all its transfers and by what neighbours ask: what is known,
 * what we hold, who else holds what, who listens, and what is on its way.
 *
 * One writer per field: exchange.ts writes holders and listeners, crowd-talk.ts what others fetch, the transfers write
 * flights and claims; all enter knowledge.
 */

import type { Draft } from '../content/draft.ts'
import type { AgentKey, ResourceKey } from '../content/ids.ts'
import type { PositionSet } from '../content/position-set.ts'
import type { Statement } from '../content/statement.ts'
import type { ResourceRecord } from '../store/records.ts'
import type { Claim, Crowd } from '../swarm/crowd.ts'
import type { Gossip } from '../swarm/gossip.ts'
import { Holders } from '../swarm/holders.ts'

/** Statements kept at hand to go with a `have`; older ones are asked for. About 1 MiB. */
const MAX_STATEMENTS_AT_HAND = 4096

export class SharedResource {
  record: ResourceRecord
  readonly key: ResourceKey
  readonly draft: Draft
  /** Positions that our store can serve. */
  readonly holdings: PositionSet
  /** Positions that each neighbour said it can serve. */
  readonly holders: Holders
  /** Who fetches what from the origin, for all of us. */
  readonly crowd: Crowd
  readonly gossip: Gossip
  /** Neighbours that want to hear of new holdings. */
  readonly listeners = new Set<AgentKey>()
  /** Positions on their way in this agent, by the transfer that fetches them. */
  readonly flights = new Map<number, object>()
  /** Origin streams of this agent, with the transfer that runs each. */
  readonly claims = new Map<Claim, object>()
  /** By position, those that came last. */
  readonly #statements = new Map<number, Statement>()
  /** Monotonic time until when a neighbour that was asked for hashes may still answer. */
  hashesExpectedUntilMs = 0
  /** Transfers that use it now; at zero it may be forgotten. */
  useCount = 0
  readonly #observers = new Set<() => void>()

  constructor(
    record: ResourceRecord,
    state: { key: ResourceKey; draft: Draft; holdings: PositionSet; crowd: Crowd; gossip: Gossip },
  ) {
    this.record = record
    this.key = state.key
    this.draft = state.draft
    this.holdings = state.holdings
    this.crowd = state.crowd
    this.gossip = state.gossip
    this.holders = new Holders(state.draft.segmentCount)
  }

  /** Remembers a statement of one position, so that it can be told on with the news that we hold it. */
  remember(statement: Statement): void {
    if (statement.hashes.length !== 1) return
    this.#statements.delete(statement.firstIndex)
    this.#statements.set(statement.firstIndex, statement)
    if (this.#statements.size <= MAX_STATEMENTS_AT_HAND) return
    for (const oldest of this.#statements.keys()) {
      this.#statements.delete(oldest)
      break
    }
  }

  /** The statement that our hash of the position rests on, when it is at hand. */
  statementOf(index: number): Statement | undefined {
    const statement = this.#statements.get(index)
    return statement?.hashes[0] === this.draft.entry(index)?.hash ? statement : undefined
  }

  /** True when another transfer of this agent than `self` is about to get the position. */
  isAwaited(index: number, self: object): boolean {
    const owner = this.flights.get(index)
    if (owner !== undefined) return owner !== self
    for (const [claim, claimant] of this.claims) {
      if (claimant !== self && index >= claim.next && index < claim.end) return true
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
