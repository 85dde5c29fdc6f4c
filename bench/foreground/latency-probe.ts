/** A small datagram twenty times a second from a host to an echo: the queue that everybody else meets. */
import { fileURLToPath } from 'node:url'
import { systemClock } from '../../src/clock.ts'
import type { Lab, LabHost } from '../../test/lab/lab.ts'
import type { LabProcess } from '../../test/lab/lab-process.ts'
import type { Ping } from './figures.ts'

const [ECHO_MAIN, PROBE_MAIN] = ['echo-main.ts', 'probe-main.ts'].map((name) =>
  fileURLToPath(new URL(name, import.meta.url)),
) as [string, string]
const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url))
const PORT = 7
const INTERVAL_MS = 50
const START_TIMEOUT_MS = 20_000
/** When a datagram counts as lost, and a little. */
const SETTLE_MS = 2100

export class LatencyProbe {
  readonly #process: LabProcess

  private constructor(process_: LabProcess) {
    this.#process = process_
  }

  /** From `host` to the address of `echo`, until the lab ends. */
  static async open(lab: Lab, route: { host: number; echo: LabHost; echoAddress: string }): Promise<LatencyProbe> {
    const main = (host: LabHost, path: string, ...args: string[]) =>
      lab.spawn(host, process.execPath, ['--import=tsx', path, ...args], { cwd: REPOSITORY })
    const echo = main(route.echo, ECHO_MAIN, route.echoAddress, String(PORT))
    await echo.waitForLine((line) => line === 'ready', { timeoutMs: START_TIMEOUT_MS })
    const probe = main(route.host, PROBE_MAIN, route.echoAddress, String(PORT), String(INTERVAL_MS))
    await probe.waitForLine((line) => line.includes('rttMs'), { timeoutMs: START_TIMEOUT_MS })
    return new LatencyProbe(probe)
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
