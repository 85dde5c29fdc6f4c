/**
 * Targets of jobs of several users, for an agent of root: each is opened, written, renamed and removed by a process that
 * runs as the owner of the job, so that a user's job can touch what the user can touch, and nothing else.
 */
import { parseId, type ResourceId, type SegmentHash } from '../content/ids.ts'
import type { VerifiedBytes } from '../content/verified.ts'
import { ShorthaulError } from '../errors.ts'
import type { Delivery } from '../transfer/request.ts'
import type { Job, JobFile, JobOwner } from './job.ts'
import { type JobTargets, OwnTargets } from './job-targets.ts'
import type { OwnerProcess } from './owner-process.ts'
import type { OwnerProcesses } from './owner-processes.ts'
import { type FileOfJob, LEFT_OVER_PAGE, type OwnerRequest } from './owner-protocol.ts'

/** Longer than a disk takes that is only slow. */
const SHORT_MS = 2 * 60_000
/** For what reads or syncs a whole file. */
const LONG_MS = 3600_000
/** A transfer that was aborted waits for it. */
const ABANDON_MS = 10_000
/** Segments of a part: 1 TiB. */
const MAX_LEFT_OVER = 1024 * 1024

export class OwnedTargets implements JobTargets {
  readonly #own = new OwnTargets()
  readonly #processes: OwnerProcesses
  readonly #ownUid: number | null

  /** @param options.ownUid of this process; those targets need no other */
  constructor(components: { readonly processes: OwnerProcesses }, options: { readonly ownUid: number | null }) {
    this.#processes = components.processes
    this.#ownUid = options.ownUid
  }

  async open(job: Job, file: JobFile): Promise<Delivery> {
    if (this.#isOwn(job.owner)) return this.#own.open(job, file)
    const { process, release } = await this.#processes.acquire(job.owner)
    try {
      return await OwnedDelivery.open(process, { of: fileOf(job, file), release })
    } catch (error) {
      release()
      throw error
    }
  }

  async deliver(job: Job, file: JobFile): Promise<boolean> {
    if (this.#isOwn(job.owner)) return this.#own.deliver(job, file)
    const request: OwnerRequest = { op: 'deliver', of: fileOf(job, file) }
    return this.#processes.use(
      job.owner,
      async (process) => (await process.call(request, { deadlineMs: LONG_MS })) === true,
    )
  }

  async discard(job: Job, file: JobFile): Promise<void> {
    if (this.#isOwn(job.owner)) return this.#own.discard(job, file)
    const request: OwnerRequest = { op: 'discard', of: fileOf(job, file) }
    await this.#processes.use(job.owner, (process) => process.call(request, { deadlineMs: SHORT_MS }))
  }

  #isOwn({ uid }: JobOwner): boolean {
    return uid === null || uid === this.#ownUid
  }
}

function fileOf(job: Job, { index, target, ranges, bytesTotal, foundSha256 }: JobFile): FileOfJob {
  return { job: job.id, file: { index, target, ranges, bytesTotal, foundSha256 } }
}

let fileCount = 0

/** A part that another process writes. A write resolves when that process has the bytes in the file. */
class OwnedDelivery implements Delivery {
  readonly localPath = null
  readonly #process: OwnerProcess
  readonly #release: () => void
  readonly #file = ++fileCount
  #isEnded = false

  private constructor(process: OwnerProcess, release: () => void) {
    this.#process = process
    this.#release = release
  }

  static async open(
    process: OwnerProcess,
    { of, release }: { readonly of: FileOfJob; readonly release: () => void },
  ): Promise<OwnedDelivery> {
    const opened = new OwnedDelivery(process, release)
    await process.call({ op: 'open', file: opened.#file, of }, { deadlineMs: SHORT_MS })
    return opened
  }

  async leftOver(): Promise<readonly (SegmentHash | null)[]> {
    const hashes: (SegmentHash | null)[] = []
    for (;;) {
      const request: OwnerRequest = { op: 'left-over', file: this.#file, from: hashes.length }
      const page = await this.#process.call(request, { deadlineMs: LONG_MS })
      if (!Array.isArray(page) || page.length > LEFT_OVER_PAGE) throw nonsense('the hashes of a part')
      for (const hash of page as readonly unknown[]) {
        if (hash !== null && typeof hash !== 'string') throw nonsense('the hash of a segment')
        hashes.push(hash === null ? null : parseId<SegmentHash>(hash))
      }
      if (page.length < LEFT_OVER_PAGE) return hashes
      if (hashes.length > MAX_LEFT_OVER) throw nonsense('the length of a part')
    }
  }

  async begin({ lengthBytes }: { readonly resource: ResourceId | null; readonly lengthBytes: number | null }) {
    await this.#call({ op: 'begin', file: this.#file, lengthBytes })
  }

  async keep(index: number): Promise<void> {
    await this.#call({ op: 'keep', file: this.#file, index }, LONG_MS)
  }

  async write(index: number, { bytes }: VerifiedBytes): Promise<void> {
    const request: OwnerRequest = { op: 'write', file: this.#file }
    await this.#process.call(request, { deadlineMs: SHORT_MS, segment: { index, bytes } })
  }

  windowEnd(): number {
    return Number.POSITIVE_INFINITY
  }

  onWindow(): void {}

  async restart(): Promise<void> {
    await this.#call({ op: 'restart', file: this.#file })
  }

  async digest(lengthBytes: number): Promise<string> {
    const sha256 = await this.#call({ op: 'digest', file: this.#file, lengthBytes }, LONG_MS)
    if (typeof sha256 === 'string' && /^[0-9a-f]{64}$/.test(sha256)) return sha256
    throw nonsense('a digest')
  }

  async complete(lengthBytes: number): Promise<void> {
    await this.#call({ op: 'complete', file: this.#file, lengthBytes }, LONG_MS)
    this.#end()
  }

  async abandon(): Promise<void> {
    if (this.#isEnded) return
    this.#end()
    // A process that does not even let go of a file is killed, and with it goes the file.
    await this.#call({ op: 'abandon', file: this.#file }, ABANDON_MS).catch(() => {})
  }

  #call(request: OwnerRequest, deadlineMs = SHORT_MS): Promise<unknown> {
    return this.#process.call(request, { deadlineMs })
  }

  #end(): void {
    this.#isEnded = true
    this.#release()
  }
}

function nonsense(what: string): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_TARGET_UNWRITABLE', `Cannot take ${what}: the process of the user says nonsense`)
}
