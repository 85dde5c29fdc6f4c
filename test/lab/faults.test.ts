import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chown, mkdir, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { AgentHost, CLI_PATH, expectDone, type FetchProgress, fetchResult, writeBranchSecret } from './agent-host.ts'
import { sha256Of } from './generated-content.ts'
import { LAB_TEST_TIMEOUT_MS, Lab, labProblem } from './lab.ts'
import { OriginHost } from './origin-host.ts'

const skip = labProblem() ?? false
const MIB = 1024 * 1024
const NOBODY = { user: 'nobody', group: 'nogroup' }

/** Whether that user could run the command line at all: a checkout in /root is closed to them. */
function nobodyProblem(): string | false {
  const identity = [`--reuid=${NOBODY.user}`, `--regid=${NOBODY.group}`, '--clear-groups']
  const probe = spawnSync('setpriv', [
    ...identity,
    process.execPath,
    '-e',
    'require("fs").accessSync(process.argv[1])',
    CLI_PATH,
  ])
  return probe.status === 0 ? false : 'the user nobody cannot run the command line here'
}

function peerBytes(line: string): number {
  const event = JSON.parse(line) as FetchProgress
  return event.event === 'progress' ? event.sources.peer : 0
}

t.setTimeout(LAB_TEST_TIMEOUT_MS)

void t.test('faults in a branch', { skip }, async (t) => {
  const lab = await Lab.up({ hosts: 4, downMbit: 200, upMbit: 50, delayUs: 5000 })
  t.teardown(() => lab.close())
  const [origin, secretFile] = await Promise.all([OriginHost.start(lab), writeBranchSecret(lab, 'branch')])

  // A process that dies resets its connections; a machine that is unplugged says nothing.
  for (const [seed, fate] of [
    [10, 'is killed'],
    [11, 'is unplugged'],
  ] as const) {
    await t.test(`a transfer whose only peer ${fate} halfway completes from the origin`, async (t) => {
      const bytes = 64 * MIB
      const url = origin.url(seed, bytes)
      const [seeder, fetcher] = await Promise.all([1, 2].map((host) => AgentHost.create(lab, host, { secretFile })))
      if (!seeder || !fetcher) throw new Error('two agents were made')
      await Promise.all([seeder.startDaemon(), fetcher.startDaemon()])
      t.teardown(() => Promise.all([seeder.killDaemon(), fetcher.killDaemon()]))
      expectDone(await seeder.fetch(url, { target: 'file' }))
      await fetcher.waitForPeers(1)
      await lab.setLanRate(1, 100) // so that there is a halfway
      t.teardown(() => Promise.all([lab.setLanRate(1, null), lab.setLink(1, 'up')]))
      await origin.reset()
      const running = fetcher.startFetch(url, { target: 'file' })
      await running.waitForLine((line) => peerBytes(line) >= bytes / 4, { timeoutMs: 30_000 })
      if (fate === 'is killed') await seeder.killDaemon()
      else await lab.setLink(1, 'down')
      const done = expectDone(await fetchResult(running))
      t.equal(await fetcher.sha256('file'), sha256Of(seed, bytes))
      t.ok(done.sources.peer > 0 && done.sources.origin > 0, `sources were ${JSON.stringify(done.sources)}`)
      t.equal(done.sources.peer + done.sources.origin + done.sources.cache, bytes)
      const sent = await origin.totals()
      // Besides what stood in the kernels' buffers of requests that were cut: on a host that has no time to read, MiBs each.
      const unreadBytes = sent.contentBytes - done.sources.origin
      t.ok(unreadBytes < bytes / 2, `the origin sent only what was missing, and ${unreadBytes} bytes that nobody read`)
    })
  }

  // Without the cut, one answer that began before the change may rightly end as the old generation, whole.
  for (const [seed, cutOnChange] of [
    [12, true],
    [17, false],
  ] as const) {
    const how = cutOnChange ? 'and cuts its answers' : 'and ends its answers'
    await t.test(`an origin that changes in the middle ${how} gives one generation or a clear error`, async (t) => {
      const bytes = 64 * MIB
      const agent = await AgentHost.create(lab, 3, { secretFile })
      await origin.set({ generation: 1, nextGenerationAfterBytes: bytes / 3, cutOnChange })
      t.teardown(() => origin.set({ generation: 1, nextGenerationAfterBytes: null }))
      const result = await agent.fetch(origin.url(seed, bytes), { target: 'changed', embedded: true })
      if (result.code === 0) {
        const allowed = cutOnChange ? [2] : [1, 2]
        const sha256 = await agent.sha256('changed')
        const generation = allowed.find((one) => sha256Of(seed, bytes, one) === sha256)
        t.ok(generation, `the target is wholly generation ${generation}, of ${allowed} allowed`)
      } else {
        t.match({ code: result.code, last: result.last }, { code: 3, last: { code: 'SHORTHAUL_ORIGIN_CHANGED' } })
        t.notOk(existsSync(agent.path('changed')), 'no target')
      }
    })
  }

  await t.test('two fetches at once without a daemon share the data directory and both succeed', async (t) => {
    const agent = await AgentHost.create(lab, 3, { secretFile })
    const bytes = 24 * MIB
    const seeds = [13, 14]
    const different = await Promise.all(
      seeds.map((seed) => agent.fetch(origin.url(seed, bytes), { target: `different-${seed}` })),
    )
    for (const result of different) expectDone(result)
    for (const seed of seeds) t.equal(await agent.sha256(`different-${seed}`), sha256Of(seed, bytes))
    await origin.reset()
    const same = await Promise.all(['a', 'b'].map((target) => agent.fetch(origin.url(15, bytes), { target })))
    for (const result of same) expectDone(result)
    for (const target of ['a', 'b']) t.equal(await agent.sha256(target), sha256Of(15, bytes))
    t.comment(`two of the same URL cost the origin ${((await origin.totals()).contentBytes / bytes).toFixed(2)} copies`)
    const left = (await readdir(agent.homeDir)).filter((name) => name.includes('shorthaul-part'))
    t.strictSame(left, [], 'no part is left')
  })

  await t.test(
    'a file fetched through a system daemon belongs to the user who asked',
    { skip: nobodyProblem() },
    async (t) => {
      const agent = await AgentHost.create(lab, 4, { secretFile })
      await agent.startDaemon()
      const cwd = join(lab.stateDir, 'nobody')
      await mkdir(cwd)
      const [uid, gid] = ['-u', '-g'].map((flag) =>
        Number(spawnSync('id', [flag, 'nobody'], { encoding: 'utf8' }).stdout),
      )
      if (uid === undefined || gid === undefined) throw new Error('no user nobody')
      await chown(cwd, uid, gid)
      const done = expectDone(
        await agent.fetch(origin.url(16, 3 * MIB), { target: 'file', as: { ...NOBODY, umask: '027', cwd } }),
      )
      const target = await stat(join(cwd, 'file'))
      t.equal(target.uid, uid)
      t.equal((target.mode & 0o777).toString(8), '640')
      t.equal(await agent.sha256(join(cwd, 'file')), sha256Of(16, 3 * MIB))
      t.equal(done.sources.origin, 3 * MIB)
      await origin.reset()
      const again = expectDone(await agent.fetch(origin.url(16, 3 * MIB), { target: 'again' }))
      t.equal(again.sources.cache, 3 * MIB, 'it went through the daemon: root finds it in the cache')
    },
  )
})
