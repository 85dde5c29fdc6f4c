/**
 * Which jobs have a turn. Pure: (waiting, running) -> who starts, who stops, when to look again.
 *
 * Invariants:
 * 1. Foreground jobs all run, and take no turn from others: the governor gives them the line.
 * 2. Below, only the most urgent level that wants to has turns.
 * 3. Inside a level turns go round: who has had one for a slice makes room for who has waited longest.
 * 4. The end of a slice stops nobody for whom nobody waits.
 */
import { PRIORITIES, type Priority } from '../throttle/priority.ts'
import type { JobId } from './job.ts'

export interface Waiting {
  readonly id: JobId
  readonly priority: Priority
  readonly queuedSeq: number
}

export interface Running {
  readonly id: JobId
  readonly priority: Priority
  /** Of this turn. */
  readonly ranForMs: number
}

export interface ScheduleOptions {
  /** Turns at one time, below foreground. */
  readonly maxRunning: number
  readonly sliceMs: number
}

export interface Schedule {
  readonly start: readonly JobId[]
  readonly preempt: readonly JobId[]
  /** Until somebody's slice ends who is waited for; null: nothing changes by time alone. */
  readonly nextLookMs: number | null
}

const BACKGROUND = PRIORITIES.filter((priority) => priority !== 'foreground')

export function schedule(
  jobs: { readonly waiting: readonly Waiting[]; readonly running: readonly Running[] },
  { maxRunning, sliceMs }: ScheduleOptions,
): Schedule {
  const start = jobs.waiting.filter(({ priority }) => priority === 'foreground').map(({ id }) => id)
  const level = BACKGROUND.find(
    (priority) =>
      jobs.waiting.some((job) => job.priority === priority) || jobs.running.some((job) => job.priority === priority),
  )
  const isLower = ({ priority }: Running) => priority !== 'foreground' && priority !== level
  const preempt = jobs.running.filter(isLower).map(({ id }) => id)
  const waiting = jobs.waiting
    .filter(({ priority }) => priority === level)
    .sort((one, other) => one.queuedSeq - other.queuedSeq)
  const running = jobs.running
    .filter(({ priority }) => priority === level)
    .sort((one, other) => other.ranForMs - one.ranForMs)
  const free = Math.max(0, maxRunning - running.length)
  start.push(...waiting.slice(0, free).map(({ id }) => id))
  let left = waiting.length - free
  let nextLookMs: number | null = null
  for (const { id, ranForMs } of running) {
    if (left <= 0) break
    if (ranForMs < sliceMs) {
      nextLookMs = sliceMs - ranForMs
      break
    }
    preempt.push(id)
    left--
  }
  return { start, preempt, nextLookMs }
}
