/**
 * The control API: HTTP over a unix socket. Who may do what is decided by which socket was reached, because the file
 * system checks that and Node cannot read a peer's credentials: the socket in the data directory (0700) admits its owner
 * to everything; a public socket of a system daemon admits every local user to fetching and looking.
 *
 * Does not know transfers from the inside: it is given the agent's methods.
 */
import { randomUUID } from 'node:crypto'
import { chmod, mkdir, unlink } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { dirname } from 'node:path'
import type { Logger } from 'pino'
import { isShorthaulError, localIoError, ShorthaulError, systemCode } from '../errors.ts'
import type { Delivery, TransferEvent, TransferRequest, TransferResult } from '../transfer/request.ts'
import { RemoteDelivery } from './remote-delivery.ts'
import { type FetchBody, parseFetchBody, parseUrlBody } from './requests.ts'

/** What the API needs of an agent. */
export interface ControlledAgent {
  fetch(
    request: TransferRequest,
    delivery: Delivery,
    options: { signal: AbortSignal; onEvent: (event: TransferEvent) => void; isOwner: boolean },
  ): Promise<TransferResult>
  status(): Promise<unknown>
  diagnoseNetwork(): unknown
  refreshNetwork(): void
  probeOrigin(url: string, options: { signal: AbortSignal; isOwner: boolean }): Promise<unknown>
  cacheEntries(): Promise<readonly unknown[]>
  cacheStat(): Promise<unknown>
  verifyCache(options: { signal: AbortSignal }): Promise<unknown>
  pin(url: string): Promise<number>
  unpin(url: string): Promise<number>
  removeCached(url: string): Promise<number>
}

export interface ControlSocket {
  readonly path: string
  /** `owner`: everything. `public`: fetch, status and doctor, for all local users. */
  readonly access: 'owner' | 'public'
}

const MAX_CONNECTIONS = 256
/** The hashes of a part of 100 GiB; a longer part is not resumed through the socket. */
const MAX_FETCH_BODY_BYTES = 8 * 1024 * 1024
const MAX_BODY_BYTES = 64 * 1024
const BODY_TIMEOUT_MS = 10_000

interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly access: ControlSocket['access']
  readonly path: string
  /** Aborted when the client went away or the server closes. */
  readonly signal: AbortSignal
}

export class ControlServer {
  readonly #agent: ControlledAgent
  readonly #log: Logger
  readonly #servers: { server: Server; path: string }[] = []
  readonly #deliveries = new Map<string, RemoteDelivery>()
  readonly #stop = new AbortController()
  readonly #tasks = new Set<Promise<void>>()

  private constructor(components: { agent: ControlledAgent; log: Logger }) {
    this.#agent = components.agent
    this.#log = components.log.child({ module: 'control' })
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
    const exchange: Exchange = {
      request,
      response,
      access,
      path: new URL(request.url ?? '/', 'http://agent').pathname,
      signal: AbortSignal.any([gone.signal, this.#stop.signal]),
    }
    const task = this.#route(exchange)
      .catch((error: unknown) => this.#fail(response, error))
      .finally(() => this.#tasks.delete(task))
    this.#tasks.add(task)
  }

  async #route(exchange: Exchange): Promise<void> {
    const { request, response, path, signal, access } = exchange
    const agent = this.#agent
    const route = `${request.method} ${path}`
    const digest = /^POST \/v1\/fetch\/([0-9a-f-]{36})\/digest$/.exec(route)
    if (digest?.[1]) return this.#answerDigest(exchange, digest[1])
    switch (route) {
      case 'GET /v1/status':
        return send(response, { access, ...Object(await agent.status()) })
      case 'GET /v1/network':
        return send(response, { network: agent.diagnoseNetwork() })
      case 'POST /v1/network/refresh':
        agent.refreshNetwork()
        return send(response, {})
      case 'POST /v1/origin/probe':
        return send(response, await this.#probe(exchange))
      case 'POST /v1/fetch':
        return this.#fetch(exchange, parseFetchBody(await readJson(exchange, MAX_FETCH_BODY_BYTES)))
    }
    if (access !== 'owner') {
      throw new ShorthaulError('SHORTHAUL_USAGE', `Cannot ${route}: only the owner of the agent may`, {
        details: { status: 403 },
      })
    }
    switch (route) {
      case 'GET /v1/cache':
        return send(response, { entries: await agent.cacheEntries() })
      case 'GET /v1/cache/stat':
        return send(response, await agent.cacheStat())
      case 'POST /v1/cache/verify':
        return send(response, await agent.verifyCache({ signal }))
      case 'POST /v1/cache/pin':
        return send(response, { matched: await agent.pin(parseUrlBody(await readJson(exchange, MAX_BODY_BYTES))) })
      case 'POST /v1/cache/unpin':
        return send(response, { matched: await agent.unpin(parseUrlBody(await readJson(exchange, MAX_BODY_BYTES))) })
      case 'POST /v1/cache/rm':
        return send(response, {
          matched: await agent.removeCached(parseUrlBody(await readJson(exchange, MAX_BODY_BYTES))),
        })
    }
    throw new ShorthaulError('SHORTHAUL_USAGE', `Cannot ${route}: there is no such route`, { details: { status: 404 } })
  }

  async #probe(exchange: Exchange): Promise<unknown> {
    const { access, signal } = exchange
    const url = parseUrlBody(await readJson(exchange, MAX_BODY_BYTES))
    refuseFilesOf(url, access)
    return this.#agent.probeOrigin(url, { signal, isOwner: access === 'owner' })
  }

  async #fetch(exchange: Exchange, body: FetchBody): Promise<void> {
    const { response, signal, access } = exchange
    refuseFilesOf(body.request.url, access)
    const id = randomUUID()
    const { leftOver, isInOrder } = body
    const isWhole = (body.request.ranges ?? null) === null
    const delivery = new RemoteDelivery(response, { leftOver, isInOrder, isWhole, signal })
    this.#deliveries.set(id, delivery)
    response.writeHead(200, { 'content-type': 'application/vnd.shorthaul.fetch' })
    await delivery.send({ frame: 'accepted', id })
    try {
      const result = await this.#agent.fetch(body.request, delivery, {
        signal,
        onEvent: (event) => delivery.tell(event),
        isOwner: access === 'owner',
      })
      await delivery.send({ frame: 'result', result })
    } catch (error) {
      if (response.destroyed) return
      // The agent's own end is not the user's interruption: the client may go on by itself.
      const shown = this.#stop.signal.aborted
        ? new ShorthaulError('SHORTHAUL_CONTROL_IO', 'The agent is closing', { cause: error })
        : error
      if (!isShorthaulError(shown)) this.#log.error({ err: shown }, 'fetch failed unexpectedly')
      const { code, message, retryable, details } = asShorthaul(shown)
      // Waited for: frames leave in turn, and an answer that ended before its last one tells nothing.
      await delivery.send({ frame: 'error', code, message, retryable, details }).catch(() => {})
    } finally {
      this.#deliveries.delete(id)
      response.end()
    }
  }

  async #answerDigest(exchange: Exchange, id: string): Promise<void> {
    const body = await readJson(exchange, MAX_BODY_BYTES)
    const sha256 = typeof body === 'object' && body !== null && 'sha256' in body ? body.sha256 : null
    const delivery = this.#deliveries.get(id)
    if (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256) || !delivery) {
      throw new ShorthaulError('SHORTHAUL_USAGE', 'Cannot take the digest: no such fetch, or not a SHA-256 in hex')
    }
    delivery.digestIs(sha256)
    send(exchange.response, {})
  }

  #fail(response: ServerResponse, error: unknown): void {
    const known = asShorthaul(error)
    if (!isShorthaulError(error)) this.#log.error({ err: error }, 'request failed unexpectedly')
    if (response.headersSent) {
      response.destroy()
      return
    }
    const status = typeof known.details.status === 'number' && known.details.status < 500 ? known.details.status : 400
    response.writeHead(known.code === 'SHORTHAUL_USAGE' ? status : 502, { 'content-type': 'application/json' })
    const { code, message, retryable, details } = known
    response.end(JSON.stringify({ code, message, retryable, details }))
  }
}

/**
 * Our rights to files are not those of whoever asks on a public socket.
 * @throws SHORTHAUL_USAGE
 */
function refuseFilesOf(url: string, access: ControlSocket['access']): void {
  if (access === 'owner' || !URL.canParse(url) || new URL(url).protocol !== 'file:') return
  throw new ShorthaulError(
    'SHORTHAUL_USAGE',
    'Cannot read files for others than the owner of the agent: the command reads them itself',
    { details: { status: 403 } },
  )
}

function asShorthaul(error: unknown): ShorthaulError {
  if (isShorthaulError(error)) return error
  const message = error instanceof Error ? error.message : String(error)
  return new ShorthaulError('SHORTHAUL_CONTROL_IO', `Unexpected failure: ${message}`, { cause: error })
}

function send(response: ServerResponse, body: unknown): void {
  response.writeHead(200, { 'content-type': 'application/json' })
  response.end(JSON.stringify(body))
}

/** Reads a bounded body within a deadline. @throws SHORTHAUL_USAGE */
async function readJson(exchange: Exchange, maxBytes: number): Promise<unknown> {
  const { request } = exchange
  const chunks: Buffer[] = []
  let bytes = 0
  const timer = setTimeout(() => request.destroy(), BODY_TIMEOUT_MS)
  try {
    for await (const chunk of request) {
      bytes += (chunk as Buffer).byteLength
      if (bytes > maxBytes)
        throw new ShorthaulError('SHORTHAUL_USAGE', `Cannot read the request: more than ${maxBytes} bytes`)
      chunks.push(chunk as Buffer)
    }
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
