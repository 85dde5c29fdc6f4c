import { copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { startTestOrigin } from '../support/test-origin.ts'
import { CLI_TEST_TIMEOUT_MS, CliHome } from './cli-home.ts'

t.setTimeout(CLI_TEST_TIMEOUT_MS)

const LENGTH = 300_000

/** A machine whose configuration names the files of a branch in its own directory. */
function machine(t: Test, branch: Readonly<Record<string, unknown>> = {}): CliHome {
  const home = new CliHome({ branch: { secretFile: 'branch.secret', ...branch } })
  t.teardown(() => home.close())
  return home
}

async function until(check: () => Promise<boolean>): Promise<void> {
  while (!(await check())) await sleep(50) // the test's own deadline bounds it
}

t.test('a machine is invited, joins, is believed, and is shut out again', async (t) => {
  const origin = await startTestOrigin()
  t.teardown(() => origin.close())
  const admin = machine(t, { adminFile: 'branch.admin' })
  const init = await admin.run(['branch', 'init', '--roster'])
  t.equal(init.code, 0, init.stderr)
  t.match(init.text, /The configuration of this machine names both already/)
  for (const name of ['branch.secret', 'branch.admin']) t.equal(statSync(`${admin.dir}/${name}`).mode & 0o777, 0o600)
  t.match((await admin.run(['branch', 'init', '--roster'])).stderr, /has one already/)
  t.match((await admin.run(['branch', 'invite', 'desk'])).stderr, /Cannot find a running agent/)
  await admin.daemon()
  const url = origin.serve('/shared.bin', { seed: 2, lengthBytes: LENGTH })
  t.equal((await admin.run(['fetch', url])).code, 0)

  const invited = await admin.run(['branch', 'invite', 'desk'])
  t.equal(invited.code, 0, invited.stderr)
  t.match(invited.text, /^shorthaul-1-[\w-]+\n$/, 'the code alone is on stdout')
  t.match((await admin.run(['branch', 'members'])).text, /desk +\w{12} +- +invited until/)

  const desk = machine(t)
  t.match((await desk.run(['branch', 'join', 'shorthaul-1-abc'])).stderr, /not a code/)
  const joined = await desk.run(['branch', 'join', '-'], { stdin: invited.text })
  t.equal(joined.code, 0, joined.stderr)
  t.equal(statSync(`${desk.dir}/branch.secret`).mode & 0o777, 0o600)
  await desk.daemon()
  const got = await desk.run(['fetch', url, '--no-origin', '--json'])
  t.match(got.last(), { sources: { peer: LENGTH, origin: 0 } }, got.stderr)
  const key = (await desk.run(['status', '--json'])).last().key
  t.match((await admin.run(['branch', 'members', '--json'])).last(), {
    isEnforced: true,
    isRegistrar: true,
    standing: 'member',
    roster: { members: [{}, {}], invitations: [] },
  })
  t.match((await admin.run(['branch', 'members'])).text, new RegExp(`desk +${String(key).slice(0, 12)}`))
  t.match((await desk.run(['branch', 'revoke', 'desk'])).stderr, /does not hold the administrator's key/)

  // The same code, and the same secret without one.
  const [second, thief] = [machine(t), machine(t)]
  t.equal((await second.run(['branch', 'join', invited.text.trim()])).code, 0)
  copyFileSync(`${admin.dir}/branch.secret`, `${thief.dir}/branch.secret`)
  await Promise.all([second.daemon(), thief.daemon()])
  for (const home of [second, thief]) {
    await until(async () => /this agent is not on the roster/.test((await home.run(['doctor'])).text))
    t.match((await home.run(['branch', 'members'])).stderr, /this agent is NOT on the roster/)
    t.match((await home.run(['peers', '--json'])).last(), { peers: [] })
  }

  const revoked = await admin.run(['branch', 'revoke', 'desk'])
  t.equal(revoked.code, 0, revoked.stderr)
  await until(async () => ((await admin.run(['peers', '--json'])).last().peers as unknown[]).length === 0)
  await until(async () => /NOT on the roster/.test((await desk.run(['branch', 'members'])).stderr))
  t.match((await admin.run(['branch', 'members'])).text, /^NAME[^\n]*\n[^\n]*this agent\n$/)

  // By its key it can be let in again.
  t.equal((await admin.run(['branch', 'admit', String(key), 'desk again'])).code, 0)
  await until(async () => ((await desk.run(['peers', '--json'])).last().peers as unknown[]).length === 1)
})

t.test('a branch that had none gets a roster, and keeps its secret', async (t) => {
  const home = machine(t)
  t.equal((await home.run(['branch', 'init'])).code, 0)
  const before = (await home.run(['branch', 'show', '--json'])).last()
  const init = await home.run(['branch', 'init', '--roster'])
  t.match(init.text, /goes by a roster from now/)
  t.match(init.text, /adminFile: /)
  const after = (await home.run(['branch', 'show', '--json'])).last()
  t.equal(after.fingerprint, before.fingerprint)
  t.match([before, after], [{ hasSignedRoster: false }, { hasSignedRoster: true }])
  const rotated = await home.run(['branch', 'rotate'])
  t.equal(rotated.code, 0, rotated.stderr)
  t.match((await home.run(['branch', 'show'])).text, /roster +signed by the administrator/)
})

t.test('an agent does not start with the key of another branch', async (t) => {
  const home = machine(t, { adminFile: 'branch.admin' })
  t.equal((await home.run(['branch', 'init', '--roster'])).code, 0)
  writeFileSync(`${home.dir}/branch.admin`, `${Buffer.alloc(32, 5).toString('base64')}\n`)
  const started = await home.run(['daemon'])
  t.not(started.code, 0)
  t.match(started.stderr, /Cannot use branch\.adminFile/)
  t.notMatch(started.stderr, readFileSync(`${home.dir}/branch.admin`, 'latin1').trim())
})
