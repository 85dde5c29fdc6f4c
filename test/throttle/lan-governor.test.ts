import pino from 'pino'
import t from 'tap'
import { systemClock } from '../../src/clock.ts'
import { lanCap, NO_CAP, serveCap } from '../../src/throttle/caps.ts'
import type { DirectionView, ForegroundView } from '../../src/throttle/foreground-meter.ts'
import type { HostListener } from '../../src/throttle/host-meter.ts'
import { LanGovernor, type LanGovernorOptions } from '../../src/throttle/lan-governor.ts'

const MBIT = 125_000
const MIB = 1024 * 1024
const never = new AbortController().signal
const log = pino({ level: 'silent' })

function view(total: number, others = 0): DirectionView {
  return {
    foregroundBytesPerSec: others,
    totalBytesPerSec: total,
    recentBytesPerSec: total,
    recentForegroundBytesPerSec: others,
    peakBytesPerSec: total,
    isActive: others > MBIT,
  }
}

function setUp(options: Partial<LanGovernorOptions> = {}, counts = { uploads: 1, fetches: 1 }) {
  let listener: HostListener | null = null
  let atMs = 10_000
  const governor = new LanGovernor(
    {
      clock: { ...systemClock, monotonicMs: () => atMs },
      log,
      host: {
        listen: (given) => {
          listener = given
          return () => {
            listener = null
          }
        },
      },
      uploadCount: () => counts.uploads,
      fetchCount: () => counts.fetches,
    },
    { serveCap: NO_CAP, fetchCap: NO_CAP, segmentBytes: MIB, ...options },
  )
  const measure = (seen: ForegroundView, times = 1) => {
    for (let count = 0; count < times; count++) {
      atMs += 200
      listener?.(seen, {
        linkBytesPerSec: null,
        wanReceivedBytesPerSec: null,
        queues: { receiveQueueBytes: 0, largestWanReceiveQueueBytes: 0, sendQueueBytes: 0 },
      })
    }
  }
  const used = governor.reader(() => {})
  /** Measures while something is moved. */
  const measureUsed = (seen: ForegroundView, times: number) => {
    for (let count = 0; count < times; count++) {
      used.charge(0)
      measure(seen)
    }
  }
  return { governor, measure, measureUsed, isListening: () => listener !== null }
}

const QUIET = { received: view(0), sent: view(90 * MBIT) }
const BUSY = { received: view(0), sent: view(95 * MBIT, 80 * MBIT) }

await t.test('what is free goes on at once in whole pieces; only then others are looked for', async (t) => {
  const { governor, measure, isListening } = setUp()
  t.notOk(isListening())
  t.equal(governor.pieceBytes(), 256 * 1024)
  t.equal(governor.maxUploads(), Number.POSITIVE_INFINITY)
  t.equal(governor.take(1e9, { signal: never }), null)
  t.ok(isListening())
  measure(QUIET, 5)
  t.equal(governor.take(1e9, { signal: never }), null)
  t.same(governor.view().serve, {
    state: 'free',
    rateMaxBytesPerSec: null,
    foregroundBytesPerSec: 0,
    reason: 'nobody else uses the link',
  })
})

await t.test('nothing is measured three seconds after the last byte', async (t) => {
  const { governor, measure, isListening } = setUp()
  const reader = governor.reader(() => {})
  t.ok(reader.charge(1))
  measure(QUIET, 10)
  t.ok(reader.charge(1))
  measure(QUIET, 15)
  t.ok(isListening())
  measure(QUIET, 1)
  t.notOk(isListening())
  t.equal(governor.view().fetch.reason, 'nothing is moved')
  t.equal(governor.take(1, { signal: never }), null)
  t.ok(isListening(), 'and again')
})

await t.test('beside others uploads go in few small pieces, fast enough for those that run', async (t) => {
  const counts = { uploads: 8, fetches: 1 }
  const { governor, measureUsed } = setUp({}, counts)
  t.equal(governor.take(1, { signal: never }), null)
  measureUsed(QUIET, 10)
  measureUsed(BUSY, 10)
  const { serve, fetch } = governor.view()
  t.match(serve, { state: 'yielding', foregroundBytesPerSec: 80 * MBIT })
  t.equal(serve.rateMaxBytesPerSec, (8 * MIB) / 50)
  t.equal(fetch.state, 'free')
  t.equal(governor.pieceBytes(), 8192)
  t.equal(governor.maxUploads(), 3)
  counts.uploads = 1
  measureUsed(BUSY, 5)
  t.equal(governor.view().serve.rateMaxBytesPerSec, 0.95 * MBIT, 'no less than a hundredth of the link')
  t.equal(governor.maxUploads(), 2)
  governor.close()
})

await t.test('what is fetched yields by itself', async (t) => {
  const { governor, measureUsed } = setUp()
  let calls = 0
  const reader = governor.reader(() => {
    calls++
  })
  reader.charge(1)
  measureUsed({ received: view(90 * MBIT), sent: view(0) }, 10)
  measureUsed({ received: view(95 * MBIT, 80 * MBIT), sent: view(0) }, 10)
  t.equal(governor.view().fetch.state, 'yielding')
  t.equal(governor.maxUploads(), Number.POSITIVE_INFINITY)
  t.notOk(reader.charge(MIB))
  t.ok(reader.isHeld)
  governor.close()
  t.equal(calls, 1, 'whoever waits goes on when it closes')
  governor.close()
})

await t.test('caps bind also when nobody else is there, and are named', async (t) => {
  const { governor, measure } = setUp({ serveCap: serveCap(MBIT), fetchCap: lanCap(2 * MBIT) })
  t.match(governor.view(), {
    serve: { state: 'free', rateMaxBytesPerSec: MBIT, reason: 'serve.maxBytesPerSec' },
    fetch: { state: 'free', rateMaxBytesPerSec: 2 * MBIT, reason: 'throttle.lanMaxBytesPerSec' },
  })
  t.equal(governor.take(MIB, { signal: never }), null)
  const waiting = governor.take(MIB, { signal: never })
  t.not(waiting, null)
  measure(QUIET, 20)
  t.equal(governor.view().serve.rateMaxBytesPerSec, MBIT)
  governor.close()
  await waiting
})

await t.test('a cap of nothing admits nobody', async (t) => {
  const { governor } = setUp({ serveCap: serveCap(0) })
  t.equal(governor.maxUploads(), 0)
})

await t.test('without a host to measure only the caps bind', async (t) => {
  const governor = new LanGovernor(
    { clock: systemClock, log, host: null, uploadCount: () => 0, fetchCount: () => 0 },
    { serveCap: NO_CAP, fetchCap: NO_CAP, segmentBytes: MIB },
  )
  t.equal(governor.take(1e9, { signal: never }), null)
  t.equal(governor.view().serve.rateMaxBytesPerSec, null)
  governor.close()
})
