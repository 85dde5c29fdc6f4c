/**
 * Tells whom jobs are to tell: takes up the notifications that were recorded with their transitions, and delivers each at
 * least once, those of one job over one channel in order. Knows nothing of how: the channels do.
 *
 * A notification is on disk until it is delivered or given up, so that it goes on after a crash; who receives one twice
 * knows it by its id. Jobs never wait for it.
 */
import { setMaxListeners } from 'node:events'
import type { Logger } from 'pino'
import type { Clock, Random } from '../clock.ts'
import { FairSlots } from './fair-slots.ts'
import type { NotifyChannel, OutboxEntry } from './job-events.ts'
import { MAX_RETRY_AFTER_MS, notifyRetryDelayMs } from './notify-retry.ts'

export type NotifyOutcome =
  | { readonly kind: 'delivered' }
  /** It would never work. */
  | { readonly kind: 'refused'; readonly message: string }
  /** It may work later. */
  | { readonly kind: 'failed'; readonly message: string; readonly retryAfterMs: number | null }

/** Tells one notification. Ends soon when the signal is aborted: what it returns then is not looked at. */
export type Notify = (entry: OutboxEntry, options: { readonly signal: AbortSignal }) => Promise<NotifyOutcome>

/** Where notifications are kept. */
export interface OutboxRecords {
  /** In the order in which they happened. */
  outbox(limit: number): Promise<OutboxEntry[]>
  settle(entries: readonly OutboxEntry[]): Promise<void>
  postpone(entry: OutboxEntry): Promise<void>
}

export interface OutboxComponents {
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly records: OutboxRecords
  readonly channels: Readonly<Record<NotifyChannel, Notify>>
}

export interface OutboxOptions {
  /** Held in memory, some hundred bytes each; more wait on disk until these are gone. Default: 20,000. */
  readonly maxQueued?: number
}

interface Queued {
  readonly entry: OutboxEntry
  /** Monotonic. */
  readonly sinceMs: number
}

/** For each channel: a command that hangs does not keep webhooks from their turn. */
const SLOTS = { maxCount: 8, maxPerOwner: 3 }
const MAX_QUEUED = 20_000
/** A disk that is full, say. */
const RECORD_AGAIN_MS = 15_000

export class Outbox {
  readonly #c: OutboxComponents
  readonly #maxQueued: number
  /** By job and channel; each is worked off by a task of its own, from its head. */
  readonly #lanes = new Map<string, Queued[]>()
  readonly #slots: Readonly<Record<NotifyChannel, FairSlots>> = {
    command: new FairSlots(SLOTS),
    webhook: new FairSlots(SLOTS),
  }
  readonly #stop = new AbortController()
  readonly #tasks = new Set<Promise<void>>()
  #queuedCount = 0
  /** There is more on disk than in memory: nothing is taken in before that is read, or it would come out of order. */
  #isBehind = true
  #leftOutCount = 0

  constructor(components: OutboxComponents, options: OutboxOptions = {}) {
    this.#c = components
    this.#maxQueued = options.maxQueued ?? MAX_QUEUED
    // Each that waits listens.
    setMaxListeners(0, this.#stop.signal)
  }

  /** Takes up what an earlier agent left. @throws SHORTHAUL_STORE_IO */
  async start(): Promise<void> {
    await this.#load()
  }

  /** These are on disk now. */
  push(entries: readonly OutboxEntry[]): void {
    for (const entry of entries) {
      if (!this.#isBehind && this.#queuedCount < this.#maxQueued) {
        this.#enqueue(entry)
        continue
      }
      this.#isBehind = true
      this.#leftOutCount++
    }
  }

  /** Stops at once; what is under way is told again when the agent is opened again. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort()
    while (this.#tasks.size > 0) await Promise.allSettled(this.#tasks)
  }

  async #load(): Promise<void> {
    this.#leftOutCount = 0
    const entries = await this.#c.records.outbox(this.#maxQueued + 1)
    // What was left out meanwhile may stand behind what was read.
    this.#isBehind = entries.length > this.#maxQueued || this.#leftOutCount > 0
    for (const entry of entries.slice(0, this.#maxQueued)) this.#enqueue(entry)
  }

  #enqueue(entry: OutboxEntry): void {
    if (this.#stop.signal.aborted) return
    const key = `${entry.event.job} ${entry.channel}`
    const queued = { entry, sinceMs: this.#c.clock.monotonicMs() }
    this.#queuedCount++
    const lane = this.#lanes.get(key)
    if (lane) {
      lane.push(queued)
      return
    }
    const fresh = [queued]
    this.#lanes.set(key, fresh)
    this.#spawn(() => this.#work(key, fresh))
  }

  async #work(key: string, lane: Queued[]): Promise<void> {
    for (let head = lane[0]; head; head = lane[0]) {
      await this.#deliver(head)
      lane.shift()
      this.#queuedCount--
    }
    this.#lanes.delete(key)
    if (this.#queuedCount === 0 && this.#isBehind) await this.#record(() => this.#load())
  }

  /** Resolves when it is delivered or given up, and that is on disk. */
  async #deliver(queued: Queued): Promise<void> {
    const { clock, random, log, records } = this.#c
    let { entry } = queued
    const { retry } = entry
    // Only what the receiver asked for outlives the process: a restart may well be what mended the rest.
    let delayMs = retry?.isAsked ? Math.min(Math.max(0, retry.atMs - clock.nowMs()), MAX_RETRY_AFTER_MS) : 0
    // And an attempt before its time costs none: an agent that starts often would soon have none left.
    let isFree = retry !== null && clock.nowMs() + delayMs < retry.atMs
    for (;;) {
      if (delayMs > 0) await clock.sleep(delayMs, { signal: this.#stop.signal })
      const outcome = await this.#try(entry)
      const about = {
        job: entry.event.job,
        event: entry.event.id,
        channel: entry.channel,
        owner: entry.event.owner.uid,
      }
      if (outcome.kind === 'delivered') {
        log.debug(about, 'notification was delivered')
        return this.#record(() => records.settle([entry]))
      }
      const attempt = isFree ? entry.attempt : entry.attempt + 1
      isFree = false
      const { message } = outcome
      const retryAfterMs = outcome.kind === 'failed' ? outcome.retryAfterMs : null
      const queuedForMs = clock.monotonicMs() - queued.sinceMs
      const nextMs =
        outcome.kind === 'failed' ? notifyRetryDelayMs({ attempt, queuedForMs, retryAfterMs, random }) : null
      if (nextMs === null) {
        log.warn({ ...about, attempt, reason: message }, 'notification was given up')
        return this.#record(() => records.settle([entry]))
      }
      log.debug({ ...about, attempt, reason: message, delayMs: nextMs }, 'notification failed and waits')
      delayMs = nextMs
      entry = { ...entry, attempt, retry: { atMs: clock.nowMs() + nextMs, isAsked: retryAfterMs !== null } }
      const postponed = entry
      await this.#record(() => records.postpone(postponed))
    }
  }

  async #try(entry: OutboxEntry): Promise<NotifyOutcome> {
    const { channels, log } = this.#c
    const { signal } = this.#stop
    const { uid, name } = entry.event.owner
    let outcome: NotifyOutcome
    try {
      outcome = await this.#slots[entry.channel].run(`${uid ?? name}`, signal, () =>
        channels[entry.channel](entry, { signal }),
      )
    } catch (err) {
      signal.throwIfAborted()
      log.error({ err, job: entry.event.job, channel: entry.channel }, 'notifying failed unexpectedly')
      return { kind: 'failed', message: 'unexpected failure', retryAfterMs: null }
    }
    // It may have been cut off: then nobody knows how it ended.
    signal.throwIfAborted()
    return outcome
  }

  /** Until it succeeds: what was told but is not recorded as told would be told again and again. */
  async #record(write: () => Promise<void>): Promise<void> {
    const { clock, log } = this.#c
    for (;;) {
      try {
        return await write()
      } catch (err) {
        log.error({ err }, 'the outbox could not be read or written')
        await clock.sleep(RECORD_AGAIN_MS, { signal: this.#stop.signal })
      }
    }
  }

  #spawn(work: () => Promise<void>): void {
    const task = work()
      .catch((err: unknown) => {
        // Aborted: all of it is on disk.
        if (!this.#stop.signal.aborted) this.#c.log.error({ err }, 'the outbox failed')
      })
      .finally(() => this.#tasks.delete(task))
    this.#tasks.add(task)
  }
}
