import { execFileSync } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { controlSocketCandidates, controlSocketPath, embeddedSocketPath } from '../../src/config/control-socket.ts'
import { FLAT_KEYS, variableName } from '../../src/config/flat-keys.ts'
import { type LoadOptions, loadConfig } from '../../src/config/load.ts'
import { editDistance, nearest } from '../../src/config/suggest.ts'
import { isShorthaulError } from '../../src/errors.ts'

const HOME = '/home/someone'

function load(options: Partial<LoadOptions> = {}) {
  return loadConfig({ file: null, env: {}, homeDir: HOME, isRoot: false, workingDir: '/work/dir', ...options })
}

async function loadText(t: Test, text: string, options: Partial<LoadOptions> = {}) {
  const dir = t.testdir({ 'config.yaml': text })
  return { ...(await load({ file: join(dir, 'config.yaml'), ...options })), dir }
}

/** The problems that a configuration is refused with; fails the test when it is accepted. */
async function problemsOf(loading: Promise<unknown>): Promise<string[]> {
  try {
    await loading
  } catch (error: unknown) {
    if (!isShorthaulError(error, 'SHORTHAUL_CONFIG_INVALID')) throw error
    const problems = error.details.problems as string[] | undefined
    return problems ?? [error.message]
  }
  throw new Error('The configuration was accepted')
}

await t.test('without file and environment every key has its default', async (t) => {
  const { config, provenance, file } = await load()
  t.equal(file, null)
  t.same(config, {
    dataDir: '/home/someone/.local/share/shorthaul',
    branch: { name: 'default', secretFile: null, adminFile: null, roster: null },
    network: {
      interface: null,
      dhtPort: 17736,
      lanePort: 17738,
      beaconPort: 17739,
      beacon: true,
      peers: [],
      localPrefixes: [],
      maxPeerRttMs: 10,
    },
    cache: { maxBytes: 21474836480, minFreeBytes: 2147483648, maxAgeDays: 90 },
    transfer: { minClaimBytes: 262144, originConnections: 4 },
    origin: {
      caFile: null,
      clientCertFile: null,
      clientKeyFile: null,
      netrcFile: null,
      connectTimeoutMs: 10000,
      headersTimeoutMs: 30000,
      idleTimeoutMs: 60000,
      maxRedirects: 10,
    },
    trust: { attested: 'spot-check' },
    serve: { enabled: true, maxUploads: 8, maxBytesPerSec: null },
    throttle: {
      mode: 'adaptive',
      wanMaxBytesPerSec: null,
      wanMaxRatio: null,
      branchWanMaxBytesPerSec: null,
      lanMaxBytesPerSec: null,
      schedule: [],
      maintenance: [],
      timeZone: null,
      cost: null,
      meteredPolicy: 'unrestricted',
      onBattery: 'pause-low',
    },
    jobs: {
      maxRunning: 4,
      sliceMs: 300_000,
      parallelFiles: 4,
      maxPerUser: 1000,
      maxFilesPerJob: 1000,
      minRetryDelayMs: 15_000,
      maxRetryDelayMs: 600_000,
      noProgressTimeoutMs: 14 * 24 * 3_600_000,
      maxTransferTimeMs: 90 * 24 * 3_600_000,
      inactivityTimeoutDays: 90,
      keepEndedDays: 7,
      commandDirs: [],
    },
    control: { socket: null, http: null, tokenFile: null },
    log: { level: 'info' },
  })
  t.same([...new Set(Object.values(provenance))], ['default'])
  t.same(
    Object.keys(provenance),
    FLAT_KEYS.map(({ path }) => path),
  )
})

await t.test('every default passes its own schema, and prints as something that reads back the same', async (t) => {
  for (const { path, key } of FLAT_KEYS) {
    const { success, data } = key.schema.safeParse(key.default)
    t.ok(success, path)
    t.same(data, key.default, path)
    if (!key.isList && key.default !== null)
      t.same(key.schema.parse(key.print(key.default)), key.default, `${path} printed`)
  }
})

await t.test('the configuration cannot be changed afterwards', async (t) => {
  const { config } = await load()
  t.throws(() => Object.assign(config.cache, { maxBytes: 0 }))
  t.throws(() => Object.assign(config, { dataDir: '/' }))
})

await t.test('the file, the environment and the command line win in this order', async (t) => {
  const text = 'cache: { maxBytes: 1GiB, minFreeBytes: 3GiB, maxAgeDays: 7 }\nserve:\n  maxUploads: 2\n'
  const env = { SHORTHAUL_CACHE_MIN_FREE_BYTES: '4GiB', SHORTHAUL_CACHE_MAX_AGE_DAYS: '30d', PATH: '/bin' }
  const { config, provenance } = await loadText(t, text, {
    env,
    overrides: { 'cache.maxAgeDays': 12, dataDir: undefined },
  })
  t.same(config.cache, { maxBytes: 2 ** 30, minFreeBytes: 2 ** 32, maxAgeDays: 12 })
  t.match(provenance, {
    'cache.maxBytes': 'file',
    'cache.minFreeBytes': 'environment',
    'cache.maxAgeDays': 'command line',
    'serve.maxUploads': 'file',
    'serve.enabled': 'default',
    dataDir: 'default',
  })
})

await t.test('each key has one environment variable, and accepts its printed default from it', async (t) => {
  t.equal(variableName('control.socket'), 'SHORTHAUL_CONTROL_SOCKET')
  t.equal(variableName('cache.maxBytes'), 'SHORTHAUL_CACHE_MAX_BYTES')
  t.equal(variableName('network.maxPeerRttMs'), 'SHORTHAUL_NETWORK_MAX_PEER_RTT_MS')
  t.equal(new Set(FLAT_KEYS.map(({ variable }) => variable)).size, FLAT_KEYS.length)
  const env = Object.fromEntries(
    FLAT_KEYS.map(({ variable, key }) => [variable, key.isList && !key.isNullable ? ',' : key.print(key.default)]),
  )
  const { config, provenance } = await load({ env })
  t.same(config, (await load()).config)
  t.same([...new Set(Object.values(provenance))], ['environment'])
})

await t.test('lists in the environment are comma-separated, null is a word, and empty is unset', async (t) => {
  const { config, provenance } = await load({
    env: {
      SHORTHAUL_NETWORK_PEERS: '192.0.2.1:17736, hamburg-3.example',
      SHORTHAUL_BRANCH_ROSTER: `${'a'.repeat(64)}`,
      SHORTHAUL_CACHE_MAX_AGE_DAYS: 'null',
      SHORTHAUL_NETWORK_BEACON: 'false',
      SHORTHAUL_LOG_LEVEL: '',
    },
  })
  t.same(config.network.peers, ['192.0.2.1:17736', 'hamburg-3.example'])
  t.same(config.branch.roster, ['a'.repeat(64)])
  t.equal(config.cache.maxAgeDays, null)
  t.equal(config.network.beacon, false)
  t.equal(provenance['log.level'], 'default')
})

await t.test('0 means zero and null means off', async (t) => {
  const { config } = await loadText(t, 'cache: { maxBytes: 0, maxAgeDays: 0 }\nnetwork: { lanePort: 0, dhtPort: 0 }\n')
  t.equal(config.cache.maxBytes, 0)
  t.equal(config.cache.maxAgeDays, 0)
  t.equal(config.network.lanePort, 0)
  const off = await load({ overrides: { 'cache.maxAgeDays': null } })
  t.equal(off.config.cache.maxAgeDays, null)
})

await t.test('paths start at the folder of whoever named them, and ~ is the home directory', async (t) => {
  const text = 'branch: { secretFile: keys/branch.secret }\norigin: { caFile: ~/ca.pem, netrcFile: /abs/netrc }\n'
  const { config, dir } = await loadText(t, text, {
    env: { SHORTHAUL_DATA_DIR: 'data' },
    overrides: { 'control.socket': 'c.sock' },
  })
  t.equal(config.branch.secretFile, join(dir, 'keys/branch.secret'))
  t.equal(config.origin.caFile, '/home/someone/ca.pem')
  t.equal(config.origin.netrcFile, '/abs/netrc')
  t.equal(config.dataDir, '/work/dir/data')
  t.equal(config.control.socket, '/work/dir/c.sock')
  const tilde = await load({ overrides: { dataDir: '~', 'origin.caFile': '~other/x' } })
  t.equal(tilde.config.dataDir, HOME)
  t.equal(tilde.config.origin.caFile, '/work/dir/~other/x')
})

await t.test('the data directory follows the system, systemd and XDG', async (t) => {
  const dataDir = async (options: Partial<LoadOptions>) => (await load(options)).config.dataDir
  t.equal(await dataDir({ isRoot: true }), '/var/lib/shorthaul')
  t.equal(await dataDir({ env: { STATE_DIRECTORY: '/var/lib/shorthaul' } }), '/var/lib/shorthaul')
  t.equal(await dataDir({ env: { STATE_DIRECTORY: '/var/lib/backup' } }), '/home/someone/.local/share/shorthaul')
  t.equal(await dataDir({ env: { XDG_DATA_HOME: '/x' } }), '/x/shorthaul')
  t.equal(await dataDir({ env: { XDG_DATA_HOME: 'relative' } }), '/home/someone/.local/share/shorthaul')
  t.equal(await dataDir({ isRoot: true, env: { SHORTHAUL_DATA_DIR: '/d' } }), '/d')
})

await t.test('the file is looked for in its places', async (t) => {
  const dir = t.testdir({
    home: { '.config': { shorthaul: { 'config.yaml': 'branch: { name: home }' } } },
    xdg: { shorthaul: { 'config.yaml': 'branch: { name: xdg }' } },
    'named.yaml': 'branch: { name: named }',
  })
  const search = async (env: Record<string, string>, file?: string) =>
    (await loadConfig({ file, env, homeDir: join(dir, 'home'), isRoot: false, workingDir: dir })).config.branch.name
  t.equal(await search({}), 'home')
  t.equal(await search({ XDG_CONFIG_HOME: join(dir, 'xdg') }), 'xdg')
  t.equal(await search({ XDG_CONFIG_HOME: join(dir, 'xdg'), SHORTHAUL_CONFIG: 'named.yaml' }), 'named')
  t.equal(await search({ SHORTHAUL_CONFIG: '/nowhere' }, 'named.yaml'), 'named')
  t.match(await problemsOf(search({ SHORTHAUL_CONFIG: '/nowhere' })), [/SHORTHAUL_CONFIG: no such file/])
  t.match(await problemsOf(search({}, 'missing.yaml')), [/missing.yaml" of --config: no such file/])
  const { file, config } = await load({ env: { SHORTHAUL_CONFIG: join(dir, 'named.yaml') } })
  t.equal(file, null, 'null reads no file at all')
  t.equal(config.branch.name, 'default')
})

await t.test('all problems are reported at once, each with what was found and expected', async (t) => {
  const text = `
cache: { maxBytes: 20 gigs, maxSize: 1, minFreeBytes: -1 }
network:
  lanePort: 70000
  dhtPort: 65535
  peers: ["192.0.2.1:17736", "192.0.2.25:70000"]
  localPrefixes: [10.0.0.0/33]
serve: 8
trust: { attested: doubt }
queue: { maxCount: 1 }
log: { level: null }
maxBytes: 1
`
  const problems = await problemsOf(
    loadText(t, text, {
      env: { SHORTHAUL_CACHE_MAXBYTES: '1', SHORTHAUL_SERVE_ENABLED: 'yes' },
      overrides: { 'cache.maxAge': 1 },
    }),
  )
  for (const expected of [
    /^cache\.maxBytes: "20 gigs", expected a size such as 20GiB/,
    /^"cache\.maxSize": unknown key, did you mean cache\.maxBytes$/,
    /^cache\.minFreeBytes: -1, expected a size/,
    /^network\.lanePort: 70000, expected a whole number from 0 to 65535$/,
    /^network\.dhtPort: 65535, expected a whole number from 0 to 65534$/,
    /^network\.peers: "192\.0\.2\.25:70000", expected a list .*HOST:PORT/,
    /^network\.localPrefixes: "10\.0\.0\.0\/33"/,
    /^serve: 8, expected a map with keys of enabled, maxUploads, maxBytesPerSec$/,
    /^trust\.attested: "doubt", expected one of accept, spot-check, refuse$/,
    /^"queue": unknown key$/,
    /^log\.level: null, expected one of/,
    /^"maxBytes": unknown key, did you mean cache\.maxBytes$/,
    /^"SHORTHAUL_CACHE_MAXBYTES": unknown variable, did you mean SHORTHAUL_CACHE_MAX_BYTES$/,
    /^SHORTHAUL_SERVE_ENABLED \(serve\.enabled\): "yes", expected true or false$/,
    /^"cache\.maxAge": unknown key, did you mean cache\.maxAgeDays$/,
  ]) {
    t.ok(
      problems.some((problem) => expected.test(problem)),
      String(expected),
    )
  }
  t.equal(problems.length, 15)
})

await t.test('a bad value in the file is a problem also where the environment wins', async (t) => {
  const loading = loadText(t, 'log: { level: loud }', { env: { SHORTHAUL_LOG_LEVEL: 'debug' } })
  t.match(await problemsOf(loading), [/^log\.level: "loud"/])
})

await t.test('many problems are counted and long values are cut', async (t) => {
  const text = Array.from({ length: 5000 }, (_, n) => `key${n}: 1`).join('\n')
  const problems = await problemsOf(loadText(t, text))
  t.equal(problems.length, 21)
  t.equal(problems.at(-1), 'and 4980 more')
  const [long = ''] = await problemsOf(load({ overrides: { 'log.level': 'x'.repeat(1e6) } }))
  t.ok(long.length < 300)
})

await t.test('what is only wrong together is found', async (t) => {
  t.match(await problemsOf(load({ overrides: { 'network.beaconPort': 17737 } })), [
    /^network\.beaconPort: 17737, expected none/,
  ])
  t.match(await problemsOf(load({ overrides: { 'origin.clientKeyFile': '/k' } })), [/expected both or none/])
  t.match(await problemsOf(load({ overrides: { 'control.socket': `/${'x'.repeat(103)}` } })), [
    /104 bytes, expected at most/,
  ])
  await load({ overrides: { 'network.beaconPort': 17737, 'network.beacon': false } })
  await load({ overrides: { 'network.lanePort': 17736 } })
})

await t.test('a dotted key in the file is told how it is written', async (t) => {
  t.match(await problemsOf(loadText(t, 'cache.maxBytes: 1GiB')), [
    '"cache.maxBytes": unknown key, expected cache: { maxBytes: … }',
  ])
})

await t.test('empty files and empty sections are fine', async (t) => {
  for (const text of ['', '# nothing\n', '---\n', 'cache:\nnetwork: {}\n', '\uFEFFcache: {}\n']) {
    t.same((await loadText(t, text)).config.cache.maxBytes, 20 * 2 ** 30, JSON.stringify(text))
  }
})

await t.test('YAML that is broken, ambiguous or too much is refused at once', async (t) => {
  const bomb = `a: &a [1,1,1,1,1,1,1,1,1]\n${['b', 'c', 'd', 'e', 'f', 'g', 'h', 'i']
    .map((name, index) => `${name}: &${name} [${Array(9).fill(`*${'abcdefgh'[index]}`).join(',')}]`)
    .join('\n')}\n`
  const cases: [string, string, RegExp][] = [
    ['broken', 'cache: [', /YAML: .*line 1/],
    ['duplicate keys', 'log: {}\ncache: { maxBytes: 1, maxBytes: 2 }\n', /"maxBytes" stands there twice/],
    ['two documents', 'log: {}\n---\nlog: {}\n', /multiple documents/],
    ['a list', '- cache\n', /no map of keys/],
    ['a word', 'cache\n', /no map of keys/],
    ['an unknown tag', 'log: !!js/function "x"\n', /tag/i],
    ['one alias', 'log: &l { level: info }\nserve: *l\n', /[Aa]lias/],
    ['an alias bomb', bomb, /[Aa]lias/],
    ['deep brackets', '['.repeat(1e6), /brackets nested/],
    ['many deep brackets', `${'['.repeat(40)}\n`.repeat(20_000), /brackets nested/],
    ['deep maps', '{a: '.repeat(2e5), /brackets nested/],
    ['deep dashes', '- '.repeat(4e5), /signs of structure/],
    ['deep question marks', '? '.repeat(4e5), /signs of structure/],
    ['colons', 'a: '.repeat(3e5), /signs of structure/],
    ['anchors', '&a '.repeat(3e5), /signs of structure/],
    ['anchors in brackets', `[${'&a '.repeat(3e5)}`, /more than 100000 words/],
    ['deep indentation', Array.from({ length: 1300 }, (_, n) => `${' '.repeat(n)}a:`).join('\n'), /indented by more/],
    ['many keys', Array.from({ length: 1e5 }, (_, n) => `k${n}: 1`).join('\n'), /more than 100000 words/],
    ['commas', `[${','.repeat(1e6)}]`, /more than 100000 words/],
    ['too long', `#${'x'.repeat(2 ** 20)}`, /more than 1048576 bytes/],
  ]
  for (const [name, text, expected] of cases) {
    const problems = await problemsOf(loadText(t, text))
    t.ok(
      problems.some((problem) => expected.test(problem)),
      `${name}: ${problems[0]?.slice(0, 120)}`,
    )
  }
  const proto = await problemsOf(loadText(t, '__proto__: { dataDir: /x }\nconstructor: 1\ncache: { __proto__: 1 }\n'))
  t.match(proto, [/"__proto__": unknown/, /"constructor": unknown/, /"cache.__proto__": unknown/])
})

await t.test('a large roster is not too much', async (t) => {
  const keys = Array.from({ length: 10_000 }, (_, n) => `    - "${n.toString(16).padStart(64, '0')}"\n`).join('')
  const { config } = await loadText(t, `branch:\n  roster:\n${keys}`)
  t.equal(config.branch.roster?.length, 10_000)
})

await t.test('what is not a readable regular file is refused and not waited for', async (t) => {
  const dir = t.testdir({ folder: {} })
  writeFileSync(join(dir, 'latin.yaml'), Buffer.from([0x23, 0xff, 0xfe]))
  t.match(await problemsOf(load({ file: join(dir, 'latin.yaml') })), [/not UTF-8/])
  t.match(await problemsOf(load({ file: join(dir, 'folder') })), [/not a regular file/])
  if (process.platform !== 'win32') {
    execFileSync('mkfifo', [join(dir, 'fifo')])
    t.match(await problemsOf(load({ file: join(dir, 'fifo') })), [/not a regular file/])
    mkdirSync(join(dir, 'real'))
    writeFileSync(join(dir, 'real', 'c.yaml'), 'origin: { caFile: ca.pem }')
    symlinkSync(join(dir, 'real', 'c.yaml'), join(dir, 'link.yaml'))
    const { config } = await load({ file: join(dir, 'link.yaml') })
    t.equal(config.origin.caFile, join(dir, 'ca.pem'), 'relative to the name that was given')
  }
})

await t.test('an aborted load says so', async (t) => {
  const loading = loadText(t, 'log: {}', { signal: AbortSignal.abort() })
  await t.rejects(loading, { code: 'SHORTHAUL_ABORTED' })
})

await t.test('commands look where daemons listen', async (t) => {
  const { config } = await load({ overrides: { dataDir: '/d' } })
  const user = { XDG_RUNTIME_DIR: '/run/user/1000' }
  t.same(controlSocketCandidates(config, user, { platform: 'linux' }), [
    '/run/user/1000/shorthaul/control.sock',
    '/run/shorthaul/control.sock',
    '/d/control.sock',
  ])
  t.same(controlSocketCandidates(config, { XDG_RUNTIME_DIR: 'relative' }, { platform: 'linux' }), [
    '/run/shorthaul/control.sock',
    '/d/control.sock',
  ])
  const named = (await load({ overrides: { 'control.socket': '/s' } })).config
  t.same(controlSocketCandidates(named, user), ['/s'])
  t.equal(controlSocketPath(named, user, { isRoot: true }), '/s')
  t.equal(controlSocketPath(config, user, { isRoot: true, platform: 'linux' }), '/run/shorthaul/control.sock')
  const unit = { RUNTIME_DIRECTORY: '/run/shorthaul' }
  t.equal(controlSocketPath(config, unit, { isRoot: false, platform: 'linux' }), '/run/shorthaul/control.sock')
  for (const platform of ['linux', 'darwin', 'win32'] as const) {
    for (const isRoot of [true, false]) {
      for (const env of [user, unit, {}, { USERNAME: 'Ann Smith' }]) {
        const candidates = controlSocketCandidates(config, env, { platform })
        t.ok(candidates.includes(controlSocketPath(config, env, { isRoot, platform })))
        t.ok(candidates.includes(embeddedSocketPath(config, { platform })))
        t.equal(
          candidates.every((path) => path.startsWith('\\\\.\\pipe\\')),
          platform === 'win32',
        )
      }
    }
  }
})

await t.test('suggestions are near or absent', async (t) => {
  t.equal(editDistance('kitten', 'sitting'), 3)
  t.equal(editDistance('', 'abc'), 3)
  t.equal(nearest('SERVE', ['serve', 'server']), 'serve')
  t.equal(nearest('maxAge', ['maxBytes', 'maxAgeDays']), 'maxAgeDays')
  t.equal(nearest('zzzzzz', ['serve', 'cache']), null)
  t.equal(nearest('s'.repeat(65), ['s'.repeat(64)]), null)
})
