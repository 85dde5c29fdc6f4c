/** One JSON call to an HTTP server on a unix socket: sockets in the file system are reached across network namespaces. */
import { request } from 'node:http'
import { json, text } from 'node:stream/consumers'

const MAX_REFUSAL_CHARS = 500

export interface SocketCall {
  readonly method: 'GET' | 'POST' | 'PATCH'
  readonly path: string
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  /** Default 10,000. */
  readonly timeoutMs?: number
}

/** @throws Error when nobody answers in time, or not with 2xx. */
export function callSocket(socketPath: string, asked: SocketCall): Promise<unknown> {
  const { method, path, body, headers = {}, timeoutMs = 10_000 } = asked
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, method, path, headers, timeout: timeoutMs })
    call.once('response', (response) => {
      if (Math.floor((response.statusCode ?? 0) / 100) === 2) return resolve(json(response))
      const refused = (why: string) =>
        reject(new Error(`${method} ${path} was answered with ${response.statusCode}${why}`))
      text(response).then(
        (body) => refused(`: ${body.slice(0, MAX_REFUSAL_CHARS)}`),
        () => refused(''),
      )
    })
    call.once('timeout', () => call.destroy(new Error(`${socketPath} does not answer`)))
    call.once('error', reject)
    call.end(body === undefined ? undefined : JSON.stringify(body))
  })
}
