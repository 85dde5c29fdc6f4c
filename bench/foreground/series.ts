/** A counter of bytes over time: what was sampled, and the rates that follow from it. Pure. */

export interface CounterPoint {
  readonly atMs: number
  /** So far; never less than before. */
  readonly bytes: number
}

/** In order of time. */
export type CounterSeries = readonly CounterPoint[]

export interface Span {
  readonly fromMs: number
  readonly toMs: number
}

export interface RatePoint {
  /** The end of what it is the mean of. */
  readonly atMs: number
  readonly mbit: number
}

/** Between samples in proportion; before the first and after the last nothing moves. 0 without samples. */
export function bytesAt(series: CounterSeries, atMs: number): number {
  const at = series.findIndex((point) => point.atMs >= atMs)
  const after = series[at]
  if (after === undefined) return series.at(-1)?.bytes ?? 0
  const before = series[at - 1]
  if (before === undefined) return after.bytes
  const passed = (atMs - before.atMs) / (after.atMs - before.atMs)
  return before.bytes + passed * (after.bytes - before.bytes)
}

export function bytesIn(series: CounterSeries, { fromMs, toMs }: Span): number {
  return bytesAt(series, toMs) - bytesAt(series, fromMs)
}

export function meanMbit(series: CounterSeries, span: Span): number {
  return (bytesIn(series, span) * 8) / 1000 / (span.toMs - span.fromMs)
}

/** Means of every whole step within the span. */
export function ratesOf(series: CounterSeries, { fromMs, toMs }: Span, stepMs: number): readonly RatePoint[] {
  const steps = Math.max(0, Math.floor((toMs - fromMs) / stepMs + 1e-9))
  return Array.from({ length: steps }, (_, at) => {
    const endMs = fromMs + (at + 1) * stepMs
    return { atMs: endMs, mbit: meanMbit(series, { fromMs: endMs - stepMs, toMs: endMs }) }
  })
}

export function sumOf(all: readonly CounterSeries[]): CounterSeries {
  const [first = [], ...others] = all
  return first.map(({ atMs, bytes }) => ({
    atMs,
    bytes: others.reduce((sum, one) => sum + bytesAt(one, atMs), bytes),
  }))
}

/** `whole` without `part`, both sampled at the same moments. */
export function difference(whole: CounterSeries, part: CounterSeries): CounterSeries {
  return whole.map(({ atMs, bytes }) => ({ atMs, bytes: bytes - bytesAt(part, atMs) }))
}
