/**
 * A line with one FIFO, in virtual time, a millisecond at a time: TCP senders of the common kind (slow start, then CUBIC),
 * receivers with the kernel's growing buffers, and a probe. Coarse, but with the traits that fool a controller: bytes that
 * are under way cannot be called back, a receive buffer hides that the reader is slow, and a loss is noticed late.
 */
import { DelayEstimator } from '../../src/throttle/delay-estimator.ts'
import { WanLaw } from '../../src/throttle/wan-law.ts'
import {
  isRising,
  type LocalTraffic,
  WAN_LEVELS,
  type WanDecision,
  type WanLevel,
} from '../../src/throttle/wan-sample.ts'

const PACKET = 1500
const CUBIC_C = 0.4
const CUBIC_BETA = 0.7

export interface LineOptions {
  readonly mbit: number
  readonly fifoMs: number
  readonly rttMs: number
}

/** One sender and its receiver. The reader takes as much as `readBytesPerSec` lets it. */
export class Flow {
  readBytesPerSec = Number.POSITIVE_INFINITY
  isActive = true
  readonly #line: Line
  #cwnd = 10 * PACKET
  #isSlowStart = true
  #inFlight = 0
  #maxWindow = 0
  #epochMs = 0
  #lostAtMs = Number.NEGATIVE_INFINITY
  /** Read but not yet by the reader; the kernel holds them. */
  #kernelBytes = 0
  #bufferBytes = 64 * 1024
  #wantedBufferBytes = 64 * 1024
  #credit = 0
  readBytes = 0
  arrivedBytes = 0
  #copied: number[] = []

  constructor(line: Line) {
    this.#line = line
  }

  send(nowMs: number): void {
    if (!this.isActive) return
    const window = Math.min(this.#cwnd, Math.max(0, this.#bufferBytes - this.#kernelBytes))
    const bytes = Math.min(window - this.#inFlight, (1_000_000_000 / 8) * 0.001)
    if (bytes < PACKET) return
    const accepted = this.#line.enqueue(this, bytes, nowMs)
    this.#inFlight += accepted
    if (accepted < bytes - 1) this.#lose(nowMs)
  }

  arrive(bytes: number): void {
    this.arrivedBytes += bytes
    this.#kernelBytes += bytes
    this.#bufferBytes = Math.min(this.#wantedBufferBytes, this.#bufferBytes + 2 * bytes)
  }

  ack(bytes: number, nowMs: number): void {
    const wasLimited = this.#inFlight > this.#cwnd * 0.8
    this.#inFlight -= bytes
    if (!wasLimited) return
    if (this.#isSlowStart) {
      this.#cwnd += bytes
      return
    }
    const elapsed = (nowMs - this.#epochMs + this.#line.rttMs) / 1000
    const k = Math.cbrt(((this.#maxWindow / PACKET) * (1 - CUBIC_BETA)) / CUBIC_C)
    const target = (CUBIC_C * (elapsed - k) ** 3 + this.#maxWindow / PACKET) * PACKET
    this.#cwnd += Math.max(0, Math.min(bytes, ((target - this.#cwnd) * bytes) / this.#cwnd))
  }

  read(nowMs: number): void {
    const most = this.readBytesPerSec / 1000
    this.#credit = Math.min(this.#credit + most, Math.max(most * 10, 16 * 1024))
    const bytes = Math.min(this.#kernelBytes, this.#credit)
    this.#credit -= bytes
    this.#kernelBytes -= bytes
    this.readBytes += bytes
    // Dynamic right-sizing: room for some four times what was copied in a round trip.
    this.#copied.push(bytes)
    const rtt = Math.max(1, Math.round(this.#line.rttMs + this.#line.queueMs))
    if (this.#copied.length > rtt) this.#copied.splice(0, this.#copied.length - rtt)
    const perRtt = this.#copied.reduce((sum, one) => sum + one, 0)
    if (nowMs % rtt < 1)
      this.#wantedBufferBytes = Math.max(this.#wantedBufferBytes, Math.min(6 * 1024 * 1024, 3 * perRtt))
  }

  #lose(nowMs: number): void {
    if (nowMs - this.#lostAtMs < this.#line.rttMs + this.#line.queueMs) return
    this.#lostAtMs = nowMs
    this.#isSlowStart = false
    this.#maxWindow = this.#cwnd
    this.#epochMs = nowMs
    this.#cwnd = Math.max(2 * PACKET, this.#cwnd * CUBIC_BETA)
  }
}

/** Bytes, or the word that they came, on their way. */
interface Moving {
  readonly atMs: number
  readonly flow: Flow
  readonly bytes: number
  readonly isAck: boolean
}

export class Line {
  nowMs = 0
  rttMs: number
  readonly flows: Flow[] = []
  #options: LineOptions
  #queue: { flow: Flow; bytes: number }[] = []
  #queuedBytes = 0
  #arriving: Moving[] = []

  constructor(options: LineOptions) {
    this.#options = options
    this.rttMs = options.rttMs
  }

  set mbit(value: number) {
    this.#options = { ...this.#options, mbit: value }
  }

  get bytesPerSec(): number {
    return this.#options.mbit * 125_000
  }

  get queueMs(): number {
    return (this.#queuedBytes / this.bytesPerSec) * 1000
  }

  flow(): Flow {
    const flow = new Flow(this)
    this.flows.push(flow)
    return flow
  }

  enqueue(flow: Flow, bytes: number, _nowMs: number): number {
    const room = (this.bytesPerSec * this.#options.fifoMs) / 1000 - this.#queuedBytes
    const accepted = Math.max(0, Math.min(bytes, room))
    if (accepted > 0) {
      this.#queue.push({ flow, bytes: accepted })
      this.#queuedBytes += accepted
    }
    return accepted
  }

  /** One millisecond. */
  step(): void {
    this.nowMs++
    for (const flow of this.flows) flow.send(this.nowMs)
    let room = this.bytesPerSec / 1000
    for (let head = this.#queue[0]; head && room > 0; head = this.#queue[0]) {
      const bytes = Math.min(room, head.bytes)
      head.bytes -= bytes
      room -= bytes
      this.#queuedBytes -= bytes
      this.#arriving.push({ atMs: this.nowMs + this.rttMs / 2, flow: head.flow, bytes, isAck: false })
      if (head.bytes < 0.5) this.#queue.shift()
    }
    const later: Moving[] = []
    for (const one of this.#arriving) {
      if (one.atMs > this.nowMs) later.push(one)
      else if (one.isAck) one.flow.ack(one.bytes, this.nowMs)
      else {
        one.flow.arrive(one.bytes)
        later.push({ ...one, atMs: this.nowMs + this.rttMs / 2, isAck: true })
      }
    }
    this.#arriving = later
    for (const flow of this.flows) flow.read(this.nowMs)
  }
}

const TICK_MS = 50
const PROBE_MS = 100
const RISING_PROBE_MS = 50

/** A background that obeys the law on this line, with everything that the governor would tell the law. */
export class Background {
  readonly law: WanLaw
  readonly estimator = new DelayEstimator()
  flow: Flow
  decision: WanDecision | null = null
  isProbeDead = false
  isArrivalKnown = true
  local: LocalTraffic | null = null
  isUserElsewhere = false
  /** By how much answers come late for reasons that are no queue: a busy machine, here or there. Default: never. */
  scatterMs: () => number = () => 0
  readonly queueMs: number[] = []
  readonly #line: Line
  #read: number[] = []
  #arrived: number[] = []
  #pending: { sentMs: number; dueMs: number }[] = []
  #isSilent = true

  constructor(line: Line, level: WanLevel = WAN_LEVELS.normal) {
    this.#line = line
    this.law = new WanLaw(level)
    this.flow = line.flow()
    this.flow.readBytesPerSec = 0
  }

  /** Over a new connection, after nothing was to be had for so long: the line is to have stepped on without it. */
  restart(awayMs: number): void {
    this.flow.isActive = false
    this.flow = this.#line.flow()
    this.flow.readBytesPerSec = 0
    this.#read = []
    this.#arrived = []
    this.#pending = []
    this.#isSilent = true
    this.law.restart(this.#line.nowMs, awayMs)
  }

  /** After each step of the line. @param nowMs differs from the line's only where a test tears the clock */
  step(nowMs = this.#line.nowMs): void {
    const { nowMs: lineMs } = this.#line
    const probeMs = isRising(this.decision?.phase) ? RISING_PROBE_MS : PROBE_MS
    if (lineMs % PROBE_MS === 0) this.queueMs.push(this.#line.queueMs)
    if (lineMs % probeMs === 0) {
      if (!this.isProbeDead) {
        const roundTripMs = this.#line.rttMs + this.#line.queueMs + this.scatterMs()
        this.#pending.push({ sentMs: nowMs, dueMs: nowMs + roundTripMs })
      }
    }
    for (let [head] = this.#pending; head && head.dueMs <= nowMs; [head] = this.#pending) {
      this.estimator.add(head.dueMs - head.sentMs, nowMs, this.law.isQuiet)
      this.#isSilent = false
      this.#pending.shift()
    }
    if (lineMs % TICK_MS !== 0) return
    this.#read.push(this.flow.readBytes)
    if (this.#read.length > 11) this.#read.shift()
    const back = (ticks: number) => {
      const then = this.#read[Math.max(0, this.#read.length - 1 - ticks)] ?? 0
      return ((this.flow.readBytes - then) * 1000) / (ticks * TICK_MS)
    }
    this.#arrived.push(this.flow.arrivedBytes)
    if (this.#arrived.length > 5) this.#arrived.shift()
    const arrivedBytesPerSec = (this.flow.arrivedBytes - (this.#arrived[0] ?? 0)) * 5
    const [oldest] = this.#pending
    const delay = this.isProbeDead || this.#isSilent ? null : this.estimator.view(oldest ? nowMs - oldest.sentMs : 0)
    this.decision = this.law.step({
      nowMs,
      delay,
      delaySpreadMs: this.estimator.spreadMs(nowMs),
      bytesPerSec: { last200Ms: back(4), last500Ms: back(10) },
      arrivedBytesPerSec: this.isArrivalKnown ? arrivedBytesPerSec : null,
      isLimited: true,
      capBytesPerSec: null,
      local: this.local,
      isUserElsewhere: this.isUserElsewhere,
    })
    if (this.decision.isRebase) this.estimator.rebase(nowMs)
    if (this.decision.isReset) this.estimator.reset()
    this.flow.readBytesPerSec = this.decision.bytesPerSec
  }
}

export function run(line: Line, backgrounds: readonly Background[], durationMs: number): void {
  for (let ms = 0; ms < durationMs; ms++) {
    line.step()
    for (const one of backgrounds) one.step()
  }
}
