/** Server and client of the control API over real sockets, with an agent that does what each test says. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { buffer, json } from 'node:stream/consumers'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { verifySegment } from '../../src/content/verify.ts'
import { ControlClient } from '../../src/control/client.ts'
import { type ControlledAgent, ControlServer, type ControlSocket } from '../../src/control/server.ts'
import { distrustOf } from '../../src/control/socket-trust.ts'
import { ShorthaulError } from '../../src/errors.ts'
import { PartFile } from '../../src/transfer/part-file.ts'
import type { Delivery, TransferEvent, TransferRequest, TransferResult } from '../../src/transfer/request.ts'

const log = pino({ level: 'silent' })
const RESULT: TransferResult = {
  bytes: 5,
  sha256: 'a'.repeat(64),
  sources: { cache: 0, peer: 0, origin: 5 },
  wastedBytes: 0,
  checkedBytes: 0,
  trust: 'origin',
  durationMs: 1,
}
const SHA256 = 'b'.repeat(64)

type FetchOptions = Parameters<ControlledAgent['fetch']>[2]
type Fetch = (request: TransferRequest, delivery: Delivery, options: FetchOptions) => Promise<TransferResult>

/** Records what it was asked; `fetch` is the test's. */
class FakeAgent implements ControlledAgent {
  readonly asked: { url: string; isOwner: boolean }[] = []
  readonly changed: string[] = []
  onFetch: Fetch = async () => RESULT

  async fetch(request: TransferRequest, delivery: Delivery, options: FetchOptions): Promise<TransferResult> {
    this.asked.push({ url: request.url, isOwner: options.isOwner })
    return this.onFetch(request, delivery, options)
  }

  async probeOrigin(url: string, { isOwner }: { isOwner: boolean }): Promise<unknown> {
    this.asked.push({ url, isOwner })
    return { probed: url }
  }

  readonly cache = {
    entries: async () => [],
    stat: async () => ({}),
    verify: async () => ({}),
    pin: async (url: string) => this.changed.push(url),
    unpin: async () => 0,
    remove: async () => 0,
  }
  readonly branch = {
    view: () => ({ isEnforced: true }),
    invite: (name: string, validMs: number) => ({ code: `${name} ${validMs}`, validUntilMs: validMs }),
    admit: (key: string, name: string) => void this.changed.push(`${key} ${name}`),
    revoke: (who: string) => ({ kind: 'member', name: who, key: '' }),
  }
  about: object = {}
  status = async () => ({ dataDir: '/data', ...this.about })
  diagnoseNetwork = () => null
  refreshNetwork = () => {}
  quarantine = () => []
  liftQuarantine = () => 0
  user = { uid: process.geteuid?.() ?? null, name: 'self', isAdmin: true }
  lastJobEventId = () => 0
  canWriteAs = () => true
  jobsAs = (): never => {
    throw new ShorthaulError('SHORTHAUL_USAGE', 'Cannot use jobs')
  }
}

/** The client's target: remembers what was written. */
class Target implements Delivery {
  readonly localPath = null
  readonly steps: string[] = []
  isAbandoned = false

  leftOver = async () => []
  begin = async ({ lengthBytes }: { lengthBytes: number | null }) => void this.steps.push(`begin ${lengthBytes}`)
  keep = async (index: number) => void this.steps.push(`keep ${index}`)
  windowEnd = () => Number.POSITIVE_INFINITY
  onWindow = () => {}
  restart = async () => void this.steps.push('restart')
  complete = async (lengthBytes: number) => void this.steps.push(`complete ${lengthBytes}`)

  async write(index: number, { bytes }: { bytes: Uint8Array }): Promise<void> {
    this.steps.push(`write ${index} ${Buffer.from(bytes)}`)
  }

  async digest(lengthBytes: number): Promise<string> {
    this.steps.push(`digest ${lengthBytes}`)
    return SHA256
  }

  async abandon(): Promise<void> {
    this.isAbandoned = true
  }
}

function requestFor(url: string): TransferRequest {
  const rest = { headers: [], sha256: null, usePeers: true, useOrigin: true, originMaxBytesPerSec: null }
  return { url, priority: 'foreground', ...rest }
}

/** Not t.testdir: below it sockets' paths are longer than a system allows. */
function socketDir(t: Test): string {
  const dir = mkdtempSync(join(tmpdir(), 'shorthaul-control-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

async function open(t: Test, access: ControlSocket['access'], about: object = {}) {
  const path = join(socketDir(t), 'c.sock')
  const agent = new FakeAgent()
  agent.about = about
  const server = await ControlServer.open({ agent, log }, [{ path, access }])
  t.teardown(() => server.close())
  const client = await ControlClient.connect(path)
  if (client === null) throw new Error('nobody answers')
  t.teardown(() => client.close())
  return { path, agent, server, client }
}

/** What a client of another make may send. */
async function rawPost(
  socketPath: string,
  path: string,
  body: string,
  { isJson = true } = {},
): Promise<{ status: number; code: unknown }> {
  const request = httpRequest({ socketPath, path, method: 'POST', agent: false })
  request.end(body)
  const [response] = await once(request, 'response')
  if (!isJson) {
    await buffer(response)
    return { status: response.statusCode, code: null }
  }
  return { status: response.statusCode, code: Object(await json(response)).code }
}

t.test('the owner may do everything, others may fetch and look', async (t) => {
  const own = await open(t, 'owner')
  t.equal(own.client.access, 'owner')
  t.equal(own.client.dataDir, '/data')
  t.equal(statSync(own.path).mode & 0o777, 0o600)
  await own.client.post('/v1/cache/pin', { url: 'http://o/' })
  t.same(own.agent.changed, ['http://o/'])
  await own.client.fetch(requestFor('file:///etc/hostname'), new Target())
  await own.client.post('/v1/origin/probe', { url: 'http://o/' })
  t.same(own.agent.asked, [
    { url: 'file:///etc/hostname', isOwner: true },
    { url: 'http://o/', isOwner: true },
  ])

  const shared = await open(t, 'public')
  t.equal(shared.client.access, 'public')
  t.equal(statSync(shared.path).mode & 0o777, 0o666)
  const forbidden = { code: 'SHORTHAUL_FORBIDDEN' }
  await t.rejects(shared.client.post('/v1/cache/pin', { url: 'http://o/' }), forbidden)
  await t.rejects(shared.client.get('/v1/cache'), forbidden)
  t.same(shared.agent.changed, [])
  await shared.client.fetch(requestFor('http://o/'), new Target())
  await shared.client.post('/v1/origin/probe', { url: 'http://o/' })
  t.same(
    shared.agent.asked.map(({ isOwner }) => isOwner),
    [false, false],
    'the agent hears that somebody else asks',
  )
})

t.test('files are not read for others than the owner', async (t) => {
  const { client, agent } = await open(t, 'public')
  const refused = { code: 'SHORTHAUL_FORBIDDEN', message: /the command reads them itself/ }
  for (const url of ['file:///root/secret', 'FILE:///root/secret', ' file:///root/secret', 'fi\tle:/root/secret']) {
    await t.rejects(client.fetch(requestFor(url), new Target()), refused, url)
    await t.rejects(client.post('/v1/origin/probe', { url }), refused, url)
  }
  t.same(agent.asked, [], 'the agent is not even asked')
})

t.test('a fetch plays at the client: bytes, events, digest and result', async (t) => {
  const { client, agent } = await open(t, 'owner')
  let answered = ''
  agent.onFetch = async (_request, delivery, { onEvent }) => {
    await delivery.begin({ resource: null, lengthBytes: 5 })
    await delivery.keep(0)
    await delivery.restart()
    onEvent({ event: 'note', note: 'no-head', message: 'said' })
    await delivery.write(1, verifySegment(Buffer.from('hello'), null))
    answered = await delivery.digest(5)
    await delivery.complete(5)
    return RESULT
  }
  const target = new Target()
  const events: TransferEvent[] = []
  t.same(await client.fetch(requestFor('http://o/'), target, { onEvent: (event) => events.push(event) }), RESULT)
  t.same(target.steps, ['begin 5', 'keep 0', 'restart', 'write 1 hello', 'digest 5', 'complete 5'])
  t.equal(answered, SHA256, "the client's digest reaches the agent")
  t.same(events, [{ event: 'note', note: 'no-head', message: 'said' }])
  t.ok(target.isAbandoned, 'the delivery is ended')
})

t.test('an agent of the same user writes into the part; of an older one, and to others, the bytes come', async (t) => {
  const target = join(t.testdir(), 'file')
  const fetchVia = async (access: ControlSocket['access'], about: object = {}) => {
    const { client, agent } = await open(t, access, about)
    const part = await PartFile.open(target)
    const steps: string[] = []
    const { write } = part
    part.write = async (index, segment) => {
      steps.push(`write ${index}`)
      await write.call(part, index, segment)
    }
    agent.onFetch = async (_request, delivery) => {
      await delivery.begin({ resource: null, lengthBytes: 5 })
      await delivery.write(0, verifySegment(Buffer.from('hello'), null))
      await delivery.restart()
      await delivery.begin({ resource: null, lengthBytes: 5 })
      await delivery.write(0, verifySegment(Buffer.from('world'), null))
      t.equal(await delivery.digest(5), createHash('sha256').update('world').digest('hex'))
      await delivery.complete(5)
      return RESULT
    }
    t.same(await client.fetch(requestFor('http://o/'), part), RESULT)
    t.equal(readFileSync(target, 'utf8'), 'world')
    t.same(readdirSync(dirname(target)), ['file'])
    rmSync(target)
    return steps
  }
  t.same(await fetchVia('owner'), ['write 0'], 'the bytes come once it was emptied')
  t.same(await fetchVia('owner', { borrowsParts: undefined }), ['write 0', 'write 0'])
  t.same(await fetchVia('public'), ['write 0', 'write 0'])
})

t.test('what somebody else than the owner offers is not touched, nor what is no whole file', async (t) => {
  const part = await PartFile.open(join(t.testdir(), 'file'))
  const ask = async (access: ControlSocket['access'], change: object) => {
    const { path, agent } = await open(t, access)
    agent.onFetch = async (_request, delivery) => {
      await delivery.write(0, verifySegment(Buffer.from('hello'), null))
      return RESULT
    }
    const body = {
      request: requestFor('http://o/'),
      leftOver: [],
      isInOrder: false,
      part: await part.offer(),
      ...change,
    }
    t.match(await rawPost(path, '/v1/fetch', JSON.stringify(body), { isJson: false }), { status: 200 })
    return readFileSync(part.localPath, 'utf8')
  }
  t.equal(await ask('public', {}), '')
  t.equal(await ask('owner', { isInOrder: true }), '')
  const ranges = [{ startBytes: 1, endBytes: null }]
  t.equal(await ask('owner', { request: { ...requestFor('http://o/'), ranges } }), '')
  t.equal(await ask('owner', {}), 'hello')
  await part.abandon()
})

t.test('ranges of one segment have their digest from the client, and are bounded', async (t) => {
  const { agent, client, path } = await open(t, 'public')
  let digest = ''
  agent.onFetch = async ({ ranges, proxy }, delivery) => {
    t.same(ranges, [{ startBytes: 1, endBytes: null }])
    t.equal(proxy, 'none')
    await delivery.begin({ resource: null, lengthBytes: 5 })
    await delivery.write(0, verifySegment(Buffer.from('hello'), null))
    digest = await delivery.digest(5)
    return RESULT
  }
  const request = { ...requestFor('http://o/'), proxy: 'none', ranges: [{ startBytes: 1, endBytes: null }] }
  await client.fetch(request, new Target())
  t.equal(digest, SHA256)
  for (const ranges of [[], [{ startBytes: -1, endBytes: null }], Array(501).fill({ startBytes: 1, endBytes: 2 })]) {
    const body = JSON.stringify({ request: { ...request, ranges }, leftOver: [], isInOrder: false })
    t.match(await rawPost(path, '/v1/fetch', body), { code: 'SHORTHAUL_USAGE' })
  }
})

t.test('content of one segment needs no digest of the client', async (t) => {
  const { client, agent } = await open(t, 'owner')
  let digest = ''
  agent.onFetch = async (_request, delivery) => {
    await delivery.begin({ resource: null, lengthBytes: 5 })
    await delivery.write(0, verifySegment(Buffer.from('hello'), null))
    digest = await delivery.digest(5)
    return RESULT
  }
  const target = new Target()
  await client.fetch(requestFor('http://o/'), target)
  t.same(target.steps, ['begin 5', 'write 0 hello'])
  t.equal(digest, createHash('sha256').update('hello').digest('hex'))

  agent.onFetch = async (_request, delivery) => {
    await delivery.begin({ resource: null, lengthBytes: 5 })
    await delivery.write(0, verifySegment(Buffer.from('hello'), null))
    await delivery.restart()
    await delivery.begin({ resource: null, lengthBytes: 5 })
    await delivery.keep(0)
    digest = await delivery.digest(5)
    return RESULT
  }
  await client.fetch(requestFor('http://o/'), new Target())
  t.equal(digest, SHA256, 'but what was thrown away says nothing')
})

t.test('the latest progress arrives when bytes leave in between; what it replaced does not', async (t) => {
  const { client, agent } = await open(t, 'owner')
  const progress = (bytesDone: number) =>
    ({ event: 'progress', bytesDone, bytesTotal: 9, bytesPerSec: 1, sources: RESULT.sources }) as const
  agent.onFetch = async (_request, delivery, { onEvent }) => {
    const segment = verifySegment(Buffer.alloc(2 ** 20, 1), null)
    const writing = delivery.write(0, segment)
    for (const bytesDone of [1, 2, 3]) onEvent(progress(bytesDone))
    await writing
    await delivery.write(1, segment)
    onEvent(progress(4))
    return RESULT
  }
  const events: TransferEvent[] = []
  await client.fetch(requestFor('http://o/'), new Target(), { onEvent: (event) => events.push(event) })
  t.same(events, [progress(3), progress(4)])
})

t.test('a failure keeps its code, message and details', async (t) => {
  const { client, agent } = await open(t, 'owner')
  agent.onFetch = async () => {
    throw new ShorthaulError('SHORTHAUL_ORIGIN_NOT_FOUND', 'Cannot find it', { details: { status: 404 } })
  }
  const target = new Target()
  await t.rejects(client.fetch(requestFor('http://o/'), target), {
    code: 'SHORTHAUL_ORIGIN_NOT_FOUND',
    message: 'Cannot find it',
    details: { status: 404 },
  })
  t.ok(target.isAbandoned)
  agent.onFetch = async () => {
    throw new TypeError('a bug')
  }
  await t.rejects(client.fetch(requestFor('http://o/'), new Target()), {
    code: 'SHORTHAUL_CONTROL_IO',
    message: /a bug/,
  })
})

t.test('requests that make no sense are refused, and the server goes on', async (t) => {
  const { path, client } = await open(t, 'public')
  for (const body of ['', 'no json', '{}', '[]', JSON.stringify({ request: { url: 'http://o/' } })]) {
    t.same(await rawPost(path, '/v1/fetch', body), { status: 400, code: 'SHORTHAUL_USAGE' }, body)
  }
  t.same(await rawPost(path, '/v1/fetch/00000000-0000-0000-0000-000000000000/digest', `{"sha256":"${SHA256}"}`), {
    status: 400,
    code: 'SHORTHAUL_USAGE',
  })
  const oversized = JSON.stringify({ url: 'x'.repeat(70 * 1024) })
  t.same(await rawPost(path, '/v1/origin/probe', oversized), { status: 413, code: 'SHORTHAUL_USAGE' }, 'too long')
  t.ok(await client.get('/v1/status'))
})

t.test('a client that goes away ends its fetch', async (t) => {
  const { client, agent } = await open(t, 'owner')
  const leave = new AbortController()
  const ended = new Promise<unknown>((resolve) => {
    agent.onFetch = (_request, _delivery, { signal }) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          resolve(signal.reason)
          reject(signal.reason)
        })
        leave.abort(new ShorthaulError('SHORTHAUL_ABORTED', 'Interrupted'))
      })
  })
  await t.rejects(client.fetch(requestFor('http://o/'), new Target(), { signal: leave.signal }), {
    code: 'SHORTHAUL_ABORTED',
    message: 'Interrupted',
  })
  t.match(await ended, { code: 'SHORTHAUL_ABORTED' })
})

t.test('an agent that closes tells its clients, who may go on without it', async (t) => {
  const { client, agent, server, path } = await open(t, 'owner')
  agent.onFetch = (_request, _delivery, { signal }) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason))
      void server.close()
    })
  await t.rejects(client.fetch(requestFor('http://o/'), new Target()), { code: 'SHORTHAUL_CONTROL_IO' })
  t.equal(await ControlClient.connect(path), null)
})

t.test('a socket is believed when this user or root could have made it, and nobody else', async (t) => {
  const { path } = await open(t, 'owner')
  const dir = join(path, '..')
  t.equal(await distrustOf(path), null)
  t.equal(await distrustOf(join(dir, 'nothing')), null, 'what is not there is no danger')
  chmodSync(dir, 0o777)
  t.match(await distrustOf(path), /everybody can write/)
  chmodSync(dir, 0o1777)
  t.equal(await distrustOf(path), null, 'in a sticky directory only the owner can exchange it')
  t.test('not when another user owns it', { skip: process.geteuid?.() !== 0 && 'needs root' }, async (t) => {
    const { chownSync } = await import('node:fs')
    chownSync(path, 65_534, 65_534)
    t.match(await distrustOf(path), /belongs to another user/)
    chownSync(path, 0, 0)
    chownSync(dir, 65_534, 65_534)
    t.match(await distrustOf(path), /belongs to another user/)
  })
})
