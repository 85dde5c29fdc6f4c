/**
 * One turn of a job: its files that are not here yet, a few at a time, each through a transfer into a part beside its
 * target. Tells what happened to each file as it happens; decides nothing about the job.
 */
import type { Clock } from '../clock.ts'
import type { ResourceId } from '../content/ids.ts'
import { isShorthaulError, ShorthaulError } from '../errors.ts'
import type { Delivery, SourceBytes, TransferEvent, TransferRequest, TransferResult } from '../transfer/request.ts'
import type { ShownTrust } from '../transfer/shown-trust.ts'
import { addBytes, type Job, type JobFile } from './job.ts'
import type { JobTargets } from './job-targets.ts'
import { isTransient } from './retry.ts'
import type { JobSecrets } from './vault.ts'

export type FetchForJob = (
  request: TransferRequest,
  delivery: Delivery,
  options: {
    readonly signal: AbortSignal
    readonly onEvent: (event: TransferEvent) => void
    readonly isOwner: boolean
  },
) => Promise<TransferResult>

export interface JobRunComponents {
  readonly clock: Clock
  readonly fetch: FetchForJob
  readonly targets: JobTargets
}

export interface JobRunOptions {
  readonly job: Job
  readonly secrets: Pick<JobSecrets, 'headers' | 'proxy'>
  /** The job is of the user whose agent this is. */
  readonly isOwner: boolean
  readonly parallelFiles: number
}

/** What a turn tells while it runs; each is recorded before the next of the same file. */
export interface JobRunListener {
  /** The first source answered. */
  onConnected(): Promise<void>
  /** The part begins with this generation, which is another one than before if `isRestart`. */
  onBegin(file: JobFile, found: { readonly resource: ResourceId | null; readonly isRestart: boolean }): Promise<void>
  onTransferred(file: JobFile, result: FileResult): Promise<void>
}

export interface FileResult {
  readonly bytes: number
  readonly sha256: string
  readonly trust: ShownTrust
  readonly sources: SourceBytes
}

export type JobOutcome =
  | { readonly kind: 'done' }
  /** Somebody stopped it. */
  | { readonly kind: 'stopped' }
  | { readonly kind: 'failed'; readonly error: ShorthaulError; readonly fileIndex: number | null }

export interface FileProgress {
  readonly index: number
  readonly bytesDone: number
  readonly bytesTotal: number | null
  /** Had in this turn. */
  readonly sources: SourceBytes
}

/** One file that fails says little; several say that going on is of no use now. */
const MAX_PASSING_FAILURES = 3
const MAX_LASTING_FAILURES = 20

export class JobRun {
  readonly #c: JobRunComponents
  readonly #o: JobRunOptions
  readonly #listener: JobRunListener
  readonly #stop = new AbortController()
  readonly #live = new Map<number, FileProgress & { readonly bytesPerSec: number }>()
  readonly #failures: { readonly error: ShorthaulError; readonly fileIndex: number }[] = []
  readonly #startedAtMs: number
  #movedBytes = 0
  #movedAtMs: number
  #isConnected = false
  #trouble: string | null = null

  constructor(components: JobRunComponents, options: JobRunOptions, listener: JobRunListener) {
    this.#c = components
    this.#o = options
    this.#listener = listener
    this.#startedAtMs = components.clock.monotonicMs()
    this.#movedAtMs = this.#startedAtMs
  }

  /** Runs to the end of the files, of the turn, or of what is of use. Never rejects for what transfers do. */
  async execute(files: readonly JobFile[]): Promise<JobOutcome> {
    const waiting = files.filter(({ state }) => state === 'waiting')
    let next = 0
    const work = async () => {
      for (let file = waiting[next++]; file; file = waiting[next++]) {
        if (this.#stop.signal.aborted || !this.#isWorthGoingOn()) return
        await this.#fetch(file)
      }
    }
    if (waiting.length === 0) await this.#connected()
    await Promise.all(Array.from({ length: Math.min(this.#o.parallelFiles, waiting.length) }, work))
    const passing = this.#failures.find(({ error }) => isTransient(error))
    const failure = passing ?? this.#failures[0]
    if (this.#stop.signal.aborted) return { kind: 'stopped' }
    return failure ? { kind: 'failed', ...failure } : { kind: 'done' }
  }

  /** Ends the turn soon; parts are kept. Idempotent. */
  stop(): void {
    this.#stop.abort(new ShorthaulError('SHORTHAUL_ABORTED', 'The turn of the job ended'))
  }

  /** Files of which something has come in this turn and that are not whole; also those whose transfer ended. */
  progress(): readonly FileProgress[] {
    return [...this.#live.values()]
  }

  get bytesPerSec(): number {
    let sum = 0
    for (const { bytesPerSec } of this.#live.values()) sum += bytesPerSec
    return sum
  }

  get ranForMs(): number {
    return this.#c.clock.monotonicMs() - this.#startedAtMs
  }

  /** Since the last new byte, or since the beginning. */
  get stalledMs(): number {
    return this.#c.clock.monotonicMs() - this.#movedAtMs
  }

  /** Time in which nothing could come is not held against it. */
  excuse(durationMs: number): void {
    this.#movedAtMs = Math.min(this.#movedAtMs + durationMs, this.#c.clock.monotonicMs())
  }

  /** A byte that was not here before has come in this turn. */
  get hasMoved(): boolean {
    return this.#movedBytes > 0
  }

  /** What a transfer said last of what went wrong, if nothing has come since. */
  get trouble(): string | null {
    return this.#trouble
  }

  async #fetch(file: JobFile): Promise<void> {
    const { fetch, targets } = this.#c
    const { job, secrets, isOwner } = this.#o
    let known = file.resource
    try {
      const delivery = observed(await targets.open(job, file), async (resource) => {
        const isRestart = known !== null && resource !== known
        const isNews = resource !== known
        known = resource
        await this.#connected()
        if (isNews) await this.#listener.onBegin(file, { resource, isRestart })
      })
      const result = await fetch(requestOf(job, file, secrets), delivery, {
        signal: this.#stop.signal,
        onEvent: (event) => this.#heard(file, event),
        isOwner,
      })
      this.#live.delete(file.index)
      await this.#connected()
      await this.#listener.onTransferred(file, {
        bytes: result.bytes,
        sha256: result.sha256,
        trust: result.trust,
        sources: inAll(file, { bytes: result.bytes, sources: result.sources }),
      })
    } catch (error) {
      const live = this.#live.get(file.index)
      if (live) this.#live.set(file.index, { ...live, bytesPerSec: 0 })
      if (this.#stop.signal.aborted) return
      this.#failures.push({ error: failureOf(error, file), fileIndex: file.index })
    }
  }

  #heard(file: JobFile, event: TransferEvent): void {
    if (event.event === 'note') {
      if (event.note === 'origin-retry') this.#trouble = event.message
      return
    }
    const before = this.#live.get(file.index)
    const moved = fetchedBytes(event.sources) - (before ? fetchedBytes(before.sources) : 0)
    if (moved > 0) {
      this.#movedBytes += moved
      this.#movedAtMs = this.#c.clock.monotonicMs()
      this.#trouble = null
    }
    const { bytesDone, bytesTotal, bytesPerSec, sources } = event
    this.#live.set(file.index, { index: file.index, bytesDone, bytesTotal, bytesPerSec, sources })
  }

  async #connected(): Promise<void> {
    if (this.#isConnected) return
    this.#isConnected = true
    await this.#listener.onConnected()
  }

  #isWorthGoingOn(): boolean {
    const passing = this.#failures.filter(({ error }) => isTransient(error)).length
    return passing < MAX_PASSING_FAILURES && this.#failures.length - passing < MAX_LASTING_FAILURES
  }
}

/** What nobody foresaw ends the file's attempt like any failure: the turn must not begin anew at once, for ever. */
function failureOf(error: unknown, { target }: JobFile): ShorthaulError {
  if (isShorthaulError(error)) return error
  return new ShorthaulError('SHORTHAUL_STORE_IO', `Cannot fetch to "${target}": ${String(error)}`, {
    cause: error,
    retryable: true,
  })
}

/** Bytes by source over all turns: what an earlier turn fetched is in the part, and counts as cache in a later one. */
export function inAll(
  file: Pick<JobFile, 'sources'>,
  turn: { readonly bytes: number; readonly sources: SourceBytes },
): SourceBytes {
  const fetched = addBytes({ ...file.sources, cache: 0 }, { ...turn.sources, cache: 0 })
  return { ...fetched, cache: Math.max(0, turn.bytes - fetched.peer - fetched.origin) }
}

function fetchedBytes({ peer, origin }: SourceBytes): number {
  return peer + origin
}

function requestOf(job: Job, file: JobFile, secrets: JobRunOptions['secrets']): TransferRequest {
  return {
    url: file.url,
    headers: secrets.headers,
    sha256: file.sha256,
    priority: job.priority,
    usePeers: job.usePeers,
    useOrigin: job.useOrigin,
    originMaxBytesPerSec: job.originMaxBytesPerSec,
    proxy: secrets.proxy ?? job.proxy,
    ranges: file.ranges,
  }
}

/** The same delivery, whose beginning somebody hears of. */
function observed(delivery: Delivery, onBegin: (resource: ResourceId | null) => Promise<void>): Delivery {
  return {
    localPath: delivery.localPath,
    leftOver: () => delivery.leftOver(),
    begin: async (content) => {
      await onBegin(content.resource)
      await delivery.begin(content)
    },
    keep: (index) => delivery.keep(index),
    write: (index, segment) => delivery.write(index, segment),
    windowEnd: () => delivery.windowEnd(),
    onWindow: (listener) => delivery.onWindow(listener),
    restart: () => delivery.restart(),
    digest: (lengthBytes) => delivery.digest(lengthBytes),
    complete: (lengthBytes) => delivery.complete(lengthBytes),
    abandon: () => delivery.abandon(),
  }
}
