/**
 * One table of routes: what there is, who may use it, what goes in and what comes out. The server finds its way by it,
 * and the OpenAPI document is made from it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { z } from 'zod'
import type { Caller } from '../jobs/job-access.ts'
import type { ControlledAgent } from './controlled-agent.ts'
import type { Sessions } from './sessions.ts'

/** Who asks, as far as it is known. */
export interface Asker {
  /** `owner`: everything. `public`: fetch, status and doctor. */
  readonly access: 'owner' | 'public'
  /** Null: somebody of this machine who did not say who. Has no jobs then. */
  readonly caller: Caller | null
}

/** One request and its answer. */
export interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly agent: ControlledAgent
  readonly asker: Asker
  /** Of a public socket; null: it is known who asks, or it cannot be found out. */
  readonly sessions: Sessions | null
  /** Aborted when the client went away or the server closes. */
  readonly signal: AbortSignal
}

export interface Answer {
  /** Default: 200. */
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as JSON. */
  readonly body: unknown
}

/** What a request asks for, checked by the route's schemas. */
interface Input<Query, Body> {
  readonly params: Readonly<Record<string, string>>
  readonly query: Query
  readonly body: Body
}

export type Method = 'GET' | 'POST' | 'PATCH'

export interface RouteBody<Body> {
  readonly schema: z.ZodType<Body>
  readonly maxBytes: number
}

export interface RouteAnswer {
  readonly status: number
  readonly description: string
  /** Default: application/json. */
  readonly contentType?: string
  /** Null: not JSON, or whatever the agent says. */
  readonly schema: z.ZodType | null
  readonly headers?: Readonly<Record<string, string>>
}

export interface RouteOf<Query, Body> {
  readonly method: Method
  /** With names in braces for what varies: `/v1/jobs/{id}`. */
  readonly path: string
  /** `anyone`: who can reach the socket. `user`: who said who they are. `owner`: the agent's user, or an administrator. */
  readonly who: 'anyone' | 'user' | 'owner'
  /** A sentence without its full stop. */
  readonly summary: string
  readonly query?: z.ZodType<Query>
  /** Request header fields that mean something, and what. */
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: RouteBody<Body>
  readonly answer: RouteAnswer
  /** Statuses of errors besides those that every route may answer with. */
  readonly errors?: readonly number[]
  /** Null: it answered by itself. */
  handle(exchange: Exchange, input: Input<Query, Body>): Promise<Answer | null>
}

// Of a table only its own schemas know the types inside.
export type Route = RouteOf<unknown, unknown>

/** Keeps the types of schemas and handler together. */
export function route<Query = undefined, Body = undefined>(definition: RouteOf<Query, Body>): Route {
  return definition as Route // the server calls the handler with what these very schemas made
}

export interface Match {
  readonly route: Route
  readonly params: Readonly<Record<string, string>>
}

/** Finds routes by path. Pure. */
export class RouteTable {
  readonly routes: readonly Route[]
  readonly #patterns: readonly { readonly route: Route; readonly parts: readonly string[] }[]

  constructor(routes: readonly Route[]) {
    this.routes = routes
    this.#patterns = routes.map((each) => ({ route: each, parts: each.path.split('/') }))
  }

  /** @returns the route, or the methods that the path has; none: there is no such path */
  find(method: string, path: string): Match | readonly Method[] {
    const parts = path.split('/')
    const methods: Method[] = []
    for (const { route: candidate, parts: pattern } of this.#patterns) {
      const params = paramsOf(pattern, parts)
      if (params === null) continue
      if (candidate.method === method) return { route: candidate, params }
      methods.push(candidate.method)
    }
    return methods
  }
}

function paramsOf(pattern: readonly string[], parts: readonly string[]): Record<string, string> | null {
  if (pattern.length !== parts.length) return null
  const params: Record<string, string> = {}
  for (const [at, wanted] of pattern.entries()) {
    const found = parts[at] ?? ''
    const name = /^\{(\w+)\}$/.exec(wanted)?.[1]
    if (name === undefined ? wanted !== found : found === '') return null
    if (name !== undefined) params[name] = found
  }
  return params
}
