/**
 * Notices that the file of the branch secret was replaced, so that a rotation needs no restart: at a signal, and by a
 * look at the file about once a minute.
 *
 * A file that cannot be read leaves everything as it is, and is looked at again: it may be on its way.
 */
import { stat } from 'node:fs/promises'
import type { Logger } from 'pino'
import type { Clock, Random } from '../clock.ts'
import { type BranchSecret, readSecret } from '../config/secret.ts'
import { formatSecretFile } from '../config/secret-file.ts'

const LOOK_MS = 60_000

export class SecretWatch {
  readonly #clock: Clock
  readonly #random: Random
  readonly #log: Logger
  readonly #onChange: (secret: BranchSecret) => void
  readonly #stop = new AbortController()
  #secret: BranchSecret
  #mark: string | null = null
  #running: Promise<void> = Promise.resolve()
  #reading: Promise<boolean> = Promise.resolve(false)

  private constructor(
    components: { clock: Clock; random: Random; log: Logger },
    options: { secret: BranchSecret; onChange: (secret: BranchSecret) => void },
  ) {
    this.#clock = components.clock
    this.#random = components.random
    this.#log = components.log
    this.#secret = options.secret
    this.#onChange = options.onChange
  }

  /** @param options secret as it was read; onChange is called with each other one, never after close() */
  static open(
    components: { clock: Clock; random: Random; log: Logger },
    options: { secret: BranchSecret; onChange: (secret: BranchSecret) => void },
  ): SecretWatch {
    const watch = new SecretWatch(components, options)
    watch.#running = watch.#run().catch(() => {}) // ends by the abort of close()
    return watch
  }

  /** Reads the file now. @returns whether it says something else than before; false also when it cannot be read */
  reload(): Promise<boolean> {
    // One after another, so that the last read is the one that counts.
    this.#reading = this.#reading.then(() => this.#read())
    return this.#reading
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort()
    await this.#running
    await this.#reading
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    for (;;) {
      await this.#clock.sleep(LOOK_MS * (0.9 + 0.2 * this.#random()), { signal })
      // The first look reads it: it may have been replaced between the agent's reading and now.
      const mark = await this.#look()
      if (mark === null || mark !== this.#mark) await this.reload()
    }
  }

  async #read(): Promise<boolean> {
    const { path } = this.#secret
    try {
      const mark = await this.#look()
      const secret = await readSecret(path)
      this.#mark = mark
      if (this.#stop.signal.aborted || formatSecretFile(secret) === formatSecretFile(this.#secret)) return false
      this.#secret = secret
      if (secret.warning !== null) this.#log.warn({ warning: secret.warning }, 'the branch secret is not private')
      this.#log.info({ path, isRotating: secret.previous !== null }, 'the branch secret was replaced')
      this.#onChange(secret)
      return true
    } catch (err) {
      this.#log.warn({ err, path }, 'the branch secret cannot be read; the one before stays in force')
      return false
    }
  }

  /** What tells one state of the file from another; null when it cannot be looked at. */
  async #look(): Promise<string | null> {
    try {
      const { ino, size, mtimeMs } = await stat(this.#secret.path)
      return `${ino} ${size} ${mtimeMs}`
    } catch {
      return null
    }
  }
}
