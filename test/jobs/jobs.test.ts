import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { openJobsAgent, reaches } from '../support/jobs-agent.ts'
import { startTestOrigin } from '../support/test-origin.ts'

const origin = await startTestOrigin()
t.teardown(() => origin.close())

await t.test('files appear under their names only when the job is completed', async (t) => {
  const dir = t.testdir({ out: {} })
  await using agent = await openJobsAgent(dir)
  const files = [3_000_000, 10, 0].map((lengthBytes, at) => ({
    url: origin.serve(`/atomic-${at}`, { seed: at, lengthBytes }),
    target: join(dir, 'out', `${at}.bin`),
  }))
  const created = await agent.jobs.create({ name: 'three', files })
  t.match(created, { name: 'three', priority: 'normal', totals: { fileCount: 3 } })
  const job = await reaches(agent.jobs, created.id, ['transferred', 'error'])
  t.match(job, {
    state: 'transferred',
    reason: { code: 'waiting-for-complete' },
    totals: { doneCount: 3, bytesDone: 3_000_010 },
  })
  t.ok((await readdir(join(dir, 'out'))).every((name) => name.endsWith('.shorthaul-part')))
  const done = await agent.jobs.complete(created.id)
  t.match(done, { deliveredCount: 3, abandonedCount: 0, job: { state: 'acknowledged' } })
  t.same((await readdir(join(dir, 'out'))).sort(), ['0.bin', '1.bin', '2.bin'])
  const { files: records } = await agent.jobs.files(created.id)
  for (const { target, foundSha256, state } of records) {
    t.equal(state, 'delivered')
    t.equal(
      createHash('sha256')
        .update(await readFile(target))
        .digest('hex'),
      foundSha256,
    )
  }
})
