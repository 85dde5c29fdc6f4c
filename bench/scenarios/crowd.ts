/**
 * A whole branch wants the same new file: how often does it cross the WAN, and when has the last one it? A family: the
 * variations say what is made difficult, everything else is the same.
 *
 * copies = content bytes that the origin sent / size; ideal 1.00.
 * lastToIdealRatio = last host / (size / WAN goodput), the goodput being that of one curl alone in the same run, to which
 * the origin gives all it has.
 */
import { type BenchLab, withLab } from '../bench-lab.ts'
import { toolVersion } from '../contenders.ts'
import {
  bitTorrentContender,
  type CrowdContender,
  directContender,
  shorthaulContender,
  sliceCacheContender,
} from '../crowd/contenders.ts'
import { crowdRow, medianLastMs, type RoundRecord } from '../crowd/figures.ts'
import { type Disturbance, playRound, type RoundOptions, SLOW_HOST_MBIT } from '../crowd/round.ts'
import { type BarSpec, type BenchOptions, type CurveChart, MIB, type Row, type Scenario } from '../scenario.ts'
import { rounded } from '../statistics.ts'

const LAN_MBIT = 1000
const UP_MBIT = 20
const ONE_WAY_DELAY_US = 10_000

interface Variation {
  readonly name: string
  readonly title: string
  readonly defaultHosts: number
  readonly defaultBytes: number
  /** What the origin gives to each connection, of the WAN's rate; null: all it can. */
  readonly originRatio: number | null
  readonly staggerMs: number
  /** Other than 'none': each contender is measured without it too, and those that it says nothing about are left out. */
  readonly disturbance: Disturbance
}

const PLAIN = {
  defaultHosts: 8,
  defaultBytes: 64 * MIB,
  originRatio: null,
  staggerMs: 0,
  disturbance: 'none',
} as const

const VARIATIONS: readonly Variation[] = [
  { ...PLAIN, name: 'crowd', title: 'a branch that asks for the same file at once' },
  {
    ...PLAIN,
    name: 'crowd-limited',
    title: 'the same, from an origin that gives a fifth of the line to each connection',
    originRatio: 1 / 5,
  },
  { ...PLAIN, name: 'staggered', title: 'the same within two seconds', staggerMs: 2000 },
  {
    ...PLAIN,
    name: 'owner-dies',
    title: 'who takes most from the origin dies after 30 %',
    disturbance: 'owner-dies',
  },
  {
    ...PLAIN,
    name: 'slow-host',
    title: `one host has ${SLOW_HOST_MBIT} Mbit/s on its LAN link: what does it cost the others?`,
    defaultBytes: 32 * MIB,
    disturbance: 'slow-host',
  },
]

const BARS: readonly BarSpec[] = [
  { title: 'Time until the last host has the file', column: 'lastMs', labels: ['contender', 'condition'] },
  { title: 'Copies that the origin sent', column: 'copies', labels: ['contender', 'condition'] },
]

/** A contender under a condition, with what was recorded of it. */
interface Series {
  readonly contender: CrowdContender
  readonly disturbance: Disturbance
  readonly hosts: readonly number[]
  /** Less often than the others where the outcome is arithmetic. */
  readonly maxRuns: number
  readonly records: RoundRecord[]
}

interface Setting {
  readonly variation: Variation
  readonly hosts: number
  readonly bytes: number
  readonly wanMbit: number
  readonly originMbit: number | null
}

function settingOf(variation: Variation, options: BenchOptions): Setting {
  const wanMbit = options.wanMbit ?? 50
  const ownOriginMbit = variation.originRatio === null ? null : wanMbit * variation.originRatio
  return {
    variation,
    hosts: options.hosts ?? variation.defaultHosts,
    bytes: options.sizeBytes ?? variation.defaultBytes,
    wanMbit,
    originMbit: options.originMbit ?? ownOriginMbit,
  }
}

async function seriesOf(benchLab: BenchLab, setting: Setting, remarks: string[]): Promise<readonly Series[]> {
  const { hosts, variation } = setting
  const { disturbance } = variation
  const all = Array.from({ length: hosts }, (_, at) => at + 1)
  const isPresent = (tool: string, what: string) => {
    const version = toolVersion(tool)
    remarks.push(version === null ? `${tool} is not installed here: ${what} left out` : version)
    return version !== null
  }
  const direct = directContender(benchLab)
  const caches = isPresent('nginx', 'the slice cache') ? [await sliceCacheContender(benchLab, hosts + 1)] : []
  const torrents = isPresent('aria2c', 'BitTorrent') ? [await bitTorrentContender(benchLab)] : []
  const candidates = [...caches, ...torrents, await shorthaulContender(benchLab, hosts)]
  const common = { maxRuns: Number.POSITIVE_INFINITY, hosts: all }
  if (disturbance === 'none') {
    return [
      { contender: direct, disturbance, hosts: [1], maxRuns: Number.POSITIVE_INFINITY, records: [] },
      { contender: direct, disturbance, hosts: all, maxRuns: 1, records: [] },
      ...candidates.map((contender) => ({ ...common, contender, disturbance, records: [] })),
    ]
  }
  // Without a swarm nobody depends on a host that dies.
  const disturbed = candidates.filter(({ isSwarm }) => isSwarm || disturbance !== 'owner-dies')
  return disturbed.flatMap((contender) => [
    { ...common, contender, disturbance: 'none' as const, records: [] },
    { ...common, contender, disturbance, records: [] },
  ])
}

/** One copy through the WAN alone, whatever the origin limits otherwise. */
async function measureIdeal(benchLab: BenchLab, setting: Setting, round: RoundOptions): Promise<RoundRecord> {
  await benchLab.origin.set({ rateBytesPerSec: null })
  const alone = { ...round, hosts: [1], disturbance: 'none', staggerMs: 0 } as const
  const ideal = await playRound(benchLab, directContender(benchLab), alone)
  await benchLab.origin.set({ rateBytesPerSec: setting.originMbit === null ? null : setting.originMbit * 125_000 })
  if (ideal.ended.length === 0) throw new Error(`One curl alone does not get the file: ${ideal.failures[0]}`)
  return ideal
}

function rowOf(series: Series, all: readonly Series[], idealMs: number): Row {
  const { contender, disturbance, hosts, records } = series
  const twin = all.find((one) => one.contender === contender && one.disturbance === 'none' && one !== series)
  return crowdRow(records, {
    contender: contender.name,
    condition: hosts.length === 1 ? 'alone' : disturbance === 'none' ? 'all hosts' : disturbance,
    hosts: hosts.length,
    idealMs,
    undisturbedLastMs: disturbance === 'none' || !twin ? null : medianLastMs(twin.records),
  })
}

async function run(variation: Variation, options: BenchOptions) {
  const { runs, say } = options
  const setting = settingOf(variation, options)
  const { hosts, bytes, wanMbit, originMbit } = setting
  const limit = originMbit === null ? '' : `, ${originMbit} Mbit/s to each connection of the origin`
  const remarks = [
    `WAN ${wanMbit} Mbit/s, 20 ms round trip${limit}; LAN ${LAN_MBIT} Mbit/s`,
    'times end with an fsync of the target; wanCopies counts headers and retransmission',
    'copies counts in full what a connection held back that the client cut',
    'BitTorrent: unencrypted, our tracker on the LAN, origin as web seed, everybody seeds until all have the file',
  ]
  const curves: CurveChart[] = []
  const lab = { downMbit: wanMbit, upMbit: UP_MBIT, delayUs: ONE_WAY_DELAY_US, lanMbit: LAN_MBIT }
  const rows = await withLab({ hosts: hosts + 1, ...lab }, async (benchLab) => {
    const all = await seriesOf(benchLab, setting, remarks)
    const ideals: RoundRecord[] = []
    const fullCopiesMs = (hosts * bytes * 8) / (Math.min(wanMbit, originMbit ?? wanMbit) * 1000)
    for (let run = 1; run <= runs; run++) {
      const common = { bytes, staggerMs: variation.staggerMs, seed: run, lanMbit: LAN_MBIT }
      const deadlineMs = 120_000 + 3 * fullCopiesMs
      const round: RoundOptions = { ...common, deadlineMs, hosts: [1], disturbance: 'none' }
      const ideal = await measureIdeal(benchLab, setting, round)
      ideals.push(ideal)
      say(`run ${run} of ${runs}: one curl alone ${rounded(medianLastMs([ideal]) ?? 0)} ms`)
      for (const { contender, disturbance, hosts, maxRuns, records } of all) {
        if (run > maxRuns) continue
        const isIdeal = hosts.length === 1 && originMbit === null
        const record = isIdeal ? ideal : await playRound(benchLab, contender, { ...round, hosts, disturbance })
        records.push(record)
        const { copies, lastMs } = crowdRow([record], { ...NAMELESS, hosts: hosts.length, idealMs: 1 })
        say(`${contender.name}, ${hosts.length} hosts, ${disturbance}: ${copies} copies, the last after ${lastMs} ms`)
        remarks.push(...record.failures.map((failure) => `${contender.name}, ${disturbance}, run ${run}: ${failure}`))
      }
    }
    curves.push(...all.flatMap(curvesOf))
    return all.map((series) => rowOf(series, all, medianLastMs(ideals) ?? Number.NaN))
  })
  return { rows, remarks, curves }
}

const NAMELESS = { contender: '', condition: '', undisturbedLastMs: null }

/** Of the last run: the median of curves would be nobody's. */
function curvesOf({ contender, disturbance, records }: Series): readonly CurveChart[] {
  const curves = records.at(-1)?.curves ?? []
  if (curves.length === 0) return []
  const condition = disturbance === 'none' ? '' : `, ${disturbance}`
  return [{ title: `${contender.name}${condition}: MiB done over time`, xLabel: 'seconds', yLabel: 'MiB', curves }]
}

export const crowdFamily: readonly Scenario[] = VARIATIONS.map((variation) => ({
  name: variation.name,
  title: variation.title,
  defaultRuns: 3,
  bars: BARS,
  run: (options) => run(variation, options),
}))
