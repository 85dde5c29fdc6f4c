import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { JobId } from '../../src/jobs/job.ts'
import { openJobsAgent, reaches } from '../support/jobs-agent.ts'
import { startTestOrigin, TEST_CERT_FILE } from '../support/test-origin.ts'

const MIB = 2 ** 20
const SIZE = 12 * MIB + 7

const origin = await startTestOrigin()
t.teardown(() => origin.close())

function bytesOf(path: string, ranges: readonly (readonly [start: number, end: number])[]): Buffer {
  const content = origin.content(path)
  return Buffer.concat(ranges.map(([start, end]) => content.read(start, end)))
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

await t.test('a file of ranges holds them one after another, and only its segments are fetched', async (t) => {
  const dir = t.testdir({ out: {} })
  await using agent = await openJobsAgent(dir, { 'origin.caFile': TEST_CERT_FILE })
  const url = origin.serve('/ranges', { seed: 1, lengthBytes: SIZE })
  const expected = bytesOf('/ranges', [
    [9 * MIB - 1, 9 * MIB + 1],
    [0, 5],
    [12 * MIB, SIZE],
  ])
  const { id } = await agent.jobs.create({
    files: [
      {
        url,
        target: join(dir, 'out', 'some'),
        sha256: sha256(expected),
        ranges: [
          { startBytes: 9 * MIB - 1, endBytes: 9 * MIB + 1 },
          { startBytes: 0, endBytes: 5 },
          { startBytes: 12 * MIB, endBytes: null },
        ],
      },
    ],
    autoComplete: true,
  })
  const job = await reaches(agent.jobs, id, ['acknowledged', 'error'])
  t.match(job, { state: 'acknowledged', totals: { bytesTotal: 14, bytesDone: 14, sources: { origin: 14 } } })
  t.ok((await readFile(join(dir, 'out', 'some'))).equals(expected))
  t.same(await readdir(join(dir, 'out')), ['some'])
  t.equal(origin.requests('/ranges', 'GET').length, 3, 'one request for each run of segments')
  const { files } = await agent.jobs.files(id)
  t.match(files[0], { state: 'delivered', bytesTotal: 14, foundSha256: sha256(expected), trust: 'pinned' })
})

await t.test('a range that the content does not have fails the job, and stays failed', async (t) => {
  const dir = t.testdir({ out: {} })
  await using agent = await openJobsAgent(dir, { 'origin.caFile': TEST_CERT_FILE })
  const url = origin.serve('/short', { seed: 2, lengthBytes: 1000 })
  const target = join(dir, 'out', 'some')
  const { id } = await agent.jobs.create({ files: [{ url, target, ranges: [{ startBytes: 5, endBytes: 1001 }] }] })
  const job = await reaches(agent.jobs, id, ['transferred', 'transient-error', 'error'])
  t.match(job, { state: 'error', error: { code: 'SHORTHAUL_RANGE_INVALID', isTransient: false, fileIndex: 0 } })
  t.same(await readdir(join(dir, 'out')), [])
  const bad = [
    { startBytes: 0, endBytes: null },
    { startBytes: 5, endBytes: 6 },
  ]
  await t.rejects(agent.jobs.create({ files: [{ url, target, ranges: bad }] }), { code: 'SHORTHAUL_USAGE' })
})

await t.test('ranges go on after the agent was opened again, from its cache', async (t) => {
  const dir = t.testdir({ out: {} })
  const url = origin.serve('/resume', { seed: 3, lengthBytes: SIZE }, { stallAfterBytes: 4 * MIB + 1000 })
  const target = join(dir, 'out', 'some')
  let id: JobId
  {
    await using agent = await openJobsAgent(dir, { 'origin.caFile': TEST_CERT_FILE })
    const job = await agent.jobs.create({
      files: [{ url, target, ranges: [{ startBytes: 2 * MIB + 3, endBytes: 11 * MIB }] }],
    })
    id = job.id
    const stop = new AbortController()
    for await (const event of agent.jobs.events({ after: 0, job: id, hasProgress: true, signal: stop.signal })) {
      if (event.kind === 'progress' && event.bytesDone >= 4 * MIB - 3) stop.abort()
    }
  }
  origin.behave('/resume', { stallAfterBytes: undefined })
  const before = origin.contentBytesSent('/resume')
  await using agent = await openJobsAgent(dir, { 'origin.caFile': TEST_CERT_FILE })
  const job = await reaches(agent.jobs, id, ['transferred', 'error'])
  t.match(job, { state: 'transferred', totals: { bytesDone: 9 * MIB - 3 } })
  t.equal(origin.contentBytesSent('/resume') - before, 5 * MIB, 'what was here was not fetched again')
  await agent.jobs.complete(id)
  t.ok((await readFile(target)).equals(bytesOf('/resume', [[2 * MIB + 3, 11 * MIB]])))
})

await t.test('what the origin declares of the whole is not asked of a part, but of all of it', async (t) => {
  const dir = t.testdir({ out: {} })
  const secure = await startTestOrigin({ isTls: true })
  t.teardown(() => secure.close())
  const content = Buffer.from('declared by its origin')
  const digest = createHash('sha256').update('something else').digest('base64')
  const url = secure.serve('/declared', content, { fields: { 'repr-digest': `sha-256=:${digest}:` } })
  await using agent = await openJobsAgent(dir, { 'origin.caFile': TEST_CERT_FILE })
  const fetch = async (target: string, endBytes: number | null) => {
    const file = { url, target: join(dir, 'out', target), ranges: [{ startBytes: 0, endBytes }] }
    const { id } = await agent.jobs.create({ files: [file] })
    return reaches(agent.jobs, id, ['transferred', 'transient-error', 'error'])
  }
  t.match(await fetch('part', 8), { state: 'transferred' })
  t.match(await fetch('all', null), { state: 'error', error: { code: 'SHORTHAUL_DIGEST_MISMATCH' } })
})
