/**
 * The talk of fetchers: takes what neighbours say about who fetches what into the crowd of a resource, and sends what the
 * gossip (swarm/gossip.ts) says is due. A resource is talked of while a transfer of ours wants it.
 */
import type { Clock } from '../clock.ts'
import { MAX_TOLD_STATES } from '../content/fetcher-state.ts'
import type { AgentKey } from '../content/ids.ts'
import type { ClaimMessage } from '../peers/messages.ts'
import type { PeerLink } from './ports.ts'
import type { SharedResource } from './shared-resource.ts'

const TICK_MS = 50

export class CrowdTalk {
  readonly #components: { readonly link: PeerLink | null; readonly clock: Clock }
  readonly #running = new Map<SharedResource, { readonly stop: AbortController; readonly ended: Promise<void> }>()

  readonly #minClaimBytes: number

  constructor(
    components: { readonly link: PeerLink | null; readonly clock: Clock },
    options: { readonly minClaimBytes: number },
  ) {
    this.#components = components
    this.#minClaimBytes = options.minClaimBytes
  }

  /** We want the resource from now on. */
  join(shared: SharedResource): void {
    const { link, clock } = this.#components
    const isWorthAsking = shared.record.resource.lengthBytes >= this.#minClaimBytes
    const isAsked = link !== null && shared.record.visibility === 'branch' && isWorthAsking
    shared.crowd.join(isAsked ? link.peers().map((peer) => peer.key) : [], clock.monotonicMs())
    this.flush(shared)
    const stop = new AbortController()
    this.#running.set(shared, { stop, ended: this.#run(shared, stop.signal) })
  }

  /** No transfer of ours wants it any longer. */
  leave(shared: SharedResource): void {
    this.#running.get(shared)?.stop.abort()
    this.#running.delete(shared)
    shared.crowd.leave()
    this.flush(shared)
  }

  heard(shared: SharedResource, peer: AgentKey, message: ClaimMessage): void {
    const nowMs = this.#components.clock.monotonicMs()
    if (!shared.gossip.heard(peer, message.states, nowMs)) return
    shared.crowd.yields(nowMs)
    shared.changed()
  }

  /** Says now what cannot wait. */
  flush(shared: SharedResource): void {
    const { link, clock } = this.#components
    if (!link || shared.record.visibility !== 'branch') return
    const messages = shared.gossip.due(this.#running.has(shared), clock.monotonicMs())
    for (const [peer, states] of messages) {
      for (let at = 0; at < states.length; at += MAX_TOLD_STATES) {
        const some = states.slice(at, at + MAX_TOLD_STATES)
        link.send(peer, { type: 'claim', resource: shared.key, states: some })
      }
    }
  }

  async close(): Promise<void> {
    const ended = [...this.#running.values()].map((running) => {
      running.stop.abort()
      return running.ended
    })
    this.#running.clear()
    await Promise.all(ended)
  }

  /** Looks at the time, which makes claims void and calls for renewals; nothing else does. Never rejects. */
  async #run(shared: SharedResource, signal: AbortSignal): Promise<void> {
    const { clock } = this.#components
    for (;;) {
      try {
        await clock.sleep(TICK_MS, { signal })
      } catch {
        return
      }
      const nowMs = clock.monotonicMs()
      shared.crowd.tune(nowMs)
      if (shared.crowd.yields(nowMs)) shared.changed()
      this.flush(shared)
    }
  }
}
