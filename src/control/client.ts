/**
 * The typed client of the control API. Its `fetch` is shaped as Agent.fetch, so that commands need not know whether they
 * talk to a daemon or run an agent themselves.
 */
import { Client, type Dispatcher } from 'undici'
import { verifySegment } from '../content/verify.ts'
import { abortError, ERROR_TABLE, type ErrorCode, isShorthaulError, ShorthaulError } from '../errors.ts'
import type { Delivery, TransferEvent, TransferRequest, TransferResult } from '../transfer/request.ts'
import { decodeFrames } from './frames.ts'

/** No answer within this long: nobody is there. A fetch may be silent for longer once it was accepted. */
const ANSWER_TIMEOUT_MS = 10_000
const VERIFY_TIMEOUT_MS = 24 * 3600 * 1000
/** More than the server reads: a longer part is not resumed through the socket. */
const MAX_LEFT_OVER = 100_000

export class ControlClient {
  readonly socketPath: string
  readonly #client: Client

  private constructor(socketPath: string) {
    this.socketPath = socketPath
    this.#client = new Client('http://agent', {
      socketPath,
      headersTimeout: ANSWER_TIMEOUT_MS,
      bodyTimeout: 0,
      pipelining: 0,
    })
  }

  /** @returns null when nobody answers on the socket */
  static async connect(socketPath: string): Promise<ControlClient | null> {
    const client = new ControlClient(socketPath)
    try {
      await client.get('/v1/status')
      return client
    } catch (error) {
      await client.close()
      if (isShorthaulError(error, 'SHORTHAUL_CONTROL_IO')) return null
      throw error
    }
  }

  async get(path: string): Promise<unknown> {
    return this.#json({ method: 'GET', path })
  }

  async post(path: string, body: unknown, options: { readonly signal?: AbortSignal } = {}): Promise<unknown> {
    return this.#json({
      method: 'POST',
      path,
      body: JSON.stringify(body),
      headersTimeout: path === '/v1/cache/verify' ? VERIFY_TIMEOUT_MS : 120_000,
      ...(options.signal ? { signal: options.signal } : {}),
    })
  }

  /** @see Agent.fetch; also @throws SHORTHAUL_CONTROL_IO when the agent goes away */
  async fetch(
    request: TransferRequest,
    delivery: Delivery,
    options: { readonly signal?: AbortSignal; readonly onEvent?: (event: TransferEvent) => void } = {},
  ): Promise<TransferResult> {
    const { signal } = options
    const answers = new Client('http://agent', { socketPath: this.socketPath, pipelining: 0 })
    try {
      const leftOver = await delivery.leftOver()
      const response = await this.#client.request({
        method: 'POST',
        path: '/v1/fetch',
        body: JSON.stringify({
          request,
          leftOver: leftOver.length > MAX_LEFT_OVER ? [] : leftOver,
          isInOrder: delivery.windowEnd() !== Number.POSITIVE_INFINITY,
        }),
        ...(signal ? { signal } : {}),
      })
      if (response.statusCode !== 200) throw errorOf(await response.body.json())
      return await this.#play(response.body, delivery, { ...options, answers })
    } catch (error) {
      if (signal?.aborted) throw abortError(signal)
      throw isShorthaulError(error) ? error : lost(error)
    } finally {
      await delivery.abandon()
      await answers.destroy()
    }
  }

  async close(): Promise<void> {
    await this.#client.destroy()
  }

  async #play(
    body: AsyncIterable<Uint8Array>,
    delivery: Delivery,
    options: { readonly onEvent?: (event: TransferEvent) => void; readonly answers: Client },
  ): Promise<TransferResult> {
    let id = ''
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
          // The daemon verified it; the hash here makes the type, and would catch a fault on the way.
          await delivery.write(frame.index, verifySegment(frame.bytes, null))
          break
        case 'restart':
          await delivery.restart()
          break
        case 'digest': {
          const sha256 = await delivery.digest(frame.lengthBytes)
          await options.answers.request({
            method: 'POST',
            path: `/v1/fetch/${id}/digest`,
            body: JSON.stringify({ sha256 }),
          })
          break
        }
        case 'complete':
          await delivery.complete(frame.lengthBytes)
          break
        case 'event':
          options.onEvent?.(frame.event)
          break
        case 'result':
          return frame.result
        case 'error':
          throw errorOf(frame)
      }
    }
    throw lost(undefined)
  }

  async #json(options: Omit<Dispatcher.RequestOptions, 'origin'>): Promise<unknown> {
    let response: Dispatcher.ResponseData
    try {
      response = await this.#client.request(options)
    } catch (cause) {
      throw lost(cause)
    }
    const body: unknown = await response.body.json()
    if (response.statusCode !== 200) throw errorOf(body)
    return body
  }
}

function lost(cause: unknown): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_CONTROL_IO', 'Cannot talk to the local agent: the connection broke', { cause })
}

function errorOf(body: unknown): ShorthaulError {
  const { code, message, retryable, details } = Object(body) as Record<string, unknown>
  if (typeof code !== 'string' || !(code in ERROR_TABLE) || typeof message !== 'string') return lost(body)
  return new ShorthaulError(code as ErrorCode, message, {
    ...(typeof retryable === 'boolean' ? { retryable } : {}),
    details: Object(details) as Record<string, unknown>,
  })
}
