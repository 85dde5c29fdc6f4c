/**
 * node --import=tsx visitor-main.ts URL INTERVAL_MS
 *
 * Fetches the URL once in each interval, or at once when the last took longer, and tells of each: {"startedMs","durationMs"},
 * of the machine's clock. Each over a connection of its own: a kept one would go on with the window that it has fought for.
 */
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { machineMs, sleepUntil } from './machine-clock.ts'

const [url = '', intervalMs = ''] = process.argv.slice(2)

async function visit(): Promise<void> {
  const [response] = (await once(get(url, { agent: false }), 'response')) as [IncomingMessage]
  response.resume()
  await once(response, 'end')
}

for (let dueMs = machineMs(); ; dueMs = Math.max(dueMs + Number(intervalMs), machineMs())) {
  await sleepUntil(dueMs)
  const startedMs = machineMs()
  await visit()
  process.stdout.write(`${JSON.stringify({ startedMs, durationMs: machineMs() - startedMs })}\n`)
}
