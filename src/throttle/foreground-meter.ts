/**
 * How much of this host's network others use. Pure over its samples: what the network card counted minus what was ours,
 * over one second.
 *
 * Sees this host only; other hosts behind the same line show in delay (see the WAN governor), not here. Invariants: no rate is
 * negative; a sample that does not continue the one before it (another interface, a counter that went back, time that
 * stood still or jumped) starts over and says nothing.
 */
import { WireRatio } from './wire-ratio.ts'

export interface TrafficSample {
  /** Monotonic, of the moment at which the card was read. */
  readonly atMs: number
  readonly interfaceName: string
  readonly nicReceivedBytes: number
  readonly nicSentBytes: number
  /** At the edge of user space, all kinds. */
  readonly ownReceivedBytes: number
  readonly ownSentBytes: number
  /** Of our connections, in the kernel; null where that cannot be read. */
  readonly queues: { readonly receiveQueueBytes: number; readonly sendQueueBytes: number } | null
  /** Passed the card after the queues were looked at and before it was read. Absent: nothing. */
  readonly passedMeanwhile?: { readonly receivedBytes: number; readonly sentBytes: number }
}

export interface DirectionView {
  readonly foregroundBytesPerSec: number
  /** All that passed the card. */
  readonly totalBytesPerSec: number
  /** The same over the last third of a second: closer to now, and noisier. */
  readonly recentBytesPerSec: number
  readonly recentForegroundBytesPerSec: number
  /** The most that `totalBytesPerSec` was, forgotten slowly. */
  readonly peakBytesPerSec: number
  /** Somebody else uses this direction, and by more than chatter. */
  readonly isActive: boolean
}

export interface ForegroundView {
  readonly received: DirectionView
  readonly sent: DirectionView
}

/** Acknowledgements: 66 bytes for two segments of 1448 at most. */
const ACK_RATIO = 0.03
const WINDOW_MS = 1000
/** Samples come every 200 ms or so; these are enough for 1 s at 20 a second. */
const MAX_SAMPLES = 24
/** Less than this between two samples says nothing. */
const MIN_SPAN_MS = 150
/** Longer than this, and the machine slept or this process did. */
const MAX_GAP_MS = 2500
const SLACK_BYTES = 32 * 1024
/** Where the kernel's queues cannot be read. */
const BLIND_SLACK_BYTES = 512 * 1024
/** There a change of our own rate by so much is not told from somebody else's traffic, for a second. */
const BLIND_CHANGE_RATIO = 0.25
/** 1 Mbit/s */
const MIN_ACTIVE_BYTES_PER_SEC = 125_000
const ACTIVE_PEAK_RATIO = 0.05
const ACTIVE_SAMPLES = 2
/** What `recent` means: two samples, so that one read late does not make it. */
const RECENT_MS = 350
/** By half in five minutes: links do change, and a peak that was one burst should not last. */
const PEAK_HALF_LIFE_MS = 300_000

interface DirectionState {
  ratio: WireRatio
  peakBytesPerSec: number
  activeSamples: number
  view: DirectionView
}

const NOTHING: DirectionView = {
  foregroundBytesPerSec: 0,
  totalBytesPerSec: 0,
  recentBytesPerSec: 0,
  recentForegroundBytesPerSec: 0,
  peakBytesPerSec: 0,
  isActive: false,
}

export class ForegroundMeter {
  /** Oldest first, all of one interface, without a gap. */
  #samples: TrafficSample[] = []
  #ownRates: { readonly atMs: number; readonly received: number; readonly sent: number }[] = []
  readonly #states: Record<'received' | 'sent', DirectionState> = {
    received: { ratio: new WireRatio(), peakBytesPerSec: 0, activeSamples: 0, view: NOTHING },
    sent: { ratio: new WireRatio(), peakBytesPerSec: 0, activeSamples: 0, view: NOTHING },
  }

  view(): ForegroundView {
    return { received: this.#states.received.view, sent: this.#states.sent.view }
  }

  /** What the card counts of a received byte of ours, as far as it has been learnt. */
  get receivedWireRatio(): number {
    return this.#states.received.ratio.value
  }

  /** @returns the view that results */
  add(sample: TrafficSample): ForegroundView {
    const last = this.#samples.at(-1)
    if (last && sample.atMs <= last.atMs) return this.view()
    if (last && !continues(last, sample)) this.#startOver(last.interfaceName === sample.interfaceName)
    this.#samples.push(sample)
    if (this.#samples.length > MAX_SAMPLES) this.#samples.shift()
    // The window is at least as long as promised: shorter ones make more of what is between two readings.
    while (this.#samples.length > 2 && sample.atMs - (this.#samples[1]?.atMs ?? 0) >= WINDOW_MS) this.#samples.shift()
    const [oldest] = this.#samples
    if (oldest && sample.atMs - oldest.atMs >= MIN_SPAN_MS) {
      const recent = this.#samples.findLast(({ atMs }) => sample.atMs - atMs >= RECENT_MS) ?? oldest
      const ratios = this.#ratios()
      this.#judge(difference(oldest, sample, ratios), difference(recent, sample, ratios))
    }
    return this.view()
  }

  /**
   * Whether what passed the card since the last sample can all be ours, going by how much of ours waited in the kernel in
   * the samples that are kept: then the kernel need not be asked again, which is dear. False when that is not known.
   */
  explains(now: Omit<TrafficSample, 'queues'>): boolean {
    const last = this.#samples.at(-1)
    if (!last?.queues || !continues(last, now)) return false
    const { received, sent, spanMs } = difference(last, { ...now, queues: last.queues }, this.#ratios())
    const most = (of: 'receiveQueueBytes' | 'sendQueueBytes') =>
      Math.max(...this.#samples.map(({ queues }) => queues?.[of] ?? 0))
    return (
      (received.foregroundBytesPerSec * spanMs) / 1000 <= most('receiveQueueBytes') &&
      (sent.foregroundBytesPerSec * spanMs) / 1000 <= most('sendQueueBytes')
    )
  }

  #ratios(): Record<'received' | 'sent', number> {
    return { received: this.#states.received.ratio.value, sent: this.#states.sent.ratio.value }
  }

  #startOver(isSameLink: boolean): void {
    this.#samples = []
    this.#ownRates = []
    for (const state of [this.#states.received, this.#states.sent]) {
      if (!isSameLink) {
        state.peakBytesPerSec = 0
        state.ratio = new WireRatio()
      }
      state.activeSamples = 0
      state.view = { ...NOTHING, peakBytesPerSec: state.peakBytesPerSec }
    }
  }

  #judge(long: Difference, short: Difference): void {
    const isUnsteady = long.isBlind && this.#isUnsteady(long)
    const stepMs = this.#lastStepMs()
    for (const direction of ['received', 'sent'] as const) {
      const state = this.#states[direction]
      const { nicBytesPerSec: totalBytesPerSec, foregroundBytesPerSec } = long[direction]
      if (!long.isBlind && long.spanMs >= WINDOW_MS) state.ratio.learn(long[direction], stepMs)
      // A short window makes more of a burst than there is.
      const peak = long.spanMs >= WINDOW_MS / 2 ? totalBytesPerSec : 0
      state.peakBytesPerSec = Math.max(peak, state.peakBytesPerSec * 0.5 ** (stepMs / PEAK_HALF_LIFE_MS))
      const leastBytesPerSec = Math.max(MIN_ACTIVE_BYTES_PER_SEC, ACTIVE_PEAK_RATIO * state.peakBytesPerSec)
      const isSeen = !isUnsteady && foregroundBytesPerSec > leastBytesPerSec
      state.activeSamples = isSeen ? state.activeSamples + 1 : 0
      state.view = {
        foregroundBytesPerSec: isUnsteady ? 0 : foregroundBytesPerSec,
        totalBytesPerSec,
        recentBytesPerSec: short[direction].nicBytesPerSec,
        recentForegroundBytesPerSec: isUnsteady ? 0 : short[direction].foregroundBytesPerSec,
        peakBytesPerSec: state.peakBytesPerSec,
        isActive: state.activeSamples >= ACTIVE_SAMPLES,
      }
    }
  }

  #lastStepMs(): number {
    return (this.#samples.at(-1)?.atMs ?? 0) - (this.#samples.at(-2)?.atMs ?? 0)
  }

  /** Whether our own rate changed within the last window. */
  #isUnsteady({ atMs, received, sent }: Difference): boolean {
    while (this.#ownRates[0] && atMs - this.#ownRates[0].atMs > WINDOW_MS) this.#ownRates.shift()
    const now = { atMs, received: received.ownBytesPerSec, sent: sent.ownBytesPerSec }
    const isUnsteady = this.#ownRates.some(
      (then) => hasChanged(then.received, now.received) || hasChanged(then.sent, now.sent),
    )
    this.#ownRates.push(now)
    if (this.#ownRates.length > MAX_SAMPLES) this.#ownRates.shift()
    return isUnsteady
  }
}

interface Difference {
  readonly atMs: number
  readonly spanMs: number
  /** The kernel's queues are not known. */
  readonly isBlind: boolean
  readonly received: Rates
  readonly sent: Rates
}

interface Rates {
  readonly nicBytesPerSec: number
  readonly ownBytesPerSec: number
  readonly foregroundBytesPerSec: number
}

function difference(from: TrafficSample, to: TrafficSample, ratios: Record<'received' | 'sent', number>): Difference {
  const spanMs = to.atMs - from.atMs
  const isBlind = from.queues === null || to.queues === null
  const slackBytes = isBlind ? BLIND_SLACK_BYTES : SLACK_BYTES
  // What passed so at the first sample has shown up as ours since; of the last it has not yet.
  const unsure = (of: 'receivedBytes' | 'sentBytes') => (isBlind ? 0 : (to.passedMeanwhile?.[of] ?? 0))
  const receivedBytes = Math.max(0, wireReceived(to, isBlind) - wireReceived(from, isBlind))
  const sentBytes = Math.max(0, wireSent(to, isBlind) - wireSent(from, isBlind))
  const rates = (
    nicBytes: number,
    own: { bytes: number; againstBytes: number; ratio: number; unsureBytes: number },
  ): Rates => {
    const ownWireBytes = own.ratio * own.bytes + ACK_RATIO * own.againstBytes
    // Ours in the part in which all is ours: what we do not move must not pass for ours.
    const ownUnsureBytes = own.unsureBytes * Math.min(1, ownWireBytes / Math.max(1, nicBytes - own.unsureBytes))
    const others = nicBytes - ownWireBytes - ownUnsureBytes - slackBytes
    return {
      nicBytesPerSec: (nicBytes / spanMs) * 1000,
      ownBytesPerSec: (own.bytes / spanMs) * 1000,
      foregroundBytesPerSec: (Math.max(0, others) / spanMs) * 1000,
    }
  }
  return {
    atMs: to.atMs,
    spanMs,
    isBlind,
    received: rates(to.nicReceivedBytes - from.nicReceivedBytes, {
      bytes: receivedBytes,
      againstBytes: sentBytes,
      ratio: ratios.received,
      unsureBytes: unsure('receivedBytes'),
    }),
    sent: rates(to.nicSentBytes - from.nicSentBytes, {
      bytes: sentBytes,
      againstBytes: receivedBytes,
      ratio: ratios.sent,
      unsureBytes: unsure('sentBytes'),
    }),
  }
}

function continues(last: TrafficSample, next: Omit<TrafficSample, 'queues'>): boolean {
  return (
    next.interfaceName === last.interfaceName &&
    next.atMs - last.atMs <= MAX_GAP_MS &&
    next.nicReceivedBytes >= last.nicReceivedBytes &&
    next.nicSentBytes >= last.nicSentBytes
  )
}

function wireReceived({ ownReceivedBytes, queues }: TrafficSample, isBlind: boolean): number {
  return isBlind ? ownReceivedBytes : ownReceivedBytes + (queues?.receiveQueueBytes ?? 0)
}

function wireSent({ ownSentBytes, queues }: TrafficSample, isBlind: boolean): number {
  return isBlind ? ownSentBytes : ownSentBytes - (queues?.sendQueueBytes ?? 0)
}

/** Below 1 Mbit/s never. */
function hasChanged(then: number, now: number): boolean {
  const change = Math.abs(now - then)
  return change > MIN_ACTIVE_BYTES_PER_SEC && change > BLIND_CHANGE_RATIO * Math.max(then, now)
}
