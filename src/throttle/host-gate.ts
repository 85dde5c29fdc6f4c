/**
 * Who may transfer over the WAN now, by what the system says of cost and power. Asks the system at most once a minute, and
 * only while somebody wants to know.
 */
import type { Clock } from '../clock.ts'
import { type GateSettings, gate, type MeteredPolicy, tooDear } from './cost.ts'
import type { HostState } from './host-state.ts'
import type { Priority } from './priority.ts'
import type { Hold } from './wan-governor.ts'

const AGE_MS = 60_000
/** A line that may cost money is not used on the chance that it does not; the answer takes moments. */
const UNKNOWN: Hold = { code: 'host-unknown', text: 'asking the system what the line costs', untilMs: null }

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
    if (!this.#isKnown) return UNKNOWN
    const { reason } = gate({ ...this.#host.conditions, priority, settings: this.#settings })
    return reason === null ? null : { ...reason, untilMs: null }
  }

  /** Null: the line costs no more than this policy allows. */
  holdBy(policy: MeteredPolicy): Hold | null {
    this.#ask()
    if (!this.#isKnown) return UNKNOWN
    const reason = tooDear(this.#settings.cost ?? this.#host.conditions.cost, policy)
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
