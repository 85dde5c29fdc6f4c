import t from 'tap'
import { chartsOf } from '../../../bench/foreground/charts.ts'
import type { RunRecord } from '../../../bench/foreground/figures.ts'

const SERIES = [
  { atMs: 0, bytes: 0 },
  { atMs: 4000, bytes: 500_000 },
]
const RECORD: RunRecord = {
  idle: { fromMs: 1000, toMs: 2000 },
  busy: { fromMs: 2000, toMs: 3000 },
  tail: { fromMs: 3000, toMs: 4000 },
  backgrounds: [SERIES],
  foreground: [],
  pings: [500, 1500, 2500, 4500].map((sentMs, at) => ({ sentMs, rttMs: at === 2 ? null : 20 })),
  cpuRatio: null,
}

void t.test('charts begin with the idle window, end with the run, and leave out what was lost', async (t) => {
  const [flows, latency] = chartsOf('curl', RECORD, [1])
  t.same(
    flows?.curves.map(({ label, points }) => [label, points.length]),
    [
      ['background', 15],
      ['foreground', 15],
    ],
  )
  t.same(flows?.curves[0]?.points.at(-1), [3, 1])
  t.same(latency?.curves[0]?.points, [[0.5, 20]])
})

void t.test('several backgrounds are drawn together and one by one', async (t) => {
  const [flows] = chartsOf('curl', { ...RECORD, backgrounds: [SERIES, SERIES] }, [1, 2])
  t.same(
    flows?.curves.map(({ label }) => label),
    ['background', 'foreground', 'host 1', 'host 2'],
  )
  t.same(flows?.curves[0]?.points[0], [0.2, 2])
})
