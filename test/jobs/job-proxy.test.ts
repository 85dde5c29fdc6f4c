import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Agent } from '../../src/agent.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { JobId } from '../../src/jobs/job.ts'
import type { JobView } from '../../src/jobs/jobs-api.ts'
import type { JobState } from '../../src/jobs/states.ts'
import { startTestOrigin } from '../support/test-origin.ts'

/** In absolute form it answers for any host. */
const proxy = await startTestOrigin()
t.teardown(() => proxy.close())
const WITH_LOGIN = proxy.base.replace('//', '//me:hidden-word@')
const LOGIN = `Basic ${btoa('me:hidden-word')}`

async function openAgent(dir: string): Promise<Agent> {
  const overrides = { dataDir: join(dir, 'data'), 'cache.minFreeBytes': 0 }
  const { config } = await loadConfig({ env: {}, overrides, homeDir: dir, isRoot: false })
  return Agent.open({ config, role: 'embedded', usePeers: false, hasJobs: true })
}

/** Resolves when the job is in one of the states, now or later. */
async function reaches(agent: Agent, id: JobId, states: readonly JobState[]): Promise<JobView> {
  const stop = new AbortController()
  try {
    for await (const event of agent.jobs.events({ after: 0, job: id, signal: stop.signal })) {
      if (event.kind === 'progress') continue
      const job = await agent.jobs.get(id)
      if (states.includes(job.state)) return job
    }
  } finally {
    stop.abort()
  }
  throw new Error('the stream ended')
}

/** All that is on disk. */
function filesBelow(dir: string): Buffer[] {
  return readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .map((name) => join(dir, name))
    .filter((path) => statSync(path).isFile())
    .map((path) => readFileSync(path))
}

await t.test('a job goes through its proxy, whose login is neither shown nor stored as it is', async (t) => {
  const dir = t.testdir({ out: {} })
  proxy.serve('/a', Buffer.from('over the proxy'))
  const files = [{ url: 'http://origin.test/a', target: join(dir, 'out', 'a') }]
  let id: JobId
  {
    await using agent = await openAgent(dir)
    const created = await agent.jobs.create({ files, proxy: WITH_LOGIN, isStarted: false })
    id = created.id
    t.equal(created.proxy, proxy.base)
    t.notMatch(JSON.stringify([created, await agent.jobs.list({ allUsers: true })]), /hidden-word/)
  }
  t.notOk(filesBelow(join(dir, 'data')).some((bytes) => bytes.includes('hidden-word')))
  await using agent = await openAgent(dir)
  await agent.jobs.resume(id)
  t.match(await reaches(agent, id, ['transferred', 'error']), { state: 'transferred' })
  await agent.jobs.complete(id)
  t.equal(readFileSync(join(dir, 'out', 'a'), 'utf8'), 'over the proxy')
  t.ok(proxy.log.length > 0)
  for (const { headers } of proxy.log) t.match(headers, { host: 'origin.test', 'proxy-authorization': LOGIN })
})

await t.test('a new proxy takes the old login away, and other changes keep it', async (t) => {
  const dir = t.testdir({ out: {} })
  proxy.serve('/b', Buffer.from('over the proxy'))
  await using agent = await openAgent(dir)
  const add = async (target: string) => {
    const files = [{ url: 'http://origin.test/b', target: join(dir, 'out', target) }]
    return (await agent.jobs.create({ files, proxy: WITH_LOGIN, isStarted: false })).id
  }
  const kept = await add('kept')
  await agent.jobs.set(kept, { name: 'another', headers: [], webhookSecret: null })
  const changed = await add('changed')
  t.match(await agent.jobs.set(changed, { proxy: proxy.base }), { proxy: proxy.base })
  for (const [id, login] of [
    [kept, LOGIN],
    [changed, undefined],
  ] as const) {
    const before = proxy.log.length
    await agent.jobs.resume(id)
    t.match(await reaches(agent, id, ['transferred', 'error']), { state: 'transferred' })
    t.ok(proxy.log.length > before)
    for (const { headers } of proxy.log.slice(before)) t.equal(headers['proxy-authorization'], login)
  }
  t.match(await agent.jobs.set(kept, { proxy: 'none' }), { proxy: 'none' })
})
