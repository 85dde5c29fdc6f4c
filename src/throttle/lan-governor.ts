/**
 * Serving to and fetching from neighbours beside whatever else this host does: as fast as the link goes while nobody else
 * uses it, out of the way while somebody does, and never above the caps.
 *
 * Decides nothing (lan-law.ts) and measures nothing (host-meter.ts). What is free pays one comparison for each piece.
 * Nothing runs while nothing is moved.
 */
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import { type BudgetReader, ByteBudget } from './byte-budget.ts'
import type { Cap } from './caps.ts'
import type { ForegroundView } from './foreground-meter.ts'
import type { HostDetails, HostMeter } from './host-meter.ts'
import { type LanInput, LanLaw, type LanView } from './lan-law.ts'

export interface LanGovernorComponents {
  readonly clock: Clock
  readonly log: Logger
  /** Not owned. Null: others are not looked for, only the caps bind. */
  readonly host: Pick<HostMeter, 'listen'> | null
  /** Segments that are sent at this moment. */
  readonly uploadCount: () => number
  /** Segments that are fetched at this moment. */
  readonly fetchCount: () => number
}

export interface LanGovernorOptions {
  /** Of all uploads together. At 0 none is admitted. */
  readonly serveCap: Cap
  /** Of all that is fetched. At 0 whoever uses this must not fetch at all: here it would only wait. */
  readonly fetchCap: Cap
  /** The size of most of what is moved. */
  readonly segmentBytes: number
}

/** For `shorthaul status`. */
export interface LanViews {
  readonly serve: LanView
  readonly fetch: LanView
}

/**
 * What an upload hands over at once when it is paced: so much time of the rate, within bounds. Large pieces cost less of
 * a processor (lane-upload.ts), small ones keep bursts short and all uploads going.
 */
const PIECE_MS = 40
const MIN_PIECE_BYTES = 8 * 1024
const MAX_PIECE_BYTES = 64 * 1024
/** When it is not. @see PIECE_BYTES of lane-upload.ts */
const FREE_PIECE_BYTES = 256 * 1024

/** Both ends of the lane give a segment 60 s: whatever runs when others come must get through. */
const SEGMENT_DEADLINE_MS = 50_000
/** What is begun beside others should be quicker; otherwise it is better had elsewhere. */
const NEW_SEGMENT_MS = 20_000
const MIN_UPLOADS = 2

/** The pause between two fetches is none. */
const IDLE_MS = 3000

interface Lane {
  readonly budget: ByteBudget
  readonly cap: Cap
  law: LanLaw
  view: LanView
}

type Measured = Omit<LanInput, 'floorBytesPerSec'> & { readonly count: number }

export class LanGovernor {
  readonly #components: LanGovernorComponents
  readonly #log: Logger
  readonly #segmentBytes: number
  readonly #serve: Lane
  readonly #fetch: Lane
  #stopListening: (() => void) | null = null
  #isUsed = false
  /** That uploads handed over since the last measurement. */
  #writtenBytes = 0
  /** At the last measurement that found it used. */
  #usedAtMs = 0
  #isClosed = false

  constructor(components: LanGovernorComponents, options: LanGovernorOptions) {
    this.#components = components
    this.#log = components.log.child({ module: 'throttle.lan-governor' })
    this.#segmentBytes = options.segmentBytes
    this.#serve = newLane(components, options.serveCap)
    this.#fetch = newLane(components, options.fetchCap)
  }

  view(): LanViews {
    return { serve: this.#serve.view, fetch: this.#fetch.view }
  }

  /** Of an upload: what to hand over at once. */
  pieceBytes(): number {
    const rate = this.#serve.budget.bytesPerSec
    if (rate === null) return FREE_PIECE_BYTES
    return Math.floor(Math.min(MAX_PIECE_BYTES, Math.max(MIN_PIECE_BYTES, (rate * PIECE_MS) / 1000)))
  }

  /** Of an upload: null: go on; otherwise when it resolves. */
  take(bytes: number, options: { signal: AbortSignal }): Promise<void> | null {
    this.#use()
    this.#writtenBytes += bytes
    return this.#serve.budget.take(bytes, options)
  }

  /** At the same time. Fewer while others use the link: who is refused goes elsewhere, who is begun must be ended. */
  maxUploads(): number {
    if (this.#serve.cap.maxBytesPerSec === 0) return 0
    const rate = this.#serve.budget.bytesPerSec
    if (rate === null) return Number.POSITIVE_INFINITY
    return Math.max(MIN_UPLOADS, Math.floor((rate * NEW_SEGMENT_MS) / 1000 / this.#segmentBytes))
  }

  /** An account for one connection that is fetched over. */
  reader(onReady: () => void): BudgetReader {
    const reader = this.#fetch.budget.reader(onReady)
    return {
      charge: (bytes) => {
        this.#use()
        return reader.charge(bytes)
      },
      get isHeld() {
        return reader.isHeld
      },
      close: () => reader.close(),
    }
  }

  /** Whoever waits goes on. Idempotent. */
  close(): void {
    this.#isClosed = true
    this.#rest()
    for (const { budget } of [this.#serve, this.#fetch]) budget.setRate(null)
  }

  #use(): void {
    this.#isUsed = true
    if (this.#stopListening || this.#isClosed) return
    const { host } = this.#components
    this.#usedAtMs = this.#components.clock.monotonicMs()
    const isCalm = () => this.#serve.law.isCalm && this.#fetch.law.isCalm
    if (host) this.#stopListening = host.listen((view, details) => this.#onMeasured(view, details), { isCalm })
  }

  #onMeasured({ received, sent }: ForegroundView, { linkBytesPerSec, queues }: HostDetails): void {
    const { clock, uploadCount, fetchCount } = this.#components
    const both = { nowMs: clock.monotonicMs(), linkBytesPerSec, isBlind: queues === null }
    const uploads = uploadCount()
    this.#steer(this.#serve, {
      ...both,
      along: sent,
      against: received,
      count: uploads,
      backlogBytes: queues?.sendQueueBytes ?? null,
      writtenBytes: this.#writtenBytes,
      unsentBytes: uploads * this.#segmentBytes,
    })
    this.#steer(this.#fetch, {
      ...both,
      along: received,
      against: sent,
      count: fetchCount(),
      backlogBytes: null,
      writtenBytes: 0,
      unsentBytes: 0,
    })
    this.#writtenBytes = 0
    const { bytesPerSec: paceBytesPerSec } = this.#serve.budget
    const { view: serve } = this.#serve
    this.#log.trace({ serve, fetch: this.#fetch.view, paceBytesPerSec, sent, received, queues, uploads }, 'measured')
    if (this.#isUsed) this.#usedAtMs = both.nowMs
    this.#isUsed = false
    if (both.nowMs - this.#usedAtMs >= IDLE_MS) this.#rest()
  }

  #steer(lane: Lane, measured: Measured): void {
    const floorBytesPerSec = (Math.max(1, measured.count) * this.#segmentBytes * 1000) / SEGMENT_DEADLINE_MS
    const { view, bytesPerSec } = lane.law.step({ ...measured, floorBytesPerSec })
    if (view.state !== lane.view.state) {
      const { state, reason } = view
      this.#log.debug({ direction: lane === this.#serve ? 'serve' : 'fetch', state, reason }, 'lane changed its state')
    }
    lane.view = capped(view, lane.cap)
    lane.budget.setRate(leastRate(bytesPerSec, lane.cap.maxBytesPerSec))
  }

  #rest(): void {
    this.#stopListening?.()
    this.#stopListening = null
    for (const lane of [this.#serve, this.#fetch]) {
      lane.law = new LanLaw()
      lane.view = capped(IDLE, lane.cap)
      lane.budget.setRate(leastRate(null, lane.cap.maxBytesPerSec))
    }
  }
}

const IDLE: LanView = { state: 'free', rateMaxBytesPerSec: null, foregroundBytesPerSec: 0, reason: 'nothing is moved' }

function newLane({ clock }: { clock: Clock }, cap: Cap): Lane {
  const lane: Lane = { budget: new ByteBudget({ clock }), cap, law: new LanLaw(), view: capped(IDLE, cap) }
  lane.budget.setRate(leastRate(null, cap.maxBytesPerSec))
  return lane
}

function capped(view: LanView, { maxBytesPerSec, reason }: Cap): LanView {
  if (maxBytesPerSec === null) return view
  if (view.rateMaxBytesPerSec !== null && view.rateMaxBytesPerSec <= maxBytesPerSec) return view
  return { ...view, rateMaxBytesPerSec: maxBytesPerSec, reason: reason.text }
}

/** Above zero, as budgets want it: whoever is capped to nothing does not come here. */
function leastRate(one: number | null, cap: number | null): number | null {
  return cap === null ? one : Math.max(1, Math.min(cap, one ?? cap))
}
