import t from 'tap'
import { bytesAt, difference, meanMbit, ratesOf, sumOf } from '../../../bench/foreground/series.ts'

/** 1 Mbit/s for 1 s, nothing for 1 s, 2 Mbit/s for 1 s. */
const SERIES = [
  { atMs: 1000, bytes: 500 },
  { atMs: 2000, bytes: 125_500 },
  { atMs: 3000, bytes: 125_500 },
  { atMs: 4000, bytes: 375_500 },
]

void t.test('a counter over time', async (t) => {
  await t.test('moves in proportion between samples, and not at all outside of them', async (t) => {
    t.equal(bytesAt(SERIES, 1500), 63_000)
    t.equal(bytesAt(SERIES, 0), 500)
    t.equal(bytesAt(SERIES, 9000), 375_500)
    t.equal(bytesAt([], 9000), 0)
  })

  await t.test('gives rates of any span and of each whole step', async (t) => {
    t.equal(meanMbit(SERIES, { fromMs: 1000, toMs: 4000 }), 1)
    const rates = ratesOf(SERIES, { fromMs: 1000, toMs: 4900 }, 1000)
    t.same(rates, [
      { atMs: 2000, mbit: 1 },
      { atMs: 3000, mbit: 0 },
      { atMs: 4000, mbit: 2 },
    ])
    t.same(ratesOf(SERIES, { fromMs: 1000, toMs: 1500 }, 1000), [])
  })

  await t.test('is added to others, sampled at other times', async (t) => {
    const other = [
      { atMs: 500, bytes: 0 },
      { atMs: 4500, bytes: 4000 },
    ]
    t.same(sumOf([SERIES, other])[1], { atMs: 2000, bytes: 127_000 })
    t.same(sumOf([]), [])
  })

  await t.test('is parted from what is a part of it', async (t) => {
    const part = SERIES.map(({ atMs }, at) => ({ atMs, bytes: at * 100 }))
    t.same(
      difference(SERIES, part).map(({ bytes }) => bytes),
      [500, 125_400, 125_300, 375_200],
    )
  })
})
