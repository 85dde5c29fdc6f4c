/**
 * What a job lives through without a hand: an origin that dies, refuses and comes back, a network that goes, a full disk, a
 * wall clock that is set.
 */
import { execFile } from 'node:child_process'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { AgentHost, writeBranchSecret } from './agent-host.ts'
import { sha256Of } from './generated-content.ts'
import { LAB_TEST_TIMEOUT_MS, Lab, labProblem } from './lab.ts'
import { OriginHost } from './origin-host.ts'
import { callSocket } from './socket-call.ts'
import { SteppedClock } from './stepped-clock.ts'
import { until } from './until.ts'

const skip = labProblem() ?? false
const MIB = 1024 * 1024
/** As branch.sh has it. */
const ROUTER = '10.88.1.254'
const DAY_SECONDS = 86_400
const run = promisify(execFile)

interface JobSeen {
  readonly id: string
  readonly state: string
  readonly reason: { readonly code: string; readonly text: string; readonly untilMs: number | null }
  readonly totals: { readonly bytesDone: number }
}

/** A branch of one, and what a program does with its control socket. */
async function setUp(t: Test, options: { downMbit: number }) {
  const lab = await Lab.up({ hosts: 1, delayUs: 2000, ...options })
  t.teardown(() => lab.close())
  const [origin, secretFile] = await Promise.all([OriginHost.start(lab), writeBranchSecret(lab, 'branch')])
  // Before the daemon is there: its namespace has the mounts of when it was started.
  const disk = join(lab.stateDir, 'disk')
  await mkdir(disk)
  await run('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', disk])
  t.teardown(() => run('umount', ['-l', disk]))
  // Network timeouts of a person's patience, not of a slow line's.
  const config = { origin: { idleTimeoutMs: 3000, connectTimeoutMs: 2000, headersTimeoutMs: 3000 } }
  const clock = SteppedClock.create(lab.stateDir)
  const agent = await AgentHost.create(lab, 1, { secretFile, config, env: clock.env })
  await agent.startDaemon()
  const socket = join(agent.dataDir, 'control.sock')
  const call = (method: 'GET' | 'POST', path: string, body?: unknown) => callSocket(socket, { method, path, body })
  const get = async (id: string) => (await call('GET', `/v1/jobs/${id}`)) as JobSeen
  return {
    lab,
    clock,
    origin,
    secretFile,
    create: async (order: { url: string; target: string; priority?: string }) => {
      const { url, target, ...settings } = order
      const body = { autoComplete: true, minRetryDelayMs: 5000, ...settings, files: [{ url, target }] }
      return ((await call('POST', '/v1/jobs', body)) as JobSeen).id
    },
    get,
    /** The codes of the reasons that were seen on the way there. */
    reaches: async (id: string, isThere: (job: JobSeen) => boolean, what: string) => {
      const codes = new Set<string>()
      await until(
        async () => {
          const job = await get(id)
          codes.add(job.reason.code)
          return isThere(job) || undefined
        },
        { timeoutMs: 90_000, what },
      )
      return codes
    },
    file: (name: string) => join(lab.stateDir, name),
    sha256: (name: string) => agent.sha256(join(lab.stateDir, name)),
  }
}

/** Longer than a fetch waits by itself, so that the job does, and than a busy machine takes to look at it. */
const RETRY_AFTER_SECONDS = 32

const isDone = ({ state }: JobSeen) => state === 'acknowledged'

// Mostly waiting, and on a busy machine longer.
t.setTimeout(2 * LAB_TEST_TIMEOUT_MS)

void t.test('a job ends without a hand', { skip, timeout: 2 * LAB_TEST_TIMEOUT_MS }, async (t) => {
  const branch = await setUp(t, { downMbit: 40 })
  const { lab, origin, file } = branch

  await t.test('when its origin asks to be left alone', async (t) => {
    await origin.set({ retryAfterSeconds: RETRY_AFTER_SECONDS })
    const id = await branch.create({ url: origin.url(1, MIB), target: file('asked') })
    await branch.reaches(id, ({ state }) => state === 'transient-error', 'refused')
    t.match((await branch.get(id)).reason, { code: 'origin-asked-to-wait' })
    await origin.set({ retryAfterSeconds: null })
    await branch.reaches(id, isDone, 'done')
    t.equal(await branch.sha256('asked'), sha256Of(1, MIB))
  })

  await t.test('when the network goes and comes back', async (t) => {
    const id = await branch.create({ url: origin.url(2, 30 * MIB), target: file('network') })
    await branch.reaches(id, ({ totals }) => totals.bytesDone > 2 * MIB, 'under way')
    await lab.exec(1, 'ip', ['link', 'set', 'lan0', 'down'])
    await branch.reaches(id, ({ reason }) => ['network-down', 'stalled'].includes(reason.code), 'noticed')
    await lab.exec(1, 'ip', ['link', 'set', 'lan0', 'up'])
    await lab.exec(1, 'ip', ['route', 'replace', 'default', 'via', ROUTER])
    await branch.reaches(id, isDone, 'done')
    t.equal(await branch.sha256('network'), sha256Of(2, 30 * MIB))
  })

  await t.test('when the disk of its target is full and has room again', async (t) => {
    const disk = file('disk')
    await writeFile(join(disk, 'filler'), Buffer.alloc(3 * MIB))
    const id = await branch.create({ url: origin.url(3, 5 * MIB), target: join(disk, 'file') })
    await branch.reaches(id, ({ reason }) => reason.code === 'disk-full', 'full')
    await rm(join(disk, 'filler'))
    await branch.reaches(id, isDone, 'done')
    t.equal(await branch.sha256('disk/file'), sha256Of(3, 5 * MIB))
  })

  for (const [name, days] of [
    ['forward', 1],
    ['back', -1],
  ] as const) {
    await t.test(`when the wall clock is set ${name} by a day, while it runs and while it waits`, async (t) => {
      t.teardown(() => branch.clock.step(0))
      await origin.set({ retryAfterSeconds: RETRY_AFTER_SECONDS })
      const waiting = await branch.create({ url: origin.url(20 + days, MIB), target: file(`waiting-${name}`) })
      await branch.reaches(waiting, ({ state }) => state === 'transient-error', 'refused')
      await origin.set({ retryAfterSeconds: null })
      const running = await branch.create({ url: origin.url(10 + days, 8 * MIB), target: file(`running-${name}`) })
      await branch.reaches(running, ({ totals }) => totals.bytesDone > MIB, 'under way')
      branch.clock.step(days * DAY_SECONDS)
      const { reason } = await branch.get(waiting)
      t.equal(reason.code, 'origin-asked-to-wait')
      const leftMs = (reason.untilMs ?? 0) - branch.clock.nowMs()
      t.ok(leftMs > -5000 && leftMs < 60_000, `says when by the clock as it is now: in ${leftMs} ms`)
      await branch.reaches(running, isDone, 'the one that ran is done')
      await branch.reaches(waiting, isDone, 'the one that waited is done')
      t.equal(await branch.sha256(`running-${name}`), sha256Of(10 + days, 8 * MIB))
      t.equal(await branch.sha256(`waiting-${name}`), sha256Of(20 + days, MIB))
    })
  }

  await t.test('when its origin is gone and comes back', async (t) => {
    const id = await branch.create({ url: origin.url(4, 10 * MIB), target: file('gone') })
    await branch.reaches(id, ({ totals }) => totals.bytesDone > MIB, 'under way')
    await origin.process.kill('SIGKILL')
    await branch.reaches(id, ({ state }) => state === 'transient-error', 'noticed')
    t.match((await branch.get(id)).reason, { code: 'retry-later' })
    await OriginHost.start(lab)
    await branch.reaches(id, isDone, 'done')
    t.equal(await branch.sha256('gone'), sha256Of(4, 10 * MIB))
  })
})

void t.test(
  'a more urgent job gets the line at once, and the other goes on after it',
  { skip, timeout: 2 * LAB_TEST_TIMEOUT_MS },
  async (t) => {
    const branch = await setUp(t, { downMbit: 40 })
    const { origin, file } = branch
    const low = await branch.create({ url: origin.url(5, 24 * MIB), target: file('low'), priority: 'low' })
    await branch.reaches(low, ({ totals }) => totals.bytesDone > MIB, 'low under way')
    const high = await branch.create({ url: origin.url(6, 8 * MIB), target: file('high'), priority: 'high' })
    await branch.reaches(low, ({ state }) => state === 'queued', 'low waits')
    t.match((await branch.get(low)).reason, { code: 'more-urgent-job' })
    await branch.reaches(high, isDone, 'high done')
    await branch.reaches(low, isDone, 'low done')
    t.equal(await branch.sha256('low'), sha256Of(5, 24 * MIB))
    t.equal(await branch.sha256('high'), sha256Of(6, 8 * MIB))
  },
)
