/**
 * The control API: HTTP over a unix socket. Who may do what is decided by which socket was reached, because the file
 * system checks that and Node cannot read a peer's credentials: the socket in the data directory (0700) admits its owner
 * to everything; a public socket of a system daemon admits every local user to fetching and looking.
 *
 * Listens, finds the route and answers; what the routes do is in job-routes.ts and agent-routes.ts.
 */
import { chmod, mkdir, unlink } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { dirname } from 'node:path'
import type { Logger } from 'pino'
import { isShorthaulError, localIoError, ShorthaulError, systemCode } from '../errors.ts'
import { agentRoutes } from './agent-routes.ts'
import type { ControlledAgent } from './controlled-agent.ts'
import { Fetches } from './fetches.ts'
import { JOB_ROUTES } from './job-routes.ts'
import { openApiRoute } from './openapi.ts'
import { asShorthaul, Refusal, sendProblem } from './problem.ts'
import { parse, parseQuery } from './requests.ts'
import { type Asker, type Exchange, type Match, type Route, RouteTable } from './route.ts'

export type { ControlledAgent } from './controlled-agent.ts'

export interface ControlSocket {
  readonly path: string
  /** `owner`: everything. `public`: fetch, status and doctor, for all local users. */
  readonly access: 'owner' | 'public'
}

const MAX_CONNECTIONS = 256
const BODY_TIMEOUT_MS = 10_000
/** How many times as long as allowed a body may be to be told so; a longer one loses its connection. */
const PATIENCE = 8

export class ControlServer {
  readonly #agent: ControlledAgent
  readonly #log: Logger
  readonly #servers: { server: Server; path: string }[] = []
  readonly #stop = new AbortController()
  readonly #routes: RouteTable
  readonly #tasks = new Set<Promise<void>>()

  private constructor(components: { agent: ControlledAgent; log: Logger }) {
    this.#agent = components.agent
    this.#log = components.log.child({ module: 'control' })
    const fetches = new Fetches({ log: this.#log, stop: this.#stop.signal })
    const routes: readonly Route[] = [...agentRoutes(fetches), ...JOB_ROUTES, openApiRoute(() => routes)]
    this.#routes = new RouteTable(routes)
  }

  /**
   * Listens on all sockets. A socket file that nobody answers on is replaced.
   * @throws SHORTHAUL_DATA_DIR_IN_USE when another agent answers there, SHORTHAUL_STORE_IO
   */
  static async open(
    components: { agent: ControlledAgent; log: Logger },
    sockets: readonly ControlSocket[],
  ): Promise<ControlServer> {
    const control = new ControlServer(components)
    try {
      for (const socket of sockets) await control.#listen(socket)
      return control
    } catch (error) {
      await control.close()
      throw error
    }
  }

  /** Ends all requests; running fetches end with SHORTHAUL_CONTROL_IO at their clients. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort(new ShorthaulError('SHORTHAUL_CONTROL_IO', 'The agent is closing'))
    await Promise.allSettled(this.#tasks)
    for (const { server } of this.#servers) {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    }
    this.#servers.length = 0
  }

  async #listen(socket: ControlSocket): Promise<void> {
    const { path, access } = socket
    try {
      await mkdir(dirname(path), { recursive: true, mode: 0o755 })
      if (await isAnswering(path)) {
        throw new ShorthaulError(
          'SHORTHAUL_DATA_DIR_IN_USE',
          `Cannot listen on "${path}": another agent answers there`,
          {
            details: { path },
          },
        )
      }
      if (process.platform !== 'win32') await unlink(path).catch(() => {})
      const server = createServer({ requestTimeout: 0 }, (request, response) => this.#accept(request, response, access))
      server.maxConnections = MAX_CONNECTIONS
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen(path, () => {
          server.off('error', reject)
          resolve()
        })
      })
      server.on('error', (err) => this.#log.error({ err }, 'control socket failed'))
      this.#servers.push({ server, path })
      if (process.platform !== 'win32') await chmod(path, access === 'public' ? 0o666 : 0o600)
    } catch (cause) {
      if (isShorthaulError(cause)) throw cause
      throw localIoError('listen on', path, cause, 'SHORTHAUL_STORE_IO')
    }
  }

  #accept(request: IncomingMessage, response: ServerResponse, access: ControlSocket['access']): void {
    const gone = new AbortController()
    response.on('close', () => {
      if (!response.writableFinished) gone.abort(new ShorthaulError('SHORTHAUL_ABORTED', 'The client went away'))
    })
    response.on('error', () => gone.abort(new ShorthaulError('SHORTHAUL_ABORTED', 'The client went away')))
    const signal = AbortSignal.any([gone.signal, this.#stop.signal])
    const task = this.#answer({ request, response, agent: this.#agent, asker: this.#askerOf(access), signal })
      .catch((error: unknown) => this.#fail(response, error))
      .finally(() => this.#tasks.delete(task))
    this.#tasks.add(task)
  }

  #askerOf(access: ControlSocket['access']): Asker {
    return access === 'owner' ? { access, caller: this.#agent.user } : { access, caller: null }
  }

  async #answer(exchange: Exchange): Promise<void> {
    const { request, response } = exchange
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://agent')
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
  throw new Refusal(401, `Cannot ${method} ${path}: the agent does not know who asks`, { code: 'SHORTHAUL_FORBIDDEN' })
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

function isAnswering(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    socket.setTimeout(1000, () => {
      socket.destroy()
      resolve(true) // somebody holds it open but is too busy to accept
    })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', (error) => {
      const code = systemCode(error)
      if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTSOCK') resolve(false)
      else reject(error)
    })
  })
}
