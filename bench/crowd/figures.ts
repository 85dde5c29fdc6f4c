/** From the records of rounds to the figures of a row. Pure. */
import type { Curve, Row } from '../scenario.ts'
import { median, rounded } from '../statistics.ts'

/** Milliseconds since the round began. */
export interface HostTimes {
  readonly host: number
  readonly startedMs: number
  readonly endedMs: number
}

export interface RoundRecord {
  readonly bytes: number
  /** By the origin's own log. */
  readonly contentBytes: number
  /** Headers and retransmission included. */
  readonly wanBytes: number
  /** Those that have the file, without the one that was disturbed. */
  readonly ended: readonly HostTimes[]
  /** The host that was disturbed, if it has the file. */
  readonly excluded: HostTimes | null
  readonly expectedTargets: number
  /** With the right SHA-256. */
  readonly rightTargets: number
  /** Null: nobody counts them. */
  readonly wastedBytes: number | null
  readonly failures: readonly string[]
  readonly curves: readonly Curve[]
}

/** From the start of the round to the end of its last host; null when no host has the file. */
export function lastMs(record: RoundRecord): number | null {
  return record.ended.length === 0 ? null : Math.max(...record.ended.map((one) => one.endedMs))
}

function medianOrNull(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null)
  return known.length === 0 ? null : median(known)
}

function roundedOrNull(value: number | null, digits = 0): number | null {
  return value === null ? null : rounded(value, digits)
}

/** The median of the rounds' last hosts. */
export function medianLastMs(records: readonly RoundRecord[]): number | null {
  return medianOrNull(records.map(lastMs))
}

export interface RowOptions {
  readonly contender: string
  readonly condition: string
  readonly hosts: number
  /** What the WAN needs for one copy at the goodput of one curl alone. */
  readonly idealMs: number
  /** The same contender's last host without the disturbance; null: not disturbed. */
  readonly undisturbedLastMs: number | null
}

export function crowdRow(records: readonly RoundRecord[], options: RowOptions): Row {
  const { contender, condition, hosts, idealMs, undisturbedLastMs } = options
  const durationsMs = (record: RoundRecord) => record.ended.map((one) => one.endedMs - one.startedMs)
  const middle = (figure: (record: RoundRecord) => number | null) => medianOrNull(records.map(figure))
  const copies = (record: RoundRecord) => record.contentBytes / record.bytes
  const last = middle(lastMs)
  const sum = (figure: (record: RoundRecord) => number) => records.reduce((total, one) => total + figure(one), 0)
  return {
    contender,
    condition,
    hosts,
    bytes: records[0]?.bytes ?? null,
    runs: records.length,
    copies: roundedOrNull(middle(copies), 2),
    worstCopies: rounded(Math.max(...records.map(copies)), 2),
    wanCopies: roundedOrNull(
      middle((one) => one.wanBytes / one.bytes),
      2,
    ),
    medianMs: roundedOrNull(middle((one) => medianOrNull(durationsMs(one)))),
    lastMs: roundedOrNull(last),
    lastToIdealRatio: roundedOrNull(last === null ? null : last / idealMs, 2),
    slowestToMedianRatio: roundedOrNull(middle(slowestToMedian), 2),
    wastedBytes: roundedOrNull(middle((one) => one.wastedBytes)),
    rightTargets: `${sum((one) => one.rightTargets)} of ${sum((one) => one.expectedTargets)}`,
    disturbedHostMs: roundedOrNull(middle((one) => one.excluded?.endedMs ?? null)),
    othersDelayRatio: roundedOrNull(last === null || undisturbedLastMs === null ? null : last / undisturbedLastMs, 2),
  }
}

/** Of the hosts' own durations, which do not count that some started later. */
function slowestToMedian({ ended }: RoundRecord): number | null {
  const durationsMs = ended.map((one) => one.endedMs - one.startedMs)
  return durationsMs.length === 0 ? null : Math.max(...durationsMs) / median(durationsMs)
}
