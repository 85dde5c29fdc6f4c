/** The fetches of a chaos run: real commands on each host, watched while they run and judged when they end. */
import { existsSync } from 'node:fs'
import { readdir, rm, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { type Random, seededRandom, systemClock } from '../../src/clock.ts'
import type { FetchDone, FetchFailed, FetchProgress } from '../lab/agent-host.ts'
import { pathOf } from '../lab/generated-content.ts'
import type { LabProcess } from '../lab/lab-process.ts'
import type { ChaosHost } from './chaos-host.ts'
import { isFallen, judgeFetch, type Outcome, Pulse } from './judgement.ts'
import type { ChaosPlan, FetchPlan } from './schedule.ts'
import type { ChaosWorld } from './world.ts'

/** With crowds and jobs a host has one or two under way. */
const WORKERS = 1
const MIN_PAUSE_MS = 500
const MAX_PAUSE_MS = 2500
/**
 * People come back to what failed, before they begin more, and make room when there is none: a disk of the lab would soon be
 * full of parts that nobody goes on with, and all that came after would fail for it.
 */
const MAX_UNFINISHED = 3
const WATCH_EVERY_MS = 1000

interface Running {
  readonly host: ChaosHost
  readonly process: LabProcess
  readonly resource: number
  readonly priority: FetchPlan['priority']
  wasKilled: boolean
}

interface FetchNote {
  readonly event: 'note'
  readonly note: string
  readonly message: string
}

type FetchLine = FetchDone | FetchFailed | FetchProgress | FetchNote

/** A fetch that left something to go on with. */
export interface Unfinished {
  readonly host: ChaosHost
  readonly resource: number
  readonly target: string
}

export class FetchLoad {
  /** Of failed and killed fetches, by target. */
  readonly unfinished = new Map<string, Unfinished>()
  readonly #world: ChaosWorld
  readonly #plan: ChaosPlan
  readonly #running = new Map<ChaosHost, Set<Running>>()
  readonly #targetsInUse = new Set<string>()
  #targetCount = 0
  #lastResource: number | null = null

  constructor(world: ChaosWorld, plan: ChaosPlan) {
    this.#world = world
    this.#plan = plan
    for (const host of world.hosts) this.#running.set(host, new Set())
  }

  /** Keeps all hosts fetching until `stop`; resolves when the last fetch has ended. */
  async run(stop: AbortSignal): Promise<void> {
    await Promise.all(this.#world.hosts.map((host) => this.#keepFetching(host, stop)))
  }

  /** All hosts want one thing at once. */
  async crowd(resource: number): Promise<void> {
    const plan: FetchPlan = { resource, isPinned: false, useOrigin: true, priority: 'foreground' }
    await Promise.all(this.#world.hosts.map((host) => this.fetch(host, plan)))
  }

  /** The resource that most commands fetch now, else that of the last one that was started. */
  busiest(): number | null {
    const counts = new Map<number, number>()
    for (const running of this.#running.values()) {
      for (const { resource } of running) counts.set(resource, (counts.get(resource) ?? 0) + 1)
    }
    const [most] = [...counts].sort(([, one], [, other]) => other - one)
    return most?.[0] ?? this.#lastResource
  }

  /** With -9. @returns false when none runs there */
  async killOne(host: number): Promise<boolean> {
    const [one] = this.#running.get(this.#world.host(host)) ?? []
    if (!one) return false
    one.wasKilled = true
    await one.process.kill('SIGKILL')
    return true
  }

  /** Background work may take minutes for a segment; what is left of it is fetched at the end, at once. */
  async killBackground(): Promise<void> {
    for (const running of this.#running.values()) {
      for (const one of running) {
        if (one.priority === 'foreground') continue
        one.wasKilled = true
        await one.process.kill('SIGKILL')
      }
    }
  }

  async #keepFetching(host: ChaosHost, stop: AbortSignal): Promise<void> {
    const plans = this.#plan.fetches[host.host - 1] ?? []
    let next = 0
    const work = async (random: Random) => {
      while (!stop.aborted) {
        await this.#goOnWithOldest(host, stop)
        const plan = plans[next++ % plans.length]
        if (!plan) return
        const { outcome, target } = await this.fetch(host, plan)
        // The same command again goes on; what is left of others is finished at the end.
        if (outcome.is === 'killed' && random() < 0.6 && !stop.aborted) await this.fetch(host, plan, target)
        const pauseMs = (MIN_PAUSE_MS + random() * (MAX_PAUSE_MS - MIN_PAUSE_MS)) / this.#plan.pace
        await systemClock.sleep(pauseMs, { signal: stop }).catch(() => {})
      }
    }
    const seed = this.#plan.seed * 1000 + host.host * 10
    await Promise.all(Array.from({ length: WORKERS }, (_, at) => work(seededRandom(seed + at))))
  }

  /** Until the host has not left too many unfinished. */
  async #goOnWithOldest(host: ChaosHost, stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      const isLeft = (one: Unfinished) => one.host === host && !this.#targetsInUse.has(one.target)
      const left = [...this.unfinished.values()].filter(isLeft)
      const [oldest] = left
      if (!oldest || left.length <= MAX_UNFINISHED) return
      const outcome = await this.finish(oldest)
      if (outcome.is !== 'failed') continue
      if (outcome.code === 'SHORTHAUL_DISK_FULL') await this.#forget(oldest)
      await systemClock.sleep(MIN_PAUSE_MS, { signal: stop }).catch(() => {})
    }
  }

  /** As a person does who needs the room. */
  async #forget({ target }: Unfinished): Promise<void> {
    const parts = (await readdir(dirname(target))).filter((name) => name.startsWith(`.${basename(target)}.`))
    for (const name of parts) await rm(join(dirname(target), name), { force: true })
    this.unfinished.delete(target)
  }

  /** The same command again, without a digest of a generation that may be gone. */
  async finish({ host, resource, target }: Unfinished): Promise<Outcome> {
    const plan = { resource, isPinned: false, useOrigin: true, priority: 'foreground' } as const
    const { outcome } = await this.fetch(host, plan, target)
    // It is last in the queue again.
    const again = this.unfinished.get(target)
    if (again && this.unfinished.delete(target)) this.unfinished.set(target, again)
    return outcome
  }

  /** One command to its end. @param target default: a new one */
  async fetch(
    host: ChaosHost,
    plan: FetchPlan,
    target = join(host.targetsDir, `file-${++this.#targetCount}`),
  ): Promise<{ readonly outcome: Outcome; readonly target: string }> {
    const world = this.#world
    const resource = this.#plan.resources[plan.resource]
    if (!resource) throw new RangeError(`There is no resource ${plan.resource}`)
    const generation = world.truth.generationOf(pathOf(resource.seed, resource.bytes))
    const pinned = plan.isPinned ? world.sha256(resource, generation) : null
    const url = world.url(resource)
    const args = [
      ...(pinned === null ? [] : ['--sha256', pinned]),
      ...(plan.useOrigin ? [] : ['--no-origin']),
      ...(plan.priority === 'foreground' ? [] : ['--priority', plan.priority]),
    ]
    const startedMs = world.nowMs()
    this.#lastResource = plan.resource
    this.#targetsInUse.add(target)
    const process_ = host.agent.startFetch(url, { target, args })
    const { resource: index, priority } = plan
    const running: Running = { host, process: process_, resource: index, priority, wasKilled: false }
    this.#running.get(host)?.add(running)
    const seen = watch(process_, () => world.fairMs())
    const watcher = new AbortController()
    const stuck = this.#untilStuck(seen, running, watcher.signal)
    const exit = await process_.exit
    watcher.abort()
    const stuckWhy = await stuck
    this.#running.get(host)?.delete(running)
    const endedMs = world.nowMs()

    const last = seen.last()
    const foundSha256 = existsSync(target) ? await host.agent.sha256(target) : null
    // Who may not ask the origin gets what the branch has, of whatever time.
    const span = { fromMs: plan.useOrigin ? startedMs : Number.NEGATIVE_INFINITY, untilMs: endedMs }
    const judged = judgeFetch(
      { exit, last, wasKilled: running.wasKilled, foundSha256, stderrTail: process_.stderr },
      { sha256s: world.allowed(resource, span), pinned },
    )
    const outcome: Outcome = stuckWhy === null || judged.is === 'wrong' ? judged : { is: 'stuck', why: stuckWhy }
    if (outcome.is !== 'crashed' && isFallen(process_.stderr)) {
      world.badLines.push(`host ${host.host}, fetch of ${url}: ${process_.stderr.slice(-2000)}`)
    }
    const done = last?.event === 'done' ? last : null
    world.tasks.push({
      by: 'fetch',
      host: host.host,
      url,
      target,
      startedMs,
      endedMs,
      outcome,
      wastedBytes: done?.wastedBytes ?? 0,
      sources: done?.sources ?? null,
    })
    world.note('fetch ended', {
      host: host.host,
      resource: plan.resource,
      url,
      target,
      args: args.map((text) => text.slice(0, 16)),
      startedMs: Math.round(startedMs),
      outcome,
      ...(outcome.is === 'right'
        ? { sources: done?.sources }
        : { notes: seen.notes, stderr: process_.stderr.slice(-1500) }),
    })
    if (outcome.is === 'right' && foundSha256 !== null) world.got(resource, foundSha256)
    if (foundSha256 !== null) await unlink(target)
    this.#targetsInUse.delete(target)
    if (outcome.is === 'right') this.unfinished.delete(target)
    else this.unfinished.set(target, { host, resource: plan.resource, target })
    return { outcome, target }
  }

  /** Others use the line, says the daemon: that is a reason for background work. */
  async #isYielding({ host, priority }: Running): Promise<boolean> {
    if (priority === 'foreground') return false
    const status = await host.call('GET', '/v1/status').catch(() => null)
    return (status as StatusSeen | null)?.throttle.wan.phase === 'yield'
  }

  /** Null when it ended before; else it is killed, and this says what it was at. */
  async #untilStuck(seen: Seen, running: Running, signal: AbortSignal): Promise<string | null> {
    while (!signal.aborted) {
      await systemClock.sleep(WATCH_EVERY_MS, { signal }).catch(() => {})
      const why = seen.stuck()
      if (why === null || (await this.#isYielding(running))) continue
      await this.#world.noteStuck()
      running.wasKilled = true
      void running.process.kill('SIGKILL')
      return `${why}; the last lines:\n${running.process.lines.slice(-2).join('\n')}\n${running.process.stderr.slice(-1000)}`
    }
    return null
  }
}

interface StatusSeen {
  readonly throttle: { readonly wan: { readonly phase: string } }
}

interface Seen {
  readonly notes: readonly string[]
  last(): FetchDone | FetchFailed | undefined
  stuck(): string | null
}

function watch(process_: LabProcess, nowMs: () => number): Seen {
  const pulse = new Pulse(nowMs())
  const notes: string[] = []
  let last: FetchDone | FetchFailed | undefined
  /** Said once for as long as it lasts; other notes tell of a moment. */
  let hold: string | null = null
  let bytesDone = 0
  process_.onLine((text) => {
    const line = parse(text)
    if (line?.event === 'done' || line?.event === 'error') last = line
    if (line?.event === 'note') {
      notes.push(line.message)
      if (line.note === 'held') hold = line.message
      pulse.seen({ nowMs: nowMs(), bytesDone, reason: line.message })
    }
    if (line?.event === 'progress') {
      if (line.bytesDone !== bytesDone) hold = null
      bytesDone = line.bytesDone
      pulse.seen({ nowMs: nowMs(), bytesDone, reason: hold })
    }
  })
  return { notes, last: () => last, stuck: () => pulse.stuck(nowMs()) }
}

/** Undefined for a line that a killed command did not finish. */
function parse(text: string): FetchLine | undefined {
  try {
    return JSON.parse(text) as FetchLine
  } catch {
    return undefined
  }
}
