/**
 * Secrets with marks in them go through everything that the program does with secrets, and then all that it wrote, printed,
 * answered and sent to a neighbour is searched for the marks. The daemon is the built one, at log level trace; the neighbour
 * is a member of its branch that writes down what it is told.
 */
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import crypto from 'hypercore-crypto'
import t, { type Test } from 'tap'
import { systemClock, systemRandom } from '../../src/clock.ts'
import { locationKey } from '../../src/content/resource.ts'
import { deriveBranchKeys } from '../../src/peers/branch-keys.ts'
import type { Message } from '../../src/peers/messages.ts'
import { Network } from '../../src/peers/network.ts'
import { CLI_TEST_TIMEOUT_MS, CliHome, type Run } from '../cli/cli-home.ts'
import { ask } from '../control/job-api.ts'
import { freeUdpPort, options as networkOptions, silent } from '../peers/branch-fixture.ts'
import { startTestOrigin, TEST_CERT_FILE, TEST_KEY_FILE } from '../support/test-origin.ts'
import { formsOf, type Mark, marksIn, newMark } from './marks.ts'

t.setTimeout(CLI_TEST_TIMEOUT_MS)

/** What is quoted, encoded or escaped somewhere stands around it. */
const AWKWARD = { before: 'a+b/', behind: '"é' }

const marks = {
  urlUser: newMark('the user of a URL'),
  urlPassword: newMark('the password of a URL', { before: 'p%', behind: ';+' }),
  query: newMark('a token in the query of a URL'),
  authorization: newMark('an Authorization field', { before: 'a+b/' }),
  cookie: newMark('a Cookie field'),
  custom: newMark('a field of the user', { before: 'a+b/' }),
  proxyPassword: newMark('the password of a proxy'),
  netrcPassword: newMark('a password in netrc', AWKWARD),
  jobHeader: newMark('a field of a job'),
  webhookQuery: newMark('a token in the URL of a webhook'),
  webhookSecret: newMark('the key of a webhook'),
  commandArgument: newMark('an argument of a command'),
  redirectQuery: newMark('a token in a redirect'),
  setCookie: newMark('a Set-Cookie of the origin'),
  crash: newMark('a secret of what crashes'),
} as const

function whole(name: string, secret: string): Mark {
  return { name, secret }
}

/** Everything that came out, by where. */
class Outputs {
  readonly #texts: [where: string, text: string | Buffer][] = []

  add(where: string, text: string | Buffer): void {
    this.#texts.push([where, text])
  }

  run(what: string, { text, stderr }: Run): void {
    this.add(`${what}: stdout`, text)
    this.add(`${what}: stderr`, stderr)
  }

  search(all: readonly Mark[]): readonly string[] {
    return this.#texts.flatMap(([where, text]) => marksIn(text, all).map((found) => `${where}: ${found}`))
  }

  has(text: string): boolean {
    return this.#texts.some(([, each]) => each.toString('latin1').includes(text))
  }
}

/** A member of the branch that notes everything, and says nothing but what the protocol makes it say. */
async function openSpy(t: Test, secret: Buffer, beaconPort: number) {
  const messages: Message[] = []
  const network = await Network.open(
    {
      clock: systemClock,
      random: systemRandom,
      log: silent,
      keyPair: crypto.keyPair(),
      keys: deriveBranchKeys(secret),
    },
    networkOptions({ beaconPort, hostName: 'spy' }),
  )
  t.teardown(() => network.close())
  network.on('message', (_, message) => messages.push(message))
  const met = new Promise((resolve) => {
    if (network.peers().length > 0) resolve(undefined)
    else network.on('join', resolve)
  })
  return { network, messages, met }
}

function* filesBelow(dir: string): Generator<string> {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name)
    if (entry.isDirectory()) yield* filesBelow(path)
    else if (entry.isFile()) yield path
  }
}

t.test('the search finds each form of a secret', async (t) => {
  for (const mark of Object.values(marks)) {
    for (const form of formsOf(mark.secret)) {
      t.same(marksIn(`x ${form} y`, [mark]).length, 1)
    }
    t.same(
      marksIn(`{"authorization":"Basic ${Buffer.from(`ann:${mark.secret}`).toString('base64')}"}`, [mark]).length,
      1,
    )
    t.same(marksIn(Buffer.from('nothing of it'), [mark]), [])
  }
})

t.test('no secret comes out anywhere', async (t) => {
  const origin = await startTestOrigin()
  const elsewhere = await startTestOrigin()
  t.teardown(() => Promise.all([origin.close(), elsewhere.close()]))
  const told: string[] = []
  const receiver = createServer((request, response) => {
    told.push(JSON.stringify(request.headers))
    request.resume()
    request.on('end', () => response.writeHead(410).end()) // refused for good: it is logged, and not tried again
  })
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve))
  t.teardown(() => new Promise((resolve) => receiver.close(resolve)))
  const hook = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook?key=${marks.webhookQuery.secret}`

  const branchSecret = randomBytes(32)
  const beaconPort = await freeUdpPort()
  const home = new CliHome({
    log: { level: 'trace' },
    branch: { secretFile: 'branch.secret' },
    network: { beaconPort },
    jobs: { commandDirs: ['/bin'] },
    control: { http: '127.0.0.1:0', tokenFile: 'api.token' },
    origin: {
      netrcFile: 'netrc',
      clientCertFile: TEST_CERT_FILE,
      clientKeyFile: TEST_KEY_FILE,
      connectTimeoutMs: 2000,
    },
  })
  t.teardown(() => home.close())
  writeFileSync(join(home.dir, 'branch.secret'), `${branchSecret.toString('base64')}\n`, { mode: 0o600 })
  writeFileSync(
    join(home.dir, 'netrc'),
    `machine localhost login ann password "${marks.netrcPassword.secret.replaceAll('"', '\\"')}"\n`,
    { mode: 0o600 },
  )
  writeFileSync(home.path('hook.key'), `${marks.webhookSecret.secret}\n`, { mode: 0o600 })
  const crashFile = join(home.dir, 'crash.mjs')
  writeFileSync(
    crashFile,
    `process.on('SIGUSR2', () => {
      const secret = ${JSON.stringify(marks.crash.secret)}
      const cause = Object.assign(new Error('Authorization: Bearer ' + secret), { headers: { cookie: secret } })
      throw Object.assign(new Error('Cannot GET http://ann:' + secret + '@host/x?token=' + secret, { cause }), {
        options: { headers: { authorization: 'Bearer ' + secret } },
      })
    })`,
  )

  const outputs = new Outputs()
  const spy = await openSpy(t, branchSecret, beaconPort)
  const daemon = home.start(['daemon'], { env: { NODE_OPTIONS: `--import=file://${crashFile}` } })
  const ready = JSON.parse(await daemon.firstLine()) as { http: string; key: string; sockets: string[] }
  const controlToken = readFileSync(join(home.dir, 'api.token'), 'utf8').trim()
  await spy.met

  const privateUrls: string[] = []
  const run = async (what: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Run> => {
    const done = await home.run(args, { env })
    outputs.run(what, done)
    return done
  }
  /** Of the origin, with the marks of user, password and query where they are wanted. */
  const urlOf = (path: string, parts: { readonly login?: true; readonly query?: true } = {}) => {
    const url = new URL(origin.url(path))
    if (parts.login) {
      url.username = encodeURIComponent(marks.urlUser.secret)
      url.password = encodeURIComponent(marks.urlPassword.secret)
    }
    if (parts.query) url.search = `?token=${marks.query.secret}`
    return url.href
  }
  const content = { seed: 1, lengthBytes: 1_200_000 }
  const fieldArgs = [
    ['-H', `Authorization: Bearer ${marks.authorization.secret}`],
    ['-H', `Cookie: session=${marks.cookie.secret}`],
    ['-H', `X-Api-Key: ${marks.custom.secret}`],
  ].flat()

  // What is public, so that the neighbour is told something at all.
  origin.serve('/public.bin', content)
  const publicUrl = urlOf('/public.bin')
  t.equal((await run('public', ['fetch', publicUrl, '--json'])).code, 0)
  origin.serve(`/query.bin?token=${marks.query.secret}`, content, { setCookie: `id=${marks.setCookie.secret}` })
  t.equal((await run('query', ['fetch', urlOf('/query.bin', { query: true }), '-o', 'query.bin'])).code, 0)

  // Credentials of every kind, with success.
  origin.serve('/login.bin', content)
  privateUrls.push(urlOf('/login.bin', { login: true }))
  t.equal(
    (await run('user info', ['fetch', urlOf('/login.bin', { login: true }), '-o', 'login.bin', '--json'])).code,
    0,
  )
  origin.serve('/fields.bin', content)
  privateUrls.push(urlOf('/fields.bin'))
  t.equal((await run('fields', ['fetch', urlOf('/fields.bin'), ...fieldArgs, '-o', 'fields.bin'])).code, 0)
  origin.serve('/netrc.bin', content)
  const netrcUrl = urlOf('/netrc.bin').replace('127.0.0.1', 'localhost')
  privateUrls.push(netrcUrl)
  t.equal((await run('netrc', ['fetch', netrcUrl, '-o', 'netrc.bin', '--json'])).code, 0)
  t.ok(
    origin.requests('/netrc.bin').some(({ headers }) => headers.authorization?.startsWith('Basic')),
    'it was used',
  )

  // And without.
  const failing: [what: string, args: string[]][] = [
    ['unauthorised', [urlOf('/auth.bin', { login: true }), ...fieldArgs]],
    ['not found', [urlOf('/missing.bin', { login: true, query: true }), ...fieldArgs]],
    ['refused', [urlOf('/x.bin', { login: true, query: true }).replace(/:\d+\//, ':1/')]],
    ['no such URL', [`http://${marks.urlUser.secret}:${marks.urlPassword.secret}@:x/?token=${marks.query.secret}`]],
    ['no such host', [urlOf('/x', { login: true, query: true }).replace(/127\.0\.0\.1:\d+/, 'no-such-host.invalid')]],
    ['no such scheme', [urlOf('/x', { login: true, query: true }).replace('http:', 'gopher:')]],
    ['malformed field', [publicUrl, '-H', `X Bad ${marks.custom.secret}`]],
    ['refused field', [publicUrl, '-H', `Proxy-Authorization: Basic ${marks.custom.secret}`]],
    ['redirected away', [urlOf('/away.bin', { login: true, query: true }), ...fieldArgs]],
    ['redirected in circles', [urlOf('/circle.bin', { login: true }), ...fieldArgs]],
    ['cut', [urlOf('/cut.bin', { login: true }), ...fieldArgs, '--sha256', '0'.repeat(64)]],
  ]
  origin.serve('/auth.bin', content, { requireAuth: 'Bearer another' })
  elsewhere.serve(`/there.bin?sig=${marks.redirectQuery.secret}`, content, { status: 403 })
  origin.serve(`/away.bin?token=${marks.query.secret}`, content, {
    redirectTo: elsewhere.url(`/there.bin?sig=${marks.redirectQuery.secret}`),
  })
  origin.serve('/circle.bin', content, { redirectTo: `/circle.bin?sig=${marks.redirectQuery.secret}` })
  origin.serve(`/circle.bin?sig=${marks.redirectQuery.secret}`, content, { redirectTo: '/circle.bin' })
  origin.serve('/cut.bin', content, { cutAfterBytes: 1000 })
  for (const [what, args] of failing) {
    const done = await run(what, ['fetch', ...args, '-o', `${what}.bin`, ...(what.length % 2 ? ['--json'] : [])])
    t.not(done.code, 0, what)
  }

  // Proxies, of the job and of the environment.
  const deadProxy = `http://ann:${marks.proxyPassword.secret}@127.0.0.1:1`
  await run(
    'proxy of the environment',
    ['fetch', publicUrl, '--no-daemon', '--no-peers', '-o', 'p', '--data-dir', home.path('other')],
    {
      http_proxy: deadProxy,
      no_proxy: '',
    },
  )
  await run('no proxy', ['job', 'create', publicUrl, '-o', 'np', '--proxy', `ftp://u:${marks.proxyPassword.secret}@h`])

  // A job with all secrets that a job can have; it fails, and its webhook and command are told.
  origin.serve(`/job.bin?token=${marks.query.secret}`, content, { status: 403 })
  const jobUrl = urlOf('/job.bin', { login: true, query: true })
  privateUrls.push(jobUrl)
  const made = await run('job create', [
    ...['job', 'create', jobUrl, '-o', 'job.bin', '--name', 'marked', '--proxy', deadProxy],
    ...['-H', `X-Job: ${marks.jobHeader.secret}`, '--notify-url', hook, '--notify-secret-file', home.path('hook.key')],
    ...['--notify-on', 'error', '--no-peers', '--json'],
    ...['--notify-command', JSON.stringify(['/bin/no-such', 'word', marks.commandArgument.secret])],
  ])
  if (made.code !== 0) throw new Error(`the job was not made: ${made.stderr} ${made.text}`)
  const { id } = made.last() as { id: string }
  await run('job set', ['job', 'set', id, '--proxy', 'none'])
  const direct = await run('job through no proxy', ['job', 'set', id, '-H', `X-Job: ${marks.jobHeader.secret}`])
  t.equal(direct.code, 0, direct.stderr)
  await run('job resume', ['job', 'resume', id])
  while (told.length === 0) await new Promise((resolve) => setTimeout(resolve, 50))
  const ofTheOwner = new Outputs()
  for (const args of [
    ['job', 'show', id],
    ['job', 'why', id],
    ['job', 'list', '--all'],
  ]) {
    ofTheOwner.run(args.join(' '), await run(args.slice(0, 2).join(' '), args))
  }
  const json = await Promise.all([
    home.run(['job', 'show', id, '--json']),
    home.run(['job', 'list', '--all', '--json']),
  ])

  // What is looked at.
  for (const args of [
    ['status'],
    ['status', '--json'],
    ['peers', '--json'],
    ['cache', 'ls'],
    ['cache', 'ls', '--json'],
    ['cache', 'verify', '--json'],
    ['config', 'show'],
    ['config', 'show', '--json'],
    ['throttle', '--json'],
  ]) {
    await run(args.join(' '), args)
  }
  await run('doctor', ['doctor', '--json', '--origin', urlOf('/public.bin', { login: true, query: true })])
  await run('doctor for people', ['doctor', '--origin', urlOf('/auth.bin', { login: true, query: true })])
  await run('cache rm', ['cache', 'rm', urlOf('/nothing.bin', { login: true, query: true })])

  // The API itself, with a wrong token and with the right one, and with a session where it is a system daemon.
  const sessionTokens: string[] = []
  const [ownSocket = '', publicSocket = ''] = ready.sockets
  if (process.getuid?.() === 0) {
    const begun = await ask(publicSocket, 'POST', '/v1/session')
    const challenge = begun.body as { id: string; path: string; token: string }
    writeFileSync(challenge.path, challenge.token, { mode: 0o600, flag: 'wx' })
    const session = (await ask(publicSocket, 'POST', `/v1/session/${challenge.id}`)).body as { token: string }
    const headers = { authorization: `Bearer ${session.token}` }
    outputs.add('/v1/status with a session', JSON.stringify(await ask(publicSocket, 'GET', '/v1/status', { headers })))
    sessionTokens.push(session.token)
  }
  for (const token of [controlToken, ...sessionTokens, `${controlToken}x`]) {
    for (const path of ['/v1/status', '/v1/network', '/v1/jobs?state=bad', '/v1/nowhere?token=x', '/v1/openapi.json']) {
      const headers = { authorization: `Bearer ${token}`, connection: 'close' }
      const answer = await fetch(`${ready.http}${path}`, { headers })
      outputs.add(`GET ${path}`, `${JSON.stringify([...answer.headers])} ${await answer.text()}`)
    }
  }
  for (const body of [{ url: jobUrl, headers: 5 }, { files: [{ url: `gopher://u:${marks.urlPassword.secret}@h` }] }]) {
    const answer = await ask(ownSocket, 'POST', '/v1/jobs', { body })
    outputs.add('a wrong order', JSON.stringify(answer))
  }

  // A cached segment that is broken on disk, and the end of the daemon by a fault.
  const segment = [...filesBelow(join(home.dataDir, 'store/v1/segments'))][0]
  if (segment !== undefined) writeFileSync(segment, 'broken')
  await run('broken segment', ['fetch', publicUrl, '-o', 'again'])
  daemon.child.kill('SIGUSR2')
  const ended = await daemon.done
  outputs.run('daemon', ended)
  t.not(ended.code, 0)
  t.ok(ended.stderr.split('\n').length > 20, `the log says much: ${ended.stderr.split('\n').length} lines`)
  t.ok(ended.stderr.includes('/login.bin') && ended.stderr.includes('127.0.0.1'), 'URLs stand in it')
  t.match(ended.stderr, /"level":"fatal"/, 'so does the crash')

  const all: Mark[] = [
    ...Object.values(marks),
    whole('the branch secret', branchSecret.toString('base64')),
    whole('the branch secret as bytes', branchSecret.toString('latin1')),
    whole('the control token', controlToken),
    ...sessionTokens.map((token) => whole('a session token', token.split('.').at(-1) ?? '')),
    whole('the key of the client certificate', readFileSync(TEST_KEY_FILE, 'utf8').split('\n')[1] ?? ''),
  ]

  await t.test('not in logs, on stdout or stderr, or in answers', async (t) => {
    // An owner's own job is shown to its owner with the command and the webhook as they were ordered: without them they could
    // not be looked over and changed.
    const shown = ['job create: stdout', 'job show', 'job set', 'job resume', 'job list', 'job through no proxy']
    const found = outputs
      .search(all)
      .filter(
        (line) =>
          !(
            shown.some((where) => line.startsWith(where)) &&
            [marks.commandArgument, marks.webhookQuery].some(({ name }) => line.includes(name))
          ),
      )
    t.same(found, [])
  })

  await t.test('an owner sees of a job what the job is, and not its sealed secrets', async (t) => {
    const sealed = [marks.jobHeader, marks.webhookSecret, marks.proxyPassword]
    for (const { text } of json) t.same(marksIn(text, sealed), [])
  })

  await t.test('neighbours are told of what is public, and nothing of what is private', async (t) => {
    const { wireKey } = deriveBranchKeys(branchSecret)
    const said = JSON.stringify(spy.messages, (_, value: unknown) =>
      value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : value,
    )
    t.ok(said.includes(locationKey(wireKey, publicUrl, '')), 'the public one is asked for')
    t.same(marksIn(said, all), [])
    for (const text of ['login.bin', 'netrc.bin', 'public.bin', 'http', home.dir]) t.notOk(said.includes(text), text)
    for (const url of privateUrls) t.notOk(said.includes(locationKey(wireKey, url, '')), `not even its key: ${url}`)
  })

  await t.test('on disk only where it is said', async (t) => {
    // What may hold which secret, and why. All of it is in directories of mode 0700 (local-user.test.ts).
    const allowed: Readonly<Record<string, readonly Mark[]>> = {
      // The cache is keyed by URLs, and a URL is fetched again with what is in it.
      'store/v1/index/': [marks.urlUser, marks.urlPassword, marks.query, marks.redirectQuery],
      // Jobs go on after a restart: where from, and whom to tell. Fields, proxy logins and keys are sealed (jobs/vault.ts).
      'jobs/': [marks.urlUser, marks.urlPassword, marks.query, marks.webhookQuery, marks.commandArgument],
    }
    for (const path of filesBelow(home.dataDir)) {
      const name = path.slice(home.dataDir.length + 1)
      const may = Object.entries(allowed).find(([prefix]) => name.startsWith(prefix))?.[1] ?? []
      const found = marksIn(
        readFileSync(path),
        all.filter((mark) => !may.includes(mark)),
      )
      t.same(found, [], name)
      if (/secret|seed|token|key$/.test(name)) t.equal(statSync(path).mode & 0o077, 0, name)
    }
    t.same(
      told.flatMap((headers) => marksIn(headers, all)),
      [],
      'and a webhook is told no secret but in its own URL',
    )
  })
})
