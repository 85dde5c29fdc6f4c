import fc from 'fast-check'
import t from 'tap'
import { EventQueue } from '../../bench/sim/event-queue.ts'
import { FluidNetwork, node } from '../../bench/sim/fluid-network.ts'
import { type SimScenario, World } from '../../bench/sim/world.ts'

const ALWAYS = { untilMs: Number.POSITIVE_INFINITY, isDone: () => false }

const SMALL: SimScenario = {
  agentCount: 20,
  segmentCount: 24,
  wanMbit: 100,
  wanRttMs: 20,
  lanMbit: 1000,
  connections: 64,
  connectionMbit: Number.POSITIVE_INFINITY,
  originConnections: 4,
  staggerMs: 100,
  dyingRatio: 0.1,
  slowRatio: 0.1,
  seed: 1,
}

void t.test('events run in order of time, and those of one moment as they were entered', async () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20)), (delays) => {
      const queue = new EventQueue()
      const ran: { readonly atMs: number; readonly order: number }[] = []
      const enter = (delayMs: number, order: number) => {
        queue.after(delayMs, () => {
          ran.push({ atMs: queue.nowMs, order })
          // Entered while others wait, and last of its moment.
          if (order < delays.length) enter(delayMs % 3, order + delays.length)
        })
      }
      for (const [order, delayMs] of delays.entries()) enter(delayMs, order)
      if (queue.run(ALWAYS) !== 2 * delays.length) return false
      const firsts = ran.filter(({ order }) => order < delays.length)
      return isAscending(ran.map(({ atMs }) => atMs)) && firsts.every((one, at) => isAfter(one, firsts[at - 1]))
    }),
  )
})

function isAscending(numbers: readonly number[]): boolean {
  return numbers.every((number, at) => number >= (numbers[at - 1] ?? 0))
}

function isAfter(
  one: { readonly atMs: number; readonly order: number },
  before: { readonly atMs: number; readonly order: number } | undefined,
): boolean {
  return !before || before.atMs < one.atMs || (before.atMs === one.atMs && before.order < one.order)
}

void t.test('flows of one uplink share it, and one alone has all of it', async (t) => {
  const queue = new EventQueue()
  const network = new FluidNetwork(queue)
  const origin = node(8, 8)
  const endsMs: number[] = []
  const start = (bytes: number) => {
    network.start(origin, node(100, 100), { bytes, onDone: () => endsMs.push(Math.round(queue.nowMs)) })
  }
  start(1000_000)
  start(3000_000)
  queue.run(ALWAYS)
  t.same(endsMs, [2000, 4000])
})

void t.test('the same seed gives the same figures, another seed others', async (t) => {
  const first = new World(SMALL).run()
  t.same(new World(SMALL).run(), first)
  t.not(new World({ ...SMALL, seed: 2 }).run().events, first.events)
})

void t.test('all who live get the content, and the WAN carries it about once', async (t) => {
  const adverse = new World(SMALL).run()
  t.equal(adverse.liveCount, 18)
  t.equal(adverse.doneCount, 18)
  const { doneCount, copies } = new World({ ...SMALL, dyingRatio: 0, slowRatio: 0 }).run()
  t.equal(doneCount, 20)
  t.ok(copies >= 1 && copies < 1.1, `${copies} copies`)
})
