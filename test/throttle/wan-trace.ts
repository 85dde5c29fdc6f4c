/** What the WAN law saw on a real line: one array for each field, so that a trace can be kept beside the tests. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { LEAST_MS } from '../../src/throttle/delay-estimator.ts'
import type { WanSample } from '../../src/throttle/wan-sample.ts'

interface Line {
  readonly mbit: number
  readonly fifoMs: number
  readonly rttMs: number
  /** The foreground was on the machine of the agent. */
  readonly isHere: boolean
}

export interface Recording extends Line {
  readonly samples: readonly { readonly sample: WanSample; readonly wallMs: number }[]
  /** Of the foreground, by the wall clock. */
  readonly fromMs: number
  readonly untilMs: number
}

type Column = readonly (number | null)[]

interface Trace extends Line {
  readonly foreground: { readonly fromMs: number; readonly untilMs: number }
  readonly columns: Readonly<Record<string, Column>>
}

export interface Replay extends Line {
  readonly samples: readonly WanSample[]
  /** In the samples' time. */
  readonly foreground: { readonly fromMs: number; readonly untilMs: number }
}

const DELAY = ['baseMs', 'queueMs', 'recentQueueMs', 'soonQueueMs', 'thresholdMs', 'noiseMs'] as const
/** Samples from one answer of the probe to the next: the smallest of one answer more is that of then and now. */
const PROBE_TICKS = 2
const LOCAL = ['foregroundBytesPerSec', 'totalBytesPerSec', 'peakBytesPerSec'] as const

export function traceFile(name: string): string {
  return fileURLToPath(new URL(`traces/${name}.json`, import.meta.url))
}

export function encodeTrace({ samples, fromMs, untilMs, ...line }: Recording): Trace {
  const [first] = samples
  if (!first) throw new RangeError('Cannot keep a trace without samples')
  const sinceMs = first.sample.nowMs
  const column = (pick: (sample: WanSample) => number | null | undefined, digits = 0): Column =>
    samples.map(({ sample }) => {
      const value = pick(sample)
      return value === null || value === undefined ? null : Number(value.toFixed(digits))
    })
  const columns: Record<string, Column> = {
    nowMs: column(({ nowMs }) => nowMs - sinceMs),
    delaySpreadMs: column(({ delaySpreadMs }) => delaySpreadMs, 1),
    last200Ms: column(({ bytesPerSec }) => bytesPerSec.last200Ms),
    last500Ms: column(({ bytesPerSec }) => bytesPerSec.last500Ms),
    arrived: column(({ arrivedBytesPerSec }) => arrivedBytesPerSec),
    isLimited: column(({ isLimited }) => Number(isLimited)),
    isActive: column(({ local }) => (local === null ? null : Number(local.isActive))),
  }
  for (const field of DELAY) columns[field] = column(({ delay }) => delay?.[field], 1)
  for (const field of LOCAL) columns[field] = column(({ local }) => local?.[field])
  const inSamples = (wallMs: number) => Math.round(wallMs - first.wallMs)
  return { ...line, foreground: { fromMs: inSamples(fromMs), untilMs: inSamples(untilMs) }, columns }
}

export function readTrace(name: string): Replay {
  const { columns, ...about } = JSON.parse(readFileSync(traceFile(name), 'utf8')) as Trace
  const at = (field: string, index: number): number | null => columns[field]?.[index] ?? null
  const number = (field: string, index: number): number => at(field, index) ?? 0
  const samples = (columns.nowMs ?? []).map((_, index): WanSample => {
    const untilMs = number('nowMs', index)
    const last = (columns.queueMs ?? []).filter((_, at) => at <= index && untilMs - number('nowMs', at) < LEAST_MS)
    const delay = {
      ...Object.fromEntries(DELAY.map((field) => [field, number(field, index)])),
      leastQueueMs: Math.min(...last.map((one) => one ?? 0)),
      standingQueueMs: Math.min(
        number('recentQueueMs', index),
        number('recentQueueMs', Math.max(0, index - PROBE_TICKS)),
      ),
    }
    const local = Object.fromEntries(LOCAL.map((field) => [field, number(field, index)]))
    return {
      nowMs: number('nowMs', index),
      delay: at('baseMs', index) === null ? null : (delay as unknown as WanSample['delay']),
      delaySpreadMs: at('delaySpreadMs', index),
      bytesPerSec: { last200Ms: number('last200Ms', index), last500Ms: number('last500Ms', index) },
      arrivedBytesPerSec: at('arrived', index),
      isLimited: at('isLimited', index) === 1,
      capBytesPerSec: null,
      local:
        at('isActive', index) === null
          ? null
          : ({ ...local, isActive: at('isActive', index) === 1 } as WanSample['local']),
      isUserElsewhere: false,
    }
  })
  return { ...about, samples }
}
