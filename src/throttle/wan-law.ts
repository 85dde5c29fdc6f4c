/**
 * How fast the background of a branch may read from its WAN, decided anew 20 times per second. Pure over (state, sample).
 *
 *   startup --queue or plateau--> drain --empty--> cruise --queue or user--> yield --empty for a while--> ramp --> cruise
 *   cruise, where it stopped below the line because somebody was there at the last return --nobody for a while--> ramp
 *   nothing to be had --work, and what the line gives is known from minutes ago--> ramp
 *
 * The principle: read a little slower than the line delivers, so that our own reading, and not the line, is where our flow
 * waits. Then nothing of ours queues at the bottleneck, and whatever queues there is somebody else's.
 *
 * Does not know how bytes are held back (pacer.ts), who measures (wan-governor.ts), nor how the rate is divided among the
 * agents of a branch (wan-shares.ts): all rates here are of the branch as a whole.
 */
import { type DelayView, isAbove, isCool, isHot, isKeptQueue, isLineQueued } from './delay-estimator.ts'
import { isQueue, QueueSuspicion, type Suspicion } from './queue-suspicion.ts'
import {
  isUserHere,
  MBIT,
  type WanDecision,
  type WanLevel,
  type WanPhase,
  type WanSample,
  type WanState,
} from './wan-sample.ts'

const FIRST_RATE = 2 * MBIT
/** Of a line of which nothing is known. */
const QUIET_RATE = 5 * MBIT
/**
 * Small steps, smaller after the first queue: as long as the kernel holds bytes for us, a step too far makes the queue
 * grow by the excess only; once it holds none, the sender takes what the window lets it, and the window grows with it.
 */
const STARTUP_STEP_MS = 100
const STARTUP_FACTOR = { slow: 1.25, fast: 1.12, careful: 1.06 } as const
/** Up to here an overshoot is little, whatever the line. */
const SLOW_RATE = 8 * MBIT
const STARTUP_LEAD_FACTOR = 2.2
/** Of a start's rate, read at least while answers come late; and from when on they do. */
const LEAST_GUARD_RATIO = 0.5
const GUARD_MS = 8
const GUARD_NOISE_FACTOR = 1.3
/** From here on a late answer alone proves nothing. */
const DOUBTFUL_NOISE_MS = 5
/** What arrives, of what is read, when others take from our part. */
const LOSING_RATIO = 0.95
const LOSING_MS = 200
const SURELY_HOT_MS = 500
const SAME_RATE_RATIO = 0.75
const LEAST_OF_FIRST_RATIO = 0.7
/** No more comes although more is asked for: that is the line, or the origin. */
const PLATEAU_STEP_MS = 400
const PLATEAU_GROWTH = 1.15
/** Read of what might be. */
const OURS_RATIO = 0.5
/** A start that finds the line full, and not by us, is no start. */
const MAX_HOT_START_MS = 1500
/** What was found at the start is believed after so long at that rate. */
const CONFIRMED_MS = 2000
/** Without a probe nothing warns us before the line is full: stay further below it. */
const BLIND_USE_RATIO = 0.7
/** What is heaped up in the kernel has to fill before the queue can empty: the less is read, the sooner. */
const DRAIN_RATIO = 0.15
/** Then the kernel holds a reserve, and going on fast is harmless. */
const AFTER_DRAIN_RATIO = 0.85
const MAX_DRAIN_MS = 2000
/** More comes than is read: the kernel's buffers fill, for the first time or after they ran empty. */
const FILLING_RATIO = 1.1
/** So much more that the line is full, although we do not read it: the kernel takes it in. */
const FULL_RATIO = 2
/** Less comes than this of the line, and it is full all the same: somebody else's bytes. */
const OTHERS_RATIO = 0.5
/** A queue so soon after the line was searched, or tried, is our own: it is not as fast as we believed. */
const OWN_QUEUE_MS = 1500
/** So often in a row: then somebody has the rest. */
const MAX_EARLY_QUEUES = 2
const TOO_FAST_RATIO = 0.9
const PERHAPS_TOO_FAST_RATIO = 0.95
const LEAST_TOO_FAST_RATIO = 0.8
const ARRIVED_MARGIN = 1.1
const CUT_RATIO = 0.1
const CUT_LOOK_MS = 150
const CUT_EMPTIED_RATIO = 0.6
const MAX_HOLD_MS = 8000
/** For so long a small queue that never goes is believed to be somebody's; then the path is longer. */
const MAX_KEPT_MS = 15_000
const HOLD_ROUND_TRIPS = 20
const QUICK_RELAPSE_MS = 5000
/** Of a capacity that had not held for long when somebody came: where it is searched from. */
const RESEARCH_RATIO = 0.25
const RAMP_STEP_MS = 200
const RAMP_FROM_RATIO = 0.1
/** Of the line, at most more at a time: who is there and leaves no queue shows before much of one has grown. */
const RAMP_STEP_RATIO = 0.2
const RAMP_LEAD_FACTOR = 3
/** A capacity of at most so long ago is gone back to, an older one is searched for anew. */
const KNOWN_MS = 600_000
/** Who takes it up again, and does not know yet whether somebody is there, waits so long for the first answer. */
const FIRST_ANSWER_MS = 1000
/** An origin that gives less of the line than we lead by is not waited for. */
const MAX_RAMP_MS = 5000
const RELAPSE_CEILING_RATIO = 0.8
/** Of what the line gave before, however little we reached. */
const LEAST_OF_LINE_RATIO = 0.5
/** How long we stay there before we look whether there is more. */
const CEILING_MS = { least: 1000, most: 5000 } as const
const APPROACH_RATIO_PER_SEC = 0.5
const RETREAT_RATIO_PER_SEC = 0.4
const LEAST_CRUISE_RATIO = 0.7
/** How often it is tried whether the line has become faster, by how much, and for how long. */
const PROBE_EVERY_MS = { least: 1000, most: 8000 } as const
/** What a try that found nothing reads afterwards, until its own queue is gone. */
const AFTER_PROBE_RATIO = 0.7
const AFTER_HOT_PROBE_RATIO = 0.4
const PROBE_STEP = 1.06
const PROBE_STEP_GROWTH = 2
const MAX_PROBE_STEP = 1.3
const PROBE_MS = 400
/** What was read in the last 200 ms was then read at the rate that is tried. */
const PROBE_LOOK_MS = 200
const PROBE_FOUND = 1.03
const COMES_RATIO = 0.97
/** Of what is read for, by who has come back: less comes where somebody has the line. */
const STARVED_RATIO = 0.7
const STARVED_MS = 300
/**
 * At the floor for so long, and round trips as steady as an empty line has them: the path is longer, nobody is there. A
 * queue of CUBIC is as steady for 7 s in the middle between two losses, not for longer.
 */
const REBASE_AFTER_MS = 8000
const REBASE_SPREAD_MS = 3
/** Longer than any pause of a healthy process: it was suspended, and the network may be another one. */
const MAX_TICK_MS = 2000

interface YieldReason {
  readonly why: WanDecision['why']
  readonly isCertain: boolean
  readonly ceilingBytesPerSec?: number | null
}

export class WanLaw {
  #level: WanLevel
  #phase: WanPhase = 'startup'
  #rate = FIRST_RATE
  #capacity: number | null = null
  /** Less than the capacity: where somebody queued when we came back, until it is tried with success. */
  #ceiling = Number.POSITIVE_INFINITY
  #why: WanDecision['why'] = 'starting'
  #enteredMs = 0
  #lastMs: number | null = null
  #steppedMs = 0
  #plateau = { atMs: 0, bytesPerSec: 0, count: 0 }
  /** The queue right after a cut: what shrinks to less was our own. */
  #cutQueueMs = 0
  #isCutJudged = false
  /** What follows if it proves that somebody was there when we came back. */
  #caution: { readonly ceilingBytesPerSec: number | null } | null = null
  #keptSinceMs: number | null = null
  /** The last cut was for a queue that was gone at once. */
  #wasAlarm = false
  #coolSinceMs: number | null = null
  /** What was read when somebody was there at our last return; twice at the same rate, it is the line. */
  #relapsedAt: number | null = null
  /** How often in a row somebody proved to be there when we came back. */
  #relapses = 0
  #yieldEndedMs = Number.NEGATIVE_INFINITY
  /** Own rate when the start last overshot. */
  #overshotRate: number | null = null
  /** The most that came at once since the start began. */
  #mostArrived = 0
  /** In the drain under way it came much faster than we read, and a queue stood: it came as fast as the line gives. */
  #isLineSeen = false
  #losingSinceMs: number | null = null
  /** Where a return from a pause stopped for the drain under way; null: it is another one. */
  #rampedTo: number | null = null
  /** Since the last pause: a queue on the way back was taken for our own. */
  #hasDrainedRamp = false
  /** When more came than was read, in a drain. */
  #fillingMs = Number.NEGATIVE_INFINITY
  /** How long our own queue takes to drain after a try that found no more; null: that was not why it drains. */
  #ownDrainMs: number | null = null
  /** The capacity has held for a while: a yield is not its fault. */
  #isConfirmed = false
  /** Since the last drain the rate has risen to where it is, from a start or a yield. */
  #hasRisen = true
  /** We were away for somebody, and have just come back. */
  #isBack = false
  /** Queues in a row that came so soon after we came back that they were taken for our own. */
  #earlyQueues = 0
  #hotSinceMs: number | null = null
  readonly #suspicion = new QueueSuspicion()
  /** Of the start's rate, that is read: see #guardBuffers. */
  #guard = 1
  #probe: { readonly fromMs: number; readonly untilMs: number; readonly step: number; readonly seen: number[] } | null =
    null
  #probedMs = 0
  #probeEveryMs: number = PROBE_EVERY_MS.least

  constructor(level: WanLevel) {
    this.#level = level
  }

  get state(): WanState {
    return { phase: this.#phase, bytesPerSec: this.#rate, capacityBytesPerSec: this.#capacity }
  }

  /** So little is read that what queues cannot be ours. */
  get isQuiet(): boolean {
    const known = this.#capacity ?? this.#overshotRate ?? 2 * QUIET_RATE
    return this.#rate < known / 2 && this.#phase !== 'drain'
  }

  /** Another priority runs now. */
  setLevel(level: WanLevel): void {
    if (level === this.#level) return
    this.#level = level
    this.#relapses = 0
  }

  /** Goes on where another agent's law stands, or stood when it was last heard of. */
  adopt(state: WanState, nowMs: number): void {
    if (state.phase !== this.#phase) this.#enter(state.phase, nowMs)
    this.#isConfirmed ||= state.capacityBytesPerSec !== null
    this.#rate = state.bytesPerSec
    this.#capacity = state.capacityBytesPerSec
    this.#ceiling = Number.POSITIVE_INFINITY
    this.#coolSinceMs = null
    this.#keptSinceMs = null
    this.#lastMs = nowMs
  }

  /**
   * Nothing was to be had for so long. The rate is found anew from below: at once, as after a yield, when a capacity has
   * held and is not old. A second queue on the way there says that it does not hold any more.
   */
  restart(nowMs: number, awayMs: number): void {
    const known = this.#isConfirmed && awayMs < KNOWN_MS ? this.#capacity : null
    this.#lastMs = null
    this.#isConfirmed = false
    this.#hasDrainedRamp = false
    this.#why = 'starting'
    this.#enter(known === null ? 'startup' : 'ramp', nowMs)
    this.#mostArrived = 0
    this.#ceiling = Number.POSITIVE_INFINITY
    this.#caution = null
    this.#relapses = 0
    this.#relapsedAt = null
    this.#rate = Math.max(FIRST_RATE, RAMP_FROM_RATIO * (known ?? 0))
  }

  step(sample: WanSample): WanDecision {
    const { nowMs } = sample
    const passedMs = this.#lastMs === null ? 0 : nowMs - this.#lastMs
    const isFirst = this.#lastMs === null
    this.#lastMs = nowMs
    if (passedMs > MAX_TICK_MS) return this.#wake(nowMs)
    if (isFirst) this.#enter(this.#phase, nowMs)
    this.#coolSinceMs = sample.delay === null || isCool(sample.delay) ? (this.#coolSinceMs ?? nowMs) : null
    const dtSec = passedMs / 1000
    let isRebase = false
    switch (this.#phase) {
      case 'startup':
        this.#startup(sample)
        break
      case 'drain':
        this.#drain(sample)
        break
      case 'cruise':
        this.#cruise(sample, dtSec)
        break
      case 'yield':
        isRebase = this.#yield(sample)
        break
      case 'ramp':
        this.#ramp(sample)
        break
    }
    this.#makeWayLocally(sample)
    this.#rate = Math.max(this.#rate, this.#level.floorBytesPerSec)
    // Above a cap nothing can be found out; the line may still be faster than that.
    if (sample.capBytesPerSec !== null) this.#rate = Math.min(this.#rate, Math.max(sample.capBytesPerSec, FIRST_RATE))
    return { ...this.state, why: this.#why, isRebase, isReset: false }
  }

  #wake(nowMs: number): WanDecision {
    this.restart(nowMs, Number.POSITIVE_INFINITY)
    this.#lastMs = nowMs
    this.#rate = this.#level.floorBytesPerSec
    this.#coolSinceMs = null
    return { ...this.state, why: 'starting', isRebase: false, isReset: true }
  }

  #startup(sample: WanSample): void {
    const { nowMs, delay, bytesPerSec } = sample
    this.#why = 'starting'
    this.#noteArrived(sample)
    if (this.#isUserThere(sample)) {
      this.#giveWay(sample)
      return
    }
    const own = bytesPerSec.last200Ms
    this.#guardBuffers(delay)
    const suspicion = this.#suspect(delay, nowMs)
    if (suspicion !== 'none' && delay !== null && own > 0) {
      // Kernels that fill heap up a queue too, for a moment; a step now would tell nothing.
      this.#steppedMs = nowMs
      if (suspicion === 'suspected') return
      // Nor does it when something else than our rate is what limits.
      const isOurs = own > OURS_RATIO * this.#rate
      if (isOurs && (!comesMoreThan(sample, FILLING_RATIO) || this.#isHot(delay))) this.#overshoot(sample, own)
      else if (this.#isHot(delay) && nowMs - this.#enteredMs > MAX_HOT_START_MS) this.#giveWay(sample)
      return
    }
    if (this.#isPlateau(sample)) {
      this.#capacity = Math.min(own, sample.arrivedBytesPerSec ?? own)
      this.#enter('cruise', nowMs)
      return
    }
    if (nowMs - this.#steppedMs < STARTUP_STEP_MS) return
    this.#steppedMs = nowMs
    const isNear = this.#overshotRate !== null && this.#rate > this.#overshotRate * SAME_RATE_RATIO
    const { slow, fast, careful } = STARTUP_FACTOR
    const factor = isNear ? careful : this.#rate < SLOW_RATE ? slow : fast
    const lead = Math.max(FIRST_RATE, STARTUP_LEAD_FACTOR * bytesPerSec.last200Ms)
    this.#rate = Math.min(this.#rate * factor, Math.max(lead, this.#rate))
    if (this.#capacity !== null && this.#rate >= this.#target(sample)) this.#enter('cruise', nowMs)
  }

  /**
   * Kernels grow a receive buffer to some three times what is copied within a round trip, and by more when that grows
   * fast. A queue makes round trips longer: who then reads on as before gets megabytes, and from then on a sender that
   * fills them in bursts. So as much less is read as the answer comes later, whyever it does.
   */
  #guardBuffers(delay: DelayView | null): void {
    const climb = this.#rate / this.#guard
    const isLate = delay !== null && delay.queueMs > Math.max(GUARD_MS, GUARD_NOISE_FACTOR * delay.noiseMs)
    this.#guard = isLate ? Math.max(LEAST_GUARD_RATIO, delay.baseMs / (delay.baseMs + delay.queueMs)) : 1
    this.#rate = climb * this.#guard
  }

  /** The line gives at least what came off it for us. */
  #noteArrived({ arrivedBytesPerSec, local }: WanSample): void {
    const ours = (arrivedBytesPerSec ?? 0) - (local?.foregroundBytesPerSec ?? 0)
    this.#mostArrived = Math.max(this.#mostArrived, ours)
  }

  /** The first time may be chance, or the kernel's buffers filling; twice at about the same rate is the line. */
  #overshoot(sample: WanSample, own: number): void {
    const before = this.#overshotRate
    this.#overshotRate = own
    if (before !== null && own > before * SAME_RATE_RATIO && before > own * SAME_RATE_RATIO) {
      // What was read came in part out of the kernel; what came off the line was measured a moment ago, when less did.
      const arrived = sample.arrivedBytesPerSec ?? Math.min(own, before) * TOO_FAST_RATIO
      const seen = Math.min(own, Math.max(arrived, SAME_RATE_RATIO * own))
      this.#capacity = Math.max(seen, LEAST_OF_FIRST_RATIO * before, this.#mostArrived)
    }
    this.#rate = Math.min(own, this.#rate) * DRAIN_RATIO
    this.#enter('drain', sample.nowMs)
  }

  #isPlateau(sample: WanSample): boolean {
    const { nowMs } = sample
    const { last500Ms } = sample.bytesPerSec
    if (nowMs - this.#plateau.atMs < PLATEAU_STEP_MS) return false
    const isCapped = sample.capBytesPerSec !== null && this.#rate >= sample.capBytesPerSec
    const hasGrown = isCapped || last500Ms > this.#plateau.bytesPerSec * PLATEAU_GROWTH || last500Ms === 0
    const count = hasGrown || this.#rate < 1.5 * last500Ms ? 0 : this.#plateau.count + 1
    this.#plateau = { atMs: nowMs, bytesPerSec: last500Ms, count }
    return count >= 2
  }

  /** What we heaped up, in the queue and in the kernel, goes before anything is concluded from a queue. */
  #drain(sample: WanSample): void {
    const { nowMs, delay } = sample
    this.#why = 'starting'
    const elapsedMs = nowMs - this.#enteredMs
    if (this.#isUserThere(sample)) {
      this.#giveWay(sample)
      return
    }
    this.#noteArrived(sample)
    const isFull = comesMoreThan(sample, FULL_RATIO)
    this.#isLineSeen ||= isFull && delay !== null && isQueue(delay, this.#thresholdMs(delay))
    if (delay === null || (isCool(delay) && elapsedMs > delay.baseMs + 100)) {
      // Buffers that grew were filled as fast as the line gives, while we read less.
      if (this.#overshotRate !== null) this.#overshotRate = Math.max(this.#overshotRate, this.#mostArrived)
      if (this.#isLineSeen) this.#capacity ??= this.#mostArrived
      if (this.#rampedTo !== null) {
        this.#rate = AFTER_DRAIN_RATIO * this.#rampedTo
        this.#enter('ramp', nowMs)
        return
      }
      const found = this.#capacity ?? this.#overshotRate ?? FIRST_RATE
      this.#rate = Math.min(AFTER_DRAIN_RATIO * found, this.#target(sample))
      this.#enter(this.#capacity === null ? 'startup' : 'cruise', nowMs)
      return
    }
    const line = this.#capacity ?? this.#overshotRate ?? 0
    const { arrivedBytesPerSec } = sample
    const isLosing = arrivedBytesPerSec !== null && arrivedBytesPerSec < OTHERS_RATIO * line
    // Buffers that are full end the flow at once, and answers that waited in our queue still come.
    this.#losingSinceMs = isLosing ? (this.#losingSinceMs ?? nowMs) : null
    const isOthers = this.#losingSinceMs !== null && nowMs - this.#losingSinceMs > delay.baseMs + LOSING_MS
    const ownMs = isOthers ? 0 : this.#ownDrainMs
    // As long as our buffers fill, as fast as the line gives, the queue is ours.
    if (comesMoreThan(sample, FILLING_RATIO)) this.#fillingMs = nowMs
    const filledMs = isOthers ? elapsedMs : nowMs - Math.max(this.#fillingMs, this.#enteredMs)
    // The last 200 ms must lie after what we did.
    const waitMs = ownMs === null || !this.#isHot(delay) ? MAX_DRAIN_MS : delay.baseMs + 300 + ownMs
    if (filledMs <= waitMs && elapsedMs <= MAX_DRAIN_MS) return
    this.#enterYield(sample, { why: 'queue', isCertain: true })
  }

  #cruise(sample: WanSample, dtSec: number): void {
    const { nowMs, delay, bytesPerSec } = sample
    const capacity = this.#capacity ?? bytesPerSec.last500Ms
    if (this.#probe !== null) this.#lookAtProbe(sample, capacity)
    if (this.#probe !== null || this.#phase !== 'cruise') return
    if (this.#isStarved(sample, capacity)) {
      this.#relapse(sample)
      return
    }
    if (this.#isOthersQueue(sample)) {
      this.#meetQueue(sample, capacity)
      return
    }
    if (sample.isUserElsewhere) {
      this.#giveWay(sample)
      return
    }
    this.#isConfirmed ||= nowMs - this.#enteredMs > CONFIRMED_MS
    const target = this.#target(sample)
    if (delay === null || isCool(delay)) {
      this.#rate = Math.min(target, this.#rate + capacity * APPROACH_RATIO_PER_SEC * dtSec)
      if (this.#rate >= target) this.#why = 'line'
    } else {
      this.#rate = Math.max(LEAST_CRUISE_RATIO * capacity, this.#rate * (1 - RETREAT_RATIO_PER_SEC * dtSec))
    }
    this.#rate = Math.min(this.#rate, target)
    const isCoolLong = this.#coolSinceMs !== null && nowMs - this.#coolSinceMs >= 500
    if (this.#ceiling < capacity) {
      const hereMs = nowMs - this.#enteredMs
      const isKept = isKeptQueue(delay) && hereMs < CEILING_MS.most
      if (!isCoolLong || isKept || hereMs < CEILING_MS.least) return
      this.#ceiling = Number.POSITIVE_INFINITY
      this.#enter('ramp', nowMs)
      return
    }
    const mayProbe = isCoolLong && nowMs - this.#probedMs >= this.#probeEveryMs && this.#rate >= target * 0.999
    // Without a probe nothing would say that it was too much.
    if (!mayProbe || delay === null || !sample.isLimited) return
    this.#startProbe(sample, PROBE_STEP, capacity)
  }

  /** Theirs, unless it came so soon that it may be ours. */
  #meetQueue(sample: WanSample, capacity: number): void {
    const { nowMs, bytesPerSec } = sample
    const isEarly = nowMs - this.#enteredMs < OWN_QUEUE_MS
    const wereThere = this.#ceiling <= capacity || (this.#isBack && this.#isConfirmed)
    if (isEarly && wereThere) {
      // Whoever was there may still be, with less of a queue than ours was; or the line is not what it was.
      if (this.#ceiling >= capacity) this.#lowerCapacity(sample, capacity)
      this.#relapse(sample)
      return
    }
    const mayBeOurs = isEarly && this.#hasRisen
    if (mayBeOurs) this.#lowerCapacity(sample, capacity)
    if (mayBeOurs && this.#earlyQueues < MAX_EARLY_QUEUES) {
      this.#earlyQueues++
      // Who else is there shows while it drains.
      this.#rate = DRAIN_RATIO * Math.min(this.#rate, bytesPerSec.last200Ms)
      this.#enter('drain', nowMs)
      return
    }
    this.#earlyQueues = 0
    this.#giveWay(sample)
  }

  /** Our own queue: the line gives what came off it, unless others had a part. */
  #lowerCapacity(sample: WanSample, capacity: number): void {
    this.#probeEveryMs = PROBE_EVERY_MS.least
    // All that is read comes: it may have been chance.
    if (comesMoreThan(sample, COMES_RATIO)) {
      this.#capacity = capacity * PERHAPS_TOO_FAST_RATIO
      return
    }
    const seen = this.#relapses > 0 ? (sample.arrivedBytesPerSec ?? capacity) * ARRIVED_MARGIN : capacity
    this.#capacity = Math.max(capacity * LEAST_TOO_FAST_RATIO, Math.min(capacity * TOO_FAST_RATIO, seen))
  }

  #startProbe({ nowMs, delay }: WanSample, step: number, capacity: number): void {
    this.#probe = { fromMs: nowMs, untilMs: nowMs + (delay?.baseMs ?? 100) + PROBE_MS, step, seen: [] }
    this.#suspicion.forget()
    this.#rate = capacity * step
  }

  /** Ends it when the queue says that the line is not faster, or when it has had its time. */
  #lookAtProbe(sample: WanSample, capacity: number): void {
    const { nowMs, bytesPerSec, delay } = sample
    const probe = this.#probe
    if (probe === null) return
    // As long as all that is read comes, a queue is not of our making.
    const isOurs = sample.arrivedBytesPerSec === null || sample.arrivedBytesPerSec < COMES_RATIO * bytesPerSec.last200Ms
    const suspicion = this.#suspect(delay, nowMs)
    const isHot = delay !== null && this.#isHot(delay)
    if (delay !== null && (isHot || (isOurs && suspicion === 'sure'))) {
      this.#endProbe(nowMs, false)
      // What comes off a line that is full is what it gives.
      this.#capacity = Math.max(capacity, sample.arrivedBytesPerSec ?? 0)
      this.#drainProbe(nowMs, delay, { capacity, step: probe.step })
      return
    }
    if (nowMs > probe.fromMs + PROBE_LOOK_MS) probe.seen.push(bytesPerSec.last200Ms)
    if (nowMs < probe.untilMs || suspicion === 'suspected') return
    // What is read may come out of the kernel for a while; what the line gives is what arrives.
    const read = mean(probe.seen)
    const found = Math.min(read, sample.arrivedBytesPerSec ?? read)
    const isFaster = suspicion === 'none' && found > PROBE_FOUND * capacity
    this.#endProbe(nowMs, isFaster)
    if (isFaster) {
      const step = 1 + (probe.step - 1) * PROBE_STEP_GROWTH
      this.#capacity = found
      if (step <= MAX_PROBE_STEP) this.#startProbe(sample, step, found)
      else this.#searchAnew(nowMs, found)
      return
    }
    if (read < capacity) this.#capacity = Math.max(read, capacity * 0.97)
    // It was seen too late to be judged by, over a long way; what is left of it would be taken for somebody's.
    if (delay !== null && !isCool(delay)) this.#drainProbe(nowMs, delay, { capacity, step: probe.step })
    else this.#rate = this.#target(sample)
  }

  /** The queue of a try that found no more goes before anything is concluded from it. */
  #drainProbe(nowMs: number, delay: DelayView, { capacity, step }: { capacity: number; step: number }): void {
    const ratio = this.#isHot(delay) ? AFTER_HOT_PROBE_RATIO : AFTER_PROBE_RATIO
    this.#isConfirmed = true
    this.#rate = capacity * ratio
    this.#enter('drain', nowMs)
    // What is seen is as old as a round trip. We read so much less than comes that it is gone in this time, twice over;
    // what is still there is not ours.
    const unseenMs = (step - 1) * (delay.baseMs + PROBE_LOOK_MS)
    this.#ownDrainMs = (2 * (delay.queueMs + unseenMs)) / (1 - ratio)
  }

  /** The line is so much faster than was thought that it is looked for as at the start. */
  #searchAnew(nowMs: number, from: number): void {
    this.#capacity = null
    this.#overshotRate = null
    this.#mostArrived = 0
    this.#rate = from
    this.#enter('startup', nowMs)
  }

  /** A line that was not faster is tried less and less often. */
  #endProbe(nowMs: number, isFaster: boolean): void {
    this.#probe = null
    this.#probedMs = nowMs
    this.#probeEveryMs = isFaster ? PROBE_EVERY_MS.least : Math.min(PROBE_EVERY_MS.most, this.#probeEveryMs * 2)
  }

  #giveWay(sample: WanSample, ceilingBytesPerSec: number | null = null): void {
    const why = sample.isUserElsewhere ? 'user-elsewhere' : isUserHere(sample.local) ? 'user-here' : 'queue'
    this.#rate = Math.min(this.#rate, sample.bytesPerSec.last200Ms) * CUT_RATIO
    this.#probe = null
    this.#probeEveryMs = PROBE_EVERY_MS.least
    // Somebody who is known to be there need not be proved by the queue, nor looked for by the rate.
    if (why === 'queue') this.#enterYield(sample, { why, isCertain: false, ceilingBytesPerSec })
    else this.#enterYield(sample, { why, isCertain: true })
  }

  /**
   * @param options.isCertain somebody is there; else the queue is looked at again once ours would be gone
   * @param options.ceilingBytesPerSec what we came back to when it queued; null: not by a queue
   */
  #enterYield({ nowMs, delay }: WanSample, { why, isCertain, ceilingBytesPerSec = null }: YieldReason): void {
    const isRelapse = nowMs - this.#yieldEndedMs < QUICK_RELAPSE_MS
    if (!isRelapse) this.#relapses = 0
    this.#caution = isRelapse ? { ceilingBytesPerSec } : null
    // A queue that is gone at once, at the first return, was nobody's: answers came late for another reason.
    if (isCertain || this.#wasAlarm) this.#beCautious()
    this.#wasAlarm = false
    this.#why = why
    this.#cutQueueMs = delay?.queueMs ?? 0
    this.#isCutJudged = isCertain
    this.#coolSinceMs = null
    if (isCertain) this.#rate = this.#level.floorBytesPerSec
    this.#enter('yield', nowMs)
  }

  #beCautious(): void {
    if (this.#caution === null) return
    this.#relapses++
    this.#ceiling = this.#caution.ceilingBytesPerSec ?? this.#ceiling
    this.#caution = null
  }

  /** @returns true when the path has become longer */
  #yield(sample: WanSample): boolean {
    const { nowMs, delay, delaySpreadMs } = sample
    const elapsedMs = nowMs - this.#enteredMs
    if (!this.#isCutJudged && elapsedMs > (delay?.baseMs ?? 0) + CUT_LOOK_MS) {
      this.#isCutJudged = true
      const isStillThere =
        delay !== null && (this.#isHot(delay) || delay.recentQueueMs > CUT_EMPTIED_RATIO * this.#cutQueueMs)
      this.#wasAlarm = !isStillThere
      if (isStillThere) {
        this.#rate = this.#level.floorBytesPerSec
        this.#beCautious()
      }
    }
    const isUserThere = this.#isUserThere(sample)
    const isSteady = delaySpreadMs !== null && delaySpreadMs < REBASE_SPREAD_MS
    const isKept = isKeptQueue(delay)
    const isSmall = isKept && delay !== null && delay.leastQueueMs < this.#thresholdMs(delay)
    this.#keptSinceMs = isSmall && !isUserThere ? (this.#keptSinceMs ?? nowMs) : null
    const isLonger = this.#keptSinceMs !== null && nowMs - this.#keptSinceMs >= MAX_KEPT_MS
    if (isLonger || (!isUserThere && elapsedMs >= REBASE_AFTER_MS && isSteady && isLineQueued(delay))) {
      this.#enteredMs = nowMs
      this.#coolSinceMs = null
      this.#keptSinceMs = null
      this.#relapses = 0
      return true
    }
    if (isUserThere || (this.#isCutJudged && delay !== null && !isCool(delay))) {
      this.#rate = this.#level.floorBytesPerSec
      this.#coolSinceMs = null
      return false
    }
    if (isKept) {
      this.#rate = this.#level.floorBytesPerSec
      return false
    }
    // A flow that lost much takes some round trips until it fills the line again.
    const repeatedMs = Math.min(MAX_HOLD_MS, this.#level.holdMs * 2 ** this.#relapses)
    const holdMs = Math.max(repeatedMs, HOLD_ROUND_TRIPS * (delay?.baseMs ?? 0))
    if (this.#coolSinceMs !== null && nowMs - this.#coolSinceMs >= holdMs) {
      this.#yieldEndedMs = nowMs
      if (this.#capacity === null || (!this.#isConfirmed && this.#why === 'queue')) {
        this.#searchAnew(nowMs, Math.max(FIRST_RATE, RESEARCH_RATIO * (this.#capacity ?? 0)))
        return false
      }
      this.#rate = Math.max(this.#rate, RAMP_FROM_RATIO * this.#capacity)
      this.#enter('ramp', nowMs)
    }
    return false
  }

  #ramp(sample: WanSample): void {
    const { nowMs, delay, bytesPerSec } = sample
    if (this.#isUserThere(sample) || (delay !== null && this.#isWarm(delay))) {
      const mayBeOurs = !this.#isConfirmed && !this.#hasDrainedRamp && !this.#isUserThere(sample)
      if (mayBeOurs) this.#drainRamp(nowMs)
      else this.#relapse(sample)
      return
    }
    if (this.#suspect(delay, nowMs) !== 'none') {
      this.#steppedMs = nowMs
      if (isKeptQueue(delay)) this.#relapse(sample)
      return
    }
    if (delay === null && !this.#isConfirmed) {
      // Nobody will say when it is too much: the line is searched for, as where nothing is known.
      if (nowMs - this.#enteredMs >= FIRST_ANSWER_MS) this.#searchAnew(nowMs, this.#rate)
      return
    }
    // A step is judged by answers that left after it.
    if (nowMs - this.#steppedMs < Math.max(RAMP_STEP_MS, (delay?.baseMs ?? 0) + CUT_LOOK_MS)) return
    this.#steppedMs = nowMs
    const target = this.#target(sample)
    const line = this.#capacity ?? FIRST_RATE
    const next = Math.min(this.#rate * 2, this.#rate + RAMP_STEP_RATIO * line)
    this.#rate = Math.min(target, next, Math.max(RAMP_FROM_RATIO * line, RAMP_LEAD_FACTOR * bytesPerSec.last200Ms))
    const isGivenLess = !sample.isLimited && nowMs - this.#enteredMs > MAX_RAMP_MS
    if (this.#rate >= target || isGivenLess) this.#enter('cruise', nowMs)
  }

  /** A new connection's buffers fill as fast as the line gives, once. Who else is there shows while it drains. */
  #drainRamp(nowMs: number): void {
    this.#hasDrainedRamp = true
    this.#rampedTo = this.#rate
    this.#rate *= DRAIN_RATIO
    this.#enter('drain', nowMs)
  }

  #relapse(sample: WanSample): void {
    const reached = sample.bytesPerSec.last200Ms
    const before = this.#relapsedAt
    const isUserThere = this.#isUserThere(sample)
    this.#relapsedAt = isUserThere ? null : reached
    const isSame = before !== null && reached > before * SAME_RATE_RATIO && before > reached * SAME_RATE_RATIO
    if (isSame && this.#relapses > 0 && !isUserThere) {
      const seen = Math.max(reached, sample.arrivedBytesPerSec ?? 0)
      const capacity = this.#capacity ?? seen
      this.#capacity = Math.min(capacity, Math.max(seen, LEAST_OF_LINE_RATIO * capacity))
    }
    this.#giveWay(sample, Math.max(RELAPSE_CEILING_RATIO * reached, FIRST_RATE))
  }

  /** What somebody on this machine uses is known sooner, and better, than the queue shows it. */
  #makeWayLocally({ local, nowMs }: WanSample): void {
    if (local === null || !local.isActive || this.#capacity === null) return
    if (this.#phase !== 'cruise' && this.#phase !== 'ramp') return
    const left = 0.9 * this.#capacity - 1.1 * local.foregroundBytesPerSec
    if (left >= this.#rate) return
    this.#rate = Math.max(left, this.#level.floorBytesPerSec)
    this.#why = 'user-here'
    this.#probe = null
    this.#probedMs = nowMs
  }

  /** Somebody uses the line so much that nothing is left for us, or waits for it. */
  #isUserThere({ local, isUserElsewhere }: WanSample): boolean {
    return isUserElsewhere || isUserHere(local)
  }

  #target({ delay }: Pick<WanSample, 'delay'>): number {
    const ratio = delay === null ? Math.min(BLIND_USE_RATIO, this.#level.useRatio) : this.#level.useRatio
    return Math.min(ratio * (this.#capacity ?? Number.POSITIVE_INFINITY), this.#ceiling)
  }

  #isHot(delay: DelayView): boolean {
    return isHot(delay, this.#level.thresholdFactor)
  }

  /** Who comes back looks closer. */
  #isWarm(delay: DelayView): boolean {
    return isAbove(delay, this.#thresholdMs(delay))
  }

  /** Where round trips scatter, a queue must show in what arrives too, or stay: others in it take from our part. */
  #isOthersQueue({ nowMs, delay, arrivedBytesPerSec, bytesPerSec }: WanSample): boolean {
    if (delay === null || !this.#isHot(delay)) {
      this.#hotSinceMs = null
      return false
    }
    this.#hotSinceMs ??= nowMs
    if (delay.noiseMs < DOUBTFUL_NOISE_MS || arrivedBytesPerSec === null) return true
    return arrivedBytesPerSec < LOSING_RATIO * bytesPerSec.last200Ms || nowMs - this.#hotSinceMs > SURELY_HOT_MS
  }

  /** We have just come back, and somebody has most of the line, with a queue too small to show it otherwise. */
  #isStarved({ nowMs, delay, arrivedBytesPerSec }: WanSample, capacity: number): boolean {
    const hereMs = nowMs - this.#enteredMs
    if (!this.#isBack || arrivedBytesPerSec === null || hereMs < STARVED_MS || hereMs > QUICK_RELAPSE_MS) return false
    const isQueued = delay !== null && isKeptQueue(delay) && isQueue(delay, this.#thresholdMs(delay))
    return isQueued && arrivedBytesPerSec < Math.min(OTHERS_RATIO * capacity, STARVED_RATIO * this.#rate)
  }

  #suspect(delay: DelayView | null, nowMs: number): Suspicion {
    return this.#suspicion.look(delay, { nowMs, thresholdMs: delay === null ? 0 : this.#thresholdMs(delay) })
  }

  #thresholdMs(delay: DelayView): number {
    return delay.thresholdMs * this.#level.thresholdFactor
  }

  #enter(phase: WanPhase, nowMs: number): void {
    // A try that found nothing drains and goes on at a rate that has held.
    if (phase === 'cruise') {
      this.#hasRisen = this.#phase !== 'drain' || !this.#isConfirmed
      this.#isBack = this.#phase === 'ramp'
    }
    this.#phase = phase
    this.#enteredMs = nowMs
    this.#steppedMs = nowMs
    this.#ownDrainMs = null
    this.#losingSinceMs = null
    this.#keptSinceMs = null
    this.#isLineSeen = false
    if (phase !== 'drain') this.#rampedTo = null
    this.#suspicion.forget()
    this.#guard = 1
    this.#plateau = { atMs: nowMs, bytesPerSec: 0, count: 0 }
    if (phase === 'cruise') {
      this.#probe = null
      this.#probedMs = nowMs
    }
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, one) => sum + one, 0) / Math.max(1, values.length)
}

/** More comes than this of what is read; false where that is not known. */
function comesMoreThan({ arrivedBytesPerSec, bytesPerSec }: WanSample, ratio: number): boolean {
  return arrivedBytesPerSec !== null && arrivedBytesPerSec > ratio * bytesPerSec.last200Ms
}
