/**
 * How much of this host's network others use. Pure over its samples: what the network card counted minus what was ours,
 * over one second.
 *
 * Sees this host only; other hosts behind the same line show in delay (see the WAN governor), not here. Invariants: no rate is
 * negative; a sample that does not continue the one before it (another interface, a counter that went back, time that
 * stood still or jumped) starts over and says nothing.
 */

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
}

export interface DirectionView {
  readonly foregroundBytesPerSec: number
  /** All that passed the card. */
  readonly totalBytesPerSec: number
  /** The most that `totalBytesPerSec` was, forgotten slowly. */
  readonly peakBytesPerSec: number
  /** Somebody else uses this direction, and by more than chatter. */
  readonly isActive: boolean
}

export interface ForegroundView {
  readonly received: DirectionView
  readonly sent: DirectionView
}

/** What the card counts of a byte of ours: headers of Ethernet, IP, TCP with time stamps, and of TLS (5-6 % in all). */
const WIRE_RATIO = 1.06
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
/** By half in five minutes: links do change, and a peak that was one burst should not last. */
const PEAK_HALF_LIFE_MS = 300_000

type Direction = 'received' | 'sent'

interface DirectionState {
  peakBytesPerSec: number
  activeSamples: number
  view: DirectionView
}

const NOTHING: DirectionView = { foregroundBytesPerSec: 0, totalBytesPerSec: 0, peakBytesPerSec: 0, isActive: false }

export class ForegroundMeter {
  /** Oldest first, all of one interface, without a gap. */
  #samples: TrafficSample[] = []
  #ownRates: { readonly atMs: number; readonly received: number; readonly sent: number }[] = []
  readonly #states: Record<Direction, DirectionState> = {
    received: { peakBytesPerSec: 0, activeSamples: 0, view: NOTHING },
    sent: { peakBytesPerSec: 0, activeSamples: 0, view: NOTHING },
  }

  view(): ForegroundView {
    return { received: this.#states.received.view, sent: this.#states.sent.view }
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
    if (oldest && sample.atMs - oldest.atMs >= MIN_SPAN_MS) this.#measure(oldest, sample)
    return this.view()
  }

  #startOver(isSameLink: boolean): void {
    this.#samples = []
    this.#ownRates = []
    for (const state of [this.#states.received, this.#states.sent]) {
      if (!isSameLink) state.peakBytesPerSec = 0
      state.activeSamples = 0
      state.view = { ...NOTHING, peakBytesPerSec: state.peakBytesPerSec }
    }
  }

  #measure(from: TrafficSample, to: TrafficSample): void {
    const spanMs = to.atMs - from.atMs
    const isBlind = from.queues === null || to.queues === null
    const own = {
      received: Math.max(0, wireReceived(to, isBlind) - wireReceived(from, isBlind)),
      sent: Math.max(0, wireSent(to, isBlind) - wireSent(from, isBlind)),
    }
    const isUnsteady =
      isBlind && this.#isUnsteady(to.atMs, { received: own.received / spanMs, sent: own.sent / spanMs })
    const slackBytes = isBlind ? BLIND_SLACK_BYTES : SLACK_BYTES
    this.#judge('received', {
      nicBytes: to.nicReceivedBytes - from.nicReceivedBytes,
      ownBytes: WIRE_RATIO * own.received + ACK_RATIO * own.sent + slackBytes,
      spanMs,
      isUnsteady,
    })
    this.#judge('sent', {
      nicBytes: to.nicSentBytes - from.nicSentBytes,
      ownBytes: WIRE_RATIO * own.sent + ACK_RATIO * own.received + slackBytes,
      spanMs,
      isUnsteady,
    })
  }

  #judge(
    direction: Direction,
    seen: { nicBytes: number; ownBytes: number; spanMs: number; isUnsteady: boolean },
  ): void {
    const { nicBytes, ownBytes, spanMs, isUnsteady } = seen
    const state = this.#states[direction]
    const totalBytesPerSec = (nicBytes / spanMs) * 1000
    const foregroundBytesPerSec = isUnsteady ? 0 : (Math.max(0, nicBytes - ownBytes) / spanMs) * 1000
    const lastSpanMs = this.#lastStepMs()
    // A short window makes more of a burst than there is.
    const peak = spanMs >= WINDOW_MS / 2 ? totalBytesPerSec : 0
    state.peakBytesPerSec = Math.max(peak, state.peakBytesPerSec * 0.5 ** (lastSpanMs / PEAK_HALF_LIFE_MS))
    const thresholdBytesPerSec = Math.max(MIN_ACTIVE_BYTES_PER_SEC, ACTIVE_PEAK_RATIO * state.peakBytesPerSec)
    state.activeSamples = foregroundBytesPerSec > thresholdBytesPerSec ? state.activeSamples + 1 : 0
    state.view = {
      foregroundBytesPerSec,
      totalBytesPerSec,
      peakBytesPerSec: state.peakBytesPerSec,
      isActive: state.activeSamples >= ACTIVE_SAMPLES,
    }
  }

  #lastStepMs(): number {
    return (this.#samples.at(-1)?.atMs ?? 0) - (this.#samples.at(-2)?.atMs ?? 0)
  }

  /** Whether our own rate changed within the last window. */
  #isUnsteady(atMs: number, rates: { received: number; sent: number }): boolean {
    while (this.#ownRates[0] && atMs - this.#ownRates[0].atMs > WINDOW_MS) this.#ownRates.shift()
    const isUnsteady = this.#ownRates.some(
      (then) => hasChanged(then.received, rates.received) || hasChanged(then.sent, rates.sent),
    )
    this.#ownRates.push({ atMs, ...rates })
    if (this.#ownRates.length > MAX_SAMPLES) this.#ownRates.shift()
    return isUnsteady
  }
}

function continues(last: TrafficSample, next: TrafficSample): boolean {
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

/** In bytes per ms, below 1 Mbit/s never. */
function hasChanged(then: number, now: number): boolean {
  const change = Math.abs(now - then)
  return change * 1000 > MIN_ACTIVE_BYTES_PER_SEC && change > BLIND_CHANGE_RATIO * Math.max(then, now)
}
