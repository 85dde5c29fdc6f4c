/** A set of segment positions in content of known size: one bit each, so 128 KiB for the longest content we handle. */
import type { SegmentRange } from './segmentation.ts'

export class PositionSet {
  /** Number of positions that the content has. */
  readonly capacity: number
  readonly #bits: Uint8Array
  #size = 0

  constructor(capacity: number) {
    this.capacity = capacity
    this.#bits = new Uint8Array(Math.ceil(capacity / 8))
  }

  static full(capacity: number): PositionSet {
    const set = new PositionSet(capacity)
    set.addRange({ start: 0, end: capacity })
    return set
  }

  get size(): number {
    return this.#size
  }

  get isFull(): boolean {
    return this.#size === this.capacity
  }

  has(index: number): boolean {
    return index >= 0 && index < this.capacity && ((this.#bits[index >> 3] ?? 0) & (1 << (index & 7))) !== 0
  }

  /** True when it was not there before; positions outside the content are ignored. */
  add(index: number): boolean {
    if (index < 0 || index >= this.capacity || this.has(index)) return false
    this.#bits[index >> 3] = (this.#bits[index >> 3] ?? 0) | (1 << (index & 7))
    this.#size++
    return true
  }

  delete(index: number): boolean {
    if (!this.has(index)) return false
    this.#bits[index >> 3] = (this.#bits[index >> 3] ?? 0) & ~(1 << (index & 7))
    this.#size--
    return true
  }

  /** Clamped to the content, so that a stranger's range costs at most the content's size. */
  addRange(range: SegmentRange): void {
    for (let index = Math.max(0, range.start); index < Math.min(range.end, this.capacity); index++) this.add(index)
  }

  deleteRange(range: SegmentRange): void {
    for (let index = Math.max(0, range.start); index < Math.min(range.end, this.capacity); index++) this.delete(index)
  }

  /** The first position at or after `from` that is in the set, or -1. */
  next(from: number): number {
    let index = Math.max(0, from)
    while (index < this.capacity) {
      const byte = (this.#bits[index >> 3] ?? 0) >> (index & 7)
      if (byte === 0) {
        index = (index | 7) + 1
        continue
      }
      // The lowest set bit of what is left of this byte.
      const found = index + 31 - Math.clz32(byte & -byte)
      return found < this.capacity ? found : -1
    }
    return -1
  }

  *values(from = 0): Generator<number> {
    for (let index = this.next(from); index !== -1; index = this.next(index + 1)) yield index
  }

  /** Maximal runs, ascending and disjoint. */
  ranges(): SegmentRange[] {
    const ranges: SegmentRange[] = []
    for (let start = this.next(0); start !== -1; ) {
      let end = start + 1
      while (this.has(end)) end++
      ranges.push({ start, end })
      start = this.next(end)
    }
    return ranges
  }
}
