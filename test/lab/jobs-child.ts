/**
 * An agent with jobs for the tests that kill it: makes the jobs it is told to (once, by their names), does with each what
 * its description says, and prints every event on stdout as soon as it has heard it.
 * argv: data directory, file with the orders (JSON)
 *
 * Descriptions: `complete`: when it is whole, or in error, its files get their names; `cancel`: as soon as it runs.
 */
import { readFileSync } from 'node:fs'
import pino from 'pino'
import { Agent } from '../../src/agent/agent.ts'
import { loadConfig } from '../../src/config/load.ts'
import { isShorthaulError } from '../../src/errors.ts'
import type { JobId } from '../../src/jobs/job.ts'
import type { JobOrder } from '../../src/jobs/jobs-api.ts'
import { JOB_STATES, type JobState } from '../../src/jobs/states.ts'

const [, , dataDir = '', ordersFile = ''] = process.argv
const { config } = await loadConfig({
  env: {},
  overrides: { dataDir, 'cache.minFreeBytes': 0, 'jobs.sliceMs': 1000, 'jobs.maxRunning': 3 },
  homeDir: dataDir,
  isRoot: false,
})
const log = pino({ level: 'error' }, pino.destination({ dest: 2, sync: true }))
const agent = await Agent.open({ config, role: 'embedded', usePeers: false, hasJobs: true }, { log })
const stop = new AbortController()
process.once('SIGTERM', () => stop.abort())
process.stdout.write('open\n')

async function tend(id: JobId, state: JobState): Promise<void> {
  const { description } = await agent.jobs.get(id)
  try {
    if (description === 'complete' && (state === 'transferred' || state === 'error')) await agent.jobs.complete(id)
    if (description === 'cancel' && state === 'transferring') await agent.jobs.cancel(id)
  } catch (error) {
    // Something else was quicker; the next event says what to do.
    if (!isShorthaulError(error, 'SHORTHAUL_JOB_STATE')) throw error
  }
}

const tasks = new Set<Promise<void>>()
const events = agent.jobs.events({ after: 0, signal: stop.signal })
for (const order of JSON.parse(readFileSync(ordersFile, 'utf8')) as JobOrder[]) {
  const { id, name } = await agent.jobs.create({ ...order, idempotencyKey: order.name ?? '' })
  process.stdout.write(`${JSON.stringify({ created: name, id })}\n`)
}
const { jobs } = await agent.jobs.list({ states: JOB_STATES, limit: 1000 })
const now = new Map(jobs.map(({ id, state }) => [id, state]))
for (const [id, state] of now) await tend(id, state)
for await (const event of events) {
  if (event.kind === 'progress') continue
  process.stdout.write(`${JSON.stringify(event)}\n`)
  const task: Promise<void> = tend(event.job, event.state).finally(() => tasks.delete(task))
  tasks.add(task)
}
await Promise.allSettled(tasks)
await agent.close()
