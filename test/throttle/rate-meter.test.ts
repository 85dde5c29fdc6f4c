import fc from 'fast-check'
import t from 'tap'
import { RateMeter } from '../../src/throttle/rate-meter.ts'

void t.test('it says nothing before there is something to say', async (t) => {
  const meter = new RateMeter()
  t.equal(meter.bytesPerSec(5000), null)
  meter.add(1_000_000, 5000)
  t.equal(meter.bytesPerSec(5299), null, 'the first packets come in a burst')
  t.ok((meter.bytesPerSec(5300) ?? 0) > 0)
})

void t.test('a steady flow is told as it is, from the start and ever after', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 40 }),
      fc.double({ min: 0, max: 1e6, noNaN: true }),
      fc.integer({ min: 1000, max: 1_000_000 }),
      (everyMs, fromMs, bytesPerSec) => {
        const meter = new RateMeter()
        for (let nowMs = fromMs; nowMs <= fromMs + 3000; nowMs += everyMs) {
          meter.add((bytesPerSec * everyMs) / 1000, nowMs)
          const rate = meter.bytesPerSec(nowMs)
          if (rate === null) continue
          // One sample more or less than the span has room for.
          if (Math.abs(rate - bytesPerSec) > bytesPerSec * ((2 * everyMs) / 300 + 1e-6)) return false
        }
        return true
      },
    ),
    { numRuns: 200 },
  )
})

void t.test('it forgets after a second, however long the silence', async (t) => {
  for (const silenceMs of [1000, 5000, 1e9]) {
    const meter = new RateMeter()
    for (let nowMs = 0; nowMs <= 1000; nowMs += 10) meter.add(10_000, nowMs)
    t.equal(meter.bytesPerSec(1000 + silenceMs), 0)
    meter.add(500_000, 1000 + silenceMs)
    const rate = meter.bytesPerSec(1000 + silenceMs) ?? 0
    t.ok(rate >= 500_000 && rate < 600_000, `${rate} after ${silenceMs} ms`)
  }
})

void t.test('a change is told within a second', async (t) => {
  const meter = new RateMeter()
  for (let nowMs = 0; nowMs < 2000; nowMs += 10) meter.add(10_000, nowMs)
  t.ok(Math.abs((meter.bytesPerSec(1999) ?? 0) - 1e6) < 20_000)
  for (let nowMs = 2000; nowMs < 3000; nowMs += 10) meter.add(1000, nowMs)
  t.ok(Math.abs((meter.bytesPerSec(2999) ?? 0) - 1e5) < 2000)
})

void t.test('whatever comes in, the rate is finite, not negative, and no more than all within a second', async () => {
  const sample = fc.record({ bytes: fc.nat(1e9), afterMs: fc.double({ min: 0, max: 3000, noNaN: true }) })
  fc.assert(
    fc.property(fc.array(sample, { minLength: 1, maxLength: 50 }), (samples) => {
      const meter = new RateMeter()
      const came: { bytes: number; atMs: number }[] = []
      let nowMs = 0
      return samples.every(({ bytes, afterMs }) => {
        nowMs += afterMs
        meter.add(bytes, nowMs)
        came.push({ bytes, atMs: nowMs })
        const rate = meter.bytesPerSec(nowMs)
        if (rate === null) return true
        const recent = came.filter(({ atMs }) => atMs > nowMs - 1000).reduce((sum, it) => sum + it.bytes, 0)
        return rate >= 0 && rate <= (recent / 300) * 1000 + 1
      })
    }),
  )
})
