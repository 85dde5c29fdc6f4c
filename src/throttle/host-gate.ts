/**
 * Who may transfer over the WAN now, by what the system says of cost and power. Asks the system at most once a minute, and
 * only while somebody wants to know.
 */
import type { Clock } from '../clock.ts'
import { type GateSettings, gate } from './cost.ts'
import type { HostState } from './host-state.ts'
import type { Priority } from './priority.ts'
import type { Hold } from './wan-governor.ts'

const AGE_MS = 60_000

export class HostGate {
  readonly #clock: Clock
  readonly #host: HostState
  readonly #settings: GateSettings
  #askedAtMs = Number.NEGATIVE_INFINITY
  #isKnown = false

  constructor(components: { readonly clock: Clock; readonly host: HostState }, settings: GateSettings) {
    this.#clock = components.clock
    this.#host = components.host
    this.#settings = settings
  }

  /** Null: it may. Foreground work always may, and nothing is asked for it. */
  hold(priority: Priority): Hold | null {
    if (priority === 'foreground') return null
    this.#ask()
    // A line that may cost money is not used on the chance that it does not; the answer takes moments.
    if (!this.#isKnown) {
      return { code: 'host-unknown', text: 'asking the system what the line costs', untilMs: null }
    }
    const { reason } = gate({ ...this.#host.conditions, priority, settings: this.#settings })
    return reason === null ? null : { ...reason, untilMs: null }
  }

  /** Another network may cost something else. */
  refresh(): void {
    this.#askedAtMs = Number.NEGATIVE_INFINITY
  }

  #ask(): void {
    const nowMs = this.#clock.monotonicMs()
    if (nowMs - this.#askedAtMs < AGE_MS) return
    this.#askedAtMs = nowMs
    void this.#host.refresh().then(() => {
      this.#isKnown = true
    })
  }
}
