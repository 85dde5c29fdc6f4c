/** One round of a crowd: everybody fetches the same new file, something may happen to one host, and all is recorded. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { seededRandom, systemClock } from '../../src/clock.ts'
import { parsePath, sha256Of } from '../../test/lab/generated-content.ts'
import { until } from '../../test/lab/until.ts'
import type { BenchLab } from '../bench-lab.ts'
import type { Curve } from '../scenario.ts'
import { MIB } from '../scenario.ts'
import type { CrowdContender, HostFetch, NewContent } from './contenders.ts'
import type { HostTimes, RoundRecord } from './figures.ts'

export type Disturbance = 'none' | 'owner-dies' | 'slow-host'

export const SLOW_HOST_MBIT = 5
/** Of the content, sent by the origin when its best customer dies. */
const DEATH_RATIO = 0.3
const ORIGIN_SAMPLE_MS = 200

export interface RoundOptions {
  readonly bytes: number
  readonly hosts: readonly number[]
  readonly disturbance: Disturbance
  /** Hosts start at random within this time. */
  readonly staggerMs: number
  /** Of that randomness: the same for every contender of a run. */
  readonly seed: number
  readonly lanMbit: number
  /** When those that have not ended are killed, and count as failed. */
  readonly deadlineMs: number
}

function newContent({ newUrl }: BenchLab, bytes: number): NewContent {
  const url = newUrl(bytes)
  const named = parsePath(new URL(url).pathname)
  if (!named) throw new Error(`${url} names no generated content`)
  return { ...named, generation: 1, url }
}

/** The host, killed, that took most from the origin until then. */
async function killOwner(
  { lab, origin }: BenchLab,
  { bytes, deadlineMs }: RoundOptions,
  fetches: ReadonlyMap<number, HostFetch>,
): Promise<number> {
  const check = async () => {
    const totals = await origin.totals()
    return totals.contentBytes >= DEATH_RATIO * bytes ? totals : undefined
  }
  const { byRemote } = await until(check, { timeoutMs: deadlineMs, everyMs: 20, what: 'the origin to send its part' })
  const taken = ([host]: readonly [number, HostFetch]) => byRemote[lab.hostAddress(host)]?.contentBytes ?? 0
  const [owner] = [...fetches].sort((a, b) => taken(b) - taken(a))
  if (!owner) throw new Error('Nobody fetches')
  await owner[1].kill()
  return owner[0]
}

async function isRight(path: string, sha256: string): Promise<boolean> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex') === sha256
}

function curveOf(label: string, startedMs: number, points: HostFetch['progress']): Curve {
  const shown = points.map(({ atMs, bytesDone }) => [(atMs - startedMs) / 1000, bytesDone / MIB] as const)
  return { label, points: shown }
}

/** Notes what the origin has sent, until the signal. */
async function watchOrigin({ origin }: BenchLab, signal: AbortSignal): Promise<HostFetch['progress']> {
  const points: { atMs: number; bytesDone: number }[] = []
  while (!signal.aborted) {
    points.push({ atMs: systemClock.monotonicMs(), bytesDone: (await origin.totals()).contentBytes })
    await systemClock.sleep(ORIGIN_SAMPLE_MS, { signal }).catch(() => undefined)
  }
  return points
}

interface Started {
  readonly fetches: ReadonlyMap<number, HostFetch>
  readonly startedMs: number
  readonly ends: readonly Promise<HostTimes & { wastedBytes: number | null }>[]
  /** All have started; rejects when one cannot. */
  readonly allStarted: Promise<unknown>
}

function startAll(fetch: (host: number) => Promise<HostFetch>, options: RoundOptions): Started {
  const random = seededRandom(options.seed)
  const fetches = new Map<number, HostFetch>()
  const startedMs = systemClock.monotonicMs()
  const begun = options.hosts.map(async (host) => {
    const delayMs = random() * options.staggerMs
    if (delayMs > 0) await systemClock.sleep(delayMs)
    const ownStartMs = systemClock.monotonicMs() - startedMs
    const running = await fetch(host)
    fetches.set(host, running)
    return { host, running, ownStartMs }
  })
  const ends = begun.map(async (one) => {
    const { host, running, ownStartMs } = await one
    const { wastedBytes } = await running.done
    return { host, startedMs: ownStartMs, endedMs: systemClock.monotonicMs() - startedMs, wastedBytes }
  })
  return { fetches, startedMs, ends, allStarted: Promise.all(begun) }
}

/** Plays one round; a host that fails is told in `failures`, not thrown. */
export async function playRound(
  benchLab: BenchLab,
  contender: CrowdContender,
  options: RoundOptions,
): Promise<RoundRecord> {
  const { lab, origin } = benchLab
  const { bytes, hosts, disturbance } = options
  const content = newContent(benchLab, bytes)
  const slowHost = disturbance === 'slow-host' ? (hosts.at(-1) ?? null) : null
  const round = await contender.begin(content)
  if (slowHost !== null) await lab.setLanRate(slowHost, SLOW_HOST_MBIT)
  await origin.reset()
  const wanBefore = await lab.wanBytesIn()

  const started = startAll(round.fetch, options)
  const over = new AbortController()
  const originPoints = watchOrigin(benchLab, over.signal)
  const settling = Promise.allSettled(started.ends)
  const deadline = setTimeout(() => {
    for (const fetch of started.fetches.values()) void fetch.kill()
  }, options.deadlineMs)
  await started.allStarted
  const deadHost = disturbance === 'owner-dies' ? await killOwner(benchLab, options, started.fetches) : null
  const settled = await settling
  clearTimeout(deadline)
  over.abort()
  if (slowHost !== null) await lab.setLanRate(slowHost, options.lanMbit)

  const wanBytes = (await lab.wanBytesIn()) - wanBefore
  const { contentBytes } = await origin.totals()
  const ended = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  const sha256 = sha256Of(content.seed, bytes)
  let rightTargets = 0
  for (const { host } of ended) if (await isRight(started.fetches.get(host)?.path ?? '', sha256)) rightTargets += 1
  const excludedHost = slowHost ?? deadHost
  const failures = settled.flatMap((one, at) =>
    one.status === 'rejected' && hosts[at] !== deadHost
      ? [`host ${hosts[at]}: ${String(one.reason).slice(0, 300)}`]
      : [],
  )
  const progress = [...started.fetches].filter(([, fetch]) => fetch.progress.length > 0)
  const byHost = progress.map(([host, fetch]) => curveOf(`host ${host}`, started.startedMs, fetch.progress))
  const byOrigin = curveOf('sent by the origin', started.startedMs, await originPoints)
  await round.end()
  const wasted = ended.flatMap((one) => (one.wastedBytes === null ? [] : [one.wastedBytes]))
  return {
    bytes,
    contentBytes,
    wanBytes,
    ended: ended.filter(({ host }) => host !== excludedHost),
    excluded: ended.find(({ host }) => host === excludedHost) ?? null,
    expectedTargets: hosts.length - (deadHost === null ? 0 : 1),
    rightTargets,
    wastedBytes: wasted.length === 0 ? null : wasted.reduce((sum, one) => sum + one, 0),
    failures,
    curves: byHost.length === 0 ? [] : [...byHost, byOrigin],
  }
}
