/**
 * Tells neighbours what we hold, after it is stored: at once when little is said, gathered when much is, so that a large
 * crowd is not busy with news. Each is told only of what it does not hold itself, with the statements that it may lack.
 */
import type { Clock } from '../clock.ts'
import type { AgentKey } from '../content/ids.ts'
import { PositionSet } from '../content/position-set.ts'
import type { Statement } from '../content/statement.ts'
import { MAX_RANGES } from '../peers/messages.ts'
import { newsPauseMs } from '../swarm/news-pace.ts'
import type { PeerLink } from './ports.ts'
import type { SharedResource } from './shared-resource.ts'

const MAX_STATEMENTS_PER_MESSAGE = 512

interface Pending {
  readonly positions: PositionSet
  toldAtMs: number
  /** Infinite: nothing waits. */
  dueMs: number
}

export class Announcer {
  readonly #components: { readonly link: PeerLink | null; readonly self: AgentKey; readonly clock: Clock }
  readonly #pending = new WeakMap<SharedResource, Pending>()
  readonly #stop = new AbortController()

  constructor(components: { readonly link: PeerLink | null; readonly self: AgentKey; readonly clock: Clock }) {
    this.#components = components
  }

  /** A position that our store serves from now on. */
  add(shared: SharedResource, index: number): void {
    if (shared.listeners.size === 0) return
    const { clock } = this.#components
    const pending = this.#pending.get(shared) ?? {
      positions: new PositionSet(shared.draft.segmentCount),
      toldAtMs: Number.NEGATIVE_INFINITY,
      dueMs: Number.POSITIVE_INFINITY,
    }
    this.#pending.set(shared, pending)
    pending.positions.add(index)
    const nowMs = clock.monotonicMs()
    const dueMs = pending.toldAtMs + newsPauseMs(shared.listeners.size, pending.positions.size)
    if (dueMs <= nowMs) {
      this.#tell(shared, pending)
      return
    }
    if (dueMs >= pending.dueMs) return
    pending.dueMs = dueMs
    clock.sleep(dueMs - nowMs, { signal: this.#stop.signal }).then(
      () => {
        if (pending.dueMs === dueMs) this.#tell(shared, pending)
      },
      () => {}, // closed
    )
  }

  /** All that we hold, to one who asks; it asks for the hashes that it lacks. */
  tellAll(shared: SharedResource, peer: AgentKey): void {
    this.#send(shared, peer, { positions: shared.holdings, kind: 'answer' })
  }

  /** What it said that it no longer has, and we have: it may want it again. */
  tellOf(shared: SharedResource, peer: AgentKey, positions: PositionSet): void {
    const held = positions.copy()
    for (const index of positions.values()) if (!shared.holdings.has(index)) held.delete(index)
    this.#send(shared, peer, { positions: held, kind: 'reminder' })
  }

  close(): void {
    this.#stop.abort()
  }

  #tell(shared: SharedResource, pending: Pending): void {
    pending.toldAtMs = this.#components.clock.monotonicMs()
    pending.dueMs = Number.POSITIVE_INFINITY
    for (const index of pending.positions.values()) {
      if (!shared.holdings.has(index)) pending.positions.delete(index)
    }
    for (const peer of shared.listeners) {
      this.#send(shared, peer, { positions: pending.positions, kind: 'news' })
    }
    pending.positions.clear()
  }

  #send(
    shared: SharedResource,
    peer: AgentKey,
    what: { readonly positions: PositionSet; readonly kind: 'answer' | 'reminder' | 'news' },
  ): void {
    const { positions, kind } = what
    const { link } = this.#components
    const held = shared.holders.of(peer)
    let news = positions
    if (held) {
      news = positions.copy()
      news.deleteAll(held)
    }
    const ranges = news.ranges()
    // An answer is due also when there is nothing to tell.
    if (ranges.length === 0 && kind !== 'answer') return
    for (let at = 0; at === 0 || at < ranges.length; at += MAX_RANGES) {
      const some = ranges.slice(at, at + MAX_RANGES)
      const statements = kind === 'news' && at === 0 ? this.#statements(shared, peer, news) : []
      link?.send(peer, { type: 'have', resource: shared.key, ranges: some, statements })
    }
  }

  /** Those that the peer did not hear from who signed them. */
  #statements(shared: SharedResource, peer: AgentKey, news: PositionSet): Statement[] {
    const statements: Statement[] = []
    for (const index of news.values()) {
      if (statements.length >= MAX_STATEMENTS_PER_MESSAGE) break
      const statement = shared.statementOf(index)
      if (!statement || statement.signer === peer) continue
      const isOwn = statement.signer === this.#components.self
      if (isOwn || !shared.gossip.hearsFirstHand(peer, statement.signer)) statements.push(statement)
    }
    return statements
  }
}
