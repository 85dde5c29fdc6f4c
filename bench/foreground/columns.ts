/** From the figures of runs to the columns of a row. Pure. */
import type { Row } from '../scenario.ts'
import { rounded } from '../statistics.ts'
import { medianWithNever } from './figures.ts'

/** In the order of the table, each with the digits that are worth showing. */
export type Columns<Figures> = readonly (readonly [name: keyof Figures & string, digits: number])[]

/** Medians over the runs. */
export function medianColumns<Figures extends { readonly [Name in keyof Figures]: number | null }>(
  runs: readonly Figures[],
  columns: Columns<Figures>,
): Row {
  const middle = columns.map(([name, digits]) => {
    const value = medianWithNever(runs.map((one): number | null => one[name]))
    return [name, value === null ? null : rounded(value, digits)] as const
  })
  return Object.fromEntries(middle)
}
