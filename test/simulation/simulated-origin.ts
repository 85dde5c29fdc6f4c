/**
 * An origin in memory: the server, which has generations and a line of some rate, and each agent's way to it, which fails
 * as the weather has it. Counts what leaves the server.
 */
import { abortError, ShorthaulError, throwIfAborted } from '../../src/errors.ts'
import type { OpenOptions, Origin, OriginFacts, OriginRequest, OriginStream } from '../../src/origin/origin.ts'
import { type Generation, makeGeneration } from './content.ts'
import type { Scheduler, SimulatedClock } from './scheduler.ts'
import { originFault, type Weather } from './weather.ts'

const CHUNK_BYTES = 256 * 1024
const REQUEST_TIMEOUT_MS = 30_000
const CHANGE_WEIGHT = 0.02

export interface ServedResource {
  readonly url: string
  /** The newest stands last. */
  readonly generations: Generation[]
  readonly acceptsRanges: boolean
  /** HEAD says whether ranges work. */
  readonly saysRanges: boolean
  readonly isDeclared: boolean
  /** Without: nothing is shared or resumed. */
  readonly hasValidator: boolean
  readonly forgedPositions: readonly number[]
}

export class OriginServer {
  readonly resources = new Map<string, ServedResource>()
  sentBytes = 0
  readonly #scheduler: Scheduler
  readonly #weather: Weather
  readonly #bytesPerMs: number
  #lineFreeAtMs = 0

  constructor(scheduler: Scheduler, weather: Weather) {
    this.#scheduler = scheduler
    this.#weather = weather
    this.#bytesPerMs = (scheduler.pick([10, 50, 200]) * 1e6) / 8 / 1000
  }

  serve(about: Omit<ServedResource, 'generations'>, lengthBytes: number): void {
    this.resources.set(about.url, { ...about, generations: [] })
    this.#add(about.url, lengthBytes)
  }

  current(url: string): { resource: ServedResource; generation: Generation } {
    const resource = this.resources.get(url)
    const generation = resource?.generations.at(-1)
    if (!resource || !generation) throw new Error(`Nothing is served at ${url}`)
    return { resource, generation }
  }

  /** Something may be published anew whenever somebody asks. */
  perhapsChange(url: string): void {
    const { generation } = this.current(url)
    if (generation.number >= 3 || !this.#weather.strikes('origin-change', CHANGE_WEIGHT)) return
    this.#add(url, Math.max(1, Math.min(generation.bytes.byteLength + this.#scheduler.whole(-5000, 5000), 8 * 2 ** 20)))
  }

  /** When the line has carried so many bytes more. */
  carry(bytes: number): number {
    const { nowMs } = this.#scheduler
    this.#lineFreeAtMs = Math.max(this.#lineFreeAtMs, nowMs) + bytes / this.#bytesPerMs
    return this.#lineFreeAtMs - nowMs
  }

  #add(url: string, lengthBytes: number): void {
    const resource = this.resources.get(url)
    if (!resource) return
    const { generations, forgedPositions } = resource
    const number = generations.length + 1
    this.#scheduler.note(`origin: ${url} is now generation ${number} of ${lengthBytes} bytes`)
    generations.push(makeGeneration({ url, number, stamp: this.#scheduler.seed, lengthBytes, forgedPositions }))
  }
}

/** One run of one agent's way to the server. */
export class SimulatedOrigin implements Origin {
  openCount = 0
  readonly #server: OriginServer
  readonly #scheduler: Scheduler
  readonly #weather: Weather
  readonly #clock: SimulatedClock
  readonly #isLiar: boolean

  /** @param options.isLiar it sees, and so vouches for, the forgeries */
  constructor(
    components: { server: OriginServer; scheduler: Scheduler; weather: Weather; clock: SimulatedClock },
    options: { readonly isLiar: boolean },
  ) {
    this.#server = components.server
    this.#scheduler = components.scheduler
    this.#weather = components.weather
    this.#clock = components.clock
    this.#isLiar = options.isLiar
  }

  /** Nothing small is published here. */
  async read(): Promise<never> {
    throw new ShorthaulError('SHORTHAUL_ORIGIN_NOT_FOUND', 'Cannot read the document: there is none')
  }

  carriesCredentials(): boolean {
    return false
  }

  async probe(request: OriginRequest, { signal }: { readonly signal: AbortSignal }): Promise<OriginFacts> {
    await this.#arrive(request, signal)
    const { resource, generation } = this.#server.current(request.url)
    return this.#facts(resource, generation)
  }

  async open(request: OriginRequest, options: OpenOptions): Promise<OriginStream> {
    const { range, expected, signal } = options
    await this.#arrive(request, signal)
    const { resource, generation } = this.#server.current(request.url)
    if (expected && (!resource.hasValidator || expected.validator.value !== generation.validator.value)) {
      throw new ShorthaulError('SHORTHAUL_ORIGIN_CHANGED', 'Cannot go on: the resource changed')
    }
    if (range && !resource.acceptsRanges) {
      throw new ShorthaulError('SHORTHAUL_ORIGIN_PROTOCOL', 'Cannot fetch a range: the origin does none', {
        details: { reason: 'no-range' },
      })
    }
    const bytes = (this.#isLiar ? generation.forged : null) ?? generation.bytes
    const start = range?.start ?? 0
    const end = Math.min(range?.end ?? bytes.byteLength, bytes.byteLength)
    const ended = new AbortController()
    this.openCount++
    return {
      facts: this.#facts(resource, generation),
      offset: start,
      body: this.#body(bytes.subarray(start, end), resource.hasValidator, AbortSignal.any([signal, ended.signal])),
      cancel: async () => {
        if (ended.signal.aborted) return
        ended.abort(new ShorthaulError('SHORTHAUL_ABORTED', 'The stream was cancelled'))
        this.openCount--
      },
    }
  }

  async close(): Promise<void> {}

  async *#body(bytes: Uint8Array, isNamed: boolean, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.byteLength; at += CHUNK_BYTES) {
      const chunk = bytes.subarray(at, at + CHUNK_BYTES)
      await this.#pause(this.#server.carry(chunk.byteLength), signal)
      this.#server.sentBytes += chunk.byteLength
      if (this.#weather.strikes('origin-stall', 0.3)) {
        await this.#pause(REQUEST_TIMEOUT_MS, signal)
        throw new ShorthaulError('SHORTHAUL_ORIGIN_TIMEOUT', 'Cannot read the body: it stands still')
      }
      if (this.#weather.strikes('origin-cut', 0.5)) {
        yield chunk.slice(0, this.#scheduler.whole(1, chunk.byteLength))
        // Where the length is the only sign of it, the transport says so itself.
        if (isNamed && this.#scheduler.chance(0.3)) return
        throw new ShorthaulError('SHORTHAUL_ORIGIN_UNREACHABLE', 'Cannot read the body: the connection was cut')
      }
      // A chunk given out is the reader's.
      yield chunk.slice()
    }
  }

  async #arrive({ url }: OriginRequest, signal: AbortSignal): Promise<void> {
    throwIfAborted(signal)
    await this.#pause(this.#scheduler.between(5, 60), signal)
    this.#server.perhapsChange(url)
    const fault = originFault(this.#scheduler, this.#weather)
    if (fault === null) return
    if (fault.code === 'SHORTHAUL_ORIGIN_TIMEOUT') await this.#pause(REQUEST_TIMEOUT_MS, signal)
    throw fault
  }

  async #pause(delayMs: number, signal: AbortSignal): Promise<void> {
    try {
      await this.#clock.sleep(delayMs, { signal })
    } catch {
      throw abortError(signal)
    }
  }

  #facts(resource: ServedResource, generation: Generation): OriginFacts {
    const { url, acceptsRanges, saysRanges, isDeclared, hasValidator } = resource
    return {
      finalUrl: url,
      redirects: [],
      lengthBytes: generation.bytes.byteLength,
      validator: hasValidator ? generation.validator : null,
      acceptsRanges: saysRanges ? acceptsRanges : null,
      visibility: 'branch',
      privateReason: null,
      selection: '',
      freshUntilMs: this.#clock.nowMs(),
      declaredSha256: isDeclared ? generation.sha256 : null,
      declaredConflict: null,
      manifestUrl: null,
      lastModifiedMs: null,
      isTlsOnly: true,
      degradations: hasValidator ? [] : ['no-validator'],
    }
  }
}
