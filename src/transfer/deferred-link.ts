/**
 * A PeerLink whose network comes later, or never: an agent that just started asks the origin at once and meets its
 * neighbours meanwhile.
 */
import type { AgentKey } from '../content/ids.ts'
import type { Message } from '../peers/messages.ts'
import type { PeerLike, PeerLink } from './ports.ts'

interface Listeners {
  join: Set<(peer: PeerLike) => void>
  leave: Set<(peer: PeerLike, reason: string) => void>
  message: Set<(peer: PeerLike, message: Message) => void>
}

export class DeferredLink implements PeerLink {
  #link: PeerLink | null = null
  readonly #listeners: Listeners = { join: new Set(), leave: new Set(), message: new Set() }

  attach(link: PeerLink): void {
    this.#link = link
    link.on('join', (peer) => {
      for (const listener of this.#listeners.join) listener(peer)
    })
    link.on('leave', (peer, reason) => {
      for (const listener of this.#listeners.leave) listener(peer, reason)
    })
    link.on('message', (peer, message) => {
      for (const listener of this.#listeners.message) listener(peer, message)
    })
    for (const peer of link.peers()) for (const listener of this.#listeners.join) listener(peer)
  }

  peers(): readonly PeerLike[] {
    return this.#link?.peers() ?? []
  }

  memberCount(): number {
    return this.#link?.memberCount() ?? 1
  }

  send(peer: AgentKey, message: Message): boolean {
    return this.#link?.send(peer, message) ?? false
  }

  broadcast(message: Message): number {
    return this.#link?.broadcast(message) ?? 0
  }

  setInUse(peer: AgentKey, inUse: boolean): void {
    this.#link?.setInUse(peer, inUse)
  }

  on(event: 'join', listener: (peer: PeerLike) => void): () => void
  on(event: 'leave', listener: (peer: PeerLike, reason: string) => void): () => void
  on(event: 'message', listener: (peer: PeerLike, message: Message) => void): () => void
  on<Event extends keyof Listeners>(event: Event, listener: unknown): () => void {
    // The overloads above tie each event to its listener; the set is of the same event.
    const set = this.#listeners[event] as Set<unknown>
    set.add(listener)
    return () => set.delete(listener)
  }
}
