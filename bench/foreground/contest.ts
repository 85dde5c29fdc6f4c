/** Contenders on one line, each in turn in every run, beside the same foreground; from that the rows and charts. */
import type { CongestionControl } from '../../test/lab/lab.ts'
import type { BenchLab } from '../bench-lab.ts'
import type { BenchOptions, Row, ScenarioResult } from '../scenario.ts'
import type { BackgroundTool } from './backgrounds.ts'
import { chartsOf } from './charts.ts'
import { figuresOf, type RunRecord } from './figures.ts'
import { LatencyProbe } from './latency-probe.ts'
import { figureColumns, figuresLine } from './rows.ts'
import { sumOf } from './series.ts'
import { isInstalled } from './setting.ts'
import { playRun, type Stage, type Timeline } from './timeline.ts'
import { TrafficMeter } from './traffic.ts'

const ALONE_TIMELINE = { startUpMs: 0, idleMs: 4000, tailMs: 0 }
/** A cubic flow alone at a deep queue falls back about this often; a foreground must not meet it always in the same state. */
const PHASE_MS = 4000
/** Its multiples are spread evenly however few there are. */
const GOLDEN_RATIO = 0.618

export interface Contender {
  readonly name: string
  readonly tool: BackgroundTool
  /** Each has something of its own. */
  readonly hosts: readonly number[]
  readonly foregroundHost: number
  /** Of what the origin sends to the background. */
  readonly congestionControl: CongestionControl
}

export interface ContestOptions extends Pick<BenchOptions, 'runs' | 'say'> {
  readonly contenders: readonly Contender[]
  readonly timeline: Timeline
  readonly lineMbit: number
  /** Those that have no background. */
  readonly aloneHost: number
  readonly probeHost: number
}

/** A run of a contender, and the foreground alone in the same run of the scenario. */
interface Pair {
  readonly record: RunRecord
  readonly alone: RunRecord
}

async function openStage(benchLab: BenchLab, probeHost: number): Promise<Stage> {
  const { lab } = benchLab
  const probe = await LatencyProbe.open(lab, { host: probeHost, echo: 'origin', echoAddress: lab.originAddress })
  return { benchLab, meter: TrafficMeter.open(lab), probe }
}

function figuresOfPair({ record, alone }: Pair, lineMbit: number) {
  return figuresOf(record, { background: sumOf(record.backgrounds), alone, lineMbit })
}

function rowOf(background: string, pairs: readonly Pair[], lineMbit: number): Row {
  return { background, runs: pairs.length, ...figureColumns(pairs.map((one) => figuresOfPair(one, lineMbit))) }
}

export async function holdContest(
  benchLab: BenchLab,
  options: ContestOptions,
): Promise<Pick<ScenarioResult, 'rows' | 'curves'>> {
  const { contenders, timeline, lineMbit, aloneHost, probeHost, runs, say } = options
  const stage = await openStage(benchLab, probeHost)
  const hasForeground = isInstalled('iperf3')
  const all = contenders.map((contender) => ({ contender, pairs: [] as Pair[] }))
  const alones: RunRecord[] = []
  for (let run = 1; run <= runs; run++) {
    const idleMs = timeline.idleMs + ((run * GOLDEN_RATIO) % 1) * PHASE_MS
    const alone = await playRun(stage, {
      background: null,
      congestionControl: 'cubic',
      foregroundHost: hasForeground ? aloneHost : null,
      timeline: { ...timeline, ...ALONE_TIMELINE },
    })
    alones.push(alone)
    const { foregroundMbit } = figuresOfPair({ record: alone, alone }, lineMbit)
    say(`run ${run} of ${runs}: the foreground alone ${foregroundMbit?.toFixed(1) ?? '-'} Mbit/s`)
    for (const { contender, pairs } of all) {
      const { tool, hosts, congestionControl, foregroundHost } = contender
      const record = await playRun(stage, {
        background: { tool, hosts },
        congestionControl,
        foregroundHost: hasForeground ? foregroundHost : null,
        timeline: { ...timeline, idleMs },
      })
      const pair = { record, alone }
      pairs.push(pair)
      say(`${contender.name}: ${figuresLine(figuresOfPair(pair, lineMbit))}`)
    }
  }
  // Of the last run: the median of curves would be nobody's.
  const curves = all.flatMap(({ contender, pairs }) => {
    const last = pairs.at(-1)
    return last ? chartsOf(contender.name, last.record, contender.hosts) : []
  })
  const nobody = rowOf(
    'nobody',
    alones.map((record) => ({ record, alone: record })),
    lineMbit,
  )
  return { rows: [nobody, ...all.map(({ contender, pairs }) => rowOf(contender.name, pairs, lineMbit))], curves }
}
