import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { JobId } from '../../src/jobs/job.ts'
import type { JobsOptions } from '../../src/jobs/jobs.ts'
import { JOB_STATES } from '../../src/jobs/states.ts'
import { ADA, BOB, JobBench, ROOT, urlOf } from './job-bench.ts'
import { jobId } from './job-fixtures.ts'

async function bench(t: Test, options: Partial<JobsOptions> = {}): Promise<JobBench> {
  const opened = await JobBench.open(t.testdir({}), options)
  t.teardown(() => opened.close())
  return opened
}

const NOT_FOUND = { code: 'SHORTHAUL_JOB_NOT_FOUND' }
const WRONG_STATE = { code: 'SHORTHAUL_JOB_STATE' }

await t.test('a job without files waits for some, one that is not to start waits for resume', async (t) => {
  const b = await bench(t)
  const empty = await b.api.create({ name: 'empty' })
  t.match(empty, { state: 'suspended', reason: { code: 'no-files' } })
  await t.rejects(b.api.resume(empty.id), { ...WRONG_STATE, details: { isEmpty: true } })
  const still = await b.create('a', { isStarted: false })
  t.match(still, { state: 'suspended', reason: { code: 'suspended' } })
  await b.idle()
  t.same(b.running, [])
  await b.api.resume(still.id)
  await b.transfer('a')
})

await t.test('a user has so many jobs, and a job so many files', async (t) => {
  const b = await bench(t, { maxPerUser: 2, maxFilesPerJob: 2 })
  const LIMIT = { code: 'SHORTHAUL_JOB_LIMIT' }
  await t.rejects(b.create('j', {}, ['1', '2', '3']), LIMIT)
  const first = await b.create('a', { isStarted: false })
  await b.create('b', { isStarted: false })
  await t.rejects(b.create('c'), LIMIT)
  const more = ['x', 'y'].map((name) => ({ url: urlOf(name), target: join('/srv', name) }))
  await t.rejects(b.api.addFiles(first.id, more), LIMIT)
  await b.jobs.as(BOB).create({ name: 'of another' })
  await b.api.cancel(first.id)
  await b.create('c')
  const many = await Promise.allSettled([b.create('d'), b.create('e')])
  t.ok(
    many.every(({ status }) => status === 'rejected'),
    'several at once neither',
  )
})

await t.test('jobs of others are not there, for anything', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('a')
  const bob = b.jobs.as(BOB)
  t.same((await bob.list()).jobs, [])
  await t.rejects(bob.list({ allUsers: true }), { code: 'SHORTHAUL_FORBIDDEN' })
  const calls: Record<string, () => Promise<unknown>> = {
    get: () => bob.get(id),
    files: () => bob.files(id),
    set: () => bob.set(id, { name: 'x' }),
    addFiles: () => bob.addFiles(id, [{ url: urlOf('x'), target: '/srv/x' }]),
    setFile: () => bob.setFile(id, 0, { target: '/srv/x' }),
    replacePrefix: () => bob.replacePrefix(id, { from: 'https', to: 'http' }),
    suspend: () => bob.suspend(id),
    resume: () => bob.resume(id),
    cancel: () => bob.cancel(id),
    complete: () => bob.complete(id),
  }
  for (const [name, call] of Object.entries(calls)) await t.rejects(call(), NOT_FOUND, name)
  await t.rejects(bob.takeOwnership(id), { code: 'SHORTHAUL_FORBIDDEN' })
  const stop = new AbortController()
  const heard: string[] = []
  await b.clock.pass(1)
  const mark = await bob.create({ name: 'mark' })
  for await (const event of bob.events({ after: 0, signal: stop.signal })) {
    heard.push(event.job)
    if (event.job === mark.id) stop.abort()
  }
  t.same(heard, [mark.id])
  t.match((await b.jobs.as(ROOT).list({ allUsers: true })).jobs, [
    { name: 'a', owner: { uid: 1000 } },
    { name: 'mark' },
  ])
  t.match(await b.jobs.as(ROOT).get(id), { name: 'a' })
})

await t.test('who takes a job over gets neither its secrets nor its command', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('j', {
    headers: [['Authorization', 'hunter2']],
    webhookSecret: 'k',
    notify: { command: ['/hooks/done'], webhookUrl: 'https://hook.example/', events: ['transferred'] },
  })
  t.same((await b.transfer('j')).request.headers, [['Authorization', 'hunter2']])
  const taken = await b.jobs.as(ROOT).takeOwnership(id)
  t.match(taken, { owner: { uid: 0, name: 'root' }, headerNames: [], notify: { command: null } })
  t.notMatch(JSON.stringify(taken), /hunter2/)
  t.same(b.targets.discarded, ['/srv/j'], 'parts belong to the one whose job it was')
  t.same((await b.transfer('j')).request.headers, [])
  await t.rejects(b.api.get(id), NOT_FOUND)
})

await t.test('while its files get their names nothing else is done to a job, and no part is removed', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('a')
  ;(await b.transfer('a')).done(1)
  await b.reaches(id, 'transferred')
  let open = () => {}
  b.targets.gate = new Promise((resolve) => {
    open = resolve
  })
  const completing = b.api.complete(id)
  await b.until(async () => (await b.api.get(id)).reason.code === 'completing')
  await t.rejects(b.jobs.as(ROOT).takeOwnership(id), WRONG_STATE)
  await t.rejects(b.api.setFile(id, 0, { target: '/srv/b' }), WRONG_STATE)
  await t.rejects(b.api.cancel(id), WRONG_STATE)
  t.same(b.targets.discarded, [])
  const again = b.api.complete(id)
  open()
  t.match(await completing, { deliveredCount: 1 })
  t.match(await again, { deliveredCount: 1 }, 'who asks twice hears the same')
  t.same(b.targets.delivered, ['/srv/a'])
})

await t.test('secrets are used and never shown', async (t) => {
  const b = await bench(t)
  const job = await b.create('a', { headers: [['Authorization', 'hunter2']], webhookSecret: 'swordfish' })
  const seen = JSON.stringify([job, await b.api.list(), await b.api.files(job.id)])
  t.notMatch(seen, /hunter2|swordfish|sealed/)
  t.same(job.headerNames, ['Authorization'])
  await b.api.set(job.id, { name: 'other' })
  t.same((await b.api.get(job.id)).headerNames, ['Authorization'])
})

await t.test('a job whose key is lost says so, and goes on with header fields that are set anew', async (t) => {
  const dir = t.testdir({})
  const first = await JobBench.open(dir)
  const { id } = await first.create('a', { headers: [['Authorization', 'old']] })
  await first.transfer('a')
  await first.close()
  await rm(join(dir, 'jobs', 'key'))
  const b = await JobBench.open(dir)
  t.teardown(() => b.close())
  t.match(await b.reaches(id, 'error'), { error: { code: 'SHORTHAUL_SECRET_INVALID' } })
  await b.api.set(id, { name: 'the name is no secret' })
  await b.api.set(id, { headers: [['Authorization', 'new']] })
  await b.api.resume(id)
  t.same((await b.transfer('a')).request.headers, [['Authorization', 'new']])
})

await t.test('a file comes from elsewhere, or goes elsewhere, and nothing is removed for a wrong patch', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('j', {}, ['a', 'b'])
  const whole = await b.transfer('a')
  whole.done(5)
  await b.transfer('b')
  await b.api.setFile(id, 1, { url: urlOf('mirror/b') })
  await b.transfer('mirror/b')
  await b.runs('mirror/b')
  await t.rejects(b.api.setFile(id, 0, { target: '/srv/b' }), { code: 'SHORTHAUL_USAGE' })
  await t.rejects(b.api.setFile(id, 0, { target: 'b' }), { code: 'SHORTHAUL_USAGE' })
  t.same(b.targets.discarded, [])
  t.match(await b.api.setFile(id, 0, { target: '/srv/c' }), { target: '/srv/c', state: 'waiting' })
  t.same(b.targets.discarded, ['/srv/a'])
  await t.rejects(b.api.setFile(id, 2, { url: urlOf('x') }), NOT_FOUND)
  ;(await b.transfer('a')).done(5)
  ;(await b.transfer('mirror/b')).done(6)
  t.match(await b.reaches(id, 'transferred'), { totals: { bytesDone: 11, doneCount: 2 } })
})

await t.test('a prefix is replaced in all files that have it', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('j', { isStarted: false }, ['x/a', 'x/b', 'y/c'])
  t.equal(await b.api.replacePrefix(id, { from: urlOf('x/'), to: 'https://mirror.example/' }), 2)
  const urls = (await b.api.files(id)).files.map(({ url }) => url)
  t.same(urls, ['https://mirror.example/a', 'https://mirror.example/b', urlOf('y/c')])
  await t.rejects(b.api.replacePrefix(id, { from: 'https:', to: 'ftp:' }), { code: 'SHORTHAUL_URL_INVALID' })
  await t.rejects(b.api.replacePrefix(id, { from: '', to: 'x' }), { code: 'SHORTHAUL_USAGE' })
  t.same(
    (await b.api.files(id)).files.map(({ url }) => url),
    urls,
  )
})

await t.test('what is done to a job that ended is refused', async (t) => {
  const b = await bench(t)
  const { id } = await b.create('a')
  await b.api.cancel(id)
  const calls: ((id: JobId) => Promise<unknown>)[] = [b.api.resume, b.api.suspend, b.api.cancel, b.api.complete]
  for (const call of calls) {
    await t.rejects(call(id), WRONG_STATE)
  }
  await t.rejects(b.api.set(id, { name: 'x' }), WRONG_STATE)
  await t.rejects(b.api.addFiles(id, [{ url: urlOf('x'), target: '/srv/x' }]), WRONG_STATE)
  t.same((await b.api.list()).jobs, [])
  t.match((await b.api.list({ states: ['cancelled'] })).jobs, [{ id }])
})

await t.test('the same order under the same key is one job, at once and after a restart', async (t) => {
  const b = await bench(t)
  const [one, two] = await Promise.all([b.create('a', { idempotencyKey: 'k' }), b.create('a', { idempotencyKey: 'k' })])
  t.equal(one.id, two.id)
  await t.rejects(b.create('b', { idempotencyKey: 'k' }), { code: 'SHORTHAUL_CONFLICT' })
  const again = await b.reopen()
  t.teardown(() => again.close())
  t.equal((await again.create('a', { idempotencyKey: 'k' })).id, one.id)
  t.equal((await again.api.list()).jobs.length, 1)
})

await t.test('lists come in pages, in the order of creation', async (t) => {
  const b = await bench(t)
  const ids: string[] = []
  for (let number = 0; number < 5; number++) {
    await b.clock.pass(1)
    ids.push((await b.create(`${number}`, { isStarted: false })).id)
  }
  const first = await b.api.list({ limit: 2 })
  const second = await b.api.list({ limit: 2, ...(first.next ? { after: first.next } : {}) })
  const third = await b.api.list({ limit: 2, ...(second.next ? { after: second.next } : {}) })
  t.same(
    [first, second, third].flatMap(({ jobs }) => jobs.map(({ id }) => id)),
    ids,
  )
  t.equal(third.next, null)
  await t.rejects(b.api.list({ limit: 0 }), { code: 'SHORTHAUL_USAGE' })
  await t.rejects(b.api.list({ after: jobId(99) }), NOT_FOUND)
})

await t.test('events are heard from the moment of the call, not of the first look', async (t) => {
  const b = await bench(t)
  await b.create('before', { isStarted: false })
  const stop = new AbortController()
  const events = b.api.events({ signal: stop.signal })
  const { id } = await b.create('after', { isStarted: false })
  for await (const event of events) {
    t.match(event, { kind: 'created', job: id })
    stop.abort()
  }
})

await t.test('after a restart every state is what it was, and what ran goes on', async (t) => {
  let b = await bench(t, { maxPerUser: 20, parallelFiles: 1 })
  const ids = new Map<string, string>()
  const keep = async (name: string, job: Promise<{ id: string }>) => ids.set((await job).id, name)
  await keep('acknowledged', b.create('done'))
  ;(await b.transfer('done')).done(1)
  for (const [id] of ids) await b.reaches(id as JobId, 'transferred')
  await b.api.complete([...ids.keys()][0] as JobId)
  const whole = await b.create('whole')
  await keep('transferred', Promise.resolve(whole))
  ;(await b.transfer('whole')).done(1)
  await b.reaches(whole.id, 'transferred')
  const failed = await b.create('failed')
  await keep('error', Promise.resolve(failed))
  ;(await b.transfer('failed')).fail('SHORTHAUL_ORIGIN_NOT_FOUND')
  await b.reaches(failed.id, 'error')
  const retrying = await b.create('retrying', { minRetryDelayMs: 30_000 })
  await keep('transient-error', Promise.resolve(retrying))
  ;(await b.transfer('retrying')).fail('SHORTHAUL_ORIGIN_ERROR')
  await b.reaches(retrying.id, 'transient-error')
  const gone = await b.create('gone', { isStarted: false })
  await keep('cancelled', Promise.resolve(gone))
  await b.api.cancel(gone.id)
  await keep('suspended', b.create('still', { isStarted: false }))
  const running = await b.create('running', { priority: 'high' })
  await keep('connecting', Promise.resolve(running))
  await b.transfer('running')
  await keep('queued', b.create('queued'))
  const view = async () => (await b.api.list({ states: JOB_STATES })).jobs
  for (const { id, state } of await view()) t.equal(state, ids.get(id), `before: ${state}`)
  b = await b.reopen()
  const last = b
  t.teardown(() => last.close())
  await b.transfer('running')
  for (const { id, state } of await view()) t.equal(state, ids.get(id), `after: ${state}`)
  await b.elapse(29_000)
  await b.runs('running')
  ;(await b.transfer('running')).done(1)
  await b.reaches(running.id, 'transferred')
  await b.transfer('queued')
  await b.elapse(10_000)
  await b.until(async () => (await b.api.get(retrying.id)).state === 'queued')
  t.pass('its pause went on')
})

await t.test('what one user orders for a machine is not read with the rights of another', async (t) => {
  const b = await bench(t)
  const order = { files: [{ url: 'file:///etc/shadow', target: '/srv/s' }] }
  await t.rejects(b.jobs.as(BOB).create(order), { code: 'SHORTHAUL_FORBIDDEN' })
  t.match(await b.jobs.as(ADA).create(order), { totals: { fileCount: 1 } })
})
