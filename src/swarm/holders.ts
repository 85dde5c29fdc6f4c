/**
 * Who holds which positions of one resource, as far as they said so. Pure; keeps counts, so that what anybody holds is
 * known at no cost, and since when one alone does.
 */
import type { AgentKey } from '../content/ids.ts'
import { PositionSet } from '../content/position-set.ts'
import type { SegmentRange } from '../content/segmentation.ts'

/** Of the usual time, how much the last one counts. */
const NEWEST_WEIGHT = 1 / 8

export class Holders {
  readonly #segmentCount: number
  readonly #positions = new Map<AgentKey, PositionSet>()
  readonly #counts: Uint16Array
  /** When the first of those that hold it said so. */
  readonly #firstAtMs: Float64Array
  #usuallyAloneMs = 0
  /** Positions that at least one neighbour holds. Not to be written to. */
  readonly available: PositionSet

  constructor(segmentCount: number) {
    this.#segmentCount = segmentCount
    this.#counts = new Uint16Array(segmentCount)
    this.#firstAtMs = new Float64Array(segmentCount)
    this.available = new PositionSet(segmentCount)
  }

  /** Not to be written to. */
  of(peer: AgentKey): PositionSet | undefined {
    return this.#positions.get(peer)
  }

  /** Neighbours that hold the position. */
  count(index: number): number {
    return this.#counts[index] ?? 0
  }

  /** Any of those that hold the position. */
  firstOf(index: number): AgentKey | undefined {
    for (const [peer, positions] of this.#positions) if (positions.has(index)) return peer
    return undefined
  }

  /** How long one neighbour alone holds the position; 0: that is not so. */
  aloneMs(index: number, nowMs: number): number {
    return this.count(index) === 1 ? nowMs - (this.#firstAtMs[index] ?? nowMs) : 0
  }

  /** Until a second neighbour held what one had, of late. */
  get usuallyAloneMs(): number {
    return this.#usuallyAloneMs
  }

  /** Clamped to the content. */
  add(peer: AgentKey, ranges: readonly SegmentRange[], nowMs: number): void {
    let positions = this.#positions.get(peer)
    if (!positions) {
      positions = new PositionSet(this.#segmentCount)
      this.#positions.set(peer, positions)
    }
    for (const { start, end } of ranges) {
      for (let index = start; index < Math.min(end, this.#segmentCount); index++) {
        if (!positions.add(index)) continue
        const aloneMs = this.aloneMs(index, nowMs)
        if (aloneMs > 0) this.#usuallyAloneMs += (aloneMs - this.#usuallyAloneMs) * NEWEST_WEIGHT
        if (this.count(index) === 0) this.#firstAtMs[index] = nowMs
        this.#counts[index] = this.count(index) + 1
        this.available.add(index)
      }
    }
  }

  delete(peer: AgentKey, ranges: readonly SegmentRange[]): void {
    const positions = this.#positions.get(peer)
    if (!positions) return
    for (const { start, end } of ranges) {
      for (let index = start; index < Math.min(end, this.#segmentCount); index++) this.#deleteOne(positions, index)
    }
  }

  /** @returns false when it held nothing */
  leave(peer: AgentKey): boolean {
    const positions = this.#positions.get(peer)
    if (!positions) return false
    for (const index of [...positions.values()]) this.#deleteOne(positions, index)
    return this.#positions.delete(peer)
  }

  #deleteOne(positions: PositionSet, index: number): void {
    if (!positions.delete(index)) return
    const count = this.count(index) - 1
    this.#counts[index] = count
    if (count === 0) this.available.delete(index)
  }
}
