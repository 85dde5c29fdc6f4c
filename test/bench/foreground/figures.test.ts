import t from 'tap'
import {
  figuresOf,
  jainIndex,
  latencyOf,
  medianWithNever,
  quantile,
  type RunRecord,
  recoveryMs,
  yieldMs,
} from '../../../bench/foreground/figures.ts'
import type { CounterPoint } from '../../../bench/foreground/series.ts'

const LINE_MBIT = 50
const START_MS = 100_000

/** Each rate for so long, from START_MS, sampled ten times a second. */
function seriesOf(...parts: readonly (readonly [mbit: number, lengthMs: number])[]): readonly CounterPoint[] {
  const points = [{ atMs: START_MS, bytes: 0 }]
  for (const [mbit, lengthMs] of parts) {
    for (let passedMs = 100; passedMs <= lengthMs; passedMs += 100) {
      const last = points.at(-1) ?? { atMs: START_MS, bytes: 0 }
      points.push({ atMs: last.atMs + 100, bytes: last.bytes + mbit * 12_500 })
    }
  }
  return points
}

function span(fromMs: number, toMs: number) {
  return { fromMs: START_MS + fromMs, toMs: START_MS + toMs }
}

void t.test('quantiles take a value that was seen; none of nothing', async (t) => {
  t.equal(quantile([3, 1, 2], 0.5), 2)
  t.equal(quantile([4, 1, 3, 2], 0.5), 2)
  t.equal(quantile([1, 2, 3, 4], 0.95), 4)
  t.equal(quantile([], 0.5), null)
})

void t.test('a median counts a run without the figure as the worst', async (t) => {
  t.equal(medianWithNever([1000, null, 2000]), 2000)
  t.equal(medianWithNever([1000, null, null]), null)
  t.equal(medianWithNever([1000, null]), null)
  t.equal(medianWithNever([]), null)
})

void t.test('Jain’s index is 1 among equals and 1/n when one has all', async (t) => {
  t.equal(jainIndex([5, 5, 5]), 1)
  t.equal(jainIndex([0, 7]), 0.5)
  t.equal(jainIndex([0, 0]), null)
  t.equal(jainIndex([]), null)
})

void t.test('yielding', async (t) => {
  await t.test('counts from when the rate stays low', async (t) => {
    t.equal(yieldMs(seriesOf([40, 1200], [2, 8800]), span(0, 10_000), LINE_MBIT), 1200)
  })

  await t.test('is not a gap of less than half a second', async (t) => {
    const stuttering = seriesOf([40, 1000], [0, 400], [40, 600], [0, 8000])
    t.equal(yieldMs(stuttering, span(0, 10_000), LINE_MBIT), 2000)
  })

  await t.test('does not happen at a tenth of the line, nor in the last half second', async (t) => {
    t.equal(yieldMs(seriesOf([5.1, 10_000]), span(0, 10_000), LINE_MBIT), null)
    t.equal(yieldMs(seriesOf([40, 9700], [0, 300]), span(0, 10_000), LINE_MBIT), null)
  })

  await t.test('is not the pause of who downloads in bursts', async (t) => {
    const bursts = Array.from({ length: 5 }, () => [[0, 1000] as const, [50, 1000] as const]).flat()
    t.equal(yieldMs(seriesOf(...bursts), span(0, 10_000), LINE_MBIT), null)
  })

  await t.test('is at once for who has nothing', async (t) => {
    t.equal(yieldMs(seriesOf([0, 10_000]), span(0, 10_000), LINE_MBIT), 0)
  })
})

void t.test('recovery counts from when half a second has more than 0.8 of the line', async (t) => {
  t.equal(recoveryMs(seriesOf([1, 2000], [48, 6000]), span(0, 8000), LINE_MBIT), 2000)
  t.equal(recoveryMs(seriesOf([1, 2000], [48, 200], [1, 6000]), span(0, 8000), LINE_MBIT), null, 'a burst is none')
  t.equal(recoveryMs(seriesOf([39, 8000]), span(0, 8000), LINE_MBIT), null)
})

void t.test('latency is of the pings sent within the span; lost ones are counted apart', async (t) => {
  const pings = [20, 30, null, 25, 500].map((rttMs, at) => ({ sentMs: START_MS + at * 50, rttMs }))
  t.same(latencyOf(pings, span(0, 200)), { medianMs: 25, p95Ms: 30, lostRatio: 0.25 })
  t.same(latencyOf(pings, span(900, 1000)), { medianMs: null, p95Ms: null, lostRatio: null })
})

const ALONE: RunRecord = {
  idle: span(0, 4000),
  busy: span(4000, 14_000),
  tail: span(14_000, 14_000),
  backgrounds: [],
  foreground: seriesOf([0, 4000], [40, 2000], [48, 8000]),
  pings: [{ sentMs: START_MS + 1000, rttMs: 20 }],
  cpuRatio: null,
}

void t.test('the figures of a run', async (t) => {
  const background = seriesOf([45, 12_000], [20, 1000], [1, 9000], [10, 1000], [45, 7000])
  const record: RunRecord = {
    idle: span(4000, 12_000),
    busy: span(12_000, 22_000),
    tail: span(22_000, 30_000),
    backgrounds: [background],
    foreground: seriesOf([0, 12_000], [20, 2000], [48, 8000]),
    pings: [{ sentMs: START_MS + 5000, rttMs: 26 }],
    cpuRatio: 0.1,
  }

  await t.test('compare with the foreground alone and the empty line', async (t) => {
    const figures = figuresOf(record, { background, alone: ALONE, lineMbit: LINE_MBIT })
    t.match(figures, { idleUseRatio: 0.9, fairness: 1, idleAddedMedianMs: 6, idleAddedP95Ms: 6, idleLostRatio: 0 })
    t.match(figures, { keptAfter2sRatio: 1, backgroundLeftMbit: 1, yieldMs: 1000, recoveryMs: 1000, cpuRatio: 0.1 })
    t.equal(figures.keptRatio?.toFixed(4), (424 / 464).toFixed(4))
    t.equal(figures.foregroundMbit, 42.4)
  })

  await t.test('are absent where there was no foreground', async (t) => {
    const figures = figuresOf({ ...record, busy: null }, { background, alone: ALONE, lineMbit: LINE_MBIT })
    t.match(figures, { idleUseRatio: 0.9, keptRatio: null, keptAfter2sRatio: null, yieldMs: null, recoveryMs: null })
  })
})
