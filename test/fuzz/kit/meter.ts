/** Counts what is reserved in buffers on the word of an input: a length field that is believed shows at once. */
export class AllocationMeter {
  readonly #original = {
    alloc: Buffer.alloc,
    allocUnsafe: Buffer.allocUnsafe,
    allocUnsafeSlow: Buffer.allocUnsafeSlow,
  }
  /** Since it was last set to 0. */
  bytes = 0

  /** Until `stop`, also for whoever else runs in this process. */
  constructor() {
    const { alloc, allocUnsafe, allocUnsafeSlow } = this.#original
    const counted = (size: number) => {
      this.bytes += size
      return size
    }
    Object.assign(Buffer, {
      alloc: (size: number, ...fill: never[]) => alloc(counted(size), ...fill),
      allocUnsafe: (size: number) => allocUnsafe(counted(size)),
      allocUnsafeSlow: (size: number) => allocUnsafeSlow(counted(size)),
    })
  }

  stop(): void {
    Object.assign(Buffer, this.#original)
  }
}
