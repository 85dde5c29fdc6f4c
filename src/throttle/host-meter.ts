/**
 * Measures this host's network while somebody wants to know: the interface's counters, what of it is ours, what waits in
 * the kernel; the meter says what others use.
 *
 * Nothing runs and nothing is read while nobody holds it. Where the interface cannot be read, others use nothing.
 */
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import { ForegroundMeter, type ForegroundView, type TrafficSample } from './foreground-meter.ts'
import { type NicCounters, type NicOptions, type NicTotals, openNic } from './nic.ts'
import type { OwnTotals, OwnTraffic } from './own-traffic.ts'
import { type QueueTotals, readSocketQueues } from './socket-queues.ts'

export interface HostMeterComponents {
  readonly clock: Clock
  readonly log: Logger
  readonly traffic: OwnTraffic
  /** Replaced in tests. */
  readonly openNic?: (components: { clock: Clock; log: Logger }, options: NicOptions) => NicCounters
  /** Replaced in tests. */
  readonly readQueues?: typeof readSocketQueues
}

export interface HostMeterOptions {
  /** The interface that carries the branch and the default route, by its name now; null: none. */
  readonly interfaceName: () => string | null
}

export interface HostDetails {
  /** As the system names it, or null. */
  readonly linkBytesPerSec: number | null
  /** Came over the interface since the last measurement, what our neighbours sent left out; null at the first. */
  readonly wanReceivedBytesPerSec: number | null
  /** Of our connections, in the kernel; null where that cannot be read. */
  readonly queues: QueueTotals | null
}

/** Called after each measurement. */
export type HostListener = (view: ForegroundView, details: HostDetails) => void

export interface ListenOptions {
  /**
   * True while it is enough to hear of others that could be there, and once a second of the rest: reading the kernel's
   * table is most of what measuring costs. Default: never.
   */
  readonly isCalm?: () => boolean
}

const TICK_MS = 200
/** The kernel's table may take one processor so many times less than the time between two readings: 4 %. */
const QUEUE_COST_FACTOR = 25
const MAX_TICK_MS = 1000
/** While all are calm the table is read at the first tick after so long: once a second. */
const CALM_MS = MAX_TICK_MS - TICK_MS / 2
/** Of the last readings the shortest counts: the others waited for a processor. */
const QUEUE_COSTS = 8
/** Without counters it is looked again so often: an interface may come. */
const BLIND_TICK_MS = 5000

export class HostMeter {
  readonly #components: HostMeterComponents
  readonly #options: HostMeterOptions
  readonly #listeners = new Map<HostListener, () => boolean>()
  readonly #meter = new ForegroundMeter()
  #nic: { readonly name: string; readonly counters: NicCounters; readonly linkBytesPerSec: number | null } | null = null
  #queueCostsMs: number[] = []
  #lastWan: { readonly atMs: number; readonly receivedBytes: number; readonly lanBytes: number } | null = null
  #running: AbortController | null = null
  #loop: Promise<void> = Promise.resolve()
  #isClosed = false

  constructor(components: HostMeterComponents, options: HostMeterOptions) {
    this.#components = { ...components, log: components.log.child({ module: 'throttle.host-meter' }) }
    this.#options = options
  }

  /** What was measured last; rates of zero before anything was, and old ones while nobody listens. */
  view(): ForegroundView {
    return this.#meter.view()
  }

  /** Measures from now on, until what it returns is called, which is idempotent. */
  listen(listener: HostListener, options: ListenOptions = {}): () => void {
    this.#listeners.set(listener, options.isCalm ?? (() => false))
    if (!this.#running && !this.#isClosed) {
      const running = new AbortController()
      this.#running = running
      this.#loop = this.#loop.then(() => this.#run(running.signal))
    }
    return () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size === 0) this.#stop()
    }
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#listeners.clear()
    this.#stop()
    await this.#loop
  }

  #stop(): void {
    this.#running?.abort(STOPPED)
    this.#running = null
  }

  /** Never rejects. */
  async #run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#components
    try {
      while (!signal.aborted) await clock.sleep(await this.#measureOrRest(signal), { signal })
    } catch {
      // It was told to end.
    } finally {
      await this.#nic?.counters.close()
      this.#nic = null
      this.#lastWan = null
    }
  }

  async #measureOrRest(signal: AbortSignal): Promise<number> {
    try {
      return await this.#measure(signal)
    } catch (error) {
      if (!signal.aborted) this.#components.log.error({ err: error }, 'measuring the network failed')
      return BLIND_TICK_MS
    }
  }

  /** @returns how long to wait for the next */
  async #measure(signal: AbortSignal): Promise<number> {
    const nic = await this.#openNic()
    if (nic === null) return BLIND_TICK_MS
    if (nic.counters.isPrompt && (await this.#isAllOurs(nic))) return TICK_MS
    const { clock, traffic, readQueues = readSocketQueues } = this.#components
    const before = nic.counters.isPrompt ? await nic.counters.read() : null
    const startMs = clock.monotonicMs()
    const queues = readQueues(traffic.connections())
    this.#noteCost(queues, clock.monotonicMs() - startMs)
    const totals = await nic.counters.read()
    if (signal.aborted) return 0
    if (totals === null) return BLIND_TICK_MS
    const own = traffic.totals() // in the same turn of the event loop: what comes in between is somebody else's
    const view = this.#meter.add({
      ...sampleOf(nic.name, totals, own),
      queues,
      ...(before === null
        ? {}
        : {
            passedMeanwhile: {
              receivedBytes: Math.max(0, totals.receivedBytes - before.receivedBytes),
              sentBytes: Math.max(0, totals.sentBytes - before.sentBytes),
            },
          }),
    })
    const details: HostDetails = {
      queues,
      linkBytesPerSec: nic.linkBytesPerSec,
      wanReceivedBytesPerSec: this.#wanReceived(totals, own.lanReceivedBytes),
    }
    for (const listener of [...this.#listeners.keys()]) listener(view, details)
    return Math.min(MAX_TICK_MS, Math.max(TICK_MS, QUEUE_COST_FACTOR * Math.min(...this.#queueCostsMs, MAX_TICK_MS)))
  }

  /** A look at the card alone, when all who listen are calm: nothing passed that need be somebody else's. */
  async #isAllOurs({ name, counters }: { readonly name: string; readonly counters: NicCounters }): Promise<boolean> {
    const { clock, traffic } = this.#components
    if (this.#lastWan === null || clock.monotonicMs() - this.#lastWan.atMs >= CALM_MS) return false
    if (![...this.#listeners.values()].every((isCalm) => isCalm())) return false
    const totals = await counters.read()
    return totals !== null && this.#meter.explains(sampleOf(name, totals, traffic.totals()))
  }

  #wanReceived({ atMs, receivedBytes }: { atMs: number; receivedBytes: number }, lanBytes: number): number | null {
    const last = this.#lastWan
    this.#lastWan = { atMs, receivedBytes, lanBytes }
    if (last === null || atMs - last.atMs < TICK_MS / 2 || atMs - last.atMs > 2 * MAX_TICK_MS) return null
    const all = (receivedBytes - last.receivedBytes) / this.#meter.receivedWireRatio
    return (Math.max(0, all - (lanBytes - last.lanBytes)) / (atMs - last.atMs)) * 1000
  }

  #noteCost(queues: QueueTotals | null, costMs: number): void {
    this.#queueCostsMs.push(queues === null ? 0 : costMs)
    if (this.#queueCostsMs.length > QUEUE_COSTS) this.#queueCostsMs.shift()
  }

  async #openNic() {
    const name = this.#options.interfaceName()
    if (this.#nic && this.#nic.name !== name) {
      await this.#nic.counters.close()
      this.#nic = null
    }
    if (this.#nic === null && name !== null) {
      const { clock, log, openNic: open = openNic } = this.#components
      const counters = open({ clock, log }, { interfaceName: name })
      this.#nic = { name, counters, linkBytesPerSec: await counters.linkBytesPerSec() }
    }
    return this.#nic
  }
}

function sampleOf(interfaceName: string, nic: NicTotals, own: OwnTotals): Omit<TrafficSample, 'queues'> {
  return {
    atMs: nic.atMs,
    interfaceName,
    nicReceivedBytes: nic.receivedBytes,
    nicSentBytes: nic.sentBytes,
    ownReceivedBytes: own.wanReceivedBytes + own.lanReceivedBytes,
    ownSentBytes: own.wanSentBytes + own.lanSentBytes,
  }
}

/** Given, because the DOMException that stands in for none costs a stack. */
const STOPPED = new Error('Nobody listens')
