/** Makes the faults of a plan happen to a world, and ends them. What cannot be done here is left out, and said. */
import { systemClock } from '../../src/clock.ts'
import { pathOf } from '../lab/generated-content.ts'
import type { FetchLoad } from './fetch-load.ts'
import type { ChaosPlan, Fault, FaultKind } from './schedule.ts'
import { type ChaosWorld, WAN } from './world.ts'

export interface FaultRecord {
  readonly kind: FaultKind
  /** Why it was not done; null: it was. */
  readonly skipped: string | null
}

export class FaultDriver {
  readonly records: FaultRecord[] = []
  readonly #world: ChaosWorld
  readonly #plan: ChaosPlan
  readonly #fetches: FetchLoad

  constructor(world: ChaosWorld, plan: ChaosPlan, fetches: FetchLoad) {
    this.#world = world
    this.#plan = plan
    this.#fetches = fetches
  }

  /** From its beginning to its end. Never rejects: what goes wrong here is a fault left out. */
  async apply(fault: Fault): Promise<void> {
    const { kind } = fault
    this.#world.note('fault begins', { fault })
    let skipped: string | null
    try {
      skipped = await this.#apply(fault)
    } catch (error) {
      skipped = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)
    }
    this.records.push({ kind, skipped })
    this.#world.note('fault ends', { kind, skipped })
  }

  async #apply(fault: Fault): Promise<string | null> {
    const world = this.#world
    const { lab } = world
    switch (fault.kind) {
      case 'daemon-killed': {
        const host = world.host(fault.host)
        if (!(await host.kill())) return 'it did not run'
        await systemClock.sleep(fault.durationMs)
        await host.start()
        return null
      }
      case 'fetch-killed':
        return (await this.#fetches.killOne(fault.host)) ? null : 'none ran'
      case 'host-cut':
        await lab.setLink(fault.host, 'down')
        return this.#whileIt(fault, () => lab.setLink(fault.host, 'up'))
      case 'host-slow':
        await lab.setLanRate(fault.host, fault.mbit)
        return this.#whileIt(fault, () => lab.setLanRate(fault.host, 1000))
      case 'lan-split':
        await lab.partition(fault.hosts)
        return this.#whileIt(fault, () => lab.heal(fault.hosts))
      case 'wan-slow':
        await lab.setWanRate({ downMbit: fault.mbit, upMbit: fault.mbit })
        return this.#whileIt(fault, () => lab.setWanRate(WAN))
      case 'wan-cut':
        await lab.setLink('router', 'down')
        return this.#whileIt(fault, () => lab.setLink('router', 'up'))
      case 'disk-full': {
        const missing = world.missingDisks.get(fault.disk)
        if (missing !== undefined) return missing
        await world.fillDisk(fault.disk)
        return this.#whileIt(fault, () => world.freeDisk(fault.disk))
      }
      case 'peer-bad':
        await world.setBadMode(fault.mode)
        return this.#whileIt(fault, () => world.setBadMode(null))
      case 'origin-status':
        await world.setOrigin({ failStatus: fault.status, retryAfterSeconds: fault.retryAfterSeconds })
        return this.#whileIt(fault, () => world.setOrigin({ failStatus: null, retryAfterSeconds: null }))
      case 'origin-cuts':
        await world.setOrigin({ cutAfterBytes: fault.afterBytes })
        return this.#whileIt(fault, () => world.setOrigin({ cutAfterBytes: null }))
      case 'origin-ignores-range':
        await world.setOrigin({ ranges: false })
        return this.#whileIt(fault, () => world.setOrigin({ ranges: true }))
      case 'origin-gone':
        await world.killOrigin()
        return this.#whileIt(fault, () => world.restartOrigin())
      case 'origin-silent':
        process.kill(world.origin.process.pid, 'SIGSTOP')
        return this.#whileIt(fault, async () => {
          process.kill(world.origin.process.pid, 'SIGCONT')
        })
      case 'origin-changed': {
        const resource = this.#plan.resources[this.#fetches.busiest() ?? -1]
        if (!resource) return 'nothing was fetched'
        world.note('generation changes', { path: pathOf(resource.seed, resource.bytes) })
        await world.changeGeneration(resource, fault)
        return null
      }
    }
  }

  async #whileIt({ durationMs }: { readonly durationMs: number }, end: () => Promise<void>): Promise<null> {
    await systemClock.sleep(durationMs)
    await end()
    return null
  }
}
