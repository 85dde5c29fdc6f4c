/**
 * Cost and power of this machine, read when asked (host-gate.ts says when). A reading that fails is said once in the log,
 * and changes nothing: a line that was metered stays so.
 *
 * Invariants:
 * 1. One reading at a time. A refresh() during a reading makes a second one, because the first may have missed what changed.
 * 2. It never throws or rejects.
 */
import type { Logger } from 'pino'
import { runChild } from './child.ts'
import type { CostState, PowerState } from './cost.ts'
import { readLinuxCost } from './host-cost.ts'
import { readLinuxPower, readMacPower } from './host-power.ts'
import { readWindows } from './host-windows.ts'

const SUPPLY_DIR = '/sys/class/power_supply'

export interface HostConditions {
  readonly cost: CostState
  readonly power: PowerState
}

/** null: it could not be read this time. */
export interface HostReading {
  readonly cost: CostState | null
  readonly power: PowerState | null
  readonly failures: readonly string[]
}

export type ReadHost = (options: { readonly signal: AbortSignal }) => Promise<HostReading>

export interface HostStateComponents {
  readonly log: Logger
  /** Default: what this platform offers. */
  readonly read?: ReadHost
  /** After a change; must not throw. */
  readonly onChange?: (conditions: HostConditions) => void
}

export class HostState {
  readonly #components: HostStateComponents
  readonly #closing = new AbortController()
  #conditions: HostConditions = { cost: 'unknown', power: 'unknown' }
  #hasLogged = false
  #isStale = false
  #reading: Promise<void> | null = null

  constructor(components: HostStateComponents) {
    this.#components = components
  }

  /** As read last; both `unknown` before the first reading. */
  get conditions(): HostConditions {
    return this.#conditions
  }

  /** Resolves when what was the case at the call has been read. */
  refresh(): Promise<void> {
    if (this.#closing.signal.aborted) return Promise.resolve()
    this.#isStale = true
    this.#reading ??= this.#readWhileStale()
    return this.#reading
  }

  /** Idempotent; waits for what is under way. */
  async close(): Promise<void> {
    this.#closing.abort()
    await this.#reading
  }

  async #readWhileStale(): Promise<void> {
    while (this.#isStale && !this.#closing.signal.aborted) {
      this.#isStale = false
      await this.#readOnce()
    }
    // In the same turn as the last look at #isStale, so that no refresh() joins a reading that is over.
    this.#reading = null
  }

  async #readOnce(): Promise<void> {
    const { log, onChange } = this.#components
    const { signal } = this.#closing
    const reading = await this.#read(signal)
    if (signal.aborted) return
    const { failures } = reading
    const cost = reading.cost ?? this.#conditions.cost
    const power = reading.power ?? this.#conditions.power
    if (failures.length > 0 && !this.#hasLogged) {
      this.#hasLogged = true
      log.warn({ failures }, 'cost or power of this machine not known')
    }
    const hasChanged = cost !== this.#conditions.cost || power !== this.#conditions.power
    if (!hasChanged) return
    this.#conditions = { cost, power }
    log.debug({ cost, power }, 'cost or power changed')
    onChange?.(this.#conditions)
  }

  async #read(signal: AbortSignal): Promise<HostReading> {
    const { read = readHost } = this.#components
    try {
      return await read({ signal })
    } catch (error: unknown) {
      return { cost: null, power: null, failures: [String(error)] }
    }
  }
}

/** What this platform says. Never rejects. Elsewhere than on Linux, macOS and Windows nothing is known. */
export const readHost: ReadHost = async ({ signal }) => {
  const options = { run: runChild, signal }
  switch (process.platform) {
    case 'linux': {
      const [cost, power] = await Promise.all([readLinuxCost(options), readLinuxPower(SUPPLY_DIR)])
      return { cost: cost.state, power: power.state, failures: failuresOf(cost, power) }
    }
    case 'darwin': {
      const power = await readMacPower(options)
      return { cost: 'unknown', power: power.state, failures: failuresOf(power) }
    }
    case 'win32': {
      const both = await readWindows(options)
      return { cost: both.state?.cost ?? null, power: both.state?.power ?? null, failures: failuresOf(both) }
    }
    default:
      return { cost: 'unknown', power: 'unknown', failures: [] }
  }
}

function failuresOf(...readings: readonly { readonly failure: string | null }[]): string[] {
  return readings.flatMap(({ failure }) => failure ?? [])
}
