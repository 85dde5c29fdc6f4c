import pino from 'pino'
import t, { type Test } from 'tap'
import { type Cap, type CapCode, NO_CAP } from '../../src/throttle/caps.ts'
import type { DelayProbe } from '../../src/throttle/delay-monitor.ts'
import type { HostListener, HostMeter } from '../../src/throttle/host-meter.ts'
import type { PacedReader } from '../../src/throttle/pacer.ts'
import { GOVERNED, type Priority } from '../../src/throttle/priority.ts'
import { type Hold, WanGovernor } from '../../src/throttle/wan-governor.ts'
import { WAN_LEVELS } from '../../src/throttle/wan-sample.ts'
import type { WanReport } from '../../src/throttle/wan-shares.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const log = pino({ level: 'silent' })
const MBIT = 125_000
const STEP_MS = 5
const RTT_MS = 20
const FAR_RTT_MS = 120

function rttMsOf(url: string): number {
  return new URL(url).hostname === 'far.test' ? FAR_RTT_MS : RTT_MS
}

/** Reads as much as its turns allow and the line gives. */
class Download implements PacedReader {
  readBytes = 0
  turnBytes = 0
  /** Its connection brings no more in a step. */
  mostBytes = Number.POSITIVE_INFINITY
  leftBytes = 0
  readonly #onRead: (bytes: number) => void
  readonly #again: () => void

  constructor(on: { read: (bytes: number) => void; again: () => void }) {
    this.#onRead = on.read
    this.#again = on.again
  }

  grant(maxBytes: number): void {
    this.turnBytes = maxBytes
  }

  read(bytes: number): void {
    this.turnBytes = 0
    this.readBytes += bytes
    this.#onRead(bytes)
    this.#again()
  }
}

/** A line of the roughest kind: while more is asked of it than it gives, something queues. */
class Line {
  queueMs = 0
  readonly downloads = new Set<Download>()
  readonly stop = new AbortController()
  readonly clock: VirtualClock
  readonly bytesPerSec: number
  #creditBytes = 0

  constructor(clock: VirtualClock, bytesPerSec: number) {
    this.clock = clock
    this.bytesPerSec = bytesPerSec
    void this.#run().catch(() => {})
  }

  async #run(): Promise<void> {
    for (;;) {
      await this.clock.sleep(STEP_MS, { signal: this.stop.signal })
      const step = (this.bytesPerSec * STEP_MS) / 1000
      this.#creditBytes = Math.min(4 * step, this.#creditBytes + step)
      for (const one of this.downloads) one.leftBytes = one.mostBytes
      for (const one of this.downloads) {
        const bytes = Math.min(one.turnBytes, one.leftBytes, Math.floor(this.#creditBytes))
        if (bytes <= 0) continue
        one.leftBytes -= bytes
        this.#creditBytes -= bytes
        this.downloads.delete(one) // the next time it is the last
        this.downloads.add(one)
        one.read(bytes)
      }
      this.queueMs = Math.max(0, Math.min(200, this.queueMs + (this.#creditBytes < step / 4 ? 4 : -4)))
    }
  }
}

interface Rules {
  cap: Cap
  gates: Partial<Record<Priority, Hold>>
}

function capOf(maxBytesPerSec: number, code: CapCode = 'schedule'): Cap {
  return { maxBytesPerSec, reason: { code, text: 'the schedule, until 18:00', untilMs: 123 } }
}

/** An agent as the governor sees it: downloads, a probe, and rules that the test sets. */
function agentOf(
  t: Test,
  self: string,
  options: { line: Line; mode?: 'adaptive' | 'off'; rules?: Partial<Rules>; host?: HostMeter | null },
) {
  const { line, mode = 'adaptive' } = options
  const { clock } = line
  const rules: Rules = { cap: NO_CAP, gates: {}, ...options.rules }
  const probes = { opened: [] as string[], closedCount: 0, asked: 0 }
  let wanReadBytes = 0
  const openProbe = (url: string): DelayProbe => {
    probes.opened.push(url)
    return {
      roundTrip: async ({ signal }) => {
        probes.asked++
        await clock.sleep(rttMsOf(url) + line.queueMs, { signal })
        return 'round-trip'
      },
      close: async () => {
        probes.closedCount++
      },
    }
  }
  const governor = new WanGovernor(
    {
      clock,
      log,
      host: options.host ?? null,
      rules: { cap: () => rules.cap, gate: (priority) => rules.gates[priority] ?? null },
      openProbe,
      wanReadBytes: () => wanReadBytes,
    },
    { self, mode },
  )
  t.teardown(() => governor.close())
  const reports: { readonly atMs: number; readonly report: WanReport }[] = []
  governor.onReport((report) => reports.push({ atMs: clock.atMs, report }))
  const download = (priority: Priority, url = `http://origin.test/${priority}`) => {
    const pacer = governor.pacerOf(priority)
    const one: Download = new Download({
      read: (bytes) => {
        wanReadBytes += bytes
        pacer.charge(bytes)
      },
      again: () => pacer.request(one),
    })
    const leave = governor.enter(priority, url)
    line.downloads.add(one)
    pacer.request(one)
    return {
      get readBytes() {
        return one.readBytes
      },
      slowTo: (bytesPerSec: number) => {
        one.mostBytes = (bytesPerSec * STEP_MS) / 1000
      },
      end: () => {
        line.downloads.delete(one)
        pacer.cancel(one)
        leave()
      },
    }
  }
  const rate = (priority: Priority) => governor.pacerOf(priority).bytesPerSec
  return { governor, rules, probes, reports, download, rate }
}

function lineOf(t: Test, mbit = 20): Line {
  const line = new Line(new VirtualClock(), mbit * MBIT)
  t.teardown(() => line.stop.abort())
  return line
}

function reportOf(rest: Partial<WanReport> = {}): WanReport {
  return {
    priority: 'normal',
    readBytesPerSec: 0,
    arrivedBytesPerSec: 0,
    isLimited: true,
    isUserHere: false,
    law: { phase: 'cruise', bytesPerSec: MBIT, capacityBytesPerSec: null },
    ...rest,
  }
}

await t.test('nothing runs while nothing is had', async (t) => {
  const line = lineOf(t)
  const { clock } = line
  const listeners = new Set<HostListener>()
  const host = {
    listen: (listener: HostListener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  } as unknown as HostMeter
  const { governor, probes, reports, download } = agentOf(t, 'a', { line, host })
  await clock.pass(10_000)
  t.equal(clock.sleeperCount, 1, 'only the line of the test')
  t.same([probes.opened.length, reports.length, listeners.size], [0, 0, 0])
  t.match(governor.view(), { phase: 'idle', why: 'nothing is had from origins', rateMaxBytesPerSec: null })

  const one = download('normal')
  await clock.pass(3000)
  t.same(probes.opened, ['http://origin.test/normal'], 'the delay is measured to where the bytes come from')
  t.ok(probes.asked > 5)
  t.equal(listeners.size, 1)
  t.not(governor.view().phase, 'idle')
  t.match(governor.view(), { baseRttMs: RTT_MS, agentsOnWan: 1, isLead: true })

  one.end()
  one.end()
  await clock.pass(1000)
  t.equal(listeners.size, 1, 'a transfer that follows at once finds the host watched')
  await clock.pass(1500)
  t.equal(probes.closedCount, 1)
  t.equal(listeners.size, 0)
  t.equal(reports.at(-1)?.report.priority, null, 'the others hear that it is over')
  const { length } = reports
  await clock.pass(10_000)
  t.equal(clock.sleeperCount, 1)
  t.equal(reports.length, length)
  t.equal(governor.view().phase, 'idle')

  download('low')
  await clock.pass(1000)
  t.equal(probes.opened.length, 2, 'and again')
  t.equal(listeners.size, 1)
})

await t.test('a line that is idle is used, from below', async (t) => {
  const line = lineOf(t)
  const { governor, download, rate } = agentOf(t, 'a', { line })
  const one = download('normal')
  t.ok((rate('normal') ?? 0) <= 2 * MBIT, 'it begins slowly')
  await line.clock.pass(10_000)
  const before = one.readBytes
  await line.clock.pass(5000)
  const use = (one.readBytes - before) / (5 * line.bytesPerSec)
  t.ok(use > 0.75 && use <= 1.01, `${use.toFixed(2)} of the line`)
  const { capacityBytesPerSec } = governor.view()
  t.ok(Math.abs((capacityBytesPerSec ?? 0) / line.bytesPerSec - 1) < 0.2, `${capacityBytesPerSec} is what it gives`)
  one.end()
  await line.clock.pass(3000)
  await line.clock.stall(3_600_000)
  const later = download('normal')
  t.ok((rate('normal') ?? 0) <= 2 * MBIT, 'and an hour later slowly again')
  later.end()
})

await t.test('an origin that is further away than the last one is not taken for a full line', async (t) => {
  const line = lineOf(t)
  const { clock } = line
  const { download, governor } = agentOf(t, 'a', { line })
  const near = download('normal')
  await clock.pass(5000)
  near.end()
  await clock.pass(5000)
  const far = download('normal', 'http://far.test/file')
  await clock.pass(4000)
  t.not(governor.view().phase, 'yield')
  t.ok(far.readBytes > line.bytesPerSec, `${(far.readBytes / line.bytesPerSec).toFixed(1)} s of the line in 4 s`)
  far.end()
})

await t.test('connections that bring little after somebody had the line are better left', async (t) => {
  const line = lineOf(t)
  const { clock } = line
  const { download, governor } = agentOf(t, 'a', { line })
  const one = download('normal')
  await clock.pass(8000)
  for (let second = 0; second < 3; second++) {
    governor.heard('b', reportOf({ priority: 'foreground', readBytesPerSec: MBIT }))
    await clock.pass(1000)
  }
  t.equal(governor.view().phase, 'yield')
  t.equal(governor.staleBeforeMs('normal'), Number.NEGATIVE_INFINITY)
  const leftAtMs = clock.monotonicMs()
  governor.left('b')
  one.slowTo(line.bytesPerSec / 5)
  await clock.pass(6000)
  t.ok(governor.staleBeforeMs('normal') > leftAtMs)
  t.equal(governor.staleBeforeMs('foreground'), Number.NEGATIVE_INFINITY, 'foreground work is left alone')
  one.end()
})

await t.test('what the line gives is remembered through foreground work and pauses', async (t) => {
  const line = lineOf(t, 80)
  const { clock } = line
  const { download, rate } = agentOf(t, 'a', { line })
  const use = async (one: { readonly readBytes: number }) => {
    await clock.pass(2000)
    const before = one.readBytes
    await clock.pass(1000)
    return (one.readBytes - before) / line.bytesPerSec
  }
  const first = download('normal')
  await clock.pass(10_000)
  const foreground = download('foreground')
  await clock.pass(6000)
  foreground.end()
  const after = await use(first)
  t.ok(after > 0.55, `${after.toFixed(2)} of the line in the third second after foreground work`)
  first.end()
  await clock.pass(30_000)
  const second = download('normal')
  const later = await use(second)
  t.ok(later > 0.55, `${later.toFixed(2)} of it after half a minute`)
  second.end()
  await clock.pass(5000)
  const far = download('normal', 'http://far.test/')
  t.ok((rate('normal') ?? 0) <= 2 * MBIT, 'but what an empty line to another origin is like has to be learnt first')
  far.end()
})

await t.test('foreground work stops all other work at the next look, and is not slowed', async (t) => {
  const line = lineOf(t)
  const { governor, download, rate } = agentOf(t, 'a', { line })
  const normal = download('normal')
  await line.clock.pass(5000)
  t.ok((rate('normal') ?? 0) > 0)
  t.equal(governor.hold('normal'), null)
  const foreground = download('foreground')
  t.equal(rate('foreground'), null)
  t.match(governor.hold('normal'), { code: 'urgent-work', text: 'work of priority foreground goes first' })
  t.equal(governor.hold('foreground'), null)
  await line.clock.pass(100)
  for (const priority of GOVERNED) t.equal(rate(priority), 0)
  t.match(governor.view(), { phase: 'foreground', rateMaxBytesPerSec: null })
  const before = [normal.readBytes, foreground.readBytes] as const
  await line.clock.pass(4000)
  t.equal(normal.readBytes, before[0])
  const use = (foreground.readBytes - before[1]) / (4 * line.bytesPerSec)
  t.ok(use > 0.98, `${use.toFixed(2)} of the line`)
  foreground.end()
  t.equal(governor.hold('normal'), null)
  await line.clock.pass(100)
  t.ok((rate('normal') ?? 0) > 0, 'and back')
  await line.clock.pass(4000)
  t.ok(normal.readBytes > before[0])
})

await t.test('of the work that is governed only the most urgent reads', async (t) => {
  const line = lineOf(t)
  const { governor, download, rate } = agentOf(t, 'a', { line })
  const [low, normal, high] = (['low', 'normal', 'high'] as const).map((priority) => download(priority))
  const reading = () => GOVERNED.filter((priority) => (rate(priority) ?? 1) > 0)
  await line.clock.pass(1000)
  t.same(reading(), ['high'])
  t.match(governor.hold('low'), { code: 'urgent-work', text: /high/ })
  high?.end()
  await line.clock.pass(100)
  t.same(reading(), ['normal'])
  t.equal(governor.hold('normal'), null)
  t.match(governor.hold('low'), { code: 'urgent-work', text: /normal/ })
  normal?.end()
  await line.clock.pass(100)
  t.same(reading(), ['low'])
  const before = low?.readBytes ?? 0
  await line.clock.pass(2000)
  t.ok((low?.readBytes ?? 0) > before)
})

await t.test('what may not use the line now does not stop what may', async (t) => {
  const line = lineOf(t)
  const gate: Hold = { code: 'battery', text: 'the battery', untilMs: null }
  const { governor, rules, download, rate } = agentOf(t, 'a', { line })
  const high = download('high')
  download('normal')
  await line.clock.pass(500)
  rules.gates = { high: gate }
  await line.clock.pass(100)
  t.equal(rate('high'), 0)
  t.ok((rate('normal') ?? 0) > 0)
  t.same(governor.hold('high'), gate)
  rules.gates = { high: gate, normal: gate }
  await line.clock.pass(100)
  for (const priority of GOVERNED) t.equal(rate(priority), 0)
  t.match(governor.view(), { phase: 'held', why: 'the battery' })
  rules.gates = {}
  await line.clock.pass(100)
  t.ok((rate('high') ?? 0) > 0)
  high.end()
})

await t.test('a cap of 0 holds everything back, with its reason, for as long as it stands', async (t) => {
  const line = lineOf(t)
  const { governor, rules, download, rate } = agentOf(t, 'a', { line })
  const one = download('normal')
  await line.clock.pass(3000)
  rules.cap = capOf(0)
  await line.clock.pass(100)
  for (const priority of ['foreground', ...GOVERNED] as const) {
    t.equal(rate(priority), 0, priority)
    t.match(governor.hold(priority), { code: 'schedule', text: 'the schedule, until 18:00', untilMs: 123 })
  }
  t.match(governor.view(), { phase: 'held', why: 'the schedule, until 18:00', cap: { maxBytesPerSec: 0 } })
  t.ok(governor.isBusy('normal'), 'and it is not the fault of who stands still')
  t.notOk(governor.isBusy('foreground'))
  const before = one.readBytes
  await line.clock.pass(3000)
  t.equal(one.readBytes, before)
  rules.cap = NO_CAP
  await line.clock.pass(3000)
  t.equal(governor.hold('normal'), null)
  t.ok(one.readBytes > before)
})

await t.test('a cap that ends, or begins, while nothing is had is known all the same', async (t) => {
  const line = lineOf(t)
  const { governor, rules, download, rate } = agentOf(t, 'a', { line, rules: { cap: capOf(0) } })
  t.match(governor.hold('normal'), { code: 'schedule' })
  await line.clock.pass(60_000)
  rules.cap = NO_CAP
  t.equal(governor.hold('normal'), null, 'who waits for its end has nothing, so that nothing runs')
  rules.cap = capOf(0)
  t.match(governor.hold('foreground'), { code: 'schedule' })
  rules.cap = NO_CAP
  download('normal')
  t.ok((rate('normal') ?? 0) > 0)
})

await t.test('below a cap the line is used up to it, by foreground work too', async (t) => {
  for (const [mode, priority] of [
    ['adaptive', 'normal'],
    ['adaptive', 'foreground'],
    ['off', 'normal'],
  ] as const) {
    const line = lineOf(t)
    const { governor, download } = agentOf(t, 'a', { line, mode, rules: { cap: capOf(4 * MBIT, 'agent-cap') } })
    const one = download(priority)
    await line.clock.pass(6000)
    const before = one.readBytes
    await line.clock.pass(4000)
    const use = (one.readBytes - before) / (4 * 4 * MBIT)
    t.ok(use > 0.9 && use < 1.02, `${mode} ${priority}: ${use.toFixed(2)} of the cap`)
    t.match(governor.view(), { cap: { maxBytesPerSec: 4 * MBIT } })
  }
})

await t.test(
  'switched off, nothing is measured and nothing slowed, but more urgent work still goes first',
  async (t) => {
    const line = lineOf(t)
    const { governor, probes, download, rate } = agentOf(t, 'a', { line, mode: 'off' })
    const one = download('normal')
    await line.clock.pass(2000)
    t.equal(rate('normal'), null)
    t.equal(probes.opened.length, 0)
    t.match(governor.view(), { mode: 'off', why: 'not governed' })
    const foreground = download('foreground')
    await line.clock.pass(100)
    t.equal(rate('normal'), 0)
    foreground.end()
    await line.clock.pass(100)
    t.equal(rate('normal'), null)
    one.end()
  },
)

/** Two agents behind one line, each hearing what the other says of itself. */
function pair(t: Test, line: Line) {
  const first = agentOf(t, 'a', { line })
  const second = agentOf(t, 'b', { line })
  first.governor.onReport((report) => second.governor.heard('a', report))
  second.governor.onReport((report) => first.governor.heard('b', report))
  return { first, second }
}

await t.test('two agents divide the line evenly, and one decides for both', async (t) => {
  const line = lineOf(t)
  const { first, second } = pair(t, line)
  const one = first.download('normal')
  await line.clock.pass(3000)
  const other = second.download('normal')
  await line.clock.pass(10_000)
  const before = [one.readBytes, other.readBytes] as const
  await line.clock.pass(8000)
  const [mine, theirs] = [one.readBytes - before[0], other.readBytes - before[1]]
  t.ok(Math.abs(mine / theirs - 1) < 0.1, `${(mine / theirs).toFixed(2)} to 1`)
  const use = (mine + theirs) / (8 * line.bytesPerSec)
  t.ok(use > 0.7 && use <= 1.01, `${use.toFixed(2)} of the line together`)
  t.same([first.governor.view().isLead, second.governor.view().isLead], [true, false])
  t.same([first.governor.view().agentsOnWan, second.governor.view().agentsOnWan], [2, 2])

  await t.test('when that one ends, the other goes on where it stood', async (t) => {
    const { capacityBytesPerSec } = first.governor.view()
    one.end()
    await line.clock.pass(2600)
    t.ok(second.governor.view().isLead)
    t.not(second.governor.view().phase, 'startup')
    const known = second.governor.view().capacityBytesPerSec ?? 0
    t.ok(Math.abs(known / (capacityBytesPerSec ?? 1) - 1) < 0.2, 'it knows the line')
    await line.clock.pass(3000)
    const then = other.readBytes
    await line.clock.pass(4000)
    const alone = (other.readBytes - then) / (4 * line.bytesPerSec)
    t.ok(alone > 0.7, `${alone.toFixed(2)} of the line`)
  })

  await t.test('and so it does when that one is gone without a word', async (t) => {
    const again = first.download('normal')
    await line.clock.pass(5000)
    t.notOk(second.governor.view().isLead)
    again.end()
    await first.governor.close()
    second.governor.left('a')
    await line.clock.pass(100)
    t.match(second.governor.view(), { isLead: true, agentsOnWan: 1 })
    t.not(second.governor.view().phase, 'startup')
  })
})

await t.test('what is less urgent than the work of another agent trickles', async (t) => {
  const line = lineOf(t)
  const { first, second } = pair(t, line)
  const low = first.download('low')
  await line.clock.pass(5000)
  const high = second.download('high')
  await line.clock.pass(5000)
  t.notOk(first.governor.view().isLead, 'though its key is lower')
  const before = [low.readBytes, high.readBytes] as const
  await line.clock.pass(5000)
  const [mine, theirs] = [low.readBytes - before[0], high.readBytes - before[1]]
  t.ok(mine > 0 && mine < 0.02 * theirs, `${mine} to ${theirs} bytes`)
})

await t.test(
  'a person who waits elsewhere in the branch sends us to the floor, for as long as it is said',
  async (t) => {
    const line = lineOf(t)
    const { governor, download, rate } = agentOf(t, 'b', { line })
    download('normal')
    for (const report of [
      reportOf({ priority: 'foreground', readBytesPerSec: MBIT }),
      reportOf({ isUserHere: true }),
    ]) {
      // Until it knows the line and nothing of its own queues.
      await line.clock.pass(6000)
      for (let count = 0; count < 200 && governor.view().phase !== 'cruise'; count++) await line.clock.pass(50)
      t.ok((rate('normal') ?? 0) > 5 * MBIT, `${rate('normal')}`)
      for (let count = 0; count < 10; count++) {
        governor.heard('x', report)
        await line.clock.pass(200)
      }
      const { floorBytesPerSec } = WAN_LEVELS.normal
      t.ok((rate('normal') ?? 0) <= floorBytesPerSec && (rate('normal') ?? 0) > 0, `${rate('normal')}`)
      t.match(governor.view(), { phase: 'yield', why: 'a person in the branch waits for something' })
      t.ok(governor.isBusy('normal'))
      await line.clock.pass(6000)
      t.notOk(governor.isBusy('normal'), 'silence is an end as well')
    }
  },
)

await t.test('what is told of itself is bounded in rate, and less in a large branch', async (t) => {
  for (const [otherCount, mostPerSec] of [
    [0, 6],
    [40, 2],
  ] as const) {
    const line = lineOf(t)
    const { governor, reports, download } = agentOf(t, 'a', { line })
    download('normal')
    await line.clock.pass(5000)
    const before = reports.length
    for (let count = 0; count < 20; count++) {
      for (let at = 0; at < otherCount; at++) {
        governor.heard(`x${at}`, reportOf({ isLimited: false, isUserHere: false }))
      }
      await line.clock.pass(500)
    }
    const perSec = (reports.length - before) / 10
    t.ok(perSec > 0.5 && perSec <= mostPerSec, `${perSec} a second with ${otherCount} others`)
  }
  await t.test('even when what is wanted changes all the time', async (t) => {
    const line = lineOf(t)
    const { reports, download } = agentOf(t, 'a', { line })
    for (let count = 0; count < 500; count++) {
      const one = download(count % 2 === 0 ? 'foreground' : 'low')
      await line.clock.pass(10)
      one.end()
    }
    t.ok(reports.length <= 5 * 20 + 2, `${reports.length} in 5 s`)
  })
})

await t.test('closed, nobody reads any more and nothing runs', async (t) => {
  const line = lineOf(t)
  const { governor, probes, reports, download } = agentOf(t, 'a', { line })
  const one = download('normal')
  await line.clock.pass(3000)
  await Promise.all([governor.close(), governor.close()])
  await governor.close()
  t.equal(line.clock.sleeperCount, 1, 'only the line of the test')
  t.equal(probes.closedCount, probes.opened.length)
  await line.clock.pass(100)
  const before = one.readBytes
  const { length } = reports
  download('normal')
  await line.clock.pass(10_000)
  t.equal(one.readBytes, before)
  t.equal(reports.length, length)
  t.equal(probes.closedCount, probes.opened.length)
  t.equal(line.clock.sleeperCount, 1)
})
