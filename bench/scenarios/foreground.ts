/**
 * A download in the background, and somebody who wants to work: how much of an ordinary transfer survives beside it, what
 * does it do to everybody's latency, and how much of the line does it use while nobody wants it?
 *
 * The background is alone at first, and in the idle window when it has started up; beside an iperf3 flow of 10 s; alone
 * again. Rates are on the wire, as the host's LAN link carries them, to the rate of the WAN. What the foreground kept is to
 * what it had alone in the same run.
 */
import { type BenchLab, withLab } from '../bench-lab.ts'
import { aria2cTool, type BackgroundTool, curlTool, limitedCurlTool, shorthaulTool } from '../foreground/backgrounds.ts'
import { type Contender, holdContest } from '../foreground/contest.ts'
import { isChosen, isInstalled, versionsOf, type WanSetting, wanSettingOf } from '../foreground/setting.ts'
import type { Timeline } from '../foreground/timeline.ts'
import type { BarSpec, BenchOptions, Scenario, ScenarioResult } from '../scenario.ts'

const [BACKGROUND_HOST, OTHER_HOST, PROBE_HOST] = [1, 2, 3] as const
const TIMELINE: Timeline = { startUpMs: 4000, idleMs: 8000, foregroundMs: 10_000, tailMs: 8000 }
/** Fairness is a matter of time: it is judged by 20 s. */
const MANY_TIMELINE: Timeline = { startUpMs: 8000, idleMs: 20_000, foregroundMs: 10_000, tailMs: 8000 }
const MANY = [2, 4, 8] as const

const REMARKS = [
  'the foreground is cubic in all rows, and 10 s long from when its connection stands',
  'latency: 20 datagrams a second from an idle host to the origin, those lost left out; added to that of the empty line',
  'yieldMs: until the background is below a tenth of the line for 0.5 s and in the mean of the rest; recoveryMs: until it has 0.8 of it for 0.5 s',
  'the foreground starts at another moment within 4 s in each run, alike for all rows of a run',
  'cpuRatio: of a core, all processes of the background, from its start',
]

function contendersOf(benchLab: BenchLab, { endlessBytes, wanMbit }: WanSetting): readonly Contender[] {
  const curl = curlTool(benchLab, endlessBytes)
  const shorthaul = shorthaulTool(benchLab, endlessBytes)
  const contender = (tool: BackgroundTool, own: Partial<Contender> = {}): Contender => {
    const one = { hosts: [BACKGROUND_HOST], foregroundHost: OTHER_HOST, congestionControl: 'cubic', ...own } as const
    const unusual = [
      ...(one.congestionControl === 'cubic' ? [] : [`${one.congestionControl} origin`]),
      ...(one.foregroundHost === BACKGROUND_HOST ? ['same host'] : []),
    ]
    return { ...one, tool, name: [tool.name, ...unusual].join(', ') }
  }
  return [
    contender(curl),
    contender(curl, { congestionControl: 'bbr' }),
    contender(limitedCurlTool(benchLab, endlessBytes, wanMbit / 2)),
    ...(isInstalled('aria2c') ? [contender(aria2cTool(benchLab, endlessBytes))] : []),
    contender(shorthaul),
    contender(shorthaul, { foregroundHost: BACKGROUND_HOST }),
    contender(shorthaul, { congestionControl: 'bbr' }),
  ]
}

async function run(options: BenchOptions): Promise<ScenarioResult> {
  const { runs, say, only } = options
  const setting = wanSettingOf(options)
  const remarks = [
    ...versionsOf(['curl', 'aria2c', 'iperf3']),
    ...setting.remarks,
    'where the name of a row does not say otherwise, the origin is cubic and the foreground on another host',
    ...REMARKS,
  ]
  const result = await withLab({ hosts: PROBE_HOST, ...setting.lab }, (benchLab) => {
    const contenders = contendersOf(benchLab, setting).filter(({ name }) => isChosen(name, only))
    const hosts = { aloneHost: OTHER_HOST, probeHost: PROBE_HOST }
    return holdContest(benchLab, { ...hosts, contenders, timeline: TIMELINE, lineMbit: setting.wanMbit, runs, say })
  })
  return { ...result, remarks }
}

async function runMany(options: BenchOptions): Promise<ScenarioResult> {
  const { runs, say, only } = options
  const setting = wanSettingOf(options)
  const counts = options.hosts === null ? MANY : [options.hosts]
  const most = Math.max(...counts)
  const [foregroundHost, probeHost] = [most + 1, most + 2]
  const remarks = [
    ...versionsOf(['curl', 'iperf3']),
    ...setting.remarks,
    'each host has a content of its own; fairness: Jain’s index of what they had in the idle window of 20 s',
    ...REMARKS,
  ]
  const result = await withLab({ hosts: probeHost, ...setting.lab }, (benchLab) => {
    const tools = [curlTool(benchLab, setting.endlessBytes), shorthaulTool(benchLab, setting.endlessBytes)]
    const all = tools.flatMap((tool) =>
      counts.map((count): Contender => {
        const hosts = Array.from({ length: count }, (_, at) => at + 1)
        return { name: `${tool.name}, ${count} hosts`, tool, hosts, foregroundHost, congestionControl: 'cubic' }
      }),
    )
    const contenders = all.filter(({ name }) => isChosen(name, only))
    const hosts = { aloneHost: foregroundHost, probeHost }
    return holdContest(benchLab, {
      ...hosts,
      contenders,
      timeline: MANY_TIMELINE,
      lineMbit: setting.wanMbit,
      runs,
      say,
    })
  })
  return { ...result, remarks }
}

const LABELS = ['background']

const BARS: readonly BarSpec[] = [
  { title: 'Use of the idle line', column: 'idleUseRatio', labels: LABELS },
  { title: 'Latency added for everybody while only the background runs', column: 'idleAddedMedianMs', labels: LABELS },
  { title: 'What the foreground keeps, of what it has alone', column: 'keptRatio', labels: LABELS },
  { title: 'The same after its first two seconds', column: 'keptAfter2sRatio', labels: LABELS },
]

export const foreground: Scenario = {
  name: 'foreground',
  title: 'a foreground transfer beside a background download',
  defaultRuns: 3,
  bars: BARS,
  run,
}

export const foregroundMany: Scenario = {
  name: 'foreground-many',
  title: 'the same beside several agents that each download something else',
  defaultRuns: 3,
  bars: [...BARS, { title: 'Fairness among the agents', column: 'fairness', labels: LABELS }],
  run: runMany,
}
