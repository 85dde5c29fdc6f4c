/**
 * A scriptable HTTP origin on 127.0.0.1, for every test that needs bytes to come from somewhere.
 *
 * By default a well-behaved static server: strong ETag, old Last-Modified, Range, If-Range, HEAD, Content-Length.
 * `behave()` takes that away per path, at run time. Every request is logged, with the bytes of content that were really
 * written (as told by the socket, so kernel buffers count as written).
 *
 * The key beside this file is public and good for nothing but tests (self-signed for localhost and 127.0.0.1).
 */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { ByteRange } from '../../src/content/segmentation.ts'
import { formatContentRange, parseRange } from '../../src/origin/http-range.ts'
import { bufferContent, type Content, generatedContent } from './generated-content.ts'

export const TEST_CERT_FILE = fileURLToPath(new URL('./test-origin-cert.pem', import.meta.url))
export const TEST_KEY_FILE = fileURLToPath(new URL('./test-origin-key.pem', import.meta.url))

/** 2020-01-01: old enough for Last-Modified to be a strong validator. Each generation is a second younger. */
const FIRST_MODIFIED_MS = Date.UTC(2020, 0, 1)
const CHUNK_BYTES = 64 * 1024

/** What to do wrong; everything is off by default. */
export interface Behaviour {
  /** HEAD answers this status, never answers, closes the connection, or leaves out the length ("0" with 'zero-length'). */
  readonly noHead?: number | 'hangs' | 'closes' | 'no-length' | 'zero-length' | undefined
  /** Range is ignored: always 200 with everything. */
  readonly noRange?: boolean | undefined
  /** No Accept-Ranges field, though ranges work. */
  readonly noAcceptRanges?: boolean | undefined
  /** Chunked, without Content-Length. */
  readonly noLength?: boolean | undefined
  readonly noEtag?: boolean | undefined
  readonly weakEtag?: boolean | undefined
  readonly noLastModified?: boolean | undefined
  /** Last-Modified is now, too young to be a strong validator. */
  readonly youngLastModified?: boolean | undefined
  /** Ranges are served from the current generation whatever If-Range says. */
  readonly noIfRange?: boolean | undefined
  /** The next generation begins after this many bytes of content were sent since `behave()`, even within a body. */
  readonly changeAfterBytes?: number | undefined
  /** Each body ends with a closed connection after this many bytes. */
  readonly cutAfterBytes?: number | undefined
  /** Each body stands still for ever after this many bytes. */
  readonly stallAfterBytes?: number | undefined
  /** Every request gets this status and a short text. */
  readonly status?: number | undefined
  /** Retry-After, with whatever status. */
  readonly retryAfter?: string | undefined
  readonly redirectTo?: string | undefined
  /** 302 unless said otherwise. */
  readonly redirectStatus?: number | undefined
  /** 401 unless Authorization is exactly this. */
  readonly requireAuth?: string | undefined
  readonly cacheControl?: string | undefined
  readonly vary?: string | undefined
  readonly setCookie?: string | undefined
  /** Any other response fields; null removes one that would be sent. */
  readonly fields?: Readonly<Record<string, string | null>> | undefined
  readonly ratePerConnectionBytesPerSec?: number | undefined
  /** What stands from this offset on is not sent before that. */
  readonly holdFrom?: { readonly offset: number; readonly until: Promise<void> } | undefined
  /** The whole answer by hand; the log still has the request. */
  readonly respond?: RequestListener | undefined
}

export interface LoggedRequest {
  readonly method: string
  /** With the query. */
  readonly path: string
  readonly headers: IncomingMessage['headers']
  /** Null until the head of the answer was sent. */
  status: number | null
  /** Of content; 0 for HEAD and for error texts. */
  contentBytesSent: number
  /** True when the answer was finished or its connection is gone. */
  isDone: boolean
}

export interface TestOriginOptions {
  readonly isTls?: boolean
  /** With isTls: connections without a certificate that TEST_CERT_FILE vouches for are refused. */
  readonly requireClientCert?: boolean
}

interface ServedFile {
  content: Content
  generation: number
  /** For the next generations; null: the same bytes under a new ETag. */
  readonly seed: number | null
  behaviour: Behaviour
  bytesSinceBehave: number
}

export class TestOrigin {
  /** Scheme, host and port, without a slash at the end. */
  readonly base: string
  readonly log: LoggedRequest[] = []
  /** Connections accepted so far. */
  connectionCount = 0
  readonly #server: ReturnType<typeof createHttpServer>
  readonly #files = new Map<string, ServedFile>()
  readonly #sockets = new Set<Socket>()
  readonly #freeAtMs = new WeakMap<Socket, number>()
  readonly #watchers = new Set<() => void>()

  private constructor(server: ReturnType<typeof createHttpServer>, base: string) {
    this.#server = server
    this.base = base
    server.on('connection', (socket: Socket) => {
      this.connectionCount++
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      // A client that goes away in the middle is part of the game; anything else is a bug of the test and is shown.
      this.#serve(request, response).catch((error: unknown) =>
        response.destroy(error instanceof Error ? error : undefined),
      )
    })
  }

  static async start(options: TestOriginOptions = {}): Promise<TestOrigin> {
    const isTls = options.isTls ?? false
    const cert = readFileSync(TEST_CERT_FILE)
    const server = isTls
      ? createHttpsServer({
          cert,
          key: readFileSync(TEST_KEY_FILE),
          ca: cert,
          requestCert: options.requireClientCert ?? false,
          rejectUnauthorized: options.requireClientCert ?? false,
        })
      : createHttpServer()
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(0, '127.0.0.1', resolve)
    })
    // Whoever needs it for all tests of a file leaves it to the end of the process.
    server.unref()
    const { port } = server.address() as AddressInfo
    return new TestOrigin(server, `${isTls ? 'https' : 'http'}://127.0.0.1:${port}`)
  }

  /** Serves bytes at a path, which may have a query. @returns the URL */
  serve(
    path: string,
    content: Uint8Array | { readonly seed: number; readonly lengthBytes: number },
    behaviour: Behaviour = {},
  ): string {
    const isGenerated = 'seed' in content
    this.#files.set(path, {
      content: isGenerated ? generatedContent(content.seed, content.lengthBytes) : bufferContent(content),
      generation: 1,
      seed: isGenerated ? content.seed : null,
      behaviour,
      bytesSinceBehave: 0,
    })
    return this.url(path)
  }

  url(path: string): string {
    return `${this.base}${path}`
  }

  /** Changes some of a path's behaviour from the next request (for rates and cuts: the next chunk) on. */
  behave(path: string, behaviour: Behaviour): void {
    const file = this.#file(path)
    file.behaviour = { ...file.behaviour, ...behaviour }
    file.bytesSinceBehave = 0
  }

  /** The next generation: another ETag and Last-Modified; other bytes when they are generated or given. */
  change(path: string, bytes?: Uint8Array): void {
    this.#advance(this.#file(path), bytes)
  }

  /** What the path serves now, to compare with. */
  content(path: string): Content {
    return this.#file(path).content
  }

  etag(path: string): string {
    return `"${path.replaceAll(/[^\w]/g, '-')}-${this.#file(path).generation}"`
  }

  /** Bytes of content sent so far: for one path, or for all. */
  contentBytesSent(path?: string): number {
    return this.log.reduce(
      (sum, each) => sum + (path === undefined || each.path === path ? each.contentBytesSent : 0),
      0,
    )
  }

  requests(path: string, method?: string): LoggedRequest[] {
    return this.log.filter((each) => each.path === path && (method === undefined || each.method === method))
  }

  get openConnectionCount(): number {
    return this.#sockets.size
  }

  /** Resolves as soon as the condition holds; it is looked at whenever something is logged, sent or closed. */
  async until(condition: () => boolean, deadlineMs = 20_000): Promise<void> {
    if (condition()) return
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#watchers.delete(check)
        reject(new Error('The origin never saw what the test waits for'))
      }, deadlineMs)
      const check = () => {
        if (!condition()) return
        clearTimeout(timer)
        this.#watchers.delete(check)
        resolve()
      }
      this.#watchers.add(check)
    })
  }

  /** Closes every connection at once; the next one is refused only after close(). */
  dropConnections(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeAllConnections()
    this.dropConnections()
    await closed
  }

  #file(path: string): ServedFile {
    const file = this.#files.get(path)
    if (!file) throw new Error(`The test origin does not serve ${path}`)
    return file
  }

  #advance(file: ServedFile, bytes?: Uint8Array): void {
    file.generation++
    if (bytes) file.content = bufferContent(bytes)
    else if (file.seed !== null) {
      file.content = generatedContent(file.seed + file.generation * 7919, file.content.lengthBytes)
    }
  }

  #changed(): void {
    for (const check of [...this.#watchers]) check()
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', url: target = '/', headers } = request
    // A proxy gets the absolute form; the test origin doubles as one.
    const path = target.startsWith('/') ? target : target.replace(/^https?:\/\/[^/]*/, '')
    const logged: LoggedRequest = { method, path, headers, status: null, contentBytesSent: 0, isDone: false }
    this.log.push(logged)
    response.on('close', () => {
      logged.status ??= response.headersSent ? response.statusCode : null
      logged.isDone = true
      this.#changed()
    })
    this.#changed()
    request.resume()
    const file = this.#files.get(path)
    if (!file) {
      end(response, 404)
      return
    }
    const { behaviour } = file
    if (behaviour.respond) {
      behaviour.respond(request, response)
      return
    }
    if (method === 'HEAD' && behaviour.noHead === 'hangs') return
    if (method === 'HEAD' && behaviour.noHead === 'closes') {
      request.socket.destroy()
      return
    }
    if (behaviour.retryAfter !== undefined) response.setHeader('retry-after', behaviour.retryAfter)
    const refusal =
      method === 'HEAD' && typeof behaviour.noHead === 'number'
        ? behaviour.noHead
        : behaviour.requireAuth !== undefined && headers.authorization !== behaviour.requireAuth
          ? 401
          : behaviour.redirectTo !== undefined
            ? (behaviour.redirectStatus ?? 302)
            : (behaviour.status ?? (method === 'GET' || method === 'HEAD' ? null : 405))
    this.#describe(file, path, response)
    if (refusal !== null) {
      if (behaviour.redirectTo !== undefined) response.setHeader('location', behaviour.redirectTo)
      end(response, refusal)
      return
    }
    const { content } = file
    const range = this.#range(file, path, headers)
    if (range === 'unsatisfiable') {
      response.setHeader('content-range', formatContentRange(null, content.lengthBytes))
      end(response, 416)
      return
    }
    const { start, end: stop } = range ?? { start: 0, end: content.lengthBytes }
    response.statusCode = range ? 206 : 200
    if (range) response.setHeader('content-range', formatContentRange(range, content.lengthBytes))
    const hidesLength = behaviour.noLength || (method === 'HEAD' && behaviour.noHead === 'no-length')
    const shownLength = method === 'HEAD' && behaviour.noHead === 'zero-length' ? 0 : stop - start
    if (!hidesLength) response.setHeader('content-length', shownLength)
    this.#override(behaviour, response)
    logged.status = response.statusCode
    response.flushHeaders()
    this.#changed()
    if (method === 'HEAD') response.end()
    else await this.#sendBody(file, { start, end: stop }, { request, response, logged })
  }

  #describe(file: ServedFile, path: string, response: ServerResponse): void {
    const { behaviour, generation } = file
    if (!behaviour.noRange && !behaviour.noAcceptRanges) response.setHeader('accept-ranges', 'bytes')
    if (!behaviour.noEtag) response.setHeader('etag', `${behaviour.weakEtag ? 'W/' : ''}${this.etag(path)}`)
    if (!behaviour.noLastModified) response.setHeader('last-modified', lastModified(behaviour, generation))
    if (behaviour.cacheControl !== undefined) response.setHeader('cache-control', behaviour.cacheControl)
    if (behaviour.vary !== undefined) response.setHeader('vary', behaviour.vary)
    if (behaviour.setCookie !== undefined) response.setHeader('set-cookie', behaviour.setCookie)
    this.#override(behaviour, response)
  }

  #override(behaviour: Behaviour, response: ServerResponse): void {
    for (const [name, value] of Object.entries(behaviour.fields ?? {})) {
      if (value === null) response.removeHeader(name)
      else response.setHeader(name, value)
    }
  }

  #range(file: ServedFile, path: string, headers: IncomingMessage['headers']): ByteRange | 'unsatisfiable' | null {
    const { behaviour, content } = file
    if (headers.range === undefined || behaviour.noRange) return null
    const condition = headers['if-range']
    const matches =
      condition === undefined ||
      behaviour.noIfRange ||
      (!behaviour.weakEtag && !behaviour.noEtag && condition === this.etag(path)) ||
      condition === lastModified(behaviour, file.generation)
    return matches ? parseRange(headers.range, content.lengthBytes) : null
  }

  async #sendBody(
    file: ServedFile,
    range: ByteRange,
    exchange: { request: IncomingMessage; response: ServerResponse; logged: LoggedRequest },
  ): Promise<void> {
    const { request, response, logged } = exchange
    for (let offset = range.start; offset < range.end; ) {
      const { cutAfterBytes, stallAfterBytes, changeAfterBytes, ratePerConnectionBytesPerSec, holdFrom } =
        file.behaviour
      const sent = offset - range.start
      if (cutAfterBytes !== undefined && sent >= cutAfterBytes) {
        request.socket.destroy()
        return
      }
      if (stallAfterBytes !== undefined && sent >= stallAfterBytes) return
      if (changeAfterBytes !== undefined && file.bytesSinceBehave >= changeAfterBytes) {
        this.#advance(file)
        file.behaviour = { ...file.behaviour, changeAfterBytes: undefined }
      }
      const limit = Math.min(
        CHUNK_BYTES,
        range.end - offset,
        (cutAfterBytes ?? Number.POSITIVE_INFINITY) - sent,
        (stallAfterBytes ?? Number.POSITIVE_INFINITY) - sent,
        // At a low rate in small steps: about 20 a second.
        Math.max(1, Math.floor((ratePerConnectionBytesPerSec ?? Number.POSITIVE_INFINITY) / 20)),
      )
      if (ratePerConnectionBytesPerSec) await this.#pace(request.socket, limit / ratePerConnectionBytesPerSec)
      if (holdFrom && offset + limit > holdFrom.offset) await Promise.race([holdFrom.until, once(response, 'close')])
      // The content may have become shorter meanwhile; a real server would send what it has, so this one pads.
      const chunk = Buffer.alloc(limit)
      file.content.read(offset, Math.min(offset + limit, file.content.lengthBytes)).copy(chunk)
      if (!(await write(response, chunk))) return
      offset += limit
      logged.contentBytesSent += limit
      file.bytesSinceBehave += limit
      this.#changed()
    }
    // A cut or a stall exactly at the end: the terminating chunk, if any, is missing.
    const { cutAfterBytes, stallAfterBytes } = file.behaviour
    const length = range.end - range.start
    if (cutAfterBytes === length) request.socket.destroy()
    else if (stallAfterBytes !== length) response.end()
  }

  async #pace(socket: Socket, durationSec: number): Promise<void> {
    const nowMs = performance.now()
    const freeAtMs = Math.max(nowMs, this.#freeAtMs.get(socket) ?? 0) + durationSec * 1000
    this.#freeAtMs.set(socket, freeAtMs)
    await delay(freeAtMs - nowMs)
  }
}

export function startTestOrigin(options: TestOriginOptions = {}): Promise<TestOrigin> {
  return TestOrigin.start(options)
}

function lastModified(behaviour: Behaviour, generation: number): string {
  return new Date(behaviour.youngLastModified ? Date.now() : FIRST_MODIFIED_MS + generation * 1000).toUTCString()
}

function end(response: ServerResponse, status: number): void {
  response.statusCode = status
  response.setHeader('content-type', 'text/plain')
  response.end(`${status}\n`)
}

/** False when the connection is gone. */
function write(response: ServerResponse, chunk: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    if (response.destroyed) {
      resolve(false)
      return
    }
    // A destroyed response may drop the callback (Node 20), so 'close' counts too.
    const onClose = () => resolve(false)
    response.once('close', onClose)
    response.write(chunk, (error) => {
      response.off('close', onClose)
      resolve(!error)
    })
  })
}
