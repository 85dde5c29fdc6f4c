import pino from 'pino'
import t from 'tap'
import { DelayMonitor, type DelayProbe, type ProbeAnswer } from '../../src/throttle/delay-monitor.ts'
import { settled, VirtualClock } from '../support/virtual-clock.ts'

const log = pino({ level: 'silent' })
const PATH = 'https://near.example'

/** Answers after so long, fails at once, or is silent. */
class FakeProbe implements DelayProbe {
  rttMs: number | null = 20
  fails = false
  answer: ProbeAnswer = 'round-trip'
  /** Answers even though nobody wants to hear it any more. */
  isDeaf = false
  readonly askedAtMs: number[] = []
  openCount = 0
  closeCount = 0
  readonly #clock: VirtualClock

  constructor(clock: VirtualClock) {
    this.#clock = clock
  }

  async roundTrip({ signal }: { readonly signal: AbortSignal }): Promise<ProbeAnswer> {
    this.askedAtMs.push(this.#clock.atMs)
    this.openCount++
    try {
      if (this.fails) throw new Error('refused')
      if (this.rttMs !== null) await this.#clock.sleep(this.rttMs, this.isDeaf ? {} : { signal })
      else await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
      return this.answer
    } finally {
      this.openCount--
    }
  }

  async close(): Promise<void> {
    this.closeCount++
  }

  /** Between one question and the next. */
  get pausesMs(): number[] {
    return this.askedAtMs.slice(1).map((atMs, at) => atMs - (this.askedAtMs[at] ?? 0))
  }
}

function setUp() {
  const clock = new VirtualClock()
  const told = { isLate: false, isQuiet: false }
  const monitor = new DelayMonitor({ clock, log }, { isLate: () => told.isLate, isQuiet: () => told.isQuiet })
  monitor.setInterval(100)
  return { clock, told, monitor, probe: new FakeProbe(clock) }
}

await t.test('it says nothing before the first answer, and then what the answers say', async (t) => {
  const { clock, monitor, probe } = setUp()
  t.equal(monitor.view(), null)
  await clock.pass(1000)
  t.equal(probe.askedAtMs.length, 0, 'nobody is asked before the start')
  monitor.start(probe, PATH)
  t.ok(monitor.isRunning)
  await clock.pass(19)
  t.equal(monitor.view(), null)
  await clock.pass(1)
  t.match(monitor.view(), { baseMs: 20, queueMs: 0 })
  probe.rttMs = 65
  await clock.pass(80)
  t.match(monitor.view(), { queueMs: 0 })
  await clock.pass(55)
  t.match(monitor.view(), { queueMs: 35 }, 'a question that is out counts with its age')
  await clock.pass(10)
  t.match(monitor.view(), { baseMs: 20, queueMs: 45 })
  await monitor.close()
})

await t.test('it asks once in an interval, one question at a time', async (t) => {
  const { clock, monitor, probe } = setUp()
  monitor.start(probe, PATH)
  await clock.pass(1050)
  t.equal(probe.askedAtMs.length, 11)
  t.ok(probe.pausesMs.every((pauseMs) => pauseMs === 100))
  monitor.setInterval(250)
  await clock.pass(2000)
  t.same(probe.pausesMs.slice(-5), [250, 250, 250, 250, 250])
  monitor.setInterval(50)
  probe.rttMs = 300
  await clock.pass(2000)
  t.ok(
    probe.pausesMs.slice(-5).every((pauseMs) => pauseMs >= 300 && pauseMs <= 302),
    'a long way takes its time',
  )
  t.ok(probe.openCount <= 1)
  await monitor.close()
})

await t.test('after three questions without an answer it is silent, and comes back with the next answer', async (t) => {
  const { clock, monitor, probe } = setUp()
  monitor.start(probe, PATH)
  await clock.pass(1000)
  probe.rttMs = null
  await clock.pass(100)
  for (const count of [1, 2]) {
    await clock.pass(2000)
    t.not(monitor.view(), null, `${count} without an answer`)
  }
  t.ok((monitor.view()?.queueMs ?? 0) > 1000, 'whose age counts meanwhile')
  await clock.pass(2100)
  t.equal(monitor.view(), null)
  t.equal(monitor.spreadMs(), null)

  const { askedAtMs } = probe
  const silentSinceMs = clock.atMs
  await clock.pass(180_000)
  const pausesMs = probe.pausesMs.slice(askedAtMs.findIndex((atMs) => atMs >= silentSinceMs))
  t.ok((pausesMs[0] ?? 0) >= 3000, 'it waits longer and longer')
  t.ok(
    pausesMs.every((pauseMs, at) => at === 0 || pauseMs >= (pausesMs[at - 1] ?? 0)),
    `${pausesMs}`,
  )
  t.equal(pausesMs.at(-1), 32_000, 'and no longer than half a minute, besides the question itself')

  probe.rttMs = 20
  await clock.pass(33_000)
  t.match(monitor.view(), { baseMs: 20, queueMs: 0 }, 'what was learnt is still known')
  await clock.pass(1000)
  t.equal(probe.pausesMs.at(-1), 100, 'it asks as often as before')

  probe.fails = true
  await clock.pass(400)
  t.equal(monitor.view(), null, 'refusals count the same')
  probe.fails = false
  await clock.pass(2000)
  t.not(monitor.view(), null, 'and the wait begins anew at a second')
  await monitor.close()
})

await t.test('what this process was too busy to measure is left out, at most three times in a row', async (t) => {
  const { clock, told, monitor, probe } = setUp()
  monitor.start(probe, PATH)
  await clock.pass(1000)
  told.isLate = true
  probe.rttMs = 90
  await clock.pass(300)
  t.match(monitor.view(), { queueMs: 0 })
  await clock.pass(100)
  t.match(monitor.view(), { queueMs: 70 }, 'the fourth counts: it may be the line that makes us late')
  probe.rttMs = 50
  await clock.pass(300)
  t.match(monitor.view(), { queueMs: 70 }, 'and then three again')
  told.isLate = false
  await clock.pass(100)
  t.match(monitor.view(), { queueMs: 30 })
  told.isLate = true
  probe.rttMs = 20
  await clock.pass(300)
  t.match(monitor.view(), { queueMs: 30 }, 'one in time starts the count anew')
  await monitor.close()
})

await t.test('what a connection had to be made for is left out, unless each answer needs one', async (t) => {
  const { clock, monitor, probe } = setUp()
  probe.answer = 'with-connection'
  probe.rttMs = 60
  monitor.start(probe, PATH)
  await clock.pass(90)
  t.equal(monitor.view(), null)
  probe.answer = 'round-trip'
  probe.rttMs = 20
  await clock.pass(1000)
  t.match(monitor.view(), { baseMs: 20, queueMs: 0 })
  probe.answer = 'with-connection'
  probe.rttMs = 60
  await clock.pass(300)
  t.match(monitor.view(), { queueMs: 0 })
  await clock.pass(1000)
  t.match(monitor.view(), { queueMs: 40 })
  await monitor.close()
})

await t.test('noise is learnt while nothing of ours can queue', async (t) => {
  const { clock, told, monitor, probe } = setUp()
  monitor.start(probe, PATH)
  await clock.pass(1000)
  for (const isQuiet of [false, true]) {
    told.isQuiet = isQuiet
    for (let count = 0; count < 20; count++) {
      probe.rttMs = probe.rttMs === 20 ? 40 : 20
      await clock.pass(100)
    }
    t.equal(monitor.view()?.noiseMs, isQuiet ? 20 : 0)
  }
  await monitor.close()
})

await t.test('stopped, it asks nobody and says nothing', async (t) => {
  for (const rttMs of [20, null]) {
    const { clock, monitor, probe } = setUp()
    monitor.start(probe, PATH)
    await clock.pass(1000)
    probe.rttMs = rttMs
    await clock.pass(105) // a question is out
    monitor.stop()
    monitor.stop()
    t.notOk(monitor.isRunning)
    await settled()
    t.equal(monitor.view(), null)
    t.equal(clock.sleeperCount, 0)
    t.equal(probe.openCount, 0)
    t.equal(probe.closeCount, 1)
    await clock.pass(60_000)
    t.equal(monitor.view(), null)
    await monitor.close()
  }
})

await t.test('an answer to a question from before the stop is not heard', async (t) => {
  const { clock, monitor, probe } = setUp()
  probe.isDeaf = true
  monitor.start(probe, PATH)
  await clock.pass(10)
  monitor.stop()
  await clock.pass(1000)
  t.equal(monitor.view(), null)
  await monitor.close()
})

await t.test('started again it asks the new one, when the old one is closed, and knows what it knew', async (t) => {
  const { clock, monitor, probe } = setUp()
  monitor.start(probe, PATH)
  await clock.pass(1000)
  const other = new FakeProbe(clock)
  other.rttMs = 50
  monitor.start(other, PATH)
  t.equal(monitor.view(), null, 'not before it answers')
  const { length } = probe.askedAtMs
  await clock.pass(1000)
  t.equal(probe.closeCount, 1)
  t.equal(probe.askedAtMs.length, length)
  t.equal(other.askedAtMs.length, 11)
  t.match(monitor.view(), { baseMs: 20, queueMs: 30 })
  monitor.reset()
  await clock.pass(100)
  t.match(monitor.view(), { baseMs: 50, queueMs: 0 }, 'unless it is told to forget')
  await monitor.close()
})

await t.test('a place that is further away is not taken for a queue, and each way is remembered', async (t) => {
  const { clock, monitor, probe } = setUp()
  const restarted = (path: string, rttMs: number) => {
    const other = new FakeProbe(clock)
    other.rttMs = rttMs
    monitor.start(other, path)
  }
  monitor.start(probe, PATH)
  await clock.pass(1000)
  restarted('https://far.example', 120)
  await clock.pass(1000)
  t.match(monitor.view(), { baseMs: 120, queueMs: 0 })
  restarted(PATH, 50)
  await clock.pass(1000)
  t.match(monitor.view(), { baseMs: 20, queueMs: 30 }, 'somebody stands in a line that was empty before')
  for (let count = 0; count < 16; count++) restarted(`https://${count}.example`, 10)
  restarted(PATH, 50)
  await clock.pass(1000)
  t.match(monitor.view(), { baseMs: 50, queueMs: 0 }, 'until it was used longest ago of many')
  await monitor.close()
})

await t.test('closed, nothing is left running; twice is once', async (t) => {
  const { clock, monitor, probe } = setUp()
  monitor.start(probe, PATH)
  await clock.pass(110)
  await Promise.all([monitor.close(), monitor.close()])
  await monitor.close()
  t.equal(probe.closeCount, 1)
  t.equal(probe.openCount, 0)
  t.equal(clock.sleeperCount, 0)
  t.equal(monitor.view(), null)
})
