/** Bars and curves as inline SVG. Colours come from the page's style sheet, so that it can be read in the dark too. */
import type { CurveChart } from '../scenario.ts'
import type { Bar } from './bars.ts'

const WIDTH = 760
const LABEL_WIDTH = 290
const VALUE_WIDTH = 130
const BAR_HEIGHT = 20
const BAR_STEP = 28
const CURVES = { height: 260, left: 48, right: 12, top: 10, bottom: 34 } as const
const TICKS = 5
const GOLDEN_ANGLE = 137.5

export function escapeText(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.codePointAt(0)};`)
}

function text(at: { x: number; y: number; anchor?: 'end' | 'middle' }, content: string): string {
  const anchor = at.anchor === undefined ? '' : ` text-anchor="${at.anchor}"`
  return `<text x="${at.x}" y="${at.y}"${anchor}>${escapeText(content)}</text>`
}

function svg(height: number, title: string, parts: readonly string[]): string {
  const open = `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escapeText(title)}">`
  return [open, ...parts, '</svg>'].join('\n')
}

/** Whole thousands are grouped; no unit: the title of the chart says it. */
function figure(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: Math.abs(value) < 100 ? 2 : 0 })
}

export function barChart(title: string, bars: readonly Bar[]): string {
  const longest = Math.max(...bars.map((bar) => bar.value), 0)
  const room = WIDTH - LABEL_WIDTH - VALUE_WIDTH
  const parts = bars.flatMap(({ label, value, ratio }, at) => {
    const y = at * BAR_STEP + 4
    const width = longest <= 0 ? 0 : Math.max(1, (Math.max(0, value) / longest) * room)
    const baseline = y + BAR_HEIGHT - 5
    const beside = ratio === null ? figure(value) : `${figure(value)} (×${ratio.toFixed(2)})`
    return [
      text({ x: LABEL_WIDTH - 8, y: baseline, anchor: 'end' }, label),
      `<rect class="${/shorthaul/.test(label) ? 'ours' : 'other'}" x="${LABEL_WIDTH}" y="${y}" width="${width.toFixed(1)}" height="${BAR_HEIGHT}"/>`,
      text({ x: Number((LABEL_WIDTH + width + 6).toFixed(1)), y: baseline }, beside),
    ]
  })
  return svg(bars.length * BAR_STEP + 8, title, parts)
}

/** Upper end of an axis: the next round number for each tick. */
export function niceTop(largest: number): number {
  if (largest <= 0) return TICKS
  const step = largest / TICKS
  const power = 10 ** Math.floor(Math.log10(step))
  const factor = [1, 1.2, 2, 2.5, 3, 4, 5, 6, 8, 10].find((one) => one * power >= step * (1 - 1e-9)) ?? 10
  return factor * power * TICKS
}

export function curveChart({ title, xLabel, yLabel, curves }: CurveChart): string {
  const { height, left, right, top, bottom } = CURVES
  const points = curves.flatMap((curve) => curve.points)
  const xTop = niceTop(Math.max(0, ...points.map(([x]) => x)))
  const yTop = niceTop(Math.max(0, ...points.map(([, y]) => y)))
  const legendHeight = Math.ceil(curves.length / 4) * 18
  const xOf = (x: number) => Number((left + (x / xTop) * (WIDTH - left - right)).toFixed(1))
  const yOf = (y: number) => Number((height - bottom - (y / yTop) * (height - top - bottom)).toFixed(1))
  const ticks = Array.from({ length: TICKS + 1 }, (_, at) => at / TICKS)
  const grid = ticks.flatMap((ratio) => [
    `<line class="grid" x1="${left}" x2="${WIDTH - right}" y1="${yOf(ratio * yTop)}" y2="${yOf(ratio * yTop)}"/>`,
    text({ x: left - 6, y: yOf(ratio * yTop) + 4, anchor: 'end' }, figure(ratio * yTop)),
    text({ x: xOf(ratio * xTop), y: height - bottom + 16, anchor: 'middle' }, figure(ratio * xTop)),
  ])
  const axes = [text({ x: left, y: height - 2 }, `${yLabel} over ${xLabel}`)]
  const drawn = curves.flatMap((curve, at) => {
    const colour = `hsl(${Math.round(at * GOLDEN_ANGLE) % 360}, 65%, 45%)`
    const path = curve.points.map(([x, y]) => `${xOf(x)},${yOf(y)}`).join(' ')
    const legend = { x: left + (at % 4) * 176, y: height + 14 + Math.floor(at / 4) * 18 }
    return [
      `<polyline fill="none" stroke="${colour}" stroke-width="1.5" points="${path}"/>`,
      `<rect x="${legend.x}" y="${legend.y - 9}" width="10" height="10" fill="${colour}"/>`,
      text({ x: legend.x + 15, y: legend.y }, curve.label),
    ]
  })
  return svg(height + legendHeight + 8, title, [...grid, ...axes, ...drawn])
}
