/** The API as an OpenAPI 3.1 document, made from the table of routes: what the server checks is what it says. */
import { z } from 'zod'
import { AGENT_VERSION } from '../version.ts'
import { PROBLEM } from './job-answers.ts'
import { PROBLEM_TYPE } from './problem.ts'
import { type Route, route } from './route.ts'

type Json = Readonly<Record<string, unknown>>

const INTRODUCTION =
  'HTTP over the unix socket of the agent, or over TCP with a token where control.http is set. The socket in the data ' +
  'directory admits the user of the agent to everything. On the public socket of a system daemon, jobs need a session: ' +
  'POST /v1/session says how. Times ending in `AtMs` are milliseconds since 1970, others durations in milliseconds.'

const WHO: Readonly<Record<Route['who'], string>> = {
  anyone: 'Anyone who can connect.',
  user: 'A user that the agent knows; sees and changes their own jobs, an administrator those of all.',
  owner: 'The user of the agent, or an administrator.',
}

const STATUS_TEXTS: Readonly<Record<number, string>> = {
  400: 'The request is not valid.',
  401: 'The agent does not know who asks.',
  403: 'Known, but not allowed.',
  404: 'There is no such job or file, or it is another user’s.',
  409: 'The state of the job does not allow it, or an idempotency key made something else.',
  413: 'The body is too long.',
  415: 'The body is not JSON.',
  422: 'A target cannot be written.',
  429: 'As many jobs or files as the configuration allows.',
  507: 'The disk is full.',
}

/** @param routes read when the document is asked for: the route itself is one of them */
export function openApiRoute(routes: () => readonly Route[]): Route {
  let made: Json | null = null
  return route({
    method: 'GET',
    path: '/v1/openapi.json',
    who: 'anyone',
    summary: 'This document',
    answer: { status: 200, description: 'OpenAPI 3.1.', schema: z.record(z.string(), z.unknown()) },
    handle: async () => {
      made ??= openApiDocument(routes())
      return { body: made }
    },
  })
}

export function openApiDocument(routes: readonly Route[]): Json {
  const components = new Map<string, unknown>()
  const paths: Record<string, Record<string, unknown>> = {}
  for (const each of routes) {
    paths[each.path] = { ...paths[each.path], [each.method.toLowerCase()]: operationOf(each, components) }
  }
  return {
    openapi: '3.1.0',
    info: { title: 'shorthaul', version: AGENT_VERSION, description: INTRODUCTION },
    servers: [{ url: 'http://localhost', description: 'Whatever the host: the connection is the socket.' }],
    paths,
    components: {
      schemas: Object.fromEntries([...components].sort(([one], [other]) => (one < other ? -1 : 1))),
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', description: 'A session, or the token of control.tokenFile.' },
      },
    },
  }
}

function operationOf(each: Route, components: Map<string, unknown>): Json {
  const { who, summary, body, answer, errors = [] } = each
  const refused = [
    ...(each.query || body ? [400] : []),
    ...(who === 'user' ? [401] : who === 'owner' ? [401, 403] : []),
    ...errors,
  ]
  const problems = [...new Set(refused)].sort((one, other) => one - other)
  const problem = { [PROBLEM_TYPE]: { schema: schemaOf(PROBLEM, components) } }
  const responses: Record<string, unknown> = { [answer.status]: answerOf(each, components) }
  for (const status of problems) {
    responses[status] = { description: STATUS_TEXTS[status] ?? 'It failed.', content: problem }
  }
  responses.default = { description: 'Any other failure; `code` says which.', content: problem }
  return {
    operationId: operationIdOf(each),
    summary,
    description: WHO[who],
    ...(who === 'anyone' ? {} : { security: [{}, { bearer: [] }] }),
    ...parametersOf(each, components),
    ...(body
      ? {
          requestBody: {
            required: true,
            content: { 'application/json': { schema: schemaOf(body.schema, components) } },
          },
        }
      : {}),
    responses,
  }
}

/** `postJobsIdSuspend` */
function operationIdOf({ method, path }: Route): string {
  const words = path.replace('/v1/', '').match(/[A-Za-z]+/g) ?? []
  return method.toLowerCase() + words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('')
}

function answerOf({ answer }: Route, components: Map<string, unknown>): Json {
  const { description, contentType = 'application/json', schema, headers = {} } = answer
  const described = Object.entries(headers).map(([name, text]) => [
    name,
    { description: text, schema: { type: 'string' } },
  ])
  return {
    description,
    ...(described.length > 0 ? { headers: Object.fromEntries(described) } : {}),
    content: { [contentType]: schema === null ? {} : { schema: schemaOf(schema, components) } },
  }
}

function parametersOf({ path, query, headers = {} }: Route, components: Map<string, unknown>): Json {
  const parameters: Json[] = []
  for (const [, name = ''] of path.matchAll(/\{(\w+)\}/g)) {
    const schema = name === 'index' ? { type: 'integer', minimum: 0 } : { type: 'string' }
    parameters.push({ name, in: 'path', required: true, schema })
  }
  if (query) {
    const { properties } = schemaOf(query, components)
    for (const [name, { description, ...schema }] of Object.entries(properties as Record<string, Json>)) {
      parameters.push({
        name,
        in: 'query',
        ...(description === undefined ? {} : { description }),
        ...(schema.type === 'array' ? { style: 'form', explode: false } : {}),
        schema,
      })
    }
  }
  for (const [name, description] of Object.entries(headers)) {
    parameters.push({ name, in: 'header', description, schema: { type: 'string' } })
  }
  return parameters.length === 0 ? {} : { parameters }
}

/** Named schemas become components; others stand where they are used. */
function schemaOf(schema: z.ZodType, components: Map<string, unknown>): Json {
  // `input`: of what is answered nobody must conclude that there will never be a further field.
  const { $schema: _, $defs = {}, ...made } = z.toJSONSchema(schema, { io: 'input', target: 'draft-2020-12' })
  for (const [name, definition] of Object.entries($defs)) components.set(name, moved(definition))
  return moved(made) as Json
}

/** The same with references to where components are in the document. */
function moved(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(moved)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, each]) => [
      name,
      name === '$ref' && typeof each === 'string' ? each.replace('#/$defs/', '#/components/schemas/') : moved(each),
    ]),
  )
}
