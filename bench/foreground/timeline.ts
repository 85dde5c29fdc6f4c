/** Plays one run: the background alone, a foreground beside it, the background alone again; and records all. */
import type { CongestionControl } from '../../test/lab/lab.ts'
import type { BenchLab } from '../bench-lab.ts'
import type { BackgroundTool } from './backgrounds.ts'
import { besideBackground } from './beside-background.ts'
import type { RunRecord } from './figures.ts'
import { startForeground } from './foreground-flow.ts'
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

/** @throws Error when the background ends by itself, or the foreground does not come about. */
export async function playRun(stage: Stage, plan: RunPlan): Promise<RunRecord> {
  const { benchLab, meter, probe } = stage
  const { background, foregroundHost, timeline } = plan
  const { lab } = benchLab
  await lab.setCongestionControl(plan.congestionControl)
  const prepare = background && (() => background.tool.prepare(background.hosts))
  const { value, startedMs, traffic, cpuRatio } = await besideBackground(meter, prepare, async (beside) => {
    const fromMs = beside.startedMs + timeline.startUpMs
    await sleepUntil(fromMs + timeline.idleMs)
    beside.expectRunning()
    const idle = { fromMs, toMs: machineMs() }
    // Cubic always, whatever the background has: what is compared is the same.
    const flow = { server: 'origin', serverAddress: lab.originAddress, congestionControl: 'cubic' } as const
    const foreground =
      foregroundHost === null ? null : await startForeground(lab, { ...flow, host: foregroundHost, direction: 'down' })
    try {
      if (foreground !== null) beside.follow(foreground)
      const busyFromMs = foreground?.startedMs ?? idle.toMs
      const busy = { fromMs: busyFromMs, toMs: busyFromMs + timeline.foregroundMs }
      await sleepUntil(busy.toMs)
      await foreground?.stop()
      const tail = { fromMs: busy.toMs, toMs: busy.toMs + timeline.tailMs }
      await sleepUntil(tail.toMs)
      return { idle, busy: foreground === null ? null : busy, tail }
    } finally {
      await foreground?.stop()
    }
  })
  const backgrounds = (background?.hosts ?? []).map((host) => {
    const all = traffic.toHost.get(host) ?? []
    return host === foregroundHost ? difference(all, traffic.read) : all
  })
  return { ...value, backgrounds, foreground: traffic.read, pings: await probe.since(startedMs), cpuRatio }
}
