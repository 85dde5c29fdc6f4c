import t, { type Test } from 'tap'
import { AgentHost, expectDone } from './agent-host.ts'
import { raiseBranchLab, waitForMesh } from './branch-steps.ts'
import { sha256Of } from './generated-content.ts'
import { LAB_TEST_TIMEOUT_MS, labProblem } from './lab.ts'
import type { OriginHost } from './origin-host.ts'
import { until } from './until.ts'

const skip = labProblem() ?? false
const SIZE_BYTES = 32 * 1024 * 1024
/**
 * Without cooperation it is the number of hosts. The bench says 1.00 to 1.02; this leaves room for a machine so busy that
 * answers come too late (1.33 was seen beside a second test run): how close to 1 is a matter of time, and so the bench's.
 */
const MOST_COPIES = 2

t.setTimeout(LAB_TEST_TIMEOUT_MS)

async function raiseCrowd(t: Test): Promise<{ origin: OriginHost; agents: readonly AgentHost[] }> {
  const { lab, origin, secretFile } = await raiseBranchLab(t, 4)
  const agents = await Promise.all([1, 2, 3, 4].map((host) => AgentHost.create(lab, host, { secretFile })))
  await Promise.all(agents.map((agent) => agent.startDaemon()))
  await waitForMesh(t, agents)
  return { origin, agents }
}

void t.test('all hosts ask for the same new thing at once: it crosses the WAN once', { skip }, async (t) => {
  const { origin, agents } = await raiseCrowd(t)
  const url = origin.url(30, SIZE_BYTES)
  const results = await Promise.all(agents.map((agent) => agent.fetch(url, { target: 'file' })))
  const fromOrigin = results.map((result) => expectDone(result).sources.origin)
  for (const result of results) t.equal(expectDone(result).sha256, sha256Of(30, SIZE_BYTES))
  t.ok(fromOrigin.filter((bytes) => bytes > 0).length > 1, `several fetch: ${fromOrigin}`)
  const copies = (await origin.totals()).contentBytes / SIZE_BYTES
  t.ok(copies <= MOST_COPIES, `${copies} copies`)
})

void t.test('the agent that fetches most is killed: the others complete', { skip }, async (t) => {
  const { origin, agents } = await raiseCrowd(t)
  const url = origin.url(31, SIZE_BYTES)
  const running = new Map(agents.map((agent) => [agent, agent.fetch(url, { target: 'file' })]))
  // What one of them embedded in its command does after its daemon died is not the affair here.
  for (const result of running.values()) result.catch(() => undefined)
  const victim = await until(
    async () => {
      const { contentBytes, byRemote } = await origin.totals()
      if (contentBytes < SIZE_BYTES / 4) return undefined
      const sent = (agent: AgentHost) => byRemote[agent.address]?.contentBytes ?? 0
      return [...agents].sort((a, b) => sent(b) - sent(a))[0]
    },
    { timeoutMs: 30_000, what: 'a quarter to be sent' },
  )
  await victim.killDaemon()
  for (const [agent, result] of running) {
    if (agent === victim) continue
    t.equal(expectDone(await result).bytes, SIZE_BYTES)
    t.equal(await agent.sha256('file'), sha256Of(31, SIZE_BYTES))
  }
})
