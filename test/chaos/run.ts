/** One chaos run from the first namespace to the verdict. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../../src/clock.ts'
import { idleSamples, lookAfter, meet } from './aftermath.ts'
import { FaultDriver } from './faults.ts'
import { FetchLoad } from './fetch-load.ts'
import { type DaemonSample, type Findings, type Ledger, ledgerOf } from './figures.ts'
import { JobLoad } from './job-load.ts'
import { type ChaosEvent, type ChaosPlan, type PlanOptions, planOf } from './schedule.ts'
import { ChaosWorld } from './world.ts'

const SAMPLE_EVERY_MS = 2000
/** Longer than keep-alives that would make an end differ from a beginning. */
const SETTLE_MS = 4000
/** Everything is mended by then: who has not ended so much later, of fair time, is stuck. */
const END_TIMEOUT_MS = 150_000

export interface ChaosResult {
  readonly plan: ChaosPlan
  readonly ledger: Ledger
  readonly findings: Findings
  /** With the logs of a run that broke an invariant; null: they were removed. */
  readonly logsDir: string | null
}

export interface ChaosOptions extends PlanOptions {
  /** Keeps the logs also when nothing was broken. */
  readonly keepLogs: boolean
  readonly onProgress?: (text: string) => void
}

/** @throws Error when the lab itself cannot be made or fails; a broken invariant is a result. */
export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const { seed, minutes, hosts, pace, keepLogs, onProgress = () => {} } = options
  const plan = planOf({ seed, minutes, hosts, pace })
  const logsDir = await mkdtemp(join(tmpdir(), 'shorthaul-chaos-'))
  await writeFile(join(logsDir, 'plan.json'), JSON.stringify(plan, null, 1))
  const world = await ChaosWorld.open({ hosts: plan.hosts, logsDir })
  let findings: Findings
  try {
    findings = await carryOut(world, plan, onProgress)
  } finally {
    await world.close()
  }
  const ledger = ledgerOf(findings)
  await writeFile(join(logsDir, 'ledger.json'), JSON.stringify(ledger, null, 1))
  const isKept = keepLogs || ledger.broken.length > 0
  if (!isKept) await rm(logsDir, { recursive: true })
  return { plan, ledger, findings, logsDir: isKept ? logsDir : null }
}

async function carryOut(world: ChaosWorld, plan: ChaosPlan, tell: (text: string) => void): Promise<Findings> {
  const fetches = new FetchLoad(world, plan)
  const jobs = new JobLoad(world, plan)
  const faults = new FaultDriver(world, plan, fetches)
  tell('starting daemons')
  await Promise.all(world.hosts.map((host) => host.start()))
  const lonelyAtStart = await meet(world.hosts)
  // What the first transfer loads is no leak.
  await fetches.crowd(0)
  const idleAtStart = await idleSamples(world, SETTLE_MS)

  const sampling = new AbortController()
  const samples: DaemonSample[] = []
  const sampler = sample(world, samples, sampling.signal)
  const stop = new AbortController()
  const giveUp = new AbortController()
  tell(`${plan.events.length} events in ${plan.minutes} min`)
  const beganMs = systemClock.monotonicMs()
  const working = fetches.run(stop.signal)
  const happening: Promise<void>[] = []
  for (const event of plan.events) {
    await systemClock.sleep(Math.max(0, beganMs + event.atMs - systemClock.monotonicMs()))
    happening.push(happen(event, { fetches, jobs, faults, giveUp: giveUp.signal }))
  }
  await systemClock.sleep(Math.max(0, beganMs + plan.durationMs - systemClock.monotonicMs()))
  stop.abort()
  await fetches.killBackground()
  tell('all is mended; waiting for what was begun')
  const ended = new AbortController()
  const watching = abortAfter(giveUp, { world, timeoutMs: END_TIMEOUT_MS, ended: ended.signal })
  const hurrying = hurry(jobs, ended.signal)
  await Promise.all([working, ...happening])
  ended.abort()
  await Promise.all([watching, hurrying])
  await Promise.all(world.hosts.map((host) => host.settled()))
  tell('looking at what is left')
  const after = await lookAfter(world, fetches)
  const idleAtEnd = await idleSamples(world, SETTLE_MS)
  for (const host of world.hosts) world.note('descriptors', { host: host.host, kinds: await host.descriptorKinds() })
  sampling.abort()
  await sampler
  const originBytes = await world.originBytes()
  await Promise.all(world.hosts.map((host) => host.stop()))
  return {
    tasks: world.tasks,
    faults: faults.records,
    crashes: world.crashes,
    badLines: world.badLines,
    ...after,
    lonelyHosts: [...lonelyAtStart, ...after.lonelyHosts],
    idleAtStart,
    idleAtEnd,
    samples,
    originBytes,
    distinctBytes: world.distinctBytes,
  }
}

interface Actors {
  readonly fetches: FetchLoad
  readonly jobs: JobLoad
  readonly faults: FaultDriver
  readonly giveUp: AbortSignal
}

function happen(event: ChaosEvent, { fetches, jobs, faults, giveUp }: Actors): Promise<void> {
  switch (event.kind) {
    case 'job':
      return jobs.run(event, giveUp)
    case 'crowd':
      return fetches.crowd(event.resource)
    default:
      return faults.apply(event)
  }
}

/** Again and again: a daemon that is not there yet has jobs too. */
async function hurry(jobs: JobLoad, ended: AbortSignal): Promise<void> {
  while (!ended.aborted) {
    await jobs.hurry()
    await systemClock.sleep(10_000, { signal: ended }).catch(() => {})
  }
}

async function abortAfter(
  controller: AbortController,
  options: { readonly world: ChaosWorld; readonly timeoutMs: number; readonly ended: AbortSignal },
): Promise<void> {
  const { world, timeoutMs, ended } = options
  const deadlineMs = world.fairMs() + timeoutMs
  while (!ended.aborted && world.fairMs() < deadlineMs) {
    await systemClock.sleep(1000, { signal: ended }).catch(() => {})
  }
  if (!ended.aborted) controller.abort()
}

/** Also notes how busy machine and WAN are, without which nobody knows why something took long. */
async function sample(world: ChaosWorld, into: DaemonSample[], signal: AbortSignal): Promise<void> {
  let before = { wanBytes: await world.lab.wanBytesIn(), cpu: await cpuTimes(), atMs: world.nowMs() }
  while (!signal.aborted) {
    const seen = await Promise.all(world.hosts.map((host) => host.sample(world.nowMs())))
    into.push(...seen.filter((one) => one !== null))
    const now = { wanBytes: await world.lab.wanBytesIn(), cpu: await cpuTimes(), atMs: world.nowMs() }
    const runnable = await runnableCount()
    world.machineIs({ runnable, processors: availableParallelism() })
    world.note('machine', {
      runnable,
      wanMbit: Math.round((now.wanBytes - before.wanBytes) / 125 / (now.atMs - before.atMs)),
      busyRatio: Number(((now.cpu.busy - before.cpu.busy) / Math.max(1, now.cpu.all - before.cpu.all)).toFixed(2)),
    })
    before = now
    await systemClock.sleep(SAMPLE_EVERY_MS, { signal }).catch(() => {})
  }
}

/** Of all processors, in ticks since the start of the machine. */
async function cpuTimes(): Promise<{ readonly busy: number; readonly all: number }> {
  const [first = ''] = (await readFile('/proc/stat', 'utf8')).split('\n')
  const [user = 0, nice = 0, system = 0, idle = 0, wait = 0, ...rest] = first.split(/\s+/).slice(1).map(Number)
  const busy = user + nice + system + rest.slice(0, 3).reduce((sum, one) => sum + one, 0)
  return { busy, all: busy + idle + wait }
}

/** Processes that run or want to, on the whole machine. */
async function runnableCount(): Promise<number> {
  return Number(/ (\d+)\/\d+ /.exec(await readFile('/proc/loadavg', 'utf8'))?.[1] ?? 1)
}
