/** Jobs over a real socket, of a real agent. */
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import t from 'tap'
import { ControlClient } from '../../src/control/client.ts'
import { type JobId, parseJobId } from '../../src/jobs/job.ts'
import type { JobStreamEvent } from '../../src/jobs/jobs-api.ts'
import { startTestOrigin } from '../support/test-origin.ts'
import { ask, openApi, reaches } from './job-api.ts'

const origin = await startTestOrigin() // until the process ends

const NO_JOB = '00000000-0000-4000-8000-000000000000'

await t.test('a job is created, followed and completed through the client', async (t) => {
  await using api = await openApi()
  const { jobs } = api.client
  const url = origin.serve('/through', { seed: 1, lengthBytes: 2_000_000 })
  const created = await jobs.create({ name: 'one', files: [{ url, target: api.target('one.bin') }] })
  t.match(created, { name: 'one', totals: { fileCount: 1 }, owner: { uid: api.agent.user.uid } })
  const job = await reaches(jobs, created.id, ['transferred', 'error'])
  t.match(job, { state: 'transferred', reason: { code: 'waiting-for-complete' }, totals: { bytesDone: 2_000_000 } })
  t.match(await jobs.list(), { jobs: [{ id: created.id }], next: null })
  t.match(await jobs.files(created.id), { files: [{ index: 0, url, state: 'transferred' }], next: null })
  t.match(await jobs.complete(created.id), { deliveredCount: 1, job: { state: 'acknowledged' } })
  t.same(readdirSync(join(api.dir, 'out')), ['one.bin'])
  t.same(await jobs.list(), { jobs: [], next: null }, 'those that ended are left out')
  t.match(await jobs.list({ states: ['acknowledged', 'cancelled'], limit: 1, allUsers: true }), {
    jobs: [{ id: created.id }],
  })
})

await t.test('a job that waits can be changed in every way', async (t) => {
  await using api = await openApi()
  const { jobs } = api.client
  const { id, state } = await jobs.create({ isStarted: false, priority: 'low' })
  t.equal(state, 'suspended')
  t.match(await jobs.set(id, { name: 'new', headers: [['x-a', 'secret']], costPolicy: 'standard' }), {
    name: 'new',
    headerNames: ['x-a'],
    costPolicy: 'standard',
  })
  const files = ['a', 'b'].map((name) => ({ url: `http://one.test/${name}`, target: api.target(name) }))
  t.match(await jobs.addFiles(id, files), { totals: { fileCount: 2 } })
  t.match(await jobs.setFile(id, 1, { target: api.target('c') }), { index: 1, target: api.target('c') })
  t.equal(await jobs.replacePrefix(id, { from: 'http://one.test/', to: 'http://two.test/' }), 2)
  t.match(await jobs.files(id, { after: 0, limit: 1 }), { files: [{ index: 1, url: 'http://two.test/b' }], next: null })
  t.match(await jobs.takeOwnership(id), { id, headerNames: [] })
  t.match(await jobs.cancel(id), { state: 'cancelled' })
  await t.rejects(jobs.resume(id), { code: 'SHORTHAUL_JOB_STATE', details: { job: id, state: 'cancelled' } })
  await t.rejects(jobs.get(NO_JOB as JobId), { code: 'SHORTHAUL_JOB_NOT_FOUND' })
})

await t.test('the same idempotency key makes one job', async (t) => {
  await using api = await openApi()
  const { jobs } = api.client
  const order = { name: 'once', idempotencyKey: 'key-1' }
  const first = await jobs.create(order)
  t.equal((await jobs.create(order)).id, first.id)
  await t.rejects(jobs.create({ ...order, name: 'twice' }), { code: 'SHORTHAUL_CONFLICT' })
  t.equal((await jobs.list()).jobs.length, 1)
})

await t.test('events come with ids, from wherever the reader wants, and end by the signal', async (t) => {
  await using api = await openApi()
  const { jobs } = api.client
  const stop = new AbortController()
  const seen: JobStreamEvent[] = []
  const { id } = await jobs.create({ name: 'first' })
  for await (const event of jobs.events({ after: 0, signal: stop.signal })) {
    seen.push(event)
    if (seen.length === 1) await jobs.set(id, { name: 'second' })
    if (seen.length === 2) stop.abort()
  }
  t.match(seen, [
    { kind: 'created', job: id, id: 1 },
    { kind: 'changed', job: id, id: 2, name: 'second' },
  ])
  const others = new AbortController()
  for await (const event of jobs.events({ after: 1, job: id, allUsers: true, signal: others.signal })) {
    t.match(event, { kind: 'changed', id: 2 })
    break
  }
})

await t.test('a stream goes on where it was when its connection breaks, and ends with the agent', async (t) => {
  await using api = await openApi()
  await using relay = await openRelay(api.socketPath)
  const client = await ControlClient.connect(relay.path)
  if (client === null) throw new Error('nobody answers')
  t.teardown(() => client.close())
  const { id } = await api.client.jobs.create({ name: '0' })
  const names: string[] = []
  const read = async () => {
    for await (const event of client.jobs.events({ after: 0, signal: new AbortController().signal })) {
      if (event.kind === 'progress') continue
      names.push(event.name)
      if (names.length === 5) await api.closeServer()
      else if (names.length % 2 === 1) {
        // What happens while nobody is connected is not lost.
        relay.breakAll()
        await api.agent.jobs.set(id, { name: `${names.length}` })
        await api.agent.jobs.set(id, { name: `${names.length + 1}` })
      }
    }
  }
  await t.rejects(read(), { code: 'SHORTHAUL_CONTROL_IO' })
  t.same(names, ['0', '1', '2', '3', '4'], 'each once')
})

await t.test('a stream whose connection breaks before its first event begins where it began', async (t) => {
  await using api = await openApi()
  await using relay = await openRelay(api.socketPath)
  const client = await ControlClient.connect(relay.path)
  if (client === null) throw new Error('nobody answers')
  t.teardown(() => client.close())
  const { id } = await api.client.jobs.create({ name: 'before' })
  const events = client.jobs.events({ signal: new AbortController().signal })[Symbol.asyncIterator]()
  const first = events.next()
  await relay.said('id: 1\n')
  relay.breakAll()
  await api.agent.jobs.set(id, { name: 'after' })
  t.match(await first, { value: { kind: 'changed', name: 'after', id: 2 } })
  await events.return?.()
})

await t.test('a client that is closed ends its streams', async (t) => {
  await using api = await openApi()
  const { id } = await api.client.jobs.create({ name: 'x' })
  const read = async () => {
    for await (const _ of api.client.jobs.events({ after: 0, job: id, signal: new AbortController().signal })) {
      await api.client.close()
    }
  }
  await t.rejects(read(), { code: 'SHORTHAUL_CONTROL_IO' })
})

await t.test('an agent that carries out no jobs says so', async (t) => {
  await using api = await openApi({ hasJobs: false })
  const { signal } = new AbortController()
  await t.rejects(api.client.jobs.list(), { code: 'SHORTHAUL_USAGE', message: /a daemon does/ })
  await t.rejects(api.client.jobs.events({ signal })[Symbol.asyncIterator]().next(), { code: 'SHORTHAUL_USAGE' })
})

await t.test('problems have the status, the code and what HTTP wants to be there', async (t) => {
  await using api = await openApi()
  const { id } = await api.client.jobs.create({ name: 'x' })
  const cases: [method: string, path: string, options: Parameters<typeof ask>[3], status: number, code: string][] = [
    ['GET', '/v1/nothing', {}, 404, 'SHORTHAUL_USAGE'],
    ['GET', `/v1/jobs/${NO_JOB}`, {}, 404, 'SHORTHAUL_JOB_NOT_FOUND'],
    ['GET', '/v1/jobs/none', {}, 404, 'SHORTHAUL_JOB_NOT_FOUND'],
    ['GET', '/v1/jobs/%', {}, 404, 'SHORTHAUL_JOB_NOT_FOUND'],
    ['PATCH', `/v1/jobs/${id}/files/0`, { body: {} }, 404, 'SHORTHAUL_JOB_NOT_FOUND'],
    ['PATCH', `/v1/jobs/${id}/files/-1`, { body: {} }, 404, 'SHORTHAUL_JOB_NOT_FOUND'],
    ['DELETE', `/v1/jobs/${id}`, {}, 405, 'SHORTHAUL_USAGE'],
    ['POST', '/v1/jobs', { body: 'no json' }, 400, 'SHORTHAUL_USAGE'],
    ['POST', '/v1/jobs', { body: { nmae: 'x' } }, 400, 'SHORTHAUL_USAGE'],
    ['POST', '/v1/jobs', { body: { files: [{ url: 'ftp://x/', target: '/x' }] } }, 400, 'SHORTHAUL_URL_INVALID'],
    ['POST', '/v1/jobs', { body: {}, headers: { 'content-type': 'text/plain' } }, 415, 'SHORTHAUL_USAGE'],
    ['POST', '/v1/jobs', { body: {}, headers: { 'idempotency-key': 'with blank' } }, 400, 'SHORTHAUL_USAGE'],
    ['PATCH', `/v1/jobs/${id}`, { body: { description: 'x'.repeat(300_000) } }, 413, 'SHORTHAUL_USAGE'],
    ['GET', '/v1/jobs?limit=0', {}, 400, 'SHORTHAUL_USAGE'],
    ['GET', '/v1/jobs?limit=1&limit=2', {}, 400, 'SHORTHAUL_USAGE'],
    ['GET', '/v1/jobs?states=queued,lost', {}, 400, 'SHORTHAUL_USAGE'],
    ['GET', '/v1/jobs?colour=red', {}, 400, 'SHORTHAUL_USAGE'],
    ['GET', '/v1/events', { headers: { 'last-event-id': 'x' } }, 400, 'SHORTHAUL_USAGE'],
    ['POST', `/v1/jobs/${id}/resume`, {}, 409, 'SHORTHAUL_JOB_STATE'],
  ]
  for (const [method, path, options, status, code] of cases) {
    const answer = await ask(api.socketPath, method, path, options)
    t.match(
      answer,
      { status, body: { status, code, type: /^urn:/, title: String, detail: String } },
      `${method} ${path}`,
    )
    t.equal(answer.headers['content-type'], 'application/problem+json')
  }
  t.equal((await ask(api.socketPath, 'DELETE', `/v1/jobs/${id}`)).headers.allow, 'GET, PATCH')
})

await t.test('what a limit refuses is told apart', async (t) => {
  await using api = await openApi({ config: { 'jobs.maxPerUser': 1 } })
  const made = await ask(api.socketPath, 'POST', '/v1/jobs', { body: { name: 'a' } })
  t.equal(made.status, 201)
  const { id } = made.body as { id: string }
  t.equal(made.headers.location, `/v1/jobs/${parseJobId(id)}`)
  t.match(await ask(api.socketPath, 'POST', '/v1/jobs', { body: {} }), {
    status: 429,
    body: { code: 'SHORTHAUL_JOB_LIMIT' },
  })
  t.match(await ask(api.socketPath, 'GET', `/v1/jobs/${id}/why`), { status: 200, body: { code: 'no-files' } })
})

/** Stands between client and agent, and breaks connections as a network would. */
async function openRelay(target: string) {
  const path = join(dirname(target), 'relay.sock')
  const sockets = new Set<Socket>()
  let heard = ''
  let onHeard = () => {}
  const relay = createServer((socket) => {
    const other = connect(target)
    for (const [one, two] of [
      [socket, other],
      [other, socket],
    ] as const) {
      sockets.add(one)
      one.on('data', (chunk: Buffer) => {
        if (one === other) heard += chunk
        two.write(chunk)
        onHeard()
      })
      one.on('error', () => {})
      one.on('close', () => two.destroy())
    }
  })
  relay.listen(path)
  await once(relay, 'listening')
  const breakAll = () => {
    for (const socket of sockets) socket.destroy()
    sockets.clear()
  }
  return {
    path,
    breakAll,
    /** Resolves when the agent said this. */
    said: (text: string) =>
      new Promise<void>((resolve) => {
        onHeard = () => {
          if (heard.includes(text)) resolve()
        }
        onHeard()
      }),
    [Symbol.asyncDispose]: async () => {
      breakAll()
      relay.close()
      await once(relay, 'close')
    },
  }
}
