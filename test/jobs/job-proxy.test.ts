import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { JobId } from '../../src/jobs/job.ts'
import { openJobsAgent, reaches } from '../support/jobs-agent.ts'
import { startTestOrigin } from '../support/test-origin.ts'

/** In absolute form it answers for any host. */
const proxy = await startTestOrigin()
t.teardown(() => proxy.close())
const WITH_LOGIN = proxy.base.replace('//', '//me:hidden-word@')
const LOGIN = `Basic ${btoa('me:hidden-word')}`

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
    await using agent = await openJobsAgent(dir)
    const created = await agent.jobs.create({ files, proxy: WITH_LOGIN, isStarted: false })
    id = created.id
    t.equal(created.proxy, proxy.base)
    t.notMatch(JSON.stringify([created, await agent.jobs.list({ allUsers: true })]), /hidden-word/)
  }
  t.notOk(filesBelow(join(dir, 'data')).some((bytes) => bytes.includes('hidden-word')))
  await using agent = await openJobsAgent(dir)
  await agent.jobs.resume(id)
  t.match(await reaches(agent.jobs, id, ['transferred', 'error']), { state: 'transferred' })
  await agent.jobs.complete(id)
  t.equal(readFileSync(join(dir, 'out', 'a'), 'utf8'), 'over the proxy')
  t.ok(proxy.log.length > 0)
  for (const { headers } of proxy.log) t.match(headers, { host: 'origin.test', 'proxy-authorization': LOGIN })
})

await t.test('a new proxy takes the old login away, and other changes keep it', async (t) => {
  const dir = t.testdir({ out: {} })
  proxy.serve('/b', Buffer.from('over the proxy'))
  await using agent = await openJobsAgent(dir)
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
    t.match(await reaches(agent.jobs, id, ['transferred', 'error']), { state: 'transferred' })
    t.ok(proxy.log.length > before)
    for (const { headers } of proxy.log.slice(before)) t.equal(headers['proxy-authorization'], login)
  }
  t.match(await agent.jobs.set(kept, { proxy: 'none' }), { proxy: 'none' })
})
