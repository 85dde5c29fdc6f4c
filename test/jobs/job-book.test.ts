import { open, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { systemClock } from '../../src/clock.ts'
import { type Job, totalsOf } from '../../src/jobs/job.ts'
import { JobBook } from '../../src/jobs/job-book.ts'
import type { JobEventRecord } from '../../src/jobs/job-events.ts'
import { fileRecord, jobId, jobRecord, silent } from './job-fixtures.ts'

const OWNER = { uid: 1000, name: 'ada' }

async function openBook(dir: string, told: JobEventRecord[] = []): Promise<JobBook> {
  const listeners = { onEvent: (event: JobEventRecord) => void told.push(event), onOutbox: () => {} }
  return JobBook.open({ clock: systemClock, log: silent, listeners }, dir)
}

function news(job: Job) {
  return { kind: 'changed' as const, previous: job.state, state: job.state }
}

async function eventsAfter(book: JobBook, id: number): Promise<JobEventRecord[]> {
  const found: JobEventRecord[] = []
  for await (const page of book.eventsAfter(id)) found.push(...page)
  return found
}

await t.test('what was recorded is found again, and numbers go on', async (t) => {
  const dir = t.testdir({})
  const told: JobEventRecord[] = []
  const book = await openBook(dir, told)
  const files = [fileRecord(0), fileRecord(1, { state: 'transferred', bytesDone: 5, bytesTotal: 5 })]
  const job = jobRecord(1, { totals: totalsOf(files), queuedSeq: 41 })
  await book.add({ job, files, events: [{ kind: 'created', previous: null, state: job.state }] }, () => {})
  await book.change(job.id, (now) => ({ job: { ...now, name: 'other' }, events: [news(now)] }))
  await book.note(job.id, (now) => ({ job: { ...now, stalledMs: 7 } }))
  const before = { jobs: book.all(), files: await book.files(job.id), events: await eventsAfter(book, 0) }
  t.same(before.events, told, 'who listens hears what is on disk')
  await book.close()
  const again = await openBook(dir)
  t.same({ jobs: again.all(), files: await again.files(job.id), events: await eventsAfter(again, 0) }, before)
  t.match(again.get(job.id), { name: 'other', stalledMs: 7 })
  t.equal(again.nextQueuedSeq(), 42, 'places in the queue go on')
  t.same(again.eventIds, { first: 1, last: 2 })
  await again.change(job.id, (now) => ({ job: now, events: [news(now)] }))
  t.same(
    (await eventsAfter(again, 2)).map(({ id }) => id),
    [3],
    'events are read from an id on',
  )
  await again.close()
})

await t.test('changes are decided one after the other, on what the last one left', async (t) => {
  const book = await openBook(t.testdir({}))
  const { id } = await book.add({ job: jobRecord(1) }, () => {})
  await Promise.all(
    Array.from({ length: 20 }, () => book.change(id, (job) => ({ job: { ...job, errorCount: job.errorCount + 1 } }))),
  )
  t.equal(book.get(id)?.errorCount, 20)
  const refusal = new Error('no')
  await t.rejects(
    book.change(id, () => {
      throw refusal
    }),
    refusal,
  )
  t.match(await book.change(id, () => null), { errorCount: 20 }, 'a refusal leaves it as it is')
  t.equal(await book.change(jobId(99), () => null), null)
  await book.close()
})

await t.test('one idempotency key makes one job, however often and however quickly it comes', async (t) => {
  const dir = t.testdir({})
  const book = await openBook(dir)
  const add = (number: number, requestSha256 = 'a') =>
    book.add({ job: jobRecord(number), made: { key: 'k', requestSha256 } }, () => {})
  const made = await Promise.all([add(1), add(2), add(3)])
  t.same(
    made.map(({ id }) => id),
    [jobId(1), jobId(1), jobId(1)],
  )
  t.equal(book.all().length, 1)
  await t.rejects(add(4, 'b'), { code: 'SHORTHAUL_CONFLICT' })
  const other = { job: jobRecord(5, { owner: { uid: 1, name: 'bob' } }), made: { key: 'k', requestSha256: 'a' } }
  t.equal((await book.add(other, () => {})).id, jobId(5), 'the key of another user is another key')
  await book.close()
  const again = await openBook(dir)
  t.match(await again.made(OWNER, 'k'), { job: jobId(1), requestSha256: 'a' })
  await again.forget(jobId(1))
  await again.forgetMade(({ job }) => again.get(job) === null)
  t.equal(await again.made(OWNER, 'k'), null)
  t.equal((await again.made({ uid: 1, name: 'bob' }, 'k'))?.job, jobId(5))
  await again.close()
})

await t.test('files are read in pages', async (t) => {
  const book = await openBook(t.testdir({}))
  const files = Array.from({ length: 300 }, (_, at) => fileRecord(at))
  const { id } = await book.add({ job: jobRecord(1, { totals: totalsOf(files) }), files }, () => {})
  await book.add({ job: jobRecord(2), files: [fileRecord(0)] }, () => {})
  const indexes = async (after: number, limit: number) =>
    (await book.filePage(id, { after, limit })).map(({ index }) => index)
  t.same(await indexes(-1, 3), [0, 1, 2])
  t.same(await indexes(254, 3), [255, 256, 257], 'in the order of numbers')
  t.same(await indexes(298, 50), [299])
  t.equal((await book.files(id)).length, 300)
  t.equal(await book.file(id, 300), null)
  await book.close()
})

await t.test('a job that is forgotten leaves nothing but its last event', async (t) => {
  const dir = t.testdir({})
  const book = await openBook(dir)
  const files = [fileRecord(0), fileRecord(1)]
  const { id } = await book.add({ job: jobRecord(1, { totals: totalsOf(files) }), files }, () => {})
  await book.forget(id)
  t.equal(book.get(id), null)
  t.same(await book.files(id), [])
  t.match(await eventsAfter(book, 0), [{ kind: 'forgotten', job: id }])
  await book.close()
  const again = await openBook(dir)
  t.same(again.all(), [])
  await again.close()
})

await t.test('the last 10,000 events are kept, and a reader who comes late gets those', async (t) => {
  const dir = t.testdir({})
  const book = await openBook(dir)
  const { id } = await book.add({ job: jobRecord(1) }, () => {})
  for (let round = 0; round < 103; round++) {
    await book.change(id, (job) => ({ job, events: Array.from({ length: 100 }, () => news(job)) }))
  }
  const kept = await eventsAfter(book, 0)
  t.equal(kept.length, 10_000)
  t.equal(kept[0]?.id, 301)
  t.same(book.eventIds, { first: 301, last: 10_300 })
  await book.close()
  const again = await openBook(dir)
  t.same(again.eventIds, { first: 301, last: 10_300 })
  await again.close()
})

async function damage(path: string, how: 'CURRENT' | 'MANIFEST' | 'ldb'): Promise<void> {
  const names = await readdir(path)
  if (how === 'CURRENT') return rm(join(path, 'CURRENT'))
  const name = names.find((each) => (how === 'ldb' ? each.endsWith('.ldb') : each.startsWith('MANIFEST')))
  if (name === undefined) throw new Error(`no ${how} in ${names.join(' ')}`)
  const bytes = await readFile(join(path, name))
  await writeFile(join(path, name), Buffer.alloc(bytes.byteLength, 0x5a))
}

for (const how of ['CURRENT', 'MANIFEST', 'ldb'] as const) {
  await t.test(`a database whose ${how} is damaged is set aside, and a new one begun`, async (t) => {
    const dir = t.testdir({})
    // Twice, because a table is made of the log when it is opened.
    for (const number of [1, 2]) {
      const book = await openBook(dir)
      await book.add({ job: jobRecord(number), files: [fileRecord(0)] }, () => {})
      await book.close()
    }
    const v1 = join(dir, 'jobs', 'v1')
    await damage(join(v1, 'db'), how)
    const book = await openBook(dir)
    t.same(book.all(), [])
    await book.add({ job: jobRecord(3) }, () => {})
    await book.close()
    t.ok((await readdir(v1)).some((name) => name.startsWith('db.damaged-')))
    const again = await openBook(dir)
    t.same(
      again.all().map(({ id }) => id),
      [jobId(3)],
    )
    await again.close()
  })
}

await t.test('the end of the log that a crash cut off is left out, the rest is there', async (t) => {
  const dir = t.testdir({})
  const book = await openBook(dir)
  for (const number of [1, 2, 3]) await book.add({ job: jobRecord(number), files: [fileRecord(0)] }, () => {})
  await book.close()
  const path = join(dir, 'jobs', 'v1', 'db')
  const name = (await readdir(path)).find((each) => each.endsWith('.log')) ?? ''
  const log = await open(join(path, name), 'r+')
  await log.truncate((await log.stat()).size - 20)
  await log.close()
  const again = await openBook(dir)
  t.same(
    again.all().map(({ id }) => id),
    [jobId(1), jobId(2)],
  )
  await again.close()
})
