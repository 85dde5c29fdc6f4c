/**
 * The control API: HTTP over unix sockets, and over TCP where that is wanted. Who may do what is decided by which of them
 * was reached (doors.ts): the socket in the data directory (0700) admits its owner to everything; the public one of a
 * system daemon every local user to fetching and looking, and to jobs once they said who they are.
 *
 * Finds the route and answers; what the routes do is in job-routes.ts, agent-routes.ts and session-routes.ts.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { dirname, join } from 'node:path'
import type { Logger } from 'pino'
import { systemClock } from '../clock.ts'
import { isShorthaulError, ShorthaulError } from '../errors.ts'
import { agentRoutes } from './agent-routes.ts'
import { BRANCH_ROUTES } from './branch-routes.ts'
import type { ControlledAgent } from './controlled-agent.ts'
import {
  askerOnOwnSocket,
  askerOnPort,
  askerOnPublicSocket,
  type ControlPort,
  type ControlSocket,
  unknownAsker,
} from './doors.ts'
import { Fetches } from './fetches.ts'
import { JOB_ROUTES } from './job-routes.ts'
import { listenOnPort, listenOnSocket, openToAll } from './listen.ts'
import { openApiRoute } from './openapi.ts'
import { asShorthaul, Refusal, sendProblem } from './problem.ts'
import { parse, parseQuery } from './requests.ts'
import { type Exchange, type Match, type Route, RouteTable } from './route.ts'
import { CHALLENGES_DIR } from './session-client.ts'
import { SESSION_ROUTES } from './session-routes.ts'
import { Sessions } from './sessions.ts'

export type { ControlledAgent } from './controlled-agent.ts'
export type { ControlPort, ControlSocket } from './doors.ts'

const MAX_CONNECTIONS = 256
const BODY_TIMEOUT_MS = 10_000
/** How many times as long as allowed a body may be to be told so; a longer one loses its connection. */
const PATIENCE = 8

export interface ControlComponents {
  readonly agent: ControlledAgent
  readonly log: Logger
  /** Called when a daemon wants this agent's place. Without it the daemon waits. */
  readonly onHandover?: (() => void) | null
}

export class ControlServer {
  readonly #agent: ControlledAgent
  readonly #log: Logger
  readonly #servers: Server[] = []
  readonly #urls: string[] = []
  readonly #stop = new AbortController()
  readonly #routes: RouteTable
  readonly #tasks = new Set<Promise<void>>()

  private constructor(components: ControlComponents) {
    this.#agent = components.agent
    this.#log = components.log.child({ module: 'control' })
    const fetches = new Fetches({ log: this.#log, stop: this.#stop.signal })
    const routes: readonly Route[] = [
      ...agentRoutes(fetches, components),
      ...BRANCH_ROUTES,
      ...JOB_ROUTES,
      ...SESSION_ROUTES,
      openApiRoute(() => routes),
    ]
    this.#routes = new RouteTable(routes)
  }

  /**
   * Listens on all of them. A socket file that nobody answers on is replaced.
   * @throws SHORTHAUL_DATA_DIR_IN_USE when another agent answers there, SHORTHAUL_PORT_IN_USE, SHORTHAUL_STORE_IO
   */
  static async open(
    components: ControlComponents,
    doors: readonly (ControlSocket | ControlPort)[],
  ): Promise<ControlServer> {
    const control = new ControlServer(components)
    try {
      for (const door of doors) {
        if ('path' in door) await control.#openSocket(door)
        else await control.#openPort(door)
      }
      return control
    } catch (error) {
      await control.close()
      throw error
    }
  }

  /** Where it listens on TCP, as `http://HOST:PORT`. */
  get urls(): readonly string[] {
    return this.#urls
  }

  /** Ends all requests; running fetches end with SHORTHAUL_CONTROL_IO at their clients, which are told why. Idempotent. */
  async close(reason = new ShorthaulError('SHORTHAUL_CONTROL_IO', 'The agent is closing')): Promise<void> {
    this.#stop.abort(reason)
    await Promise.allSettled(this.#tasks)
    for (const server of this.#servers) {
      server.closeAllConnections()
      if (server.listening) await new Promise<void>((resolve) => server.close(() => resolve()))
    }
    this.#servers.length = 0
  }

  async #openSocket({ path, access }: ControlSocket): Promise<void> {
    const { user } = this.#agent
    let sessions: Sessions | null = null
    const server = this.#newServer(({ headers }) => ({
      asker: access === 'owner' ? askerOnOwnSocket(user) : askerOnPublicSocket(headers, sessions),
      sessions,
    }))
    await listenOnSocket(server, path)
    if (access === 'owner') return
    // Only now, because the directory may be that of another agent that answers here; and before others get in.
    sessions = await this.#openSessions(join(dirname(path), CHALLENGES_DIR))
    await openToAll(path)
  }

  async #openPort(port: ControlPort): Promise<void> {
    const { user } = this.#agent
    const server = this.#newServer(({ headers }) => ({ asker: askerOnPort(headers, port, user), sessions: null }))
    const bound = await listenOnPort(server, port)
    this.#urls.push(`http://${port.host.includes(':') ? `[${port.host}]` : port.host}:${bound}`)
  }

  /** Null: others have no jobs then, and may do what they may without saying who they are. */
  async #openSessions(dir: string): Promise<Sessions | null> {
    if (process.platform === 'win32') return null
    try {
      return await Sessions.open({ clock: systemClock, user: this.#agent.user }, dir)
    } catch (err) {
      this.#log.warn({ err }, 'no sessions on the public socket: other users cannot have jobs')
      return null
    }
  }

  /** @param identify throws what is answered instead */
  #newServer(identify: (request: IncomingMessage) => Pick<Exchange, 'asker' | 'sessions'>): Server {
    const server = createServer({ requestTimeout: 0 }, (request, response) => this.#accept(request, response, identify))
    server.maxConnections = MAX_CONNECTIONS
    // Before, it is said by who wants to listen.
    server.once('listening', () => {
      server.on('error', (err) => this.#log.error({ err }, 'the control server failed'))
    })
    this.#servers.push(server)
    return server
  }

  #accept(
    request: IncomingMessage,
    response: ServerResponse,
    identify: (request: IncomingMessage) => Pick<Exchange, 'asker' | 'sessions'>,
  ): void {
    const gone = new AbortController()
    response.on('close', () => {
      if (!response.writableFinished) gone.abort(new ShorthaulError('SHORTHAUL_ABORTED', 'The client went away'))
    })
    response.on('error', () => gone.abort(new ShorthaulError('SHORTHAUL_ABORTED', 'The client went away')))
    const signal = AbortSignal.any([gone.signal, this.#stop.signal])
    const answered = async () => {
      await this.#answer({ request, response, agent: this.#agent, ...identify(request), signal })
    }
    const task = answered()
      .catch((error: unknown) => this.#fail(response, error))
      .finally(() => this.#tasks.delete(task))
    this.#tasks.add(task)
  }

  async #answer(exchange: Exchange): Promise<void> {
    const { request, response } = exchange
    const target = request.url ?? '/'
    if (!URL.canParse(target, 'http://agent')) throw new Refusal(400, 'Cannot read the request: its target is no path')
    const { pathname, searchParams } = new URL(target, 'http://agent')
    const { route, params } = this.#find(request.method ?? 'GET', pathname)
    admit(route, exchange)
    const query = route.query ? parseQuery(route.query, searchParams) : undefined
    const body = route.body ? parse(route.body.schema, await readJson(request, route.body.maxBytes)) : undefined
    const answer = await route.handle(exchange, { params, query, body })
    if (answer === null) return
    response.writeHead(answer.status ?? 200, { 'content-type': 'application/json', ...answer.headers })
    response.end(JSON.stringify(answer.body))
  }

  #find(method: string, path: string): Match {
    const found = this.#routes.find(method, path)
    if ('route' in found) return found
    if (found.length === 0) throw new Refusal(404, `Cannot ${method} ${path}: there is no such route`)
    const allow = found.join(', ')
    throw new Refusal(405, `Cannot ${method} ${path}: expected ${allow}`, { headers: { allow } })
  }

  #fail(response: ServerResponse, error: unknown): void {
    if (!isShorthaulError(error)) this.#log.error({ err: error }, 'request failed unexpectedly')
    if (response.headersSent) {
      response.destroy()
      return
    }
    sendProblem(response, asShorthaul(error))
  }
}

/** @throws SHORTHAUL_FORBIDDEN with 401 when it is not known who asks, 403 when it is */
function admit({ who, method, path }: Match['route'], { asker }: Exchange): void {
  if (who === 'anyone' || asker.access === 'owner') return
  if (who === 'owner') {
    throw new ShorthaulError('SHORTHAUL_FORBIDDEN', `Cannot ${method} ${path}: only the owner of the agent may`)
  }
  if (asker.caller !== null) return
  throw unknownAsker(`${method} ${path} needs a session; POST /v1/session says how to begin one`)
}

/** Reads a bounded body within a deadline. @throws SHORTHAUL_USAGE */
async function readJson(request: IncomingMessage, maxBytes: number): Promise<unknown> {
  const type = request.headers['content-type'] ?? 'application/json'
  if (!/^application\/(?:[\w.-]+\+)?json *(?:;|$)/i.test(type)) {
    throw new Refusal(415, `Cannot read the request: its body is ${type.slice(0, 100)}, expected application/json`)
  }
  const chunks: Buffer[] = []
  let bytes = 0
  const timer = setTimeout(() => request.destroy(), BODY_TIMEOUT_MS)
  try {
    for await (const chunk of request) {
      bytes += (chunk as Buffer).byteLength
      if (bytes <= maxBytes) chunks.push(chunk as Buffer)
      // To its end, because whoever is still sending does not listen; but not for ever.
      else if (bytes > PATIENCE * maxBytes) break
    }
    if (bytes > maxBytes) throw new Refusal(413, `Cannot read the request: more than ${maxBytes} bytes`)
    return JSON.parse(Buffer.concat(chunks).toString('utf8')) as unknown
  } catch (cause) {
    if (isShorthaulError(cause)) throw cause
    throw new ShorthaulError('SHORTHAUL_USAGE', 'Cannot read the request: its body is not JSON', { cause })
  } finally {
    clearTimeout(timer)
  }
}
