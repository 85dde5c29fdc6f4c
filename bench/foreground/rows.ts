/** From the figures of runs to rows. Pure. */
import type { Row } from '../scenario.ts'
import { rounded } from '../statistics.ts'
import { type Columns, medianColumns } from './columns.ts'
import type { RunFigures } from './figures.ts'

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
