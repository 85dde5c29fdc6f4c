/** Things that jobs tests share. */
import { join } from 'node:path'
import { Agent, type AgentComponents } from '../../src/agent/agent.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { JobId } from '../../src/jobs/job.ts'
import type { JobsApi, JobView } from '../../src/jobs/jobs-api.ts'
import type { JobState } from '../../src/jobs/states.ts'

/** An agent that carries out jobs, without neighbours, whose data is in `dir`. */
export async function openJobsAgent(
  dir: string,
  overrides: Readonly<Record<string, unknown>> = {},
  components: AgentComponents = {},
): Promise<Agent> {
  const { config } = await loadConfig({
    env: {},
    overrides: { dataDir: join(dir, 'data'), 'cache.minFreeBytes': 0, ...overrides },
    homeDir: dir,
    isRoot: false,
  })
  return Agent.open({ config, role: 'embedded', usePeers: false, hasJobs: true }, components)
}

/** By its events: resolves when the job is in one of the states, now or later. */
export async function reaches(jobs: JobsApi, id: JobId, states: readonly JobState[]): Promise<JobView> {
  const stop = new AbortController()
  try {
    for await (const event of jobs.events({ after: 0, job: id, signal: stop.signal })) {
      if (event.kind === 'progress') continue
      const job = await jobs.get(id)
      if (states.includes(job.state)) return job
    }
  } finally {
    stop.abort()
  }
  throw new Error('the stream ended')
}
