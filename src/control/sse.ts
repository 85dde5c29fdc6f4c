/**
 * Server-sent events, as the HTML standard has them: written by the agent, read by our own client. Only what we use: `id`,
 * `event`, `data` of one line, `retry` and comments.
 */

export interface SentEvent {
  /** Null: this event had none, and the last one stands. */
  readonly id: string | null
  readonly event: string
  /** Empty: only the id is told. */
  readonly data: string
}

/** More in one event is not ours: an event holds a job's name and an error, never its files. */
const MAX_EVENT_CHARS = 256 * 1024

export function encodeSentEvent({ id, event, data }: SentEvent): string {
  const idLine = id === null ? '' : `id: ${id}\n`
  return data === '' ? `${idLine}\n` : `${idLine}event: ${event}\ndata: ${data}\n\n`
}

/** A comment, which readers skip: tells both ends that the connection stands. */
export const KEEP_ALIVE = ':\n\n'

/**
 * Decodes a stream of them. Memory: one event.
 * @throws RangeError for an event that is longer than any of ours; what the stream throws
 */
export async function* decodeSentEvents(stream: AsyncIterable<Uint8Array>): AsyncGenerator<SentEvent> {
  const decoder = new TextDecoder()
  let rest = ''
  let id: string | null = null
  let event = ''
  let data: string[] = []
  let dataChars = 0
  for await (const chunk of stream) {
    rest += decoder.decode(chunk, { stream: true })
    let start = 0
    for (let end = rest.indexOf('\n'); end !== -1; end = rest.indexOf('\n', start)) {
      const line = rest.slice(start, end)
      start = end + 1
      if (line === '') {
        if (id !== null || data.length > 0) yield { id, event: event || 'message', data: data.join('\n') }
        id = null
        event = ''
        data = []
        dataChars = 0
        continue
      }
      // JSON leaves U+2028 as it is, and without the flag it would end a line here.
      const [, name = '', value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? []
      if (name === 'id') id = value
      else if (name === 'event') event = value
      else if (name === 'data') {
        data.push(value)
        dataChars += value.length + 1 // the line itself: empty ones without end are too long too
      }
    }
    rest = rest.slice(start)
    if (rest.length + dataChars > MAX_EVENT_CHARS) throw new RangeError('an event of the agent is too long')
  }
}
