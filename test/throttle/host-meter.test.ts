import pino from 'pino'
import t from 'tap'
import type { Clock } from '../../src/clock.ts'
import type { ForegroundView } from '../../src/throttle/foreground-meter.ts'
import { HostMeter, type HostMeterComponents } from '../../src/throttle/host-meter.ts'
import { OwnTraffic } from '../../src/throttle/own-traffic.ts'

const log = pino({ level: 'silent' })

/** Time that moves when told; whoever sleeps is told apart from nobody. */
class StepClock implements Clock {
  atMs = 1000
  #sleeper: { readonly untilMs: number; readonly wake: () => void } | null = null
  nowMs(): number {
    return this.atMs
  }
  monotonicMs(): number {
    return this.atMs
  }
  sleep(delayMs: number, options: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#sleeper = null
        reject(options.signal?.reason)
      }
      const wake = () => {
        options.signal?.removeEventListener('abort', onAbort)
        resolve()
      }
      this.#sleeper = { untilMs: this.atMs + delayMs, wake }
      options.signal?.addEventListener('abort', onAbort)
    })
  }
  get isSomebodyAsleep(): boolean {
    return this.#sleeper !== null
  }
  /** Lets the sleeper sleep out. @returns how long it slept */
  async next(): Promise<number> {
    await turns()
    const sleeper = this.#sleeper
    if (!sleeper) throw new Error('nobody sleeps')
    const sleptMs = sleeper.untilMs - this.atMs
    this.atMs = sleeper.untilMs
    this.#sleeper = null
    sleeper.wake()
    await turns()
    return sleptMs
  }
}

async function turns(): Promise<void> {
  for (let count = 0; count < 4; count++) await new Promise((resolve) => setImmediate(resolve))
}

function setUp(options: { queueCostMs?: number; isPrompt?: boolean; components?: Partial<HostMeterComponents> } = {}) {
  const clock = new StepClock()
  const nic = { receivedBytes: 1e9, sentBytes: 1e9, isReadable: true, readCount: 0 }
  const state = {
    interfaceName: 'lan0' as string | null,
    opened: [] as string[],
    closed: 0,
    queueReads: 0,
    receiveQueueBytes: 0,
    passesMeanwhileBytes: 0,
  }
  const meter = new HostMeter(
    {
      clock,
      log,
      traffic: new OwnTraffic(),
      openNic: (_components, { interfaceName }) => {
        state.opened.push(interfaceName)
        return {
          isPrompt: options.isPrompt ?? false,
          read: async () => {
            nic.readCount++
            const { receivedBytes, sentBytes } = nic
            return nic.isReadable ? { atMs: clock.atMs, receivedBytes, sentBytes } : null
          },
          linkBytesPerSec: async () => 125_000_000,
          close: async () => {
            state.closed++
          },
        }
      },
      readQueues: () => {
        state.queueReads++
        clock.atMs += options.queueCostMs ?? 0
        const { receiveQueueBytes } = state
        const queues = { receiveQueueBytes, largestWanReceiveQueueBytes: receiveQueueBytes, sendQueueBytes: 0 }
        nic.receivedBytes += state.passesMeanwhileBytes
        return queues
      },
    },
    { interfaceName: () => state.interfaceName },
  )
  return { clock, nic, state, meter }
}

await t.test('it measures while somebody listens, and nothing is read before and after', async (t) => {
  const { clock, nic, state, meter } = setUp()
  t.notOk(clock.isSomebodyAsleep)
  const views: ForegroundView[] = []
  const links: (number | null)[] = []
  const stop = meter.listen((view, { linkBytesPerSec }) => {
    views.push(view)
    links.push(linkBytesPerSec)
  })
  for (let count = 0; count < 10; count++) {
    nic.receivedBytes += 5_000_000
    t.equal(await clock.next(), 200)
  }
  t.ok(views.at(-1)?.received.isActive)
  t.notOk(views.at(-1)?.sent.isActive)
  t.same(meter.view(), views.at(-1))
  t.equal(links.at(-1), 125_000_000)
  stop()
  stop()
  await turns()
  const { readCount } = nic
  t.notOk(clock.isSomebodyAsleep)
  t.equal(state.closed, 1)
  const other = meter.listen(() => {})
  await clock.next()
  t.equal(nic.readCount, readCount + 2, 'and again')
  other()
  await meter.close()
  t.equal(state.closed, 2)
  meter.listen(() => {})
  await turns()
  t.notOk(clock.isSomebodyAsleep, 'not once it is closed')
})

await t.test('a second listener hears the same, and the first may leave', async (t) => {
  const { clock, meter, nic } = setUp()
  let first = 0
  let second = 0
  const stop = meter.listen(() => first++)
  await clock.next()
  meter.listen(() => second++)
  await clock.next()
  t.equal(second, 1)
  stop()
  await clock.next()
  t.equal(second, 2)
  t.equal(first, 2 + 1)
  t.equal(nic.readCount, 4)
  await meter.close()
})

await t.test('readings of the kernel that are dear are done less often', async (t) => {
  const { clock, meter } = setUp({ queueCostMs: 20 })
  meter.listen(() => {})
  for (let count = 0; count < 3; count++) t.equal(await clock.next(), 500)
  await meter.close()
})

await t.test('another interface is opened, none and one that cannot be read are looked for seldom', async (t) => {
  const { clock, meter, state, nic } = setUp()
  meter.listen(() => {})
  await clock.next()
  state.interfaceName = 'wlan0'
  await clock.next()
  t.same(state.opened, ['lan0', 'wlan0'])
  t.equal(state.closed, 1)
  nic.isReadable = false
  t.equal(await clock.next(), 200)
  t.equal(await clock.next(), 5000)
  state.interfaceName = null
  await clock.next()
  t.equal(state.closed, 2)
  t.equal(await clock.next(), 5000)
  await meter.close()
})

await t.test('what the card counts while the queues are read is not taken for others', async (t) => {
  for (const isPrompt of [true, false]) {
    const { clock, nic, state, meter } = setUp({ isPrompt })
    let foregroundBytesPerSec = 0
    const stop = meter.listen(({ received }) => {
      foregroundBytesPerSec = received.recentForegroundBytesPerSec
    })
    for (let step = 0; step < 8; step++) {
      nic.receivedBytes += 10e6
      state.receiveQueueBytes += 10e6 // all of it is ours, and nothing of it read yet
      if (step === 7) state.passesMeanwhileBytes = 2e6
      await clock.next()
    }
    stop()
    await meter.close()
    if (isPrompt) t.equal(foregroundBytesPerSec, 0)
    else t.ok(foregroundBytesPerSec > 2e6, `where the card is read only once, it is: ${foregroundBytesPerSec}`)
  }
})

await t.test(
  'while all who listen are calm the kernel is asked once a second, and at once when others could be there',
  async (t) => {
    const { clock, nic, state, meter } = setUp({ isPrompt: true })
    const calm = { first: true, second: true }
    let heard = 0
    meter.listen(() => heard++, { isCalm: () => calm.first })
    const stop = meter.listen(() => {}, { isCalm: () => calm.second })
    await clock.next()
    t.equal(state.queueReads, 1, 'the first time nothing is known')
    for (let step = 0; step < 10; step++) t.equal(await clock.next(), 200, 'the card is looked at as often as before')
    t.equal(state.queueReads, 3)
    t.equal(heard, 3)

    nic.receivedBytes += 200_000
    await clock.next()
    t.equal(state.queueReads, 4, 'what passed the card is not ours')
    await clock.next()
    t.equal(state.queueReads, 4)

    calm.second = false
    for (let step = 0; step < 3; step++) await clock.next()
    t.equal(state.queueReads, 7, 'one who is not calm is enough')
    stop()
    await clock.next()
    t.equal(state.queueReads, 7)
    await meter.close()
  },
)

await t.test('where a reading of the card is not of now, the kernel is asked each time', async (t) => {
  const { clock, state, meter } = setUp({ isPrompt: false })
  meter.listen(() => {}, { isCalm: () => true })
  for (let step = 0; step < 5; step++) await clock.next()
  t.equal(state.queueReads, 6)
  await meter.close()
})
