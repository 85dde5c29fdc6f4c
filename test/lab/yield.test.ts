import t, { type Test } from 'tap'
import { AgentHost, expectDone, fetchResult } from './agent-host.ts'
import { raiseBranchLab, waitForMesh } from './branch-steps.ts'
import { sha256Of } from './generated-content.ts'
import { LAB_TEST_TIMEOUT_MS, labProblem } from './lab.ts'
import type { LabProcess } from './lab-process.ts'
import type { OriginHost } from './origin-host.ts'
import { until } from './until.ts'

/**
 * Compared in bytes that crossed the line in the same time and not in seconds, and loosely: how much a foreground keeps is
 * the bench's to say. Without a governor two flows share about evenly, and who came first has the larger part.
 */
const MOST_TO_FOREGROUND = 0.5
const MIB = 1024 * 1024

const skip = labProblem() ?? false

t.setTimeout(LAB_TEST_TIMEOUT_MS)

async function sentTo(origin: OriginHost, host: AgentHost): Promise<number> {
  return (await origin.totals()).byRemote[host.address]?.contentBytes ?? 0
}

/** Waits until so much more was sent to the host. */
async function untilSent(origin: OriginHost, host: AgentHost, moreBytes: number): Promise<void> {
  const before = await sentTo(origin, host)
  const check = async () => (await sentTo(origin, host)) >= before + moreBytes || undefined
  await until(check, { timeoutMs: 40_000, what: `${moreBytes} bytes to host ${host.host}` })
}

async function raiseAgents(t: Test, count: number) {
  const { lab, origin, secretFile } = await raiseBranchLab(t, count + 1, { downMbit: 50 })
  const hosts = Array.from({ length: count }, (_, at) => at + 1)
  const agents = await Promise.all(hosts.map((host) => AgentHost.create(lab, host, { secretFile })))
  await Promise.all(agents.map((agent) => agent.startDaemon()))
  if (count > 1) await waitForMesh(t, agents)
  return { lab, origin, agents }
}

function notesOf(process_: LabProcess): readonly string[] {
  return process_.lines.flatMap((line) => {
    const { event, message } = JSON.parse(line) as Record<string, unknown>
    return event === 'note' && typeof message === 'string' ? [message] : []
  })
}

void t.test(
  'a background fetch gives way to a download of another machine, and goes on after it',
  { skip },
  async (t) => {
    const { lab, origin, agents } = await raiseAgents(t, 1)
    const [agent] = agents
    if (!agent) throw new Error('no agent')
    const background = agent.startFetch(origin.url(60, 1024 * MIB), { args: ['--priority', 'normal'] })
    await untilSent(origin, agent, 12 * MIB)
    const before = await sentTo(origin, agent)
    const foreground = await lab.exec(2, 'curl', ['-sf', '-o', '/dev/null', origin.url(61, 24 * MIB)])
    t.equal(foreground.code, 0)
    const meanwhile = (await sentTo(origin, agent)) - before
    t.ok(meanwhile < MOST_TO_FOREGROUND * 24 * MIB, `${(meanwhile / MIB).toFixed(1)} MiB beside 24`)
    await untilSent(origin, agent, 8 * MIB)
    t.pass('and it goes on')
    await background.kill('SIGINT')
  },
)

void t.test('a foreground fetch of the same agent goes first', { skip }, async (t) => {
  const { origin, agents } = await raiseAgents(t, 1)
  const [agent] = agents
  if (!agent) throw new Error('no agent')
  const background = agent.startFetch(origin.url(62, 40 * MIB), { target: 'late', args: ['--priority', 'low'] })
  await untilSent(origin, agent, 4 * MIB)
  const before = await sentTo(origin, agent)
  expectDone(await agent.fetch(origin.url(63, 16 * MIB), { target: 'now' }))
  const meanwhile = (await sentTo(origin, agent)) - before - 16 * MIB
  t.ok(meanwhile < MOST_TO_FOREGROUND * 16 * MIB, `${(meanwhile / MIB).toFixed(1)} MiB beside 16`)
  const done = expectDone(await fetchResult(background, { timeoutMs: 60_000 }))
  t.equal(done.sha256, sha256Of(62, 40 * MIB), 'and what had to wait is right')
})

void t.test('two agents of a branch share the line', { skip }, async (t) => {
  const { origin, agents } = await raiseAgents(t, 2)
  const running = agents.map((agent, at) =>
    agent.startFetch(origin.url(64 + at, 1024 * MIB), { args: ['--priority', 'normal'] }),
  )
  for (const agent of agents) await untilSent(origin, agent, MIB)
  const before = await Promise.all(agents.map((agent) => sentTo(origin, agent)))
  const enough = async () => {
    const now = await Promise.all(agents.map((agent) => sentTo(origin, agent)))
    const got = now.map((bytes, at) => bytes - (before[at] ?? 0))
    return got.reduce((sum, bytes) => sum + bytes, 0) > 32 * MIB ? got : undefined
  }
  const got = await until(enough, { timeoutMs: 60_000, what: '32 MiB to both' })
  t.ok(Math.min(...got) > 0.3 * Math.max(...got), `${got.map((bytes) => (bytes / MIB).toFixed(1))} MiB`)
  for (const process_ of running) await process_.kill('SIGINT')
})

void t.test('a cap of 0 stops everything, and the fetch says so', { skip }, async (t) => {
  const { lab, origin, secretFile } = await raiseBranchLab(t, 1)
  const agent = await AgentHost.create(lab, 1, { secretFile, config: { throttle: { wanMaxBytesPerSec: 0 } } })
  await agent.startDaemon()
  const held = agent.startFetch(origin.url(66, 4 * MIB))
  await held.waitForLine((line) => line.includes('"held"'), { timeoutMs: 20_000 })
  t.match(notesOf(held).join(), /Waiting: throttle\.wanMaxBytesPerSec/)
  t.equal((await origin.totals()).contentBytes, 0, 'no content crossed the line')
  await held.kill('SIGINT')
})
