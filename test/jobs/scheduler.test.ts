import fc from 'fast-check'
import t from 'tap'
import type { JobId } from '../../src/jobs/job.ts'
import { type Running, schedule, type Waiting } from '../../src/jobs/scheduler.ts'
import { PRIORITIES, type Priority } from '../../src/throttle/priority.ts'

const OPTIONS = { maxRunning: 2, sliceMs: 1000 }
let seq = 0

function waits(id: string, priority: Priority, queuedSeq = ++seq): Waiting {
  return { id: id as JobId, priority, queuedSeq }
}

function runs(id: string, priority: Priority, ranForMs = 0): Running {
  return { id: id as JobId, priority, ranForMs }
}

await t.test('the most urgent level alone has turns, who waits longest first', async (t) => {
  const waiting = [waits('low', 'low', 1), waits('b', 'normal', 3), waits('a', 'normal', 2), waits('c', 'normal', 4)]
  t.same(schedule({ waiting, running: [] }, OPTIONS), { start: ['a', 'b'], preempt: [], nextLookMs: null })
})

await t.test('a more urgent job takes the turns of all others', async (t) => {
  const running = [runs('one', 'low'), runs('two', 'normal')]
  const found = schedule({ waiting: [waits('urgent', 'high')], running }, OPTIONS)
  t.same(found, { start: ['urgent'], preempt: ['one', 'two'], nextLookMs: null })
})

await t.test('a less urgent job waits, though there is room', async (t) => {
  const found = schedule({ waiting: [waits('low', 'low')], running: [runs('high', 'high')] }, OPTIONS)
  t.same(found, { start: [], preempt: [], nextLookMs: null })
})

await t.test('foreground jobs all run, beside whatever runs', async (t) => {
  const waiting = [waits('f1', 'foreground'), waits('f2', 'foreground'), waits('f3', 'foreground')]
  const found = schedule({ waiting, running: [runs('low', 'low'), runs('f0', 'foreground')] }, OPTIONS)
  t.same(found, { start: ['f1', 'f2', 'f3'], preempt: [], nextLookMs: null })
})

await t.test('the end of a slice makes room for who waits, and for nobody else', async (t) => {
  const running = [runs('old', 'normal', 1500), runs('new', 'normal', 400)]
  t.same(schedule({ waiting: [], running }, OPTIONS), { start: [], preempt: [], nextLookMs: null })
  t.same(schedule({ waiting: [waits('a', 'normal')], running }, OPTIONS).preempt, ['old'])
  const both = schedule({ waiting: [waits('a', 'normal'), waits('b', 'normal')], running }, OPTIONS)
  t.same(both, { start: [], preempt: ['old'], nextLookMs: 600 }, 'it looks again when the next slice ends')
})

const priority = fc.constantFrom(...PRIORITIES)
const jobs = fc.record({
  waiting: fc
    .array(fc.record({ priority, queuedSeq: fc.nat(1000) }), { maxLength: 12 })
    .map((all) => all.map((job, at) => ({ ...job, id: `w${at}` as JobId }))),
  running: fc
    .array(fc.record({ priority, ranForMs: fc.nat(3000) }), { maxLength: 6 })
    .map((all) => all.map((job, at) => ({ ...job, id: `r${at}` as JobId }))),
})
const options = fc.record({ maxRunning: fc.integer({ min: 1, max: 4 }), sliceMs: fc.integer({ min: 1, max: 2000 }) })

await t.test('the four invariants hold for whatever waits and runs', async (t) => {
  const levels = ['high', 'normal', 'low'] as const
  fc.assert(
    fc.property(jobs, options, ({ waiting, running }, { maxRunning, sliceMs }) => {
      const { start, preempt, nextLookMs } = schedule({ waiting, running }, { maxRunning, sliceMs })
      const all = [...waiting, ...running]
      const level = levels.find((one) => all.some((job) => job.priority === one))
      const started = waiting.filter(({ id }) => start.includes(id))
      const stopped = running.filter(({ id }) => preempt.includes(id))
      const own = running.filter((job) => job.priority === level)
      const queue = waiting.filter((job) => job.priority === level)
      const stoppedOwn = stopped.filter((job) => job.priority === level)
      const startedOwn = started.filter((job) => job.priority === level)
      // 1. Foreground: all start, none stops.
      const isForegroundFree =
        waiting.every((job) => job.priority !== 'foreground' || start.includes(job.id)) &&
        stopped.every((job) => job.priority !== 'foreground')
      // 2. Below it only the most urgent level starts, and all others stop.
      const isStrict =
        started.every((job) => job.priority === 'foreground' || job.priority === level) &&
        running.every((job) => job.priority === 'foreground' || job.priority === level || preempt.includes(job.id))
      // 3. No more than may, the longest waiting first, the longest running out first.
      const isFair =
        startedOwn.length === Math.min(queue.length, Math.max(0, maxRunning - own.length)) &&
        startedOwn.every((one) => queue.every((job) => start.includes(job.id) || job.queuedSeq >= one.queuedSeq)) &&
        stoppedOwn.every((one) => own.every((job) => preempt.includes(job.id) || job.ranForMs <= one.ranForMs))
      // 4. Nobody stops for nobody, or before the slice is over.
      const leftCount = queue.length - startedOwn.length
      const isCalm =
        stoppedOwn.length <= leftCount &&
        stoppedOwn.every((job) => job.ranForMs >= sliceMs) &&
        (nextLookMs === null || (nextLookMs > 0 && leftCount > stoppedOwn.length))
      return isForegroundFree && isStrict && isFair && isCalm && new Set(start).size === start.length
    }),
    { numRuns: 2000 },
  )
  t.pass('2000 cases')
})
