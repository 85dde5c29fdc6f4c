/** Processes of the security tests: one JSON line out for each line in. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { TS_IMPORT } from '../support/ts-import.ts'
import type { ChildFetched, ChildOrder, ChildReady, ChildView } from './agent-child.ts'

interface TestLike {
  teardown(handler: () => unknown): void
}

export class Child {
  readonly #process: ChildProcess
  readonly #lines: AsyncIterator<string>

  private constructor(process_: ChildProcess, lines: Interface) {
    this.#process = process_
    this.#lines = lines[Symbol.asyncIterator]()
  }

  /** Killed by the test's teardown. @param name of a file of this folder */
  static start(t: TestLike, name: string, args: readonly string[]): Child {
    const path = fileURLToPath(new URL(name, import.meta.url))
    const child = spawn(process.execPath, ['--expose-gc', TS_IMPORT, path, ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    t.teardown(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGKILL')
      await ended
    })
    child.stdin.on('error', () => {}) // it ended: the next line that is waited for says so
    return new Child(child, createInterface({ input: child.stdout }))
  }

  /** @throws Error when it ended */
  async next<Line>(): Promise<Line> {
    const { value, done } = await this.#lines.next()
    if (done) throw new Error('the process ended before its next line')
    return JSON.parse(value) as Line // of our own child
  }

  tell(order: unknown): void {
    this.#process.stdin?.write(`${JSON.stringify(order)}\n`)
  }
}

/** An agent in a process of its own, on loopback, found by its static peers. */
export class AgentChild {
  readonly ready: ChildReady
  readonly #child: Child

  private constructor(child: Child, ready: ChildReady) {
    this.#child = child
    this.ready = ready
  }

  static async start(
    t: TestLike,
    options: { readonly dir: string; readonly secretFile: string; readonly config?: Readonly<Record<string, unknown>> },
  ): Promise<AgentChild> {
    const child = Child.start(t, 'agent-child.ts', [
      options.dir,
      options.secretFile,
      JSON.stringify(options.config ?? {}),
    ])
    return new AgentChild(child, await child.next<ChildReady>())
  }

  /** Where others find it. */
  get address(): string {
    return `127.0.0.1:${this.ready.bootstrapPort}`
  }

  look(): Promise<ChildView> {
    return this.#ask({ do: 'look' })
  }

  fetch(url: string, options: { readonly target: string; readonly useOrigin?: boolean }): Promise<ChildFetched> {
    return this.#ask({ do: 'fetch', url, target: options.target, useOrigin: options.useOrigin ?? true })
  }

  /** One at a time. */
  #ask<Answer>(order: ChildOrder): Promise<Answer> {
    this.#child.tell(order)
    return this.#child.next<Answer>()
  }
}

/** Asks again until it is so; the test's own timeout bounds it. */
export async function until(isTrue: () => Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await new Promise((resolve) => setTimeout(resolve, 100))
}
