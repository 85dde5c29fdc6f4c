import t, { type Test } from 'tap'
import { ShorthaulError } from '../../src/errors.ts'
import { JobDb } from '../../src/jobs/job-db.ts'
import type { JobsOptions } from '../../src/jobs/jobs.ts'
import type { JobStreamEvent } from '../../src/jobs/jobs-api.ts'
import { JobBench } from './job-bench.ts'

const ROAMING = { text: 'the line is roaming' } as unknown as JobBench['around']['cost']
const CLOSED = { text: 'closed', untilMs: null } as unknown as JobBench['around']['hold']

async function bench(t: Test, options: Partial<JobsOptions> = {}): Promise<JobBench> {
  const opened = await JobBench.open(t.testdir({}), options)
  t.teardown(() => opened.close())
  return opened
}

await t.test('what an origin that asked to wait failed is tried again without a hand, and not before', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('a')
  ;(await b.transfer('a')).fail('SHORTHAUL_ORIGIN_ERROR', { retryAfterMs: 30_000 })
  const waiting = await b.reaches(id, 'transient-error')
  t.match(waiting, { errorCount: 1, reason: { code: 'origin-asked-to-wait' }, error: { fileIndex: 0 } })
  t.ok((waiting.retryAtMs ?? 0) >= b.clock.nowMs() + 30_000)
  await b.elapse(29_000)
  t.same(b.running, [])
  b.around.network = 'wlan0 10.0.0.2'
  await b.elapse(500)
  t.same(b.running, [], 'another network of ours changes nothing for the origin')
  await b.elapse(8000)
  const transfer = await b.transfer('a')
  await transfer.begin('r1', 10)
  transfer.done(10)
  t.match(await b.reaches(id, 'transferred'), { error: null, errorCount: 1, totals: { bytesDone: 10 } })
})

await t.test('pauses grow with failures in a row', async (t) => {
  const b = await bench(t, { maxRetryDelayMs: 20_000 })
  const { id } = await b.create('a')
  for (const pauseMs of [5000, 10_000, 20_000, 20_000]) {
    const before = b.clock.nowMs()
    ;(await b.transfer('a')).fail('SHORTHAUL_ORIGIN_TIMEOUT')
    const job = await b.reaches(id, 'transient-error')
    const found = (job.retryAtMs ?? 0) - before
    t.ok(found >= pauseMs && found <= pauseMs * 1.2, `${found} for ${pauseMs}`)
    await b.elapse(pauseMs * 1.2 + 1)
  }
})

await t.test('without a new byte for too long it is an error, and resume forgives', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('a', { noProgressTimeoutMs: 30_000 })
  ;(await b.transfer('a')).progress(5, 10)
  await b.elapse(29_000)
  t.match(await b.api.get(id), { state: 'connecting' })
  await b.elapse(2000)
  t.match(await b.reaches(id, 'error'), {
    error: { code: 'SHORTHAUL_JOB_TIMEOUT' },
    reason: { code: 'failed' },
    totals: { bytesDone: 5 },
  })
  await b.runs()
  await b.api.resume(id)
  await b.transfer('a')
  t.match(await b.api.get(id), { error: null, errorCount: 1 })
})

await t.test('failures and pauses count as time without a byte, a held line and a lost network do not', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('a', { noProgressTimeoutMs: 30_000 })
  b.around.hold = CLOSED
  await b.transfer('a')
  await b.elapse(100_000)
  t.match(await b.api.get(id), { reason: { code: 'held' } })
  b.around.hold = null
  await b.elapse(10_000)
  t.match(await b.api.get(id), { state: 'connecting' }, 'time under a hold is not held against it')
  ;(await b.transfer('a')).fail('SHORTHAUL_ORIGIN_UNREACHABLE')
  await b.reaches(id, 'transient-error')
  b.around.network = ''
  await b.elapse(100_000)
  t.match(await b.api.get(id), { reason: { code: /network-down|connecting/ } })
  t.not((await b.api.get(id)).state, 'error')
  b.around.network = 'eth0 10.0.0.1'
  await b.elapse(5000)
  t.not((await b.api.get(id)).state, 'error')
  await b.elapse(30_000)
  t.match(await b.reaches(id, 'error'), { error: { code: 'SHORTHAUL_JOB_TIMEOUT' } })
})

await t.test('a network that is back is tried at once', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('a', { minRetryDelayMs: 600_000 })
  ;(await b.transfer('a')).fail('SHORTHAUL_ORIGIN_UNREACHABLE')
  await b.reaches(id, 'transient-error')
  b.around.network = ''
  await b.elapse(10_000)
  t.match(await b.api.get(id), { state: 'transient-error', reason: { code: 'network-down' } })
  b.around.network = 'eth0 10.0.0.9'
  await b.elapse(2500)
  await b.runs('a')
})

await t.test('a limit of zero makes the first failure an error', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('a', { noProgressTimeoutMs: 0 })
  ;(await b.transfer('a')).fail('SHORTHAUL_ORIGIN_ERROR')
  t.match(await b.reaches(id, 'error'), { error: { code: 'SHORTHAUL_ORIGIN_ERROR', isTransient: true } })
})

await t.test('a deadline ends a job wherever it waits; a wall clock that is set moves nothing else', async (t) => {
  const b = await bench(t)
  const retrying = await b.create('a', { minRetryDelayMs: 30_000 })
  ;(await b.transfer('a')).fail('SHORTHAUL_ORIGIN_ERROR')
  await b.reaches(retrying.id, 'transient-error')
  const running = await b.create('b')
  const queued = await b.create('c', { deadlineAtMs: b.clock.nowMs() + 3_600_000 })
  await b.transfer('b')
  b.clock.stepMs = 86_400_000
  await b.elapse(2000)
  t.match(await b.reaches(queued.id, 'error'), { error: { message: /its deadline is over/ } })
  const waiting = await b.api.get(retrying.id)
  t.equal(waiting.state, 'transient-error')
  const leftMs = (waiting.retryAtMs ?? 0) - b.clock.nowMs()
  t.ok(leftMs > 20_000 && leftMs < 36_000, `it says when by the clock as it is now: in ${leftMs} ms`)
  t.equal(waiting.reason.untilMs, waiting.retryAtMs)
  t.match(await b.api.get(running.id), { state: 'connecting' })
  b.clock.stepMs = -86_400_000
  await b.elapse(35_000)
  await b.until(async () => (await b.api.get(retrying.id)).state === 'queued')
  t.pass('its pause went on as if nothing had happened')
})

await t.test('the longest transfer time counts turns only', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('a', { maxTransferTimeMs: 20_000 })
  const first = await b.transfer('a')
  await b.elapse(10_000)
  first.progress(1, 10)
  await b.api.suspend(id)
  await b.elapse(100_000)
  await b.api.resume(id)
  const second = await b.transfer('a')
  await b.elapse(9000)
  second.progress(2, 10)
  t.match(await b.api.get(id), { state: 'connecting' })
  await b.elapse(2500)
  t.match(await b.reaches(id, 'error'), { error: { message: /for as long as it may/ } })
})

await t.test('a more urgent job takes the line, and who had it goes on after', async (t) => {
  const b = await bench(t)
  const low = await b.create('low', { priority: 'low' })
  const transfer = await b.transfer('low')
  await transfer.begin('r', 10)
  transfer.progress(4, 10)
  const high = await b.create('high', { priority: 'high' })
  const urgent = await b.transfer('high')
  await b.runs('high')
  await b.until(async () => (await b.api.get(low.id)).state === 'queued')
  t.match(await b.api.get(low.id), {
    state: 'queued',
    reason: { code: 'more-urgent-job', text: /"high"/ },
    totals: { bytesDone: 4, sources: { origin: 4 } },
  })
  urgent.done(5)
  await b.reaches(high.id, 'transferred')
  const again = await b.transfer('low')
  again.progress(6, 10)
  again.done(10)
  t.match(await b.reaches(low.id, 'transferred'), { totals: { bytesDone: 10 } })
})

await t.test('foreground jobs run beside, whatever runs', async (t) => {
  const b = await bench(t)
  await b.create('normal')
  await b.transfer('normal')
  await b.create('f1', { priority: 'foreground' })
  await b.create('f2', { priority: 'foreground' })
  await Promise.all([b.transfer('f1'), b.transfer('f2')])
  await b.runs('f1', 'f2', 'normal')
})

await t.test('a priority that is changed counts at once', async (t) => {
  const b = await bench(t)
  const one = await b.create('one')
  await b.transfer('one')
  const two = await b.create('two')
  await b.runs('one')
  await b.api.set(two.id, { priority: 'high' })
  await b.transfer('two')
  await b.runs('two')
  await b.api.set(two.id, { priority: 'low' })
  await b.transfer('one')
  await b.runs('one')
  t.match(await b.api.get(one.id), { errorCount: 0 })
})

await t.test('turns go round inside a level, and a slice ends only for who waits', async (t) => {
  const b = await bench(t, { sliceMs: 10_000 })
  await b.create('one')
  await b.transfer('one')
  await b.elapse(25_000)
  t.same(b.transfers.urls.length, 1, 'alone it is left in peace')
  await b.create('two')
  await b.transfer('two')
  await b.runs('two')
  await b.elapse(10_500)
  await b.runs('one')
})

await t.test('a dear line holds a job, and lets it go', async (t) => {
  const b = await bench(t)
  b.around.cost = ROAMING
  const held = await b.create('held', { costPolicy: 'not-roaming' })
  const free = await b.create('free')
  await b.transfer('free')
  t.match(await b.api.get(held.id), { state: 'queued', reason: { code: 'cost', text: /roaming/ } })
  ;(await b.transfer('free')).done(1)
  await b.reaches(free.id, 'transferred')
  b.around.cost = null
  await b.elapse(2500)
  await b.transfer('held')
  b.around.cost = ROAMING
  await b.elapse(2500)
  await b.runs()
  await b.until(async () => (await b.api.get(held.id)).state === 'queued')
  t.match(await b.api.get(held.id), { reason: { code: 'cost' } })
})

await t.test('nobody touched it for too long: it is cancelled, by time that an agent ran', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('a', { isStarted: false })
  b.clock.stepMs = 365 * 86_400_000
  await b.elapse(2 * 3_600_000 + 1)
  t.match(await b.api.get(id), { state: 'suspended' }, 'a clock that is set cancels nothing')
  const again = await b.reopen()
  t.teardown(() => again.close())
  await again.elapse(3_600_000 + 1)
  t.match(await again.api.get(id), { state: 'suspended' })
  await again.elapse(3_600_000)
  t.match(await again.reaches(id, 'cancelled'), { state: 'cancelled' })
  await again.until(() => again.targets.discarded.length > 0)
  t.same(again.targets.discarded, ['/srv/a'])
  await again.elapse(2 * 3_600_000)
  await t.rejects(again.api.get(id), { code: 'SHORTHAUL_JOB_NOT_FOUND' }, 'and later its record is gone')
})

await t.test('one file that is not there does not keep the others, and is named', async (t) => {
  const b = await bench(t, { parallelFiles: 3 })
  const { id } = await b.create('j', {}, ['a', 'b', 'c'])
  const [a, missing, c] = await Promise.all([b.transfer('a'), b.transfer('b'), b.transfer('c')])
  missing.fail('SHORTHAUL_ORIGIN_NOT_FOUND')
  await a.begin('ra', 5)
  a.done(5)
  await c.begin('rc', 5)
  c.done(5)
  t.match(await b.reaches(id, 'error'), {
    error: { code: 'SHORTHAUL_ORIGIN_NOT_FOUND', fileIndex: 1 },
    reason: { fileIndex: 1 },
    totals: { doneCount: 2 },
  })
  await b.api.resume(id)
  await b.transfer('b')
  await b.runs('b')
})

await t.test('another generation between two turns starts the file over, and says so', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('a')
  const first = await b.transfer('a')
  await first.begin('one', 10)
  first.progress(4, 10)
  await b.api.suspend(id)
  await b.api.resume(id)
  const second = await b.transfer('a')
  await second.begin('two', 12)
  second.done(12)
  await b.reaches(id, 'transferred')
  const kinds = await kindsOf(b, 'file-restarted')
  t.match(kinds, [{ fileIndex: 0 }])
  t.match((await b.api.files(id)).files, [{ restartCount: 1, resource: 'two', bytesDone: 12 }])
})

async function kindsOf(b: JobBench, kind: string): Promise<JobStreamEvent[]> {
  const stop = new AbortController()
  const found: JobStreamEvent[] = []
  const { id } = await b.create('mark', { isStarted: false })
  for await (const event of b.api.events({ after: 0, signal: stop.signal })) {
    if (event.kind === kind) found.push(event)
    if (event.job === id) stop.abort()
  }
  return found
}

await t.test('files can be added while it runs, and to what is whole', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('a')
  const first = await b.transfer('a')
  t.match(await b.api.addFiles(id, [{ url: 'https://o.example/b', target: '/srv/b' }]), { totals: { fileCount: 2 } })
  first.done(1)
  ;(await b.transfer('b')).done(2)
  t.match(await b.reaches(id, 'transferred'), { totals: { doneCount: 2, bytesDone: 3 } })
  const more = await b.api.addFiles(id, [{ url: 'https://o.example/c', target: '/srv/c' }])
  t.match(more, { state: 'suspended', transferredAtMs: null })
  await t.rejects(b.api.addFiles(id, []), { code: 'SHORTHAUL_USAGE' })
  await b.api.resume(id)
  ;(await b.transfer('c')).done(3)
  t.match(await b.reaches(id, 'transferred'), { totals: { doneCount: 3, bytesDone: 6 } })
})

await t.test('complete that fails leaves the job as it was, and can be repeated', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('j', {}, ['a', 'b'])
  ;(await b.transfer('a')).done(1)
  ;(await b.transfer('b')).done(1)
  await b.reaches(id, 'transferred')
  b.targets.failure = new ShorthaulError('SHORTHAUL_TARGET_UNWRITABLE', 'no such directory')
  await t.rejects(b.api.complete(id), { code: 'SHORTHAUL_TARGET_UNWRITABLE' })
  t.match(await b.api.get(id), { state: 'transferred', reason: { code: 'waiting-for-complete', text: /no such dir/ } })
  b.targets.failure = null
  t.match(await b.api.complete(id), { deliveredCount: 2, abandonedCount: 0, job: { state: 'acknowledged' } })
  await t.rejects(b.api.complete(id), { code: 'SHORTHAUL_JOB_STATE' })
})

await t.test('complete keeps what is whole and gives up the rest', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('j', {}, ['a', 'b'])
  ;(await b.transfer('a')).done(1)
  await b.transfer('b')
  const done = await b.api.complete(id)
  t.match(done, { deliveredCount: 1, abandonedCount: 1, job: { state: 'acknowledged' } })
  t.same([b.targets.delivered, b.targets.discarded, b.running], [['/srv/a'], ['/srv/b'], []])
})

await t.test('a whole part that is gone is said, and fetched again on resume', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('j', {}, ['a', 'b'])
  ;(await b.transfer('a')).done(1)
  ;(await b.transfer('b')).done(1)
  await b.reaches(id, 'transferred')
  b.targets.lost.add('/srv/b')
  await t.rejects(b.api.complete(id), { code: 'SHORTHAUL_TARGET_UNWRITABLE' })
  t.match(await b.api.get(id), { state: 'suspended', totals: { doneCount: 1 } })
  b.targets.lost.clear()
  await b.api.resume(id)
  ;(await b.transfer('b')).done(1)
  await b.reaches(id, 'transferred')
  t.match(await b.api.complete(id), { deliveredCount: 2 })
  t.same(b.targets.delivered, ['/srv/a', '/srv/b'])
})

await t.test('a job that completes by itself does, also when that is said late', async (t) => {
  const b = await bench(t)
  const early = await b.create('a', { autoComplete: true })
  ;(await b.transfer('a')).done(1)
  await b.reaches(early.id, 'acknowledged')
  const late = await b.create('b')
  ;(await b.transfer('b')).done(1)
  await b.reaches(late.id, 'transferred')
  await b.api.set(late.id, { autoComplete: true })
  await b.reaches(late.id, 'acknowledged')
  t.same(b.targets.delivered, ['/srv/a', '/srv/b'])
})

await t.test('what a transfer throws that no transfer should is a failure like any', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('a')
  ;(await b.transfer('a')).break(new TypeError('a bug'))
  t.match(await b.reaches(id, 'transient-error'), { error: { message: /a bug/, isTransient: true } })
  t.equal(b.transfers.urls.length, 1, 'it does not begin anew at once')
  await b.elapse(6500)
  ;(await b.transfer('a')).done(1)
  await b.reaches(id, 'transferred')
})

await t.test('a database that cannot be read ends the turn, and is tried again after a rest', async (t) => {
  const b = await bench(t)
  let reads = 0
  const broken = t.capture(JobDb.prototype, 'files', async () => {
    reads++
    throw new ShorthaulError('SHORTHAUL_STORE_IO', 'the disk is gone')
  })
  const { id } = await b.create('a')
  await b.elapse(4000)
  t.equal(reads, 1, 'it does not ask again and again')
  t.match(await b.api.get(id), { state: 'queued' })
  await b.elapse(2000)
  await b.until(() => reads === 2)
  broken.restore()
  await b.elapse(6000)
  ;(await b.transfer('a')).done(1)
  await b.reaches(id, 'transferred')
})

await t.test('a turn whose end cannot be recorded does not leave its job as if it ran', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('a')
  const transfer = await b.transfer('a')
  await b.until(async () => (await b.api.get(id)).state === 'connecting')
  const broken = t.capture(JobDb.prototype, 'write', async () => {
    throw new ShorthaulError('SHORTHAUL_DISK_FULL', 'no room')
  })
  transfer.done(1)
  await b.elapse(3000)
  t.match(await b.api.get(id), { state: 'connecting' })
  broken.restore()
  await b.elapse(6000)
  ;(await b.transfer('a')).done(1)
  await b.reaches(id, 'transferred')
})

await t.test('a job passes through its states once, also when a source said nothing before it was done', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('a')
  ;(await b.transfer('a')).done(1)
  await b.reaches(id, 'transferred')
  const states = (await kindsOf(b, 'state')).map((event) => (event.kind === 'progress' ? null : event.state))
  t.same(states, ['connecting', 'transferring', 'transferred'])
})
