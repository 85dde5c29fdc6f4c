/** What a scenario is: it measures, and returns rows and remarks; printing, drawing and saving are main.ts's and others'. */

export interface BenchOptions {
  /** Measurements of each contender. */
  readonly runs: number
  /** Of the content; null: the scenario's own. */
  readonly sizeBytes: number | null
  /** That download, where a scenario has many; null: the scenario's own. */
  readonly hosts: number | null
  /** Of the WAN towards the branch, where a scenario is about the WAN; null: the scenario's own. */
  readonly wanMbit: number | null
  /** What the origin gives to each connection; null: the scenario's own. */
  readonly originMbit: number | null
  /** Depth of the WAN's queue at its rate, and its round trip when empty; null: the scenario's own. */
  readonly fifoMs: number | null
  readonly rttMs: number | null
  /** Only the contenders whose name holds this text, where a scenario can leave some out; null: all. */
  readonly only: string | null
  /** Tells a person what is going on; goes to stderr. */
  readonly say: (line: string) => void
}

/** Units are in the names of the columns. */
export type Row = Readonly<Record<string, string | number | null>>

/** Bars of one column, one for each row that has it. */
export interface BarSpec {
  readonly title: string
  readonly column: string
  /** Columns whose values name the bar. */
  readonly labels: readonly string[]
  /** Rows with the same values here are compared with their first; absent: all with the first of all. */
  readonly groups?: readonly string[]
}

export interface Curve {
  readonly label: string
  readonly points: readonly (readonly [x: number, y: number])[]
}

export interface CurveChart {
  readonly title: string
  readonly xLabel: string
  readonly yLabel: string
  readonly curves: readonly Curve[]
}

export interface ScenarioResult {
  readonly rows: readonly Row[]
  /** What a reader must know: tools that are absent, settings of the lab. */
  readonly remarks: readonly string[]
  /** For the HTML report only. */
  readonly curves?: readonly CurveChart[]
}

export interface Scenario {
  readonly name: string
  readonly title: string
  readonly defaultRuns: number
  /** What the HTML report draws of the rows. */
  readonly bars: readonly BarSpec[]
  readonly run: (options: BenchOptions) => Promise<ScenarioResult>
}

export const MIB = 1024 * 1024
