/**
 * A download in the background, and somebody who browses and then calls: short flows, of which each meets the background
 * anew, and a thin one that nobody can see by its rate.
 *
 * The background is alone for 10 s; an object of 500 KB is fetched each half second for 30 s, each over a new
 * connection; 5 s of rest; a one-way call of 50 datagrams of 160 bytes a second for 20 s.
 */
import { systemClock } from '../../src/clock.ts'
import type { LabProcess } from '../../test/lab/lab-process.ts'
import { type BenchLab, withLab } from '../bench-lab.ts'
import { type BackgroundTool, curlTool, shorthaulTool } from '../foreground/backgrounds.ts'
import { besideBackground } from '../foreground/beside-background.ts'
import { flowsChart, latencyChart } from '../foreground/charts.ts'
import { machineMs } from '../foreground/machine-clock.ts'
import type { Span } from '../foreground/series.ts'
import { isChosen, versionsOf, wanSettingOf } from '../foreground/setting.ts'
import { spawnMain } from '../foreground/spawn-main.ts'
import { TrafficMeter } from '../foreground/traffic.ts'
import {
  type Packet,
  type Visit,
  type WebFigures,
  type WebRecord,
  webColumns,
  webFiguresOf,
} from '../foreground/web-figures.ts'
import type { BenchOptions, CurveChart, Scenario, ScenarioResult } from '../scenario.ts'

const [BACKGROUND_HOST, USER_HOST] = [1, 2] as const
const OBJECT_BYTES = 500_000
const OBJECT_INTERVAL_MS = 500
const CALL_PORT = 4000
/** Objects that have begun end, and datagrams come, behind the deepest queue that is measured here. */
const SETTLE_MS = 1000
const PHASES = { startUpMs: 10_000, webMs: 30_000, restMs: 5000, callMs: 20_000 }
const ALONE_PHASES = { startUpMs: 0, webMs: 30_000, restMs: 0, callMs: 10_000 }

/** Lets the processes do what they do for so long, of which the last one has told that it began. */
async function phase(processes: readonly LabProcess[], lengthMs: number): Promise<Span> {
  const fromMs = machineMs()
  try {
    await systemClock.sleep(lengthMs)
    const toMs = machineMs()
    await systemClock.sleep(SETTLE_MS)
    const one = processes.find(({ ended }) => ended !== undefined)
    if (one) throw new Error(`The user's program has ended: ${one.stderr.slice(-2000)}`)
    return { fromMs, toMs }
  } finally {
    await Promise.all(processes.map((one) => one.kill('SIGKILL')))
  }
}

async function playWeb(
  { lab, newUrl }: BenchLab,
  options: { meter: TrafficMeter; tool: BackgroundTool | null },
): Promise<WebRecord> {
  const { meter, tool } = options
  const phases = tool === null ? ALONE_PHASES : PHASES
  const objectUrl = newUrl(OBJECT_BYTES)
  const prepare = tool && (() => tool.prepare([BACKGROUND_HOST]))
  const { value, traffic, cpuRatio } = await besideBackground(meter, prepare, async (beside) => {
    await systemClock.sleep(phases.startUpMs)
    beside.expectRunning()
    const visitor = await spawnMain(lab, 'visitor-main.ts', {
      host: USER_HOST,
      args: [objectUrl, OBJECT_INTERVAL_MS],
    })
    const web = await phase([visitor], phases.webMs)
    await systemClock.sleep(phases.restMs)
    const address = lab.hostAddress(USER_HOST)
    const call = (host: 'origin' | number, role: string) =>
      spawnMain(lab, 'call-main.ts', { host, args: [role, address, CALL_PORT] })
    const receiver = await call(USER_HOST, 'receive')
    const span = await phase([receiver, await call('origin', 'send')], phases.callMs)
    const parsed = <T>(process_: LabProcess) =>
      process_.lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line) as T)
    return { web, call: span, visits: parsed<Visit>(visitor), packets: parsed<Packet>(receiver) }
  })
  return { ...value, background: traffic.toHost.get(BACKGROUND_HOST) ?? [], cpuRatio }
}

function chartsOfWeb(name: string, { web, call, background, visits, packets }: WebRecord): readonly CurveChart[] {
  const span = { fromMs: web.fromMs, toMs: call.toMs }
  return [
    flowsChart(name, span, [['background', background]]),
    latencyChart(name, span, [
      ['time of an object', visits.map(({ startedMs, durationMs }) => [startedMs, durationMs] as const)],
      ['delay of the call', packets.map(({ sentMs, delayMs }) => [sentMs, delayMs] as const)],
    ]),
  ]
}

async function run(options: BenchOptions): Promise<ScenarioResult> {
  const { runs, say, only } = options
  const setting = wanSettingOf(options)
  const remarks = [
    ...versionsOf(['curl']),
    ...setting.remarks,
    `one object of ${OBJECT_BYTES} bytes each ${OBJECT_INTERVAL_MS} ms for ${PHASES.webMs / 1000} s, or at once when the last took longer`,
    `then a call of 64 kbit/s from the origin for ${PHASES.callMs / 1000} s; its delay is of one way, added to that of the empty line`,
    'cpuRatio: of a core, all processes of the background, from its start',
  ]
  const curves: CurveChart[] = []
  const rows = await withLab({ hosts: USER_HOST, ...setting.lab }, async (benchLab) => {
    const meter = TrafficMeter.open(benchLab.lab)
    const tools = [curlTool(benchLab, setting.endlessBytes), shorthaulTool(benchLab, setting.endlessBytes)]
    const chosen = [null, ...tools.filter(({ name }) => isChosen(name, only))]
    const all = chosen.map((tool) => ({ tool, name: tool?.name ?? 'nobody', figures: [] as WebFigures[] }))
    for (let run = 1; run <= runs; run++) {
      let alone: WebRecord | undefined
      for (const { tool, name, figures } of all) {
        const record = await playWeb(benchLab, { meter, tool })
        alone ??= record
        const found = webFiguresOf(record, alone)
        figures.push(found)
        if (run === runs && tool !== null) curves.push(...chartsOfWeb(name, record))
        const { objectMedianMs, objectP95Ms, callLostRatio, callAddedP95Ms } = webColumns([found])
        const call = `call loses ${callLostRatio}, p95 +${callAddedP95Ms} ms`
        say(`run ${run} of ${runs}: ${name}: object ${objectMedianMs} ms, p95 ${objectP95Ms} ms; ${call}`)
      }
    }
    return all.map(({ name, figures }) => ({ background: name, runs: figures.length, ...webColumns(figures) }))
  })
  return { rows, remarks, curves }
}

const LABELS = ['background']

export const foregroundWeb: Scenario = {
  name: 'foreground-web',
  title: 'browsing and a call beside a background download',
  defaultRuns: 3,
  bars: [
    { title: 'Median time of an object of 500 KB', column: 'objectMedianMs', labels: LABELS },
    { title: 'The slowest twentieth of the objects', column: 'objectP95Ms', labels: LABELS },
    { title: 'Delay added to the call (p95)', column: 'callAddedP95Ms', labels: LABELS },
  ],
  run,
}
