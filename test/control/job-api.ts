/** An agent with jobs behind a control socket, for the tests beside this file. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { pino } from 'pino'
import { Agent } from '../../src/agent/agent.ts'
import { loadConfig } from '../../src/config/load.ts'
import { ControlClient } from '../../src/control/client.ts'
import { ControlServer, type ControlSocket } from '../../src/control/server.ts'
import type { JobId } from '../../src/jobs/job.ts'
import type { JobsApi, JobView } from '../../src/jobs/jobs-api.ts'
import type { JobState } from '../../src/jobs/states.ts'

export interface ApiHome extends AsyncDisposable {
  readonly dir: string
  readonly socketPath: string
  readonly agent: Agent
  closeServer(): Promise<void>
  readonly client: ControlClient
  /** Closes the server and opens another one on the same socket. */
  reopen(): Promise<void>
  /** An absolute path for a target. */
  target(name: string): string
}

/** The caller disposes of it. */
export async function openApi(
  options: {
    readonly access?: ControlSocket['access']
    readonly config?: Readonly<Record<string, unknown>>
    readonly hasJobs?: boolean
  } = {},
): Promise<ApiHome> {
  // Not t.testdir: below it sockets' paths are longer than a system allows.
  const dir = mkdtempSync(join(tmpdir(), 'shorthaul-api-'))
  mkdirSync(join(dir, 'out'))
  const { config } = await loadConfig({
    env: {},
    overrides: { dataDir: join(dir, 'data'), 'cache.minFreeBytes': 0, ...options.config },
    homeDir: dir,
    isRoot: false,
  })
  const agent = await Agent.open({ config, role: 'embedded', usePeers: false, hasJobs: options.hasJobs ?? true })
  const socketPath = join(dir, 'run', 'c.sock')
  const openServer = () =>
    ControlServer.open({ agent, log: pino({ level: 'silent' }) }, [
      { path: socketPath, access: options.access ?? 'owner' },
    ])
  let server = await openServer()
  const client = await ControlClient.connect(socketPath)
  if (client === null) throw new Error('nobody answers')
  return {
    dir,
    socketPath,
    agent,
    client,
    closeServer: () => server.close(),
    reopen: async () => {
      await server.close()
      server = await openServer()
    },
    target: (name) => join(dir, 'out', name),
    [Symbol.asyncDispose]: async () => {
      await client.close()
      await server.close()
      await agent.close()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

export interface RawAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: unknown
}

/** What a client of another make may send. */
export function ask(
  socketPath: string,
  method: string,
  path: string,
  options: { readonly body?: unknown; readonly headers?: Readonly<Record<string, string>> } = {},
): Promise<RawAnswer> {
  const sent =
    options.body === undefined || typeof options.body === 'string' ? options.body : JSON.stringify(options.body)
  return new Promise((resolve, reject) => {
    const request = httpRequest({ socketPath, path, method, agent: false, headers: { ...options.headers } })
    request.once('error', reject)
    request.once('response', (response) => {
      text(response).then((found) => {
        const body: unknown = found === '' ? null : JSON.parse(found)
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body })
      }, reject)
    })
    request.end(sent)
  })
}

/** By its events: resolves when the job is in one of the states, now or later. */
export async function reaches(jobs: JobsApi, id: JobId, states: readonly JobState[]): Promise<JobView> {
  const stop = new AbortController()
  try {
    for await (const _ of jobs.events({ after: 0, job: id, signal: stop.signal })) {
      const job = await jobs.get(id)
      if (states.includes(job.state)) return job
    }
  } finally {
    stop.abort()
  }
  throw new Error('the stream ended')
}

/** An answer that is a stream; ends with its reader. */
export function openStream(socketPath: string, path: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ socketPath, path, agent: false })
    request.on('error', reject)
    request.once('response', resolve)
    request.end()
  })
}
