/** Builds the governor of the WAN, and what it goes by, from the configuration. A part of the composition root. */
import { networkInterfaces } from 'node:os'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/schema.ts'
import { isLoopback } from '../origin/loopback.ts'
import type { OriginTrafficControl } from '../origin/origins.ts'
import { chooseInterface } from '../peers/interfaces.ts'
import { WanCaps } from '../throttle/caps.ts'
import type { DelayProbe } from '../throttle/delay-monitor.ts'
import { HostGate } from '../throttle/host-gate.ts'
import { HostMeter } from '../throttle/host-meter.ts'
import { HostState } from '../throttle/host-state.ts'
import type { OwnTraffic } from '../throttle/own-traffic.ts'
import { WanGovernor, type WanRules } from '../throttle/wan-governor.ts'

/** Interfaces come and go, but asking costs a millisecond. */
const INTERFACE_AGE_MS = 5000

export interface WanParts {
  readonly host: HostMeter
  readonly hostState: HostState
  readonly governor: WanGovernor
  readonly gate: HostGate
  /** What origins need of it. */
  readonly control: OriginTrafficControl
}

/** The caller closes `host`, `hostState` and `governor`. */
export function openWan(
  components: {
    readonly clock: Clock
    readonly log: Logger
    readonly traffic: OwnTraffic
    readonly openProbe: (url: string, proxy?: string) => DelayProbe
  },
  options: { readonly config: Config; readonly self: string },
): WanParts {
  const { clock, traffic, openProbe } = components
  const { throttle, network } = options.config
  const log = components.log.child({ module: 'throttle' })
  const host = new HostMeter(
    { clock, log, traffic },
    { interfaceName: interfaceNamer(clock, { wanted: network.interface }) },
  )
  const caps = new WanCaps(throttle)
  const hostState = new HostState({ log })
  const gate = new HostGate({ clock, host: hostState }, throttle)
  const rules: WanRules = {
    cap: (about) => caps.at({ ...about, nowMs: clock.nowMs() }),
    gate: (priority) => gate.hold(priority),
  }
  const governor = new WanGovernor(
    { clock, log, host, rules, openProbe, wanReadBytes: () => traffic.totals().wanReceivedBytes },
    { self: options.self, mode: throttle.mode },
  )
  return {
    host,
    hostState,
    gate,
    governor,
    control: {
      isNear: isLoopback,
      pacerOf: (priority) => governor.pacerOf(priority),
      staleBeforeMs: (priority) => governor.staleBeforeMs(priority),
      enter: (...entered) => governor.enter(...entered),
    },
  }
}

/**
 * The interface that carries the branch, by its name now. Null: none, or the loopback, which is no line: everybody on it
 * is this machine, and nobody there has to be made room for.
 */
export function interfaceNamer(
  clock: Pick<Clock, 'monotonicMs'>,
  options: { readonly wanted: string | null; readonly interfaces?: typeof networkInterfaces },
): () => string | null {
  const { wanted, interfaces = networkInterfaces } = options
  let known: { name: string | null; atMs: number } | null = null
  return () => {
    const nowMs = clock.monotonicMs()
    if (known === null || nowMs - known.atMs > INTERFACE_AGE_MS) {
      const chosen = chooseInterface(interfaces(), wanted)
      known = { name: chosen === null || chosen.isLoopback ? null : chosen.name, atMs: nowMs }
    }
    return known.name
  }
}
