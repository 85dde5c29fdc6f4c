/** A small datagram twenty times a second from a host to an echo: the queue that everybody else meets. */
import { systemClock } from '../../src/clock.ts'
import type { Lab, LabHost } from '../../test/lab/lab.ts'
import type { LabProcess } from '../../test/lab/lab-process.ts'
import type { Ping } from './figures.ts'
import { spawnMain } from './spawn-main.ts'

const PORT = 7
const INTERVAL_MS = 50
/** When a datagram counts as lost, and a little. */
const SETTLE_MS = 2100

export class LatencyProbe {
  readonly #process: LabProcess

  private constructor(process_: LabProcess) {
    this.#process = process_
  }

  /** From `host` to the address of `echo`, until the lab ends. */
  static async open(lab: Lab, route: { host: number; echo: LabHost; echoAddress: string }): Promise<LatencyProbe> {
    await spawnMain(lab, 'echo-main.ts', { host: route.echo, args: [route.echoAddress, PORT] })
    const args = [route.echoAddress, PORT, INTERVAL_MS]
    return new LatencyProbe(await spawnMain(lab, 'probe-main.ts', { host: route.host, args }))
  }

  /** All pings sent since then, those included that are still on their way. */
  async since(sinceMs: number): Promise<readonly Ping[]> {
    await systemClock.sleep(SETTLE_MS)
    if (this.#process.ended) throw new Error(`The latency probe has ended: ${this.#process.stderr.slice(-2000)}`)
    return this.#process.lines
      .map((line) => JSON.parse(line) as Ping)
      .filter(({ sentMs }) => sentMs >= sinceMs)
      .toSorted((a, b) => a.sentMs - b.sentMs)
  }
}
