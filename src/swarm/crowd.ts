/**
 * The agents that want one resource at the same time, and which of them fetch what from its origin for all of them.
 * Pure: (what others say, what we do, now, random) -> who fetches what. The agent and the simulator run this same code.
 *
 *   everybody ranks everybody (rank.ts)  ->  the lowest few fetch  ->  each claims a run of positions, tells, fetches,
 *   and claims the next, smaller one, until nothing is left; the others wait for the segments to come over the LAN.
 *
 * Nobody leads: each computes the same answer from what it has heard, and where two disagree for a moment, their claims
 * collide and the higher rank yields (`yields`).
 *
 * Invariants:
 * 1. A position that a live fetcher claims, or that was fetched a moment ago, is not claimed by us; except from who lags.
 * 2. Our claims and what we fetched are disjoint; both are told to others as they are.
 * 3. A claim lives by progress, not by age: who stands still, leaves or dies loses its claims, and the next rank steps in.
 * 4. State is bounded: MAX_MEMBERS agents, whatever the size of the branch.
 */
import type { Random } from '../clock.ts'
import {
  type Condition,
  type FetcherState,
  MAX_STREAM_COUNT,
  MAX_TOLD_RANGES,
  type ToldState,
} from '../content/fetcher-state.ts'
import type { AgentKey, ResourceKey } from '../content/ids.ts'
import { PositionSet } from '../content/position-set.ts'
import { SEGMENT_BYTES, type SegmentRange } from '../content/segmentation.ts'
import { RateMeter } from '../throttle/rate-meter.ts'
import { isWilling, Member, mayStandStill } from './member.ts'
import { rankOf } from './rank.ts'
import { StreamBudget } from './stream-budget.ts'

/** Fetchers at a time; a budget above this is had by several streams each. */
export const MAX_FETCHERS = 8
/** Remembered: the lowest ranks, and whoever claims something. */
export const MAX_MEMBERS = 32
/** Longest claim; also bounds what a fetcher that dies leaves for others to find out. */
const MAX_CLAIM_SEGMENTS = 64
/** Of a stream whose rate nobody knows yet: little, so that a slow one does not sit on much. */
const FIRST_CLAIM_SEGMENTS = 2
/** A claim tells a stream's rate when so much came of it, and for so long after it ended. */
const MIN_SAMPLE_BYTES = SEGMENT_BYTES / 2
const FORGET_RATE_MS = 10_000
/** Fetchers tell of themselves at least every second; who is only heard of through others and falls silent is gone. */
const SILENT_MS = 5000
/** Claims and not a byte for so long: as if they were not there. The first byte may take an origin longer. */
const STALLED_MS = 3000
const STALLED_AT_FIRST_MS = 8000
/** Its turn for so long, and claims nothing: it cannot, for a reason that we need not know. Others go first for a while. */
const IDLE_MS = 2000
const SKIP_MS = 5000
/** What a fetcher had is believed to be spreading for so long after it left or died, though no neighbour of ours has it. */
const LEGACY_MS = { done: 5000, gone: 1500 }
/** Who fetches is looked at anew after so long, or at once when something was heard. */
const FETCHERS_MS = 200
/** Late by more than this, and twice as late as all the rest: it lags, and others may take what it has not begun. */
const LAG_MS = 2000
/** Who needs so many times what we would, and so much more, is not worth waiting for when we have nothing to do. */
const LATER_TIMES = 2
const LATER_MS = 1000
/** Those who were asked what they do answer within a LAN round trip, a busy machine somewhat later. */
const ANSWERS_MS = 250
/** In a branch larger than our view, ranks need a few rounds to get about before the lowest are known to be so. */
const SETTLE_MS = 400
const SMALL_BRANCH_PEERS = 32

/** A run of positions that we have from the origin in one request, in order. `end` moves down when others take a part. */
export interface Claim {
  readonly start: number
  /** The position that the stream is at: what was before it is stored, or being stored. */
  next: number
  /** Of the position that the stream is at, what came of it. */
  nextBytes: number
  end: number
  readonly startedAtMs: number
  /** That came since. */
  bytes: number
  /** Who lagged with it; null: nobody had it. */
  readonly takenFrom: AgentKey | null
}

/** Of one among several. */
interface Place {
  readonly at: number
  readonly count: number
}

interface Own {
  /** Neighbours that were asked and have not answered. */
  readonly asked: Set<AgentKey>
  readonly settledAtMs: number
  readonly answersUntilMs: number
  condition: Condition
}

export interface CrowdOptions {
  readonly self: AgentKey
  readonly resource: ResourceKey
  readonly segmentCount: number
  /** Connections that this agent opens to an origin for one resource, at most. */
  readonly maxStreams: number
  /** Above what any earlier run of this agent used: milliseconds since the epoch will do. */
  readonly firstSequence: number
  readonly random: Random
}

export class Crowd {
  readonly #o: CrowdOptions
  readonly #rank: string
  readonly #members = new Map<AgentKey, Member>()
  /** The same, lowest rank first. */
  readonly #ranked: Member[] = []
  readonly #claims = new Set<Claim>()
  readonly #claimed: PositionSet
  readonly #fetched: PositionSet
  readonly #rate = new RateMeter()
  readonly #budget = new StreamBudget()
  /** Of one of our streams, request and all, as the last claims had it; null: not known, or too long ago. */
  #stream: { readonly bytesPerSec: number; readonly atMs: number } | null = null
  #progressBytes = 0
  #sequence: number
  #urgentSequence: number
  #own: Own | null = null
  #ignored: ReadonlySet<AgentKey> = new Set()
  /** The origin does no ranges: claims cannot be divided. */
  #isUndivided = false
  /** Since when nothing is left to claim and we fetch nothing; null: that is not so. */
  #idleSinceMs: number | null = null
  #fetchers: { readonly keys: readonly AgentKey[]; readonly atMs: number } | null = null

  constructor(options: CrowdOptions) {
    this.#o = options
    this.#rank = rankOf(options.resource, options.self)
    this.#claimed = new PositionSet(options.segmentCount)
    this.#fetched = new PositionSet(options.segmentCount)
    this.#sequence = options.firstSequence
    this.#urgentSequence = options.firstSequence
  }

  /**
   * We want the resource, and can fetch for others; but claim nothing before those whom we asked said what they do.
   * @param asked neighbours that were told of our interest just now
   */
  join(asked: readonly AgentKey[], nowMs: number): void {
    this.#own = {
      asked: new Set(asked),
      settledAtMs: nowMs + (asked.length >= SMALL_BRANCH_PEERS ? SETTLE_MS : 0),
      answersUntilMs: nowMs + ANSWERS_MS,
      condition: 'active',
    }
    this.#changed()
  }

  /** A neighbour told what it has and does, or will not. */
  answered(neighbour: AgentKey): void {
    this.#own?.asked.delete(neighbour)
  }

  #isSettled(nowMs: number): boolean {
    if (!this.#own || nowMs < this.#own.settledAtMs) return false
    return this.#own.asked.size === 0 || nowMs >= this.#own.answersUntilMs
  }

  /** We have it, or gave up. */
  leave(): void {
    this.#own = null
    this.#changed()
  }

  /** The origin does no ranges: one stream from the start, by one agent, serves all. */
  fetchUndivided(): void {
    this.#isUndivided = true
    this.#budget.limit(1)
    this.#changed()
  }

  get isUndivided(): boolean {
    return this.#isUndivided
  }

  /** Agents from whom we cannot get what they fetch (banned, not reachable): for us they are not there. */
  ignore(agents: ReadonlySet<AgentKey>): void {
    const isSame = agents.size === this.#ignored.size && [...agents].every((agent) => this.#ignored.has(agent))
    if (isSame) return
    this.#ignored = agents
    this.#fetchers = null
  }

  /** Positions that streams of ours have, or will come to. Not to be written to. */
  get ownClaims(): PositionSet {
    return this.#claimed
  }

  setCondition(condition: Condition): void {
    if (!this.#own || this.#own.condition === condition) return
    this.#own.condition = condition
    this.#changed()
  }

  /** What we tell; `done` when we take no part (any longer). */
  ownState(nowMs: number): FetcherState {
    return {
      agent: this.#o.self,
      sequence: this.#sequence,
      condition: this.#own?.condition ?? 'done',
      claimed: this.#claimed.ranges().slice(0, MAX_TOLD_RANGES),
      fetched: this.#fetched.ranges().slice(0, MAX_TOLD_RANGES),
      progressBytes: this.#progressBytes,
      bytesPerSec: Math.round(this.#rate.bytesPerSec(nowMs) ?? 0),
      streamCount: Math.min(this.#claims.size, MAX_STREAM_COUNT),
      streamBudget: this.#budget.value,
    }
  }

  /** Of the last change that others must hear at once: what we claim, or may be asked. Progress is told now and then. */
  get urgentSequence(): number {
    return this.#urgentSequence
  }

  /** Time to say that we are still here: the next `ownState` is newer than the last. */
  renew(): void {
    this.#sequence++
  }

  /** The newest state of another agent. */
  stateOf(agent: AgentKey): FetcherState | undefined {
    return this.#members.get(agent)?.state
  }

  isDirect(agent: AgentKey): boolean {
    return this.#members.get(agent)?.isDirect ?? false
  }

  /** What others must hear from us: the states of the lowest ranks. */
  notable(nowMs: number): ToldState[] {
    const lowest: ToldState[] = []
    for (const member of this.#ranked) {
      if (lowest.length >= MAX_FETCHERS) break
      if (this.#isAlive(member, nowMs)) lowest.push({ state: member.state, isDirect: member.isDirect })
    }
    return lowest
  }

  /** @returns true when it is news */
  hear(state: FetcherState, options: { readonly isDirect: boolean }, nowMs: number): boolean {
    if (state.agent === this.#o.self) return false
    const known = this.#members.get(state.agent)
    // Hearsay never overrides what we hear at first hand, whatever sequence it claims to have.
    if (known?.isDirect && !options.isDirect) return false
    if (known && state.sequence <= known.state.sequence && known.isDirect === options.isDirect) return false
    const member = known ?? this.#admit(state, nowMs)
    if (known) known.tell(state, nowMs)
    member.isDirect ||= options.isDirect
    this.#fetchers = null
    this.#forget(nowMs)
    return true
  }

  /** Its last session with us ended. Others may still tell of it. */
  left(agent: AgentKey, nowMs: number): void {
    this.answered(agent)
    const member = this.#members.get(agent)
    if (!member) return
    member.isDirect = false
    member.goneAtMs ??= nowMs
    this.#fetchers = null
  }

  /** Who fetches now, lowest rank first. */
  fetchers(nowMs: number): readonly AgentKey[] {
    const cached = this.#fetchers
    if (cached && nowMs - cached.atMs < FETCHERS_MS && nowMs >= cached.atMs) return cached.keys
    const able = this.#ranked.filter((member) => this.#isAble(member, nowMs))
    const lead = able.find((member) => !isSkipped(member, nowMs))
    const isLead = this.#isOwnWilling() && !(lead && lead.rank < this.#rank)
    if (lead && !isLead) this.#budget.adopt(lead.state.streamBudget, nowMs)
    const keys = this.#firstOf(able, nowMs)
    this.#fetchers = { keys, atMs: nowMs }
    return keys
  }

  /** As many as the budget allows, ourselves among them when it is our turn; without those who do not take their turn. */
  #firstOf(able: readonly Member[], nowMs: number): AgentKey[] {
    const count = Math.min(this.#budget.value, MAX_FETCHERS)
    const keys: AgentKey[] = []
    let isOwnTurn = this.#isOwnWilling()
    const takeOwnTurn = () => {
      if (isOwnTurn && keys.length < count) keys.push(this.#o.self)
      isOwnTurn = false
    }
    for (const member of able) {
      if (isOwnTurn && member.rank > this.#rank) takeOwnTurn()
      if (keys.length >= count) member.idleSinceMs = null
      if (keys.length >= count || isSkipped(member, nowMs)) continue
      if (!member.hasClaims) {
        member.idleSinceMs ??= nowMs
        if (nowMs - member.idleSinceMs > IDLE_MS) {
          member.idleSinceMs = null
          member.skippedUntilMs = nowMs + SKIP_MS
          continue
        }
      }
      keys.push(member.state.agent)
    }
    takeOwnTurn()
    return keys
  }

  /**
   * Streams that we may run now in all; 0 when others fetch, or nobody may.
   * @param isPart we want only some of the content: others may come to that late or never, so that one stream is ours
   */
  streamShare(nowMs: number, isPart = false): number {
    if (!this.#isSettled(nowMs) || this.#mustWait(nowMs)) return 0
    const fetchers = this.fetchers(nowMs)
    const at = fetchers.indexOf(this.#o.self)
    if (at === -1) return isPart && this.#isOwnWilling() && !this.#isUndivided ? 1 : 0
    return Math.min(this.#streamsOf({ at, count: fetchers.length }), this.#o.maxStreams)
  }

  /** Streams of the budget for one of the fetchers. */
  #streamsOf({ at, count }: Place): number {
    return Math.floor((this.#budget.value - at - 1) / count) + 1
  }

  /** Fetchers for whom there is a part of what is open. Little is for those who can begin it now: it waits for nobody. */
  #sharers(openCount: number, nowMs: number): readonly AgentKey[] {
    const fetchers = this.fetchers(nowMs)
    if (openCount > this.#budget.value) return fetchers
    const count = fetchers.length
    return fetchers.filter((agent, at) => {
      const runningCount = this.#members.get(agent)?.state.streamCount ?? 0
      return agent === this.#o.self || runningCount < this.#streamsOf({ at, count })
    })
  }

  /** Nothing is left to claim, and we could. */
  isIdle(nowMs: number): boolean {
    return this.#idleSinceMs !== null && this.#claims.size === 0 && this.streamShare(nowMs) > 0
  }

  /** How many of those that could fetch, and have nothing to do, go before us. @param except agents that do not count */
  idlePlace(nowMs: number, except: ReadonlySet<AgentKey>): number {
    let count = 0
    for (const member of this.#ranked) {
      if (member.rank > this.#rank) break
      if (!member.hasClaims && !except.has(member.state.agent) && this.#isAble(member, nowMs)) count++
    }
    return count
  }

  get ownStreamCount(): number {
    return this.#claims.size
  }

  /** True when the agent had the position from the origin for all of the crowd, and not for itself before we came. */
  hasFetchedWithUs(agent: AgentKey, index: number): boolean {
    return this.#members.get(agent)?.hasFetchedWithUs(index) ?? false
  }

  /** True when somebody else is about to get the position from the origin, or just did. */
  isExpected(index: number, nowMs: number): boolean {
    if (this.#isClaimed(index, nowMs)) return true
    for (const member of this.#members.values()) {
      if (this.#holdsLegacy(member, nowMs) && member.fetched.has(index)) return true
    }
    return false
  }

  /**
   * Takes the next claim, or null when there is nothing (sensible) to claim.
   * @param free positions that we neither have nor can get from a neighbour, and that nothing of ours fetches
   * @param options.isPart we want only some of the content: nobody need leave any of it to others
   * @param options.doubted positions of which we believe nobody but the origin: that others had them is of no use to us
   * @param options.overdue positions that others had, do not get about, and we are to have once more
   */
  claim(
    free: PositionSet,
    nowMs: number,
    options: { readonly isPart?: boolean; readonly doubted?: Iterable<number>; readonly overdue?: PositionSet } = {},
  ): Claim | null {
    const { isPart = false, doubted = [], overdue } = options
    if (this.#claims.size >= this.streamShare(nowMs, isPart)) return null
    const open = free.copy()
    for (const member of this.#members.values()) {
      if (this.#holdsLegacy(member, nowMs)) open.deleteAll(member.fetched)
    }
    for (const index of doubted) if (free.has(index)) open.add(index)
    for (const member of this.#members.values()) {
      if (this.#holdsClaims(member, nowMs)) open.deleteAll(member.claimed)
    }
    if (open.size === 0 && this.#isUndivided) return null
    if (open.size === 0) return (overdue && this.#again(free, overdue, nowMs)) ?? this.#take(free, nowMs)
    this.#idleSinceMs = null
    if (this.#isTooSlow(open.size, nowMs)) return null
    const sharers = this.#sharers(open.size, nowMs)
    const at = sharers.indexOf(this.#o.self)
    const own = isPart ? { start: 0, end: open.size } : shareOf(open.size, { at, count: sharers.length })
    if (own === null) return null
    // Somewhere in our share and not at its start: two that do not know of each other yet seldom meet then.
    const first = own.start + Math.floor((sharers.length > 1 ? this.#o.random() / 2 : 0) * (own.end - own.start))
    const most = Math.min(this.#portion(open.size, nowMs), own.end - first)
    return this.#enter(runFrom(open, nth(open, first), most), nowMs)
  }

  /**
   * One stream that need not be shared out beforehand (the first GET, which served as the probe; alone; or of an origin
   * without ranges): everything from `start` on is its.
   */
  claimRest(start: number, nowMs: number, end = this.#o.segmentCount): Claim {
    return this.#enter({ start, end }, nowMs)
  }

  /** Content bytes came in on the stream of a claim. */
  progressed(claim: Claim, bytes: number, nowMs: number): void {
    claim.nextBytes += bytes
    claim.bytes += bytes
    this.#progressBytes += bytes
    this.#rate.add(bytes, nowMs)
  }

  /** The stream goes on to the next position. */
  advance(claim: Claim, next: number): void {
    claim.next = next
    claim.nextBytes = 0
  }

  /** A position of a claim is stored. */
  fetched(index: number): void {
    this.#claimed.delete(index)
    this.#fetched.add(index)
    this.#sequence++
  }

  /** A position is ours no longer, and nobody got it. */
  release(index: number): void {
    if (this.#claimed.delete(index)) this.#sequence++
  }

  /** What was fetched is not there any more: it may have to be fetched again. */
  lost(index: number): void {
    if (this.#fetched.delete(index)) this.#sequence++
  }

  /** A stream ended; what it did not fetch is released. */
  end(claim: Claim, nowMs: number): void {
    if (!this.#claims.delete(claim)) return
    if (claim.bytes >= MIN_SAMPLE_BYTES) {
      const bytesPerSec = (claim.bytes / Math.max(1, nowMs - claim.startedAtMs)) * 1000
      const before = this.#streamBytesPerSec(nowMs)
      this.#stream = { bytesPerSec: before === null ? bytesPerSec : (before + bytesPerSec) / 2, atMs: nowMs }
    }
    this.#claimed.deleteRange({ start: claim.next, end: claim.end })
    this.#changed()
  }

  /**
   * Gives up what others claim too, where it is ours to yield: they outrank us, or we lag. What a stream has begun stays,
   * unless we lag. Shortens claims; streams look at their claim's end. @returns true when something was given up
   */
  yields(nowMs: number): boolean {
    if (this.#claims.size === 0) return false
    let hasYielded = false
    const bytesPerSec = this.#rate.bytesPerSec(nowMs)
    const iLag =
      this.#own?.condition !== 'busy' && bytesPerSec !== null && this.#lagMs(this.#claimed.size, bytesPerSec, nowMs) > 0
    for (const member of this.#members.values()) {
      if (!this.#holdsClaims(member, nowMs) || !(member.rank < this.#rank || iLag)) continue
      for (const claim of this.#claims) {
        // It was taken from this one because it lags: it is for that one to see, and to yield.
        if (claim.takenFrom === member.state.agent) continue
        const hasBegun = claim.nextBytes > 0 && !iLag
        const at = member.claimed.next(hasBegun ? claim.next + 1 : claim.next)
        if (at === -1 || at >= claim.end) continue
        this.#shorten(claim, at)
        hasYielded = true
      }
    }
    return hasYielded
  }

  /** A first GET that asked for everything leaves the others their part, once there are others and enough is left. */
  shareRest(claim: Claim, nowMs: number): void {
    const left = claim.end - claim.next
    if (left < MAX_CLAIM_SEGMENTS || this.#isUndivided || this.fetchers(nowMs).length < 2) return
    this.#shorten(claim, claim.next + Math.max(FIRST_CLAIM_SEGMENTS, this.#portion(left, nowMs)))
  }

  /** To be called a few times per second while we fetch: the lead looks whether more streams bring more. */
  tune(nowMs: number): void {
    const fetchers = this.fetchers(nowMs)
    if (fetchers[0] !== this.#o.self) return
    let streamCount = this.#claims.size
    for (const member of this.#members.values()) {
      if (this.#holdsClaims(member, nowMs)) streamCount += member.state.streamCount
    }
    const before = this.#budget.value
    const isBusy = streamCount === Math.min(before, fetchers.length * this.#o.maxStreams)
    this.#budget.update({ bytesPerSec: this.#bytesPerSec(nowMs), isBusy }, nowMs)
    if (this.#budget.value !== before) this.#changed()
  }

  #enter(range: SegmentRange, nowMs: number, takenFrom: AgentKey | null = null): Claim {
    const { start, end } = range
    const claim: Claim = { start, next: start, nextBytes: 0, end, startedAtMs: nowMs, bytes: 0, takenFrom }
    this.#claims.add(claim)
    this.#claimed.addRange(range)
    this.#changed()
    return claim
  }

  #shorten(claim: Claim, end: number): void {
    this.#claimed.deleteRange({ start: end, end: claim.end })
    claim.end = end
    this.#changed()
  }

  #changed(): void {
    this.#urgentSequence = ++this.#sequence
    this.#fetchers = null
  }

  /** One at a time, and the first that nobody claims: who else waits for them leaves them to us. */
  #again(free: PositionSet, overdue: PositionSet, nowMs: number): Claim | null {
    let at = free.nextCommon(overdue, 0)
    while (at !== -1 && this.#isClaimed(at, nowMs)) at = free.nextCommon(overdue, at + 1)
    return at === -1 ? null : this.#enter({ start: at, end: at + 1 }, nowMs)
  }

  #isClaimed(index: number, nowMs: number): boolean {
    for (const member of this.#members.values()) {
      if (this.#holdsClaims(member, nowMs) && member.claimed.has(index)) return true
    }
    return false
  }

  /**
   * Nothing is left but what others claim: half of what the latest of them has not begun, when it lags behind all the rest.
   * Only the first of those who have nothing to do takes it.
   */
  #take(free: PositionSet, nowMs: number): Claim | null {
    const { self } = this.#o
    if (this.#claims.size > 0) this.#idleSinceMs = null
    if (this.#claims.size > 0 || this.#isTooSlow(1, nowMs)) return null
    this.#idleSinceMs ??= nowMs
    // Who has the line to itself for so long shows what its own link gives.
    const isLineFree = nowMs - this.#idleSinceMs >= LAG_MS
    const idle = this.fetchers(nowMs).find((agent) => !this.#members.get(agent)?.state.claimed.length)
    if (idle !== self) return null
    const open = free.copy()
    let latest: { readonly member: Member; readonly lagMs: number } | null = null
    for (const member of this.#members.values()) {
      if (!this.#holdsClaims(member, nowMs) || member.claimed.size === 0) continue
      const { bytesPerSec, condition } = member.state
      const except = isLineFree ? member : null
      const lagMs =
        bytesPerSec > 0 && condition !== 'busy'
          ? Math.max(this.#lagMs(member.claimed.size, bytesPerSec, nowMs, except), this.#laterMs(member, nowMs))
          : 0
      if (lagMs === 0) open.deleteAll(member.claimed)
      else if (!latest || lagMs > latest.lagMs) latest = { member, lagMs }
    }
    if (!latest) return null
    const { claimed } = latest.member
    const late = new PositionSet(this.#o.segmentCount)
    for (let at = claimed.nextCommon(open, 0); at !== -1; at = claimed.nextCommon(open, at + 1)) late.add(at)
    if (late.size === 0) return null
    return this.#enter(
      runFrom(late, nth(late, Math.floor(late.size / 2)), MAX_CLAIM_SEGMENTS),
      nowMs,
      latest.member.state.agent,
    )
  }

  /** Half of what the stream would get of the rest at the rates measured: the ends meet, and little is in flight then. */
  #portion(openCount: number, nowMs: number): number {
    const all = this.#bytesPerSec(nowMs)
    const stream = this.#streamBytesPerSec(nowMs)
    const even = openCount / (2 * this.#budget.value)
    const share = stream === null || all === 0 ? null : Math.min(1, stream / all)
    const portion = share === null ? Math.min(FIRST_CLAIM_SEGMENTS, even) : (openCount * share) / 2
    return Math.max(1, Math.min(Math.ceil(portion), MAX_CLAIM_SEGMENTS))
  }

  /** One more segment by us would come after all the others are done. */
  #isTooSlow(openCount: number, nowMs: number): boolean {
    const stream = this.#streamBytesPerSec(nowMs)
    if (stream === null || this.fetchers(nowMs).length < 2) return false
    const segmentMs = (SEGMENT_BYTES / Math.max(1, stream)) * 1000
    return segmentMs > 2 * this.#restMs(openCount, nowMs) + LAG_MS
  }

  #streamBytesPerSec(nowMs: number): number | null {
    const isRecent = this.#stream !== null && nowMs - this.#stream.atMs < FORGET_RATE_MS
    return isRecent ? (this.#stream?.bytesPerSec ?? null) : null
  }

  /** How much later than everybody else, with allowance; 0: it does not lag. */
  #lagMs(claimedCount: number, bytesPerSec: number, nowMs: number, except: Member | null = null): number {
    if (claimedCount === 0) return 0
    const needsMs = ((claimedCount * SEGMENT_BYTES) / Math.max(1, bytesPerSec)) * 1000
    return Math.max(0, needsMs - 2 * this.#restMs(0, nowMs, except) - LAG_MS)
  }

  /** How much later than we would, if we took a part, with allowance; 0: it does not, or what we need is not known. */
  #laterMs(member: Member, nowMs: number): number {
    const stream = this.#streamBytesPerSec(nowMs)
    if (stream === null) return 0
    const needsMs = (member.leftBytes / Math.max(1, member.state.bytesPerSec)) * 1000
    const oursMs = ((Math.ceil(member.claimed.size / 2) * SEGMENT_BYTES) / stream) * 1000
    return Math.max(0, needsMs - LATER_TIMES * oursMs - LATER_MS)
  }

  /** Until all that is open or claimed is fetched, at the rate of all. @param except whose claims do not count */
  #restMs(openCount: number, nowMs: number, except: Member | null = null): number {
    let segments = openCount + this.#claimed.size
    for (const member of this.#members.values()) {
      if (member !== except && this.#holdsClaims(member, nowMs)) segments += member.claimed.size
    }
    return ((segments * SEGMENT_BYTES) / Math.max(1, this.#bytesPerSec(nowMs))) * 1000
  }

  #bytesPerSec(nowMs: number): number {
    let sum = this.#rate.bytesPerSec(nowMs) ?? 0 // of the last second: also between two claims
    for (const member of this.#members.values()) {
      // What a fetcher said last, before it had nothing to do, is of the past.
      if (member.hasClaims && this.#holdsClaims(member, nowMs)) sum += member.state.bytesPerSec
    }
    return sum
  }

  #isIgnored(member: Member): boolean {
    return this.#ignored.size > 0 && this.#ignored.has(member.state.agent)
  }

  #isAlive(member: Member, nowMs: number): boolean {
    if (member.goneAtMs !== null || this.#isIgnored(member)) return false
    return member.isDirect || nowMs - member.heardAtMs < SILENT_MS
  }

  #isAble(member: Member, nowMs: number): boolean {
    return member.isWilling && this.#isAlive(member, nowMs) && !this.#isStalled(member, nowMs)
  }

  #isStalled(member: Member, nowMs: number): boolean {
    if (!member.hasClaims || mayStandStill(member.state.condition)) return false
    const patienceMs = member.state.progressBytes === 0 ? STALLED_AT_FIRST_MS : STALLED_MS
    return nowMs - member.progressAtMs > patienceMs
  }

  #holdsClaims(member: Member, nowMs: number): boolean {
    return this.#isAlive(member, nowMs) && !this.#isStalled(member, nowMs) && member.state.condition !== 'local'
  }

  #holdsLegacy(member: Member, nowMs: number): boolean {
    if (this.#isAlive(member, nowMs)) return true
    if (this.#isIgnored(member)) return false
    const isDone = member.state.condition === 'done'
    const sinceMs = nowMs - (member.goneAtMs ?? member.heardAtMs + SILENT_MS)
    return sinceMs < (isDone ? LEGACY_MS.done : LEGACY_MS.gone)
  }

  #isOwnWilling(): boolean {
    return this.#own !== null && isWilling(this.#own.condition)
  }

  #mustWait(nowMs: number): boolean {
    if (this.#own?.condition === 'wait') return true
    for (const member of this.#members.values()) {
      if (member.state.condition === 'wait' && this.#isAlive(member, nowMs)) return true
    }
    return false
  }

  #admit(state: FetcherState, nowMs: number): Member {
    const { resource, segmentCount } = this.#o
    const rank = rankOf(resource, state.agent)
    const member = new Member(state, { rank, segmentCount, nowMs })
    const after = this.#ranked.findIndex((other) => other.rank > rank)
    this.#ranked.splice(after === -1 ? this.#ranked.length : after, 0, member)
    this.#members.set(state.agent, member)
    return member
  }

  /** Of too many, those are forgotten who are gone, then who claim nothing, highest rank first. */
  #forget(nowMs: number): void {
    if (this.#members.size <= MAX_MEMBERS) return
    const worth = (member: Member) =>
      (this.#isAlive(member, nowMs) ? 2 : 0) + (member.hasClaims || member.state.fetched.length > 0 ? 1 : 0)
    let least = { at: -1, worth: Number.POSITIVE_INFINITY }
    for (const [at, member] of this.#ranked.entries()) {
      const its = worth(member)
      if (its <= least.worth) least = { at, worth: its }
    }
    const [forgotten] = this.#ranked.splice(least.at, 1)
    if (forgotten) this.#members.delete(forgotten.state.agent)
  }
}

function isSkipped(member: Member, nowMs: number): boolean {
  return nowMs < member.skippedUntilMs
}

/** Our part of so many open positions, [start, end) by count; null when there are fewer than sharers and none is ours. */
function shareOf(openCount: number, { at, count }: Place): SegmentRange | null {
  if (openCount < count) return at < openCount ? { start: at, end: at + 1 } : null
  return { start: Math.floor((at * openCount) / count), end: Math.floor(((at + 1) * openCount) / count) }
}

/** The position that has `count` others of the set before it. */
function nth(set: PositionSet, count: number): number {
  let at = set.next(0)
  for (let passed = 0; passed < count; passed++) at = set.next(at + 1)
  return at
}

/** As many consecutive positions of the set as there are, and at most `max`. */
function runFrom(set: PositionSet, start: number, max: number): SegmentRange {
  let end = start + 1
  while (end - start < max && set.has(end)) end++
  return { start, end }
}
