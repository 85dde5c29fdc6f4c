/** Plays one run: the background alone, a foreground beside it, the background alone again; and records all. */
import { systemClock } from '../../src/clock.ts'
import type { CongestionControl } from '../../test/lab/lab.ts'
import type { LabProcess } from '../../test/lab/lab-process.ts'
import type { BenchLab } from '../bench-lab.ts'
import { cpuMs } from '../process-cost.ts'
import type { BackgroundTool } from './backgrounds.ts'
import type { RunRecord } from './figures.ts'
import { type ForegroundFlow, startForeground } from './foreground-flow.ts'
import type { LatencyProbe } from './latency-probe.ts'
import { machineMs, sleepUntil } from './machine-clock.ts'
import { difference } from './series.ts'
import type { TrafficMeter } from './traffic.ts'

export interface Stage {
  readonly benchLab: BenchLab
  readonly meter: TrafficMeter
  readonly probe: LatencyProbe
}

export interface Timeline {
  /** Before the idle window: connections, slow start, learning. */
  readonly startUpMs: number
  readonly idleMs: number
  readonly foregroundMs: number
  readonly tailMs: number
}

export interface RunPlan {
  /** Null: the foreground alone. */
  readonly background: { readonly tool: BackgroundTool; readonly hosts: readonly number[] } | null
  /** Of what the origin sends to the background. */
  readonly congestionControl: CongestionControl
  /** Null: no foreground can be had here; the window passes without. */
  readonly foregroundHost: number | null
  readonly timeline: Timeline
}

/** Between the runs: queues drain, connections close. */
const REST_MS = 1000

function expectRunning(processes: readonly LabProcess[]): void {
  const ended = processes.find((one) => one.ended)
  if (ended) throw new Error(`The background ended with ${ended.ended?.code}: ${ended.stderr.slice(-2000)}`)
}

/** @throws Error when the background ends by itself, or the foreground does not come about. */
export async function playRun(stage: Stage, plan: RunPlan): Promise<RunRecord> {
  const { benchLab, meter, probe } = stage
  const { lab } = benchLab
  const { timeline, foregroundHost } = plan
  await lab.setCongestionControl(plan.congestionControl)
  const background = await plan.background?.tool.prepare(plan.background.hosts)
  await systemClock.sleep(REST_MS)
  const over = new AbortController()
  let foreground: ForegroundFlow | undefined
  const recording = meter.record(() => foreground ?? null, over.signal)
  try {
    const startedMs = machineMs()
    const processes = background?.start() ?? []
    const pids = processes.map(({ pid }) => pid)
    const cpuBeforeMs = await cpuMs(pids)
    await sleepUntil(startedMs + timeline.startUpMs + timeline.idleMs)
    expectRunning(processes)
    const calledMs = machineMs()
    const idle = { fromMs: startedMs + timeline.startUpMs, toMs: calledMs }
    if (foregroundHost !== null)
      foreground = await startForeground(lab, foregroundOf(lab.originAddress, foregroundHost))
    const busyFromMs = foreground?.startedMs ?? calledMs
    const busy = { fromMs: busyFromMs, toMs: busyFromMs + timeline.foregroundMs }
    await sleepUntil(busy.toMs)
    await foreground?.stop()
    const tail = { fromMs: busy.toMs, toMs: busy.toMs + timeline.tailMs }
    await sleepUntil(tail.toMs)
    expectRunning(processes)
    const usedMs = (await cpuMs(pids)) - cpuBeforeMs
    const cpuRatio = pids.length === 0 ? null : usedMs / (machineMs() - startedMs)
    await background?.end()
    const pings = await probe.since(startedMs)
    over.abort()
    const { toHost, read } = await recording
    const backgrounds = (plan.background?.hosts ?? []).map((host) => {
      const all = toHost.get(host) ?? []
      return host === foregroundHost ? difference(all, read) : all
    })
    return { idle, busy: foreground ? busy : null, tail, backgrounds, foreground: read, pings, cpuRatio }
  } finally {
    over.abort()
    await foreground?.stop()
    await background?.end()
  }
}

/** Cubic always, whatever the background has: what is compared is the same. */
function foregroundOf(serverAddress: string, host: number) {
  return { host, server: 'origin', serverAddress, direction: 'down', congestionControl: 'cubic' } as const
}
