import fc from 'fast-check'
import t from 'tap'
import { ForegroundMeter, type ForegroundView, type TrafficSample } from '../../src/throttle/foreground-meter.ts'

const MBIT = 125_000

/** A host on paper: what passes its card, what of it is ours, what waits in its kernel. */
class Host {
  readonly meter = new ForegroundMeter()
  atMs = 10_000
  nicReceived = 5e9
  nicSent = 3e9
  ownReceived = 0
  ownSent = 0
  receiveQueue = 0
  sendQueue = 0
  interfaceName = 'lan0'
  canSeeQueues = true

  sample(): TrafficSample {
    return {
      atMs: this.atMs,
      interfaceName: this.interfaceName,
      nicReceivedBytes: Math.round(this.nicReceived),
      nicSentBytes: Math.round(this.nicSent),
      ownReceivedBytes: Math.round(this.ownReceived),
      ownSentBytes: Math.round(this.ownSent),
      queues: this.canSeeQueues
        ? { receiveQueueBytes: Math.round(this.receiveQueue), sendQueueBytes: Math.round(this.sendQueue) }
        : null,
    }
  }

  /** Rates of the wire without headers, in Mbit/s. @returns the views, one for each 200 ms */
  run(
    ms: number,
    rates: { down?: number; up?: number; ownDown?: number; ownUp?: number; ackOf?: number },
  ): ForegroundView[] {
    const { down = 0, up = 0, ownDown = 0, ownUp = 0 } = rates
    const views: ForegroundView[] = []
    for (let passedMs = 0; passedMs < ms; passedMs += 200) {
      const bytes = (mbit: number) => mbit * MBIT * 0.2
      this.atMs += 200
      this.ownReceived += bytes(ownDown)
      this.ownSent += bytes(ownUp)
      this.nicReceived += bytes(down * 1.046 + ownDown * 1.046 + ownUp * 0.023 + up * 0.023)
      this.nicSent += bytes(up * 1.046 + ownUp * 1.046 + ownDown * 0.023 + down * 0.023)
      views.push(this.meter.add(this.sample()))
    }
    return views
  }
}

function isAnyActive(views: readonly ForegroundView[]): boolean {
  return views.some(({ received, sent }) => received.isActive || sent.isActive)
}

await t.test('our own traffic, headers and acknowledgements included, is nobody else', async (t) => {
  for (const mbit of [1, 20, 100, 1000]) {
    const host = new Host()
    const views = [
      ...host.run(3000, {}),
      ...host.run(5000, { ownDown: mbit }),
      ...host.run(5000, { ownUp: mbit }),
      ...host.run(2000, {}),
    ]
    t.notOk(isAnyActive(views), `${mbit} Mbit/s`)
    t.ok((views[39]?.received.totalBytesPerSec ?? 0) > mbit * MBIT)
  }
})

await t.test('our own kernel buffering is not foreground', async (t) => {
  const host = new Host()
  const views = host.run(3000, { ownDown: 100, ownUp: 100 })
  // The reader stops: for 0.6 s the wire goes on and fills the kernel's buffer.
  for (let step = 0; step < 3; step++) {
    host.receiveQueue += 100 * MBIT * 0.2
    host.nicReceived += 100 * MBIT * 0.2 * 1.046
    host.atMs += 200
    views.push(host.meter.add(host.sample()))
  }
  views.push(...host.run(1000, {}))
  // And reads it all at once.
  host.ownReceived += host.receiveQueue
  host.receiveQueue = 0
  views.push(...host.run(2000, {}))
  // The writer hands 4 MB to the kernel at once, which sends them within 0.4 s.
  host.ownSent += 4e6
  host.sendQueue = 4e6
  views.push(...host.run(200, {}))
  for (let step = 0; step < 2; step++) {
    host.sendQueue -= 2e6
    host.nicSent += 2e6 * 1.046
    views.push(...host.run(200, {}))
  }
  views.push(...host.run(2000, {}))
  t.notOk(isAnyActive(views))
})

await t.test('where queues cannot be read, the change of our own rate is waited off', async (t) => {
  const host = new Host()
  host.canSeeQueues = false
  const views = host.run(2000, { ownDown: 100 })
  for (let step = 0; step < 3; step++) {
    host.nicReceived += 100 * MBIT * 0.2 * 1.046
    host.atMs += 200
    views.push(host.meter.add(host.sample()))
  }
  views.push(...host.run(3000, {}))
  t.notOk(isAnyActive(views))
  t.ok(host.run(3000, { down: 50 }).at(-1)?.received.isActive, 'a stranger is still seen')
})

await t.test('a stranger is seen after two samples, in its direction, and gone a second after it ends', async (t) => {
  const host = new Host()
  host.run(5000, { ownUp: 90 })
  const started = host.run(400, { ownUp: 45, up: 45 })
  t.same(
    started.map(({ sent }) => sent.isActive),
    [false, true],
  )
  const [last] = host.run(2000, { ownUp: 45, up: 45 }).slice(-1)
  t.ok(last?.sent.isActive)
  t.notOk(last?.received.isActive)
  const foreground = (last?.sent.foregroundBytesPerSec ?? 0) / MBIT
  t.ok(foreground > 43 && foreground < 48, `${foreground} Mbit/s`)
  const ended = host.run(1400, { ownUp: 90 })
  t.notOk(ended.at(-1)?.sent.isActive)
})

await t.test('chatter is not foreground: below 1 Mbit/s, or 5 % of the peak', async (t) => {
  const host = new Host()
  t.notOk(isAnyActive(host.run(5000, { down: 0.8, up: 0.8 })))
  host.run(3000, { ownDown: 900 })
  t.notOk(isAnyActive(host.run(3000, { ownDown: 900, down: 30 })))
  t.ok(isAnyActive(host.run(3000, { ownDown: 800, down: 100 })))
})

await t.test('a new interface, a counter that goes back and a sleep start over', async (t) => {
  const changes: Record<string, (host: Host) => void> = {
    interface: (host) => {
      host.interfaceName = 'wlan0'
      host.nicReceived += 1e9
    },
    reset: (host) => {
      host.nicReceived = 0
      host.nicSent = 0
    },
    sleep: (host) => {
      host.atMs += 3_600_000
      host.nicReceived += 1e9
    },
  }
  for (const [name, change] of Object.entries(changes)) {
    const host = new Host()
    host.run(3000, { ownDown: 50 })
    change(host)
    const views = host.run(3000, { ownDown: 50 })
    t.notOk(isAnyActive(views), name)
    t.equal(views[0]?.received.totalBytesPerSec, 0, name)
    t.ok((views.at(-1)?.received.peakBytesPerSec ?? 0) < 60 * MBIT, name)
    t.ok(isAnyActive(host.run(1000, { ownDown: 50, down: 30 })), name)
  }
})

await t.test('the peak is kept for minutes and forgotten in hours', async (t) => {
  const host = new Host()
  host.run(3000, { ownDown: 100 })
  host.run(60_000, {})
  t.ok(host.meter.view().received.peakBytesPerSec > 80 * MBIT)
  host.run(3_600_000, {})
  t.ok(host.meter.view().received.peakBytesPerSec < MBIT)
})

await t.test('whatever is counted, rates are finite and not negative', async () => {
  const counter = fc.oneof(fc.nat(1e9), fc.double({ min: 0, max: 1e18, noNaN: true }))
  const sample = fc.record({
    atMs: fc.nat(20_000),
    interfaceName: fc.constantFrom('a', 'b'),
    nicReceivedBytes: counter,
    nicSentBytes: counter,
    ownReceivedBytes: counter,
    ownSentBytes: counter,
    queues: fc.option(fc.record({ receiveQueueBytes: counter, sendQueueBytes: counter })),
  })
  fc.assert(
    fc.property(fc.array(sample, { maxLength: 60 }), (samples) => {
      const meter = new ForegroundMeter()
      return samples.every((one) => {
        const { received, sent } = meter.add(one)
        return [received, sent].every(({ foregroundBytesPerSec, totalBytesPerSec, peakBytesPerSec }) =>
          [foregroundBytesPerSec, totalBytesPerSec, peakBytesPerSec].every(
            (rate) => rate >= 0 && Number.isFinite(rate),
          ),
        )
      })
    }),
  )
})

await t.test('what passes while the queues are read is ours as far as all else is', (t) => {
  const burst = { receivedBytes: 2e6, sentBytes: 0 }
  const passing = (rates: { down?: number; ownDown?: number }, meanwhile: TrafficSample['passedMeanwhile']) => {
    const host = new Host()
    host.run(2000, rates)
    host.atMs += 200
    host.nicReceived += burst.receivedBytes
    const sample = { ...host.sample(), ...(meanwhile ? { passedMeanwhile: meanwhile } : {}) }
    return host.meter.add(sample).received
  }
  const foreground = (...args: Parameters<typeof passing>) => passing(...args).recentForegroundBytesPerSec
  t.equal(foreground({ ownDown: 400 }, burst), 0, 'all of it is ours')
  t.ok(foreground({ ownDown: 400 }, { receivedBytes: 5e5, sentBytes: 0 }) > 2e6, 'no more than passed')
  t.ok(foreground({ ownDown: 400 }, undefined) > 4e6, 'without the doubt it is not')
  const half = foreground({ ownDown: 200, down: 200 }, burst) / foreground({ ownDown: 200, down: 200 }, undefined)
  t.ok(half > 0.6 && half < 0.95, `${half}`)
  const { recentBytesPerSec, recentForegroundBytesPerSec } = passing({ down: 400 }, burst)
  t.ok(recentForegroundBytesPerSec > 0.95 * recentBytesPerSec, 'who moves nothing has no part in it')
  t.end()
})

await t.test('what can be ours explains itself; what others move, or nobody knows, does not', async (t) => {
  const look = (host: Host) => host.meter.explains(host.sample())
  const host = new Host()
  t.notOk(look(host), 'nothing was measured')
  host.run(3000, { ownDown: 100, ownUp: 50 })
  const unseen = (rates: { down?: number; up?: number; ownDown?: number; ownUp?: number }) => {
    const bytes = (mbit = 0) => mbit * MBIT * 0.2
    host.atMs += 200
    host.ownReceived += bytes(rates.ownDown)
    host.ownSent += bytes(rates.ownUp)
    host.nicReceived += bytes((rates.down ?? 0) + (rates.ownDown ?? 0)) * 1.046 + bytes(rates.ownUp) * 0.023
    host.nicSent += bytes((rates.up ?? 0) + (rates.ownUp ?? 0)) * 1.046 + bytes(rates.ownDown) * 0.023
  }
  unseen({ ownDown: 100, ownUp: 50 })
  t.ok(look(host))
  unseen({ ownDown: 100, ownUp: 50, down: 5 })
  t.notOk(look(host), 'others receive')

  host.run(1000, { ownDown: 100 })
  unseen({ ownDown: 100, up: 5 })
  t.notOk(look(host), 'others send')

  // 500 kB waited to be read in a measurement of late: so much may be on its way again.
  host.run(2000, { ownDown: 100 })
  host.receiveQueue = 500_000
  host.run(200, { ownDown: 100 })
  host.receiveQueue = 0
  host.run(200, { ownDown: 100 })
  unseen({ ownDown: 100, down: 10 })
  t.ok(look(host))
  unseen({ ownDown: 100, down: 20 })
  t.notOk(look(host))

  host.canSeeQueues = false
  host.run(200, {})
  t.notOk(look(host), 'where the kernel cannot be read')
  host.canSeeQueues = true
  host.run(200, {})
  unseen({})
  t.ok(look(host))
  host.interfaceName = 'wlan0'
  t.notOk(look(host), 'another interface')
})
