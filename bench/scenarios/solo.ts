/**
 * No peers: what does it cost to use shorthaul instead of curl? Straight from the origin over a 50 Mbit/s, 20 ms WAN.
 * Promise: 256 MiB in at most 1.03 x curl's time; 20 KiB in at most curl + 100 ms with the daemon running.
 */
import { writeBranchSecret } from '../../test/lab/agent-host.ts'
import { type BenchLab, withLab } from '../bench-lab.ts'
import { aria2c, curl, shorthaul, toolVersion } from '../contenders.ts'
import { type BenchOptions, MIB, type Row, type Scenario, type ScenarioResult } from '../scenario.ts'
import { median, rounded } from '../statistics.ts'

const SMALL_BYTES = 20 * 1024
const SMALL_RUNS_PER_RUN = 5

interface Contender {
  readonly name: string
  readonly fetch: (url: string) => Promise<number>
}

async function contendersIn({ lab, agent }: BenchLab, hasAria: boolean): Promise<readonly Contender[]> {
  // Three branches of one agent each: nobody has a peer.
  const embedded = await agent(1, { name: 'embedded', secretFile: await writeBranchSecret(lab, 'embedded') })
  const served = await agent(2, { name: 'served', secretFile: await writeBranchSecret(lab, 'served') })
  await served.startDaemon()
  return [
    { name: 'curl', fetch: (url) => curl(lab, 1, url) },
    ...(hasAria ? [{ name: 'aria2c -x4', fetch: (url: string) => aria2c(lab, 1, url) }] : []),
    {
      name: 'shorthaul, embedded',
      fetch: async (url) => (await shorthaul(embedded, url, { embedded: true })).durationMs,
    },
    { name: 'shorthaul, daemon', fetch: async (url) => (await shorthaul(served, url)).durationMs },
  ]
}

interface Measurement {
  readonly durationsMs: number[]
  readonly contentBytes: number[]
}

/** Alternately, so that whatever else the machine does meets all of them. */
async function measure(
  benchLab: BenchLab,
  contenders: readonly Contender[],
  options: { bytes: number; runs: number; say: BenchOptions['say'] },
): Promise<readonly Row[]> {
  const { bytes, runs, say } = options
  const measured = new Map<Contender, Measurement>(
    contenders.map((one) => [one, { durationsMs: [], contentBytes: [] }]),
  )
  for (let run = 1; run <= runs; run++) {
    for (const [contender, measurement] of measured) {
      await benchLab.origin.reset()
      const durationMs = await contender.fetch(benchLab.newUrl(bytes))
      measurement.durationsMs.push(durationMs)
      measurement.contentBytes.push((await benchLab.origin.totals()).contentBytes)
      say(`${bytes} bytes, run ${run} of ${runs}: ${contender.name} ${rounded(durationMs)} ms`)
    }
  }
  const curlMs = median([...measured.values()][0]?.durationsMs ?? [])
  return [...measured].map(([{ name }, { durationsMs, contentBytes }]) => ({
    contender: name,
    bytes,
    runs,
    medianMs: rounded(median(durationsMs)),
    minMs: rounded(Math.min(...durationsMs)),
    maxMs: rounded(Math.max(...durationsMs)),
    toCurlRatio: rounded(median(durationsMs) / curlMs, 3),
    toCurlMs: rounded(median(durationsMs) - curlMs),
    copies: rounded(median(contentBytes) / bytes, 3),
  }))
}

async function run({ runs, sizeBytes, wanMbit, say }: BenchOptions): Promise<ScenarioResult> {
  const ariaVersion = toolVersion('aria2c')
  const downMbit = wanMbit ?? 50
  const remarks = [
    `WAN ${downMbit} Mbit/s down, 20 Mbit/s up, 20 ms round trip, FIFO of 100 ms; times from start to end of the process, fsync included`,
    ...(ariaVersion === null ? ['aria2c is not installed here: left out'] : []),
  ]
  const rows = await withLab({ hosts: 2, downMbit, upMbit: 20, delayUs: 10_000 }, async (benchLab) => {
    const contenders = await contendersIn(benchLab, ariaVersion !== null)
    for (const contender of contenders) await contender.fetch(benchLab.newUrl(SMALL_BYTES)) // first-run files are made
    const small = await measure(benchLab, contenders, { bytes: SMALL_BYTES, runs: runs * SMALL_RUNS_PER_RUN, say })
    const big = await measure(benchLab, contenders, { bytes: sizeBytes ?? 256 * MIB, runs, say })
    return [...big, ...small]
  })
  return { rows, remarks }
}

export const solo: Scenario = {
  name: 'solo',
  title: 'one agent without peers, beside curl',
  defaultRuns: 5,
  bars: [{ title: 'Time for one file', column: 'medianMs', labels: ['contender', 'bytes'], groups: ['bytes'] }],
  run,
}
