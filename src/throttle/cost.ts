/**
 * Who may transfer over the WAN while it costs money, and while the machine runs on its battery. Pure. Caps are elsewhere
 * (caps.ts): this says whether, not how fast.
 *
 * The states are those of BITS (BG_COST_STATE). A line whose cost nobody knows counts as unrestricted, as in BITS: most
 * machines on a wire have no NetworkManager, and must not stand still for it. `throttle.cost` is for those who know.
 */
import { assertNever } from '../errors.ts'
import type { Priority } from './priority.ts'

/** In the order of what they cost; `capped` has a quota or is paid by volume, and how much is used is not known. */
const KNOWN_STATES = ['unrestricted', 'capped', 'nearCap', 'overCap', 'roaming'] as const
type KnownState = (typeof KNOWN_STATES)[number]
export type CostState = KnownState | 'unknown'

export type PowerState = 'mains' | 'battery' | 'unknown'

/** The transfer policies of BITS, from the one that pays anything to the one that pays nothing. */
export type MeteredPolicy = 'always' | 'not-roaming' | 'no-surcharge' | 'standard' | 'unrestricted'

/** The most expensive line that a policy still uses. */
const DEAREST: Readonly<Record<MeteredPolicy, KnownState>> = {
  always: 'roaming',
  'not-roaming': 'overCap',
  'no-surcharge': 'nearCap',
  standard: 'capped',
  unrestricted: 'unrestricted',
}

/** `throttle.*` of the configuration. */
export interface GateSettings {
  /** What the user says the line costs; null: what the system says. */
  readonly cost: KnownState | null
  /** Of normal and low priority. */
  readonly meteredPolicy: MeteredPolicy
  readonly onBattery: 'run' | 'pause-low' | 'pause'
}

export type GateCode = 'metered' | 'near-cap' | 'over-cap' | 'roaming' | 'battery'

export interface GateReason {
  readonly code: GateCode
  /** For people, to stand after "paused by" or "waits because of": `a metered line`. */
  readonly text: string
}

export type Gate =
  | { readonly isAllowed: true; readonly reason: null }
  | { readonly isAllowed: false; readonly reason: GateReason }

export interface GateCircumstances {
  readonly cost: CostState
  readonly power: PowerState
  readonly priority: Priority
  readonly settings: GateSettings
}

const OPEN: Gate = { isAllowed: true, reason: null }

const COST_REASONS: Readonly<Record<Exclude<KnownState, 'unrestricted'>, GateReason>> = {
  capped: { code: 'metered', text: 'a metered line' },
  nearCap: { code: 'near-cap', text: 'a line whose quota is nearly used up' },
  overCap: { code: 'over-cap', text: 'a line whose quota is used up' },
  roaming: { code: 'roaming', text: 'a roaming line' },
}

/** May a transfer of this priority use the WAN now? Foreground always may: somebody waits for it. */
export function gate({ cost, power, priority, settings }: GateCircumstances): Gate {
  const dear = tooDear(settings.cost ?? cost, policyOf(priority, settings))
  if (dear !== null) return { isAllowed: false, reason: dear }
  if (power === 'battery' && isHaltedOnBattery(priority, settings)) {
    return { isAllowed: false, reason: { code: 'battery', text: 'the battery' } }
  }
  return OPEN
}

/** Why a line costs more than a policy allows; null: it does not. */
export function tooDear(cost: CostState, policy: MeteredPolicy): GateReason | null {
  const state = cost === 'unknown' ? 'unrestricted' : cost
  return state === 'unrestricted' || isCovered(state, policy) ? null : COST_REASONS[state]
}

function policyOf(priority: Priority, { meteredPolicy }: GateSettings): MeteredPolicy {
  switch (priority) {
    case 'foreground':
      return 'always'
    case 'high':
      return isCovered('overCap', meteredPolicy) ? meteredPolicy : 'no-surcharge'
    case 'normal':
    case 'low':
      return meteredPolicy
    default:
      return assertNever(priority)
  }
}

function isCovered(state: KnownState, policy: MeteredPolicy): boolean {
  return KNOWN_STATES.indexOf(state) <= KNOWN_STATES.indexOf(DEAREST[policy])
}

function isHaltedOnBattery(priority: Priority, { onBattery }: GateSettings): boolean {
  switch (onBattery) {
    case 'run':
      return false
    case 'pause-low':
      return priority === 'low'
    case 'pause':
      return priority !== 'foreground'
    default:
      return assertNever(onBattery)
  }
}
