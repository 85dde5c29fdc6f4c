/** One input through one target, with the bounds that hold for all of them: memory, time, and no failure behind its back. */
import { AllocationMeter } from './meter.ts'
import type { FuzzTarget, Verdict } from './target.ts'

/** Of the processor, all threads. Generous: a slow machine, and whatever the compiler does meanwhile. */
const MAX_CPU_MS = 250
/** A slow input is slow each time; a collection of garbage is not. */
const SLOW_TRIES = 3

export class InputCheck {
  readonly #target: FuzzTarget
  readonly #meter = new AllocationMeter()
  readonly #stray: unknown[] = []
  readonly #onStray = (error: unknown) => this.#stray.push(error)

  constructor(target: FuzzTarget) {
    this.#target = target
    process.on('uncaughtException', this.#onStray)
    process.on('unhandledRejection', this.#onStray)
  }

  /** @returns what the target said, or the failure */
  async run(input: Uint8Array): Promise<Verdict | Error> {
    let verdict = await this.#once(input)
    for (let tries = 1; verdict instanceof SlowInput && tries < SLOW_TRIES; tries++) verdict = await this.#once(input)
    return verdict
  }

  /** What was thrown where nobody could catch it, since the last time; null: nothing. */
  async stray(): Promise<Error | null> {
    await new Promise((resolve) => setImmediate(resolve))
    const [first] = this.#stray
    if (this.#stray.length === 0) return null
    this.#stray.length = 0
    return new Error('Broken: an error that nobody caught', { cause: first })
  }

  async close(): Promise<void> {
    this.#meter.stop()
    process.off('uncaughtException', this.#onStray)
    process.off('unhandledRejection', this.#onStray)
    await this.#target.close?.()
  }

  async #once(input: Uint8Array): Promise<Verdict | Error> {
    const target = this.#target
    const before = process.cpuUsage()
    this.#meter.bytes = 0
    let verdict: Verdict | Promise<Verdict>
    try {
      verdict = target.run(input)
      if (typeof verdict !== 'string') verdict = await verdict
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error))
    }
    const allocatedBytes = this.#meter.bytes
    const { user, system } = process.cpuUsage(before)
    const cpuMs = (user + system) / 1000
    const mostBytes = target.maxAllocatedBytes?.(input) ?? 16 * 1024 + 32 * input.byteLength
    if (allocatedBytes > mostBytes) {
      return new Error(`Broken: ${input.byteLength} bytes made it reserve ${allocatedBytes}, expected ${mostBytes}`)
    }
    return cpuMs > MAX_CPU_MS ? new SlowInput(`Broken: ${input.byteLength} bytes took ${cpuMs} ms`) : verdict
  }
}

class SlowInput extends Error {}
