/**
 * The neighbours have it: how fast does it cross the LAN, unshaped (so: what the CPUs allow) and at 1 Gbit/s, and what does
 * that cost on each side?
 */
import { rm } from 'node:fs/promises'
import { type AgentHost, writeBranchSecret } from '../../test/lab/agent-host.ts'
import { parsePath } from '../../test/lab/generated-content.ts'
import { type BenchLab, withLab } from '../bench-lab.ts'
import { curl, FETCH_TIMEOUT_MS, shorthaul, timed, toolVersion } from '../contenders.ts'
import { nginxPids, startFileServer } from '../nginx.ts'
import { cpuMs, endedChildrenCpuMs, forgetPeaks, largestPeakBytes } from '../process-cost.ts'
import { type BenchOptions, MIB, type Row, type Scenario, type ScenarioResult } from '../scenario.ts'
import { median, rounded } from '../statistics.ts'
import { BitTorrent } from '../swarm/bittorrent.ts'

const SEEDER = 1
const FETCHER = 2
const FOUR_SEEDERS = [3, 4, 5, 6]
const HOSTS = 6
const SERVED_FILE = 'file'
const GB = 1e9

interface Measured {
  readonly durationMs: number
  /** Of the daemon or client, and of the command that asks for the file. */
  readonly fetchingCpuMs: number
  /** The part of that command, which hardly grows with the file; null where there is no daemon. */
  readonly commandCpuMs: number | null
  readonly servingCpuMs: number
  /** Null where there is no daemon. */
  readonly fetchingPeakBytes: number | null
  readonly servingPeakBytes: number
}

const NO_DAEMON = { commandCpuMs: null, fetchingPeakBytes: null }

interface Contender {
  readonly name: string
  readonly fetch: () => Promise<Measured>
}

interface Content {
  readonly url: string
  readonly bytes: number
}

/** Measures `work`, whose commands have ended when it has, on the side that serves. */
async function withServingCost(
  pids: readonly number[],
  work: () => Promise<Omit<Measured, 'servingCpuMs' | 'servingPeakBytes'>>,
): Promise<Measured> {
  await forgetPeaks(pids)
  const before = await cpuMs(pids)
  const fetched = await work()
  return { ...fetched, servingCpuMs: (await cpuMs(pids)) - before, servingPeakBytes: await largestPeakBytes(pids) }
}

async function curlContender({ lab }: BenchLab, folder: string): Promise<Contender> {
  const nginx = await startFileServer(lab, SEEDER, folder)
  const fetch = async () =>
    withServingCost(await nginxPids(nginx), async () => {
      const before = await endedChildrenCpuMs()
      const durationMs = await curl(lab, FETCHER, `${nginx.url}/${SERVED_FILE}`)
      return { durationMs, fetchingCpuMs: (await endedChildrenCpuMs()) - before, ...NO_DAEMON }
    })
  return { name: 'curl from nginx, HTTPS', fetch }
}

async function bitTorrentContender({ lab }: BenchLab, folder: string, { url }: Content): Promise<Contender> {
  const bitTorrent = await BitTorrent.start(lab)
  const named = parsePath(new URL(url).pathname)
  if (!named) throw new Error(`${url} names no generated content`)
  const torrent = await bitTorrent.torrent({ ...named, generation: 1 }, { fileName: SERVED_FILE, webSeedUrl: null })
  const seeder = await bitTorrent.seed(SEEDER, torrent, { dir: folder })
  const fetch = () =>
    withServingCost([seeder.pid], async () => {
      const { durationMs, value: peer } = await timed(async () => {
        const started = await bitTorrent.download(FETCHER, torrent)
        await started.complete({ timeoutMs: FETCH_TIMEOUT_MS })
        return started
      })
      const fetchingCpuMs = await cpuMs([peer.process.pid])
      const fetchingPeakBytes = await largestPeakBytes([peer.process.pid])
      await peer.process.kill('SIGTERM') // so that the tracker hears of it
      await rm(peer.dir, { recursive: true })
      return { ...NO_DAEMON, durationMs, fetchingCpuMs, fetchingPeakBytes }
    })
  return { name: 'aria2c, BitTorrent, 1 seeder', fetch }
}

/** Each time a daemon with an empty data directory takes the content from these seeders, which have it. */
function shorthaulContender(
  benchLab: BenchLab,
  seeders: readonly AgentHost[],
  options: Content & { secretFile: string },
): Contender {
  const { url, bytes, secretFile } = options
  const servingPids = seeders.map((one) => one.daemon.pid)
  let count = 0
  const fetch = async () => {
    count += 1
    const fetcher = await benchLab.agent(FETCHER, { name: `fetcher-${seeders.length}-${count}`, secretFile })
    await fetcher.startDaemon()
    await fetcher.waitForPeers(seeders.length)
    const { pid } = fetcher.daemon
    const measured = await withServingCost(servingPids, async () => {
      await forgetPeaks([pid])
      const [daemonBefore, commandsBefore] = [await cpuMs([pid]), await endedChildrenCpuMs()]
      const { durationMs, value } = await shorthaul(fetcher, url)
      if (value.sources.peer !== bytes) throw new Error(`not all came from peers: ${JSON.stringify(value.sources)}`)
      const commandCpuMs = (await endedChildrenCpuMs()) - commandsBefore
      const fetchingCpuMs = (await cpuMs([pid])) - daemonBefore + commandCpuMs
      return { durationMs, fetchingCpuMs, commandCpuMs, fetchingPeakBytes: await largestPeakBytes([pid]) }
    })
    await fetcher.killDaemon()
    await rm(fetcher.homeDir, { recursive: true })
    return measured
  }
  const many = seeders.length === 1 ? '1 seeder' : `${seeders.length} seeders`
  return { name: `shorthaul, daemons, ${many}`, fetch }
}

/** Daemons of a branch that all have the content; only the first keeps a file of it. */
async function raiseSeeders(
  benchLab: BenchLab,
  hosts: readonly number[],
  options: Content & { secretFile: string },
): Promise<readonly AgentHost[]> {
  const { url, secretFile } = options
  const seeders = await Promise.all(hosts.map((host) => benchLab.agent(host, { name: `seeder-${host}`, secretFile })))
  await Promise.all(seeders.map((seeder) => seeder.startDaemon()))
  for (const [position, seeder] of seeders.entries()) {
    await seeder.waitForPeers(seeders.length - 1)
    await seeder.fetch(url, { target: SERVED_FILE, timeoutMs: FETCH_TIMEOUT_MS })
    if (position > 0) await rm(seeder.path(SERVED_FILE))
  }
  return seeders
}

function rowOf(
  { name }: Contender,
  lan: string,
  options: { bytes: number; measured: readonly Measured[]; curlMs: number | null },
): Row {
  const { bytes, measured, curlMs } = options
  const middle = (figure: (one: Measured) => number) => median(measured.map(figure))
  const medianMs = middle((one) => one.durationMs)
  const cpuSecPerGB = (figure: (one: Measured) => number) => rounded(middle(figure) / 1000 / (bytes / GB), 2)
  const fetchingPeaks = measured.map((one) => one.fetchingPeakBytes).filter((one) => one !== null)
  const commandsMs = measured.map((one) => one.commandCpuMs).filter((one) => one !== null)
  return {
    lan,
    contender: name,
    bytes,
    runs: measured.length,
    medianMs: rounded(medianMs),
    mibPerSec: rounded(bytes / MIB / (medianMs / 1000)),
    toCurlRatio: curlMs === null ? null : rounded(medianMs / curlMs, 2),
    fetchingCpuSecPerGB: cpuSecPerGB((one) => one.fetchingCpuMs),
    ofItCommandCpuSec: commandsMs.length === 0 ? null : rounded(median(commandsMs) / 1000, 2),
    servingCpuSecPerGB: cpuSecPerGB((one) => one.servingCpuMs),
    fetchingPeakMiB: fetchingPeaks.length === 0 ? null : rounded(Math.max(...fetchingPeaks) / MIB),
    servingPeakMiB: rounded(Math.max(...measured.map((one) => one.servingPeakBytes)) / MIB),
  }
}

async function contendersIn(benchLab: BenchLab, content: Content, remarks: string[]): Promise<readonly Contender[]> {
  const isPresent = (tool: string, what: string) => {
    const version = toolVersion(tool)
    remarks.push(version === null ? `${tool} is not installed here: ${what} left out` : version)
    return version !== null
  }
  // Two branches, so that each fetcher meets as many seeders as its row says.
  const one = { ...content, secretFile: await writeBranchSecret(benchLab.lab, 'one') }
  const four = { ...content, secretFile: await writeBranchSecret(benchLab.lab, 'four') }
  const single = await raiseSeeders(benchLab, [SEEDER], one)
  const folder = single[0]?.homeDir ?? ''
  return [
    ...(isPresent('nginx', 'curl from nginx') ? [await curlContender(benchLab, folder)] : []),
    ...(isPresent('aria2c', 'BitTorrent') ? [await bitTorrentContender(benchLab, folder, content)] : []),
    shorthaulContender(benchLab, single, one),
    shorthaulContender(benchLab, await raiseSeeders(benchLab, FOUR_SEEDERS, four), four),
  ]
}

async function run({ runs, sizeBytes, say }: BenchOptions): Promise<ScenarioResult> {
  const bytes = sizeBytes ?? 1024 * MIB
  const remarks = [
    'times from start to end of the command, fsync of the target included',
    'CPU of the fetching side: daemon, and the command that asks it (ofItCommandCpuSec, not per GB)',
    'peaks are of resident memory, of the largest process of that side, without the command',
    'nginx and shorthaul encrypt (AES-128-GCM), BitTorrent does not',
  ]
  const rows = await withLab({ hosts: HOSTS, downMbit: 2000, upMbit: 2000, delayUs: 0 }, async (benchLab) => {
    const contenders = await contendersIn(benchLab, { url: benchLab.newUrl(bytes), bytes }, remarks)
    const found: Row[] = []
    for (const lanMbit of [null, 1000]) {
      for (let host = 1; host <= HOSTS; host++) await benchLab.lab.setLanRate(host, lanMbit)
      const lan = lanMbit === null ? 'unshaped' : `${lanMbit} Mbit/s`
      const measured = contenders.map((contender) => ({ contender, all: [] as Measured[] }))
      for (let run = 1; run <= runs; run++) {
        for (const { contender, all } of measured) {
          const one = await contender.fetch()
          all.push(one)
          say(`${lan}, run ${run} of ${runs}: ${contender.name} ${rounded(one.durationMs)} ms`)
        }
      }
      const byCurl = measured.find(({ contender }) => contender.name.startsWith('curl'))?.all
      const curlMs = byCurl ? median(byCurl.map((one) => one.durationMs)) : null
      found.push(...measured.map(({ contender, all }) => rowOf(contender, lan, { bytes, measured: all, curlMs })))
    }
    return found
  })
  return { rows, remarks }
}

const BY_LAN = { labels: ['contender', 'lan'], groups: ['lan'] }

export const warm: Scenario = {
  name: 'warm',
  title: 'one fetcher on the LAN, one seeder or four',
  defaultRuns: 3,
  bars: [
    { title: 'Throughput', column: 'mibPerSec', ...BY_LAN },
    { title: 'CPU of the fetching side', column: 'fetchingCpuSecPerGB', ...BY_LAN },
    { title: 'CPU of the serving side', column: 'servingCpuSecPerGB', ...BY_LAN },
  ],
  run,
}
