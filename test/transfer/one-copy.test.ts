import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/clock.ts'
import { type FakeAgent, FakeBranch } from '../support/fake-branch.ts'
import { startTestOrigin, type TestOrigin } from '../support/test-origin.ts'

const MIB = 2 ** 20
/** Not a whole number of segments. */
const SIZE = 20 * MIB + 12_345

type Result = Awaited<ReturnType<FakeAgent['fetch']>>

async function setUp(t: Test, agentCount: number) {
  const branch = new FakeBranch()
  const origin = await startTestOrigin()
  t.teardown(async () => {
    await branch.close()
    await origin.close()
  })
  const root = t.testdir()
  const add = () => branch.add(join(root, `${branch.agents.size}`))
  const agents: FakeAgent[] = []
  while (agents.length < agentCount) agents.push(await add())
  return { branch, origin, agents, add }
}

/** Not t.same: a diff of megabytes takes for ever. */
function areRight(origin: TestOrigin, results: readonly Result[]): boolean {
  const content = origin.content('/a')
  const bytes = content.read(0, content.lengthBytes)
  return results.every(({ path }) => readFileSync(path).equals(bytes))
}

function fromOrigin(results: readonly Result[]): number {
  return results.reduce((sum, { sources }) => sum + sources.origin, 0)
}

void t.test('agents that begin the same fetch at the same time', async (t) => {
  await t.test('take one copy in all from the origin, and share the work', async (t) => {
    const { origin, agents } = await setUp(t, 4)
    const url = origin.serve('/a', { seed: 1, lengthBytes: SIZE }, { ratePerConnectionBytesPerSec: 2 * MIB })
    const results = await Promise.all(agents.map((agent) => agent.fetch(url)))
    t.ok(areRight(origin, results), 'the bytes are right')
    t.equal(fromOrigin(results), SIZE)
    t.ok(results.filter(({ sources }) => sources.origin > 0).length > 1, 'several fetched a part')
  })

  await t.test('need no more than that when one of them is gone halfway', async (t) => {
    const { branch, origin, agents } = await setUp(t, 4)
    const url = origin.serve('/a', { seed: 2, lengthBytes: SIZE }, { ratePerConnectionBytesPerSec: 2 * MIB })
    const abort = new AbortController()
    const [lost, ...others] = agents
    if (!lost) throw new Error('there are no agents')
    const halted = t.rejects(lost.fetch(url, { signal: abort.signal }), { code: 'SHORTHAUL_ABORTED' })
    const running = Promise.all(others.map((agent) => agent.fetch(url)))
    await origin.until(() => origin.contentBytesSent('/a') > SIZE / 2)
    branch.drop(lost)
    abort.abort()
    await halted
    const results = await running
    t.ok(areRight(origin, results), 'the bytes are right')
    t.ok(fromOrigin(results) > 0 && fromOrigin(results) <= SIZE)
    for (const { sources } of results) t.equal(sources.peer + sources.origin, SIZE)
    await lost.close()
  })

  await t.test(
    'do not wait for one that gives nothing of what it fetched: one of them fetches it once more',
    async (t) => {
      const { origin, agents } = await setUp(t, 4)
      const url = origin.serve('/a', { seed: 4, lengthBytes: SIZE }, { ratePerConnectionBytesPerSec: 2 * MIB })
      const [stuck, ...others] = agents
      if (!stuck) throw new Error('there are no agents')
      const ended = new AbortController()
      stuck.faults.onServe = () => new Promise((resolve) => ended.signal.addEventListener('abort', () => resolve()))
      const alone = stuck.fetch(url)
      const results = await Promise.all(others.map((agent) => agent.fetch(url)))
      ended.abort()
      t.ok(areRight(origin, [...results, await alone]), 'the bytes are right')
      const own = (await alone).sources.origin
      t.ok(own > 0, 'it fetched some')
      // Three times what it fetched would be each for itself; two may begin one segment before they hear of each other.
      t.ok(fromOrigin(results) <= SIZE + own, 'and the others have it once for all of them')
    },
  )

  await t.test('wait for a slow one that had all before they came', async (t) => {
    const { origin, agents } = await setUp(t, 2)
    const url = origin.serve('/a', { seed: 5, lengthBytes: 5 * MIB })
    const [slow, late] = agents
    if (!slow || !late) throw new Error('there are no agents')
    await slow.fetch(url)
    slow.faults.onServe = () => systemClock.sleep(1200)
    const result = await late.fetch(url)
    t.ok(areRight(origin, [result]), 'the bytes are right')
    t.equal(result.sources.origin, 0)
  })

  await t.test('of an origin without ranges: one fetches, and the others wait for its segments', async (t) => {
    const { origin, agents } = await setUp(t, 3)
    const url = origin.serve(
      '/a',
      { seed: 3, lengthBytes: SIZE },
      { noRange: true, ratePerConnectionBytesPerSec: 8 * MIB },
    )
    const results = await Promise.all(agents.map((agent) => agent.fetch(url)))
    t.ok(areRight(origin, results), 'the bytes are right')
    t.same(
      results.map(({ sources }) => sources.origin).sort((a, b) => b - a),
      [SIZE, 0, 0],
    )
    // Each finds out for itself that there are no ranges, and hangs up.
    const whole = origin.requests('/a', 'GET').filter(({ contentBytesSent }) => contentBytesSent > MIB)
    t.equal(whole.length, 1)
  })
})

void t.test('a fetch that began alone shares the rest with a neighbour that comes', async (t) => {
  const lengthBytes = 96 * MIB
  const { origin, agents, add } = await setUp(t, 1)
  const url = origin.serve('/a', { seed: 4, lengthBytes }, { ratePerConnectionBytesPerSec: 8 * MIB })
  const running = agents[0]?.fetch(url)
  if (!running) throw new Error('there are no agents')
  await origin.until(() => origin.contentBytesSent('/a') > 8 * MIB)
  t.same(
    origin.requests('/a').map(({ method }) => method),
    ['GET'],
  )
  const late = await add()
  const results = await Promise.all([running, late.fetch(url)])
  t.ok(areRight(origin, results), 'the bytes are right')
  for (const { sources } of results) {
    t.ok(sources.origin > 0, `${sources.origin} bytes from the origin`)
    t.ok(sources.peer > 0, `${sources.peer} from the neighbour`)
  }
  t.equal(fromOrigin(results), lengthBytes)
})

void t.test('an agent says that it fetched only what it can serve', async (t) => {
  const { origin, agents } = await setUp(t, 2)
  const [agent] = agents
  if (!agent) throw new Error('there are no agents')
  const url = origin.serve('/a', { seed: 6, lengthBytes: SIZE })
  await agent.fetch(url)
  const record = await agent.store.newestAt(url, '')
  if (!record) throw new Error('it is not known')
  const shared = await agent.exchange.acquire(record)
  t.teardown(() => agent.exchange.release(shared))
  t.same(shared.crowd.ownState(0).fetched, [{ start: 0, end: 21 }])
  await agent.exchange.removed(record)
  t.same(shared.crowd.ownState(0).fetched, [], 'nobody need wait for what is gone')
})
