/** A thousand small files through one command: from the origin, then from the neighbour that has them. */
import { createHash } from 'node:crypto'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { seededRandom } from '../../src/clock.ts'
import { type AgentHost, CLI_PATH } from '../../test/lab/agent-host.ts'
import { parsePath, sha256Of } from '../../test/lab/generated-content.ts'
import { type BenchLab, withLab } from '../bench-lab.ts'
import { succeed, timed, toolVersion } from '../contenders.ts'
import type { BenchOptions, Row, Scenario, ScenarioResult } from '../scenario.ts'
import { median, rounded } from '../statistics.ts'

const FILES = 1000
const KIB = 1024
const SMALLEST_BYTES = 4 * KIB
const LARGEST_BYTES = 200 * KIB
const MEAN_BYTES = (SMALLEST_BYTES + LARGEST_BYTES) / 2
const INPUT_OPTION = '--input-file'

/** Uniform; the same for every run, so that runs can be compared. */
export function sizesOf(files: number): readonly number[] {
  const random = seededRandom(4)
  const span = LARGEST_BYTES - SMALLEST_BYTES + 1
  return Array.from({ length: files }, () => SMALLEST_BYTES + Math.floor(random() * span))
}

interface Contender {
  readonly name: string
  /** Brings all of them into the folder, synced. */
  readonly fetch: (urls: readonly string[], folder: string) => Promise<void>
  /** Fetches what the contender before it has fetched. */
  readonly isSecond?: true
}

function nameOf(url: string): string {
  return url.slice(url.lastIndexOf('/') + 1)
}

/** One process, connections kept; `sync` of every file follows, because ours does that too. */
function curlContender({ lab }: BenchLab, name: string, flags: readonly string[]): Contender {
  const fetch = async (urls: readonly string[], folder: string) => {
    const config = urls.map((url) => `url = "${url}"\noutput = "${join(folder, nameOf(url))}"\n`)
    const configFile = join(lab.stateDir, 'curl.conf')
    await writeFile(configFile, config.join(''))
    const script = 'folder=$1; shift; "$@" && cd "$folder" && exec sync *'
    const args = ['-c', script, 'bash', folder, 'curl', '-sSf', ...flags, '-K', configFile]
    await succeed(lab.spawn(1, 'bash', args), name)
  }
  return { name, fetch }
}

function shorthaulContender(agent: AgentHost, name: string, options: { isSecond?: true } = {}): Contender {
  const fetch = async (urls: readonly string[], folder: string) => {
    const inputFile = agent.path('urls')
    await writeFile(inputFile, `${urls.join('\n')}\n`)
    await agent.json('fetch', INPUT_OPTION, inputFile, '-d', folder)
  }
  return { name, fetch, ...options }
}

async function contendersIn(benchLab: BenchLab, remarks: string[]): Promise<readonly Contender[]> {
  const version = toolVersion('curl')
  remarks.push(version ?? 'curl is not installed here: left out')
  const curls = [
    curlContender(benchLab, 'curl, one connection kept alive', []),
    curlContender(benchLab, 'curl -Z, 8 at once', ['-Z', '--parallel-max', '8']),
  ]
  const { stdout } = await benchLab.lab.exec(1, process.execPath, [CLI_PATH, 'fetch', '--help'])
  if (!stdout.includes(INPUT_OPTION)) {
    remarks.push(`this build of shorthaul does not know fetch ${INPUT_OPTION}: left out`)
    return version === null ? [] : curls
  }
  const agents = await Promise.all([benchLab.agent(1), benchLab.agent(2)])
  await Promise.all(agents.map((agent) => agent.startDaemon()))
  for (const agent of agents) await agent.waitForPeers(1)
  return [
    ...(version === null ? [] : curls),
    shorthaulContender(agents[0], 'shorthaul, daemon, from the origin'),
    shorthaulContender(agents[1], 'shorthaul, daemon, from a neighbour', { isSecond: true }),
  ]
}

async function countRight(urls: readonly string[], folder: string): Promise<number> {
  let right = 0
  for (const url of urls) {
    const named = parsePath(new URL(url).pathname)
    const bytes = await readFile(join(folder, nameOf(url))).catch(() => null)
    if (named === undefined || bytes === null) continue
    if (createHash('sha256').update(bytes).digest('hex') === sha256Of(named.seed, named.bytes)) right += 1
  }
  return right
}

interface Measured {
  readonly durationMs: number
  readonly contentBytes: number
  readonly requests: number
  readonly rightFiles: number
}

async function measure(benchLab: BenchLab, contender: Contender, urls: readonly string[]): Promise<Measured> {
  const { lab, origin } = benchLab
  const folder = join(lab.stateDir, 'small-files')
  await mkdir(folder)
  await origin.reset()
  const { durationMs } = await timed(() => contender.fetch(urls, folder))
  const { contentBytes, requests } = await origin.totals()
  const rightFiles = await countRight(urls, folder)
  await rm(folder, { recursive: true })
  return { durationMs, contentBytes, requests, rightFiles }
}

async function run({ runs, sizeBytes, wanMbit, say }: BenchOptions): Promise<ScenarioResult> {
  const files = sizeBytes === null ? FILES : Math.max(1, Math.round(sizeBytes / MEAN_BYTES))
  const sizes = sizesOf(files)
  const bytes = sizes.reduce((sum, size) => sum + size, 0)
  const downMbit = wanMbit ?? 50
  const remarks = [
    `${files} files of 4 to 200 KiB; WAN ${downMbit} Mbit/s, 20 ms round trip; LAN 1 Gbit/s`,
    'times from start to end of the command, fsync of every file included',
  ]
  const lan = { hosts: 2, downMbit, upMbit: 20, delayUs: 10_000, lanMbit: 1000 }
  const rows = await withLab(lan, async (benchLab) => {
    const contenders = await contendersIn(benchLab, remarks)
    const measured = contenders.map((contender) => ({ contender, all: [] as Measured[] }))
    for (let run = 1; run <= runs; run++) {
      let urls: readonly string[] = []
      for (const { contender, all } of measured) {
        if (!contender.isSecond) urls = sizes.map((size) => benchLab.newUrl(size))
        const one = await measure(benchLab, contender, urls)
        all.push(one)
        say(`run ${run} of ${runs}: ${contender.name} ${rounded(one.durationMs)} ms`)
      }
    }
    const firstMs = measured[0] ? median(measured[0].all.map((one) => one.durationMs)) : 1
    return measured.map(({ contender, all }): Row => {
      const medianMs = median(all.map((one) => one.durationMs))
      return {
        contender: contender.name,
        files,
        bytes,
        runs: all.length,
        medianMs: rounded(medianMs),
        filesPerSec: rounded(files / (medianMs / 1000), 1),
        toFirstRatio: rounded(medianMs / firstMs, 2),
        copies: rounded(median(all.map((one) => one.contentBytes)) / bytes, 2),
        originRequests: rounded(median(all.map((one) => one.requests))),
        rightFiles: `${all.reduce((sum, one) => sum + one.rightFiles, 0)} of ${all.length * files}`,
      }
    })
  })
  return { rows, remarks }
}

export const smallFiles: Scenario = {
  name: 'small-files',
  title: 'a thousand files of 4 to 200 KiB',
  defaultRuns: 3,
  bars: [{ title: 'Time for all files', column: 'medianMs', labels: ['contender'] }],
  run,
}
