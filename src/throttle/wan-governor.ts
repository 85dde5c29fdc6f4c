/**
 * The governor of the WAN towards this host: everything that is had from origins reads through its pacers. Wires the law to
 * what it needs to know (delay, card, neighbours) and to what obeys it. Runs while something is had, and not otherwise.
 *
 * One governor for all origins: they share the line. Invariants: foreground work is never slowed but by a cap; of the
 * other work of this agent only the most urgent reads, and none while there is foreground work.
 */
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import type { Cap, CapReason } from './caps.ts'
import type { GateCode } from './cost.ts'
import { isLineQueued } from './delay-estimator.ts'
import { DelayMonitor, type DelayProbe } from './delay-monitor.ts'
import type { DirectionView } from './foreground-meter.ts'
import type { HostMeter } from './host-meter.ts'
import { Pacer } from './pacer.ts'
import { GOVERNED, type GovernedPriority, PRIORITIES, type Priority } from './priority.ts'
import { StaleConnections } from './stale-connections.ts'
import { WanLaw } from './wan-law.ts'
import {
  isRising,
  isUserHere,
  type LocalTraffic,
  WAN_LEVELS,
  type WanDecision,
  type WanPhase,
  type WanSample,
} from './wan-sample.ts'
import { isUserAmong, leadOf, shareOf, topPriority, type WanReport, type WanUser } from './wan-shares.ts'

const TICK_MS = 50
/** A tick that comes so much too late says that this process was busy, and its clock readings with it. */
const LATE_MS = 15
const REPORT_MS = 200
/** What an agent said of itself holds for so long. */
const REPORT_AGE_MS = 1500
/** Two transfers so close together are one for the law: the line is as it was. */
const SAME_RUN_MS = 2000
/** More often while the rate rises: what is noticed late is then much too much. */
const PROBE_MS = { rising: 50, fast: 100, slow: 250, follower: 1000 } as const
/** Above, the probe is fast: 89 bytes ten times a second are then nothing. */
const FAST_PROBE_BYTES_PER_SEC = 1_250_000

/** Why something may not be had from an origin now. */
export interface Hold {
  readonly code: 'urgent-work' | 'host-unknown' | CapReason['code'] | GateCode
  /** For people, after "waiting: ". */
  readonly text: string
  /** Wall clock; null: not known. */
  readonly untilMs: number | null
}

/** What else decides, besides the line: caps, and who may transfer at all. */
export interface WanRules {
  cap(about: { readonly capacityBytesPerSec: number | null; readonly fetcherCount: number }): Cap
  /** Null: allowed. */
  gate(priority: Priority): Hold | null
}

export interface WanView {
  readonly mode: 'adaptive' | 'off'
  readonly phase: WanPhase | 'idle' | 'foreground' | 'held'
  readonly why: string
  readonly rateMaxBytesPerSec: number | null
  readonly readBytesPerSec: number
  readonly capacityBytesPerSec: number | null
  readonly queueMs: number | null
  readonly baseRttMs: number | null
  /** Of others on this machine; null: not known. */
  readonly foregroundBytesPerSec: number | null
  readonly cap: { readonly maxBytesPerSec: number; readonly reason: string } | null
  readonly agentsOnWan: number
  readonly isLead: boolean
}

export interface WanGovernorComponents {
  readonly clock: Clock
  readonly log: Logger
  /** Null: the network card is not watched. */
  readonly host: HostMeter | null
  readonly rules: WanRules
  /** @param url what is had from there at the moment, through this proxy (as in OriginRequest) */
  readonly openProbe: (url: string, proxy?: string) => DelayProbe
  /** Read from origins since the beginning, by whatever priority. */
  readonly wanReadBytes: () => number
}

interface Rates {
  readonly last200Ms: number
  readonly last500Ms: number
}

export class WanGovernor {
  readonly #c: WanGovernorComponents
  readonly #self: string
  readonly #mode: WanView['mode']
  readonly #pacers: Readonly<Record<Priority, Pacer>>
  readonly #demand: Record<Priority, number> = { foreground: 0, high: 0, normal: 0, low: 0 }
  readonly #law = new WanLaw(WAN_LEVELS.normal)
  readonly #delay: DelayMonitor
  readonly #stale = new StaleConnections()
  readonly #others = new Map<string, { report: WanReport; heardAtMs: number }>()
  readonly #stop = new AbortController()
  readonly #listeners = new Set<(report: WanReport) => void>()
  #running: Promise<void> | null = null
  #unwatch: (() => void) | null = null
  #host: {
    readonly received: DirectionView
    readonly wanReceivedBytesPerSec: number | null
    readonly heldBytes: number | null
  } | null = null
  #probeUrl = ''
  #probeProxy: string | undefined
  #tickedAtMs = 0
  #activeAtMs = Number.NEGATIVE_INFINITY
  #activeAtWallMs = Number.NEGATIVE_INFINITY
  /** When the law was last asked, or begun anew. */
  #decidedAtMs = Number.NEGATIVE_INFINITY
  /** Bytes read, at the last ticks. */
  #history: { readonly atMs: number; readonly governed: number; readonly all: number }[] = []
  #decision: WanDecision | null = null
  #reported: { readonly report: WanReport; readonly atMs: number } | null = null
  #cap: Cap
  #isLead = true
  /** What the line has given since this network is known: the law may believe in less for a while. */
  #mostCapacityBytesPerSec = 0

  /** @param options.self the key of this agent: of those who fetch, the lowest decides */
  constructor(components: WanGovernorComponents, options: { self: string; mode: WanView['mode'] }) {
    this.#c = components
    this.#self = options.self
    this.#mode = options.mode
    const { clock, log, rules } = components
    this.#cap = rules.cap({ capacityBytesPerSec: null, fetcherCount: 1 })
    const pacerOf = (priority: Priority) => new Pacer(clock, this.#firstRate(priority))
    this.#pacers = {
      foreground: pacerOf('foreground'),
      high: pacerOf('high'),
      normal: pacerOf('normal'),
      low: pacerOf('low'),
    }
    this.#delay = new DelayMonitor({ clock, log }, { isLate: () => this.#isLate(), isQuiet: () => this.#law.isQuiet })
  }

  /** What connections that carry work of this priority read through; null: as fast as they can, unseen. */
  pacerOf(priority: Priority): Pacer {
    return this.#pacers[priority]
  }

  /** Something is had from an origin from now on, until the returned function is called. */
  enter(priority: Priority, url: string, proxy?: string): () => void {
    this.#demand[priority]++
    if (priority !== 'foreground') {
      this.#probeUrl = url
      this.#probeProxy = proxy
    }
    if (this.#running === null && !this.#stop.signal.aborted) this.#start()
    let isHere = true
    return () => {
      if (isHere) this.#demand[priority]--
      isHere = false
    }
  }

  /** Why nothing of this priority may be had now, and is not being read; null: it may. */
  hold(priority: Priority): Hold | null {
    const gate = this.#c.rules.gate(priority)
    if (gate !== null) return gate
    const { maxBytesPerSec, reason } = this.#capNow()
    if (maxBytesPerSec === 0) return { code: reason.code, text: reason.text, untilMs: reason.untilMs }
    const above = PRIORITIES.slice(0, PRIORITIES.indexOf(priority))
    const urgent = above.find((other) => this.#demand[other] > 0)
    if (urgent === undefined) return null
    return { code: 'urgent-work', text: `work of priority ${urgent} goes first`, untilMs: null }
  }

  /** True when somebody else uses the line, so that what stands still does so for a good reason. */
  isBusy(priority: Priority): boolean {
    return (
      priority !== 'foreground' &&
      this.#decision !== null &&
      (this.#decision.phase === 'yield' || this.#cap.maxBytesPerSec === 0)
    )
  }

  /** Connections of this priority that were opened before are worth leaving; by the monotonic clock. */
  staleBeforeMs(priority: Priority): number {
    return priority === 'foreground' ? Number.NEGATIVE_INFINITY : this.#stale.beforeMs
  }

  /** Another agent of the branch said this of itself. */
  heard(key: string, report: WanReport): void {
    if (report.priority === null) this.#others.delete(key)
    else this.#others.set(key, { report, heardAtMs: this.#c.clock.monotonicMs() })
  }

  left(key: string): void {
    this.#others.delete(key)
  }

  /** Calls back with what the others are to be told; a few times a second while something is had. */
  onReport(listener: (report: WanReport) => void): void {
    this.#listeners.add(listener)
  }

  view(): WanView {
    const delay = this.#delay.view()
    const runs = this.#runningPriority()
    const { maxBytesPerSec, reason } = this.#capNow()
    const phase = this.#phaseOf(runs)
    return {
      mode: this.#mode,
      phase,
      why: this.#whyOf(phase, runs),
      rateMaxBytesPerSec: runs === null ? null : this.#pacers[runs].bytesPerSec,
      readBytesPerSec: this.#rates('all').last500Ms,
      capacityBytesPerSec: this.#law.state.capacityBytesPerSec,
      queueMs: delay?.queueMs ?? null,
      baseRttMs: delay?.baseMs ?? null,
      foregroundBytesPerSec: this.#host?.received.foregroundBytesPerSec ?? null,
      cap: maxBytesPerSec === null ? null : { maxBytesPerSec, reason: reason.text },
      agentsOnWan: this.#users().length,
      isLead: this.#isLead,
    }
  }

  /** Nobody reads any more. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort()
    for (const priority of PRIORITIES) this.#pacers[priority].close()
    await this.#running
    await this.#delay.close()
  }

  #firstRate(priority: Priority): number | null {
    const { maxBytesPerSec } = this.#cap
    if (priority === 'foreground' || this.#mode === 'off') return maxBytesPerSec
    const first = this.#law.state.bytesPerSec
    return maxBytesPerSec === null ? first : Math.min(first, maxBytesPerSec)
  }

  #start(): void {
    const nowMs = this.#c.clock.monotonicMs()
    this.#tickedAtMs = nowMs
    // A suspended machine counts no monotonic time.
    const awayMs = Math.max(nowMs - this.#activeAtMs, this.#c.clock.nowMs() - this.#activeAtWallMs)
    if (awayMs > SAME_RUN_MS) {
      this.#restart(nowMs, awayMs)
      const lead = leadOf(this.#users().filter(({ key }) => key !== this.#self))
      if (lead !== null) this.#law.adopt(lead.report.law, nowMs)
    }
    this.#unwatch =
      this.#c.host?.listen(
        (view, { wanReceivedBytesPerSec, queues }) => {
          const heldBytes = queues?.largestWanReceiveQueueBytes ?? null
          this.#host = { received: view.received, wanReceivedBytesPerSec, heldBytes }
        },
        { isCalm: () => this.#decision === null },
      ) ?? null
    // The first decision is due now: work that starts must not read at the rate of another hour.
    this.#tick()
    this.#running = this.#run()
      .catch((err: unknown) => this.#c.log.error({ err }, 'the governor failed'))
      .finally(() => {
        this.#running = null
        if (this.#hasDemand() && !this.#stop.signal.aborted) this.#start()
      })
      // What fails again at once is tried again when there is other work.
      .catch((err: unknown) => this.#c.log.error({ err }, 'the governor failed again'))
  }

  /** @param awayMs since the line was last looked at for anybody */
  #restart(nowMs: number, awayMs: number): void {
    // What an empty line is like on this way is not known: a queue that stands would not be seen.
    const isKnownWay = this.#delay.knows(this.#probePath())
    this.#law.restart(nowMs, isKnownWay ? awayMs : Number.POSITIVE_INFINITY)
    this.#history = []
    this.#decidedAtMs = nowMs
  }

  async #run(): Promise<void> {
    const { clock } = this.#c
    try {
      while (!this.#stop.signal.aborted) {
        await clock.sleep(TICK_MS, { signal: this.#stop.signal }).catch(() => {})
        const nowMs = clock.monotonicMs()
        if (this.#hasDemand()) this.#noteActive(nowMs)
        else if (nowMs - this.#activeAtMs > SAME_RUN_MS) return
        this.#tick()
      }
    } finally {
      this.#unwatch?.()
      this.#host = null
      this.#delay.stop()
      this.#probeUrl = ''
      this.#decision = null
      this.#report(null)
    }
  }

  #noteActive(nowMs: number): void {
    this.#activeAtMs = nowMs
    this.#activeAtWallMs = this.#c.clock.nowMs()
  }

  #tick(): void {
    const { clock, wanReadBytes } = this.#c
    const nowMs = clock.monotonicMs()
    this.#tickedAtMs = nowMs
    const governed = GOVERNED.reduce((sum, priority) => sum + this.#pacers[priority].chargedBytes, 0)
    this.#history.push({ atMs: nowMs, governed, all: wanReadBytes() })
    if (this.#history.length > 16) this.#history.shift()
    const users = this.#users()
    this.#lookAtCap(users.length)
    this.#pacers.foreground.setRate(this.#cap.maxBytesPerSec)
    const runs = this.#runningPriority()
    const level = topPriority(users)
    if (this.#mode === 'off' || level === null) {
      this.#decision = null
      this.#delay.stop()
    } else {
      this.#decide(users, level)
    }
    this.#mostCapacityBytesPerSec = Math.max(this.#mostCapacityBytesPerSec, this.#law.state.capacityBytesPerSec ?? 0)
    this.#obey(users, runs)
    this.#lookAtConnections(runs, users.length)
    this.#report(runs)
  }

  #lookAtConnections(runs: Priority | null, userCount: number): void {
    if (this.#decision === null || runs === null || runs === 'foreground') return
    const lineBytesPerSec = this.#decision.capacityBytesPerSec ?? 0
    this.#stale.look({
      nowMs: this.#tickedAtMs,
      phase: this.#decision.phase,
      isLimited: this.#isLimited(),
      isQueued: isLineQueued(this.#delay.view()),
      readBytesPerSec: this.#rates('governed').last200Ms,
      heldBytes: this.#host?.heldBytes ?? null,
      shareBytesPerSec: lineBytesPerSec / Math.max(1, userCount),
      lineBytesPerSec,
    })
  }

  /** The lead's law decides for all; the others follow it, ready to go on with it. */
  #decide(users: readonly WanUser[], level: GovernedPriority): void {
    const nowMs = this.#tickedAtMs
    // Foreground work, or what holds us back, was no pause of this process.
    const undecidedMs = nowMs - this.#decidedAtMs
    if (this.#decision === null && undecidedMs > SAME_RUN_MS) this.#restart(nowMs, undecidedMs)
    this.#decidedAtMs = nowMs
    const lead = leadOf(users)
    this.#isLead = lead === null || lead.key === this.#self
    this.#law.setLevel(WAN_LEVELS[level])
    this.#probe()
    if (!this.#isLead && lead !== null) {
      this.#law.adopt(lead.report.law, nowMs)
      this.#decision = { ...lead.report.law, why: 'line', isRebase: false, isReset: false }
      return
    }
    const others = users.filter(({ key }) => key !== this.#self)
    const own = this.#rates('governed')
    const sum = (pick: (report: WanReport) => number) =>
      others.reduce((total, { report }) => total + (report.priority === 'foreground' ? 0 : pick(report)), 0)
    const read = sum(({ readBytesPerSec }) => readBytesPerSec)
    const arrived = this.#host?.wanReceivedBytesPerSec ?? null
    const sample: WanSample = {
      nowMs,
      delay: this.#delay.view(),
      delaySpreadMs: this.#delay.spreadMs(),
      bytesPerSec: { last200Ms: own.last200Ms + read, last500Ms: own.last500Ms + read },
      arrivedBytesPerSec: arrived === null ? null : arrived + sum(({ arrivedBytesPerSec }) => arrivedBytesPerSec),
      capBytesPerSec: this.#branchCap(users.length),
      isLimited: this.#isLimited() || others.some(({ report }) => report.isLimited),
      local: this.#local(),
      isUserElsewhere: isUserAmong(others) || this.#demand.foreground > 0,
    }
    const decision = this.#law.step(sample)
    // Enough to let the law decide again, away from the line.
    this.#c.log.trace({ sample, decision }, 'wan')
    if (decision.isRebase) this.#delay.rebase()
    if (decision.isReset) {
      this.#delay.reset()
      this.#mostCapacityBytesPerSec = 0
    }
    if (decision.phase !== this.#decision?.phase) {
      this.#c.log.debug({ phase: decision.phase, why: decision.why, bytesPerSec: decision.bytesPerSec }, 'wan')
    }
    this.#decision = decision
  }

  /** Who is held back by a cap has nothing from origins, so that nothing runs: its end is seen all the same. */
  #capNow(): Cap {
    if (this.#running === null) this.#lookAtCap(this.#users().length)
    return this.#cap
  }

  #lookAtCap(userCount: number): void {
    const { capacityBytesPerSec } = this.#law.state
    this.#cap = this.#c.rules.cap({ capacityBytesPerSec, fetcherCount: Math.max(1, userCount) })
  }

  /** What all of us may read together, were all capped as this one is. */
  #branchCap(userCount: number): number | null {
    const { maxBytesPerSec } = this.#cap
    return maxBytesPerSec === null ? null : maxBytesPerSec * Math.max(1, userCount)
  }

  #obey(users: readonly WanUser[], runs: Priority | null): void {
    const { maxBytesPerSec } = this.#cap
    for (const priority of GOVERNED) {
      let rate: number | null = 0
      if (priority === runs) {
        const level = WAN_LEVELS[priority]
        rate =
          this.#decision === null
            ? null
            : shareOf(this.#self, {
                users,
                totalBytesPerSec: this.#decision.bytesPerSec,
                floorBytesPerSec: level.floorBytesPerSec,
              })
        if (maxBytesPerSec !== null) rate = rate === null ? maxBytesPerSec : Math.min(rate, maxBytesPerSec)
      }
      this.#pacers[priority].setRate(rate)
    }
  }

  /** The most urgent that is wanted and may be had. */
  #runningPriority(): Priority | null {
    const wanted = PRIORITIES.filter((priority) => this.#demand[priority] > 0)
    return wanted.find((priority) => this.#c.rules.gate(priority) === null) ?? null
  }

  #probe(): void {
    const { bytesPerSec, capacityBytesPerSec, phase } = this.#law.state
    const isFast = (capacityBytesPerSec ?? bytesPerSec) > FAST_PROBE_BYTES_PER_SEC
    const steadyMs = isFast ? PROBE_MS.fast : PROBE_MS.slow
    const ownMs = isRising(phase) ? PROBE_MS.rising : steadyMs
    this.#delay.setInterval(this.#isLead ? ownMs : PROBE_MS.follower)
    if (this.#delay.isRunning || this.#probeUrl === '') return
    this.#delay.start(this.#c.openProbe(this.#probeUrl, this.#probeProxy), this.#probePath())
  }

  /** Empty: nothing that is governed was had yet. */
  #probePath(): string {
    return this.#probeUrl === '' ? '' : `${new URL(this.#probeUrl).origin} ${this.#probeProxy ?? ''}`
  }

  #users(): WanUser[] {
    const nowMs = this.#c.clock.monotonicMs()
    const users: WanUser[] = []
    for (const [key, { report, heardAtMs }] of this.#others) {
      if (nowMs - heardAtMs < REPORT_AGE_MS) users.push({ key, report })
      else this.#others.delete(key)
    }
    const report = this.#ownReport(this.#runningPriority())
    return report.priority === null ? users : [...users, { key: this.#self, report }]
  }

  #ownReport(priority: Priority | null): WanReport {
    const read = this.#rates(priority === 'foreground' ? 'all' : 'governed').last200Ms
    return {
      priority,
      readBytesPerSec: read,
      arrivedBytesPerSec: this.#host?.wanReceivedBytesPerSec ?? read,
      isLimited: this.#isLimited(),
      isUserHere: isUserHere(this.#local()),
      law: this.#law.state,
    }
  }

  #report(priority: Priority | null): void {
    if (this.#listeners.size === 0) return
    const nowMs = this.#tickedAtMs
    const last = this.#reported
    const report = this.#ownReport(priority)
    if (priority === null && (last === null || last.report.priority === null)) return
    const isNews =
      last === null ||
      last.report.priority !== priority ||
      last.report.isUserHere !== report.isUserHere ||
      (this.#isLead && last.report.law.phase !== report.law.phase)
    // In a large branch each is heard by many: all of them together say about as much as eight.
    const pauseMs = REPORT_MS * Math.max(1, this.#others.size / 8)
    if (!isNews && nowMs - last.atMs < pauseMs) return
    this.#reported = { report, atMs: nowMs }
    for (const listener of this.#listeners) listener(report)
  }

  #local(): LocalTraffic | null {
    const view = this.#host?.received ?? null
    if (view === null) return null
    const { capacityBytesPerSec } = this.#law.state
    // More than the line gives cannot have come over it: somebody copies from another machine here.
    const isLan = capacityBytesPerSec !== null && view.foregroundBytesPerSec > 1.25 * this.#mostCapacityBytesPerSec
    return { ...view, peakBytesPerSec: capacityBytesPerSec ?? view.peakBytesPerSec, isActive: view.isActive && !isLan }
  }

  #isLimited(): boolean {
    return GOVERNED.some((priority) => this.#demand[priority] > 0 && this.#pacers[priority].isLimiting())
  }

  #isLate(): boolean {
    return this.#c.clock.monotonicMs() - this.#tickedAtMs > TICK_MS + LATE_MS
  }

  #hasDemand(): boolean {
    return PRIORITIES.some((priority) => this.#demand[priority] > 0)
  }

  #rates(of: 'governed' | 'all'): Rates {
    const newest = this.#history.at(-1)
    const over = (ms: number) => {
      const oldest = this.#history.find(({ atMs }) => newest !== undefined && newest.atMs - atMs <= ms)
      if (!newest || !oldest || newest === oldest) return 0
      return ((newest[of] - oldest[of]) * 1000) / (newest.atMs - oldest.atMs)
    }
    return { last200Ms: over(220), last500Ms: over(520) }
  }

  #phaseOf(runs: Priority | null): WanView['phase'] {
    if (runs === null) return this.#hasDemand() ? 'held' : 'idle'
    if (this.#cap.maxBytesPerSec === 0) return 'held'
    return runs === 'foreground' ? 'foreground' : (this.#decision?.phase ?? 'cruise')
  }

  #whyOf(phase: WanView['phase'], runs: Priority | null): string {
    if (phase === 'idle') return 'nothing is had from origins'
    if (phase === 'held') return this.#heldText()
    if (runs === 'foreground') return 'foreground work is not slowed'
    const { reason } = this.#cap
    const rate = runs === null ? null : this.#pacers[runs].bytesPerSec
    if (reason !== null && rate === this.#cap.maxBytesPerSec) return `capped by ${reason.text}`
    return this.#decision === null ? 'not governed' : WHY[this.#decision.why]
  }

  #heldText(): string {
    const wanted = PRIORITIES.find((priority) => this.#demand[priority] > 0)
    return (wanted && this.hold(wanted)?.text) ?? 'held back'
  }
}

const WHY: Readonly<Record<WanDecision['why'], string>> = {
  starting: 'finding out what the line gives',
  line: 'what the idle line gives',
  queue: 'somebody else uses the line',
  'user-here': 'somebody on this machine uses the line',
  'user-elsewhere': 'a person in the branch waits for something',
}
