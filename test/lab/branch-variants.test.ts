import t from 'tap'
import { AgentHost } from './agent-host.ts'
import { fetchOnceForAll, raiseBranchLab, waitForMesh } from './branch-steps.ts'
import { LAB_TEST_TIMEOUT_MS, labProblem } from './lab.ts'

const skip = labProblem() ?? false
const SIZE_BYTES = 24 * 1024 * 1024

t.setTimeout(LAB_TEST_TIMEOUT_MS)

void t.test('a branch without multicast: beacon off, static peers', { skip }, async (t) => {
  const { lab, origin, secretFile } = await raiseBranchLab(t, 4)
  const hosts = [1, 2, 3, 4]
  const agents = await Promise.all(
    hosts.map((host) => {
      const peers = hosts.filter((other) => other !== host).map((other) => lab.hostAddress(other))
      return AgentHost.create(lab, host, { secretFile, config: { network: { beacon: false, peers } } })
    }),
  )
  await Promise.all(agents.map((agent) => agent.startDaemon()))
  await waitForMesh(t, agents)
  await fetchOnceForAll(t, origin, agents, { seed: 2, bytes: SIZE_BYTES })
})

void t.test('a branch whose first agent was killed and never came back', { skip }, async (t) => {
  const { lab, origin, secretFile } = await raiseBranchLab(t, 4)
  const agents = await Promise.all([1, 2, 3, 4].map((host) => AgentHost.create(lab, host, { secretFile })))
  const [first, second, third, fourth] = agents
  if (!first || !second || !third || !fourth) throw new Error('four agents were made')
  await first.startDaemon()
  await Promise.all([second.startDaemon(), third.startDaemon()])
  await waitForMesh(t, [first, second, third])
  await first.killDaemon()
  await fourth.startDaemon()
  await waitForMesh(t, [second, third, fourth])
  await fetchOnceForAll(t, origin, [second, third, fourth], { seed: 3, bytes: SIZE_BYTES })
})
