import fc from 'fast-check'
import t from 'tap'
import { ByteBudget } from '../../src/throttle/byte-budget.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const never = new AbortController().signal

/** In steps, and whoever takes bytes has its turn after each. */
class HandClock extends VirtualClock {
  override async pass(ms: number, stepMs = 1): Promise<void> {
    for (let passedMs = 0; passedMs < ms; passedMs += stepMs) await super.pass(stepMs)
  }
}

function setUp(bytesPerSec: number | null) {
  const clock = new HandClock()
  const budget = new ByteBudget({ clock })
  budget.setRate(bytesPerSec)
  return { clock, budget }
}

/** Takes piece after piece. @returns counts what was taken */
function writer(budget: ByteBudget, pieceBytes: number) {
  const stop = new AbortController()
  const taken = { bytes: 0 }
  const run = async () => {
    while (!stop.signal.aborted) {
      await budget.take(pieceBytes, { signal: stop.signal })
      taken.bytes += pieceBytes
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  const done = run().catch(() => {})
  const end = () => {
    stop.abort(new Error('enough'))
    return done
  }
  return { taken, end }
}

await t.test('without a rate everybody goes on and nothing is timed', async (t) => {
  const { clock, budget } = setUp(null)
  const reader = budget.reader(() => t.fail('nobody waits'))
  for (let count = 0; count < 100; count++) {
    t.equal(budget.take(1e9, { signal: never }), null)
    t.ok(reader.charge(1e9))
  }
  t.equal(clock.sleeperCount, 0)
})

await t.test('writers get the rate, each its share', async (t) => {
  const { clock, budget } = setUp(1_000_000)
  const writers = [1, 2, 3, 4].map(() => writer(budget, 16_384))
  await clock.pass(2000)
  for (const { taken } of writers) t.ok(Math.abs(taken.bytes - 500_000) < 40_000, `${taken.bytes}`)
  t.ok(clock.sleeperCount <= 1, 'one timer for all')
  for (const { end } of writers) await end()
})

await t.test('a new rate counts at once, none lets all go', async (t) => {
  const { clock, budget } = setUp(1000)
  const one = writer(budget, 16_384)
  await clock.pass(100)
  const before = one.taken.bytes
  budget.setRate(1_000_000)
  await clock.pass(1000)
  t.ok(one.taken.bytes - before > 900_000, `${one.taken.bytes - before}`)
  budget.setRate(10)
  await clock.pass(50)
  let isFree = false
  const waiting = budget.take(1, { signal: never })?.then(() => {
    isFree = true
  })
  await clock.pass(50)
  t.notOk(isFree)
  const ended = one.end()
  budget.setRate(null)
  await waiting
  await ended
  t.equal(budget.take(1e9, { signal: never }), null)
})

await t.test('idling saves up a burst and no more', async (t) => {
  const { clock, budget } = setUp(1_000_000)
  clock.atMs += 3_600_000
  t.equal(budget.take(50_000, { signal: never }), null)
  t.equal(budget.take(1, { signal: never }), null, 'the account is empty, not overdrawn')
  t.not(budget.take(1, { signal: never }), null)
})

await t.test('whoever is aborted waits no longer and pays nothing', async (t) => {
  const { clock, budget } = setUp(1_000_000)
  t.equal(budget.take(16_384, { signal: never }), null)
  const stop = new AbortController()
  const doomed = budget.take(1_000_000, { signal: stop.signal })
  stop.abort(new Error('gone'))
  await t.rejects(doomed ?? Promise.resolve(), { message: 'gone' })
  let isServed = false
  budget.take(1, { signal: never })?.then(
    () => {
      isServed = true
    },
    () => {},
  )
  await clock.pass(100)
  t.ok(isServed)
  const dead = AbortSignal.abort(new Error('dead'))
  t.equal(budget.take(1_000_000, { signal: never }), null)
  await t.rejects(budget.take(1, { signal: dead }) ?? Promise.resolve(), { message: 'dead' })
})

await t.test('readers are held, and called in turn, so that none stands still', async (t) => {
  const { clock, budget } = setUp(100_000)
  const counts = [0, 0, 0, 0]
  let read = 0
  const readers = counts.map((_, index) => {
    const go = () => {
      // Each reads what it can have at once: as much as the kernel has.
      for (let isOn = true; isOn; ) {
        counts[index] = (counts[index] ?? 0) + 16_384
        read += 16_384
        isOn = reader.charge(16_384)
      }
    }
    const reader = budget.reader(go)
    return { reader, go }
  })
  for (const { go } of readers) go()
  t.ok(readers.every(({ reader }) => reader.isHeld))
  const atStart = read
  await clock.pass(10_000, 5)
  t.ok(Math.abs(read - atStart - 1_000_000) < 120_000, `${read - atStart}`)
  t.ok(Math.min(...counts) > 0.7 * Math.max(...counts), `${counts}`)
  for (const { reader } of readers) reader.close()
  await clock.pass(2000, 5)
  t.equal(clock.sleeperCount, 0, 'and nothing is timed for those who left')
})

await t.test('what is read although it was held is paid for too', async (t) => {
  const { clock, budget } = setUp(100_000)
  let calls = 0
  const reader = budget.reader(() => {
    calls++
  })
  t.notOk(reader.charge(100_000))
  t.notOk(reader.charge(100_000))
  await clock.pass(1500, 5)
  t.equal(calls, 0)
  await clock.pass(700, 5)
  t.equal(calls, 1)
  t.notOk(reader.isHeld)
})

await t.test('whatever is taken at whatever rates, no more passes than they allow', async () => {
  const step = fc.record({
    bytesPerSec: fc.integer({ min: 1000, max: 10_000_000 }),
    ms: fc.integer({ min: 1, max: 200 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
      const { clock, budget } = setUp(1000)
      const pieces = 16_384
      const one = writer(budget, pieces)
      let allowed = 2 * pieces
      for (const { bytesPerSec, ms } of steps) {
        budget.setRate(bytesPerSec)
        allowed += (bytesPerSec * (ms + 50)) / 1000 + pieces
        await clock.pass(ms, 10)
      }
      await one.end()
      return one.taken.bytes <= allowed
    }),
    { numRuns: 30 },
  )
})
