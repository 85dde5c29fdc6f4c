/**
 * A process that runs as the owner of jobs, as the agent sees it: calls and their answers. What comes from it is a user's
 * word: it has a bound, and no form until it is looked at.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { Logger } from 'pino'
import { killChild } from '../child-signal.ts'
import { ShorthaulError } from '../errors.ts'
import { decodeFramesOf, encodeJsonFrame, encodeSegmentHead } from '../transfer/frames.ts'
import type { Account } from './accounts.ts'
import { errorOf, type OwnerAnswer, type OwnerRequest, READY_CALL } from './owner-protocol.ts'

const START_DEADLINE_MS = 60_000
const CLOSE_DEADLINE_MS = 5000
const MAX_COMPLAINT_BYTES = 4096
/** The agent's own is not handed on: it may be anything. */
const PATH = '/usr/local/bin:/usr/bin:/bin'

interface Pending {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: ShorthaulError) => void
  readonly timer: NodeJS.Timeout
}

type Child = ChildProcessByStdio<Writable, Readable, Readable>

export class OwnerProcess {
  readonly account: Account
  /** Resolves when it is gone. */
  readonly ended: Promise<void>
  readonly #child: Child
  readonly #log: Logger
  readonly #pending = new Map<number, Pending>()
  #nextCall = READY_CALL + 1
  #isGone = false

  private constructor(account: Account, child: Child, log: Logger) {
    this.account = account
    this.#child = child
    this.#log = log
    this.ended = new Promise((resolve) => {
      child.once('close', () => resolve())
      // It never was. A signal that cannot be sent is an error, too.
      child.on('error', () => {
        if (child.pid === undefined) resolve()
      })
    })
  }

  /** @throws SHORTHAUL_FORBIDDEN when it cannot become that user; SHORTHAUL_TARGET_UNWRITABLE, retryable, when it does not start */
  static async start(account: Account, { log }: { readonly log: Logger }): Promise<OwnerProcess> {
    const isSource = import.meta.url.endsWith('.ts') // in development
    const entry = fileURLToPath(new URL(`./owner-child.${isSource ? 'ts' : 'js'}`, import.meta.url))
    const { uid, gid, name, home } = account
    const child = spawn(
      process.execPath,
      [...(isSource ? process.execArgv : []), entry, String(uid), String(gid), name],
      {
        stdio: ['pipe', 'pipe', 'pipe'],
        env: { PATH, HOME: home, USER: name, LANG: process.env.LANG ?? 'C.UTF-8' },
        // What a terminal sends to the agent is not meant for it.
        detached: true,
      },
    )
    const started = new OwnerProcess(account, child, log)
    const ready = started.#expect(READY_CALL, START_DEADLINE_MS)
    // Without descriptors there are no pipes to listen to, and nobody gets to wait for it.
    ready.catch(() => {})
    try {
      started.#listen()
      await ready
      return started
    } catch (error) {
      started.#kill()
      await started.ended
      throw error
    }
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  get isGone(): boolean {
    return this.#isGone
  }

  /**
   * @param options.segment follows a `write`; the caller's again when this settles
   * @returns what it answered, of any form
   * @throws what it says; SHORTHAUL_TARGET_UNWRITABLE, retryable, when it ends or does not answer in time
   */
  call(
    request: OwnerRequest,
    options: {
      readonly deadlineMs: number
      readonly segment?: { readonly index: number; readonly bytes: Uint8Array }
      /** Is told the number of the call. */
      readonly onCall?: (call: number) => void
    },
  ): Promise<unknown> {
    if (this.#isGone) return Promise.reject(this.#lost())
    const call = this.#nextCall++
    const frame = encodeJsonFrame({ ...request, frame: 'call', call })
    const answered = this.#expect(call, options.deadlineMs)
    const { stdin } = this.#child
    // In one go: nothing comes between a call and its segment. Who waits for the answer holds back the next one.
    stdin.cork()
    stdin.write(frame)
    if (options.segment) {
      const { index, bytes } = options.segment
      stdin.write(encodeSegmentHead(index, bytes.byteLength))
      stdin.write(bytes)
    }
    stdin.uncork()
    options.onCall?.(call)
    return answered
  }

  /** Lets it end what it does, for a moment; then it is killed. Idempotent. */
  async close(): Promise<void> {
    this.#isGone = true
    this.#child.stdin.end()
    const timers: NodeJS.Timeout[] = []
    timers.push(setTimeout(() => this.#kill(), CLOSE_DEADLINE_MS))
    // What hangs in the kernel, say in a dead file server, is not waited for.
    const givenUp = new Promise<void>((resolve) => {
      timers.push(setTimeout(resolve, 2 * CLOSE_DEADLINE_MS))
    })
    await Promise.race([this.ended, givenUp])
    for (const timer of timers) clearTimeout(timer)
  }

  #listen(): void {
    const { stdin, stdout, stderr } = this.#child
    stdin.on('error', () => {}) // it ended: `close` tells
    let complaint = ''
    stderr.on('error', () => {})
    stderr.on('data', (chunk: Buffer) => {
      complaint = (complaint + chunk.toString('utf8')).slice(0, MAX_COMPLAINT_BYTES)
    })
    this.#child.once('error', (err) => {
      this.#log.warn({ err, uid: this.account.uid }, 'the process of a user did not start, or does not end')
      this.#fail()
    })
    this.#child.once('close', (exitCode, signal) => {
      const about = { uid: this.account.uid, exitCode, signal, complaint }
      if (exitCode === 0) this.#log.debug(about, 'the process of a user ended')
      else this.#log.warn(about, 'the process of a user ended')
      this.#fail()
    })
    this.#read(stdout).catch((err: unknown) => {
      this.#log.warn({ err, uid: this.account.uid }, 'the process of a user says what nobody understands')
      this.#kill()
    })
  }

  async #read(stdout: Readable): Promise<void> {
    for await (const frame of decodeFramesOf<OwnerAnswer>(stdout, 'the process of a user')) {
      const { call } = frame as { readonly call?: unknown }
      const pending = typeof call === 'number' ? this.#pending.get(call) : undefined
      if (frame.frame !== 'answer' || typeof call !== 'number' || pending === undefined) continue
      this.#pending.delete(call)
      clearTimeout(pending.timer)
      if ('error' in frame) pending.reject(errorOf(frame.error))
      else pending.resolve(frame.value)
    }
  }

  #expect(call: number, deadlineMs: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#log.warn({ uid: this.account.uid, deadlineMs }, 'the process of a user does not answer')
        this.#kill()
      }, deadlineMs)
      this.#pending.set(call, { resolve, reject, timer })
    })
  }

  /** It is of no use any more: whoever waits need not wait for its end, which a dead file server may put off. */
  #kill(): void {
    killChild(this.#child)
    this.#fail()
  }

  #fail(): void {
    this.#isGone = true
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer)
      reject(this.#lost())
    }
    this.#pending.clear()
  }

  #lost(): ShorthaulError {
    return new ShorthaulError(
      'SHORTHAUL_TARGET_UNWRITABLE',
      `Cannot work as ${this.account.name}: the process that does it ended`,
      { retryable: true },
    )
  }
}
