/** The document says what the server does: every route is in it, and real answers are as it describes them. */
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { z } from 'zod'
import { agentRoutes } from '../../src/control/agent-routes.ts'
import { BRANCH_ROUTES } from '../../src/control/branch-routes.ts'
import { Fetches } from '../../src/control/fetches.ts'
import { PROBLEM } from '../../src/control/job-answers.ts'
import { JOB_ROUTES } from '../../src/control/job-routes.ts'
import { RouteTable } from '../../src/control/route.ts'
import { decodeSentEvents } from '../../src/control/sse.ts'
import { startTestOrigin } from '../support/test-origin.ts'
import { type ApiHome, ask, openApi, openStream, type RawAnswer, reaches } from './job-api.ts'

const origin = await startTestOrigin() // until the process ends

interface Operation {
  readonly operationId: string
  readonly parameters?: readonly { readonly name: string; readonly in: string }[]
  readonly responses: Readonly<Record<string, { readonly content: Readonly<Record<string, unknown>> }>>
  readonly requestBody?: unknown
}

interface Document {
  readonly openapi: string
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Readonly<Record<string, unknown>> }
}

await t.test('every route is in the document, with what goes in and what comes out', async (t) => {
  await using api = await openApi()
  const { status, body } = await ask(api.socketPath, 'GET', '/v1/openapi.json')
  t.equal(status, 200)
  const document = body as Document
  t.equal(document.openapi, '3.1.0')
  const stop = new AbortController().signal
  const routes = [
    ...agentRoutes(new Fetches({ log: pino({ level: 'silent' }), stop })),
    ...BRANCH_ROUTES,
    ...JOB_ROUTES,
  ]
  const ids = new Set<string>()
  for (const { method, path, query, body: sent, answer } of routes) {
    const operation = document.paths[path]?.[method.toLowerCase()]
    if (!operation) {
      t.fail(`${method} ${path} is missing`)
      continue
    }
    ids.add(operation.operationId)
    t.ok(operation.responses[answer.status]?.content[answer.contentType ?? 'application/json'], `${method} ${path}`)
    t.ok(operation.responses.default?.content['application/problem+json'])
    t.equal(operation.requestBody !== undefined, sent !== undefined)
    const names = operation.parameters?.filter((each) => each.in === 'query').map(({ name }) => name) ?? []
    t.same(names, query instanceof z.ZodObject ? Object.keys(query.shape) : [])
  }
  t.equal(ids.size, routes.length, 'each operation has a name of its own')
  const count = Object.values(document.paths).flatMap((each) => Object.keys(each)).length
  t.ok(count > routes.length, 'and the document itself')
  for (const [, name = ''] of JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/([^"]*)"/g)) {
    t.ok(name in document.components.schemas, `${name} is there`)
  }
  t.notMatch(JSON.stringify(document), /\$defs/)
})

/** Holds each answer against the schema of its route, and remembers which routes were asked. */
class Checked {
  readonly #t: Test
  readonly #api: ApiHome
  readonly #table = new RouteTable(JOB_ROUTES)
  readonly asked = new Set<string>()

  constructor(test: Test, api: ApiHome) {
    this.#t = test
    this.#api = api
  }

  async ask(method: string, path: string, body?: unknown): Promise<RawAnswer['body']> {
    const answer = await ask(this.#api.socketPath, method, path, { body })
    const found = this.#table.find(method, path.split('?')[0] ?? '')
    if (!('route' in found)) throw new Error(`no route ${method} ${path}`)
    const { route } = found
    this.asked.add(`${route.method} ${route.path}`)
    if (answer.status >= 400) {
      this.isAs(PROBLEM, answer.body, `${method} ${path}: ${answer.status}`)
      this.#t.ok(route.errors?.includes(answer.status), `${answer.status} is said to be possible`)
    } else {
      this.#t.equal(answer.status, route.answer.status)
      this.isAs(route.answer.schema, answer.body, `${method} ${path}`)
    }
    return answer.body
  }

  /** Also no field more: schemas drop what they do not know. */
  isAs(schema: z.ZodType | null, found: unknown, name: string): void {
    const result = schema?.safeParse(found)
    this.#t.same(result?.success ? result.data : result?.error.issues, found, name)
  }
}

await t.test('what the routes of jobs answer is what their schemas say', async (t) => {
  await using api = await openApi()
  const checked = new Checked(t, api)
  const url = origin.serve('/checked', { seed: 1, lengthBytes: 100_000 })
  const files = [
    { url, target: api.target('whole') },
    { url, target: api.target('part'), ranges: [{ startBytes: 10, endBytes: null }] },
  ]
  const order = {
    name: 'checked',
    description: 'of two',
    deadlineAtMs: 4_000_000_000_000,
    costPolicy: 'always',
    headers: [['x-a', 'b']],
    notify: { command: null, webhookUrl: 'http://127.0.0.1:1/', events: [] },
    files,
  }
  const { id } = (await checked.ask('POST', '/v1/jobs', order)) as { id: never }
  await reaches(api.client.jobs, id, ['transferred', 'error'])
  await checked.ask('GET', '/v1/jobs?states=transferred,queued&allUsers=true&limit=5')
  await checked.ask('GET', `/v1/jobs/${id}`)
  await checked.ask('GET', `/v1/jobs/${id}/files?limit=1`)
  await checked.ask('GET', `/v1/jobs/${id}/why`)
  await checked.ask('POST', `/v1/jobs/${id}/complete`)
  await checked.ask('POST', `/v1/jobs/${id}/cancel`)

  // An origin that refuses: an error with a file.
  const bad = { files: [{ url: origin.url('/nothing'), target: api.target('nothing') }] }
  const { id: failed } = (await checked.ask('POST', '/v1/jobs', bad)) as { id: never }
  await reaches(api.client.jobs, failed, ['error'])
  await checked.ask('GET', `/v1/jobs/${failed}`)
  await checked.ask('PATCH', `/v1/jobs/${failed}`, { priority: 'low' })
  await checked.ask('POST', `/v1/jobs/${failed}/suspend`)
  await checked.ask('PATCH', `/v1/jobs/${failed}/files/0`, { target: api.target('other') })
  await checked.ask('PATCH', `/v1/jobs/${failed}/files/7`, { target: api.target('other') })
  await checked.ask('POST', `/v1/jobs/${failed}/replace-prefix`, { from: 'http:', to: 'https:' })
  await checked.ask('POST', `/v1/jobs/${failed}/files`, { files: [{ url, target: api.target('more') }] })
  await checked.ask('POST', `/v1/jobs/${failed}/take-ownership`)
  await checked.ask('POST', `/v1/jobs/${failed}/resume`)
  await checked.ask('POST', `/v1/jobs/${failed}/cancel`)
  await checked.ask('GET', '/v1/jobs/00000000-0000-4000-8000-000000000000')

  const events = JOB_ROUTES.find(({ path }) => path === '/v1/events')
  checked.asked.add('GET /v1/events')
  const stream = await openStream(api.socketPath, '/v1/events?after=0&progress=true')
  const kinds = new Set<string>()
  for await (const { id: eventId, event, data } of decodeSentEvents(stream)) {
    if (data === '') continue
    const found = JSON.parse(data) as { kind: string; id?: number; state?: string; job: string }
    kinds.add(event)
    t.equal(event, found.kind)
    t.equal(eventId, found.id === undefined ? null : String(found.id))
    checked.isAs(events?.answer.schema ?? null, found, `event ${event}`)
    if (found.job === failed && found.state === 'cancelled') break
  }
  t.ok(kinds.has('created') && kinds.has('state') && kinds.has('file-transferred') && kinds.has('files-added'))
  t.same([...checked.asked].sort(), JOB_ROUTES.map(({ method, path }) => `${method} ${path}`).sort(), 'all of them')
})
