import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { Agent } from '../../src/agent.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { JobId } from '../../src/jobs/job.ts'
import type { JobView } from '../../src/jobs/jobs-api.ts'
import type { JobState } from '../../src/jobs/states.ts'
import { startTestOrigin } from '../support/test-origin.ts'

const origin = await startTestOrigin()
t.teardown(() => origin.close())

async function openAgent(dir: string, overrides: Readonly<Record<string, unknown>> = {}): Promise<Agent> {
  const { config } = await loadConfig({
    env: {},
    overrides: { dataDir: join(dir, 'data'), 'cache.minFreeBytes': 0, ...overrides },
    homeDir: dir,
    isRoot: false,
  })
  return Agent.open({ config, role: 'embedded', usePeers: false, hasJobs: true })
}

/** By its events: resolves when the job is in one of the states, now or later. */
async function reaches(agent: Agent, id: JobId, states: readonly JobState[]): Promise<JobView> {
  const stop = new AbortController()
  const events = agent.jobs.events({ after: 0, job: id, signal: stop.signal })
  try {
    for await (const event of events) {
      if (event.kind === 'progress') continue
      const job = await agent.jobs.get(id)
      if (states.includes(job.state)) return job
    }
  } finally {
    stop.abort()
  }
  throw new Error('the stream ended')
}

await t.test('files appear under their names only when the job is completed', async (t) => {
  const dir = t.testdir({ out: {} })
  await using agent = await openAgent(dir)
  const files = [3_000_000, 10, 0].map((lengthBytes, at) => ({
    url: origin.serve(`/atomic-${at}`, { seed: at, lengthBytes }),
    target: join(dir, 'out', `${at}.bin`),
  }))
  const created = await agent.jobs.create({ name: 'three', files })
  t.match(created, { name: 'three', priority: 'normal', totals: { fileCount: 3 } })
  const job = await reaches(agent, created.id, ['transferred', 'error'])
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
