/**
 * A process inside a lab host: its lines of stdout as they come, the tail of its stderr, its end.
 * Whoever spawns it may kill it; the lab kills what is left when it closes.
 */
import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'

export interface ProcessExit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

const STDERR_TAIL_CHARS = 64 * 1024
/** How long after the end of a process its output may still be read. */
const OUTPUT_GRACE_MS = 2000

export class LabProcess {
  readonly pid: number
  /** Settles when the process has ended and its output has been read, or 2 s later; never rejects. */
  readonly exit: Promise<ProcessExit>
  /** All lines so far. Bounded by what tests make a process print. */
  readonly lines: string[] = []
  readonly #child: ChildProcess
  readonly #listeners = new Set<(line: string) => void>()
  readonly #stderrListeners = new Set<(text: string) => void>()
  #stderr = ''
  #ended: ProcessExit | undefined

  constructor(child: ChildProcess) {
    this.#child = child
    this.pid = child.pid ?? -1
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-STDERR_TAIL_CHARS)
      for (const listener of this.#stderrListeners) listener(text)
    })
    const linesRead = new Promise<void>((resolve) => {
      if (!child.stdout) return resolve()
      createInterface({ input: child.stdout, crlfDelay: Number.POSITIVE_INFINITY })
        .on('line', (line) => {
          this.lines.push(line)
          for (const listener of this.#listeners) listener(line)
        })
        .on('close', resolve)
    })
    this.exit = new Promise((resolve) => {
      const end = (exit: ProcessExit) => {
        this.#ended ??= exit
        resolve(this.#ended)
      }
      child.once('error', (error) => {
        this.#stderr += String(error)
        end({ code: -1, signal: null })
      })
      child.once('close', (code, signal) => void linesRead.then(() => end({ code, signal })))
      // Children of the process may hold its pipes open for ever (nginx killed with -9 leaves its workers).
      child.once('exit', (code, signal) => {
        setTimeout(() => {
          child.stdout?.destroy()
          child.stderr?.destroy()
          end({ code, signal })
        }, OUTPUT_GRACE_MS).unref()
      })
    })
  }

  /** The last 64 Ki characters. */
  get stderr(): string {
    return this.#stderr
  }

  get ended(): ProcessExit | undefined {
    return this.#ended
  }

  /** Calls `listener` with what is on stderr already (its tail), and with all that comes. */
  onStderr(listener: (text: string) => void): void {
    if (this.#stderr !== '') listener(this.#stderr)
    this.#stderrListeners.add(listener)
  }

  /** Calls `listener` for each line from now on; returns the function that stops it. */
  onLine(listener: (line: string) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /**
   * The first line, past or future, that `predicate` accepts.
   * @throws Error with the tail of stderr when the process ends or the time is up before that.
   */
  waitForLine(predicate: (line: string) => boolean, options: { timeoutMs: number }): Promise<string> {
    const past = this.lines.find(predicate)
    if (past !== undefined) return Promise.resolve(past)
    return new Promise((resolve, reject) => {
      const fail = (why: string) => {
        stop()
        reject(new Error(`${why} before the line that was waited for\n${this.#stderr.slice(-4000)}`))
      }
      const timer = setTimeout(() => fail(`${options.timeoutMs} ms passed`), options.timeoutMs)
      const stopListening = this.onLine((line) => {
        if (!predicate(line)) return
        stop()
        resolve(line)
      })
      const stop = () => {
        clearTimeout(timer)
        stopListening()
      }
      void this.exit.then(({ code, signal }) => fail(`The process ended (${signal ?? code})`))
    })
  }

  /** Sends the signal and waits for the end; SIGKILL follows when that takes longer than `graceMs`. */
  async kill(signal: NodeJS.Signals = 'SIGTERM', options: { graceMs?: number } = {}): Promise<ProcessExit> {
    if (this.#ended) return this.#ended
    this.#child.kill(signal)
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), options.graceMs ?? 10_000)
    const exit = await this.exit
    clearTimeout(timer)
    return exit
  }
}
