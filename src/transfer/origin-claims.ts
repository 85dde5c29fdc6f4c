/**
 * The origin's part of one transfer: claims what nobody in the branch has, in the measure that the crowd allows this agent
 * (swarm/crowd.ts), and has it fetched claim by claim.
 *
 * Does not know where else positions come from: a transfer lends it what is free, and takes back what was not fetched.
 * Invariants: a stream takes a position only when it comes to it, so that what comes from elsewhere meanwhile is not had
 * twice; it never goes beyond the end of its claim, which moves down when others take a part of it.
 */
import type { Clock } from '../clock.ts'
import type { PositionSet } from '../content/position-set.ts'
import type { OriginStream } from '../origin/origin.ts'
import type { Claim } from '../swarm/crowd.ts'
import type { Priority } from '../throttle/priority.ts'
import type { Hold } from '../throttle/wan-governor.ts'
import type { OriginFetcher } from './fetch-origin.ts'
import type { WanControl } from './ports.ts'
import type { SharedResource } from './shared-resource.ts'

/** What the transfer does for its origin claims. */
export interface ClaimedPositions {
  /** Missing positions that nobody near has, and that nothing of ours fetches. The caller's to change. */
  free(): PositionSet
  /** Of these, what others had from the origin, and do not get about. */
  readonly overdue: PositionSet
  /** True when there is nobody to share the work with. */
  isAlone(): boolean
  /** Makes the position ours to fetch; false when it is no longer missing. */
  take(index: number): boolean
  /** The position is delivered, or missing again. */
  land(index: number, isDelivered: boolean): void
  /** False: the bytes are not those that the origin declared; the position is missing again. */
  commit(index: number, bytes: Uint8Array): Promise<boolean>
  /** Runs beside; its failure ends the transfer. */
  spawn(run: () => Promise<void>): void
  /** A failure that another attempt may cure. */
  onRetry(error: unknown): void
  /** Nothing is had from the origin for now, for a reason that is not its. */
  onHold(hold: Hold): void
}

/** Held for so long: requests are given up, since their origins would not wait much longer, and others may have the work. */
const GIVE_UP_MS = 3000

interface Running {
  readonly abort: AbortController
  /** All of its bytes are here. */
  isRead: boolean
}

export class OriginClaims {
  readonly #fetcher: OriginFetcher
  readonly #shared: SharedResource
  readonly #clock: Clock
  readonly #positions: ClaimedPositions
  /** The transfer that this is a part of. */
  readonly #owner: object
  readonly #signal: AbortSignal
  readonly #wan: WanControl | null
  readonly #priority: Priority
  readonly #running = new Map<Claim, Running>()
  #heldSinceMs: number | null = null
  #heldReason: string | null = null
  /** What the transfer wants at all; nothing else is claimed. */
  readonly #wanted: PositionSet
  /** Tells others what we claim. */
  readonly #tell: () => void

  constructor(
    components: {
      fetcher: OriginFetcher
      shared: SharedResource
      clock: Clock
      positions: ClaimedPositions
      wan: WanControl | null
    },
    options: {
      owner: object
      wanted: PositionSet
      priority: Priority
      signal: AbortSignal
      onChange: () => void
    },
  ) {
    this.#fetcher = components.fetcher
    this.#shared = components.shared
    this.#clock = components.clock
    this.#positions = components.positions
    this.#wan = components.wan
    this.#priority = options.priority
    this.#owner = options.owner
    this.#wanted = options.wanted
    this.#signal = options.signal
    this.#tell = options.onChange
    if (!this.#fetcher.canRange) this.#shared.crowd.fetchUndivided()
  }

  /** The first GET served as the probe: it goes on as a claim of everything. */
  startFirst(stream: OriginStream): void {
    this.#start(this.#shared.crowd.claimRest(0, this.#clock.monotonicMs()), stream)
  }

  /** Starts as many claims as may run now, and gives up what others took over. */
  update(): void {
    const { crowd } = this.#shared
    const nowMs = this.#clock.monotonicMs()
    for (const [claim, running] of this.#running) {
      if (!running.isRead && claim.end <= claim.next) running.abort.abort()
      else crowd.shareRest(claim, nowMs)
    }
    const pause = this.#pause(nowMs)
    const condition = this.#wan?.isBusy(this.#priority) || this.#heldSinceMs !== null ? 'busy' : 'active'
    if (this.#running.size === 0) crowd.setCondition(pause ?? (this.#isOfNoHelp() ? 'local' : condition))
    else crowd.setCondition(condition)
    if (pause === null) {
      for (let claim = this.#claim(nowMs); claim !== null; claim = this.#claim(nowMs)) this.#start(claim, null)
    }
    this.#tell()
  }

  /** Why nothing more may be claimed. Ends what runs when it has been held for long. */
  #pause(nowMs: number): 'local' | 'wait' | null {
    const hold = this.#wan?.hold(this.#priority) ?? null
    if (hold === null) {
      this.#heldSinceMs = null
      this.#heldReason = null
      return this.#fetcher.pause()
    }
    if (this.#heldReason !== hold.text) this.#positions.onHold(hold)
    this.#heldReason = hold.text
    this.#heldSinceMs ??= nowMs
    if (nowMs - this.#heldSinceMs > GIVE_UP_MS) for (const { abort } of this.#running.values()) abort.abort()
    return 'local'
  }

  #claim(nowMs: number): Claim | null {
    const { crowd } = this.#shared
    if (this.#positions.isAlone()) return this.#claimRest(nowMs)
    const isPart = !this.#wanted.isFull
    if (crowd.ownStreamCount >= crowd.streamShare(nowMs, isPart)) return null
    if (crowd.isUndivided) return this.#claimRest(nowMs)
    const options = { isPart, doubted: this.#shared.draft.disputed, overdue: this.#positions.overdue }
    return crowd.claim(this.#positions.free(), nowMs, options)
  }

  /** We want only some of the content, and that comes from others: nobody need leave us a share of the rest. */
  #isOfNoHelp(): boolean {
    return !this.#wanted.isFull && this.#positions.free().size === 0
  }

  /** One stream for all that is left: what the user's other tools do, and what origins expect. */
  #claimRest(nowMs: number): Claim | null {
    if (this.#running.size > 0) return null
    const start = this.#positions.free().next(0)
    if (start === -1) return null
    const { crowd } = this.#shared
    const end = this.#wantedEnd(start)
    const claim = crowd.claimRest(start, nowMs, end)
    for (let index = start; index < end; index++) if (!this.#wanted.has(index)) crowd.release(index)
    return claim
  }

  /** Where the stream that begins there ends. One that cannot be asked for a range reads through what is not wanted. */
  #wantedEnd(start: number): number {
    let end = start + 1
    if (this.#fetcher.canRange) while (this.#wanted.has(end)) end++
    else for (const index of this.#wanted.values(end)) end = index + 1
    return end
  }

  #start(claim: Claim, stream: OriginStream | null): void {
    const running: Running = { abort: new AbortController(), isRead: false }
    this.#running.set(claim, running)
    this.#shared.claims.set(claim, this.#owner)
    this.#positions.spawn(() => this.#run(claim, running, stream))
  }

  async #run(claim: Claim, running: Running, stream: OriginStream | null): Promise<void> {
    const { crowd, draft } = this.#shared
    const taken = new Set<number>()
    const take = (index: number): boolean => {
      if (taken.has(index)) return true
      if (index >= claim.end || !this.#positions.take(index)) return false
      taken.add(index)
      return true
    }
    const settle = (index: number, isDelivered: boolean) => {
      taken.delete(index)
      // What we cannot serve (the cache is full) the others have to fetch themselves: they must not wait for it.
      if (isDelivered && this.#shared.holdings.has(index)) crowd.fetched(index)
      else crowd.release(index)
      this.#positions.land(index, isDelivered)
    }
    take(claim.start)
    try {
      await this.#fetcher.fetch(
        { start: claim.start, end: claim.end },
        {
          stream,
          lengthBytes: draft.lengthBytes,
          signal: AbortSignal.any([this.#signal, running.abort.signal]),
          wants: take,
          onBytes: (bytes) => crowd.progressed(claim, bytes, this.#clock.monotonicMs()),
          onPosition: (next) => {
            crowd.advance(claim, next)
            running.isRead = next >= claim.end
          },
          onSegment: async (index, bytes) => {
            settle(index, await this.#positions.commit(index, bytes))
          },
          isStale: (openedAtMs) => this.#wan !== null && openedAtMs < this.#wan.staleBeforeMs(this.#priority),
        },
      )
    } catch (error) {
      if (!running.abort.signal.aborted || this.#signal.aborted) this.#failed(error)
    } finally {
      this.#running.delete(claim)
      this.#shared.claims.delete(claim)
      crowd.end(claim, this.#clock.monotonicMs())
      for (const index of taken) settle(index, false)
      await stream?.cancel()
    }
  }

  /** @throws what no other attempt can cure */
  #failed(error: unknown): void {
    const couldRange = this.#fetcher.canRange
    this.#fetcher.failed(error)
    const isNews = couldRange === this.#fetcher.canRange // that it does no ranges was said already
    if (!this.#fetcher.canRange) this.#shared.crowd.fetchUndivided()
    if (isNews && !this.#signal.aborted) this.#positions.onRetry(error)
  }
}
