/**
 * The origin of the lab, a process of its own: real HTTP/1.1 over generated content, with strong ETag, Last-Modified,
 * Range, If-Range, If-Match, If-None-Match and HEAD.
 *
 *   node --import=./test/support/ts.mjs origin-main.ts ADDRESS PORT CONTROL_SOCKET [SETTINGS]
 *
 * One JSON line per request on stdout when it ends. Control is HTTP on a unix socket (any namespace reaches it, and it
 * costs the WAN nothing): GET /control/log, POST /control/reset, POST /control/set with any of the fields of Settings.
 *
 * Content bytes are counted when the kernel has taken them; what a broken connection held back is counted in full.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { systemClock } from '../../src/clock.ts'
import { type GeneratedContent, generate, parsePath } from './generated-content.ts'

interface Settings {
  generation: number
  /** Switch to the next generation once this many content bytes have been sent since the setting; then null again. */
  nextGenerationAfterBytes: number | null
  /** When the generation changes, answers of the old one are cut off, as by a server that restarts. */
  cutOnChange: boolean
  /** Of each connection. */
  rateBytesPerSec: number | null
  ranges: boolean
  head: boolean
  /** Every request is answered with 503 and this Retry-After; null: it is not. */
  retryAfterSeconds: number | null
  /** Every request is answered with this status, and with the Retry-After above where there is one; null: it is not. */
  failStatus: number | null
  /** Of single paths; all others have `generation`. */
  generationByPath: Readonly<Record<string, number>>
  /** Each answer is cut off after so many bytes of its body; null: it is not. */
  cutAfterBytes: number | null
}

interface Tally {
  requests: number
  contentBytes: number
}

const settings: Settings = {
  generation: 1,
  nextGenerationAfterBytes: null,
  cutOnChange: false,
  rateBytesPerSec: null,
  ranges: true,
  head: true,
  retryAfterSeconds: null,
  failStatus: null,
  generationByPath: {},
  cutAfterBytes: null,
}
const total: Tally = { requests: 0, contentBytes: 0 }
const byPath = new Map<string, Tally>()
const byRemote = new Map<string, Tally>()

function tallyOf(tallies: Map<string, Tally>, key: string): Tally {
  const tally = tallies.get(key) ?? { requests: 0, contentBytes: 0 }
  tallies.set(key, tally)
  return tally
}

function countSent(tallies: readonly Tally[], bytes: number): void {
  for (const tally of tallies) tally.contentBytes += bytes
  if (settings.nextGenerationAfterBytes === null) return
  settings.nextGenerationAfterBytes -= bytes
  if (settings.nextGenerationAfterBytes > 0) return
  settings.nextGenerationAfterBytes = null
  settings.generation += 1
}

interface Validators {
  readonly etag: string
  readonly lastModified: string
}

function validatorsOf(content: GeneratedContent): Validators {
  const lastModified = new Date(Date.UTC(2026, 0, 1, content.generation)).toUTCString()
  return { etag: `"g${content.generation}-${content.seed}-${content.bytes}"`, lastModified }
}

/** Half-open; undefined: the whole; null: not satisfiable. Several ranges are answered with the whole. */
function rangeOf(
  request: IncomingMessage,
  bytes: number,
  validators: Validators,
): { start: number; end: number } | undefined | null {
  const match = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? '')
  if (!match || !settings.ranges || (match[1] === '' && match[2] === '')) return undefined
  const ifRange = request.headers['if-range']
  if (ifRange !== undefined && ifRange !== validators.etag && ifRange !== validators.lastModified) return undefined
  if (match[1] === '') {
    const suffixBytes = Number(match[2])
    return suffixBytes === 0 ? null : { start: Math.max(0, bytes - suffixBytes), end: bytes }
  }
  const start = Number(match[1])
  const end = match[2] === '' ? bytes : Math.min(bytes, Number(match[2]) + 1)
  return start < end ? { start, end } : null
}

function matches(header: string | string[] | undefined, etag: string): boolean {
  return String(header ?? '')
    .split(',')
    .some((one) => one.trim() === etag || one.trim() === '*')
}

type Plan =
  | { readonly status: 200 | 206; readonly content: GeneratedContent; readonly start: number; readonly end: number }
  | { readonly status: number; readonly headers: Record<string, string> }

function generationOf(path: string): number {
  return settings.generationByPath[path] ?? settings.generation
}

/** What RFC 9110 says to answer, preconditions in its order. */
function planAnswer(request: IncomingMessage, path: string): Plan {
  const { retryAfterSeconds, failStatus } = settings
  if (retryAfterSeconds !== null || failStatus !== null) {
    const headers = retryAfterSeconds === null ? {} : { 'retry-after': String(retryAfterSeconds) }
    return { status: failStatus ?? 503, headers }
  }
  if (request.method !== 'GET' && !(request.method === 'HEAD' && settings.head)) return { status: 405, headers: {} }
  const resource = parsePath(path)
  if (!resource) return { status: 404, headers: {} }
  const content = { ...resource, generation: generationOf(path) }
  const validators = validatorsOf(content)
  const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = request.headers
  if (ifMatch !== undefined && !matches(ifMatch, validators.etag)) return { status: 412, headers: {} }
  if (matches(ifNoneMatch, validators.etag)) return { status: 304, headers: { etag: validators.etag } }
  const range = rangeOf(request, content.bytes, validators)
  if (range === null) return { status: 416, headers: { 'content-range': `bytes */${content.bytes}` } }
  return range ? { status: 206, content, ...range } : { status: 200, content, start: 0, end: content.bytes }
}

function headersOf(content: GeneratedContent, start: number, end: number): Record<string, string> {
  const { etag, lastModified } = validatorsOf(content)
  return {
    'content-type': 'application/octet-stream',
    'content-length': String(end - start),
    etag,
    'last-modified': lastModified,
    'cache-control': 'public, max-age=3600',
    ...(settings.ranges ? { 'accept-ranges': 'bytes' } : {}),
  }
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const startedMs = systemClock.monotonicMs()
  const path = new URL(request.url ?? '/', 'http://origin').pathname
  const remote = request.socket.remoteAddress ?? '?'
  const generation = generationOf(path)
  const tally: Tally = { requests: 1, contentBytes: 0 }
  const tallies = [tally, total, tallyOf(byPath, path), tallyOf(byRemote, remote)]
  for (const one of tallies.slice(1)) one.requests += 1

  const plan = planAnswer(request, path)
  let isComplete = true
  if ('content' in plan) {
    const { content, start, end } = plan
    const headers = headersOf(content, start, end)
    if (plan.status === 206) headers['content-range'] = `bytes ${start}-${end - 1}/${content.bytes}`
    response.writeHead(plan.status, headers)
    if (request.method === 'HEAD') response.end()
    else isComplete = await send(response, { path, generation, body: generate(content, start, end), tallies })
  } else {
    response.writeHead(plan.status, { 'content-length': '0', ...plan.headers }).end()
  }
  const range = 'content' in plan ? { start: plan.start, end: plan.end } : null
  const durationMs = Math.round(systemClock.monotonicMs() - startedMs)
  const fields = {
    method: request.method,
    path,
    remote,
    status: plan.status,
    range,
    generation,
    isComplete,
    durationMs,
  }
  process.stdout.write(`${JSON.stringify({ event: 'request', ...fields, contentBytes: tally.contentBytes })}\n`)
}

interface SendJob {
  readonly path: string
  readonly generation: number
  readonly body: Iterable<Buffer>
  readonly tallies: readonly Tally[]
}

/** At most two buffers of 256 KiB wait for the socket. */
async function send(response: ServerResponse, job: SendJob): Promise<boolean> {
  const { body, tallies } = job
  const closed = new AbortController()
  response.once('close', () => closed.abort())
  response.once('error', () => closed.abort())
  let bytesSent = 0
  for (const buffer of body) {
    if (closed.signal.aborted) return false
    const isOver = settings.cutAfterBytes !== null && bytesSent >= settings.cutAfterBytes
    bytesSent += buffer.length
    if (isOver || (settings.cutOnChange && generationOf(job.path) !== job.generation)) {
      response.destroy()
      return false
    }
    let isCounted = false
    const count = () => {
      if (!isCounted) countSent(tallies, buffer.length)
      isCounted = true
    }
    response.write(buffer, count)
    try {
      if (settings.rateBytesPerSec !== null) {
        await systemClock.sleep((buffer.length * 1000) / settings.rateBytesPerSec, { signal: closed.signal })
      }
      // Asked only now: the socket may have drained during the sleep, and says so once.
      if (response.writableNeedDrain) await once(response, 'drain', { signal: closed.signal })
    } catch {
      count()
      return false
    }
  }
  response.end()
  if (!response.writableFinished) await once(response, 'close').catch(() => undefined)
  return response.writableFinished
}

async function control(request: IncomingMessage, response: ServerResponse): Promise<void> {
  let text = ''
  for await (const part of request.setEncoding('utf8')) text += part
  if (request.url === '/control/set') Object.assign(settings, JSON.parse(text))
  if (request.url === '/control/reset') {
    Object.assign(total, { requests: 0, contentBytes: 0 })
    byPath.clear()
    byRemote.clear()
  }
  const report = { ...total, byPath: Object.fromEntries(byPath), byRemote: Object.fromEntries(byRemote), settings }
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(report))
}

const [address = '127.0.0.1', port = '80', controlSocket = '', initial = '{}'] = process.argv.slice(2)
Object.assign(settings, JSON.parse(initial)) // before it listens: nobody sees others
const server = createServer((request, response) => void answer(request, response))
server.keepAliveTimeout = 60_000
await once(server.listen(Number(port), address), 'listening')
await once(createServer((request, response) => void control(request, response)).listen(controlSocket), 'listening')
process.stdout.write(`${JSON.stringify({ event: 'ready', address, port: Number(port) })}\n`)
