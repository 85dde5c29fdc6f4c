/**
 * Jobs of an agent at the other end of its control socket: each method is one request. The agent checks everything, so
 * that nothing is checked here. Loads fast, because commands wait for it.
 */
import type { IncomingMessage } from 'node:http'
import { systemClock } from '../clock.ts'
import { ShorthaulError } from '../errors.ts'
import type { JobFile, JobId } from '../jobs/job.ts'
import type {
  CompleteResult,
  FileOrder,
  FilePatch,
  JobEventOptions,
  JobFilePage,
  JobListOptions,
  JobOrder,
  JobPage,
  JobPatch,
  JobStreamEvent,
  JobsApi,
  JobView,
} from '../jobs/jobs-api.ts'
import type { Call } from './client.ts'
import { decodeSentEvents } from './sse.ts'

/** Until the head of the answer: whole jobs are written to disk meanwhile, and turns are ended. */
const WORK_TIMEOUT_MS = 120_000
/** Giving names to files of another file system copies them. */
const COMPLETE_TIMEOUT_MS = 24 * 3600 * 1000
/** The agent sends a comment every 15 s: three that did not come. */
const SILENCE_MS = 45_000
/** After a connection broke that had brought something: at once; then longer each time. */
const RECONNECT_MS = [0, 100, 500, 2000, 5000] as const

export interface JobClientComponents {
  /** As this user. @returns the answer's JSON; @throws the agent's error, SHORTHAUL_CONTROL_IO */
  call(call: Call): Promise<unknown>
  /** The same for an answer that is a stream. */
  open(call: Call): Promise<IncomingMessage>
}

export class JobClient implements JobsApi {
  readonly #c: JobClientComponents

  constructor(components: JobClientComponents) {
    this.#c = components
  }

  async create({ idempotencyKey, ...order }: JobOrder): Promise<JobView> {
    const headers = idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }
    return (await this.#send('POST', '/v1/jobs', order, headers)) as JobView
  }

  async addFiles(id: JobId, files: readonly FileOrder[]): Promise<JobView> {
    return (await this.#send('POST', `${pathOf(id)}/files`, { files })) as JobView
  }

  async list({ states, allUsers, after, limit }: JobListOptions = {}): Promise<JobPage> {
    const query = queryOf({ states: states?.join(','), allUsers, after, limit })
    return (await this.#get(`/v1/jobs${query}`)) as JobPage
  }

  async get(id: JobId): Promise<JobView> {
    return (await this.#get(pathOf(id))) as JobView
  }

  async files(id: JobId, options: { readonly after?: number; readonly limit?: number } = {}): Promise<JobFilePage> {
    return (await this.#get(`${pathOf(id)}/files${queryOf({ ...options })}`)) as JobFilePage
  }

  async set(id: JobId, patch: JobPatch): Promise<JobView> {
    return (await this.#send('PATCH', pathOf(id), patch)) as JobView
  }

  async setFile(id: JobId, index: number, patch: FilePatch): Promise<JobFile> {
    return (await this.#send('PATCH', `${pathOf(id)}/files/${index}`, patch)) as JobFile
  }

  async replacePrefix(id: JobId, prefix: { readonly from: string; readonly to: string }): Promise<number> {
    const answer = await this.#send('POST', `${pathOf(id)}/replace-prefix`, prefix)
    return (answer as { readonly changedCount: number }).changedCount
  }

  suspend(id: JobId): Promise<JobView> {
    return this.#act(id, 'suspend')
  }

  resume(id: JobId): Promise<JobView> {
    return this.#act(id, 'resume')
  }

  cancel(id: JobId): Promise<JobView> {
    return this.#act(id, 'cancel')
  }

  async complete(id: JobId): Promise<CompleteResult> {
    const call = { method: 'POST', path: `${pathOf(id)}/complete`, timeoutMs: COMPLETE_TIMEOUT_MS } as const
    return (await this.#c.call(call)) as CompleteResult
  }

  takeOwnership(id: JobId): Promise<JobView> {
    return this.#act(id, 'take-ownership')
  }

  /**
   * A connection that breaks while the agent lives is opened again, and the stream goes on where it was.
   * @throws SHORTHAUL_CONTROL_IO when the agent is gone
   */
  async *events(options: JobEventOptions): AsyncGenerator<JobStreamEvent> {
    const { signal } = options
    const reading = new AbortController()
    const ended = AbortSignal.any([signal, reading.signal])
    let last: string | null = null
    let brokenCount = 0
    try {
      while (!signal.aborted) {
        const stream = await this.#openEvents(options, last, ended)
        if (stream === null) return
        const openedAtMs = systemClock.monotonicMs()
        try {
          for await (const { id, data } of decodeSentEvents(stream)) {
            if (data !== '') {
              brokenCount = 0
              yield JSON.parse(data) as JobStreamEvent // the agent's own, of the same program
            }
            // Only now: whoever did not take it gets it again.
            last = id ?? last
          }
        } catch {
          // Broken, however it was: what the reader throws does not come here.
        } finally {
          stream.destroy()
        }
        if (systemClock.monotonicMs() - openedAtMs > SILENCE_MS) brokenCount = 0
        const delayMs = RECONNECT_MS[brokenCount++]
        if (delayMs === undefined) throw lost()
        await systemClock.sleep(delayMs, { signal }).catch(() => {})
      }
    } finally {
      reading.abort()
    }
  }

  /** Null: the reader wants no more. */
  async #openEvents(
    options: JobEventOptions,
    last: string | null,
    signal: AbortSignal,
  ): Promise<IncomingMessage | null> {
    const { after, job, allUsers, hasProgress } = options
    const query = queryOf({ after, job, allUsers, progress: hasProgress })
    try {
      const stream = await this.#c.open({
        method: 'GET',
        path: `/v1/events${query}`,
        headers: last === null ? {} : { 'last-event-id': last },
        timeoutMs: WORK_TIMEOUT_MS,
        signal,
      })
      // Of a machine that slept, or an agent that hangs, nothing else would tell.
      stream.setTimeout(SILENCE_MS, () => stream.destroy(new Error(`nothing for ${SILENCE_MS} ms`)))
      return stream
    } catch (error) {
      if (signal.aborted) return null
      throw error
    }
  }

  #get(path: string): Promise<unknown> {
    return this.#c.call({ method: 'GET', path, timeoutMs: WORK_TIMEOUT_MS })
  }

  #send(method: 'POST' | 'PATCH', path: string, body: unknown, headers: Record<string, string> = {}): Promise<unknown> {
    return this.#c.call({ method, path, body, headers, timeoutMs: WORK_TIMEOUT_MS })
  }

  async #act(id: JobId, verb: string): Promise<JobView> {
    return (await this.#c.call({
      method: 'POST',
      path: `${pathOf(id)}/${verb}`,
      timeoutMs: WORK_TIMEOUT_MS,
    })) as JobView
  }
}

function pathOf(id: JobId): string {
  return `/v1/jobs/${encodeURIComponent(id)}`
}

function queryOf(fields: Readonly<Record<string, string | number | boolean | undefined>>): string {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(fields)) if (value !== undefined) query.set(name, String(value))
  return query.size === 0 ? '' : `?${query}`
}

function lost(): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_CONTROL_IO', 'Cannot follow the jobs: the connection to the agent breaks again')
}
