import t from 'tap'
import type { DelayView } from '../../src/throttle/delay-estimator.ts'
import { QueueSuspicion } from '../../src/throttle/law/queue-suspicion.ts'

const TICK_MS = 50

function late(ms: number, noiseMs = 0): DelayView {
  return {
    baseMs: 20,
    queueMs: ms,
    recentQueueMs: ms,
    soonQueueMs: ms,
    standingQueueMs: ms,
    leastQueueMs: ms,
    thresholdMs: 25,
    noiseMs,
  }
}

/** What it says when answers are so late, one tick after the other. */
function said(suspicion: QueueSuspicion, ...latesMs: readonly number[]): readonly string[] {
  return latesMs.map((ms, at) => suspicion.look(late(ms), { nowMs: at * TICK_MS, thresholdMs: 25 }))
}

t.test('what is late for a moment is suspected, and forgotten', async (t) => {
  t.same(said(new QueueSuspicion(), 0, 8, 12, 14, 9, 0), ['none', 'none', 'suspected', 'suspected', 'none', 'none'])
})

t.test('what stays is a queue, and what is much is one at once', async (t) => {
  t.equal(said(new QueueSuspicion(), 12, 12, 12, 12).at(-1), 'sure')
  t.same(said(new QueueSuspicion(), 26), ['sure'])
})

t.test('what comes back time and again is one; with rests between it is chance', async (t) => {
  t.equal(said(new QueueSuspicion(), 12, 0, 12, 0, 12).at(-1), 'sure')
  const rest = Array.from({ length: 6 }, () => 0)
  t.equal(said(new QueueSuspicion(), 12, ...rest, 12, ...rest, 12).at(-1), 'suspected')
})

t.test('where answers scatter more must be late', async (t) => {
  const suspicion = new QueueSuspicion()
  t.equal(suspicion.look(late(12, 10), { nowMs: 0, thresholdMs: 25 }), 'none')
  t.equal(suspicion.look(late(14, 10), { nowMs: TICK_MS, thresholdMs: 25 }), 'suspected')
})

t.test('without answers there is nothing to suspect, and what was forgotten does not count', async (t) => {
  const suspicion = new QueueSuspicion()
  t.equal(suspicion.look(null, { nowMs: 0, thresholdMs: 25 }), 'none')
  said(suspicion, 12, 0, 12, 0)
  suspicion.forget()
  t.same(said(suspicion, 12), ['suspected'])
})
