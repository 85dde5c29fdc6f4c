/** From the figures of runs to rows and charts of the report. Pure. */
import type { CurveChart, Row } from '../scenario.ts'
import { rounded } from '../statistics.ts'
import { type Columns, medianColumns } from './columns.ts'
import type { RunFigures, RunRecord } from './figures.ts'
import { type CounterSeries, ratesOf, sumOf } from './series.ts'

const CURVE_STEP_MS = 200

const COLUMNS: Columns<RunFigures> = [
  ['idleUseRatio', 3],
  ['fairness', 2],
  ['idleAddedMedianMs', 1],
  ['idleAddedP95Ms', 1],
  ['idleLostRatio', 3],
  ['foregroundMbit', 1],
  ['keptRatio', 3],
  ['keptAfter2sRatio', 3],
  ['backgroundLeftMbit', 2],
  ['yieldMs', 0],
  ['recoveryMs', 0],
  ['cpuRatio', 3],
]

/** Medians over the runs, and the run that was worst for the user. */
export function figureColumns(runs: readonly RunFigures[]): Row {
  const kept = runs.flatMap(({ keptRatio }) => (keptRatio === null ? [] : [keptRatio]))
  return { ...medianColumns(runs, COLUMNS), worstKeptRatio: kept.length === 0 ? null : rounded(Math.min(...kept), 3) }
}

/** What a person sees of a run while the others go on. */
export function figuresLine(figures: RunFigures): string {
  const percent = (ratio: number | null) => (ratio === null ? '-' : `${rounded(ratio * 100)} %`)
  const ms = (value: number | null) => (value === null ? '-' : `${rounded(value)} ms`)
  return [
    `idle ${percent(figures.idleUseRatio)} +${ms(figures.idleAddedMedianMs)}`,
    `kept ${percent(figures.keptRatio)}, after 2 s ${percent(figures.keptAfter2sRatio)}`,
    `yields ${ms(figures.yieldMs)}, recovers ${ms(figures.recoveryMs)}`,
    `fairness ${figures.fairness?.toFixed(2) ?? '-'}`,
    `CPU ${percent(figures.cpuRatio)}`,
  ].join('; ')
}

/** The flows, those of several hosts also one by one, and the latency; seconds since the idle window began. */
export function chartsOf(name: string, record: RunRecord, hosts: readonly number[]): readonly CurveChart[] {
  const zeroMs = record.idle.fromMs
  const span = { fromMs: zeroMs, toMs: record.tail.toMs }
  const seconds = (atMs: number) => (atMs - zeroMs) / 1000
  const curve = (label: string, series: CounterSeries) => ({
    label,
    points: ratesOf(series, span, CURVE_STEP_MS).map(({ atMs, mbit }) => [seconds(atMs), mbit] as const),
  })
  const single = record.backgrounds.map((series, at) => curve(`host ${hosts[at]}`, series))
  const flows = [curve('background', sumOf(record.backgrounds)), curve('foreground', record.foreground)]
  const shown = record.pings.filter(({ sentMs }) => sentMs >= span.fromMs && sentMs < span.toMs)
  const points = shown.flatMap(({ sentMs, rttMs }) => (rttMs === null ? [] : [[seconds(sentMs), rttMs] as const]))
  const pings = { label: 'round trip of a ping', points }
  const xLabel = 'seconds'
  return [
    {
      title: `${name}: flows over time`,
      xLabel,
      yLabel: 'Mbit/s on the wire',
      curves: single.length > 1 ? [...flows, ...single] : flows,
    },
    { title: `${name}: latency over time`, xLabel, yLabel: 'ms', curves: [pings] },
  ]
}
