/**
 * Bandwidth as a fluid: each flow gets its share of the sender's uplink and of the receiver's downlink, whichever is less,
 * from moment to moment. What a flow cannot take of its share of an uplink goes to the others of that uplink.
 *
 * No packets, no slow start, no loss. Rates are recomputed for the flows at the two ends of a flow that begins or ends.
 */
import type { EventQueue } from './event-queue.ts'

export interface Node {
  readonly upBytesPerMs: number
  readonly downBytesPerMs: number
  readonly ups: Set<Flow>
  readonly downs: Set<Flow>
}

export interface Flow {
  readonly from: Node
  readonly to: Node
  /** Of this flow alone; infinite: none. */
  readonly maxBytesPerMs: number
  readonly onDone: () => void
  /** When an end of it died. */
  readonly onCut: (() => void) | null
  leftBytes: number
  bytesPerMs: number
  atMs: number
  /** Of the event that is to end it. */
  dueMs: number
  isOver: boolean
}

export interface FlowOptions {
  readonly bytes: number
  readonly maxBytesPerMs?: number
  readonly onDone: () => void
  readonly onCut?: () => void
}

export function node(upMbit: number, downMbit: number): Node {
  return { upBytesPerMs: upMbit * 125, downBytesPerMs: downMbit * 125, ups: new Set(), downs: new Set() }
}

interface Want {
  readonly flow: Flow
  readonly most: number
}

export class FluidNetwork {
  readonly #queue: EventQueue

  constructor(queue: EventQueue) {
    this.#queue = queue
  }

  start(from: Node, to: Node, options: FlowOptions): Flow {
    const flow: Flow = {
      from,
      to,
      maxBytesPerMs: options.maxBytesPerMs ?? Number.POSITIVE_INFINITY,
      onDone: options.onDone,
      onCut: options.onCut ?? null,
      leftBytes: options.bytes,
      bytesPerMs: 0,
      atMs: this.#queue.nowMs,
      dueMs: Number.POSITIVE_INFINITY,
      isOver: false,
    }
    from.ups.add(flow)
    to.downs.add(flow)
    this.#share(from, to)
    return flow
  }

  /** @returns bytes that had not come */
  stop(flow: Flow): number {
    if (flow.isOver) return 0
    this.#settle(flow)
    this.#end(flow)
    return flow.leftBytes
  }

  /** An end of it died. */
  cut(flow: Flow): void {
    this.stop(flow)
    flow.onCut?.()
  }

  /** Bytes that have not come yet, now. */
  leftBytes(flow: Flow): number {
    return flow.isOver ? 0 : Math.max(0, flow.leftBytes - flow.bytesPerMs * (this.#queue.nowMs - flow.atMs))
  }

  #end(flow: Flow): void {
    flow.isOver = true
    flow.from.ups.delete(flow)
    flow.to.downs.delete(flow)
    this.#share(flow.from, flow.to)
  }

  #share(from: Node, to: Node): void {
    const ups: Want[] = []
    for (const flow of from.ups) ups.push({ flow, most: mostOf(flow, flow.to.downBytesPerMs / flow.to.downs.size) })
    this.#fill(ups, from.upBytesPerMs)
    const downs: Want[] = []
    for (const flow of to.downs) downs.push({ flow, most: mostOf(flow, flow.from.upBytesPerMs / flow.from.ups.size) })
    this.#fill(downs, to.downBytesPerMs)
  }

  /** Water-filling of one link: those who can take least first; what they leave is for the others. */
  #fill(wants: Want[], bytesPerMs: number): void {
    wants.sort((a, b) => a.most - b.most)
    let left = bytesPerMs
    let count = wants.length
    for (const { flow, most } of wants) {
      const rate = Math.min(most, left / count--)
      left -= rate
      this.#setRate(flow, rate)
    }
  }

  #settle(flow: Flow): void {
    const { nowMs } = this.#queue
    flow.leftBytes = Math.max(0, flow.leftBytes - flow.bytesPerMs * (nowMs - flow.atMs))
    flow.atMs = nowMs
  }

  #setRate(flow: Flow, bytesPerMs: number): void {
    // Small changes are left for the next one: they cost more than they tell.
    if (Math.abs(bytesPerMs - flow.bytesPerMs) < flow.bytesPerMs * 0.02) return
    this.#settle(flow)
    flow.bytesPerMs = bytesPerMs
    this.#schedule(flow)
  }

  /** An event that comes too early looks again; only an earlier end needs another event. */
  #schedule(flow: Flow): void {
    const dueMs = this.#queue.nowMs + flow.leftBytes / Math.max(1e-9, flow.bytesPerMs)
    if (dueMs >= flow.dueMs) return
    flow.dueMs = dueMs
    this.#queue.at(dueMs, () => this.#due(flow, dueMs))
  }

  #due(flow: Flow, dueMs: number): void {
    if (flow.isOver || flow.dueMs !== dueMs) return
    this.#settle(flow)
    if (flow.leftBytes > 1) {
      flow.dueMs = Number.POSITIVE_INFINITY
      this.#schedule(flow)
      return
    }
    this.#end(flow)
    flow.onDone()
  }
}

/** At its other end a flow gets an equal share, or what it has already when that is more. */
function mostOf(flow: Flow, otherShare: number): number {
  return Math.min(Math.max(otherShare, flow.bytesPerMs), flow.maxBytesPerMs)
}
