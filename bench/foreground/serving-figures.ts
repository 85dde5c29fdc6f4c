/** What the user of a machine that serves its neighbours notices of it. Pure. */
import type { Row } from '../scenario.ts'
import { type Columns, medianColumns } from './columns.ts'
import { type Flow, keptRatio, latencyOf, lateSpan, less, type Ping } from './figures.ts'
import { type CounterSeries, meanMbit, type Span } from './series.ts'

export interface ServingRecord {
  /** Only the neighbours are served. */
  readonly idle: Span
  /** Of the user, to and from a neighbour that does nothing else. */
  readonly up: Flow
  readonly down: Flow
  /** All that leaves the machine, on the wire. */
  readonly sent: CounterSeries
  readonly pings: readonly Ping[]
  readonly cpuRatio: number | null
}

export interface ServingFigures {
  readonly idleServedMbit: number
  readonly idleAddedMedianMs: number | null
  readonly idleAddedP95Ms: number | null
  readonly uploadMbit: number
  readonly uploadKeptRatio: number
  readonly uploadKeptAfter2sRatio: number
  readonly servedBesideUploadMbit: number
  readonly downloadMbit: number
  readonly downloadKeptRatio: number
  readonly downloadKeptAfter2sRatio: number
  readonly servedBesideDownloadMbit: number
  readonly cpuRatio: number | null
}

/** `alone` is the same user without neighbours in the same run of the scenario. */
export function servingFiguresOf(record: ServingRecord, alone: ServingRecord): ServingFigures {
  const { idle, up, down, sent } = record
  const [latency, empty] = [latencyOf(record.pings, idle), latencyOf(alone.pings, alone.idle)]
  const late = (flow: Flow) => ({ ...flow, busy: lateSpan(flow.busy) })
  const [lateUp, lateDown] = [late(up), late(down)]
  return {
    idleServedMbit: meanMbit(sent, idle),
    idleAddedMedianMs: less(latency.medianMs, empty.medianMs),
    idleAddedP95Ms: less(latency.p95Ms, empty.p95Ms),
    uploadMbit: meanMbit(up.series, up.busy),
    uploadKeptRatio: keptRatio(up, alone.up),
    uploadKeptAfter2sRatio: keptRatio(lateUp, late(alone.up)),
    servedBesideUploadMbit: meanMbit(sent, lateUp.busy) - meanMbit(up.series, lateUp.busy),
    downloadMbit: meanMbit(down.series, down.busy),
    downloadKeptRatio: keptRatio(down, alone.down),
    downloadKeptAfter2sRatio: keptRatio(lateDown, late(alone.down)),
    servedBesideDownloadMbit: meanMbit(sent, lateDown.busy),
    cpuRatio: record.cpuRatio,
  }
}

const COLUMNS: Columns<ServingFigures> = [
  ['idleServedMbit', 1],
  ['idleAddedMedianMs', 2],
  ['idleAddedP95Ms', 2],
  ['uploadMbit', 1],
  ['uploadKeptRatio', 3],
  ['uploadKeptAfter2sRatio', 3],
  ['servedBesideUploadMbit', 1],
  ['downloadMbit', 1],
  ['downloadKeptRatio', 3],
  ['downloadKeptAfter2sRatio', 3],
  ['servedBesideDownloadMbit', 1],
  ['cpuRatio', 3],
]

/** Medians over the runs. */
export function servingColumns(runs: readonly ServingFigures[]): Row {
  return medianColumns(runs, COLUMNS)
}
