/**
 * Does what the agent asks, as the user of this process: the other end of OwnerProcess. Believes the agent, which is root
 * and could do all of it itself.
 *
 * Segments are written in the order in which they come, one at a time: memory is one segment.
 */
import type { SegmentHash } from '../content/ids.ts'
import { handedOver } from '../content/verified.ts'
import { ShorthaulError } from '../errors.ts'
import { decodeFramesOf } from '../transfer/frames.ts'
import type { Delivery } from '../transfer/request.ts'
import { OwnTargets } from './job-targets.ts'
import { errorAnswer, LEFT_OVER_PAGE, type OwnerAnswer, type OwnerCall } from './owner-protocol.ts'
import { runProgram } from './program.ts'

interface OpenFile {
  readonly delivery: Delivery
  leftOver: readonly (SegmentHash | null)[] | null
}

export class OwnerService {
  readonly #answer: (answer: OwnerAnswer) => void
  readonly #targets = new OwnTargets()
  readonly #files = new Map<number, OpenFile>()
  readonly #programs = new Map<number, AbortController>()
  readonly #tasks = new Set<Promise<void>>()

  constructor(answer: (answer: OwnerAnswer) => void) {
    this.#answer = answer
  }

  /** Until the stream ends; then parts are closed and kept, and programs killed. @throws SHORTHAUL_CONTROL_IO */
  async serve(stream: AsyncIterable<Uint8Array>): Promise<void> {
    let writing: (OwnerCall & { op: 'write' }) | null = null
    try {
      for await (const frame of decodeFramesOf<OwnerCall>(stream, 'the agent')) {
        if (frame.frame === 'segment') {
          if (writing === null)
            throw new ShorthaulError('SHORTHAUL_CONTROL_IO', 'Cannot place a segment: nobody said where')
          const { call, file } = writing
          writing = null
          const { index, bytes } = frame
          await this.#do(call, () => this.#file(file).delivery.write(index, handedOver(bytes)))
        } else if (frame.op === 'write') {
          writing = frame
        } else {
          const call = frame
          const task = this.#do(call.call, () => this.#obey(call)).finally(() => this.#tasks.delete(task))
          this.#tasks.add(task)
        }
      }
    } finally {
      await this.#end()
    }
  }

  async #do(call: number, work: () => Promise<unknown>): Promise<void> {
    try {
      const value = await work()
      this.#answer({ frame: 'answer', call, value: value ?? null })
    } catch (error) {
      this.#answer({ frame: 'answer', call, error: errorAnswer(error) })
    }
  }

  async #obey(call: Exclude<OwnerCall, { op: 'write' }>): Promise<unknown> {
    switch (call.op) {
      case 'open': {
        const delivery = await this.#targets.open({ id: call.of.job }, call.of.file)
        this.#files.set(call.file, { delivery, leftOver: null })
        return null
      }
      case 'left-over': {
        const file = this.#file(call.file)
        file.leftOver ??= await file.delivery.leftOver()
        return file.leftOver.slice(call.from, call.from + LEFT_OVER_PAGE)
      }
      case 'begin':
        return this.#file(call.file).delivery.begin({ resource: null, lengthBytes: call.lengthBytes })
      case 'keep':
        return this.#file(call.file).delivery.keep(call.index)
      case 'restart':
        return this.#file(call.file).delivery.restart()
      case 'digest':
        return this.#file(call.file).delivery.digest(call.lengthBytes)
      case 'complete':
        await this.#file(call.file).delivery.complete(call.lengthBytes)
        this.#files.delete(call.file)
        return null
      case 'abandon': {
        const file = this.#files.get(call.file)
        this.#files.delete(call.file)
        return file?.delivery.abandon()
      }
      case 'deliver':
        return this.#targets.deliver({ id: call.of.job }, call.of.file)
      case 'discard':
        return this.#targets.discard({ id: call.of.job }, call.of.file)
      case 'run': {
        const stop = new AbortController()
        this.#programs.set(call.call, stop)
        try {
          return await runProgram(call.program, { signal: stop.signal })
        } finally {
          this.#programs.delete(call.call)
        }
      }
      case 'stop':
        this.#programs.get(call.run)?.abort()
        return null
    }
  }

  #file(number: number): OpenFile {
    const file = this.#files.get(number)
    if (file) return file
    throw new ShorthaulError('SHORTHAUL_TARGET_UNWRITABLE', 'Cannot use a file that is not open')
  }

  async #end(): Promise<void> {
    for (const stop of this.#programs.values()) stop.abort()
    while (this.#tasks.size > 0) await Promise.allSettled(this.#tasks)
    await Promise.allSettled([...this.#files.values()].map(({ delivery }) => delivery.abandon()))
    this.#files.clear()
  }
}
