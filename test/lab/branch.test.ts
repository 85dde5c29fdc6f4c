import t from 'tap'
import { AgentHost, expectDone, writeBranchSecret } from './agent-host.ts'
import { fetchOnceForAll, raiseBranchLab, waitForMesh } from './branch-steps.ts'
import { sha256Of } from './generated-content.ts'
import { LAB_TEST_TIMEOUT_MS, labProblem } from './lab.ts'

const skip = labProblem() ?? false
const SIZE_BYTES = 64 * 1024 * 1024

t.setTimeout(LAB_TEST_TIMEOUT_MS)

void t.test('a branch with nothing but a shared secret', { skip }, async (t) => {
  const { lab, origin, secretFile } = await raiseBranchLab(t, 5)
  const agents = await Promise.all([1, 2, 3, 4].map((host) => AgentHost.create(lab, host, { secretFile })))

  await t.test('every daemon sees the three others', async (t) => {
    await Promise.all(agents.map((agent) => agent.startDaemon()))
    await waitForMesh(t, agents)
    for (const agent of agents) t.equal((await agent.keys()).peers.size, 3, 'and nobody else')
  })

  await t.test('a file crosses the WAN once and the other hosts take it from their neighbours', async (t) => {
    await fetchOnceForAll(t, origin, agents, { seed: 1, bytes: SIZE_BYTES })
  })

  await t.test('a host with another secret sees nobody and gets nothing from them', async (t) => {
    const stranger = await AgentHost.create(lab, 5, { secretFile: await writeBranchSecret(lab, 'other') })
    await stranger.startDaemon()
    const fetched = expectDone(await stranger.fetch(origin.url(1, SIZE_BYTES), { target: 'file' }))
    t.match(fetched.sources, { cache: 0, peer: 0, origin: SIZE_BYTES })
    t.equal(await stranger.sha256('file'), sha256Of(1, SIZE_BYTES))
    t.equal((await stranger.keys()).peers.size, 0)
    for (const agent of agents)
      t.equal((await agent.keys()).peers.size, 3, `host ${agent.host} still sees the branch only`)
  })

  await t.test('a daemon that stops on SIGTERM ends with code 0', async (t) => {
    const [, , , last] = agents
    await last?.stopDaemon()
    t.strictSame(last?.daemon.ended, { code: 0, signal: null })
  })
})
