/**
 * The cap in force: the smallest of what the agent, its schedule, the branch and the job allow, and which of them it is.
 * Pure. Says nothing of who may transfer at all (cost.ts) nor of yielding to others (the governor): a cap is the ceiling
 * of both, and of foreground transfers the only limit.
 *
 * Invariants:
 * 1. 0 stops, null does not bind. A share of a line whose capacity nobody knows does not bind yet, except that 0 stops.
 * 2. In a maintenance window its limit replaces those of agent, branch and schedule; that of a job stays.
 * 3. Caps of the WAN do not bind the LAN, nor the other way round.
 */
import { type RateLimit, WeeklySchedule, type WeeklyWindow } from './schedule.ts'
import { WallClock } from './wall-clock.ts'

/** `throttle.*` of the configuration. */
export interface CapSettings {
  readonly wanMaxBytesPerSec: number | null
  readonly wanMaxRatio: number | null
  readonly branchWanMaxBytesPerSec: number | null
  readonly schedule: readonly WeeklyWindow[]
  readonly maintenance: readonly WeeklyWindow[]
  /** IANA; null: the system's. */
  readonly timeZone: string | null
}

export type CapCode = 'agent-cap' | 'branch-cap' | 'schedule' | 'maintenance' | 'job-cap' | 'lan-cap' | 'serve-cap'

export interface CapReason {
  readonly code: CapCode
  /** For people, to stand after "capped by" or "paused by": `the schedule, until 18:00`. */
  readonly text: string
  /** Until when this reason stands at most, on the wall clock; null: until somebody changes it. */
  readonly untilMs: number | null
}

export type Cap =
  | { readonly maxBytesPerSec: number; readonly reason: CapReason }
  | { readonly maxBytesPerSec: null; readonly reason: null }

export const NO_CAP: Cap = { maxBytesPerSec: null, reason: null }

/** What a cap depends on besides the settings. */
export interface CapCircumstances {
  /** Wall clock. */
  readonly nowMs: number
  /** Of the line to the WAN, as measured, or as it was when it was measured last; null: not known. */
  readonly capacityBytesPerSec: number | null
  /** How many agents of the branch fetch over the WAN now, this one included; at least 1. */
  readonly fetcherCount: number
  /** What the user allowed for one job; null or absent: not given, or the cap of the agent is asked for. */
  readonly jobMaxBytesPerSec?: number | null
}

export class WanCaps {
  readonly #settings: CapSettings
  readonly #clock: WallClock
  readonly #schedule: WeeklySchedule
  readonly #maintenance: WeeklySchedule

  constructor(settings: CapSettings) {
    this.#settings = settings
    this.#clock = new WallClock(settings.timeZone)
    this.#schedule = new WeeklySchedule(settings.schedule, this.#clock)
    this.#maintenance = new WeeklySchedule(settings.maintenance, this.#clock)
  }

  /** Cheap: several times a second is fine. */
  at(circumstances: CapCircumstances): Cap {
    const { nowMs, capacityBytesPerSec, jobMaxBytesPerSec = null } = circumstances
    const job = jobCap(jobMaxBytesPerSec)
    const maintenance = this.#maintenance.at(nowMs)
    // Whatever maintenance lifts ends when it begins.
    const endMs = maintenance.untilMs
    if (maintenance.limit !== null) {
      const maxBytesPerSec = bytesPerSecOf(maintenance.limit, capacityBytesPerSec)
      const reason = this.#ending('maintenance', 'the maintenance window', { untilMs: endMs, nowMs })
      return strictest([capOf(maxBytesPerSec, reason), job])
    }
    return strictest([...this.#standing(circumstances, endMs), job, this.#scheduled(circumstances, endMs)])
  }

  /** What is in force around the clock. */
  #standing({ capacityBytesPerSec, fetcherCount, nowMs }: CapCircumstances, untilMs: number | null): Cap[] {
    const { wanMaxBytesPerSec, wanMaxRatio, branchWanMaxBytesPerSec } = this.#settings
    const fetchers = Math.max(1, fetcherCount)
    const own = branchWanMaxBytesPerSec === null ? null : portion(branchWanMaxBytesPerSec, 1 / fetchers)
    const sharing = fetchers === 1 ? '' : `, shared by ${fetchers} agents`
    const reason = (code: CapCode, what: string) => this.#ending(code, what, { untilMs, nowMs })
    return [
      capOf(wanMaxBytesPerSec, reason('agent-cap', 'throttle.wanMaxBytesPerSec')),
      capOf(ratioOf(wanMaxRatio, capacityBytesPerSec), reason('agent-cap', 'throttle.wanMaxRatio')),
      capOf(own, reason('branch-cap', `throttle.branchWanMaxBytesPerSec${sharing}`)),
    ]
  }

  #scheduled({ nowMs, capacityBytesPerSec }: CapCircumstances, maintenanceMs: number | null): Cap {
    const { limit, untilMs } = this.#schedule.at(nowMs)
    if (limit === null) return NO_CAP
    const endMs = untilMs === null || (maintenanceMs !== null && maintenanceMs < untilMs) ? maintenanceMs : untilMs
    return capOf(
      bytesPerSecOf(limit, capacityBytesPerSec),
      this.#ending('schedule', 'the schedule', { untilMs: endMs, nowMs }),
    )
  }

  #ending(code: CapCode, what: string, { untilMs, nowMs }: { untilMs: number | null; nowMs: number }): CapReason {
    const clock = this.#clock
    return {
      code,
      untilMs,
      // Made when read: the time on the wall costs more than all the rest.
      get text() {
        return untilMs === null ? what : `${what}, until ${clock.describe(untilMs, nowMs)}`
      },
    }
  }
}

/** `--limit-rate`, or what the job was given. */
export function jobCap(maxBytesPerSec: number | null): Cap {
  return capOf(maxBytesPerSec, { code: 'job-cap', text: 'the limit of this job', untilMs: null })
}

/** What this agent takes from its neighbours. @param maxBytesPerSec `throttle.lanMaxBytesPerSec` */
export function lanCap(maxBytesPerSec: number | null): Cap {
  return capOf(maxBytesPerSec, { code: 'lan-cap', text: 'throttle.lanMaxBytesPerSec', untilMs: null })
}

/** What this agent gives to its neighbours, all together. @param maxBytesPerSec `serve.maxBytesPerSec` */
export function serveCap(maxBytesPerSec: number | null): Cap {
  return capOf(maxBytesPerSec, { code: 'serve-cap', text: 'serve.maxBytesPerSec', untilMs: null })
}

/** Of equals the first: put those before that last longer. */
export function strictest(caps: readonly Cap[]): Cap {
  let found: Cap = NO_CAP
  for (const cap of caps) {
    if (cap.maxBytesPerSec === null) continue
    if (found.maxBytesPerSec === null || cap.maxBytesPerSec < found.maxBytesPerSec) found = cap
  }
  return found
}

function capOf(maxBytesPerSec: number | null, reason: CapReason): Cap {
  return maxBytesPerSec === null ? NO_CAP : { maxBytesPerSec, reason }
}

function bytesPerSecOf(limit: RateLimit, capacityBytesPerSec: number | null): number | null {
  return limit.wanMaxRatio === null ? limit.wanMaxBytesPerSec : ratioOf(limit.wanMaxRatio, capacityBytesPerSec)
}

function ratioOf(ratio: number | null, capacityBytesPerSec: number | null): number | null {
  if (ratio === 0) return 0
  return ratio === null || capacityBytesPerSec === null ? null : portion(capacityBytesPerSec, ratio)
}

/** Whole, and 0 only when the whole is: a small portion is slow, and does not stop. */
function portion(bytesPerSec: number, ratio: number): number {
  return bytesPerSec === 0 ? 0 : Math.max(1, Math.floor(bytesPerSec * ratio))
}
