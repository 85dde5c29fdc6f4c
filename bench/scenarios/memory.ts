/** A big file goes from peer to peer: does memory stay under 200 MiB, and flat? */
import { withLab } from '../bench-lab.ts'
import { shorthaul } from '../contenders.ts'
import { type ResidentSample, sampleResident } from '../process-cost.ts'
import { type BenchOptions, MIB, type Row, type Scenario, type ScenarioResult } from '../scenario.ts'
import { median, rounded } from '../statistics.ts'

function rowOf(who: string, samples: readonly ResidentSample[]): Row {
  const bytes = samples.map((sample) => sample.bytes / MIB)
  const quarter = Math.max(1, Math.floor(bytes.length / 4))
  const [secondQuarter, lastQuarter] = [bytes.slice(quarter, 2 * quarter), bytes.slice(-quarter)]
  return {
    process: who,
    samples: bytes.length,
    peakMiB: rounded(Math.max(...bytes)),
    medianMiB: rounded(median(bytes)),
    secondQuarterMiB: rounded(median(secondQuarter.length > 0 ? secondQuarter : bytes)),
    lastQuarterMiB: rounded(median(lastQuarter)),
  }
}

async function run({ sizeBytes, say }: BenchOptions): Promise<ScenarioResult> {
  const bytes = sizeBytes ?? 4096 * MIB
  return withLab({ hosts: 2, downMbit: 2000, upMbit: 2000, delayUs: 0 }, async ({ agent, newUrl }) => {
    const [seeder, fetcher] = await Promise.all([agent(1), agent(2)])
    await Promise.all([seeder.startDaemon(), fetcher.startDaemon()])
    const url = newUrl(bytes)
    const stop = new AbortController()
    const options = { everyMs: 250, signal: stop.signal }
    const filling = sampleResident(seeder.daemon.pid, options)
    const filled = await shorthaul(seeder, url)
    stop.abort()
    say(`the seeder has it after ${rounded(filled.durationMs / 1000, 1)} s`)
    await fetcher.waitForPeers(1)

    const end = new AbortController()
    const during = { everyMs: 250, signal: end.signal }
    const serving = sampleResident(seeder.daemon.pid, during)
    const fetching = sampleResident(fetcher.daemon.pid, during)
    const { durationMs, value } = await shorthaul(fetcher, url)
    end.abort()
    const rows = [
      rowOf('daemon that fetched from the origin', await filling),
      rowOf('daemon that serves', await serving),
      rowOf('daemon that fetches from the peer', await fetching),
    ]
    const remarks = [
      `${bytes} bytes in ${rounded(durationMs / 1000, 1)} s, by source ${JSON.stringify(value.sources)}`,
      'flat: the last quarter of the time is about the second one; promise: peak under 200 MiB',
    ]
    return { rows, remarks }
  })
}

export const memory: Scenario = {
  name: 'memory',
  title: 'resident memory while 4 GiB cross the LAN',
  defaultRuns: 1,
  bars: [{ title: 'Peak of resident memory', column: 'peakMiB', labels: ['process'] }],
  run,
}
