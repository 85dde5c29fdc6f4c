import fc from 'fast-check'
import t from 'tap'
import type { Clock } from '../../src/clock.ts'
import { TokenBucket } from '../../src/throttle/token-bucket.ts'

const never = new AbortController().signal

/** Time passes only while somebody sleeps, and exactly as long as asked for. */
class SleepClock implements Clock {
  atMs = 1000
  sleepsMs: number[] = []
  nowMs(): number {
    return this.atMs
  }
  monotonicMs(): number {
    return this.atMs
  }
  async sleep(delayMs: number, options: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    if (options.signal?.aborted) throw options.signal.reason
    this.sleepsMs.push(delayMs)
    this.atMs += delayMs
  }
}

void t.test('a first burst passes at once, then bytes are waited off at the rate', async (t) => {
  const clock = new SleepClock()
  const bucket = new TokenBucket(clock, 1_000_000)
  await bucket.take(50_000, { signal: never })
  t.same(clock.sleepsMs, [], '50 ms worth')
  await bucket.take(100_000, { signal: never })
  t.same(clock.sleepsMs, [100])
})

void t.test('a slow cap still lets one network buffer through', async (t) => {
  const clock = new SleepClock()
  const bucket = new TokenBucket(clock, 1)
  await bucket.take(16 * 1024, { signal: never })
  t.same(clock.sleepsMs, [])
})

void t.test('idling saves up no more than a burst', async (t) => {
  const clock = new SleepClock()
  const bucket = new TokenBucket(clock, 1_000_000)
  clock.atMs += 3_600_000
  await bucket.take(150_000, { signal: never })
  t.same(clock.sleepsMs, [100])
})

void t.test('whatever is taken, the rate is held, and no byte is paid for twice', async () => {
  const chunks = fc.array(fc.record({ bytes: fc.nat(500_000), idleMs: fc.nat(20) }), { minLength: 1, maxLength: 40 })
  await fc.assert(
    fc.asyncProperty(chunks, fc.integer({ min: 1000, max: 100_000_000 }), async (steps, bytesPerSec) => {
      const clock = new SleepClock()
      const bucket = new TokenBucket(clock, bytesPerSec)
      const burstBytes = Math.max(16 * 1024, bytesPerSec / 20)
      const startMs = clock.atMs
      let taken = 0
      let idleMs = 0
      for (const step of steps) {
        clock.atMs += step.idleMs
        idleMs += step.idleMs
        await bucket.take(step.bytes, { signal: never })
        taken += step.bytes
        const elapsedMs = clock.atMs - startMs
        if (taken > burstBytes + (elapsedMs / 1000) * bytesPerSec + 1) return false
      }
      // Not slower than the cap either: what was slept is at most what the bytes cost.
      return clock.atMs - startMs - idleMs <= (taken / bytesPerSec) * 1000 + 1e-3
    }),
  )
})

void t.test('several waiters together do not pass the cap', async (t) => {
  const clock = new SleepClock()
  // Asked for at one moment: the clock stands still until all of them have taken.
  const delays: number[] = []
  clock.sleep = async (delayMs) => {
    delays.push(delayMs)
  }
  const bucket = new TokenBucket(clock, 1_000_000)
  await Promise.all([1, 2, 3].map(() => bucket.take(100_000, { signal: never })))
  t.same(delays, [50, 150, 250], 'the last waits for all before it')
})

void t.test('an abort ends the wait', async (t) => {
  const clock = new SleepClock()
  const bucket = new TokenBucket(clock, 1000)
  await t.rejects(bucket.take(1_000_000, { signal: AbortSignal.abort(new Error('enough')) }), { message: 'enough' })
})
