/** The HTML report: one file that needs nothing else and loads nothing. */
import type { Row, Scenario, ScenarioResult } from '../scenario.ts'
import { barsOf } from './bars.ts'
import { barChart, curveChart, escapeText } from './svg.ts'

export interface Measured {
  readonly scenario: Pick<Scenario, 'name' | 'title' | 'bars'>
  readonly result: ScenarioResult
}

export interface PageOptions {
  readonly date: Date
  readonly machine: Readonly<Record<string, string | number>>
}

const STYLE = `:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 3rem } h3 { font-size: 1rem; margin: 1.5rem 0 .3rem }
svg { width: 100%; height: auto; font-size: 12px } svg text { fill: currentColor }
.ours { fill: #1f7a8c } .other { fill: #a3a9ad } .grid { stroke: currentColor; opacity: .15 }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 12px }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #8884; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left } li, footer { font-size: 13px }`

export function htmlPage(measured: readonly Measured[], options: PageOptions): string {
  const date = options.date.toISOString().slice(0, 16).replace('T', ' ')
  const machine = Object.entries(options.machine)
    .map(([key, value]) => `${key} ${value}`)
    .join(', ')
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>shorthaul bench</title>
<meta name="viewport" content="width=device-width"><style>${STYLE}</style></head><body>
<h1>shorthaul bench</h1>
<p>${date} UTC. All contenders of a chart were measured in the same run of the same lab. Ratios travel, absolute times do not.</p>
${measured.map(section).join('\n')}
<footer>${escapeText(machine)}</footer>
</body></html>
`
}

function section({ scenario, result }: Measured): string {
  const bars = scenario.bars.flatMap((spec) => {
    const drawn = barsOf(result.rows, spec)
    const title = `${spec.title} (${spec.column})`
    return drawn.length === 0 ? [] : [`<h3>${escapeText(title)}</h3>`, barChart(title, drawn)]
  })
  const curves = (result.curves ?? []).flatMap((chart) => [`<h3>${escapeText(chart.title)}</h3>`, curveChart(chart)])
  const remarks = result.remarks.map((remark) => `<li>${escapeText(remark)}</li>`)
  return [
    `<section><h2>${escapeText(scenario.name)}: ${escapeText(scenario.title)}</h2>`,
    ...bars,
    ...curves,
    rowsTable(result.rows),
    `<ul>${remarks.join('')}</ul></section>`,
  ].join('\n')
}

function rowsTable(rows: readonly Row[]): string {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))]
  const head = columns.map((column) => `<th>${escapeText(column)}</th>`).join('')
  const body = rows.map((row) => {
    const cells = columns.map((column) => `<td>${escapeText(String(row[column] ?? '-'))}</td>`)
    return `<tr>${cells.join('')}</tr>`
  })
  return `<div class="wide"><table><tr>${head}</tr>${body.join('')}</table></div>`
}
