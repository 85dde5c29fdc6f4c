import t from 'tap'
import { callOf, visitsOf, type WebRecord, webColumns, webFiguresOf } from '../../../bench/foreground/web-figures.ts'

const RECORD: WebRecord = {
  web: { fromMs: 1000, toMs: 3000 },
  call: { fromMs: 5000, toMs: 6000 },
  visits: [100, 200, 300, 400].map((durationMs, at) => ({ startedMs: 500 + at * 600, durationMs })),
  packets: [0, 1, 3, 4].map((number) => ({ number, sentMs: 5000 + number * 20, delayMs: 10 + number })),
  background: [
    { atMs: 0, bytes: 0 },
    { atMs: 8000, bytes: 1_000_000 },
  ],
  cpuRatio: 0.1,
}

void t.test('objects count when they began within the time', async (t) => {
  t.same(visitsOf(RECORD), { objects: 3, medianMs: 300, p95Ms: 400 })
  t.same(visitsOf({ ...RECORD, visits: [] }), { objects: 0, medianMs: null, p95Ms: null })
})

void t.test('datagrams of a call that did not come are seen by their gap', async (t) => {
  const { lostRatio, medianMs, p95Ms } = callOf(RECORD)
  t.equal(lostRatio?.toFixed(3), '0.200')
  t.same([medianMs, p95Ms], [11, 14])
  t.same(callOf({ ...RECORD, packets: [] }), { lostRatio: null, medianMs: null, p95Ms: null })
})

void t.test('all is compared with the same user alone', async (t) => {
  const alone = {
    ...RECORD,
    visits: [{ startedMs: 1500, durationMs: 100 }],
    packets: [{ number: 7, sentMs: 5500, delayMs: 10 }],
  }
  const figures = webFiguresOf(RECORD, alone)
  t.match(figures, { objectMedianToAloneRatio: 3, objectP95ToAloneRatio: 4, callAddedMedianMs: 1, callAddedP95Ms: 4 })
  t.match(figures, { backgroundBesideWebMbit: 1, backgroundBesideCallMbit: 1 })
  const never = { ...figures, objectMedianMs: null }
  t.match(webColumns([figures, never, never]), { objects: 3, objectMedianMs: null, callLostRatio: 0.2 })
})
