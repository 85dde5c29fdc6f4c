import { createHmac } from 'node:crypto'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { systemClock } from '../../src/clock.ts'
import { openJobsAgent, reaches } from '../support/jobs-agent.ts'
import { startTestOrigin, TEST_CERT_FILE } from '../support/test-origin.ts'

const origin = await startTestOrigin()
t.teardown(() => origin.close())

interface Received {
  readonly method: string | undefined
  readonly path: string | undefined
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** Answers with these statuses in turn, then 204. */
class Receiver {
  readonly received: Received[] = []
  readonly #server: Server
  readonly #watchers = new Set<() => void>()
  readonly base: string

  private constructor(server: Server) {
    this.#server = server
    this.base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  static async start(answers: readonly { status: number; fields?: Record<string, string> }[] = []): Promise<Receiver> {
    const server = createServer((request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        const { status, fields = {} } = answers[receiver.received.length] ?? { status: 204 }
        const { method, url: path, headers } = request
        receiver.received.push({ method, path, headers, body: Buffer.concat(chunks).toString('utf8') })
        response.writeHead(status, fields).end()
        for (const check of [...receiver.#watchers]) check()
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const receiver = new Receiver(server)
    return receiver
  }

  async count(wanted: number): Promise<void> {
    if (this.received.length >= wanted) return
    await new Promise<void>((resolve) => {
      const check = () => {
        if (this.received.length < wanted) return
        this.#watchers.delete(check)
        resolve()
      }
      this.#watchers.add(check)
    })
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}

/** Pauses between attempts take a hundredth of a second; all else takes its time. */
const impatient = {
  ...systemClock,
  sleep: (ms: number, options?: { signal?: AbortSignal | undefined }) =>
    systemClock.sleep(ms >= 10_000 && ms < 100_000_000 ? 10 : ms, options),
}

t.test(
  'a finished job runs its command once and calls its webhook, signed',
  { skip: process.platform === 'win32' },
  async (t) => {
    const receiver = await Receiver.start()
    t.teardown(() => receiver.close())
    const dir = t.testdir({ bin: {}, out: {} })
    const program = join(dir, 'bin', 'tell')
    // Then it tells us that it ran.
    const url = new URL(`${receiver.base}/ran`)
    await writeFile(
      program,
      `#!${process.execPath}
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith('SHORTHAUL_')))
process.getBuiltinModule('node:fs').appendFileSync(process.argv[2], JSON.stringify(env) + '\\n')
process.getBuiltinModule('node:http').request({ port: ${url.port}, path: '/ran', method: 'POST' }).end()
`,
    )
    await chmod(program, 0o755)
    await using agent = await openJobsAgent(dir, { 'jobs.commandDirs': [join(dir, 'bin')] })
    const secret = `whsec_${Buffer.from('0123456789abcdef0123456789abcdef').toString('base64')}`
    const { id } = await agent.jobs.create({
      name: 'one',
      files: [{ url: origin.serve('/one', { seed: 1, lengthBytes: 1000 }), target: join(dir, 'out', 'one') }],
      notify: {
        command: [program, join(dir, 'told')],
        webhookUrl: `${receiver.base}/hook?token=x`,
        events: ['transferred'],
      },
      webhookSecret: secret,
    })
    await reaches(agent.jobs, id, ['transferred'])
    await receiver.count(2)
    await agent.jobs.complete(id) // of which nobody is to be told
    const lines = (await readFile(join(dir, 'told'), 'utf8')).trim().split('\n')
    t.equal(lines.length, 1)
    const variables = JSON.parse(lines[0] ?? '') as Record<string, string>
    t.match(variables, {
      SHORTHAUL_JOB: id,
      SHORTHAUL_JOB_NAME: 'one',
      SHORTHAUL_EVENT: 'transferred',
      SHORTHAUL_STATE: 'transferred',
      SHORTHAUL_ERROR_CODE: '',
    })
    const hook = receiver.received.find(({ path }) => path === '/hook?token=x')
    t.ok(hook)
    const headers = hook?.headers ?? {}
    const { body, method } = hook ?? { body: '{}', method: '' }
    t.equal(method, 'POST')
    const message = JSON.parse(body) as Record<string, unknown>
    t.match(message, { event: 'transferred', job: id, name: 'one', state: 'transferred', atMs: Number })
    t.equal(message.id, variables.SHORTHAUL_EVENT_ID)
    t.equal(headers['webhook-id'], message.id)
    t.equal(headers['content-type'], 'application/json')
    t.notOk(String(message.id).includes('.'), 'or the signature would be ambiguous')
    const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`
    const key = Buffer.from('0123456789abcdef0123456789abcdef')
    t.equal(headers['webhook-signature'], `v1,${createHmac('sha256', key).update(signed).digest('base64')}`)
    t.equal(receiver.received.length, 2)
  },
)

t.test('a receiver that fails is told again, and one that refuses is not', async (t) => {
  const receiver = await Receiver.start([{ status: 500 }, { status: 429, fields: { 'retry-after': '20' } }])
  t.teardown(() => receiver.close())
  const dir = t.testdir({ out: {} })
  await using agent = await openJobsAgent(dir, {}, { clock: impatient })
  const order = (name: string, webhookUrl: string) => ({
    name,
    files: [{ url: origin.serve(`/${name}`, { seed: 2, lengthBytes: 10 }), target: join(dir, 'out', name) }],
    notify: { command: null, webhookUrl, events: ['transferred', 'acknowledged'] as const },
  })
  const { id } = await agent.jobs.create(order('again', `${receiver.base}/again`))
  await reaches(agent.jobs, id, ['transferred'])
  await receiver.count(3)
  t.same(
    receiver.received.map(({ headers }) => headers['webhook-id']),
    Array.from({ length: 3 }, () => receiver.received[0]?.headers['webhook-id']),
  )
  t.equal(receiver.received[0]?.headers['webhook-signature'], undefined, 'without a secret there is no signature')

  const refusing = await Receiver.start([
    { status: 410 },
    { status: 307, fields: { location: '/moved' } },
    { status: 302, fields: { location: `${receiver.base}/stolen` } },
    { status: 307, fields: { location: `${receiver.base}/stolen` } },
  ])
  t.teardown(() => refusing.close())
  const other = await agent.jobs.create(order('refused', `${refusing.base}/gone`))
  await reaches(agent.jobs, other.id, ['transferred'])
  await agent.jobs.complete(other.id)
  await refusing.count(5)
  t.same(
    refusing.received.map(({ path }) => path),
    ['/gone', '/gone', '/moved', '/gone', '/gone'],
    'the first was given up; the second is followed within its origin, and nowhere else',
  )
  const [first, second] = refusing.received.map(({ headers }) => headers['webhook-id'])
  t.not(first, second)
  t.equal(receiver.received.length, 3, 'nobody else was told')
})

t.test('what was not told before the agent ended is told by the next one, under the same id', async (t) => {
  const receiver = await Receiver.start([{ status: 503 }])
  t.teardown(() => receiver.close())
  const dir = t.testdir({ out: {} })
  const secret = 'not base64 at all'
  {
    await using agent = await openJobsAgent(dir)
    const { id } = await agent.jobs.create({
      name: 'later',
      files: [{ url: origin.serve('/later', { seed: 3, lengthBytes: 10 }), target: join(dir, 'out', 'later') }],
      notify: { command: null, webhookUrl: `${receiver.base}/hook`, events: ['transferred'] },
      webhookSecret: secret,
    })
    await reaches(agent.jobs, id, ['transferred'])
    await receiver.count(1)
    // Taken away meanwhile: what happened before is signed as it was then.
    await agent.jobs.set(id, { webhookSecret: null })
  }
  t.equal(receiver.received.length, 1)
  await using agent = await openJobsAgent(dir)
  await receiver.count(2)
  const [before, after] = receiver.received
  t.equal(after?.headers['webhook-id'], before?.headers['webhook-id'])
  t.equal(after?.body, before?.body)
  const signed = `${after?.headers['webhook-id']}.${after?.headers['webhook-timestamp']}.${after?.body}`
  t.equal(after?.headers['webhook-signature'], `v1,${createHmac('sha256', secret).update(signed).digest('base64')}`)
  t.ok(agent.key)
})

t.test('a receiver with a certificate of a private CA is told when origin.caFile vouches for it', async (t) => {
  const receiver = await startTestOrigin({ isTls: true })
  t.teardown(() => receiver.close())
  const webhookUrl = receiver.serve('/hook', Buffer.alloc(0), {
    respond: (_request, response) => response.writeHead(204).end(),
  })
  const dir = t.testdir({ out: {} })
  await using agent = await openJobsAgent(dir, { 'origin.caFile': TEST_CERT_FILE })
  const { id } = await agent.jobs.create({
    files: [{ url: origin.serve('/tls', { seed: 4, lengthBytes: 10 }), target: join(dir, 'out', 'tls') }],
    notify: { command: null, webhookUrl, events: ['transferred'] },
  })
  await reaches(agent.jobs, id, ['transferred'])
  await receiver.until(() => receiver.requests('/hook', 'POST').some(({ status }) => status === 204))
  t.equal(receiver.requests('/hook').length, 1)
})
