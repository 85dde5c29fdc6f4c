/** A set of segment positions in content of known size: one bit each, so 128 KiB for the longest content we handle. */
import type { SegmentRange } from './segmentation.ts'

export class PositionSet {
  /** Number of positions that the content has. */
  readonly capacity: number
  /** Bits beyond the capacity are always 0. */
  readonly #words: Uint32Array
  #size = 0

  constructor(capacity: number) {
    this.capacity = capacity
    this.#words = new Uint32Array(Math.ceil(capacity / 32))
  }

  static full(capacity: number): PositionSet {
    const set = new PositionSet(capacity)
    set.addRange({ start: 0, end: capacity })
    return set
  }

  static of(capacity: number, ranges: Iterable<SegmentRange>): PositionSet {
    const set = new PositionSet(capacity)
    for (const range of ranges) set.addRange(range)
    return set
  }

  get size(): number {
    return this.#size
  }

  get isFull(): boolean {
    return this.#size === this.capacity
  }

  has(index: number): boolean {
    return index >= 0 && index < this.capacity && (((this.#words[index >>> 5] ?? 0) >>> (index & 31)) & 1) === 1
  }

  /** True when it was not there before; positions outside the content are ignored. */
  add(index: number): boolean {
    if (index < 0 || index >= this.capacity || this.has(index)) return false
    this.#words[index >>> 5] = (this.#words[index >>> 5] ?? 0) | (1 << (index & 31))
    this.#size++
    return true
  }

  delete(index: number): boolean {
    if (!this.has(index)) return false
    this.#words[index >>> 5] = (this.#words[index >>> 5] ?? 0) & ~(1 << (index & 31))
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

  clear(): void {
    this.#words.fill(0)
    this.#size = 0
  }

  copy(): PositionSet {
    const copy = new PositionSet(this.capacity)
    copy.#words.set(this.#words)
    copy.#size = this.#size
    return copy
  }

  /** @param other of the same content */
  addAll(other: PositionSet): void {
    const words = other.#words
    for (let at = 0; at < words.length; at++) {
      const word = words[at] ?? 0
      if (word !== 0) this.#put(at, (this.#words[at] ?? 0) | word)
    }
  }

  /** @param other of the same content */
  deleteAll(other: PositionSet): void {
    const words = other.#words
    for (let at = 0; at < words.length; at++) {
      const word = words[at] ?? 0
      if (word !== 0) this.#put(at, (this.#words[at] ?? 0) & ~word)
    }
  }

  /** The first position at or after `from` that is in the set, or -1. */
  next(from: number): number {
    return this.#nextCommon(this.#words, from)
  }

  /** The first position at or after `from` that is in both sets, or -1. @param other of the same content */
  nextCommon(other: PositionSet, from: number): number {
    return this.#nextCommon(other.#words, from)
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

  #put(at: number, word: number): void {
    const before = this.#words[at] ?? 0
    this.#words[at] = word
    this.#size += bitCount(word) - bitCount(before)
  }

  #nextCommon(others: Uint32Array, from: number): number {
    let index = Math.max(0, from)
    while (index < this.capacity) {
      const at = index >>> 5
      const word = ((this.#words[at] ?? 0) & (others[at] ?? 0)) >>> (index & 31)
      // The lowest set bit of what is left of this word.
      if (word !== 0) return index + 31 - Math.clz32(word & -word)
      index = (index | 31) + 1
    }
    return -1
  }
}

/** Of 32 bits. */
function bitCount(word: number): number {
  let bits = word - ((word >>> 1) & 0x55555555)
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333)
  bits = (bits + (bits >>> 4)) & 0x0f0f0f0f
  return Math.imul(bits, 0x01010101) >>> 24
}
