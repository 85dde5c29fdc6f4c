import t from 'tap'
import type { CounterSeries } from '../../../bench/foreground/series.ts'
import { type ServingRecord, servingColumns, servingFiguresOf } from '../../../bench/foreground/serving-figures.ts'

/** One rate for all time. */
function steady(mbit: number): CounterSeries {
  return [
    { atMs: 0, bytes: 0 },
    { atMs: 40_000, bytes: mbit * 5_000_000 },
  ]
}

function record(rates: { up: number; down: number; sent: number; rttMs: number }): ServingRecord {
  return {
    idle: { fromMs: 1000, toMs: 5000 },
    up: { busy: { fromMs: 5000, toMs: 15_000 }, series: steady(rates.up) },
    down: { busy: { fromMs: 20_000, toMs: 30_000 }, series: steady(rates.down) },
    sent: steady(rates.sent),
    pings: [{ sentMs: 2000, rttMs: rates.rttMs }],
    cpuRatio: null,
  }
}

void t.test('the user’s flows are compared with those alone, and what leaves besides is served', async (t) => {
  const alone = record({ up: 80, down: 90, sent: 80, rttMs: 0.5 })
  const figures = servingFiguresOf(record({ up: 20, down: 81, sent: 95, rttMs: 10.5 }), alone)
  const { uploadKeptRatio, uploadKeptAfter2sRatio, downloadKeptRatio, downloadKeptAfter2sRatio } = figures
  t.same([uploadKeptRatio, uploadKeptAfter2sRatio], [0.25, 0.25])
  t.same(
    [downloadKeptRatio, downloadKeptAfter2sRatio].map((one) => one.toFixed(3)),
    ['0.900', '0.900'],
  )
  t.match(servingColumns([figures]), { idleServedMbit: 95, idleAddedMedianMs: 10, servedBesideUploadMbit: 75 })
  t.match(servingColumns([figures]), { servedBesideDownloadMbit: 95, cpuRatio: null })
})
