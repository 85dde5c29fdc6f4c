/** From the figures of runs to rows and charts of the report. Pure. */
import type { CurveChart, Row } from '../scenario.ts'
import { rounded } from '../statistics.ts'
import { medianWithNever, type Ping, type RunFigures, type RunRecord } from './figures.ts'
import { type CounterSeries, ratesOf } from './series.ts'

const CURVE_STEP_MS = 200

type FigureName = keyof RunFigures

/** The columns in their order, each with its digits. */
const COLUMNS: readonly (readonly [FigureName, digits: number])[] = [
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
  const middle = COLUMNS.map(([name, digits]) => {
    const value = medianWithNever(runs.map((one) => one[name]))
    return [name, value === null ? null : rounded(value, digits)] as const
  })
  const kept = runs.flatMap(({ keptRatio }) => (keptRatio === null ? [] : [keptRatio]))
  return { ...Object.fromEntries(middle), worstKeptRatio: kept.length === 0 ? null : rounded(Math.min(...kept), 3) }
}

/** What a person sees of a run while the others go on. */
export function figuresLine(figures: RunFigures): string {
  const percent = (ratio: number | null) => (ratio === null ? '-' : `${rounded(ratio * 100)} %`)
  const ms = (value: number | null) => (value === null ? '-' : `${rounded(value)} ms`)
  return [
    `idle ${percent(figures.idleUseRatio)} +${ms(figures.idleAddedMedianMs)}`,
    `kept ${percent(figures.keptRatio)}, after 2 s ${percent(figures.keptAfter2sRatio)}`,
    `yields ${ms(figures.yieldMs)}, recovers ${ms(figures.recoveryMs)}`,
    `CPU ${percent(figures.cpuRatio)}`,
  ].join('; ')
}

/** Both flows, and the latency; seconds since the foreground's start. */
export function chartsOf(
  name: string,
  record: RunRecord,
  { background }: { background: CounterSeries },
): readonly CurveChart[] {
  const zeroMs = record.idle.fromMs
  const span = { fromMs: zeroMs, toMs: record.tail.toMs }
  const seconds = (atMs: number) => (atMs - zeroMs) / 1000
  const curve = (label: string, series: CounterSeries) => ({
    label,
    points: ratesOf(series, span, CURVE_STEP_MS).map(({ atMs, mbit }) => [seconds(atMs), mbit] as const),
  })
  const flows = [curve('background', background), curve('foreground', record.foreground)]
  const pings = { label: 'round trip of a ping', points: pingPoints(record.pings, seconds) }
  const xLabel = 'seconds'
  return [
    { title: `${name}: flows over time`, xLabel, yLabel: 'Mbit/s on the wire', curves: flows },
    { title: `${name}: latency over time`, xLabel, yLabel: 'ms', curves: [pings] },
  ]
}

function pingPoints(pings: readonly Ping[], seconds: (atMs: number) => number) {
  return pings.flatMap(({ sentMs, rttMs }) =>
    rttMs === null || seconds(sentMs) < 0 ? [] : [[seconds(sentMs), rttMs] as const],
  )
}
