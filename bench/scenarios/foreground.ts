/**
 * A download in the background, and somebody who wants to work: how much of an ordinary transfer survives beside it, what
 * does it do to everybody's latency, and how much of the line does it use while nobody wants it?
 *
 * The background is alone for 12 s, of which the last 8 are the idle window; beside an iperf3 flow of 10 s; alone again for
 * 8 s. Rates are on the wire, as the host's LAN link carries them, to the rate of the WAN. What the foreground kept is to
 * what it had alone in the same run.
 */
import type { CongestionControl, LabOptions } from '../../test/lab/lab.ts'
import { withLab } from '../bench-lab.ts'
import { toolVersion } from '../contenders.ts'
import { aria2cTool, type BackgroundTool, curlTool, limitedCurlTool, shorthaulTool } from '../foreground/backgrounds.ts'
import { figuresOf, type RunRecord } from '../foreground/figures.ts'
import { LatencyProbe } from '../foreground/latency-probe.ts'
import { chartsOf, figureColumns, figuresLine } from '../foreground/rows.ts'
import { sumOf } from '../foreground/series.ts'
import { playRun, type RunPlan, type Stage, type Timeline } from '../foreground/timeline.ts'
import { TrafficMeter } from '../foreground/traffic.ts'
import { type BarSpec, type BenchOptions, type CurveChart, MIB, type Row, type Scenario } from '../scenario.ts'

const [BACKGROUND_HOST, OTHER_HOST, PROBE_HOST] = [1, 2, 3] as const
const UP_MBIT = 20
const TIMELINE: Timeline = { startUpMs: 4000, idleMs: 8000, foregroundMs: 10_000, tailMs: 8000 }
const ALONE_TIMELINE: Timeline = { startUpMs: 0, idleMs: 4000, foregroundMs: 10_000, tailMs: 0 }

interface Contender {
  readonly tool: BackgroundTool
  readonly foregroundHost: number
  readonly congestionControl: CongestionControl
}

interface Series extends Contender {
  readonly name: string
  readonly records: { readonly record: RunRecord; readonly alone: RunRecord }[]
}

export interface WanSetting {
  readonly wanMbit: number
  readonly lab: Omit<LabOptions, 'hosts'>
  /** More than the line carries in any run. */
  readonly endlessBytes: number
}

export function wanSettingOf({ wanMbit, fifoMs, rttMs }: BenchOptions): WanSetting {
  const downMbit = wanMbit ?? 50
  const lab = { downMbit, upMbit: UP_MBIT, fifoMs: fifoMs ?? 250, delayUs: Math.round((rttMs ?? 20) * 500) }
  return { wanMbit: downMbit, lab, endlessBytes: Math.max(1024, Math.ceil(downMbit * 16)) * MIB }
}

/** The text in any case; null: everything. */
export function isChosen(name: string, only: string | null): boolean {
  return only === null || name.toLowerCase().includes(only.toLowerCase())
}

export async function openStage(benchLab: Stage['benchLab'], probeHost: number): Promise<Stage> {
  const { lab } = benchLab
  const probe = await LatencyProbe.open(lab, { host: probeHost, echo: 'origin', echoAddress: lab.originAddress })
  return { benchLab, meter: TrafficMeter.open(lab), probe }
}

function nameOf({ tool, foregroundHost, congestionControl }: Contender): string {
  const where = foregroundHost === BACKGROUND_HOST ? 'same host' : 'other host'
  return `${tool.name}, ${congestionControl} origin, foreground on ${where}`
}

function seriesOf(stage: Stage, setting: WanSetting, only: string | null): readonly Series[] {
  const { benchLab } = stage
  const { endlessBytes, wanMbit } = setting
  const curl = curlTool(benchLab, endlessBytes)
  const shorthaul = shorthaulTool(benchLab, endlessBytes)
  const [foregroundHost, congestionControl] = [OTHER_HOST, 'cubic'] as const
  const plain = { foregroundHost, congestionControl }
  const contenders: readonly Contender[] = [
    { ...plain, tool: curl },
    { ...plain, tool: curl, congestionControl: 'bbr' },
    { ...plain, tool: limitedCurlTool(benchLab, endlessBytes, wanMbit / 2) },
    ...(toolVersion('aria2c') === null ? [] : [{ ...plain, tool: aria2cTool(benchLab, endlessBytes) }]),
    { ...plain, tool: shorthaul },
    { ...plain, tool: shorthaul, foregroundHost: BACKGROUND_HOST },
    { ...plain, tool: shorthaul, congestionControl: 'bbr' },
  ]
  const named = contenders.map((one) => ({ ...one, name: nameOf(one), records: [] }))
  return named.filter(({ name }) => isChosen(name, only))
}

function versionsOf(tools: readonly string[]): readonly string[] {
  return tools.map((tool) => toolVersion(tool) ?? `${tool} is not installed here: left out`)
}

async function run(options: BenchOptions) {
  const { runs, say, only } = options
  const setting = wanSettingOf(options)
  const { lab, wanMbit, endlessBytes } = setting
  const hasForeground = toolVersion('iperf3') !== null
  const remarks = [
    ...versionsOf(['curl', 'aria2c', 'iperf3']),
    `WAN ${wanMbit} Mbit/s down, ${UP_MBIT} up, FIFO ${lab.fifoMs} ms, round trip ${(lab.delayUs ?? 0) / 500} ms; LAN unshaped`,
    `content of ${endlessBytes} bytes, which nobody has whole at the end; the foreground is cubic in all rows`,
    'latency: 20 datagrams a second from a third host to the origin, those lost left out; added to that of the empty line',
    'cpuRatio: of a core, all processes of the background',
  ]
  const curves: CurveChart[] = []
  const rows = await withLab({ hosts: PROBE_HOST, ...lab }, async (benchLab) => {
    const stage = await openStage(benchLab, PROBE_HOST)
    const all = seriesOf(stage, setting, only)
    const alones: RunRecord[] = []
    for (let run = 1; run <= runs; run++) {
      const plan = { background: null, congestionControl: 'cubic', timeline: ALONE_TIMELINE } as const
      const alone = await playRun(stage, { ...plan, foregroundHost: hasForeground ? OTHER_HOST : null })
      alones.push(alone)
      const { foregroundMbit } = figuresOf(alone, { background: [], alone, lineMbit: wanMbit })
      say(`run ${run} of ${runs}: the foreground alone ${foregroundMbit?.toFixed(1) ?? '-'} Mbit/s`)
      for (const { name, tool, foregroundHost, congestionControl, records } of all) {
        const plan: RunPlan = {
          background: { tool, hosts: [BACKGROUND_HOST] },
          congestionControl,
          foregroundHost: hasForeground ? foregroundHost : null,
          timeline: TIMELINE,
        }
        const record = await playRun(stage, plan)
        records.push({ record, alone })
        say(`${name}: ${figuresLine(figuresOfPair({ record, alone }, wanMbit))}`)
      }
    }
    for (const { name, records } of all) {
      const last = records.at(-1)?.record // of the last run: the median of curves would be nobody's
      if (last) curves.push(...chartsOf(name, last, { background: sumOf(last.backgrounds) }))
    }
    return [
      rowOf(
        'nobody',
        alones.map((record) => ({ record, alone: record })),
        wanMbit,
      ),
      ...all.map(({ name, records }) => rowOf(name, records, wanMbit)),
    ]
  })
  return { rows, remarks, curves }
}

function figuresOfPair({ record, alone }: Series['records'][number], lineMbit: number) {
  return figuresOf(record, { background: sumOf(record.backgrounds), alone, lineMbit })
}

function rowOf(background: string, records: Series['records'], lineMbit: number): Row {
  return { background, runs: records.length, ...figureColumns(records.map((one) => figuresOfPair(one, lineMbit))) }
}

const LABELS = ['background']

export const BARS: readonly BarSpec[] = [
  { title: 'Use of the idle line', column: 'idleUseRatio', labels: LABELS },
  { title: 'Latency added for everybody while the line is idle', column: 'idleAddedMedianMs', labels: LABELS },
  { title: 'What the foreground keeps, of what it has alone', column: 'keptRatio', labels: LABELS },
  { title: 'The same after its first two seconds', column: 'keptAfter2sRatio', labels: LABELS },
]

export const foreground: Scenario = {
  name: 'foreground',
  title: 'a foreground transfer beside a background download',
  defaultRuns: 3,
  bars: BARS,
  run,
}
