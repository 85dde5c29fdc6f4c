/**
 * A machine: its disk, its cache and its keys outlive its crashes; what runs on it (`Run`) does not. When a run dies nothing
 * of it ever returns, as if its process were gone.
 */
import crypto, { type KeyPair } from 'hypercore-crypto'
import type { Logger } from 'pino'
import { seededRandom } from '../../src/clock.ts'
import { type AgentKey, idFromBytes, type SegmentHash } from '../../src/content/ids.ts'
import type { SegmentPool } from '../../src/content/segment-pool.ts'
import { PeerBook } from '../../src/peers/peer-book.ts'
import { Accusations } from '../../src/transfer/accusations.ts'
import { Catalog } from '../../src/transfer/catalog.ts'
import { Exchange } from '../../src/transfer/exchange.ts'
import type { QuarantineControl } from '../../src/transfer/ports.ts'
import { Transfers } from '../../src/transfer/transfers.ts'
import { SimulatedDisk } from './disk.ts'
import { type FileOperation, mount } from './mount.ts'
import type { Link, Network } from './network.ts'
import { type Scheduler, SimulatedClock } from './scheduler.ts'
import { type OriginServer, SimulatedOrigin } from './simulated-origin.ts'
import { SimulatedStore, StoreContents } from './simulated-store.ts'
import type { Weather } from './weather.ts'

const WIRE_KEY = Buffer.alloc(32, 7)
const MIN_CLAIM_BYTES = 256 * 1024

export interface MachineComponents {
  readonly scheduler: Scheduler
  readonly weather: Weather
  readonly server: OriginServer
  /** Null: it has no neighbours. */
  readonly network: Network | null
  readonly log: Logger
  /** Of all machines: a buffer that is given back too early is soon written by another. */
  readonly pool: SegmentPool
  /** @see StoreContents */
  readonly copies: Map<SegmentHash, Uint8Array>
  readonly onWrite: (machine: Machine, path: string, bytes: Uint8Array, offset: number) => void
  readonly onName: (machine: Machine, path: string) => void
}

export interface MachineOptions {
  readonly number: number
  readonly isLiar: boolean
  readonly isAttestedTrusted: boolean
  readonly maxSegments: number
  /** Of every run: when paths are kept in records. Null: each run has its own. */
  readonly mountName: string | null
}

/** Whom a machine does not believe; on its disk, and synced before anybody acts on it. */
class SimulatedQuarantine implements QuarantineControl {
  readonly #members = new Set<AgentKey>()
  readonly #listeners = new Set<(member: AgentKey) => void>()

  has(member: AgentKey): boolean {
    return this.#members.has(member)
  }
  impose(member: AgentKey): void {
    if (this.#members.has(member)) return
    this.#members.add(member)
    for (const listener of this.#listeners) listener(member)
  }
  meet(): void {}
  on(listener: (member: AgentKey) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}

export class Machine {
  readonly name: string
  readonly disk = new SimulatedDisk()
  readonly quarantine = new SimulatedQuarantine()
  readonly contents: StoreContents
  readonly keyPair: KeyPair
  readonly key: AgentKey
  readonly options: MachineOptions
  readonly components: MachineComponents
  /** Of the wall clock, which keeps going when the machine does not. */
  wallStepMs = 0
  run: Run | null = null
  runCount = 0

  constructor(components: MachineComponents, options: MachineOptions) {
    this.components = components
    this.options = options
    this.name = `m${options.number}${options.isLiar ? ' (liar)' : ''}`
    this.contents = new StoreContents(options.maxSegments, components.copies)
    this.keyPair = crypto.keyPair(Buffer.alloc(32, options.number + 1 + components.scheduler.seed * 16))
    this.key = idFromBytes<AgentKey>(this.keyPair.publicKey)
  }

  start(): Run {
    this.run = new Run(this, ++this.runCount)
    this.run.clock.stepMs = this.wallStepMs
    return this.run
  }

  /** @param isKill only the process dies */
  crash({ isKill }: { readonly isKill: boolean }): void {
    const { scheduler, network } = this.components
    if (!this.run) return
    scheduler.note(`${this.name}: ${isKill ? 'killed' : 'power cut'}`)
    this.run.die()
    this.run = null
    network?.detach(this.key)
    this.disk.crash(scheduler.random, { isKill })
    if (!isKill) this.contents.crash(scheduler)
  }

  stepWallClock(ms: number): void {
    this.components.scheduler.note(`${this.name}: the wall clock is set by ${ms} ms`)
    this.wallStepMs += ms
    if (this.run) this.run.clock.stepMs = this.wallStepMs
  }
}

/** An agent, from its start to its death. */
export class Run {
  readonly clock: SimulatedClock
  readonly store: SimulatedStore
  readonly origin: SimulatedOrigin
  readonly exchange: Exchange
  readonly transfers: Transfers
  readonly link: Link | null
  readonly mounted: ReturnType<typeof mount>
  readonly #machine: Machine
  #isAlive = true
  /** Called when the database of the jobs is written: before, and after but before anybody knows. */
  onDbWrite: (moment: 'before' | 'after') => void = () => {}

  constructor(machine: Machine, number: number) {
    this.#machine = machine
    const { scheduler, weather, server, network, log, pool } = machine.components
    const isAlive = () => this.#isAlive
    this.clock = new SimulatedClock(scheduler, isAlive)
    const { clock } = this
    this.store = new SimulatedStore(machine.contents, { scheduler, weather, clock })
    this.origin = new SimulatedOrigin({ server, scheduler, weather, clock }, machine.options)
    this.mounted = this.#mount()
    const station = {
      name: machine.name,
      key: machine.key,
      clock,
      isAlive,
      read: (hash: Parameters<SimulatedStore['read']>[0], signal: AbortSignal) =>
        this.store.read(hash, { signal, expectVisibility: 'branch' }),
    }
    this.link = network?.attach(station) ?? null
    const random = seededRandom(scheduler.seed * 1000 + machine.options.number * 50 + number)
    const base = {
      store: this.store.asStore(),
      link: this.link,
      quarantine: machine.quarantine,
      self: machine.key,
      clock,
      random,
      log,
    }
    const accusations = new Accusations({
      ...base,
      origin: this.origin,
      lane: this.link,
      onOriginBytes: () => {},
    })
    const common = { ...base, accusations, keyPair: machine.keyPair }
    this.exchange = new Exchange(
      { ...common, catalog: new Catalog(WIRE_KEY) },
      { originConnections: 4, minClaimBytes: MIN_CLAIM_BYTES },
    )
    this.transfers = new Transfers(
      {
        ...common,
        origin: this.origin,
        exchange: this.exchange,
        lane: this.link,
        wan: null,
        book: new PeerBook({ clock, quarantine: machine.quarantine }),
        pool,
        unpredictable: random,
      },
      { attested: machine.options.isAttestedTrusted ? 'spot-check' : 'refuse', minClaimBytes: MIN_CLAIM_BYTES },
    )
  }

  get isAlive(): boolean {
    return this.#isAlive
  }

  die(): void {
    this.#isAlive = false
    this.mounted.unmount()
  }

  /** What is still open, in words; empty when nothing is. */
  leftOpen(): string[] {
    const counts: Readonly<Record<string, number>> = {
      'origin streams': this.origin.openCount,
      'holds of the store': this.store.holdCount,
      files: this.mounted.openCount(),
      'neighbours in use': this.link?.inUseCount ?? 0,
    }
    return Object.entries(counts).flatMap(([what, count]) => (count === 0 ? [] : [`${count} ${what}`]))
  }

  #mount(): ReturnType<typeof mount> {
    const machine = this.#machine
    const { scheduler, weather, onWrite, onName } = machine.components
    return mount(
      machine.disk,
      {
        before: async (operation, path) => {
          await this.clock.wait(0.02, operation === 'sync' ? 8 : 1)
          return this.#diskFault(operation, path)
        },
        partOf: (length) => (weather.strikes('disk-partial') ? scheduler.whole(1, length + 1) : length),
        onWrite: (path, bytes, offset) => onWrite(machine, path, bytes, offset),
        onName: (path) => onName(machine, path),
        db: {
          before: async (operation) => {
            if (operation === 'write') this.onDbWrite('before')
            await this.clock.wait(0.02, operation === 'write' ? 5 : 0.5)
            if (!weather.strikes('db-io', operation === 'write' ? 0.3 : 0.03)) return null
            return scheduler.pick(['EIO', 'ENOSPC'] as const)
          },
          after: async () => {
            this.onDbWrite('after')
            await this.clock.wait(0.01, 0.5)
          },
        },
      },
      machine.options.mountName,
    )
  }

  #diskFault(operation: FileOperation, path: string): string | null {
    const { scheduler, weather } = this.#machine.components
    // What belongs to the agent itself is read before anything runs: then it does not start, which is another story.
    if (path.startsWith('/data')) return null
    const isGrowth = operation === 'write' || operation === 'open' || operation === 'sync'
    if (isGrowth && weather.strikes('disk-full', 0.3)) return scheduler.pick(['ENOSPC', 'EDQUOT'])
    if (!weather.strikes('disk-io', 0.2)) return null
    const entry = this.#machine.disk.find(path)
    // That a directory may be written and not opened is a property of it, and no fault.
    if (entry === 'directory') return scheduler.pick(['EIO', 'EMFILE'])
    const isOfName = operation === 'open' || operation === 'rename' || operation === 'unlink'
    return isOfName ? scheduler.pick(['EIO', 'EACCES', 'EROFS', 'EMFILE']) : 'EIO'
  }
}
