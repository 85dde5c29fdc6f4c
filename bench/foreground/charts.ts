/** What the report draws of one run: rates and latencies over time. Pure. */
import type { CurveChart } from '../scenario.ts'
import type { Ping, RunRecord } from './figures.ts'
import { type CounterSeries, ratesOf, type Span, sumOf } from './series.ts'

const STEP_MS = 200

type LabelledSeries = readonly [label: string, series: CounterSeries]
type TimedValue = readonly [atMs: number, value: number]

function secondsIn({ fromMs }: Span, atMs: number): number {
  return (atMs - fromMs) / 1000
}

export function flowsChart(name: string, span: Span, flows: readonly LabelledSeries[]): CurveChart {
  const curves = flows.map(([label, series]) => {
    const rates = ratesOf(series, span, STEP_MS)
    return { label, points: rates.map(({ atMs, mbit }) => [secondsIn(span, atMs), mbit] as const) }
  })
  return { title: `${name}: flows over time`, xLabel: 'seconds', yLabel: 'Mbit/s on the wire', curves }
}

/** Of what was measured within the span, milliseconds each. */
export function latencyChart(
  name: string,
  span: Span,
  kinds: readonly (readonly [label: string, values: readonly TimedValue[]])[],
): CurveChart {
  const curves = kinds.map(([label, values]) => {
    const within = values.filter(([atMs]) => atMs >= span.fromMs && atMs < span.toMs)
    return { label, points: within.map(([atMs, value]) => [secondsIn(span, atMs), value] as const) }
  })
  return { title: `${name}: latency over time`, xLabel: 'seconds', yLabel: 'ms', curves }
}

/** Those that came back. */
export function pingValues(pings: readonly Ping[]): readonly TimedValue[] {
  return pings.flatMap(({ sentMs, rttMs }) => (rttMs === null ? [] : [[sentMs, rttMs] as const]))
}

/** The flows, those of several hosts also one by one, and the latency; from when the idle window began. */
export function chartsOf(name: string, record: RunRecord, hosts: readonly number[]): readonly CurveChart[] {
  const span = { fromMs: record.idle.fromMs, toMs: record.tail.toMs }
  const single = record.backgrounds.map((series, at): LabelledSeries => [`host ${hosts[at]}`, series])
  const flows: LabelledSeries[] = [
    ['background', sumOf(record.backgrounds)],
    ['foreground', record.foreground],
    ...(single.length > 1 ? single : []),
  ]
  return [flowsChart(name, span, flows), latencyChart(name, span, [['round trip of a ping', pingValues(record.pings)]])]
}
