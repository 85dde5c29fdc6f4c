import t from 'tap'
import { barsOf } from '../../bench/html/bars.ts'
import { htmlPage } from '../../bench/html/page.ts'
import { barChart, curveChart, niceTop } from '../../bench/html/svg.ts'

const ROWS = [
  { contender: 'curl', lan: 'fast', ms: 100 },
  { contender: 'shorthaul', lan: 'fast', ms: 150 },
  { contender: 'curl', lan: 'slow', ms: 400 },
  { contender: 'shorthaul', lan: 'slow', ms: 200 },
  { contender: 'absent', lan: 'slow', ms: null },
]
const SPEC = { title: 'Time', column: 'ms', labels: ['contender', 'lan'], groups: ['lan'] }

void t.test('bars are compared with the first of their group; rows without the figure have none', async (t) => {
  t.same(barsOf(ROWS, SPEC), [
    { label: 'curl, fast', value: 100, ratio: null },
    { label: 'shorthaul, fast', value: 150, ratio: 1.5 },
    { label: 'curl, slow', value: 400, ratio: null },
    { label: 'shorthaul, slow', value: 200, ratio: 0.5 },
  ])
  t.same(barsOf(ROWS, { title: 'Time', column: 'ms', labels: ['lan'] })[3]?.ratio, 2, 'without groups: the very first')
})

void t.test('charts', async (t) => {
  await t.test('show the ratio beside the bar, and nothing bigger than the room', async (t) => {
    const svg = barChart('Time', barsOf(ROWS, SPEC))
    t.match(svg, '150 (×1.50)')
    const widths = [...svg.matchAll(/ width="([\d.]+)"/g)].map((match) => Number(match[1]))
    t.equal(Math.max(...widths), widths[2], 'the largest value has the longest bar')
  })

  await t.test('have axes that end above the largest value', async (t) => {
    t.equal(niceTop(0), 5)
    t.equal(niceTop(64), 100)
    t.equal(niceTop(0.9), 1)
    t.equal(niceTop(120), 125)
    t.equal(niceTop(50), 50)
    t.equal(niceTop(51), 60)
    t.equal(niceTop(27), 30)
  })

  await t.test('draw a line for each curve, also when there is nothing to draw', async (t) => {
    const chart = { title: 'c', xLabel: 's', yLabel: 'MiB' }
    const points = [[0, 0] as const, [2, 5] as const]
    const svg = curveChart({
      ...chart,
      curves: [
        { label: 'host 1', points },
        { label: 'host 2', points: [] },
      ],
    })
    t.equal(svg.match(/<polyline/g)?.length, 2)
    t.notMatch(svg, 'NaN')
    t.notMatch(curveChart({ ...chart, curves: [] }), 'NaN')
  })
})

void t.test('the page stands alone and escapes what it is given', async (t) => {
  const scenario = { name: 's', title: 'a <b>', bars: [SPEC] }
  const result = { rows: ROWS, remarks: ['x & <script>'] }
  const page = htmlPage([{ scenario, result }], { date: new Date(0), machine: { cpu: '"fast"' } })
  t.match(page, 'a &#60;b&#62;')
  t.notMatch(page, /<script|src=|href=|url\(/)
  t.match(page, /<td>-<\/td>/, 'a figure that is absent')
})
