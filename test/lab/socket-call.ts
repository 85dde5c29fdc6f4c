/** One JSON call to an HTTP server on a unix socket: sockets in the file system are reached across network namespaces. */
import { request } from 'node:http'
import { json, text } from 'node:stream/consumers'

const MAX_REFUSAL_CHARS = 500

export interface SocketCall {
  readonly method: 'GET' | 'POST' | 'PATCH'
  readonly path: string
  readonly body?: unknown
}

/** @throws Error when nobody answers within 10 s, or not with 2xx. */
export function callSocket(socketPath: string, { method, path, body }: SocketCall): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, method, path, timeout: 10_000 })
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
