/**
 * A branch of simulated agents that fetch while things go wrong: the real transfer/, swarm/ and content/ code between
 * simulated stores, disks, origins and sessions. What must hold is checked at every step, and once more when the weather
 * has been calm for long enough.
 */

import type { SegmentHash } from '../../src/content/ids.ts'
import { SegmentPool } from '../../src/content/segment-pool.ts'
import { Fetch } from './fetch.ts'
import { Machine } from './machine.ts'
import { Network } from './network.ts'
import { observedLog } from './observed-log.ts'
import type { Scheduler } from './scheduler.ts'
import { OriginServer } from './simulated-origin.ts'
import { Weather } from './weather.ts'
import type { World } from './world.ts'

const SEGMENT_BYTES = 2 ** 20
/** From the end of the faults on, every transfer has this long; two retries of the longest kind fit into it. */
const PATIENCE_MS = 300_000
/** For what ends by itself after a transfer: the tail of a race between a wait and an answer. */
const TAIL_MS = 10_000

export function transferWorld(scheduler: Scheduler, fail: (text: string) => void): World {
  return new TransferWorld(scheduler, fail)
}

class TransferWorld implements World {
  readonly limitMs: number
  readonly #scheduler: Scheduler
  readonly #weather: Weather
  readonly #server: OriginServer
  readonly #network: Network
  readonly #fail: (text: string) => void
  readonly #machines: Machine[] = []
  readonly #fetches: Fetch[] = []
  readonly #isFair: boolean
  readonly #hasLiar: boolean
  readonly #pool = new SegmentPool()
  readonly #copies = new Map<SegmentHash, Uint8Array>()
  #isAgain = false

  constructor(scheduler: Scheduler, fail: (text: string) => void) {
    this.#scheduler = scheduler
    this.#fail = fail
    this.#isFair = scheduler.chance(0.15)
    this.#weather = new Weather(scheduler, { isFair: this.#isFair, calmAtMs: scheduler.between(5000, 30_000) })
    this.#hasLiar = !this.#isFair && scheduler.chance(0.2)
    this.limitMs = this.#weather.calmAtMs + 2 * PATIENCE_MS + TAIL_MS
    this.#server = new OriginServer(scheduler, this.#weather)
    this.#network = new Network(scheduler, this.#weather)
    this.#furnish()
    scheduler.note(`world: ${this.#machines.length} machines, faults ${this.#weather.describe()}`)
    for (const machine of this.#machines) this.#plan(machine)
    if (!this.#isFair) this.#look()
  }

  isOver(): boolean {
    const isCalm = this.#weather.isCalm && this.#machines.every(({ run }) => run !== null)
    if (!isCalm || !this.#fetches.every(({ isEnded }) => isEnded)) return false
    if (this.#isAgain || this.#isFair) return true
    // With nothing in the way any more, what failed is fetched again, and comes.
    this.#isAgain = true
    for (const fetch of this.#fetches) if (fetch.mustComeNow()) fetch.start()
    return this.#fetches.every(({ isEnded }) => isEnded)
  }

  check(): void {}

  late(): void {
    for (const fetch of this.#fetches) if (!fetch.isEnded) this.#fail(`${fetch.name} has not ended: ${fetch.progress}`)
  }

  async end(passTime: (ms: number) => Promise<void>): Promise<void> {
    await passTime(TAIL_MS)
    for (const fetch of this.#fetches) fetch.checkEnd({ isAgain: this.#isAgain })
    if (this.#isFair) this.#checkEgress()
    for (const machine of this.#machines) {
      const { run } = machine
      if (!run) continue
      for (const what of run.leftOpen()) this.#fail(`${machine.name} left open: ${what}`)
      let isClosed = false
      void run.exchange.close().then(() => {
        isClosed = true
      })
      await passTime(1000)
      if (!isClosed) this.#fail(`${machine.name}: the exchange does not close`)
      if (run.clock.sleeperCount > 0) this.#fail(`${machine.name} left ${run.clock.sleeperCount} timers`)
      machine.crash({ isKill: false })
    }
    for (const fetch of this.#fetches) fetch.checkNames()
  }

  #furnish(): void {
    const scheduler = this.#scheduler
    const urlCount = scheduler.chance(0.3) ? 2 : 1
    for (let at = 0; at < urlCount; at++) {
      const lengthBytes =
        Math.ceil(SEGMENT_BYTES * (this.#isFair ? scheduler.between(2, 6) : 8 * scheduler.random() ** 3)) || 1
      const acceptsRanges = this.#isFair || scheduler.chance(0.85)
      const about = {
        url: `https://origin.example/${at}`,
        acceptsRanges,
        saysRanges: scheduler.chance(0.5),
        isDeclared: scheduler.chance(0.3),
        hasValidator: this.#isFair || scheduler.chance(0.95),
        forgedPositions: this.#hasLiar ? [scheduler.whole(0, 8), scheduler.whole(0, 4)] : [],
      }
      this.#server.serve(about, lengthBytes)
    }
    const count = scheduler.whole(2, 7)
    const isAttestedTrusted = this.#isFair || scheduler.chance(0.8)
    for (let number = 0; number < count; number++) {
      this.#machines.push(this.#machine({ number, isLiar: this.#hasLiar && number === 0, isAttestedTrusted }))
    }
  }

  #machine(about: { number: number; isLiar: boolean; isAttestedTrusted: boolean }): Machine {
    const scheduler = this.#scheduler
    const machine = new Machine(
      {
        scheduler,
        weather: this.#weather,
        server: this.#server,
        network: this.#network,
        log: observedLog(this.#fail),
        pool: this.#pool,
        copies: this.#copies,
        onWrite: (on, path, bytes, offset) => this.#fetchAt(on, path)?.checkWrite(bytes, offset),
        onName: (on, path) => this.#fetchAt(on, path)?.checkName(path),
      },
      { ...about, mountName: null, maxSegments: this.#isFair || scheduler.chance(0.7) ? 1000 : scheduler.whole(0, 6) },
    )
    machine.disk.put('/home', 'directory')
    machine.disk.syncAll()
    machine.start()
    return machine
  }

  #plan(machine: Machine): void {
    const scheduler = this.#scheduler
    const count = this.#isFair || scheduler.chance(0.7) ? 1 : 2
    for (let at = 0; at < count; at++) {
      const fetch = Fetch.any({
        machine,
        number: this.#fetches.length,
        server: this.#server,
        scheduler,
        fail: this.#fail,
        hasLiar: this.#hasLiar,
        isFair: this.#isFair,
      })
      this.#fetches.push(fetch)
      // A crowd, or one after the other.
      const spreadMs = this.#isFair ? 300 : scheduler.pick([100, 1000, 10_000])
      scheduler.schedule(1000 + scheduler.between(0, spreadMs), () => fetch.start())
    }
  }

  #fetchAt(machine: Machine, path: string): Fetch | undefined {
    return this.#fetches.find((fetch) => fetch.machine === machine && path.startsWith(`${fetch.directory}/`))
  }

  /** Machines die, come back, and have their clocks set. */
  #look(): void {
    const scheduler = this.#scheduler
    for (const machine of this.#machines) {
      if (this.#weather.strikes('wall-clock', 0.3)) machine.stepWallClock(scheduler.whole(-4_000_000, 4_000_000))
      if (!machine.run || !this.#weather.strikes('crash', 0.5)) continue
      machine.crash({ isKill: scheduler.chance(0.5) })
      const its = this.#fetches.filter((fetch) => fetch.machine === machine)
      for (const fetch of its) fetch.checkNames()
      scheduler.schedule(scheduler.between(10, 4000), () => {
        scheduler.note(`${machine.name}: starts again`)
        machine.start()
        for (const fetch of its) if (fetch.wasRunning) fetch.start()
      })
    }
    scheduler.schedule(scheduler.between(100, 900), () => {
      if (!this.#weather.isCalm) this.#look()
    })
  }

  /** Of what all fetch together; what two begin before they know of each other costs a segment or two. */
  #checkEgress(): void {
    const wanted = new Set(this.#fetches.map(({ request }) => request.url))
    let bytes = 0
    for (const url of wanted) bytes += this.#server.current(url).generation.bytes.byteLength
    const allowed = 1.05 * bytes + 2 * SEGMENT_BYTES
    this.#scheduler.note(`egress: ${(this.#server.sentBytes / bytes).toFixed(3)} copies`)
    if (this.#server.sentBytes > allowed) {
      this.#fail(`${this.#server.sentBytes} bytes left the origin, for ${bytes} bytes of content`)
    }
  }
}
