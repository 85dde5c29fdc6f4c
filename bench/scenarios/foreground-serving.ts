/**
 * Does a machine that serves its neighbours hurt its own user? Two neighbours take a file from it; its user uploads to a
 * third one for 10 s, and later downloads from there for 10 s. All have LAN links of 100 Mbit/s: where the link is faster
 * than the processors here, nobody would compete for it.
 */
import { systemClock } from '../../src/clock.ts'
import { type BenchLab, withLab } from '../bench-lab.ts'
import { besideBackground } from '../foreground/beside-background.ts'
import { flowsChart, latencyChart, pingValues } from '../foreground/charts.ts'
import type { Flow } from '../foreground/figures.ts'
import { startForeground } from '../foreground/foreground-flow.ts'
import { LatencyProbe } from '../foreground/latency-probe.ts'
import { machineMs, sleepUntil } from '../foreground/machine-clock.ts'
import type { Span } from '../foreground/series.ts'
import {
  type ServingFigures,
  type ServingRecord,
  servingColumns,
  servingFiguresOf,
} from '../foreground/serving-figures.ts'
import { nginxServing, raiseSeeder, type ServingTool, shorthaulServing } from '../foreground/serving-tools.ts'
import { isChosen, isInstalled, versionsOf } from '../foreground/setting.ts'
import type { Stage } from '../foreground/timeline.ts'
import { TrafficMeter } from '../foreground/traffic.ts'
import { type BenchOptions, type CurveChart, MIB, type Row, type Scenario, type ScenarioResult } from '../scenario.ts'

const SERVING_HOST = 1
const NEIGHBOURS = [2, 3]
/** The other end of what the user does, and nothing else. */
const USER_PEER = 4
const LAN_MBIT = 100
/** Faster than the LAN, so that what limits is there also for a neighbour that turns to the origin. */
const WAN_MBIT = 200
/** More than both links of the neighbours carry in a run. */
const CONTENT_BYTES = 768 * MIB
const PHASES = { startUpMs: 6000, idleMs: 4000, busyMs: 10_000, restMs: 5000 }
const ALONE_PHASES = { startUpMs: 0, idleMs: 4000, busyMs: 10_000, restMs: 1000 }

async function userFlow({ lab }: BenchLab, direction: 'up' | 'down', lengthMs: number): Promise<Span> {
  const serverAddress = lab.hostAddress(USER_PEER)
  const ends = { host: SERVING_HOST, server: USER_PEER, serverAddress }
  const flow = await startForeground(lab, { ...ends, direction, congestionControl: 'cubic' })
  try {
    const busy = { fromMs: flow.startedMs, toMs: flow.startedMs + lengthMs }
    await sleepUntil(busy.toMs)
    return busy
  } finally {
    await flow.stop()
  }
}

async function playServing({ benchLab, meter, probe }: Stage, tool: ServingTool | null): Promise<ServingRecord> {
  const phases = tool === null ? ALONE_PHASES : PHASES
  const { value, startedMs, traffic, cpuRatio } = await besideBackground(
    meter,
    tool?.prepare ?? null,
    async (beside) => {
      const fromMs = beside.startedMs + phases.startUpMs
      await sleepUntil(fromMs + phases.idleMs)
      beside.expectRunning()
      const idle = { fromMs, toMs: machineMs() }
      const up = await userFlow(benchLab, 'up', phases.busyMs)
      await systemClock.sleep(phases.restMs)
      const down = await userFlow(benchLab, 'down', phases.busyMs)
      return { idle, up, down }
    },
  )
  const flow = (busy: Span, series: Flow['series'] | undefined): Flow => ({ busy, series: series ?? [] })
  return {
    idle: value.idle,
    up: flow(value.up, traffic.toHost.get(USER_PEER)),
    down: flow(value.down, traffic.fromHost.get(USER_PEER)),
    sent: traffic.fromHost.get(SERVING_HOST) ?? [],
    pings: await probe.since(startedMs),
    cpuRatio,
  }
}

async function toolsOf(benchLab: BenchLab, only: string | null): Promise<readonly ServingTool[]> {
  const { lab, newUrl } = benchLab
  const url = newUrl(CONTENT_BYTES)
  const content = { seeder: await raiseSeeder(benchLab, { host: SERVING_HOST, url }), url, neighbours: NEIGHBOURS }
  for (let host = 1; host <= USER_PEER; host++) await lab.setLanRate(host, LAN_MBIT)
  const nginx = isInstalled('nginx') ? [await nginxServing(benchLab, content)] : []
  return [...nginx, shorthaulServing(benchLab, content)].filter(({ name }) => isChosen(name, only))
}

function chartsOfServing(name: string, record: ServingRecord): readonly CurveChart[] {
  const span = { fromMs: record.idle.fromMs, toMs: record.down.busy.toMs }
  const { sent, up, down, pings } = record
  return [
    flowsChart(name, span, [
      ['sent by the machine', sent],
      ['upload', up.series],
      ['download', down.series],
    ]),
    latencyChart(name, span, [['round trip of a ping', pingValues(pings)]]),
  ]
}

type Found = Pick<ScenarioResult, 'rows' | 'curves'>

async function measure(benchLab: BenchLab, { runs, say, only }: BenchOptions): Promise<Found> {
  const { lab } = benchLab
  const tools = await toolsOf(benchLab, only)
  const route = { host: SERVING_HOST, echo: USER_PEER, echoAddress: lab.hostAddress(USER_PEER) }
  const stage = { benchLab, meter: TrafficMeter.open(lab), probe: await LatencyProbe.open(lab, route) }
  const all = [null, ...tools].map((tool) => ({ tool, name: tool?.name ?? 'nobody', figures: [] as ServingFigures[] }))
  const curves: CurveChart[] = []
  for (let run = 1; run <= runs; run++) {
    let alone: ServingRecord | undefined
    for (const { tool, name, figures } of all) {
      const record = await playServing(stage, tool)
      alone ??= record
      const found = servingFiguresOf(record, alone)
      figures.push(found)
      if (run === runs && tool !== null) curves.push(...chartsOfServing(name, record))
      const { idleServedMbit, idleAddedMedianMs, uploadKeptRatio, downloadKeptRatio } = servingColumns([found])
      const kept = `upload kept ${uploadKeptRatio}, download kept ${downloadKeptRatio}`
      say(`run ${run} of ${runs}: ${name}: serves ${idleServedMbit} Mbit/s, +${idleAddedMedianMs} ms; ${kept}`)
    }
  }
  const rowOf = ({ name, figures }: (typeof all)[number]): Row => {
    return { serving: name, runs: figures.length, ...servingColumns(figures) }
  }
  return { rows: all.map(rowOf), curves }
}

async function run(options: BenchOptions): Promise<ScenarioResult> {
  const remarks = [
    ...versionsOf(['curl', 'nginx', 'iperf3']),
    `LAN links ${LAN_MBIT} Mbit/s, both directions; rates are on the wire`,
    `two neighbours take ${CONTENT_BYTES} bytes, which nobody has whole at the end; those of shorthaul help each other`,
    'latency: 20 datagrams a second from the serving machine to an idle neighbour, added to that of the idle link',
    'cpuRatio: of a core, the process that serves, from the start of the neighbours',
  ]
  if (!isInstalled('iperf3')) return { rows: [], remarks }
  const hosts = { hosts: USER_PEER, downMbit: WAN_MBIT, upMbit: WAN_MBIT }
  return { ...(await withLab(hosts, (benchLab) => measure(benchLab, options))), remarks }
}

const LABELS = ['serving']

export const foregroundServing: Scenario = {
  name: 'foreground-serving',
  title: 'the user of a machine that serves its neighbours',
  defaultRuns: 3,
  bars: [
    { title: 'What an upload keeps, of what it has alone', column: 'uploadKeptRatio', labels: LABELS },
    { title: 'What a download keeps', column: 'downloadKeptRatio', labels: LABELS },
    {
      title: 'Latency added for the user while only neighbours are served',
      column: 'idleAddedMedianMs',
      labels: LABELS,
    },
  ],
  run,
}
