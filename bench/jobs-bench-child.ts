/**
 * An agent with jobs for jobs-bench.ts.
 * argv: data directory, `fill` JOBS FILES ORIGIN or `measure`
 */
import { Agent } from '../src/agent/agent.ts'
import { systemClock } from '../src/clock.ts'
import { loadConfig } from '../src/config/load.ts'

const LISTS = 9
const IDLE_MS = 5000
const MIB = 1024 * 1024

const [, , dataDir = '', mode = '', jobCount = '0', fileCount = '0', origin = ''] = process.argv
const overrides = { dataDir, 'cache.minFreeBytes': 0, 'jobs.maxPerUser': 100_000 }
const { config } = await loadConfig({ env: {}, overrides, homeDir: dataDir, isRoot: false })
const beforeMs = systemClock.monotonicMs()
const agent = await Agent.open({ config, role: 'embedded', usePeers: false, hasJobs: true })
const openMs = systemClock.monotonicMs() - beforeMs
process.stdout.write('open\n')

async function timedMs(work: () => Promise<unknown>): Promise<number> {
  const startMs = systemClock.monotonicMs()
  await work()
  return systemClock.monotonicMs() - startMs
}

async function medianMs(work: () => Promise<unknown>): Promise<number> {
  const found: number[] = []
  for (let count = 0; count < LISTS; count++) found.push(await timedMs(work))
  return found.toSorted((one, other) => one - other)[Math.floor(LISTS / 2)] ?? 0
}

if (mode === 'fill') {
  for (let job = 0; job < Number(jobCount); job++) {
    const files = Array.from({ length: Number(fileCount) }, (_, file) => ({
      url: `${origin}/${job}/${file}`,
      target: `${dataDir}/out/a-directory-with-a-long-name/${job}-${file}.bin`,
    }))
    await agent.jobs.create({ name: `job ${job}`, files })
  }
} else {
  const firstListMs = await timedMs(() => agent.jobs.list({ limit: 1000 }))
  const list1000Ms = await medianMs(() => agent.jobs.list({ limit: 1000 }))
  const list100Ms = await medianMs(() => agent.jobs.list())
  const { jobs } = await agent.jobs.list({ limit: 1000 })
  const file = jobs.at(-1)?.id
  const files200Ms = file ? await medianMs(() => agent.jobs.files(file, { limit: 200 })) : null
  const before = process.cpuUsage()
  await systemClock.sleep(IDLE_MS)
  const { user, system } = process.cpuUsage(before)
  const figures = {
    jobs: jobs.length,
    openMs,
    firstListMs,
    list1000Ms,
    list100Ms,
    files200Ms,
    idleCpuRatio: (user + system) / 1000 / IDLE_MS,
    rssMiB: process.memoryUsage().rss / MIB,
    peakRssMiB: process.resourceUsage().maxRSS / 1024,
  }
  process.stdout.write(`${JSON.stringify(figures)}\n`)
}
await agent.close()
