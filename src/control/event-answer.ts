/** The events of jobs as an answer that ends with its client. At the client's pace: nothing is queued for a slow one. */
import type { ServerResponse } from 'node:http'
import { systemClock } from '../clock.ts'
import type { JobEventOptions, JobsApi } from '../jobs/jobs-api.ts'
import type { Exchange } from './route.ts'
import { encodeSentEvent, KEEP_ALIVE } from './sse.ts'

/** Also what tells us that a client is gone without a word. */
const KEEP_ALIVE_MS = 15_000
/** After which a browser connects again. */
const RETRY_LINE = 'retry: 1000\n'

/** Ends when the client goes or the server closes; @throws before the head what `events` refuses */
export async function sendEvents(
  { response, signal }: Exchange,
  jobs: JobsApi,
  options: Omit<JobEventOptions, 'signal'> & { readonly after: number },
): Promise<void> {
  const ended = new AbortController()
  const stream = jobs.events({ ...options, signal: AbortSignal.any([signal, ended.signal]) })[Symbol.asyncIterator]()
  const first = stream.next()
  // What the caller may not read is refused at once, and only before the head it can be told as an error.
  const refusal = await Promise.race([first.then(none, (error: unknown) => ({ error })), nextTurn()])
  if (refusal) throw refusal.error
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
  const keepAlive = setInterval(() => response.write(KEEP_ALIVE), KEEP_ALIVE_MS)
  try {
    // Where it begins: whoever loses the connection before the first event misses nothing.
    response.write(RETRY_LINE + encodeSentEvent({ id: String(options.after), event: '', data: '' }))
    for (let next = await first; !next.done; next = await stream.next()) {
      const event = next.value
      const id = event.kind === 'progress' ? null : String(event.id)
      const isTaken = response.write(encodeSentEvent({ id, event: event.kind, data: JSON.stringify(event) }))
      if (!isTaken) await drained(response, signal)
    }
  } finally {
    clearInterval(keepAlive)
    ended.abort()
    await stream.return?.()
    response.end()
  }
}

const none = (): null => null

async function nextTurn(): Promise<null> {
  await systemClock.sleep(0)
  return null
}

function drained(response: ServerResponse, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      response.off('drain', done)
      signal.removeEventListener('abort', done)
      resolve()
    }
    response.once('drain', done)
    signal.addEventListener('abort', done, { once: true })
    if (signal.aborted) done()
  })
}
