/** The steps that the tests of a branch have in common; they assert through the test that they are given. */
import type { Test } from 'tap'
import { systemClock } from '../../src/clock.ts'
import { type AgentHost, expectDone, type FetchDone, writeBranchSecret } from './agent-host.ts'
import { sha256Of } from './generated-content.ts'
import { Lab } from './lab.ts'
import { OriginHost } from './origin-host.ts'
import { until } from './until.ts'

/** The promise is 2 s after the last one is ready; a figure for the bench, so only told. This is when a test gives up. */
const MESH_TIMEOUT_MS = 10_000

export async function raiseBranchLab(
  t: Test,
  hosts: number,
  { downMbit = 200 }: { readonly downMbit?: number } = {},
): Promise<{ lab: Lab; origin: OriginHost; secretFile: string }> {
  const lab = await Lab.up({ hosts, downMbit, upMbit: 50, delayUs: 5000 })
  t.teardown(() => lab.close())
  const [origin, secretFile] = await Promise.all([OriginHost.start(lab), writeBranchSecret(lab, 'branch')])
  return { lab, origin, secretFile }
}

/** Every one of the agents sees all the others; it may still list a dead one, whose silence takes 15 s to be noticed. */
export async function waitForMesh(t: Test, agents: readonly AgentHost[]): Promise<void> {
  const startedMs = systemClock.monotonicMs()
  await until(
    async () => {
      const seen = await Promise.all(agents.map((agent) => agent.keys()))
      const isMeshed = seen.every(({ own }) => seen.every((other) => other.own === own || other.peers.has(own)))
      return isMeshed || undefined
    },
    { timeoutMs: MESH_TIMEOUT_MS, what: `${agents.length} agents to see each other` },
  )
  t.comment(
    `${agents.length} agents saw each other ${Math.round(systemClock.monotonicMs() - startedMs)} ms after the last was ready`,
  )
}

/** The first agent takes the file from the origin, the others from their neighbours; the origin agrees. */
export async function fetchOnceForAll(
  t: Test,
  origin: OriginHost,
  agents: readonly AgentHost[],
  content: { seed: number; bytes: number },
): Promise<void> {
  const { seed, bytes } = content
  const url = origin.url(seed, bytes)
  const [first, ...others] = agents
  if (!first) throw new Error('no agents')
  await origin.reset()
  const fetched = expectDone(await first.fetch(url, { target: 'file' }))
  t.match(fetched, { bytes, sources: { origin: bytes, peer: 0 } }, 'the first takes it from the origin')
  const results = await Promise.all(others.map(async (agent) => expectDone(await agent.fetch(url, { target: 'file' }))))
  for (const [position, result] of results.entries()) {
    t.equal(result.sources.origin, 0, `host ${others[position]?.host} takes no content byte from the origin`)
    t.equal(sumOf(result), bytes, 'its sources sum to the size')
  }
  const expected = sha256Of(seed, bytes)
  for (const agent of agents) t.equal(await agent.sha256('file'), expected, `host ${agent.host} has the right bytes`)
  t.ok(
    [fetched, ...results].every((result) => result.sha256 === expected),
    'and says so',
  )
  const checkedBytes = [fetched, ...results].reduce((sum, result) => sum + result.checkedBytes, 0)
  t.equal((await origin.totals()).contentBytes, bytes + checkedBytes, 'the origin sent one copy, and what was compared')
  t.ok(checkedBytes < 0.02 * bytes, `which is little: ${checkedBytes}`)
}

function sumOf({ sources }: FetchDone): number {
  return sources.cache + sources.peer + sources.origin
}
