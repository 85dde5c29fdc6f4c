/** Which bars a chart has, from the rows of a scenario. Pure. */
import type { BarSpec, Row } from '../scenario.ts'

export interface Bar {
  readonly label: string
  readonly value: number
  /** To the first bar of its group; null for that one, and where that is 0. */
  readonly ratio: number | null
}

/** Rows whose column holds no number have no bar. */
export function barsOf(rows: readonly Row[], spec: BarSpec): readonly Bar[] {
  const firstOfGroup = new Map<string, number>()
  return rows.flatMap((row) => {
    const value = row[spec.column]
    if (typeof value !== 'number') return []
    const texts = (columns: readonly string[]) => columns.map((column) => String(row[column] ?? '')).filter(Boolean)
    const label = texts(spec.labels).join(', ')
    const group = JSON.stringify(texts(spec.groups ?? []))
    const first = firstOfGroup.get(group)
    if (first === undefined) firstOfGroup.set(group, value)
    return [{ label, value, ratio: first === undefined || first === 0 ? null : value / first }]
  })
}
