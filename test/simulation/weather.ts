/**
 * What goes wrong in a world, and how often: each seed switches on some kinds of fault and leaves out others, so that rare
 * ones are not drowned by common ones. After `calmAtMs` nothing new goes wrong.
 */
import { type ErrorCode, ShorthaulError } from '../../src/errors.ts'
import type { Scheduler } from './scheduler.ts'

const KINDS = [
  'origin-error',
  'origin-wait',
  'origin-cut',
  'origin-stall',
  'origin-change',
  'session',
  'partition',
  'lane-corrupt',
  'lane-stall',
  'lane-busy',
  'lane-lost',
  'crash',
  'wall-clock',
  'store-io',
  'store-lost',
  'disk-io',
  'disk-full',
  'disk-partial',
  'db-io',
] as const
export type FaultKind = (typeof KINDS)[number]

export class Weather {
  readonly calmAtMs: number
  readonly #scheduler: Scheduler
  readonly #rates = new Map<FaultKind, number>()

  /** @param options.isFair nothing goes wrong at all */
  constructor(scheduler: Scheduler, options: { readonly isFair: boolean; readonly calmAtMs: number }) {
    this.#scheduler = scheduler
    this.calmAtMs = options.isFair ? 0 : options.calmAtMs
    for (const kind of KINDS) {
      const isOn = scheduler.chance(0.35)
      const rate = 0.2 * scheduler.random() ** 2
      if (isOn && !options.isFair) this.#rates.set(kind, rate)
    }
  }

  get isCalm(): boolean {
    return this.#scheduler.nowMs >= this.calmAtMs
  }

  has(kind: FaultKind): boolean {
    return !this.isCalm && this.#rates.has(kind)
  }

  /** Whether it goes wrong now. @param weight of this occasion: those that come often are given a small one */
  strikes(kind: FaultKind, weight = 1): boolean {
    const rate = this.isCalm ? undefined : this.#rates.get(kind)
    if (rate === undefined || !this.#scheduler.chance(rate * weight)) return false
    this.#scheduler.note(`fault ${kind}`)
    return true
  }

  describe(): string {
    return [...this.#rates.keys()].join(' ') || 'none'
  }
}

const PASSING: readonly ErrorCode[] = [
  'SHORTHAUL_ORIGIN_ERROR',
  'SHORTHAUL_ORIGIN_TIMEOUT',
  'SHORTHAUL_ORIGIN_UNREACHABLE',
]
const LASTING: readonly ErrorCode[] = [
  'SHORTHAUL_ORIGIN_NOT_FOUND',
  'SHORTHAUL_ORIGIN_REFUSED',
  'SHORTHAUL_ORIGIN_PROTOCOL',
  'SHORTHAUL_ORIGIN_TLS',
  'SHORTHAUL_ORIGIN_REDIRECT',
]

/** What a request to an origin fails with, if it does; one in ten fails for good. */
export function originFault(scheduler: Scheduler, weather: Weather): ShorthaulError | null {
  if (weather.strikes('origin-wait')) {
    const retryAfterMs = scheduler.pick([0, 1000, 4000, 15_000, 45_000, 600_000])
    return new ShorthaulError('SHORTHAUL_ORIGIN_ERROR', 'Cannot fetch: the origin answered 503', {
      details: { status: 503, retryAfterMs },
    })
  }
  if (!weather.strikes('origin-error')) return null
  const code = scheduler.pick(scheduler.chance(0.1) ? LASTING : PASSING)
  return new ShorthaulError(code, `Cannot fetch: simulated ${code}`)
}
