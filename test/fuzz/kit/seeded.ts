/** Chance that can be had again: one seed, one sequence (sfc32, by Chris Doty-Humphrey; public domain). */
export class Seeded {
  #a: number
  #b = 0x9e3779b9
  #c = 0x243f6a88
  #counter = 1

  constructor(seed: number) {
    this.#a = seed >>> 0
    for (let turn = 0; turn < 15; turn++) this.u32()
  }

  u32(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0
    return sum >>> 0
  }

  /** 0 to `count` - 1; 0 when there is nothing to choose from. */
  below(count: number): number {
    return count < 1 ? 0 : Math.floor((this.u32() / 2 ** 32) * count)
  }

  /** Both ends belong to it. */
  between(min: number, max: number): number {
    return min + this.below(max - min + 1)
  }

  chance(ratio: number): boolean {
    return this.u32() < ratio * 2 ** 32
  }

  pick<T>(from: readonly [T, ...T[]]): T
  pick<T>(from: readonly T[]): T | undefined
  pick<T>(from: readonly T[]): T | undefined {
    return from[this.below(from.length)]
  }

  bytes(count: number): Buffer {
    const bytes = Buffer.allocUnsafe(count)
    for (let at = 0; at < count; at++) bytes[at] = this.u32() & 0xff
    return bytes
  }

  /** Few, mostly: 0 to `max`, halving. */
  few(max: number): number {
    let count = 0
    while (count < max && this.chance(0.6)) count++
    return count
  }

  hex(byteCount: number): string {
    return this.bytes(byteCount).toString('hex')
  }
}
