/**
 * How a whole branch can get one new file: each contender is told to fetch it on one host after the other.
 *
 * A round is one piece of content. `begin` does all that is not timed; `end` brings the contender back to where it was, so
 * that the next round starts alike: targets removed, seeds ended, daemons that were killed running again.
 */
import { rm } from 'node:fs/promises'
import type { AgentHost } from '../../test/lab/agent-host.ts'
import { expectDone, fetchResult } from '../../test/lab/agent-host.ts'
import type { GeneratedContent } from '../../test/lab/generated-content.ts'
import type { Lab } from '../../test/lab/lab.ts'
import type { BenchLab } from '../bench-lab.ts'
import { FETCH_TIMEOUT_MS, type ProgressPoint, startCurl, watchProgress } from '../contenders.ts'
import { startSliceCache } from '../nginx.ts'
import { BitTorrent } from '../swarm/bittorrent.ts'

export interface NewContent extends GeneratedContent {
  readonly url: string
}

export interface HostFetch {
  /** Resolves when the file is at `path`, whole and synced; with the bytes thrown away, null when nobody counts them. */
  readonly done: Promise<{ wastedBytes: number | null }>
  readonly path: string
  /** Grows while it runs; stays empty where nothing tells. */
  readonly progress: readonly ProgressPoint[]
  /** The machine loses power, as far as this contender is concerned. */
  readonly kill: () => Promise<void>
}

export interface Round {
  readonly fetch: (host: number) => Promise<HostFetch>
  readonly end: () => Promise<void>
}

export interface CrowdContender {
  readonly name: string
  /** Has something on each host that others depend on, so that a death there is worth measuring. */
  readonly isSwarm: boolean
  readonly begin: (content: NewContent) => Promise<Round>
}

/** From the origin, or through a cache when `urlOf` leads there. */
function curlContender(lab: Lab, name: string, urlOf: (content: NewContent) => string): CrowdContender {
  const begin = (content: NewContent): Promise<Round> => {
    const paths: string[] = []
    const fetch = (host: number): Promise<HostFetch> => {
      const download = startCurl(lab, host, urlOf(content))
      paths.push(download.path)
      const kill = async () => void (await download.process.kill('SIGTERM'))
      const done = download.done.then(() => ({ wastedBytes: null }))
      return Promise.resolve({ done, path: download.path, progress: [], kill })
    }
    const end = async () => void (await Promise.all(paths.map((path) => rm(path, { force: true }))))
    return Promise.resolve({ fetch, end })
  }
  return { name, isSwarm: false, begin }
}

export function directContender({ lab }: BenchLab): CrowdContender {
  return curlContender(lab, 'curl', ({ url }) => url)
}

/** The cache has a host of its own on the same LAN. */
export async function sliceCacheContender({ lab }: BenchLab, cacheHost: number): Promise<CrowdContender> {
  const cache = await startSliceCache(lab, cacheHost)
  return curlContender(lab, 'curl, nginx slice cache', ({ url }) => `${cache.url}${new URL(url).pathname}`)
}

export async function bitTorrentContender({ lab }: BenchLab): Promise<CrowdContender> {
  const bitTorrent = await BitTorrent.start(lab)
  const begin = async (content: NewContent): Promise<Round> => {
    const torrent = await bitTorrent.torrent(content, { fileName: `t${content.seed}`, webSeedUrl: content.url })
    const ends: (() => Promise<void>)[] = []
    const fetch = async (host: number): Promise<HostFetch> => {
      const peer = await bitTorrent.download(host, torrent)
      const kill = async () => void (await peer.process.kill('SIGKILL'))
      ends.push(async () => {
        await kill()
        await rm(peer.dir, { recursive: true, force: true })
      })
      const done = peer.complete({ timeoutMs: FETCH_TIMEOUT_MS }).then(() => ({ wastedBytes: null }))
      return { done, path: peer.path, progress: [], kill }
    }
    return { fetch, end: async () => void (await Promise.all(ends.map((end) => end()))) }
  }
  return { name: 'aria2c, BitTorrent + web seed', isSwarm: true, begin }
}

/** An agent on each of the hosts 1 to `hosts`, all meshed. */
export async function shorthaulContender(benchLab: BenchLab, hosts: number): Promise<CrowdContender> {
  const agents = await Promise.all(Array.from({ length: hosts }, (_, at) => benchLab.agent(at + 1)))
  await Promise.all(agents.map((one) => one.startDaemon()))
  const mesh = async () => {
    for (const one of agents) await one.waitForPeers(hosts - 1)
  }
  await mesh()
  const begin = ({ url, seed }: NewContent): Promise<Round> => {
    const target = `bench-${seed}`
    const dead: AgentHost[] = []
    const fetch = (host: number): Promise<HostFetch> => {
      const agent = agents[host - 1]
      if (!agent) throw new Error(`Host ${host} has no agent`)
      const command = agent.startFetch(url, { target })
      const progress = watchProgress(command)
      const done = fetchResult(command, { timeoutMs: FETCH_TIMEOUT_MS }).then(expectDone)
      const kill = async () => {
        dead.push(agent)
        await Promise.all([agent.killDaemon(), command.kill('SIGKILL')])
      }
      return Promise.resolve({ done, path: agent.path(target), progress, kill })
    }
    const end = async () => {
      await Promise.all(agents.map((agent) => rm(agent.path(target), { force: true })))
      if (dead.length === 0) return
      await Promise.all(dead.map((agent) => agent.startDaemon()))
      await mesh()
    }
    return Promise.resolve({ fetch, end })
  }
  return { name: 'shorthaul, daemons', isSwarm: true, begin }
}
