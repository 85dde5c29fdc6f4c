/** What the governors do, for people: lines for `status`, a picture for `throttle watch`. Pure. */
import type { AgentStatus } from '../agent/views.ts'
import { formatTable } from './output.ts'

type Wan = AgentStatus['throttle']['wan']

/** Lines are told in bits, as line speeds are everywhere. */
export function formatMbit(bytesPerSec: number | null): string {
  if (bytesPerSec === null) return '-'
  const mbit = bytesPerSec / 125_000
  return `${mbit < 10 ? mbit.toFixed(2) : mbit.toFixed(1)} Mbit/s`
}

/** `label`, then what it says; for the table of `status`. */
export function throttleRows({ wan, lan, host }: AgentStatus['throttle']): string[][] {
  const rows = [['wan', `${wan.phase}: ${wan.why}${wan.mode === 'off' ? ' (throttle.mode is off)' : ''}`]]
  if (wan.phase !== 'idle') {
    const most = wan.rateMaxBytesPerSec === null ? '' : ` of at most ${formatMbit(wan.rateMaxBytesPerSec)}`
    const line = wan.capacityBytesPerSec === null ? '' : `, line ${formatMbit(wan.capacityBytesPerSec)}`
    const others = wan.agentsOnWan > 1 ? `, ${wan.agentsOnWan} agents share it` : ''
    rows.push(['', `reads ${formatMbit(wan.readBytesPerSec)}${most}${line}${formatQueue(wan)}${others}`])
  }
  if (wan.cap !== null) rows.push(['', `cap ${formatMbit(wan.cap.maxBytesPerSec)} by ${wan.cap.reason}`])
  for (const [what, { rateMaxBytesPerSec, reason }] of [
    ['gives', lan.serve],
    ['takes', lan.fetch],
  ] as const) {
    if (rateMaxBytesPerSec !== null) rows.push(['lan', `${what} at most ${formatMbit(rateMaxBytesPerSec)}: ${reason}`])
  }
  const conditions = [
    ...(host.cost === 'unknown' || host.cost === 'unrestricted' ? [] : [`line ${host.cost}`]),
    ...(host.power === 'battery' ? ['on battery'] : []),
  ]
  if (conditions.length > 0) rows.push(['', conditions.join(', ')])
  return rows
}

function formatQueue({ queueMs, baseRttMs }: Wan): string {
  return queueMs === null || baseRttMs === null
    ? ''
    : `, queue ${Math.max(0, queueMs).toFixed(0)} ms over ${baseRttMs.toFixed(0)} ms`
}

/** What was seen at one moment; `throttle watch` keeps the last ones. */
export interface WanMoment {
  readonly readBytesPerSec: number
  readonly foregroundBytesPerSec: number
  readonly queueMs: number
}

const BLOCKS = ' ▁▂▃▄▅▆▇█'

/** One character for each value, the last ones that fit; full height is `top`. */
export function sparkline(values: readonly number[], options: { top: number; width: number }): string {
  const { top, width } = options
  const shown = values.slice(-width)
  const last = BLOCKS.length - 1
  const bars = shown.map((value) => BLOCKS[Math.min(last, Math.max(0, Math.ceil((value / top) * last)))] ?? ' ')
  return bars.join('').padStart(width)
}

const LABEL_WIDTH = 12
const VALUE_WIDTH = 16

/** A picture of as many columns as the terminal has; each line ends where it does. */
export function drawThrottle(
  throttle: AgentStatus['throttle'],
  history: readonly WanMoment[],
  columns: number,
): readonly string[] {
  const { wan } = throttle
  const width = Math.max(10, columns - LABEL_WIDTH - VALUE_WIDTH - 1)
  const rates = history.flatMap(({ readBytesPerSec, foregroundBytesPerSec }) => [
    readBytesPerSec,
    foregroundBytesPerSec,
  ])
  const top = Math.max(wan.capacityBytesPerSec ?? 0, ...rates, 125_000)
  const queueTop = Math.max(50, ...history.map(({ queueMs }) => queueMs))
  const line = (label: string, values: readonly number[], most: number, now: string) =>
    `${label.padEnd(LABEL_WIDTH)}${sparkline(values, { top: most, width })} ${now}`
  const table = formatTable([
    ['line', `${formatMbit(wan.capacityBytesPerSec)}${wan.agentsOnWan > 1 ? `, shared by ${wan.agentsOnWan}` : ''}`],
    ['may read', wan.rateMaxBytesPerSec === null ? 'as much as comes' : formatMbit(wan.rateMaxBytesPerSec)],
    ['cap', wan.cap === null ? 'none' : `${formatMbit(wan.cap.maxBytesPerSec)} by ${wan.cap.reason}`],
    ['cost, power', `${throttle.host.cost}, ${throttle.host.power}`],
  ])
  return [
    `WAN ${wan.phase.toUpperCase()}: ${wan.why}`,
    '',
    line(
      'ours',
      history.map((one) => one.readBytesPerSec),
      top,
      formatMbit(wan.readBytesPerSec),
    ),
    line(
      'others here',
      history.map((one) => one.foregroundBytesPerSec),
      top,
      formatMbit(wan.foregroundBytesPerSec),
    ),
    line(
      'queue',
      history.map((one) => one.queueMs),
      queueTop,
      wan.queueMs === null ? '-' : `${Math.max(0, wan.queueMs).toFixed(0)} ms`,
    ),
    '',
    ...table.split('\n'),
  ].map((text) => text.slice(0, columns))
}
