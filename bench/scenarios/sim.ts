/**
 * The crowd in virtual time (bench/sim): the product's own policies with hundreds to thousands of agents, which no lab of
 * ours holds. One seed for each run; the same seed gives the same figures.
 */
import { systemClock } from '../../src/clock.ts'
import { SEGMENT_BYTES } from '../../src/content/segmentation.ts'
import { type BenchOptions, MIB, type Row, type Scenario, type ScenarioResult } from '../scenario.ts'
import { type SimResult, type SimScenario, World } from '../sim/world.ts'
import { median, rounded } from '../statistics.ts'

interface Case {
  readonly agents: number
  readonly bytes: number
  readonly wanMbit: number
  /** Some die, some have a tenth of the others' link. */
  readonly isAdverse: boolean
}

const LAN_MBIT = 1000
const WAN_RTT_MS = 20
const CONNECTIONS = 64
const ADVERSE = { dyingRatio: 0.05, slowRatio: 0.1 }
const STAGGER_MS = 100

/** The crowd of the lab, to compare with. */
const LAB: Case = { agents: 8, bytes: 64 * MIB, wanMbit: 50, isAdverse: false }

/** Some ten minutes' worth when nothing is said; what takes longer is asked for by --hosts, --size and --wan. */
function casesOf({ hosts, wanMbit, sizeBytes }: BenchOptions): readonly Case[] {
  const bytes = sizeBytes ?? 1024 * MIB
  const wanMbits = wanMbit === null ? [100, 1000] : [wanMbit]
  if (hosts !== null) return bothWays(hosts, { bytes, wanMbits })
  const many = { bytes: sizeBytes ?? 128 * MIB, wanMbits: [wanMbit ?? 100] }
  return [LAB, ...bothWays(200, { bytes, wanMbits }), ...bothWays(1000, many)]
}

function bothWays(agents: number, options: { bytes: number; wanMbits: readonly number[] }): Case[] {
  const { bytes, wanMbits } = options
  return wanMbits.flatMap((wanMbit) => [false, true].map((isAdverse) => ({ agents, bytes, wanMbit, isAdverse })))
}

function scenarioOf(one: Case, options: { originMbit: number | null; seed: number }): SimScenario {
  return {
    agentCount: one.agents,
    segmentCount: Math.ceil(one.bytes / SEGMENT_BYTES),
    wanMbit: one.wanMbit,
    wanRttMs: WAN_RTT_MS,
    lanMbit: LAN_MBIT,
    connections: CONNECTIONS,
    connectionMbit: options.originMbit ?? Number.POSITIVE_INFINITY,
    originConnections: 4,
    staggerMs: STAGGER_MS,
    dyingRatio: one.isAdverse ? ADVERSE.dyingRatio : 0,
    slowRatio: one.isAdverse ? ADVERSE.slowRatio : 0,
    seed: options.seed,
  }
}

function rowOf(one: Case, results: readonly SimResult[], tookMs: number): Row {
  const middle = (of: (result: SimResult) => number) => median(results.map(of))
  return {
    case: one.isAdverse ? '5 % die, 10 % slow' : 'all alike',
    agents: one.agents,
    bytes: one.bytes,
    wanMbit: one.wanMbit,
    runs: results.length,
    copies: rounded(
      middle(({ copies }) => copies),
      3,
    ),
    worstCopies: rounded(Math.max(...results.map(({ copies }) => copies)), 3),
    idealMs: rounded(middle(({ idealMs }) => idealMs)),
    p50ToIdealRatio: rounded(
      middle(({ p50Ratio }) => p50Ratio),
      2,
    ),
    // Slow hosts have an ideal of their own: ten times the LAN's.
    p99FastToIdealRatio: rounded(
      middle(({ p99FastRatio }) => p99FastRatio),
      2,
    ),
    lastToIdealRatio: rounded(
      middle(({ maxRatio }) => maxRatio),
      2,
    ),
    doneRatio: rounded(
      middle(({ doneCount, liveCount }) => doneCount / liveCount),
      3,
    ),
    fetchers: middle(({ fetcherCount }) => fetcherCount),
    messagesPerAgent: rounded(middle(({ messagesPerAgent }) => messagesPerAgent)),
    controlKiBPerAgent: rounded(middle(({ controlBytesPerAgent }) => controlBytesPerAgent / 1024)),
    tookSec: rounded(tookMs / 1000, 1),
  }
}

async function run(options: BenchOptions): Promise<ScenarioResult> {
  const rows: Row[] = []
  for (const one of casesOf(options)) {
    const startedMs = systemClock.monotonicMs()
    const results: SimResult[] = []
    for (let seed = 1; seed <= options.runs; seed++) {
      results.push(new World(scenarioOf(one, { originMbit: options.originMbit, seed })).run())
    }
    const row = rowOf(one, results, systemClock.monotonicMs() - startedMs)
    options.say(JSON.stringify(row))
    rows.push(row)
  }
  const remarks = [
    `LAN ${LAN_MBIT} Mbit/s for each agent, at most ${CONNECTIONS} connections each, WAN round trip ${WAN_RTT_MS} ms, starts within ${STAGGER_MS} ms`,
    'bandwidth is a fluid: no packets, slow start or loss; CPU, disk and identification cost nothing; ideal = max(size / WAN, size / LAN)',
  ]
  return { rows, remarks }
}

export const sim: Scenario = {
  name: 'sim',
  title: 'the crowd in virtual time, up to thousands of agents',
  defaultRuns: 1,
  bars: [
    {
      title: 'Last agent, in ideal times',
      column: 'lastToIdealRatio',
      labels: ['agents', 'wanMbit', 'case'],
      groups: ['agents', 'wanMbit'],
    },
    {
      title: 'Copies over the WAN',
      column: 'copies',
      labels: ['agents', 'wanMbit', 'case'],
      groups: ['agents', 'wanMbit'],
    },
  ],
  run,
}
