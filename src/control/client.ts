/**
 * The typed client of the control API. Its `fetch` is shaped as Agent.fetch, so that commands need not know whether they
 * talk to a daemon or run an agent themselves.
 *
 * Every command waits for this file to load: node:http and not undici (5 ms against 130), no zod, and nothing that
 * hashes segments.
 */
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import { json } from 'node:stream/consumers'
import { handedOver } from '../content/verified.ts'
import { abortError, ERROR_TABLE, type ErrorCode, isShorthaulError, ShorthaulError } from '../errors.ts'
import type { JobsApi } from '../jobs/jobs-api.ts'
import type { Delivery, TransferEvent, TransferRequest, TransferResult } from '../transfer/request.ts'
import { decodeFrames } from './frames.ts'
import { JobClient } from './job-client.ts'
import { openSession } from './session-client.ts'

/** No answer within this long: nobody is there. A fetch may be silent for longer once it was accepted. */
const ANSWER_TIMEOUT_MS = 10_000
/** For what the agent asks of others first. */
const WORK_TIMEOUT_MS = 120_000
const VERIFY_TIMEOUT_MS = 24 * 3600 * 1000
/** More than the server reads: a longer part is not resumed through the socket. */
const MAX_LEFT_OVER = 100_000

const CONNECTIONS = {
  keepAlive: true,
  servername: '', // or Node.js makes one of the host, and compiles its pattern of IPv6 addresses for that: 6 ms
}

/** One request to the agent. */
export interface Call {
  readonly method: 'GET' | 'POST' | 'PATCH'
  readonly path: string
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  /** Until the head of the answer. */
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
}

export class ControlClient {
  readonly socketPath: string
  /** Keeps connections; opens a second one when an answer is still running. */
  readonly #connections = new Agent(CONNECTIONS)
  #access: 'owner' | 'public' = 'owner'
  #dataDir: string | null = null
  /** The agent may write into a part of ours. */
  #borrowsParts = false
  #isClosed = false
  /** Says who we are where the socket does not: begun when it is first needed. */
  #session: Promise<string> | null = null
  readonly #jobs: JobsApi

  private constructor(socketPath: string) {
    this.socketPath = socketPath
    this.#jobs = new JobClient({
      call: (call) => this.#json(call, { isOurs: true }),
      open: (call) => this.#open(call),
    })
  }

  /** @returns null when nobody answers on the socket */
  static async connect(socketPath: string): Promise<ControlClient | null> {
    const client = new ControlClient(socketPath)
    try {
      const { access, dataDir, borrowsParts } = Object(await client.get('/v1/status')) as Record<string, unknown>
      if (access === 'public') client.#access = access
      if (typeof dataDir === 'string') client.#dataDir = dataDir
      // One that runs since before an upgrade may not know what that is, and refuses what it does not know.
      client.#borrowsParts = borrowsParts === true
      return client
    } catch (error) {
      await client.close()
      if (isShorthaulError(error, 'SHORTHAUL_CONTROL_IO')) return null
      throw error
    }
  }

  /** What the agent lets us do. */
  get access(): 'owner' | 'public' {
    return this.#access
  }

  /** Where the agent keeps its data, as it says. */
  get dataDir(): string | null {
    return this.#dataDir
  }

  /** The jobs of this user; on a socket that does not tell who asks, the client proves it first. */
  get jobs(): JobsApi {
    return this.#jobs
  }

  async get(path: string): Promise<unknown> {
    return this.#json({ method: 'GET', path, timeoutMs: ANSWER_TIMEOUT_MS })
  }

  async post(path: string, body: unknown, options: { readonly signal?: AbortSignal } = {}): Promise<unknown> {
    const timeoutMs = path === '/v1/cache/verify' ? VERIFY_TIMEOUT_MS : WORK_TIMEOUT_MS
    return this.#json({ method: 'POST', path, body, timeoutMs, signal: options.signal })
  }

  /** @see Agent.fetch; also @throws SHORTHAUL_CONTROL_IO when the agent goes away */
  async fetch(
    request: TransferRequest,
    delivery: Delivery,
    options: { readonly signal?: AbortSignal; readonly onEvent?: (event: TransferEvent) => void } = {},
  ): Promise<TransferResult> {
    const { signal } = options
    let response: IncomingMessage | null = null
    try {
      const leftOver = await delivery.leftOver()
      const isInOrder = delivery.windowEnd() !== Number.POSITIVE_INFINITY
      const part = this.#borrowsParts ? await delivery.offer?.() : undefined
      const body = { request, leftOver: leftOver.length > MAX_LEFT_OVER ? [] : leftOver, isInOrder, part }
      response = await this.#call({ method: 'POST', path: '/v1/fetch', body, timeoutMs: ANSWER_TIMEOUT_MS, signal })
      if (response.statusCode !== 200) throw errorOf(await json(response))
      return await this.#play(response, delivery, options)
    } catch (error) {
      if (signal?.aborted) throw abortError(signal)
      throw isShorthaulError(error) ? error : lost(error)
    } finally {
      response?.destroy()
      await delivery.abandon()
    }
  }

  /** Ends what is under way, streams of events too, with SHORTHAUL_CONTROL_IO. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#connections.destroy()
  }

  async #play(
    body: AsyncIterable<Uint8Array>,
    delivery: Delivery,
    options: { readonly onEvent?: (event: TransferEvent) => void },
  ): Promise<TransferResult> {
    let id = ''
    let result: TransferResult | null = null
    try {
      for await (const frame of decodeFrames(body)) {
        switch (frame.frame) {
          case 'accepted':
            id = frame.id
            break
          case 'begin':
            await delivery.begin(frame)
            break
          case 'keep':
            await delivery.keep(frame.index)
            break
          case 'segment':
            await delivery.write(frame.index, handedOver(frame.bytes))
            break
          case 'restart':
            await delivery.restart()
            break
          case 'digest':
            await this.#tellDigest(id, await delivery.digest(frame.lengthBytes))
            break
          case 'complete':
            await delivery.complete(frame.lengthBytes)
            break
          case 'event':
            options.onEvent?.(frame.event)
            break
          case 'result':
            result = frame.result // and on to the end, after which the connection can be used again
            break
          case 'error':
            throw errorOf(frame)
        }
      }
    } catch (error) {
      if (result === null) throw error // else it is done, however the connection ends
    }
    if (result === null) throw lost(undefined)
    return result
  }

  /** Whoever does not take it is not the agent that asked: that one is gone, and another one answers on its socket. */
  async #tellDigest(id: string, sha256: string): Promise<void> {
    await this.post(`/v1/fetch/${id}/digest`, { sha256 }).catch((error: unknown) => {
      throw lost(error)
    })
  }

  /** @param isOurs the agent has to know who asks */
  async #json(call: Call, { isOurs = false } = {}): Promise<unknown> {
    try {
      const response = isOurs ? await this.#callAsOurselves(call) : await this.#call(call)
      const body: unknown = await json(response)
      if (!isSuccess(response)) throw errorOf(body)
      return body
    } catch (cause) {
      if (call.signal?.aborted) throw abortError(call.signal)
      throw isShorthaulError(cause) ? cause : lost(cause)
    }
  }

  /** An answer that is a stream, as ourselves. The caller destroys it. */
  async #open(call: Call): Promise<IncomingMessage> {
    try {
      const response = await this.#callAsOurselves(call)
      if (isSuccess(response)) return response
      throw errorOf(await json(response))
    } catch (cause) {
      if (call.signal?.aborted) throw abortError(call.signal)
      throw isShorthaulError(cause) ? cause : lost(cause)
    }
  }

  async #callAsOurselves(call: Call): Promise<IncomingMessage> {
    if (this.#access === 'owner') return this.#call(call)
    for (let isNew = false; ; ) {
      if (this.#session === null) {
        isNew = true
        this.#session = openSession((each) => this.#json(each), this.socketPath)
        // The next one tries again; those who wait see the error.
        this.#session.catch(() => (this.#session = null))
      }
      const session = this.#session
      const headers = { ...call.headers, authorization: `Bearer ${await session}` }
      const response = await this.#call({ ...call, headers })
      if (response.statusCode !== 401 || isNew) return response
      // It ran out, or the agent was started anew: nothing was done.
      response.resume()
      if (this.#session === session) this.#session = null
    }
  }

  /** Resolves with the head of the answer; its body is the caller's to read or destroy. */
  #call({ method, path, body, headers, timeoutMs, signal }: Call): Promise<IncomingMessage> {
    // A stream whose connection was closed would open another one.
    if (this.#isClosed) return Promise.reject(lost(new Error('the client is closed')))
    const text = body === undefined ? '' : JSON.stringify(body)
    return new Promise((resolve, reject) => {
      const request = httpRequest({
        socketPath: this.socketPath,
        host: 'agent',
        agent: this.#connections,
        method,
        path,
        headers: {
          ...headers,
          ...(body === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
        },
        ...(signal ? { signal } : {}),
      })
      const timer = setTimeout(() => request.destroy(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs)
      request.once('close', () => clearTimeout(timer))
      request.on('error', reject) // stays: a connection may break after the head, when the body tells
      request.once('response', (response) => {
        clearTimeout(timer)
        resolve(response)
      })
      request.end(text)
    })
  }
}

function lost(cause: unknown): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_CONTROL_IO', 'Cannot talk to the local agent: the connection broke', { cause })
}

function isSuccess({ statusCode = 0 }: IncomingMessage): boolean {
  return statusCode >= 200 && statusCode < 300
}

/** Of a problem (problem.ts) or of the last frame of a fetch. */
function errorOf(body: unknown): ShorthaulError {
  const { code, message, detail = message, retryable, details } = Object(body) as Record<string, unknown>
  if (typeof code !== 'string' || !(code in ERROR_TABLE) || typeof detail !== 'string') return lost(body)
  return new ShorthaulError(code as ErrorCode, detail, {
    ...(typeof retryable === 'boolean' ? { retryable } : {}),
    details: Object(details) as Record<string, unknown>,
  })
}
