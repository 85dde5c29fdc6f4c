import fc from 'fast-check'
import t from 'tap'
import { INITIAL_STREAMS, MAX_STREAMS, StreamBudget } from '../../src/swarm/stream-budget.ts'

const TICK_MS = 50

/** Looks 20 times per second; the rate follows from the number of streams. @returns every number that it had, in order */
function run(
  budget: StreamBudget,
  options: { fromMs?: number; forMs: number; rate: (streams: number) => number; isBusy?: boolean },
): number[] {
  const { fromMs = 0, forMs, rate, isBusy = true } = options
  const values = [budget.value]
  for (let nowMs = fromMs; nowMs < fromMs + forMs; nowMs += TICK_MS) {
    budget.update({ bytesPerSec: rate(budget.value), isBusy }, nowMs)
    if (budget.value !== values.at(-1)) values.push(budget.value)
  }
  return values
}

const eachLimited = (streams: number) => streams * 1e6
const lineLimited = () => 10e6

void t.test('it grows while the rate grows with it, and stays at the most that is allowed', async (t) => {
  t.same(run(new StreamBudget(), { forMs: 120_000, rate: eachLimited }), [INITIAL_STREAMS, 12, MAX_STREAMS])
})

void t.test('a trial that brings nothing is taken back, and repeated only after a rest', async (t) => {
  const budget = new StreamBudget()
  t.same(run(budget, { forMs: 10_000, rate: lineLimited }), [6, 12, 6])
  t.same(run(budget, { fromMs: 10_000, forMs: 20_000, rate: lineLimited }), [6])
  t.same(run(budget, { fromMs: 30_000, forMs: 20_000, rate: lineLimited }), [6, 12, 6])
})

void t.test('it stops where more brings no more', async (t) => {
  t.same(
    run(new StreamBudget({ initial: 2 }), { forMs: 25_000, rate: (streams) => Math.min(streams, 5) * 1e6 }),
    [2, 4, 8, 16, 8],
  )
})

void t.test('a rate says nothing while fewer streams run than may, or when it is not known', async (t) => {
  t.same(run(new StreamBudget(), { forMs: 60_000, rate: eachLimited, isBusy: false }), [INITIAL_STREAMS])
  t.same(run(new StreamBudget(), { forMs: 60_000, rate: () => 0 }), [INITIAL_STREAMS])
})

void t.test('the number of another lead is gone on with, without a trial for a while', async (t) => {
  const budget = new StreamBudget()
  budget.adopt(3, 1000)
  t.equal(budget.value, 3)
  t.same(run(budget, { fromMs: 1000, forMs: 3000, rate: eachLimited }), [3])
  t.same(run(budget, { fromMs: 4000, forMs: 3000, rate: eachLimited }), [3, 6])
  budget.adopt(255, 7000)
  t.equal(budget.value, MAX_STREAMS, 'within our own bounds')
  budget.adopt(0, 7000)
  t.equal(budget.value, 1)
})

void t.test('to adopt the number that it has does not end a trial', async (t) => {
  const budget = new StreamBudget()
  for (let nowMs = 0; nowMs < 10_000; nowMs += TICK_MS) {
    budget.adopt(budget.value, nowMs)
    budget.update({ bytesPerSec: eachLimited(budget.value), isBusy: true }, nowMs)
  }
  t.equal(budget.value, MAX_STREAMS)
})

void t.test('a limit holds from then on', async (t) => {
  const budget = new StreamBudget()
  budget.limit(1)
  t.equal(budget.value, 1)
  t.same(run(budget, { forMs: 60_000, rate: eachLimited }), [1])
  budget.adopt(9, 60_000)
  t.equal(budget.value, 1)
})

void t.test('whatever is measured and told, there is at least one stream and never more than allowed', async () => {
  const step = fc.oneof(
    fc.record({ adopt: fc.integer({ min: 0, max: 255 }) }),
    fc.record({
      bytesPerSec: fc.double({ min: 0, max: 1e10, noNaN: true }),
      isBusy: fc.boolean(),
      forMs: fc.nat(5000),
    }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.integer({ min: 1, max: 64 }), (steps, max) => {
      const budget = new StreamBudget({ max })
      let nowMs = 0
      return steps.every((it) => {
        if ('adopt' in it) {
          budget.adopt(it.adopt, nowMs)
        } else {
          for (const endMs = nowMs + it.forMs; nowMs < endMs; nowMs += TICK_MS) budget.update(it, nowMs)
        }
        return Number.isInteger(budget.value) && budget.value >= 1 && budget.value <= max
      })
    }),
  )
})
