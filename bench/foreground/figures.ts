/** From what one run saw to its figures. Pure. */
import { median } from '../statistics.ts'
import { bytesIn, type CounterSeries, meanMbit, ratesOf, type Span } from './series.ts'

const STEP_MS = 100
/** What a background keeps this long is its state, and no hole between two segments. */
const SETTLED_MS = 500
const YIELDED_RATIO = 0.1
const RECOVERED_RATIO = 0.8
/** By then a foreground alone is past its slow start. */
const SLOW_START_MS = 2000

/** The value that a share of the others does not exceed (nearest rank); null without values. */
export function quantile(values: readonly number[], share: number): number | null {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? null
}

/** A run without the figure, such as one that never yielded, counts as worse than all others. */
export function medianWithNever(values: readonly (number | null)[]): number | null {
  if (values.length === 0) return null
  const found = median(values.map((one) => one ?? Number.POSITIVE_INFINITY))
  return Number.isFinite(found) ? found : null
}

/** 1: all alike; 1/n: one has everything. Null when nobody has anything. */
export function jainIndex(shares: readonly number[]): number | null {
  const sum = shares.reduce((total, one) => total + one, 0)
  const squares = shares.reduce((total, one) => total + one * one, 0)
  return squares === 0 ? null : (sum * sum) / (shares.length * squares)
}

/**
 * From the start of the span until the background begins to stay below a tenth of the line: for half a second, and in the
 * mean of all that follows, or the pauses of who downloads in bursts would count. Null: never.
 */
export function yieldMs(background: CounterSeries, span: Span, lineMbit: number): number | null {
  const isLow = (part: Span) => meanMbit(background, part) < YIELDED_RATIO * lineMbit
  const isLowStep = ratesOf(background, span, STEP_MS).map(({ atMs }) => isLow({ fromMs: atMs - STEP_MS, toMs: atMs }))
  const needed = SETTLED_MS / STEP_MS
  const at = isLowStep.findIndex((_, from) => {
    const stretch = isLowStep.slice(from, from + needed)
    const rest = { fromMs: span.fromMs + from * STEP_MS, toMs: span.toMs }
    return stretch.length === needed && stretch.every(Boolean) && isLow(rest)
  })
  return at === -1 ? null : at * STEP_MS
}

/** From the start of the span until the background begins to have more than 0.8 of the line; null: never. */
export function recoveryMs(background: CounterSeries, { fromMs, toMs }: Span, lineMbit: number): number | null {
  for (let at = fromMs; at + SETTLED_MS <= toMs; at += STEP_MS) {
    if (meanMbit(background, { fromMs: at, toMs: at + SETTLED_MS }) > RECOVERED_RATIO * lineMbit) return at - fromMs
  }
  return null
}

export interface Ping {
  readonly sentMs: number
  /** Null: lost. */
  readonly rttMs: number | null
}

export interface Latency {
  readonly medianMs: number | null
  readonly p95Ms: number | null
  readonly lostRatio: number | null
}

/** Of the pings sent within the span. */
export function latencyOf(pings: readonly Ping[], { fromMs, toMs }: Span): Latency {
  const sent = pings.filter(({ sentMs }) => sentMs >= fromMs && sentMs < toMs)
  const rttsMs = sent.flatMap(({ rttMs }) => (rttMs === null ? [] : [rttMs]))
  return {
    medianMs: quantile(rttsMs, 0.5),
    p95Ms: quantile(rttsMs, 0.95),
    lostRatio: sent.length === 0 ? null : 1 - rttsMs.length / sent.length,
  }
}

/** All times of the machine's clock. */
export interface RunRecord {
  /** The background has started up and is alone; ends when the foreground starts. */
  readonly idle: Span
  /** Of the foreground; null when there was none. */
  readonly busy: Span | null
  /** The background is alone again. */
  readonly tail: Span
  /** On the wire, of each host that has a background. */
  readonly backgrounds: readonly CounterSeries[]
  readonly foreground: CounterSeries
  readonly pings: readonly Ping[]
  /** Of a core, since the background's start, of all its processes; null when there are none. */
  readonly cpuRatio: number | null
}

export interface RunFigures {
  readonly idleUseRatio: number
  /** Of what the hosts had in the idle window. */
  readonly fairness: number | null
  readonly idleAddedMedianMs: number | null
  readonly idleAddedP95Ms: number | null
  readonly idleLostRatio: number | null
  readonly foregroundMbit: number | null
  readonly keptRatio: number | null
  readonly keptAfter2sRatio: number | null
  readonly backgroundLeftMbit: number | null
  readonly yieldMs: number | null
  readonly recoveryMs: number | null
  readonly cpuRatio: number | null
}

export function less(value: number | null, base: number | null): number | null {
  return value === null || base === null ? null : value - base
}

/** Without the slow start. */
export function lateSpan({ fromMs, toMs }: Span): Span {
  return { fromMs: fromMs + SLOW_START_MS, toMs }
}

/** Of the user. */
export interface Flow {
  readonly busy: Span
  readonly series: CounterSeries
}

/** What the flow got, to what it got alone; both of the same length. */
export function keptRatio(flow: Flow, alone: Flow): number {
  return bytesIn(flow.series, flow.busy) / bytesIn(alone.series, alone.busy)
}

function kept(record: RunRecord, alone: RunRecord, part: (busy: Span) => Span): number | null {
  if (record.busy === null || alone.busy === null) return null
  const flow = (busy: Span, { foreground }: RunRecord): Flow => ({ busy: part(busy), series: foreground })
  return keptRatio(flow(record.busy, record), flow(alone.busy, alone))
}

/** `alone` is the foreground without a background in the same run of the scenario, and `background` the sum of all. */
export function figuresOf(
  record: RunRecord,
  { background, alone, lineMbit }: { background: CounterSeries; alone: RunRecord; lineMbit: number },
): RunFigures {
  const { idle, busy, tail } = record
  const [latency, empty] = [latencyOf(record.pings, idle), latencyOf(alone.pings, alone.idle)]
  return {
    idleUseRatio: meanMbit(background, idle) / lineMbit,
    fairness: jainIndex(record.backgrounds.map((one) => bytesIn(one, idle))),
    idleAddedMedianMs: less(latency.medianMs, empty.medianMs),
    idleAddedP95Ms: less(latency.p95Ms, empty.p95Ms),
    idleLostRatio: latency.lostRatio,
    foregroundMbit: busy === null ? null : meanMbit(record.foreground, busy),
    keptRatio: kept(record, alone, (span) => span),
    keptAfter2sRatio: kept(record, alone, lateSpan),
    backgroundLeftMbit: busy === null ? null : meanMbit(background, lateSpan(busy)),
    yieldMs: busy === null || record.backgrounds.length === 0 ? null : yieldMs(background, busy, lineMbit),
    recoveryMs: busy === null ? null : recoveryMs(background, tail, lineMbit),
    cpuRatio: record.cpuRatio,
  }
}
