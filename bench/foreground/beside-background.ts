/** Does something beside a background: starts it, records the traffic and what it costs, ends it whatever happens. */
import { systemClock } from '../../src/clock.ts'
import type { LabProcess } from '../../test/lab/lab-process.ts'
import { cpuMs } from '../process-cost.ts'
import type { Background } from './backgrounds.ts'
import { machineMs } from './machine-clock.ts'
import type { Reader, Traffic, TrafficMeter } from './traffic.ts'

/** Between the runs: queues drain, connections close. */
const REST_MS = 1000

export interface Beside {
  /** Of the background. */
  readonly startedMs: number
  /** Records what this process reads from now on. */
  readonly follow: (reader: Reader) => void
  /** @throws Error when the background has ended by itself. */
  readonly expectRunning: () => void
}

export interface Observed<T> {
  readonly value: T
  readonly startedMs: number
  readonly traffic: Traffic
  /** Of a core, of the processes that count; null without a background. */
  readonly cpuRatio: number | null
}

function expectRunning(processes: readonly LabProcess[]): void {
  const one = processes.find(({ ended }) => ended !== undefined)
  if (!one) return
  const told = `${one.lines.at(-1) ?? ''}\n${one.stderr.slice(-2000)}`
  throw new Error(`The background ended with ${one.ended?.code}: ${told}`)
}

/** @throws Error when the background ends before the work does. */
export async function besideBackground<T>(
  meter: TrafficMeter,
  prepare: (() => Promise<Background>) | null,
  work: (beside: Beside) => Promise<T>,
): Promise<Observed<T>> {
  const background = await prepare?.()
  const over = new AbortController()
  let reader: Reader | null = null
  try {
    await systemClock.sleep(REST_MS)
    const recording = meter.record(() => reader, over.signal)
    const startedMs = machineMs()
    const { processes, costPids } = background?.start() ?? { processes: [], costPids: [] }
    const cpuBeforeMs = await cpuMs(costPids)
    const follow = (one: Reader) => {
      reader = one
    }
    const value = await work({ startedMs, follow, expectRunning: () => expectRunning(processes) })
    expectRunning(processes)
    const usedMs = (await cpuMs(costPids)) - cpuBeforeMs
    const cpuRatio = costPids.length === 0 ? null : usedMs / (machineMs() - startedMs)
    over.abort()
    return { value, startedMs, traffic: await recording, cpuRatio }
  } finally {
    over.abort()
    await background?.end()
  }
}
