/**
 * Run as another user: tries what it is told, and says what came of it. `other-user.ts SOCKET ORDERS`
 *
 * ORDERS is JSON: routes to ask on the public socket, before and after the user proved who it is, and things to do to files.
 */
import {
  chmodSync,
  closeSync,
  constants,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { request as httpRequest } from 'node:http'
import { connect, createServer } from 'node:net'

export interface Orders {
  readonly routes: readonly { readonly method: string; readonly path: string }[]
  readonly files: readonly FileOrder[]
}

export interface FileOrder {
  readonly do: 'read' | 'list' | 'write' | 'make' | 'remove' | 'rename' | 'chmod' | 'link' | 'connect' | 'listen'
  readonly path: string
}

export interface Tried {
  readonly status: number
  readonly code: string | null
  readonly body: string
}

export interface Outcome {
  /** By `METHOD path`. */
  readonly unknown: Readonly<Record<string, Tried>>
  readonly known: Readonly<Record<string, Tried>>
  /** By `do path`: the system's code, or `done`. */
  readonly files: Readonly<Record<string, string>>
}

const [socketPath = '', text = '{}'] = process.argv.slice(2)
const orders = JSON.parse(text) as Orders

function ask(method: string, path: string, token: string | null): Promise<Tried> {
  const headers = token === null ? {} : { authorization: `Bearer ${token}` }
  return new Promise((resolve, reject) => {
    const request = httpRequest({ socketPath, path, method, agent: false, headers })
    request.once('error', reject)
    request.once('response', (response) => {
      let body = ''
      const end = () => {
        const code = /"code":"(SHORTHAUL_\w+)"/.exec(body)?.[1] ?? null
        resolve({ status: response.statusCode ?? 0, code, body: body.slice(0, 20_000) })
      }
      response.on('data', (chunk: Buffer) => {
        body += chunk.toString()
        // A stream of events does not end by itself: its head says that it was let in.
        if (/event-stream/.test(response.headers['content-type'] ?? '')) response.destroy()
      })
      response.once('close', end)
    })
    request.end(method === 'GET' ? undefined : '{}')
  })
}

async function session(): Promise<string> {
  const challenge = JSON.parse((await ask('POST', '/v1/session', null)).body) as Record<'id' | 'path' | 'token', string>
  writeFileSync(challenge.path, challenge.token, { mode: 0o600, flag: 'wx' })
  const proved = JSON.parse((await ask('POST', `/v1/session/${challenge.id}`, null)).body) as { token: string }
  return proved.token
}

async function all(token: string | null): Promise<Record<string, Tried>> {
  const found: Record<string, Tried> = {}
  for (const { method, path } of orders.routes) found[`${method} ${path}`] = await ask(method, path, token)
  return found
}

function reach(path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => {
      socket.destroy()
      resolve()
    })
    socket.once('error', reject)
  })
}

function listen(path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(path, () => {
      server.close()
      resolve()
    })
  })
}

async function act({ do: verb, path }: FileOrder): Promise<void> {
  const mine = '/tmp/shorthaul-other-user'
  switch (verb) {
    case 'read':
      readFileSync(path)
      return
    case 'list':
      readdirSync(path)
      return
    case 'write':
      closeSync(openSync(path, constants.O_WRONLY))
      return
    case 'make':
      writeFileSync(path, 'planted', { flag: 'wx' })
      return
    case 'remove':
      unlinkSync(path)
      return
    case 'rename':
      renameSync(path, `${path}.moved`)
      return
    case 'chmod':
      chmodSync(path, 0o777)
      return
    case 'link':
      symlinkSync(mine, path)
      linkSync(path, `${path}.second`)
      return
    case 'connect':
      return reach(path)
    case 'listen':
      return listen(path)
  }
}

const files: Record<string, string> = {}
for (const order of orders.files) {
  const key = `${order.do} ${order.path}`
  try {
    await act(order)
    files[key] = 'done'
  } catch (error) {
    files[key] = (error as NodeJS.ErrnoException).code ?? String(error)
  }
}
const unknown = orders.routes.length === 0 ? {} : await all(null)
const known = orders.routes.length === 0 ? {} : await all(await session())
process.stdout.write(JSON.stringify({ unknown, known, files } satisfies Outcome))
