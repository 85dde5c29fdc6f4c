/** The daemon, the verbs that talk to it, and fetches through it. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startTestOrigin } from '../support/test-origin.ts'
import { CLI_TEST_TIMEOUT_MS, CliHome, type Json, type Started } from './cli-home.ts'

t.setTimeout(CLI_TEST_TIMEOUT_MS)

const LENGTH = 2 * 1024 * 1024 + 99

const origin = await startTestOrigin()
t.teardown(() => origin.close())

function newHome(test: Pick<typeof t, 'teardown'>, config: Readonly<Record<string, Json>> = {}): CliHome {
  const home = new CliHome(config)
  test.teardown(() => home.close())
  return home
}

function bytesAt(path: string): Buffer {
  const content = origin.content(path)
  return content.read(0, content.lengthBytes)
}

/** @returns what it said instead, if it ended */
function hasSaid({ child, done }: Started, text: string): Promise<string> {
  const waits = new Promise<string>((resolve) => {
    let said = ''
    child.stderr?.on('data', (chunk: Buffer) => {
      said += chunk.toString()
      if (said.includes(text)) resolve('it said so')
    })
  })
  return Promise.race([waits, done.then(({ stderr }) => stderr)])
}

interface Check {
  readonly name: string
  readonly state: string
  readonly message: string
}

t.test('a daemon takes the place of a command; that one and those that joined it go on there', async (t) => {
  const home = newHome(t)
  const content = { seed: 10, lengthBytes: LENGTH }
  const url = origin.serve('/handed-over.bin', content, { stallAfterBytes: LENGTH / 2 })
  const command = home.start(['fetch', url, '--json'])
  await command.firstLine() // it fetches, so the directory is its own
  const joined = home.start(['fetch', url, '--json', '-o', 'joined.bin'])
  await joined.firstLine()
  origin.serve('/handed-over.bin', content) // for requests from now on
  const daemon = await home.daemon()
  t.match(daemon.ready, { event: 'ready', dataDir: home.dataDir })
  for (const { done } of [command, joined]) {
    const { code, stderr } = await done
    t.equal(code, 0, stderr)
  }
  for (const name of ['handed-over.bin', 'joined.bin']) {
    t.strictSame(readFileSync(home.path(name)), bytesAt('/handed-over.bin'))
  }
  t.match((await home.run(['status', '--json'])).last(), { today: { fetchCount: 2, failedCount: 0 } }, 'by the daemon')
})

t.test(
  'a daemon waits for a command that cannot go on elsewhere, and has the data directory when that ends',
  async (t) => {
    const home = newHome(t)
    const url = origin.serve('/stalled.bin', { seed: 9, lengthBytes: LENGTH }, { stallAfterBytes: LENGTH / 2 })
    const command = home.start(['fetch', url, '--json', '--no-daemon'])
    await command.firstLine() // it fetches, so the directory is its own
    const daemon = home.start(['daemon'])
    t.equal(await hasSaid(daemon, 'waiting for the command'), 'it said so')
    command.child.kill('SIGKILL')
    t.match(JSON.parse(await daemon.firstLine()), { event: 'ready', dataDir: home.dataDir })
  },
)

t.test('a daemon waits for room on a full disk, and starts when there is some', async (t) => {
  const home = newHome(t)
  mkdirSync(home.dataDir, { mode: 0o700 })
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m,mode=700', 'tmpfs', home.dataDir]).status !== 0) {
    t.comment('skipped: needs root and mount')
    return
  }
  t.teardown(() => spawnSync('umount', ['-l', home.dataDir]))
  const filler = join(home.dataDir, 'filler')
  t.throws(() => writeFileSync(filler, Buffer.alloc(9_000_000)), { code: 'ENOSPC' })
  const daemon = home.start(['daemon'])
  t.equal(await hasSaid(daemon, 'waiting for room on the disk'), 'it said so')
  rmSync(filler)
  t.match(JSON.parse(await daemon.firstLine()), { event: 'ready' })
})

t.test('a daemon serves fetch and the other verbs, and ends with 0 on SIGTERM', async (t) => {
  const home = newHome(t)
  const daemon = await home.daemon()
  t.match(daemon.ready, { event: 'ready', dataDir: home.dataDir, address: '127.0.0.1', key: /^[0-9a-f]{64}$/ })
  const key = String(daemon.ready.key)

  const url = origin.serve('/through.bin', { seed: 1, lengthBytes: LENGTH })
  const fetched = await home.run(['fetch', url, '--json'])
  t.equal(fetched.code, 0, fetched.stderr)
  t.match(fetched.last(), {
    event: 'done',
    path: home.path('through.bin'),
    sources: { cache: 0, peer: 0, origin: LENGTH },
  })
  t.ok(readFileSync(home.path('through.bin')).equals(bytesAt('/through.bin')))
  const alone = await home.run(['fetch', url, '--json', '--no-peers', '--no-daemon', '--data-dir', home.path('own')])
  t.equal(alone.last().sha256, fetched.last().sha256, 'without the daemon: the same')
  t.same(Object.keys(alone.last()).sort(), Object.keys(fetched.last()).sort(), 'in the same form')
  const piped = await home.run(['fetch', url, '-o', '-'])
  t.ok(piped.stdout.equals(bytesAt('/through.bin')))

  const failed = await home.run(['fetch', origin.url('/nothing'), '--json'])
  t.equal(failed.code, 3, 'exit codes come through the socket')
  t.match(failed.last(), { event: 'error', code: 'SHORTHAUL_ORIGIN_NOT_FOUND' })
  const small = origin.serve('/small.bin', { seed: 3, lengthBytes: 500 })
  const wrong = await home.run(['fetch', small, '--sha256', '0'.repeat(64), '--json'])
  t.equal(wrong.code, 5)
  t.match(wrong.last(), { event: 'error', code: 'SHORTHAUL_DIGEST_MISMATCH' })

  const status = await home.run(['status', '--json'])
  t.equal(status.code, 0, status.stderr)
  t.match(status.last(), {
    event: 'status',
    key,
    branch: 'default',
    dataDir: home.dataDir,
    network: { state: 'up', address: '127.0.0.1', lanePort: daemon.ready.lanePort },
    peers: [],
    activeFetches: 0,
    today: { fetchCount: 2 },
    total: { fetchCount: 2, failedCount: 2 },
    store: { resourceCount: Number },
  })
  const { deliveredBytes, savedBytes, copies } = status.last().total as Record<string, number>
  t.equal(deliveredBytes, 2 * LENGTH)
  t.equal(savedBytes, LENGTH)
  t.equal(copies, 0.5)
  const shown = (await home.run(['status'])).text
  t.match(shown, `key ${key.slice(0, 12)}`)
  t.match(shown, /^network +up, 127\.0\.0\.1$/m)
  t.match(shown, /^ +today +in all$/m)
  t.match(shown, /^from the cache +2\.0 MiB +2\.0 MiB$/m)
  t.match(shown, /^copies +0\.50 +0\.50$/m)
  t.match(shown, /^saved 2\.0 MiB of 4\.0 MiB \(50 %\) from the WAN$/m)

  const peers = await home.run(['peers', '--json'])
  t.same(peers.last(), { event: 'peers', peers: [] })
  t.match((await home.run(['peers'])).stderr, /no neighbours/)

  t.match((await home.run(['cache', 'pin', url, '--json'])).last(), { event: 'cache-pin', matched: 1 })
  const entryOf = async (wanted: string) => {
    const entries = (await home.run(['cache', 'ls', '--json'])).last().entries as { url: string; isPinned: boolean }[]
    return entries.find((entry) => entry.url === wanted)
  }
  t.match(await entryOf(url), { isPinned: true })
  t.match((await home.run(['cache', 'verify', '--json'])).last(), { checked: 4, corrupt: 0, missing: 0 })
  await home.run(['fetch', url, '--sha256', '0'.repeat(64), '-o', 'wrong'])
  t.match(await entryOf(url), { isPinned: true }, 'a mistyped digest removes nothing')
  t.equal((await home.run(['fetch', url, '-o', 'again'])).code, 0)
  t.match((await home.run(['cache', 'rm', url, '--json'])).last(), { matched: 1 })
  t.equal((await home.run(['cache', 'rm', url])).code, 2)

  const doctor = await home.run(['doctor', '--json', '--origin', url])
  t.equal(doctor.code, 0, doctor.text)
  const checks = new Map((doctor.last().checks as Check[]).map((check) => [check.name, check]))
  for (const name of ['agent', 'data directory', 'ports UDP', `port TCP ${daemon.ready.lanePort}`, 'origin (agent)']) {
    t.equal(checks.get(name)?.state, 'ok', name)
  }
  t.equal(checks.get('neighbours')?.state, 'warn')
  t.ok(checks.has('multicast'))

  const second = await home.run(['daemon'])
  t.equal(second.code, 6)
  t.match(second.stderr, /SHORTHAUL_DATA_DIR_IN_USE/)

  daemon.child.kill('SIGTERM')
  const ended = await daemon.done
  t.equal(ended.code, 0, ended.stderr)
  t.equal(ended.lines().length, 1, 'nothing but the ready line on stdout')
  t.equal((await home.run(['status'])).code, 2)
})

t.test('two daemons of one branch see each other and share', async (t) => {
  // One file for both; each home has its own daemon, data directory and ports.
  const first = newHome(t, { branch: { secretFile: 'branch.secret' } })
  t.equal((await first.run(['branch', 'init'])).code, 0)
  const second = newHome(t, { branch: { secretFile: join(first.dir, 'branch.secret') } })
  const [one] = await Promise.all([first.daemon(), second.daemon()])

  // A fetch without the origin waits for somebody who has it, so that it also waits until the two have met.
  const url = origin.serve('/shared.bin', { seed: 2, lengthBytes: LENGTH })
  t.equal((await first.run(['fetch', url])).code, 0)
  const got = await second.run(['fetch', url, '--no-origin', '--json'])
  t.equal(got.code, 0, got.text + got.stderr)
  t.match(got.last(), { sources: { cache: 0, peer: LENGTH, origin: 0 } })
  t.ok(readFileSync(second.path('shared.bin')).equals(bytesAt('/shared.bin')))

  const peers = await second.run(['peers', '--json'])
  t.match(peers.last(), {
    peers: [
      { key: one.ready.key, address: '127.0.0.1', state: 'ok', servedBytes: LENGTH, lanePort: one.ready.lanePort },
    ],
  })
  const table = (await second.run(['peers'])).text
  t.match(table, /^HOST +ADDRESS +KEY +RTT +RATE +SERVED US +STATE +VERSION\n/)
  t.match(table, new RegExp(`127\\.0\\.0\\.1 +${String(one.ready.key).slice(0, 12)} .* ok +\\d`))
  t.match((await first.run(['status', '--json'])).last(), { total: { servedBytes: LENGTH }, peers: [{}] })

  const doctor = await first.run(['doctor', '--json'])
  t.equal(doctor.code, 0, doctor.text)
  const checks = doctor.last().checks as Check[]
  t.match(
    checks.find(({ name }) => name === 'neighbours'),
    { state: 'ok', message: /1 connected; neighbours fetched 2\.0 MiB from here/ },
  )
  t.match(
    checks.find(({ name }) => name.startsWith('neighbour ')),
    { state: 'ok', message: /is reachable/ },
  )
  t.match(
    checks.find(({ name }) => name === 'multicast'),
    { state: 'ok', message: /heard from neighbours/ },
  )
})

t.test('the control API over TCP is there when it is configured, for whoever has the token', async (t) => {
  const home = newHome(t, { control: { http: '127.0.0.1:0', tokenFile: 'api.token' } })
  const { ready } = await home.daemon()
  t.match(ready.http, /^http:\/\/127\.0\.0\.1:\d+$/)
  const token = readFileSync(join(home.dir, 'api.token'), 'utf8').trim()
  const jobs = `${String(ready.http)}/v1/jobs`
  t.equal((await fetch(jobs)).status, 401)
  const answer = await fetch(jobs, { headers: { authorization: `Bearer ${token}` } })
  t.same(await answer.json(), { jobs: [], next: null })
})
