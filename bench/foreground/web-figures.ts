/** What somebody who browses, then calls, sees beside a background. Pure. */
import type { Row } from '../scenario.ts'
import { type Columns, medianColumns } from './columns.ts'
import { less, quantile } from './figures.ts'
import { type CounterSeries, meanMbit, type Span } from './series.ts'

export interface Visit {
  readonly startedMs: number
  readonly durationMs: number
}

/** Of a call: one that came. */
export interface Packet {
  /** Counts up by one with each that is sent. */
  readonly number: number
  readonly sentMs: number
  readonly delayMs: number
}

export interface WebRecord {
  readonly web: Span
  readonly call: Span
  readonly visits: readonly Visit[]
  readonly packets: readonly Packet[]
  readonly background: CounterSeries
  readonly cpuRatio: number | null
}

export interface WebFigures {
  readonly objects: number
  readonly objectMedianMs: number | null
  readonly objectP95Ms: number | null
  readonly objectMedianToAloneRatio: number | null
  readonly objectP95ToAloneRatio: number | null
  readonly backgroundBesideWebMbit: number
  readonly callLostRatio: number | null
  readonly callAddedMedianMs: number | null
  readonly callAddedP95Ms: number | null
  readonly backgroundBesideCallMbit: number
  readonly cpuRatio: number | null
}

/** Those that began within the span. */
export function visitsOf({ visits, web }: WebRecord): {
  objects: number
  medianMs: number | null
  p95Ms: number | null
} {
  const began = visits.filter(({ startedMs }) => startedMs >= web.fromMs && startedMs < web.toMs)
  const durationsMs = began.map(({ durationMs }) => durationMs)
  return { objects: began.length, medianMs: quantile(durationsMs, 0.5), p95Ms: quantile(durationsMs, 0.95) }
}

/** Of the packets sent within the span; those lost are seen by the gaps that they leave. */
export function callOf({ packets, call }: WebRecord): {
  lostRatio: number | null
  medianMs: number | null
  p95Ms: number | null
} {
  const came = packets.filter(({ sentMs }) => sentMs >= call.fromMs && sentMs < call.toMs)
  const numbers = came.map(({ number }) => number)
  const sent = came.length === 0 ? 0 : Math.max(...numbers) - Math.min(...numbers) + 1
  const delaysMs = came.map(({ delayMs }) => delayMs)
  return {
    lostRatio: sent === 0 ? null : 1 - came.length / sent,
    medianMs: quantile(delaysMs, 0.5),
    p95Ms: quantile(delaysMs, 0.95),
  }
}

function ratio(value: number | null, base: number | null): number | null {
  return value === null || base === null ? null : value / base
}

/** `alone` is the same user without a background in the same run of the scenario. */
export function webFiguresOf(record: WebRecord, alone: WebRecord): WebFigures {
  const [visits, visitsAlone] = [visitsOf(record), visitsOf(alone)]
  const [call, callAlone] = [callOf(record), callOf(alone)]
  return {
    objects: visits.objects,
    objectMedianMs: visits.medianMs,
    objectP95Ms: visits.p95Ms,
    objectMedianToAloneRatio: ratio(visits.medianMs, visitsAlone.medianMs),
    objectP95ToAloneRatio: ratio(visits.p95Ms, visitsAlone.p95Ms),
    backgroundBesideWebMbit: meanMbit(record.background, record.web),
    callLostRatio: call.lostRatio,
    callAddedMedianMs: less(call.medianMs, callAlone.medianMs),
    callAddedP95Ms: less(call.p95Ms, callAlone.p95Ms),
    backgroundBesideCallMbit: meanMbit(record.background, record.call),
    cpuRatio: record.cpuRatio,
  }
}

const COLUMNS: Columns<WebFigures> = [
  ['objects', 0],
  ['objectMedianMs', 0],
  ['objectP95Ms', 0],
  ['objectMedianToAloneRatio', 2],
  ['objectP95ToAloneRatio', 2],
  ['backgroundBesideWebMbit', 1],
  ['callLostRatio', 4],
  ['callAddedMedianMs', 1],
  ['callAddedP95Ms', 1],
  ['backgroundBesideCallMbit', 1],
  ['cpuRatio', 3],
]

/** Medians over the runs. */
export function webColumns(runs: readonly WebFigures[]): Row {
  return medianColumns(runs, COLUMNS)
}
