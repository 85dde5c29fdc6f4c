/**
 * A whole branch wants the same new file at the same moment: how often does it cross the WAN, and when has the last one it?
 * copies = content bytes that the origin sent ÷ size; ideal 1.00. Ideal time: one curl alone.
 */
import type { AgentHost, FetchDone } from '../../test/lab/agent-host.ts'
import { type BenchLab, withLab } from '../bench-lab.ts'
import { curl, shorthaul } from '../contenders.ts'
import { type BenchOptions, MIB, type Row, type Scenario, type ScenarioResult } from '../scenario.ts'
import { median, rounded } from '../statistics.ts'

const HOSTS = 8

interface CrowdRun {
  readonly copies: number
  readonly wanCopies: number
  readonly firstMs: number
  readonly lastMs: number
  readonly wastedBytes: number
}

async function measure(
  benchLab: BenchLab,
  bytes: number,
  fetchAll: (url: string) => Promise<readonly { durationMs: number; value?: FetchDone }[]>,
): Promise<CrowdRun> {
  const { lab, origin, newUrl } = benchLab
  await origin.reset()
  const wanBefore = await lab.wanBytesIn()
  const results = await fetchAll(newUrl(bytes))
  const durationsMs = results.map((result) => result.durationMs)
  return {
    copies: (await origin.totals()).contentBytes / bytes,
    wanCopies: ((await lab.wanBytesIn()) - wanBefore) / bytes,
    firstMs: Math.min(...durationsMs),
    lastMs: Math.max(...durationsMs),
    wastedBytes: results.reduce((sum, { value }) => sum + (value?.wastedBytes ?? 0), 0),
  }
}

function rowOf(
  contender: string,
  options: { bytes: number; hosts: number; aloneMs: number; crowdRuns: readonly CrowdRun[] },
): Row {
  const { bytes, hosts, aloneMs, crowdRuns } = options
  const middle = (key: keyof CrowdRun) => median(crowdRuns.map((one) => one[key]))
  return {
    contender,
    hosts,
    bytes,
    runs: crowdRuns.length,
    copies: rounded(middle('copies'), 2),
    worstCopies: rounded(Math.max(...crowdRuns.map((one) => one.copies)), 2),
    wanCopies: rounded(middle('wanCopies'), 2),
    firstMs: rounded(middle('firstMs')),
    lastMs: rounded(middle('lastMs')),
    lastToIdealRatio: rounded(middle('lastMs') / aloneMs, 2),
    wastedBytes: rounded(middle('wastedBytes')),
  }
}

async function raiseAgents({ agent }: BenchLab, hosts: number): Promise<readonly AgentHost[]> {
  const agents = await Promise.all(Array.from({ length: hosts }, (_, at) => agent(at + 1)))
  await Promise.all(agents.map((one) => one.startDaemon()))
  for (const one of agents) await one.waitForPeers(hosts - 1)
  return agents
}

async function run({ runs, sizeBytes, say }: BenchOptions): Promise<ScenarioResult> {
  const bytes = sizeBytes ?? 64 * MIB
  const hosts = Number(process.env.BENCH_HOSTS ?? HOSTS)
  const lan = { downMbit: 50, upMbit: 20, delayUs: 10_000, lanMbit: 1000 }
  const rows = await withLab({ hosts, ...lan }, async (benchLab) => {
    const { lab } = benchLab
    const numbers = Array.from({ length: hosts }, (_, at) => at + 1)
    const alone: CrowdRun[] = []
    const curls: CrowdRun[] = []
    for (let run = 1; run <= runs; run++) {
      alone.push(await measure(benchLab, bytes, async (url) => [{ durationMs: await curl(lab, 1, url) }]))
    }
    const aloneMs = median(alone.map((one) => one.lastMs))
    say(`one curl alone: ${rounded(aloneMs)} ms`)
    // One run is enough: it is arithmetic, N copies through one pipe.
    const together = (url: string) =>
      Promise.all(numbers.map(async (host) => ({ durationMs: await curl(lab, host, url) })))
    curls.push(await measure(benchLab, bytes, together))
    const agents = await raiseAgents(benchLab, hosts)
    const ours: CrowdRun[] = []
    for (let run = 1; run <= runs; run++) {
      ours.push(await measure(benchLab, bytes, (url) => Promise.all(agents.map((one) => shorthaul(one, url)))))
      const last = ours.at(-1)
      say(`run ${run} of ${runs}: ${last?.copies.toFixed(2)} copies, the last after ${rounded(last?.lastMs ?? 0)} ms`)
    }
    return [
      rowOf('curl alone (the ideal)', { bytes, hosts: 1, aloneMs, crowdRuns: alone }),
      rowOf('curl on every host', { bytes, hosts, aloneMs, crowdRuns: curls }),
      rowOf('shorthaul, daemons', { bytes, hosts, aloneMs, crowdRuns: ours }),
    ]
  })
  const remarks = [
    'WAN 50 Mbit/s, 20 ms round trip; LAN 1 Gbit/s; all start at once; wanCopies counts headers and retransmission',
  ]
  return { rows, remarks }
}

export const crowd: Scenario = {
  name: 'crowd',
  title: 'a branch that asks for the same file at once',
  defaultRuns: 3,
  bars: [],
  run,
}
