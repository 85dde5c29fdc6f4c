/** Jobs through a whole agent, from a real origin into real files. */
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Agent } from '../../src/agent/agent.ts'
import type { JobId } from '../../src/jobs/job.ts'
import type { JobStreamEvent } from '../../src/jobs/jobs-api.ts'
import { openJobsAgent, reaches } from '../support/jobs-agent.ts'
import { startTestOrigin } from '../support/test-origin.ts'

const MIB = 1024 * 1024
/** Several connections, a segment or two each, may be under way when a turn is stopped. */
const IN_FLIGHT_BYTES = 8 * MIB

t.setTimeout(240_000)
const origin = await startTestOrigin()
t.teardown(() => origin.close())

/** The first event that is as wanted, past or future. */
async function heard(agent: Agent, id: JobId, isWanted: (event: JobStreamEvent) => boolean): Promise<JobStreamEvent> {
  const stop = new AbortController()
  try {
    const events = agent.jobs.events({ after: 0, job: id, hasProgress: true, signal: stop.signal })
    for await (const event of events) if (isWanted(event)) return event
  } finally {
    stop.abort()
  }
  throw new Error('the stream ended')
}

async function sha256Of(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex')
}

function contentSha256(path: string): string {
  const content = origin.content(path)
  return createHash('sha256').update(content.read(0, content.lengthBytes)).digest('hex')
}

await t.test('suspend keeps what is here, resume fetches the rest and no more', async (t) => {
  const dir = t.testdir({ out: {} })
  await using agent = await openJobsAgent(dir)
  const lengthBytes = 24 * MIB
  const url = origin.serve('/suspend', { seed: 1, lengthBytes }, { ratePerConnectionBytesPerSec: 4 * MIB })
  const target = join(dir, 'out', 'file')
  const { id } = await agent.jobs.create({ files: [{ url, target }] })
  await heard(agent, id, (event) => event.kind === 'progress' && event.bytesDone > 6 * MIB)
  const suspended = await agent.jobs.suspend(id)
  t.match(suspended, { state: 'suspended', bytesPerSec: 0 })
  t.ok(suspended.totals.bytesDone > 6 * MIB, `${suspended.totals.bytesDone} bytes are still told to be here`)
  t.match(await readdir(join(dir, 'out')), [/\.shorthaul-part$/])
  origin.behave('/suspend', { ratePerConnectionBytesPerSec: undefined })
  await agent.jobs.resume(id)
  const job = await reaches(agent.jobs, id, ['transferred', 'error'])
  t.match(job, { state: 'transferred', totals: { bytesDone: lengthBytes } })
  const sent = origin.contentBytesSent('/suspend')
  t.ok(sent <= lengthBytes + IN_FLIGHT_BYTES, `the origin sent ${sent}`)
  const { cache, peer, origin: fromOrigin } = job.totals.sources
  t.equal(cache + peer + fromOrigin, lengthBytes, 'sources add up over both turns')
  t.ok(fromOrigin > lengthBytes - IN_FLIGHT_BYTES, `${fromOrigin} of them from the origin`)
  await agent.jobs.complete(id)
  t.equal(await sha256Of(target), contentSha256('/suspend'))
})

await t.test('an agent that is closed in the middle goes on when it is opened again', async (t) => {
  const dir = t.testdir({ out: {} })
  const lengthBytes = 20 * MIB
  const url = origin.serve('/reopen', { seed: 2, lengthBytes }, { ratePerConnectionBytesPerSec: 4 * MIB })
  const target = join(dir, 'out', 'file')
  const first = await openJobsAgent(dir)
  const { id } = await first.jobs.create({ files: [{ url, target }], autoComplete: true })
  await heard(first, id, (event) => event.kind === 'progress' && event.bytesDone > 5 * MIB)
  await first.close()
  origin.behave('/reopen', { ratePerConnectionBytesPerSec: undefined })
  await using agent = await openJobsAgent(dir)
  t.match(await reaches(agent.jobs, id, ['acknowledged', 'error']), { state: 'acknowledged', errorCount: 0 })
  t.equal(await sha256Of(target), contentSha256('/reopen'))
  t.ok(origin.contentBytesSent('/reopen') <= lengthBytes + IN_FLIGHT_BYTES)
  t.same(await readdir(join(dir, 'out')), ['file'])
})

await t.test('cancel leaves nothing, and touches no file that was there', async (t) => {
  const dir = t.testdir({ out: { file: 'mine' } })
  await using agent = await openJobsAgent(dir)
  const slow = { ratePerConnectionBytesPerSec: 4 * MIB }
  const url = origin.serve('/cancel', { seed: 3, lengthBytes: 24 * MIB }, slow)
  const small = origin.serve('/cancel-small', { seed: 4, lengthBytes: 10 })
  const { id } = await agent.jobs.create({
    files: [
      { url: small, target: join(dir, 'out', 'small') },
      { url, target: join(dir, 'out', 'file') },
    ],
  })
  await heard(agent, id, (event) => event.kind === 'progress' && event.bytesDone > 4 * MIB && event.doneCount === 1)
  t.equal((await readdir(join(dir, 'out'))).length, 3)
  await agent.jobs.cancel(id)
  await agent.close()
  t.same(await readdir(join(dir, 'out')), ['file'])
  t.equal(await readFile(join(dir, 'out', 'file'), 'utf8'), 'mine')
})

await t.test('what changes at the origin between two turns starts over, and is never mixed', async (t) => {
  const dir = t.testdir({ out: {} })
  await using agent = await openJobsAgent(dir)
  const url = origin.serve('/changed', { seed: 5, lengthBytes: 20 * MIB }, { ratePerConnectionBytesPerSec: 4 * MIB })
  const target = join(dir, 'out', 'file')
  const { id } = await agent.jobs.create({ files: [{ url, target }] })
  await heard(agent, id, (event) => event.kind === 'progress' && event.bytesDone > 5 * MIB)
  await agent.jobs.suspend(id)
  origin.change('/changed')
  origin.behave('/changed', { ratePerConnectionBytesPerSec: undefined })
  await agent.jobs.resume(id)
  t.match(await reaches(agent.jobs, id, ['transferred', 'error']), { state: 'transferred' })
  t.match(await heard(agent, id, ({ kind }) => kind === 'file-restarted'), { fileIndex: 0 })
  await agent.jobs.complete(id)
  t.equal(await sha256Of(target), contentSha256('/changed'))
  t.match((await agent.jobs.files(id)).files, [{ restartCount: 1, state: 'delivered' }])
})

await t.test('a file that is not there is named, the others come, and its right source mends the job', async (t) => {
  const dir = t.testdir({ out: {} })
  await using agent = await openJobsAgent(dir)
  const good = [0, 1, 2].map((at) => ({
    url: origin.serve(`/good-${at}`, { seed: 10 + at, lengthBytes: MIB }),
    target: join(dir, 'out', `good-${at}`),
  }))
  const files = [
    ...good.slice(0, 1),
    { url: origin.url('/not-there'), target: join(dir, 'out', 'bad') },
    ...good.slice(1),
  ]
  const { id } = await agent.jobs.create({ files })
  const failed = await reaches(agent.jobs, id, ['error'])
  t.match(failed, { error: { code: 'SHORTHAUL_ORIGIN_NOT_FOUND', fileIndex: 1 }, totals: { doneCount: 3 } })
  const sent = origin.contentBytesSent('/good-0')
  await agent.jobs.setFile(id, 1, { url: origin.serve('/there', { seed: 20, lengthBytes: 99 }) })
  await agent.jobs.resume(id)
  await reaches(agent.jobs, id, ['transferred'])
  t.equal(origin.contentBytesSent('/good-0'), sent, 'what is here is not fetched again')
  t.match(await agent.jobs.complete(id), { deliveredCount: 4, abandonedCount: 0 })
  t.equal(await sha256Of(join(dir, 'out', 'bad')), contentSha256('/there'))
})

await t.test(
  'complete without a directory to complete in says so, and works when the directory can be had',
  async (t) => {
    const dir = t.testdir({ out: {} })
    await using agent = await openJobsAgent(dir)
    const url = origin.serve('/complete', { seed: 30, lengthBytes: MIB })
    const target = join(dir, 'out', 'file')
    const { id } = await agent.jobs.create({ files: [{ url, target }] })
    await reaches(agent.jobs, id, ['transferred'])
    await mkdir(target)
    await t.rejects(agent.jobs.complete(id), { code: 'SHORTHAUL_TARGET_UNWRITABLE' })
    t.match(await agent.jobs.get(id), { state: 'transferred', error: { code: 'SHORTHAUL_TARGET_UNWRITABLE' } })
    await rm(target, { recursive: true })
    t.match(await agent.jobs.complete(id), { deliveredCount: 1, job: { state: 'acknowledged', error: null } })
    t.equal(await sha256Of(target), contentSha256('/complete'))
  },
)

await t.test('a whole part that somebody removed with its directory is fetched again on resume', async (t) => {
  const dir = t.testdir({ out: {} })
  await using agent = await openJobsAgent(dir)
  const url = origin.serve('/removed', { seed: 31, lengthBytes: MIB })
  const target = join(dir, 'out', 'file')
  const { id } = await agent.jobs.create({ files: [{ url, target }] })
  await reaches(agent.jobs, id, ['transferred'])
  await rm(join(dir, 'out'), { recursive: true })
  await t.rejects(agent.jobs.complete(id), { code: 'SHORTHAUL_TARGET_UNWRITABLE' })
  t.match(await agent.jobs.get(id), { state: 'suspended', totals: { doneCount: 0 } })
  await mkdir(join(dir, 'out'))
  await agent.jobs.resume(id)
  await reaches(agent.jobs, id, ['transferred'])
  await agent.jobs.complete(id)
  t.equal(await sha256Of(target), contentSha256('/removed'))
})

await t.test('a pinned digest that does not match is an error that names the file, and nothing appears', async (t) => {
  const dir = t.testdir({ out: {} })
  await using agent = await openJobsAgent(dir)
  const url = origin.serve('/pinned', { seed: 32, lengthBytes: MIB })
  const target = join(dir, 'out', 'file')
  const { id } = await agent.jobs.create({ files: [{ url, target, sha256: 'ab'.repeat(32) }], autoComplete: true })
  t.match(await reaches(agent.jobs, id, ['error']), { error: { code: 'SHORTHAUL_DIGEST_MISMATCH', fileIndex: 0 } })
  t.notOk((await readdir(join(dir, 'out'))).includes('file'))
})

await t.test('an origin that was busy is asked again, and the job ends without a hand', async (t) => {
  const dir = t.testdir({ out: {} })
  await using agent = await openJobsAgent(dir)
  const behaviour = { status: 503, retryAfter: '1' }
  const url = origin.serve('/busy', { seed: 33, lengthBytes: MIB }, behaviour)
  const target = join(dir, 'out', 'file')
  const order = { files: [{ url, target }], minRetryDelayMs: 5000, autoComplete: true }
  const { id } = await agent.jobs.create(order)
  const waiting = await reaches(agent.jobs, id, ['transient-error'])
  t.match(waiting, { error: { code: 'SHORTHAUL_ORIGIN_ERROR', isTransient: true }, errorCount: 1 })
  t.ok(waiting.retryAtMs, 'it says when')
  origin.behave('/busy', { status: undefined, retryAfter: undefined })
  t.match(await reaches(agent.jobs, id, ['acknowledged', 'error']), { state: 'acknowledged' })
  t.equal(await sha256Of(target), contentSha256('/busy'))
})

await t.test('two jobs for one URL cost the origin one copy, and each has its file', async (t) => {
  const dir = t.testdir({ out: {} })
  await using agent = await openJobsAgent(dir)
  const lengthBytes = 24 * MIB
  const url = origin.serve('/shared', { seed: 34, lengthBytes }, { ratePerConnectionBytesPerSec: 8 * MIB })
  const targets = ['one', 'two'].map((name) => join(dir, 'out', name))
  const jobs = await Promise.all(
    targets.map((target) => agent.jobs.create({ files: [{ url, target }], autoComplete: true })),
  )
  for (const { id } of jobs) await reaches(agent.jobs, id, ['acknowledged', 'error'])
  for (const target of targets) t.equal(await sha256Of(target), contentSha256('/shared'))
  const sent = origin.contentBytesSent('/shared')
  t.ok(sent <= lengthBytes + IN_FLIGHT_BYTES, `the origin sent ${sent}`)
})

await t.test('a file on this machine is a source like any', async (t) => {
  const dir = t.testdir({ out: {}, source: {} })
  await using agent = await openJobsAgent(dir)
  await writeFile(join(dir, 'source', 'file'), 'from here')
  const files = [{ url: `file://${join(dir, 'source', 'file')}`, target: join(dir, 'out', 'file') }]
  const { id } = await agent.jobs.create({ files, autoComplete: true })
  await reaches(agent.jobs, id, ['acknowledged', 'error'])
  t.equal(await readFile(join(dir, 'out', 'file'), 'utf8'), 'from here')
})
