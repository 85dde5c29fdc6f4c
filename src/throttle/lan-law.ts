/**
 * How fast one direction of the lane may go beside others on this host. Pure: (measurement, own state) -> rate.
 *
 * Others in the same direction get the link. At the first sign of them the queue that we stand in is emptied, because a
 * new flow that finds one hardly starts. Then we get out of their way and look: if they grow, we were in it, and take from
 * then on what they leave of the link; if not, something else bounds them, and we go on beside them.
 *
 * Others in the other direction need their acknowledgements to go our way: there it is enough that no queue of ours stands
 * before them.
 */
import type { DirectionView } from './foreground-meter.ts'
import { AckRoom, QUEUED_MS, ShortBacklog } from './lan-backlog.ts'

export type LanState = 'free' | 'yielding' | 'ramping'

export interface LanInput {
  /** Monotonic, of the measurement. */
  readonly nowMs: number
  /** Of the direction that is governed. */
  readonly along: DirectionView
  /** Of the other one. */
  readonly against: DirectionView
  /** Nominal; null when unknown. */
  readonly linkBytesPerSec: number | null
  /** Below it no rate is set, nor below 1 % of the link. */
  readonly floorBytesPerSec: number
  /** The kernel's queues are not known: small rates of others are noise. */
  readonly isBlind: boolean
  /** Ours, in the kernel in this direction: what goes out whatever is decided. Null when unknown, or none of our making. */
  readonly backlogBytes: number | null
  /** Given to the kernel since the last measurement; 0 in the other direction. */
  readonly writtenBytes: number
  /** Of the uploads that run, at most; 0 in the other direction. */
  readonly unsentBytes: number
}

export interface LanView {
  readonly state: LanState
  /** Null: no limit. */
  readonly rateMaxBytesPerSec: number | null
  /** Of others on this host, in this direction. */
  readonly foregroundBytesPerSec: number
  /** For people. */
  readonly reason: string
}

export interface LanDecision {
  readonly view: LanView
  /** Null: none. Also what keeps the backlog short while the lane is free, which costs no rate. */
  readonly bytesPerSec: number | null
}

/** The step for which the factors below are meant. */
const STEP_MS = 200
const MAX_STEPS = 5

/** Others count from here on: 1 Mbit/s, or this part of the link. What we see of them is exact enough for it. */
const MIN_SEEN_BYTES_PER_SEC = 125_000
const SEEN_RATIO = 0.01
/** While the measuring begins its window is short, and a burst of ours makes more of a difference. */
const FIRST_SAMPLES = 5
const FIRST_SEEN_RATIO = 0.1
/** Seen so often in a row they are there; before that it may be a bad reading, and nothing is held. */
const SURE_SAMPLES = 2

/** Of our own rate, at the first sign: the queue of a link is empty within a step. */
const ALERT_RATIO = 0.6
/** Of all that passes: less of others is not worth getting out of the way. */
const OTHERS_RATIO = 0.1
const CUT_RATIO = 0.25
const FLOOR_RATIO = 0.01
/** What is on its way goes on for a while after a cut; then so much of our rate is left, or it is judged all the same. */
const GONE_RATIO = 0.5
const MAX_GOING_MS = 5000
/** A flow on a LAN takes what we leave within some tenths of a second. */
const JUDGE_MS = 800
/** Others that grow by so much when we go were held back by us; others that do so later are to be judged anew. */
const GREW_RATIO = 1.25
/** So do those who shrink by so much: we may have grown into their way. */
const SHRANK_RATIO = 0.6

/** The link is full from here on. */
const FULL_RATIO = 0.92
/** What is left to us beside others who do not fill the link: so much of it, less what they use and a little more. */
const HEADROOM_RATIO = 0.9
const OTHERS_WEIGHT = 1.1
/** After a cut, and after others were seen last: with 0.4 s the pauses of a starting flow look like its end. */
const HOLD_MS = 1000
const GROWTH = 2
/** Near to the share. */
const SLOW_GROWTH = 1.2
/** Of the link, from where the ramp begins. */
const FIRST_RAMP_RATIO = 0.1
/** The most that passed is the link, as long as nothing better is known; links change, so it is forgotten by half in ... */
const CAPACITY_HALF_LIFE_MS = 10_000

const NOBODY = 'nobody else uses the link'

interface Situation {
  readonly nowMs: number
  /** Steps since the last decision. */
  readonly steps: number
  readonly totalBytesPerSec: number
  readonly ownBytesPerSec: number
  readonly othersBytesPerSec: number
  readonly floorBytesPerSec: number
  readonly backlogMs: number | null
  readonly isStanding: boolean
}

/** What came of getting out of the way of others. */
type Trial =
  | { readonly verdict: 'none' }
  | {
      readonly verdict: 'open'
      readonly sinceMs: number
      /** When our own rate had fallen; null until then. */
      readonly goneAtMs: number | null
      readonly othersBytesPerSec: number
    }
  /** We were in their way. */
  | { readonly verdict: 'contended' }
  /** We were not, as long as they are about so many. */
  | { readonly verdict: 'harmless'; readonly othersBytesPerSec: number }

export class LanLaw {
  #state: LanState = 'free'
  #reason = NOBODY
  #atMs: number | null = null
  #samples = 0
  #capacityBytesPerSec = 0
  /** Because of others in our direction. */
  #rate: number | null = null
  #trial: Trial = { verdict: 'none' }
  #ownBeforeBytesPerSec = 0
  /** Measurements in a row that saw others. */
  #signs = 0
  #isQueued = false
  #seenSamples = 0
  #seenAtMs = Number.NEGATIVE_INFINITY
  #cutAtMs = Number.NEGATIVE_INFINITY
  readonly #ackRoom = new AckRoom()
  readonly #backlog = new ShortBacklog()

  /** Nobody else is seen, no queue stands, and nothing is tried: looking less often is enough. */
  get isCalm(): boolean {
    const isFree = this.#state === 'free' && this.#signs === 0 && this.#samples > FIRST_SAMPLES
    return isFree && !this.#isQueued && !this.#backlog.isNeeded && !this.#ackRoom.isNeeded
  }

  step(input: LanInput): LanDecision {
    const { along, against } = input
    const is = this.#situation(input)
    this.#isQueued = is.backlogMs !== null && is.backlogMs > QUEUED_MS
    const isSeen = input.isBlind ? along.isActive : this.#isSeen(along)
    this.#signs = isSeen ? this.#signs + 1 : 0
    if (isSeen && (this.#rate !== null || this.#isReason(is))) this.#yield(is)
    else this.#recover(is)
    const queue = { ...is, capacityBytesPerSec: this.#capacityBytesPerSec, unsentBytes: input.unsentBytes }
    const againstRate = this.#ackRoom.step(queue, { isNeeded: against.isActive })
    const lowest = least(this.#rate, againstRate)
    const rate = lowest === null ? null : Math.max(is.floorBytesPerSec, lowest)
    const isForAcks = lowest !== null && lowest === againstRate
    return {
      bytesPerSec: this.#backlog.step(queue, { rateBytesPerSec: rate }),
      view: {
        state: isForAcks ? 'yielding' : this.#state,
        rateMaxBytesPerSec: rate,
        foregroundBytesPerSec: along.foregroundBytesPerSec,
        reason: isForAcks ? 'others on this host receive: room for their acknowledgements' : this.#reason,
      },
    }
  }

  #situation(input: LanInput): Situation {
    const { nowMs, along, linkBytesPerSec, floorBytesPerSec, backlogBytes } = input
    const stepMs = this.#atMs === null ? STEP_MS : nowMs - this.#atMs
    this.#atMs = nowMs
    // What others leave us says nothing of the link: it is forgotten only while we are free.
    const kept = this.#rate === null ? 0.5 ** (stepMs / CAPACITY_HALF_LIFE_MS) : 1
    const most = Math.max(along.totalBytesPerSec, this.#capacityBytesPerSec * kept)
    this.#capacityBytesPerSec = Math.min(most, linkBytesPerSec ?? Number.POSITIVE_INFINITY)
    const ownBytesPerSec = Math.max(0, along.recentBytesPerSec - along.recentForegroundBytesPerSec)
    return {
      nowMs,
      steps: Math.min(MAX_STEPS, stepMs / STEP_MS),
      totalBytesPerSec: along.recentBytesPerSec,
      ownBytesPerSec,
      // Whichever is larger: what grows shows in the last moments, what pauses in the last second.
      othersBytesPerSec: Math.max(along.foregroundBytesPerSec, along.recentForegroundBytesPerSec),
      floorBytesPerSec: Math.max(floorBytesPerSec, FLOOR_RATIO * this.#capacityBytesPerSec),
      backlogMs: backlogBytes === null || ownBytesPerSec <= 0 ? null : (backlogBytes / ownBytesPerSec) * 1000,
      isStanding: backlogBytes !== null && backlogBytes > input.writtenBytes,
    }
  }

  #leastSeen(ratio = SEEN_RATIO): number {
    return Math.max(MIN_SEEN_BYTES_PER_SEC, ratio * this.#capacityBytesPerSec)
  }

  /** Both over the last second and now: then it is neither one bad reading nor something that has ended. */
  #isSeen(along: DirectionView): boolean {
    const bytesPerSec = this.#leastSeen(++this.#samples <= FIRST_SAMPLES ? FIRST_SEEN_RATIO : SEEN_RATIO)
    return along.foregroundBytesPerSec > bytesPerSec && along.recentForegroundBytesPerSec > bytesPerSec
  }

  // Who moves next to nothing is in nobody's way, and learns nothing by going. One small sign may be a bad reading, which
  // on a fast link comes every few seconds; on a slow one it is dearer to wait for the next.
  #isReason({ ownBytesPerSec, othersBytesPerSec, totalBytesPerSec, floorBytesPerSec }: Situation): boolean {
    if (ownBytesPerSec <= floorBytesPerSec) return false
    const isLarge = othersBytesPerSec > OTHERS_RATIO * totalBytesPerSec
    return isLarge || this.#signs >= SURE_SAMPLES || this.#backlog.isNeeded
  }

  #yield(is: Situation): void {
    this.#seenAtMs = is.nowMs
    this.#seenSamples = Math.max(this.#seenSamples + 1, this.#signs)
    this.#state = 'yielding'
    this.#reason = 'others on this host use the link'
    this.#try(is)
    if (this.#trial.verdict === 'open') this.#cut(is, this.#rate ?? is.ownBytesPerSec)
    else if (this.#rate === null) this.#rate = ALERT_RATIO * is.ownBytesPerSec
    else this.#share(is, this.#rate)
    this.#rate = Math.max(is.floorBytesPerSec, this.#rate ?? 0)
  }

  #try(is: Situation): void {
    const { nowMs, othersBytesPerSec: others, totalBytesPerSec: total } = is
    const trial = this.#trial
    if (trial.verdict === 'open') {
      if (trial.goneAtMs !== null && nowMs - trial.goneAtMs >= JUDGE_MS) this.#judge(others, trial.othersBytesPerSec)
      else if (
        trial.goneAtMs === null &&
        (is.ownBytesPerSec < GONE_RATIO * this.#ownBeforeBytesPerSec || nowMs - trial.sinceMs >= MAX_GOING_MS)
      ) {
        this.#trial = { ...trial, goneAtMs: nowMs }
      }
      return
    }
    const known = trial.verdict === 'harmless' ? trial.othersBytesPerSec : 0
    const hasChanged =
      others > GREW_RATIO * known + this.#leastSeen() || others < SHRANK_RATIO * known - this.#leastSeen()
    if (trial.verdict !== 'contended' && hasChanged && others > OTHERS_RATIO * total) {
      this.#trial = { verdict: 'open', sinceMs: nowMs, goneAtMs: null, othersBytesPerSec: others }
      this.#ownBeforeBytesPerSec = is.ownBytesPerSec
    }
  }

  #judge(othersBytesPerSec: number, before: number): void {
    if (othersBytesPerSec > GREW_RATIO * before) {
      this.#trial = { verdict: 'contended' }
      return
    }
    this.#trial = { verdict: 'harmless', othersBytesPerSec: Math.max(othersBytesPerSec, before) }
    this.#rate = this.#ownBeforeBytesPerSec
  }

  #cut({ nowMs, steps, ownBytesPerSec }: Situation, rate: number): void {
    this.#rate = Math.min(rate, ownBytesPerSec) * CUT_RATIO ** steps
    this.#cutAtMs = nowMs
    this.#reason = 'others on this host use the whole link'
  }

  #share(is: Situation, rate: number): void {
    if (this.#trial.verdict === 'harmless') {
      // Until it shows: what passed is no measure of a link that nobody filled.
      if (is.backlogMs === null || is.backlogMs < QUEUED_MS) {
        if (is.ownBytesPerSec > rate / 2) this.#rate = rate * SLOW_GROWTH ** is.steps
        return
      }
      this.#trial = { verdict: 'contended' }
      this.#capacityBytesPerSec = is.totalBytesPerSec
    }
    const capacity = this.#capacityBytesPerSec
    const share = HEADROOM_RATIO * capacity - OTHERS_WEIGHT * is.othersBytesPerSec
    const isFull = is.totalBytesPerSec > FULL_RATIO * capacity
    if (this.#trial.verdict === 'contended' && isFull && is.othersBytesPerSec > OTHERS_RATIO * is.totalBytesPerSec) {
      this.#cut(is, rate)
    } else if (rate > share) this.#rate = share
    else if (is.nowMs - this.#cutAtMs >= HOLD_MS) {
      this.#rate = Math.min(share, rate * (rate < share / 2 ? GROWTH : SLOW_GROWTH) ** is.steps)
    }
  }

  #recover({ nowMs, steps, floorBytesPerSec }: Situation): void {
    const capacity = this.#capacityBytesPerSec
    if (this.#state === 'yielding') {
      this.#reason = 'others on this host used the link a moment ago'
      if (this.#seenSamples < SURE_SAMPLES) this.#free()
      else if (nowMs - this.#seenAtMs >= HOLD_MS) {
        this.#state = 'ramping'
        this.#rate = Math.max(this.#rate ?? 0, FIRST_RAMP_RATIO * capacity)
      }
    } else if (this.#state === 'ramping') {
      this.#reason = 'the link is free again'
      this.#rate = (this.#rate ?? floorBytesPerSec) * GROWTH ** steps
      if (this.#rate > capacity) this.#free()
    }
  }

  #free(): void {
    this.#state = 'free'
    this.#reason = NOBODY
    this.#rate = null
    this.#trial = { verdict: 'none' }
    this.#seenSamples = 0
  }
}

function least(one: number | null, other: number | null): number | null {
  return one === null || other === null ? (one ?? other) : Math.min(one, other)
}
