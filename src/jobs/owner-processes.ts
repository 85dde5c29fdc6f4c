/**
 * One process for each user who has files or commands of jobs under way. It stays a little while after the last: files of a
 * job come one after another, and starting one takes longer than a small file.
 */
import type { Logger } from 'pino'
import { isShorthaulError, ShorthaulError } from '../errors.ts'
import { accountOf } from './accounts.ts'
import type { JobOwner } from './job.ts'
import { OwnerProcess } from './owner-process.ts'
import type { Program, ProgramEnd } from './program.ts'

/** Some 85 MB each (Node.js 20, 2026-11-25). */
const MAX_PROCESSES = 16
const IDLE_MS = 20_000
/** Longer than the program may take by itself. */
const RUN_SLACK_MS = 60_000
const STOP_DEADLINE_MS = 10_000

interface Entry {
  readonly started: Promise<OwnerProcess>
  useCount: number
  idleTimer: NodeJS.Timeout | null
}

export class OwnerProcesses {
  readonly #log: Logger
  readonly #entries = new Map<number, Entry>()
  readonly #closings = new Set<Promise<void>>()
  readonly #stop = new AbortController()

  constructor({ log }: { readonly log: Logger }) {
    this.#log = log.child({ module: 'jobs.owner' })
  }

  /**
   * The process of a user, who may use it until `release` is called.
   * @throws SHORTHAUL_TARGET_UNWRITABLE when there is no such user, or it does not start (then it is retryable)
   */
  async acquire(owner: JobOwner): Promise<{ readonly process: OwnerProcess; readonly release: () => void }> {
    const { uid } = owner
    if (uid === null || uid === 0) throw unable(owner, 'it is not a user whose rights can be taken')
    if (this.#stop.signal.aborted) throw unable(owner, 'the agent is closing', { retryable: true })
    const entry = this.#entryOf(owner, uid)
    entry.useCount++
    if (entry.idleTimer !== null) clearTimeout(entry.idleTimer)
    entry.idleTimer = null
    let isReleased = false
    const release = () => {
      if (isReleased) return
      isReleased = true
      entry.useCount--
      if (entry.useCount === 0) entry.idleTimer = setTimeout(() => this.#end(uid, entry), IDLE_MS).unref()
    }
    try {
      const process = await entry.started
      if (!process.isGone) return { process, release }
    } catch (error) {
      release()
      throw error
    }
    // It died while nobody looked.
    release()
    this.#end(uid, entry)
    throw unable(owner, 'the process that does it ended', { retryable: true })
  }

  /** Does something in the process of a user. @throws what `acquire` and `work` throw */
  async use<T>(owner: JobOwner, work: (process: OwnerProcess) => Promise<T>): Promise<T> {
    const { process, release } = await this.acquire(owner)
    try {
      return await work(process)
    } finally {
      release()
    }
  }

  /** @see RunAsOwner */
  async run(owner: JobOwner, program: Program, { signal }: { readonly signal: AbortSignal }): Promise<ProgramEnd> {
    try {
      return await this.use(owner, async (process) => {
        let run: number | null = null
        const onAbort = () => {
          if (run !== null) process.call({ op: 'stop', run }, { deadlineMs: STOP_DEADLINE_MS }).catch(() => {})
        }
        signal.addEventListener('abort', onAbort, { once: true })
        try {
          if (signal.aborted) return { kind: 'not-started', message: 'aborted' }
          const deadlineMs = program.deadlineMs + RUN_SLACK_MS
          const answered = process.call(
            { op: 'run', program },
            {
              deadlineMs,
              onCall: (call) => {
                run = call
              },
            },
          )
          return parseEnd(await answered)
        } finally {
          signal.removeEventListener('abort', onAbort)
        }
      })
    } catch (error) {
      if (!isShorthaulError(error)) throw error
      return { kind: error.retryable ? 'not-started' : 'refused', message: error.message }
    }
  }

  /** Ends them all: soon, or by force. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort()
    for (const [uid, entry] of this.#entries) this.#end(uid, entry)
    while (this.#closings.size > 0) await Promise.allSettled(this.#closings)
  }

  #entryOf(owner: JobOwner, uid: number): Entry {
    const known = this.#entries.get(uid)
    if (known) return known
    if (this.#entries.size >= MAX_PROCESSES) {
      const idle = [...this.#entries].find(([, { useCount }]) => useCount === 0)
      if (!idle) throw unable(owner, `${MAX_PROCESSES} other users have work under way`, { retryable: true })
      this.#end(...idle)
    }
    const entry: Entry = { started: this.#start(owner, uid), useCount: 0, idleTimer: null }
    this.#entries.set(uid, entry)
    // One that is gone is not given to anybody else.
    const forget = () => {
      if (this.#entries.get(uid) === entry) this.#entries.delete(uid)
    }
    entry.started.then(
      (process) => process.ended.then(forget),
      () => forget(),
    )
    return entry
  }

  async #start(owner: JobOwner, uid: number): Promise<OwnerProcess> {
    const account = await accountOf(uid, { signal: this.#stop.signal })
    if (account === null) throw unable(owner, 'there is no such user')
    try {
      return await OwnerProcess.start(account, { log: this.#log })
    } catch (error) {
      if (!isShorthaulError(error, 'SHORTHAUL_FORBIDDEN')) throw error
      throw unable(owner, error.message, { cause: error })
    }
  }

  #end(uid: number, entry: Entry): void {
    if (this.#entries.get(uid) === entry) this.#entries.delete(uid)
    if (entry.idleTimer !== null) clearTimeout(entry.idleTimer)
    const closing = entry.started
      .then((process) => process.close())
      .catch(() => {}) // it never started, and said so to whoever asked
      .finally(() => this.#closings.delete(closing))
    this.#closings.add(closing)
  }
}

function unable(
  { uid, name }: JobOwner,
  why: string,
  options: { readonly retryable?: boolean; readonly cause?: unknown } = {},
): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_TARGET_UNWRITABLE', `Cannot work as ${name} (uid ${uid}): ${why}`, options)
}

/** A user's process said it. */
function parseEnd(value: unknown): ProgramEnd {
  const { kind, exitCode, isKilled, output, message } = Object(value) as Record<string, unknown>
  if (kind === 'ended') {
    return {
      kind,
      exitCode: typeof exitCode === 'number' ? exitCode : null,
      isKilled: isKilled === true,
      output: String(output).slice(0, 64 * 1024),
    }
  }
  return { kind: 'not-started', message: typeof message === 'string' ? message.slice(0, 1000) : 'no reason was given' }
}
