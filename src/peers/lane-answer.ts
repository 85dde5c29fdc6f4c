/**
 * The head of an answer on the lane, read from bytes that a peer chose.
 *
 * HTTP/1.1 of the kind that lane servers send and nothing else: a status line, fields on one line each, a Content-Length.
 * No chunks, no trailers, no interim answers, no folded fields, no bare line feeds: two parsers that differ in such
 * things are how answers get smuggled. Total: any bytes give one of the three results.
 */
import { RETRY_AFTER_MS_FIELD } from './lane-responder.ts'

/** Status line, fields and the empty line. A head of ours has about 300 bytes. */
export const MAX_HEAD_BYTES = 4096

export interface LaneAnswer {
  readonly status: number
  readonly bodyBytes: number
  /** Content-Range as it came. */
  readonly contentRange: string | null
  /** The fields that say when to come back, as they came. */
  readonly retryAfter: string | null
  readonly retryAfterMs: string | null
  /** The peer ends the connection after this answer. */
  readonly isLast: boolean
}

export type HeadReading =
  /** So far it can become a head. */
  | { readonly kind: 'partial' }
  | { readonly kind: 'broken'; readonly found: string }
  /** The body begins after `headBytes`. */
  | { readonly kind: 'whole'; readonly answer: LaneAnswer; readonly headBytes: number }

const PROTOCOL = Buffer.from('HTTP/1.1 ')
const HEAD_END = '\r\n\r\n'
const STATUS_LINE = /^HTTP\/1\.1 ([2-5]\d\d) [\t\x20-\x7e\x80-\xff]*$/
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*([\t\x20-\x7e\x80-\xff]*)$/
/** Bounded, so that it is a number that can be counted with. */
const LENGTH = /^(?:0|[1-9]\d{0,9})$/
const PARTIAL: HeadReading = { kind: 'partial' }

/** @param bytes all that came since the last answer */
export function readHead(bytes: Buffer): HeadReading {
  // At once, or the peer would be taken for a slow one.
  const shownBytes = Math.min(bytes.byteLength, PROTOCOL.byteLength)
  if (bytes.compare(PROTOCOL, 0, shownBytes, 0, shownBytes) !== 0) return broken('no HTTP/1.1')
  const end = bytes.indexOf(HEAD_END)
  const headBytes = end + HEAD_END.length
  if (end === -1 ? bytes.byteLength >= MAX_HEAD_BYTES : headBytes > MAX_HEAD_BYTES) return broken('a long head')
  if (end === -1) return PARTIAL
  const [statusLine = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n')
  const status = STATUS_LINE.exec(statusLine)?.[1]
  if (status === undefined) return broken('no status that answers')
  const fields = readFields(lines)
  if (fields === null) return broken('a field that is none')
  if (fields.has('transfer-encoding')) return broken('a transfer coding')
  const length = fields.get('content-length')
  if (length === undefined || !LENGTH.test(length)) return broken('no length')
  return {
    kind: 'whole',
    answer: {
      status: Number(status),
      bodyBytes: Number(length),
      contentRange: fields.get('content-range') ?? null,
      retryAfter: fields.get('retry-after') ?? null,
      retryAfterMs: fields.get(RETRY_AFTER_MS_FIELD) ?? null,
      isLast: fields.get('connection')?.toLowerCase() === 'close',
    },
    headBytes,
  }
}

/** @returns null when a line is no field or a field comes twice: no field of ours is a list */
function readFields(lines: readonly string[]): ReadonlyMap<string, string> | null {
  const fields = new Map<string, string>()
  for (const line of lines) {
    const [, name, value] = FIELD.exec(line) ?? []
    if (name === undefined || value === undefined || fields.has(name.toLowerCase())) return null
    fields.set(name.toLowerCase(), value.trimEnd())
  }
  return fields
}

function broken(found: string): HeadReading {
  return { kind: 'broken', found }
}
