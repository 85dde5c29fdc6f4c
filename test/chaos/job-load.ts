/** The jobs of a chaos run: made over the control socket, looked at until they end, and judged then. */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../../src/clock.ts'
import { generate, pathOf } from '../lab/generated-content.ts'
import type { ChaosHost } from './chaos-host.ts'
import { judgeDone, judgeFailure, type Outcome, Pulse } from './judgement.ts'
import type { ChaosPlan, ChaosResource, JobPlan } from './schedule.ts'
import type { ChaosWorld } from './world.ts'

const LOOK_EVERY_MS = 1500
/** The daemon may be down for as long as a fault lasts, and a command may hold its directory meanwhile. */
const CREATE_TIMEOUT_MS = 60_000
const MIN_RETRY_DELAY_MS = 5000
/** Reasons that explain nothing: it should move. */
const NO_REASONS = ['connecting', 'transferring', 'completing']

interface JobSeen {
  readonly id: string
  readonly state: string
  readonly reason: { readonly code: string; readonly text: string }
  readonly totals: { readonly bytesDone: number; readonly sources: { cache: number; peer: number; origin: number } }
  readonly error: { readonly code: string; readonly message: string } | null
}

export class JobLoad {
  readonly #world: ChaosWorld
  readonly #plan: ChaosPlan
  #count = 0
  /** Jobs that could not be made because no daemon was there. */
  skippedCount = 0

  constructor(world: ChaosWorld, plan: ChaosPlan) {
    this.#world = world
    this.#plan = plan
  }

  /**
   * What is left is wanted now: background work goes by the delays of the line, and where the processor is short those say
   * that it is full, so that a segment takes minutes.
   */
  async hurry(): Promise<void> {
    for (const host of this.#world.hosts) {
      const page = await host.call('GET', '/v1/jobs?limit=1000').catch(() => null)
      for (const { id, state } of (page as { readonly jobs: readonly JobSeen[] } | null)?.jobs ?? []) {
        await host.call('PATCH', `/v1/jobs/${id}`, { body: { priority: 'foreground' } }).catch((error: unknown) => {
          this.#world.note('job cannot be hurried', { host: host.host, id, error: String(error) })
        })
        // Its pause may be one of minutes by now.
        if (state === 'transient-error') await this.#act(host, id, 'resume')
      }
    }
  }

  /** One job from its making to its end. @param giveUp then it is cancelled, and counts as stuck */
  async run(plan: JobPlan, giveUp: AbortSignal): Promise<void> {
    const world = this.#world
    const host = world.host(plan.host)
    const resource = this.#plan.resources[plan.resource]
    if (!resource) throw new RangeError(`There is no resource ${plan.resource}`)
    const path = pathOf(resource.seed, resource.bytes)
    const target = join(host.targetsDir, `job-${++this.#count}`)
    const startedMs = world.nowMs()
    const generation = world.truth.generationOf(path)
    const pinned = plan.isPinned ? this.#sha256(resource, { generation, range: plan.range }) : null
    const id = await this.#create(host, plan, { url: world.url(resource), target, sha256: pinned })
    if (id === null) {
      this.skippedCount += 1
      return
    }
    const { outcome, job } = await this.#follow(host, { id, startedMs, giveUp })
    const endedMs = world.nowMs()
    const generations = world.truth.currentDuring(path, { fromMs: startedMs, untilMs: endedMs })
    const sha256s = generations.map((one) => this.#sha256(resource, { generation: one, range: plan.range }))
    const found = existsSync(target) ? await host.agent.sha256(target) : null
    const judged = judge(outcome, { sha256s, pinned, found })
    world.tasks.push({
      by: 'job',
      host: plan.host,
      url: world.url(resource),
      target,
      startedMs,
      endedMs,
      outcome: judged,
      wastedBytes: 0,
      sources: judged.is === 'right' && job ? job.totals.sources : null,
    })
    world.note('job ended', { host: plan.host, id, plan, target, startedMs: Math.round(startedMs), outcome: judged })
    if (found !== null) await unlink(target)
  }

  async #create(
    host: ChaosHost,
    plan: JobPlan,
    file: { readonly url: string; readonly target: string; readonly sha256: string | null },
  ): Promise<string | null> {
    const order = {
      priority: plan.priority,
      autoComplete: plan.autoComplete,
      minRetryDelayMs: MIN_RETRY_DELAY_MS,
      files: [{ ...file, ranges: plan.range === null ? null : [plan.range] }],
    }
    // A call that broke off may have made it.
    const headers = { 'idempotency-key': file.target }
    const deadlineMs = systemClock.monotonicMs() + CREATE_TIMEOUT_MS
    let lastError: unknown
    while (systemClock.monotonicMs() < deadlineMs) {
      try {
        return ((await host.call('POST', '/v1/jobs', { body: order, headers })) as JobSeen).id
      } catch (error) {
        lastError = error
      }
      await systemClock.sleep(1000)
    }
    this.#world.note('job could not be made', { host: host.host, error: String(lastError) })
    return null
  }

  async #follow(
    host: ChaosHost,
    about: { readonly id: string; readonly startedMs: number; readonly giveUp: AbortSignal },
  ): Promise<{ readonly outcome: Outcome; readonly job: JobSeen | null }> {
    const { id, giveUp } = about
    const world = this.#world
    const pulse = new Pulse(world.fairMs())
    let last: JobSeen | null = null
    for (;;) {
      await systemClock.sleep(LOOK_EVERY_MS)
      const job = host.isUp ? await this.#look(host, id) : null
      const nowMs = world.fairMs()
      if (job === 'forgotten') return { outcome: { is: 'stuck', why: 'the daemon has forgotten it' }, job: last }
      if (job === null) {
        pulse.seen({ nowMs, bytesDone: last?.totals.bytesDone ?? 0, reason: 'the daemon does not answer' })
        if (giveUp.aborted) return { outcome: { is: 'stuck', why: 'the daemon does not answer at the end' }, job: last }
        continue
      }
      last = job
      pulse.seen({ nowMs, bytesDone: job.totals.bytesDone, reason: statedReason(job) })
      const outcome = endOf(job)
      if (outcome !== null) {
        if (job.state === 'error') await this.#act(host, id, 'cancel')
        return { outcome, job }
      }
      if (job.state === 'transferred') await this.#act(host, id, 'complete')
      const why = giveUp.aborted ? `at the end: ${job.state}, ${job.reason.text}` : pulse.stuck(nowMs)
      if (why !== null) {
        await world.noteStuck()
        await this.#act(host, id, 'cancel')
        return { outcome: { is: 'stuck', why: `${why}; ${JSON.stringify(job.reason)}` }, job }
      }
    }
  }

  /** @returns null: the daemon is away */
  async #look(host: ChaosHost, id: string): Promise<JobSeen | 'forgotten' | null> {
    try {
      return (await host.call('GET', `/v1/jobs/${id}`)) as JobSeen
    } catch (error) {
      if (String(error).includes('answered with 404')) return 'forgotten'
      this.#world.note('job cannot be looked at', { host: host.host, id, error: String(error) })
      return null
    }
  }

  /** What was already done by an earlier call that broke off is done. */
  async #act(host: ChaosHost, id: string, verb: 'cancel' | 'complete' | 'resume'): Promise<void> {
    await host.call('POST', `/v1/jobs/${id}/${verb}`).catch((error: unknown) => {
      this.#world.note('job cannot be changed', { host: host.host, id, verb, error: String(error) })
    })
  }

  #sha256(resource: ChaosResource, of: { readonly generation: number; readonly range: JobPlan['range'] }): string {
    const { generation, range } = of
    if (range === null) return this.#world.sha256(resource, generation)
    const hash = createHash('sha256')
    for (const buffer of generate({ ...resource, generation }, range.startBytes, range.endBytes)) hash.update(buffer)
    return hash.digest('hex')
  }
}

/** Null: it explains nothing. */
function statedReason({ reason }: JobSeen): string | null {
  if (NO_REASONS.includes(reason.code)) return null
  // "Nothing has come for 70 s" is a finding and no reason, unless it says what is tried again.
  if (reason.code === 'stalled' && !/trying again|others use the line/.test(reason.text)) return null
  if (reason.code === 'waiting-for-turn' && reason.text === 'About to start') return null
  return reason.text
}

/** Null: it has not ended. */
function endOf(job: JobSeen): Outcome | null {
  switch (job.state) {
    case 'acknowledged':
      return { is: 'right' }
    case 'cancelled':
      return { is: 'killed' }
    case 'error':
      return { is: 'failed', code: job.error?.code ?? 'unknown', message: job.error?.message ?? '' }
    default:
      return null
  }
}

function judge(
  outcome: Outcome,
  about: { readonly sha256s: readonly string[]; readonly pinned: string | null; readonly found: string | null },
): Outcome {
  const { found } = about
  if (outcome.is === 'right') return judgeDone({ claimed: null, found }, about)
  if (found !== null) return { is: 'wrong', why: `a target of a job that ended as ${JSON.stringify(outcome)}` }
  return outcome.is === 'failed' ? judgeFailure(outcome, about) : outcome
}
