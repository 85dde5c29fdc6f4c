/** The verbs that look and set up, without a daemon. */
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { startTestOrigin } from '../support/test-origin.ts'
import { CLI_PATH, CLI_TEST_TIMEOUT_MS, CliHome, type Json } from './cli-home.ts'

t.setTimeout(CLI_TEST_TIMEOUT_MS)

const origin = await startTestOrigin()
t.teardown(() => origin.close())

function newHome(test: Pick<typeof t, 'teardown'>, config: Readonly<Record<string, Json>> = {}): CliHome {
  const home = new CliHome(config)
  test.teardown(() => home.close())
  return home
}

interface Check {
  readonly name: string
  readonly state: string
  readonly message: string
  readonly hint: string | null
}

function checkNamed(report: Json, name: string): Check | undefined {
  return (report.checks as Check[]).find((check) => check.name === name)
}

t.test('status and peers need a running agent and say how to start one', async (t) => {
  const home = newHome(t)
  const status = await home.run(['status'])
  t.equal(status.code, 2)
  t.equal(status.text, '')
  t.match(status.stderr, /shorthaul daemon/)
  const peers = await home.run(['peers', '--json'])
  t.equal(peers.code, 2)
  t.match(peers.last(), { event: 'error', code: 'SHORTHAUL_DAEMON_UNREACHABLE', retryable: false, exit: 2 })
})

t.test('cache verbs work on the data directory when no agent runs', async (t) => {
  const home = newHome(t)
  const path = '/cached.bin?token=s3cr3t'
  const url = origin.serve(path, { seed: 1, lengthBytes: 1024 * 1024 + 7 })
  const empty = await home.run(['cache', 'ls'])
  t.equal(empty.code, 0, empty.stderr)
  t.equal(empty.text, '')
  t.match(empty.stderr, /nothing is cached/)
  t.equal((await home.run(['fetch', url, '--no-peers', '-o', 'x'])).code, 0)

  const listed = await home.run(['cache', 'ls', '--json'])
  t.match(listed.last(), {
    event: 'cache',
    entries: [
      {
        url: `${origin.base}/cached.bin?…`,
        bytes: 1024 * 1024 + 7,
        cachedBytes: 1024 * 1024 + 7,
        visibility: 'branch',
        isPinned: false,
      },
    ],
  })
  t.notMatch(listed.text, /s3cr3t/)

  const pinned = await home.run(['cache', 'pin', url, '--json'])
  t.match(pinned.last(), { event: 'cache-pin', url: `${origin.base}/cached.bin?…`, matched: 1 })
  const table = await home.run(['cache', 'ls'])
  const [head = '', row = ''] = table.text.split('\n')
  t.match(head, /LAST USED +SIZE +CACHED +TRUST +VISIBILITY +PINNED +URL/)
  t.match(row, /1\.0 MiB +100 % +origin +branch +yes +http/)
  t.equal(row.indexOf('http'), head.indexOf('URL'), 'columns are aligned')
  t.equal((await home.run(['cache', 'unpin', url])).text, `unpinned ${origin.base}/cached.bin?…\n`)

  const stat = await home.run(['cache', 'stat', '--json'])
  t.match(stat.last(), {
    event: 'cache-stat',
    resourceCount: 1,
    segmentCount: 2,
    bytes: 1024 * 1024 + 7,
    pinnedBytes: 0,
  })
  t.match(
    (await home.run(['cache', 'stat'])).text,
    /resources +1\nsegments +2\ncached +1\.0 MiB of at most 20\.0 GiB\n/,
  )

  const unknown = await home.run(['cache', 'rm', url.replace('s3cr3t', 'other'), '--json'])
  t.equal(unknown.code, 2, 'the exact URL is meant')
  t.match(unknown.last(), { event: 'error', code: 'SHORTHAUL_USAGE', message: /nothing of exactly this URL/, exit: 2 })
  t.equal((await home.run(['cache', 'rm', 'nonsense'])).code, 2)
  t.equal((await home.run(['cache', 'rm', url])).code, 0)
  t.match((await home.run(['cache', 'ls', '--json'])).last(), { entries: [] })
})

t.test('cache verify counts and drops what is corrupt', async (t) => {
  const home = newHome(t)
  const url = origin.serve('/rotten.bin', { seed: 2, lengthBytes: 2 * 1024 * 1024 })
  t.equal((await home.run(['fetch', url, '--no-peers'])).code, 0)
  const shards = join(home.dataDir, 'store/v1/segments')
  const [segment] = readdirSync(shards, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /[0-9a-f]{64}$/.test(name),
  )
  const file = join(shards, segment ?? '')
  chmodSync(file, 0o600)
  const bytes = readFileSync(file)
  bytes[17] = (bytes[17] ?? 0) ^ 1
  writeFileSync(file, bytes)
  const verified = await home.run(['cache', 'verify', '--json'])
  t.equal(verified.code, 0, verified.stderr)
  t.match(verified.last(), { event: 'cache-verify', checked: 2, corrupt: 1, missing: 0, recovered: 0 })
  t.match((await home.run(['cache', 'verify'])).text, /checked +1\ncorrupt +0\nmissing +0\nrecovered +0\n/)
})

t.test('branch rotate keeps the old secret for a while, and says which is which', async (t) => {
  const home = newHome(t, { branch: { secretFile: 'office.secret' } })
  const file = join(home.dir, 'office.secret')
  t.equal((await home.run(['branch', 'rotate'])).code, 2, 'there is none so far')
  const made = (await home.run(['branch', 'init', '--json'])).last()
  const old = readFileSync(file, 'utf8').trim()
  const rotated = await home.run(['branch', 'rotate', '--window', '2h', '--json'])
  t.equal(rotated.code, 0, rotated.stderr)
  t.match(rotated.last(), { event: 'branch-rotate', path: file, previousFingerprint: made.fingerprint })
  const lines = readFileSync(file, 'utf8').split('\n')
  t.notMatch(lines[0], old)
  t.match(lines[1], `previous/1 ${old} `)
  t.match(lines[2], /^wire\/1 /)
  t.match((await home.run(['branch', 'show', '--json'])).last(), {
    fingerprint: rotated.last().fingerprint,
    previousFingerprint: made.fingerprint,
    previousValidUntil: rotated.last().previousValidUntil,
  })
  const again = await home.run(['branch', 'rotate'])
  t.equal(again.code, 2)
  t.match(again.stderr, /a rotation is under way until/)
  t.equal((await home.run(['branch', 'rotate', '--window', '91d'])).code, 2)
  const cut = await home.run(['branch', 'rotate', '--window', '0s'])
  t.equal(cut.code, 0, cut.stderr)
  for (const line of lines) t.notMatch(cut.text, line.split(' ')[1] ?? line)
  t.match((await home.run(['branch', 'show', '--json'])).last(), { previousFingerprint: null })
})

t.test('branch init makes a secret once, and branch show tells machines apart without it', async (t) => {
  const home = newHome(t, { branch: { name: 'office', secretFile: 'office.secret', roster: [] } })
  const file = join(home.dir, 'office.secret')
  const missing = await home.run(['branch', 'show', '--json'])
  t.equal(missing.code, 2, 'a secret that is configured must be there')
  t.match(missing.last(), { code: 'SHORTHAUL_SECRET_INVALID' })

  const made = await home.run(['branch', 'init'])
  t.equal(made.code, 0, made.stderr)
  t.match(made.text, `Wrote the branch secret to ${file}`)
  t.match(made.text, /What to do next:/)
  t.equal(statSync(file).mode & 0o777, 0o600)
  const secret = readFileSync(file, 'utf8')
  t.notMatch(made.text, secret.trim())
  const again = await home.run(['branch', 'init', '--json'])
  t.equal(again.code, 6)
  t.match(again.last(), { event: 'error', code: 'SHORTHAUL_TARGET_UNWRITABLE' })
  t.equal(readFileSync(file, 'utf8'), secret, 'never replaced')

  const other = await home.run(['branch', 'init', '--out', 'sub/other.secret', '--json'])
  t.match(other.last(), { event: 'branch-init', path: home.path('sub/other.secret'), fingerprint: /^[0-9a-f]{16}$/ })

  const shown = await home.run(['branch', 'show', '--json'])
  t.equal(shown.code, 0, shown.stderr)
  t.match(shown.last(), {
    event: 'branch',
    name: 'office',
    secretFile: file,
    isShared: true,
    fingerprint: /^[0-9a-f]{16}$/,
    key: null,
    rosterSize: 0,
    isOnRoster: false,
  })
  t.not(shown.last().fingerprint, other.last().fingerprint)
  t.match(made.text, `Fingerprint: ${shown.last().fingerprint}`)
  t.notOk(existsSync(home.dataDir), 'looking makes nothing')
  const text = await home.run(['branch', 'show'])
  t.match(text.text, /branch +office\nsecret +.*office\.secret\nfingerprint +[0-9a-f]{16}\n/)
  t.match(text.text, /this agent is NOT on it/)

  chmodSync(file, 0o644)
  t.match((await home.run(['branch', 'show'])).stderr, /chmod 600/)
})

t.test('branch show has the own key once an agent ran', async (t) => {
  const home = newHome(t)
  const before = await home.run(['branch', 'show', '--json'])
  t.match(before.last(), { fingerprint: null, key: null, isShared: false, rosterSize: null, isOnRoster: null })
  t.equal((await home.run(['cache', 'stat'])).code, 0)
  const after = await home.run(['branch', 'show', '--json'])
  t.match(after.last(), { fingerprint: /^[0-9a-f]{16}$/, key: /^[0-9a-f]{64}$/ })
})

t.test('config show prints YAML that reads back, and where each value is from', async (t) => {
  const home = newHome(t, { cache: { maxBytes: '5GiB' }, network: { peers: ['192.0.2.7:17736'] } })
  const env = { SHORTHAUL_LOG_LEVEL: 'warn' }
  const shown = await home.run(['config', 'show'], { env })
  t.equal(shown.code, 0, shown.stderr)
  t.match(parse(shown.text), {
    dataDir: home.dataDir,
    cache: { maxBytes: '5GiB', maxAgeDays: 90 },
    network: { interface: 'lo', peers: ['192.0.2.7:17736'] },
    log: { level: 'warn' },
  })
  writeFileSync(home.path('copy.yaml'), shown.text)
  const json = await home.run(['config', 'show', '--json'], { env })
  const copy = await home.run(['config', 'show', '--json', '--config', home.path('copy.yaml')], { config: false })
  t.same(copy.last().config, json.last().config)
  t.match(json.last(), {
    event: 'config',
    file: home.configFile,
    provenance: { 'cache.maxBytes': 'file', 'log.level': 'environment', 'serve.enabled': 'default' },
  })

  const origins = await home.run(['config', 'show', '--origin', '--data-dir', 'elsewhere'], { env })
  t.match(origins.text, /^dataDir: .*\/elsewhere +# command line$/m)
  t.match(origins.text, /^ {2}maxBytes: 5GiB +# file$/m)
  t.match(origins.text, /^ {2}level: warn +# environment$/m)
  t.match(origins.text, /^ {2}maxAgeDays: 90 +# default$/m)
})

t.test('config check names each problem, with a suggestion, and gives 2', async (t) => {
  const home = newHome(t)
  const fine = await home.run(['config', 'check'])
  t.equal(fine.code, 0)
  t.equal(fine.text, `OK: ${home.configFile}\n`)
  t.match((await home.run(['config', 'check', '--json'])).last(), {
    event: 'config-check',
    ok: true,
    file: home.configFile,
  })

  writeFileSync(home.path('bad.yaml'), 'cache: { maxByte: 5GiB, minFreeBytes: 2 Gb }\nserv: {}\n')
  const bad = await home.run(['config', 'check', 'bad.yaml'])
  t.equal(bad.code, 2)
  t.match(bad.stderr, /"cache\.maxByte": unknown key, did you mean cache\.maxBytes/)
  t.match(bad.stderr, /cache\.minFreeBytes: "2 Gb", expected/)
  t.match(bad.stderr, /"serv": unknown key, did you mean serve/)
  const json = await home.run(['config', 'check', 'bad.yaml', '--json'])
  t.equal(json.code, 2)
  t.equal(json.lines().filter(({ event }) => event === 'problem').length, 3)
  t.match(json.last(), { event: 'error', code: 'SHORTHAUL_CONFIG_INVALID', exit: 2 })
  t.equal((await home.run(['config', 'check', 'none.yaml'])).code, 2)

  const verb = await home.run(['status', '--config', 'bad.yaml'], { config: false })
  t.equal(verb.code, 2, 'every verb refuses it')
  t.match(verb.stderr, /did you mean cache\.maxBytes/)
  const variable = await home.run(['config', 'check'], { env: { SHORTHAUL_CACHE_MAX_BYTE: '1GiB' } })
  t.equal(variable.code, 2)
  t.match(variable.stderr, /did you mean SHORTHAUL_CACHE_MAX_BYTES/)
})

t.test('doctor without an agent tests ports and multicast by itself', async (t) => {
  const home = newHome(t, { branch: { secretFile: 'branch.secret' } })
  t.equal((await home.run(['branch', 'init'])).code, 0)
  const url = origin.serve('/probe.bin?token=s3cr3t', { seed: 3, lengthBytes: 5000 })
  const run = await home.run(['doctor', '--origin', url, '--json'])
  t.equal(run.code, 0, run.text + run.stderr)
  const report = run.last()
  for (const name of ['configuration', 'secret', 'data directory', 'port UDP 17739', 'origin', 'clock', 'sharing']) {
    t.match(checkNamed(report, name), { state: 'ok', hint: null }, name)
  }
  for (const name of ['origin HEAD', 'origin Range', 'origin length', 'origin validator']) {
    t.match(checkNamed(report, name), { state: 'ok' }, name)
  }
  t.match(checkNamed(report, 'agent'), { state: 'warn', hint: /shorthaul daemon/ })
  t.match(checkNamed(report, 'multicast'), { message: /sent/ })
  t.match(checkNamed(report, 'data directory'), { message: /does not exist yet/ })
  t.notOk(existsSync(home.dataDir), 'looking makes nothing')
  t.notMatch(run.text, /token=/)

  const text = await home.run(['doctor'])
  t.equal(text.code, 0)
  t.match(text.text, /^ok {4}configuration +.*config\.yaml$/m)
  t.match(text.text, /^warn {2}agent +none is running/m)
  t.match(text.text, /Ports of this machine that neighbours must reach:\n +UDP +any/)
  t.match(text.text, /\d+ ok, \d+ warnings, 0 failures\n$/)
})

t.test('doctor gives 6 and says what to do when something will not work', async (t) => {
  const taken = createServer()
  await new Promise<void>((resolve) => taken.listen(0, '0.0.0.0', resolve))
  t.teardown(() => taken.close())
  const address = taken.address()
  const lanePort = typeof address === 'object' && address !== null ? address.port : 0
  const home = newHome(t, { branch: { secretFile: 'exposed.secret' }, network: { lanePort, beacon: false } })
  t.equal((await home.run(['branch', 'init'])).code, 0)
  chmodSync(join(home.dir, 'exposed.secret'), 0o644)
  writeFileSync(home.dataDir, 'a file where the data directory should be')
  const gone = origin.url('/not-there')
  const run = await home.run(['doctor', '--json', '--origin', gone])
  t.equal(run.code, 6, run.stderr)
  t.match(checkNamed(run.last(), `port TCP ${lanePort}`), { state: 'fail', message: /taken/ })
  t.match(checkNamed(run.last(), 'secret'), { state: 'fail', hint: /chmod 600/ })
  t.match(checkNamed(run.last(), 'data directory'), { state: 'fail', message: /not a directory/ })
  t.match(checkNamed(run.last(), 'multicast'), { state: 'warn', message: /network\.peers is empty/ })
  t.match(checkNamed(run.last(), 'origin'), { state: 'fail', message: /404/ })

  writeFileSync(home.configFile, 'network: { interfac: lo }')
  const misspelt = await home.run(['doctor', '--json'])
  t.equal(misspelt.code, 6)
  t.match(misspelt.last(), {
    checks: [{ name: 'configuration', state: 'fail', message: /did you mean network\.interface/ }],
  })

  writeFileSync(home.configFile, 'network: { interface: nosuch0 }')
  const noInterface = await home.run(['doctor', '--json', '--data-dir', home.path('data')])
  t.equal(noInterface.code, 6)
  t.match(checkNamed(noInterface.last(), 'interface'), { state: 'fail', message: /nosuch0.*found: .*lo 127\.0\.0\.1/ })

  t.equal((await home.run(['doctor', '--origin', 'nonsense'])).code, 2)
})

t.test('doctor says what a poor origin cannot do', async (t) => {
  const home = newHome(t, { network: { beacon: false } })
  const poor = origin.serve(
    '/poor',
    { seed: 4, lengthBytes: 5000 },
    {
      noHead: 405,
      noRange: true,
      weakEtag: true,
      noLastModified: true,
      cacheControl: 'private',
      fields: { date: new Date(Date.now() - 3_600_000).toUTCString() },
    },
  )
  const run = await home.run(['doctor', '--json', '--origin', poor])
  t.equal(run.code, 0, run.stderr)
  t.match(checkNamed(run.last(), 'origin HEAD'), { state: 'warn', message: /not answered/ })
  t.match(checkNamed(run.last(), 'origin Range'), { state: 'warn', message: /ignored/ })
  t.match(checkNamed(run.last(), 'origin validator'), { state: 'warn', message: /weak ETag/ })
  t.match(checkNamed(run.last(), 'sharing'), { state: 'warn', message: /stays on this machine/ })

  const late = origin.serve(
    '/late',
    { seed: 5, lengthBytes: 10 },
    { fields: { date: new Date(Date.now() - 3_600_000).toUTCString() } },
  )
  const clock = await home.run(['doctor', '--json', '--origin', late])
  t.match(checkNamed(clock.last(), 'clock'), { state: 'warn', message: /1 h ahead of the origin/, hint: /NTP/ })
})

t.test('a verb that is missing or unknown gives 2 with the help', async (t) => {
  const home = newHome(t)
  const cache = await home.run(['cache'])
  t.equal(cache.code, 2)
  t.match(cache.stderr, /verify/)
  const typo = await home.run(['statsu', '--json'])
  t.equal(typo.code, 2)
  t.match(typo.last(), { event: 'error', code: 'SHORTHAUL_USAGE', exit: 2 })
  t.match(typo.stderr, /Did you mean status/)
  const version = await home.run(['--version'])
  t.equal(version.code, 0)
  t.match(version.text, /^\d+\.\d+\.\d+/)
})

void t.test('the command is executable: an install of a checkout is a link to it', async (t) => {
  t.match(execFileSync(CLI_PATH, ['--version'], { encoding: 'utf8' }), /^\d+\.\d+\.\d+/)
})
