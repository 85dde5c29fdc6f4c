/** What a scenario is: it measures, and returns rows and remarks; printing and saving are main.ts's and report.ts's. */

export interface BenchOptions {
  /** Measurements of each contender. */
  readonly runs: number
  /** Of the content; null: the scenario's own. */
  readonly sizeBytes: number | null
  /** Tells a person what is going on; goes to stderr. */
  readonly say: (line: string) => void
}

/** Units are in the names of the columns. */
export type Row = Readonly<Record<string, string | number | null>>

export interface ScenarioResult {
  readonly rows: readonly Row[]
  /** What a reader must know: tools that are absent, settings of the lab. */
  readonly remarks: readonly string[]
}

export interface Scenario {
  readonly name: string
  readonly title: string
  readonly defaultRuns: number
  readonly run: (options: BenchOptions) => Promise<ScenarioResult>
}

export const MIB = 1024 * 1024
