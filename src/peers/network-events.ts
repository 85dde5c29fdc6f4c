/** Listeners of a network. A listener that throws is logged and harms nobody: it runs inside a stream's callback. */
import type { Logger } from 'pino'
import type { Message } from './messages.ts'
import type { Peer } from './network-types.ts'

export interface EventListeners {
  join: (peer: Peer) => void
  leave: (peer: Peer, reason: string) => void
  message: (peer: Peer, message: Message) => void
}

export class NetworkEvents {
  readonly #log: Logger
  readonly #listeners: { [Name in keyof EventListeners]: Set<EventListeners[Name]> } = {
    join: new Set(),
    leave: new Set(),
    message: new Set(),
  }

  constructor(log: Logger) {
    this.#log = log
  }

  /** @returns a function that stops it */
  on<Name extends keyof EventListeners>(event: Name, listener: EventListeners[Name]): () => void {
    const listeners: Set<EventListeners[Name]> = this.#listeners[event]
    listeners.add(listener)
    return () => listeners.delete(listener)
  }

  emit<Name extends keyof EventListeners>(event: Name, ...values: Parameters<EventListeners[Name]>): void {
    for (const listener of [...this.#listeners[event]]) {
      try {
        // The compiler does not see that the name ties the listener to its parameters.
        ;(listener as (...values: Parameters<EventListeners[Name]>) => void)(...values)
      } catch (error) {
        this.#log.error({ err: error, event }, 'a listener failed')
      }
    }
  }

  clear(): void {
    for (const listeners of Object.values(this.#listeners)) listeners.clear()
  }
}
