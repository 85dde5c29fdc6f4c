import fc from 'fast-check'
import t from 'tap'
import { DelayEstimator, isCool, isHot, isKeptQueue, NOISY_MS } from '../../src/throttle/delay-estimator.ts'

const MINUTE_MS = 60_000

/** Round trips one after the other, every 100 ms. @returns when the next would come */
function addAll(
  estimator: DelayEstimator,
  rttsMs: readonly number[],
  from: { atMs: number; isQuiet: boolean },
): number {
  let { atMs } = from
  for (const rttMs of rttsMs) {
    estimator.add(rttMs, atMs, from.isQuiet)
    atMs += 100
  }
  return atMs
}

function repeat(count: number, ...rttsMs: number[]): number[] {
  return Array.from({ length: count }, () => rttsMs).flat()
}

const rtts = fc.array(fc.double({ min: 0.1, max: 2000, noNaN: true }), { minLength: 1, maxLength: 100 })

function viewOf(estimator: DelayEstimator, pendingMs: number) {
  const view = estimator.view(pendingMs)
  return view === null ? null : { ...view, isHot: isHot(view), isCool: isCool(view) }
}

await t.test('before the first answer there is nothing to say', async (t) => {
  const estimator = new DelayEstimator()
  t.equal(viewOf(estimator, 0), null)
  t.equal(viewOf(estimator, 5000), null, 'however long the first question has been out')
  t.equal(estimator.spreadMs(0), null)
})

await t.test('what queues is what an answer takes longer than the shortest', async (t) => {
  const estimator = new DelayEstimator()
  addAll(estimator, [20, 25, 30], { atMs: 0, isQuiet: false })
  t.match(viewOf(estimator, 0), { baseMs: 20, queueMs: 10, recentQueueMs: 5, isHot: false, isCool: true })
  fc.assert(
    fc.property(rtts, fc.boolean(), (values, isQuiet) => {
      const one = new DelayEstimator()
      addAll(one, values, { atMs: 0, isQuiet })
      const view = one.view(0)
      const least = Math.min(...values)
      const newest = [...values].reverse()
      const count = view && view.noiseMs > NOISY_MS ? 3 : 2
      const queueOf = (samples: number) => Math.min(...newest.slice(0, samples)) - least
      return (
        view?.baseMs === least &&
        view.queueMs === queueOf(1) &&
        view.soonQueueMs === queueOf(count - 1) &&
        view.recentQueueMs === queueOf(count) &&
        view.standingQueueMs === queueOf(count + 1) &&
        view.queueMs >= 0
      )
    }),
  )
})

await t.test('whatever comes, views are sane and the threshold stays in its bounds', async () => {
  const sample = fc.record({
    rttMs: fc.double({ min: 0.1, max: 2000, noNaN: true }),
    passMs: fc.integer({ min: 1, max: 40_000 }),
    isQuiet: fc.boolean(),
    pendingMs: fc.integer({ min: 0, max: 3000 }),
    verb: fc.constantFrom('nothing', 'nothing', 'nothing', 'rebase', 'reset'),
  })
  fc.assert(
    fc.property(fc.array(sample, { maxLength: 200 }), (samples) => {
      const estimator = new DelayEstimator()
      let atMs = 0
      for (const { rttMs, passMs, isQuiet, pendingMs, verb } of samples) {
        atMs += passMs
        estimator.add(rttMs, atMs, isQuiet)
        if (verb === 'rebase') estimator.rebase(atMs)
        else if (verb === 'reset') estimator.reset()
        const view = viewOf(estimator, pendingMs)
        if (verb === 'reset') {
          if (view !== null) return false
          continue
        }
        if (view === null || !Number.isFinite(view.baseMs)) return false
        if (view.isHot && view.isCool && view.soonQueueMs <= 2.5 * view.thresholdMs) return false
        if (view.recentQueueMs > view.queueMs && pendingMs > 0 && pendingMs > rttMs) return false
        if (view.thresholdMs < 25 || view.thresholdMs > 80 || view.noiseMs < 0) return false
        const spreadMs = estimator.spreadMs(atMs)
        if (spreadMs !== null && spreadMs < 0) return false
      }
      return true
    }),
  )
})

await t.test('one late answer alone is noise; two are somebody, and so is a very late one', async (t) => {
  const estimator = new DelayEstimator()
  let atMs = addAll(estimator, repeat(10, 20), { atMs: 0, isQuiet: false })
  atMs = addAll(estimator, [60], { atMs, isQuiet: false })
  t.match(viewOf(estimator, 0), { queueMs: 40, recentQueueMs: 0, isHot: false, isCool: true })
  atMs = addAll(estimator, [60], { atMs, isQuiet: false })
  t.match(viewOf(estimator, 0), { recentQueueMs: 40, isHot: true, isCool: false })
  atMs = addAll(estimator, [20], { atMs, isQuiet: false })
  t.match(viewOf(estimator, 0), { queueMs: 0, isHot: false, isCool: true })
  addAll(estimator, [20 + 63], { atMs, isQuiet: false })
  t.match(viewOf(estimator, 0), { queueMs: 63, recentQueueMs: 0, isHot: true })
})

await t.test('what is hardly above the threshold must stay for a third answer', async (t) => {
  const estimator = new DelayEstimator()
  let atMs = addAll(estimator, repeat(10, 20), { atMs: 0, isQuiet: false })
  atMs = addAll(estimator, [50, 50], { atMs, isQuiet: false })
  t.match(viewOf(estimator, 0), { recentQueueMs: 30, thresholdMs: 25, isHot: false, isCool: false })
  addAll(estimator, [50], { atMs, isQuiet: false })
  t.match(viewOf(estimator, 0), { standingQueueMs: 30, isHot: true })
})

await t.test(
  'a question that is not answered yet counts with its age once that is more than the last answer',
  async (t) => {
    const estimator = new DelayEstimator()
    addAll(estimator, repeat(5, 20), { atMs: 0, isQuiet: false })
    t.match(viewOf(estimator, 15), { queueMs: 0, recentQueueMs: 0 })
    t.match(viewOf(estimator, 45), { queueMs: 25, recentQueueMs: 0, isHot: false, isCool: true })
    t.match(viewOf(estimator, 90), { queueMs: 70, isHot: true }, 'nobody waits for the answer to know')
    addAll(estimator, [70], { atMs: 500, isQuiet: false })
    t.match(viewOf(estimator, 90), { queueMs: 70, recentQueueMs: 50, isHot: true })
  },
)

await t.test('the shortest round trip is believed for ten minutes', async (t) => {
  const estimator = new DelayEstimator()
  estimator.add(20, 0, false)
  let atMs = 0
  for (; atMs < 10 * MINUTE_MS; atMs += 1000) {
    estimator.add(50, atMs, false)
    if (viewOf(estimator, 0)?.baseMs !== 20) break
  }
  t.equal(atMs, 10 * MINUTE_MS)
  estimator.add(50, atMs, false)
  t.equal(viewOf(estimator, 0)?.baseMs, 50, 'then a longer path is one')
  estimator.add(10, atMs + 100, false)
  t.equal(viewOf(estimator, 0)?.baseMs, 10, 'a shorter one at once')
})

await t.test('how far round trips scatter is learnt only when nothing of ours can queue', async (t) => {
  const noisy = repeat(40, 20, 40)
  const busy = new DelayEstimator()
  addAll(busy, noisy, { atMs: 0, isQuiet: false })
  t.match(viewOf(busy, 0), { noiseMs: 0, thresholdMs: 25 })
  const quiet = new DelayEstimator()
  let atMs = addAll(quiet, noisy, { atMs: 0, isQuiet: true })
  t.match(viewOf(quiet, 0), { noiseMs: 20, thresholdMs: 40 }, 'one and a half times nine of ten, and 10 ms')

  await t.test('not from what is somebody else in the queue', async (t) => {
    atMs = addAll(quiet, repeat(100, 220), { atMs, isQuiet: true })
    t.match(viewOf(quiet, 0), { noiseMs: 20, thresholdMs: 40, isHot: true })
  })
  await t.test('nor from a small queue that somebody keeps', async (t) => {
    const kept = new DelayEstimator()
    const since = addAll(kept, repeat(30, 20), { atMs: 0, isQuiet: true })
    addAll(kept, repeat(20, 30, 30, 34), { atMs: since, isQuiet: true })
    t.match(kept.view(0), { noiseMs: 0, thresholdMs: 25, leastQueueMs: 10 })
    t.ok(isKeptQueue(kept.view(0)))
  })
  await t.test('and it is forgotten when the path is quiet again', async (t) => {
    addAll(quiet, repeat(40, 20), { atMs, isQuiet: true })
    t.match(viewOf(quiet, 0), { noiseMs: 0, thresholdMs: 25 })
  })
  await t.test('it has an upper bound, beyond which everything is hot', async (t) => {
    const radio = new DelayEstimator()
    let now = 0
    for (let most = 30; most <= 300; most += 10) {
      now = addAll(radio, repeat(40, 20, 20 + most), { atMs: now, isQuiet: true })
    }
    t.ok((viewOf(radio, 0)?.thresholdMs ?? 0) <= 80)
  })
})

await t.test('a rebase takes what came of late for an empty line', async (t) => {
  const estimator = new DelayEstimator()
  let atMs = addAll(estimator, repeat(50, 20), { atMs: 0, isQuiet: false })
  atMs = addAll(estimator, repeat(85, 70, 72), { atMs, isQuiet: false })
  t.match(viewOf(estimator, 0), { baseMs: 20, isHot: true })
  estimator.rebase(atMs)
  t.match(viewOf(estimator, 0), { baseMs: 70, queueMs: 2, isHot: false })
  const never = new DelayEstimator()
  never.rebase(0)
  t.equal(never.view(0), null, 'before anything came it is nothing')
  const old = new DelayEstimator()
  addAll(old, [20], { atMs: 0, isQuiet: false })
  old.rebase(MINUTE_MS)
  t.equal(old.view(0)?.baseMs, 20, 'what is older than that is better than nothing')
})

await t.test('another path: nothing holds that was learnt', async (t) => {
  const estimator = new DelayEstimator()
  addAll(estimator, repeat(40, 20, 40), { atMs: 0, isQuiet: true })
  estimator.reset()
  t.equal(viewOf(estimator, 0), null)
  t.equal(estimator.thresholdMs, 25)
  t.equal(estimator.spreadMs(8000), null)
  addAll(estimator, [200], { atMs: 9000, isQuiet: true })
  t.match(viewOf(estimator, 0), { baseMs: 200, queueMs: 0, noiseMs: 0, thresholdMs: 25 })
})

await t.test('how far apart the last eight seconds lie is said once they are eight', async (t) => {
  const estimator = new DelayEstimator()
  let atMs = addAll(estimator, repeat(35, 30, 33), { atMs: 0, isQuiet: false })
  t.equal(atMs, 7000)
  t.equal(estimator.spreadMs(atMs), null, 'not after seven')
  atMs = addAll(estimator, repeat(5, 30, 33), { atMs, isQuiet: false })
  t.equal(estimator.spreadMs(atMs - 100), 3)
  addAll(estimator, [90], { atMs, isQuiet: false })
  t.equal(estimator.spreadMs(atMs), 60)
  atMs = addAll(estimator, repeat(82, 31), { atMs: atMs + 100, isQuiet: false })
  t.equal(estimator.spreadMs(atMs - 100), 0, 'and the late one is forgotten')
  t.equal(estimator.spreadMs(atMs + 20_000), null, 'when nothing has come of late there is nothing to say')

  const slow = new DelayEstimator()
  for (let at = 0; at <= 8000; at += 2500) slow.add(30, at, false)
  t.equal(slow.spreadMs(8000), null, 'nor of a handful')
})
