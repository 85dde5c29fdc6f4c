/**
 * What crosses the hosts' LAN links, by the counters of the bridge's ports, and what one process has read from its sockets.
 *
 * Read in /proc of a process that is in the bridge's namespace: nothing is started for a sample, so that ten a second cost
 * the measured ones nothing. The port sees what the bottleneck let through, not what the origin has sent.
 */
import { readFileSync } from 'node:fs'
import { systemClock } from '../../src/clock.ts'
import type { Lab } from '../../test/lab/lab.ts'
import type { LabProcess } from '../../test/lab/lab-process.ts'
import { machineMs } from './machine-clock.ts'
import type { CounterPoint, CounterSeries } from './series.ts'

const SAMPLE_MS = 100
/** On the wire, of the payload of a full packet with TCP timestamps: 14 Ethernet, 20 IP, 32 TCP. */
const WIRE_PER_PAYLOAD = 1514 / 1448

export interface Traffic {
  /** On the wire, towards each host. */
  readonly toHost: ReadonlyMap<number, CounterSeries>
  readonly fromHost: ReadonlyMap<number, CounterSeries>
  /** What the process has read, as it would be on the wire: a process that reads at once, and hardly anything else. */
  readonly read: CounterSeries
}

/** `p-1: rx_bytes packets errs drop fifo frame compressed multicast tx_bytes ...`, seen from the bridge. */
export function parsePorts(netDev: string): ReadonlyMap<number, { fromHost: number; toHost: number }> {
  const ports = [...netDev.matchAll(/^\s*p-(\d+):\s*(\d+)(?:\s+\d+){7}\s+(\d+)/gm)]
  return new Map(ports.map(([, host, rx, tx]) => [Number(host), { fromHost: Number(rx), toHost: Number(tx) }]))
}

/** Of a process: what it had read before its flow began does not count. */
export interface Reader {
  readonly pid: number
  readonly readBefore: number
}

/** Bytes by read(2), sockets included; null when the process has ended. */
export function readBytes(pid: number): number | null {
  try {
    const found = /^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1]
    return found === undefined ? null : Number(found)
  } catch {
    return null
  }
}

export class TrafficMeter {
  /** Does nothing, in the bridge's namespace. */
  readonly #resident: LabProcess

  private constructor(resident: LabProcess) {
    this.#resident = resident
  }

  /** The lab ends it. */
  static open(lab: Lab): TrafficMeter {
    return new TrafficMeter(lab.spawn('bridge', 'sleep', ['infinity']))
  }

  /** Samples until the signal; `reader` is asked each time, null while there is none. */
  async record(reader: () => Reader | null, signal: AbortSignal): Promise<Traffic> {
    const toHost = new Map<number, CounterPoint[]>()
    const fromHost = new Map<number, CounterPoint[]>()
    const read: CounterPoint[] = []
    const note = (series: Map<number, CounterPoint[]>, host: number, point: CounterPoint) => {
      const points = series.get(host) ?? []
      points.push(point)
      series.set(host, points)
    }
    while (!signal.aborted) {
      const reading = reader()
      // At once, not awaited: on a busy machine the clock would be read long after the counters.
      const netDev = readFileSync(`/proc/${this.#resident.pid}/net/dev`, 'utf8')
      const payload = reading === null ? null : readBytes(reading.pid)
      const atMs = machineMs()
      for (const [host, counters] of parsePorts(netDev)) {
        note(toHost, host, { atMs, bytes: counters.toHost })
        note(fromHost, host, { atMs, bytes: counters.fromHost })
      }
      const isOver = reading === null || payload === null
      read.push({ atMs, bytes: isOver ? (read.at(-1)?.bytes ?? 0) : (payload - reading.readBefore) * WIRE_PER_PAYLOAD })
      await systemClock.sleep(SAMPLE_MS, { signal }).catch(() => undefined)
    }
    return { toHost, fromHost, read }
  }
}
