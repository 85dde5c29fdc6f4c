/** What an agent knows of another that wants the same resource. Whether that one may be counted on is crowd.ts's to judge. */
import type { Condition, FetcherState } from '../content/fetcher-state.ts'
import { PositionSet } from '../content/position-set.ts'
import { SEGMENT_BYTES, type SegmentRange } from '../content/segmentation.ts'

export class Member {
  readonly rank: string
  readonly #segmentCount: number
  #state: FetcherState
  /** Of the state, what is asked again and again. */
  #isWilling = false
  #hasClaims = false
  /** Null: not asked for yet. Most agents never claim, and so never look at what others claim. */
  #claimed: PositionSet | null = null
  #fetched: PositionSet | null = null
  /** What it had fetched when we first heard of it. */
  readonly #fetchedBefore: readonly SegmentRange[]
  /** We have a session with it; it is heard at first hand. */
  isDirect = false
  heardAtMs: number
  progressAtMs: number
  /** Since when it may fetch by its rank and claims nothing; null: it claims something, or it is not its turn. */
  idleSinceMs: number | null = null
  /** It was its turn, and it did nothing. */
  skippedUntilMs = 0
  goneAtMs: number | null = null

  constructor(state: FetcherState, options: { rank: string; segmentCount: number; nowMs: number }) {
    this.rank = options.rank
    this.#segmentCount = options.segmentCount
    this.#state = state
    this.#fetchedBefore = state.fetched
    this.heardAtMs = options.nowMs
    this.progressAtMs = options.nowMs
    this.#keep(state, options.nowMs)
  }

  get state(): FetcherState {
    return this.#state
  }

  /** Not to be written to. */
  get claimed(): PositionSet {
    this.#claimed ??= PositionSet.of(this.#segmentCount, this.#state.claimed)
    return this.#claimed
  }

  /** Not to be written to. */
  get fetched(): PositionSet {
    this.#fetched ??= PositionSet.of(this.#segmentCount, this.#state.fetched)
    return this.#fetched
  }

  /** Of what it claims, what it has not had yet. */
  get leftBytes(): number {
    const begunBytes = this.#state.progressBytes - this.fetched.size * SEGMENT_BYTES
    return (
      this.claimed.size * SEGMENT_BYTES - Math.min(Math.max(0, begunBytes), this.#state.streamCount * SEGMENT_BYTES)
    )
  }

  /** It had the position from the origin while we knew of it: for us too, and not long ago for itself. */
  hasFetchedWithUs(index: number): boolean {
    return this.fetched.has(index) && !this.#fetchedBefore.some(({ start, end }) => index >= start && index < end)
  }

  get isWilling(): boolean {
    return this.#isWilling
  }

  get hasClaims(): boolean {
    return this.#hasClaims
  }

  /** It said something newer of itself, or somebody did. */
  tell(state: FetcherState, nowMs: number): void {
    const isFreshClaim = !this.#hasClaims && state.claimed.length > 0
    const hasProgressed = state.progressBytes > this.#state.progressBytes
    // After a time that did not count patience begins anew: the first bytes need a moment.
    if (hasProgressed || isFreshClaim || mayStandStill(this.#state.condition)) this.progressAtMs = nowMs
    this.#keep(state, nowMs)
  }

  #keep(state: FetcherState, nowMs: number): void {
    this.#state = state
    this.#isWilling = isWilling(state.condition)
    this.#hasClaims = state.claimed.length > 0
    this.#claimed = null
    this.#fetched = null
    this.heardAtMs = nowMs
    if (this.#hasClaims) {
      this.idleSinceMs = null
      this.skippedUntilMs = 0
    }
    this.goneAtMs = state.condition === 'done' ? nowMs : null
  }
}

/** May be asked to fetch, at once or when the WAN is free again. */
export function isWilling(condition: Condition): boolean {
  return condition === 'active' || condition === 'busy'
}

/** Claims and no progress: for a reason that binds all. */
export function mayStandStill(condition: Condition): boolean {
  return condition === 'wait' || condition === 'busy'
}
