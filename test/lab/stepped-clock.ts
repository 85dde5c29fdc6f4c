/** A wall clock of some processes' own, which can be set while they run (stepped-clock.c). Linux, with a C compiler. */
import { execFileSync } from 'node:child_process'
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { systemClock } from '../../src/clock.ts'

export class SteppedClock {
  /** For the processes that shall go by it. */
  readonly env: Readonly<Record<string, string>>
  readonly #file: string
  #stepSeconds = 0

  private constructor(paths: { readonly library: string; readonly file: string }) {
    this.env = { LD_PRELOAD: paths.library, STEPPED_CLOCK_FILE: paths.file }
    this.#file = paths.file
    writeFileSync(this.#file, Buffer.alloc(8))
  }

  /** With its files in `dir`; goes with the machine's clock at first. */
  static create(dir: string): SteppedClock {
    const library = join(dir, 'stepped-clock.so')
    const source = fileURLToPath(new URL('./stepped-clock.c', import.meta.url))
    execFileSync('cc', ['-O2', '-shared', '-fPIC', '-o', library, source, '-ldl'], { stdio: 'pipe' })
    return new SteppedClock({ library, file: join(dir, 'stepped-clock') })
  }

  /** From now on it differs from the machine's clock by so much. */
  step(seconds: number): void {
    this.#stepSeconds = seconds
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64LE(BigInt(seconds))
    // Not made anew: it is mapped.
    const file = openSync(this.#file, 'r+')
    try {
      writeSync(file, bytes)
    } finally {
      closeSync(file)
    }
  }

  /** What it says. */
  nowMs(): number {
    return systemClock.nowMs() + this.#stepSeconds * 1000
  }
}
