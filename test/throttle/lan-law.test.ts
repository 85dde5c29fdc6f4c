import fc from 'fast-check'
import t from 'tap'
import type { DirectionView } from '../../src/throttle/foreground-meter.ts'
import { LanLaw } from '../../src/throttle/lan-law.ts'
import { LinkOnPaper, MBIT } from './lan-simulation.ts'

const GREEDY = 1e12

await t.test('while nobody else uses the link there is no limit', async (t) => {
  for (const mbit of [20, 100, 1000]) {
    const link = new LinkOnPaper(mbit)
    for (let step = 0; step < 100; step++) {
      link.run(200, { others: 0, demand: GREEDY })
      if (link.decision?.view.state !== 'free' || link.rate !== null) t.fail(`${mbit} Mbit/s, step ${step}`)
    }
    t.ok(link.own > 0.95 * link.capacity, `${link.own / MBIT} of ${mbit} Mbit/s`)
    t.ok(link.backlogBytes / link.own < 0.15, 'and what waits in the kernel is soon gone')
  }
})

await t.test('others who want all get it within a second or two, and keep it', async (t) => {
  for (const mbit of [20, 100, 1000]) {
    const link = new LinkOnPaper(mbit)
    link.run(6000, { others: 0, demand: GREEDY })
    link.run(1800, { others: GREEDY, demand: GREEDY })
    t.ok(link.others > 0.9 * link.capacity, `${link.others / MBIT} of ${mbit} Mbit/s`)
    for (let step = 0; step < 300; step++) {
      link.run(200, { others: GREEDY, demand: GREEDY })
      if (link.others < 0.94 * link.capacity) t.fail(`step ${step}: ${link.others / MBIT} of ${mbit} Mbit/s`)
    }
    t.match(link.decision?.view, { state: 'yielding', reason: 'others on this host use the whole link' })
    t.ok((link.rate ?? 0) >= link.floor, 'the lane stays alive')
  }
})

await t.test('when they end it is held for a second, and then soon free again', async (t) => {
  const link = new LinkOnPaper(100)
  link.run(6000, { others: 0, demand: GREEDY })
  link.run(6000, { others: GREEDY, demand: GREEDY })
  link.run(1000, { others: 0, demand: GREEDY })
  t.ok(link.own < 0.1 * link.capacity)
  link.run(2200, { others: 0, demand: GREEDY })
  t.equal(link.decision?.view.state, 'free')
  t.ok(link.own > 0.9 * link.capacity, `${link.own / MBIT}`)
})

await t.test('beside others that are bounded we take the rest, less a tenth', async (t) => {
  const link = new LinkOnPaper(100)
  link.run(6000, { others: 0, demand: GREEDY })
  link.run(20_000, { others: 20 * MBIT, demand: GREEDY })
  t.ok(link.others > 19.9 * MBIT)
  t.ok(link.own > 60 * MBIT && link.own < 72 * MBIT, `${link.own / MBIT}`)
  t.equal(link.decision?.view.state, 'yielding')
  link.run(10_000, { others: GREEDY, demand: GREEDY })
  t.ok(link.others > 0.95 * link.capacity, 'and when they want all')
})

await t.test('others who do not grow when we go are no reason to stay away', async (t) => {
  // 50 Mbit/s come over the WAN, before we begin; the link could carry twenty times that.
  const link = new LinkOnPaper(1000)
  link.run(5000, { others: 50 * MBIT, demand: 0 })
  link.run(6000, { others: 50 * MBIT, demand: 300 * MBIT })
  t.ok(link.own > 290 * MBIT, `${link.own / MBIT}`)
  let least = link.own
  for (let step = 0; step < 100; step++) {
    link.run(200, { others: 50 * MBIT, demand: 300 * MBIT })
    least = Math.min(least, link.own)
  }
  t.ok(least > 290 * MBIT, 'and not every now and then')
  link.run(12_000, { others: GREEDY, demand: 300 * MBIT })
  t.ok(link.others > 0.9 * link.capacity, 'but when they grow, they are judged anew')
})

await t.test(
  'beside others that were judged harmless we grow until a queue shows, and then leave them room',
  async (t) => {
    const link = new LinkOnPaper(100)
    link.run(5000, { others: 20 * MBIT, demand: 0 })
    link.run(20_000, { others: 20 * MBIT, demand: GREEDY })
    let queuedSteps = 0
    for (let step = 0; step < 100; step++) {
      link.run(200, { others: 20 * MBIT, demand: GREEDY })
      if (link.backlogBytes / link.own > 0.05) queuedSteps++
    }
    t.equal(queuedSteps, 0)
    t.ok(link.own > 60 * MBIT && link.own < 72 * MBIT, `${link.own / MBIT}`)
  },
)

await t.test('a link that became slower is known as such', async (t) => {
  const fast = new LinkOnPaper(400)
  fast.run(20_000, { others: 0, demand: GREEDY })
  Object.defineProperty(fast, 'capacity', { value: 20 * MBIT })
  fast.run(60_000, { others: 0, demand: GREEDY })
  fast.run(10_000, { others: GREEDY, demand: GREEDY })
  t.ok(fast.others > 0.9 * fast.capacity, `${fast.others / MBIT}`)
})

await t.test('one bad reading costs a moment only', async (t) => {
  const link = new LinkOnPaper(100)
  link.run(6000, { others: 0, demand: GREEDY })
  link.others = 6 * MBIT
  link.run(200, { others: 6 * MBIT, demand: GREEDY })
  link.run(2000, { others: 0, demand: GREEDY })
  t.equal(link.decision?.view.state, 'free')
  t.ok(link.own > 0.9 * link.capacity, `${link.own / MBIT}`)
})

await t.test('those who receive get room for their acknowledgements, not the link', async (t) => {
  const link = new LinkOnPaper(100)
  link.run(6000, { others: 0, demand: GREEDY })
  let queuedSteps = 0
  let sent = 0
  for (let step = 0; step < 100; step++) {
    link.run(200, { others: 0, demand: GREEDY, against: 90 * MBIT })
    sent += link.own / 100
    if (step > 10 && link.backlogBytes / link.own > 0.05) queuedSteps++
  }
  t.ok(queuedSteps < 10, `${queuedSteps} of 90`)
  t.ok(sent > 0.8 * link.capacity, `${sent / MBIT}`)
  link.run(3000, { others: 0, demand: GREEDY })
  t.equal(link.rate, null)
})

await t.test('where the kernel cannot be read, large flows of others are still yielded to', async (t) => {
  const link = new LinkOnPaper(100)
  link.isBlind = true
  link.run(6000, { others: 0, demand: GREEDY })
  t.equal(link.rate, null)
  link.run(6000, { others: GREEDY, demand: GREEDY })
  t.ok(link.others > 0.9 * link.capacity, `${link.others / MBIT}`)
})

await t.test('whatever is measured, a rate is finite, and not below the floor', async () => {
  const rate = fc.double({ min: 0, max: 1e10, noNaN: true })
  const view: fc.Arbitrary<DirectionView> = fc.record({
    foregroundBytesPerSec: rate,
    totalBytesPerSec: rate,
    recentBytesPerSec: rate,
    recentForegroundBytesPerSec: rate,
    peakBytesPerSec: rate,
    isActive: fc.boolean(),
  })
  const input = fc.record({
    along: view,
    against: view,
    linkBytesPerSec: fc.option(rate),
    floorBytesPerSec: fc.constant(1000),
    isBlind: fc.boolean(),
    backlogBytes: fc.option(fc.nat(1e8)),
    writtenBytes: fc.nat(1e8),
    unsentBytes: fc.nat(1e8),
    stepMs: fc.nat(5000),
  })
  fc.assert(
    fc.property(fc.array(input, { maxLength: 60 }), (inputs) => {
      const law = new LanLaw()
      let nowMs = 0
      return inputs.every(({ stepMs, ...one }) => {
        nowMs += stepMs
        const { bytesPerSec, view: seen } = law.step({ ...one, nowMs })
        const isRight = (value: number | null) => value === null || (Number.isFinite(value) && value >= 0)
        const isAboveFloor = (seen.rateMaxBytesPerSec ?? 1000) >= 1000
        return isRight(bytesPerSec) && isRight(seen.rateMaxBytesPerSec) && isAboveFloor
      })
    }),
  )
})

await t.test(
  'it is calm once nobody was seen for a second, and not while others, a queue or a limit are there',
  async (t) => {
    const link = new LinkOnPaper(1000)
    t.notOk(link.law.isCalm, 'nothing is known yet')
    link.run(1600, { others: 0, demand: 100 * MBIT })
    t.ok(link.law.isCalm)
    link.run(200, { others: 50 * MBIT, demand: 100 * MBIT })
    t.notOk(link.law.isCalm, 'others were seen')
    link.run(6000, { others: 0, demand: 100 * MBIT })
    t.ok(link.law.isCalm)

    const slow = new LinkOnPaper(20)
    slow.run(10_000, { others: 0, demand: GREEDY })
    t.notOk(slow.law.isCalm, 'its own uploads queue')
  },
)
