/** One fetch of one simulated agent, run again after a crash like a command that its user repeats, and what must hold for it. */
import { createHash } from 'node:crypto'
import { dirname } from 'node:path'
import type { ResourceId } from '../../src/content/ids.ts'
import { SEGMENT_BYTES } from '../../src/content/segmentation.ts'
import { isShorthaulError } from '../../src/errors.ts'
import { PartFile } from '../../src/transfer/part-file.ts'
import { RangePart } from '../../src/transfer/range-part.ts'
import type { Delivery, FileRange, TransferRequest, TransferResult } from '../../src/transfer/request.ts'
import { stagedPath } from '../../src/transfer/staged-part.ts'
import { fits, type Generation } from './content.ts'
import type { Machine } from './machine.ts'
import { innerPath } from './mount.ts'
import type { Scheduler } from './scheduler.ts'
import type { OriginServer } from './simulated-origin.ts'

const JOB = { id: '00000000-0000-4000-8000-000000000000', index: 0 }

interface FetchAbout {
  readonly machine: Machine
  readonly number: number
  readonly server: OriginServer
  readonly scheduler: Scheduler
  readonly fail: (text: string) => void
  readonly hasLiar: boolean
  readonly isFair: boolean
}

export class Fetch {
  readonly name: string
  readonly machine: Machine
  readonly directory: string
  readonly request: TransferRequest
  readonly #about: FetchAbout
  /** The user loses patience after so long; null: never. */
  readonly #abortAfterMs: number | null
  #generation: Generation | null = null
  /** Of a stream that nobody could name: those that what was written fits. */
  #candidates: Generation[] | null = null
  #state: 'planned' | 'running' | 'done' | 'failed' = 'planned'
  #error: unknown = null
  /** Of the run that is awaited: an earlier one is dead. */
  #attempt = 0
  #isAborted = false
  progress = ''

  private constructor(about: FetchAbout, request: TransferRequest, abortAfterMs: number | null) {
    this.#about = about
    this.machine = about.machine
    this.directory = `/home/fetch-${about.number}`
    this.name = `${about.machine.name} fetch ${about.number}`
    this.request = request
    this.#abortAfterMs = abortAfterMs
    about.machine.disk.put(this.directory, 'directory')
    about.machine.disk.syncAll()
  }

  static any(about: FetchAbout): Fetch {
    const { scheduler, server, isFair } = about
    const url = isFair ? [...server.resources.keys()][0] : scheduler.pick([...server.resources.keys()])
    if (url === undefined) throw new Error('Nothing is served')
    const { generation } = server.current(url)
    const ranges = !isFair && scheduler.chance(0.15) ? someRanges(scheduler, generation.bytes.byteLength) : null
    const isPinned = !isFair && scheduler.chance(0.2)
    const sha256 = isPinned ? createHash('sha256').update(targetOf(generation, ranges).bytes).digest('hex') : null
    const request: TransferRequest = {
      url,
      headers: [],
      sha256,
      priority: 'foreground',
      usePeers: isFair || !scheduler.chance(0.05),
      useOrigin: isFair || !scheduler.chance(0.05),
      originMaxBytesPerSec: !isFair && scheduler.chance(0.1) ? 500_000 : null,
      ranges,
    }
    return new Fetch(about, request, !isFair && scheduler.chance(0.1) ? scheduler.between(50, 8000) : null)
  }

  get isEnded(): boolean {
    return this.#state === 'done' || this.#state === 'failed'
  }

  /** Before its machine died. */
  get wasRunning(): boolean {
    return this.#state === 'running'
  }

  start(): void {
    const { scheduler } = this.#about
    if (!this.machine.run) {
      // Its user waits for the machine.
      if (!this.isEnded) this.#state = 'running'
      return
    }
    this.#state = 'running'
    const attempt = ++this.#attempt
    scheduler.note(`${this.name}: begins ${this.request.url}${this.request.ranges ? ' (ranges)' : ''}`)
    this.#run().then(
      (result) => {
        if (attempt === this.#attempt) this.#succeeded(result)
      },
      (error: unknown) => {
        if (attempt === this.#attempt) this.#failed(error)
      },
    )
  }

  /** Nothing is in its way any more. */
  mustComeNow(): boolean {
    if (this.#state !== 'failed' || this.#isAborted || this.machine.options.isLiar || !this.request.useOrigin)
      return false
    const { generation } = this.#about.server.current(this.request.url)
    const { sha256, ranges } = this.request
    const isChanged =
      sha256 !== null && createHash('sha256').update(this.#target(generation).bytes).digest('hex') !== sha256
    const end = Math.max(0, ...(ranges ?? []).map(({ startBytes, endBytes }) => endBytes ?? startBytes + 1))
    return !isChanged && end <= generation.bytes.byteLength
  }

  checkWrite(bytes: Uint8Array, offset: number): void {
    const { fail, scheduler } = this.#about
    scheduler.note(`${this.name}: ${bytes.byteLength} bytes at ${offset}`)
    const at = { offset, mayBeForged: this.#about.hasLiar }
    if (this.#candidates !== null) {
      this.#candidates = this.#candidates.filter((generation) => fits(this.#target(generation), bytes, at))
      if (this.#candidates.length === 0) fail(`${this.name} mixes generations at ${offset}`)
    } else if (this.#generation === null || !fits(this.#target(this.#generation), bytes, at)) {
      fail(`${this.name} is given wrong bytes at ${offset}`)
    }
  }

  /** A file got this name. */
  checkName(path: string): void {
    if (path === this.#targetPath) this.checkNames()
  }

  /** The target is not there, or it is whole and right. */
  checkNames(): void {
    const { fail } = this.#about
    const file = this.machine.disk.find(this.#targetPath)
    if (file === 'directory') return
    if (file === undefined) {
      if (this.#state === 'done') fail(`${this.name} was done, and its target is gone`)
      return
    }
    const { sha256, ranges } = this.request
    const { resource } = this.#about.server.current(this.request.url)
    const isVouchedFor = sha256 !== null || (resource.isDeclared && !ranges && !this.machine.options.isLiar)
    const mayBeForged = this.#about.hasLiar && !isVouchedFor
    const isWhole = resource.generations.some((generation) => {
      const target = this.#target(generation)
      return target.bytes.byteLength === file.size && fits(target, file.bytes, { offset: 0, mayBeForged })
    })
    if (!isWhole) fail(`${this.name}: the target has its name and is not whole (${file.size} bytes)`)
  }

  checkEnd({ isAgain }: { readonly isAgain: boolean }): void {
    const { fail } = this.#about
    this.checkNames()
    if (this.#state === 'failed' && !isShorthaulError(this.#error)) {
      fail(`${this.name} failed without a code: ${this.#error instanceof Error ? this.#error.stack : this.#error}`)
    }
    const mustBeDone = isAgain ? this.mustComeNow() : this.#about.isFair && this.#state === 'failed'
    if (mustBeDone) fail(`${this.name} failed though nothing was in its way: ${String(this.#error)}`)
  }

  get #targetPath(): string {
    return `${this.directory}/target`
  }

  async #run(): Promise<TransferResult> {
    const { run } = this.machine
    if (!run) throw new Error('The machine does not run')
    const abort = new AbortController()
    if (this.#abortAfterMs !== null) {
      this.#about.scheduler.schedule(this.#abortAfterMs, () => {
        if (!this.wasRunning) return
        this.#isAborted = true
        abort.abort()
      })
    }
    const delivery = this.#observed(await this.#open(run.mounted.path))
    return run.transfers.run(this.request, delivery, {
      signal: abort.signal,
      isOwner: true,
      onEvent: (event) => {
        if (event.event === 'note') this.#about.scheduler.note(`${this.name}: ${event.note}`)
        else this.progress = `${event.bytesDone} of ${event.bytesTotal} at ${this.#about.scheduler.nowMs.toFixed(0)} ms`
      },
    })
  }

  #open(root: string): Promise<Delivery> {
    const target = root + this.#targetPath
    const { ranges } = this.request
    if (!ranges) return PartFile.open(target)
    // Parts of ranges are those of jobs: beside the target until the job is completed.
    return RangePart.openStaged({ target, staged: stagedPath(target, JOB) }, ranges)
  }

  #observed(delivery: Delivery): Delivery {
    return {
      localPath: delivery.localPath,
      leftOver: () => delivery.leftOver(),
      begin: (content) => {
        this.#begin(content.resource)
        return delivery.begin(content)
      },
      keep: (index) => {
        this.#checkKept(delivery, index)
        return delivery.keep(index)
      },
      write: (index, segment) => delivery.write(index, segment),
      windowEnd: () => delivery.windowEnd(),
      onWindow: (listener) => delivery.onWindow(listener),
      restart: () => delivery.restart(),
      digest: (lengthBytes) => delivery.digest(lengthBytes),
      complete: (lengthBytes) => delivery.complete(lengthBytes),
      abandon: () => delivery.abandon(),
    }
  }

  #begin(id: ResourceId | null): void {
    const { server, scheduler, fail } = this.#about
    const { generations } = server.current(this.request.url).resource
    this.#candidates = id === null ? [...generations] : null
    this.#generation = generations.find((generation) => generation.id === id) ?? null
    scheduler.note(`${this.name}: generation ${this.#generation?.number ?? 'unknown'}`)
    if (id !== null && this.#generation === null) fail(`${this.name} begins something that the origin never had`)
  }

  #checkKept({ localPath }: Delivery, index: number): void {
    const path = localPath === null ? '' : innerPath(localPath)
    const file = this.machine.disk.find(path)
    if (file === undefined || file === 'directory' || dirname(path) !== this.directory || !this.#generation) return
    const offset = index * SEGMENT_BYTES
    const end = Math.min(offset + SEGMENT_BYTES, this.#generation.bytes.byteLength)
    const at = { offset, mayBeForged: this.#about.hasLiar }
    if (!fits(this.#generation, file.bytes.subarray(offset, end), at))
      this.#about.fail(`${this.name} keeps wrong bytes`)
  }

  #succeeded({ bytes, sha256, sources }: TransferResult): void {
    const { scheduler, fail } = this.#about
    scheduler.note(`${this.name}: done, ${sources.cache}/${sources.peer}/${sources.origin}`)
    this.#state = 'done'
    const sum = sources.cache + sources.peer + sources.origin
    if (sum !== bytes) fail(`${this.name}: ${sum} bytes from all sources, ${bytes} in all`)
    if (this.request.ranges) this.#giveName()
    const file = this.machine.disk.find(this.#targetPath)
    if (file === undefined || file === 'directory') fail(`${this.name} is done without a target`)
    else if (sha256 !== this.#digestOf(file.bytes)) fail(`${this.name}: its digest is not its target's`)
    this.checkNames()
  }

  #digestOf(bytes: Uint8Array): string {
    // That of a generation is known.
    if (!this.request.ranges && this.#generation?.bytes.equals(bytes)) return this.#generation.sha256
    return createHash('sha256').update(bytes).digest('hex')
  }

  /** What completing a job does. */
  #giveName(): void {
    const { disk } = this.machine
    disk.rename(stagedPath(this.#targetPath, JOB), this.#targetPath)
    disk.syncDirectory(this.directory)
  }

  #failed(error: unknown): void {
    this.#about.scheduler.note(`${this.name}: failed, ${isShorthaulError(error) ? error.code : String(error)}`)
    this.#state = 'failed'
    this.#error = error
    if (this.#isAborted && !isShorthaulError(error, 'SHORTHAUL_ABORTED')) {
      // It may have failed by itself at that very moment.
      if (!isShorthaulError(error)) this.#about.fail(`${this.name} was aborted and says ${String(error)}`)
    }
  }

  #target(generation: Generation): Generation {
    return targetOf(generation, this.request.ranges ?? null)
  }
}

/** What stands in the target of these ranges, in the shape of a generation. */
function targetOf(generation: Generation, ranges: readonly FileRange[] | null): Generation {
  if (ranges === null) return generation
  const cut = (bytes: Buffer) =>
    Buffer.concat(ranges.map(({ startBytes, endBytes }) => bytes.subarray(startBytes, endBytes ?? bytes.byteLength)))
  return { ...generation, bytes: cut(generation.bytes), forged: generation.forged && cut(generation.forged) }
}

function someRanges(scheduler: Scheduler, lengthBytes: number): FileRange[] {
  const middle = scheduler.whole(0, lengthBytes)
  const first = { startBytes: scheduler.whole(0, middle + 1), endBytes: middle + 1 }
  if (middle + 1 >= lengthBytes || scheduler.chance(0.5)) return [first]
  return [first, { startBytes: scheduler.whole(middle + 1, lengthBytes), endBytes: null }]
}
