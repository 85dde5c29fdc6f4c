/**
 * The logger: pino, JSON lines on stderr, one level for all. There is no global one: the composition root makes it, and
 * everybody is given a child.
 *
 * Redaction happens here, on the finished line, and not where things are logged: a call site can forget, and pino's own
 * hooks do not see everything (`formatters.bindings` is skipped for children, and `msg` is taken from the error).
 *
 * Invariants, for every line:
 * 1. a URL has neither user info, nor query, nor fragment, wherever it stands;
 * 2. a field that is named like a secret or like HTTP headers has no value;
 * 3. bytes are counted, not printed.
 *
 * Not guarded against: a secret in the path of a URL, or in free text without any mark.
 */
import { type DestinationStream, type Logger, pino } from 'pino'
import { redactUrl, ShorthaulError } from './errors.ts'

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent'

export interface LoggerOptions {
  /** Default: silent, as a library should be. */
  readonly level?: LogLevel
  /** Takes whole lines; default: stderr, written synchronously, so that the last words of a crash are not lost. */
  readonly destination?: DestinationStream | undefined
  /** For people instead of JSON. */
  readonly pretty?: boolean | undefined
}

const SECRET_NAME =
  /^(?:.*headers?|trailers|.*authorization|.*cookies?|.*psk|.*passw(?:or)?d|passphrase|.*token|credentials?|netrc|.*secret|(?:secret|private|wire)_?-?key|(?:identity)?seed|pfx)$/i
const URL_NAME = /(?:url|uri|href)$/i

/** A scheme has at most 20 letters here, so that matching stays linear. */
const URL_IN_TEXT = /\b(?:https?|wss?):[^\s"<>`]+|\b[a-z][a-z0-9+.-]{0,19}:\/\/[^\s"<>`]+/gi
/** The target of a request line: undici and node:http hang it on their errors without the host. */
const TARGET_IN_TEXT = /((?:^|\s|")\/[^\s?"<>`]{0,2048})\?[^\s"<>`]+/g
const CREDENTIALS_IN_TEXT =
  /\b((?:proxy-)?authorization|(?:set-)?cookie|psk|secret|password)(["']?\s{0,4}[:=]\s{0,4})[^\r\n"]+|\b(bearer|basic)(\s+)[\w.~+/=-]{6,}/gi

const MAX_TEXT_LENGTH = 8192
const MAX_DEPTH = 8
const MAX_ENTRIES = 200
const MAX_CAUSES = 5
const REDACTED = '[redacted]'

export function createLogger({ level = 'silent', destination, pretty = false }: LoggerOptions = {}): Logger {
  return pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), log: describeErrors },
      serializers: { err: describeError },
      hooks: { streamWrite: (line) => finishLine(line, pretty) },
    },
    destination ?? standardError(),
  )
}

/** What is kept of lines that could not be written, in characters. */
const MAX_UNWRITTEN = 1024 * 1024

/** A line that cannot be written (a full disk, a terminal that was closed) is lost: no work fails for it. */
function standardError(): DestinationStream {
  const destination = pino.destination({ dest: 2, sync: true, maxLength: MAX_UNWRITTEN })
  // Without a listener pino throws it at whoever logs.
  destination.on('error', () => {})
  return destination
}

/** JSON makes `{}` of an error and a map of numbers of bytes: both are said in a better way while they are whole. */
function describeErrors(fields: Record<string, unknown>): Record<string, unknown> {
  const described: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Error && name !== 'err') described[name] = describeError(value)
    else described[name] = value instanceof Uint8Array ? countBytes(value.byteLength) : value
  }
  return described
}

/** Only what is listed: undici and others hang requests, sockets and headers on their errors. */
function describeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return error
  const described: Record<string, unknown> = { type: error.name, message: error.message }
  if ('code' in error) described.code = error.code
  if (error instanceof ShorthaulError) {
    described.retryable = error.retryable
    described.details = error.details
  }
  if (depth === 0) described.stack = error.stack
  if (depth < MAX_CAUSES) {
    if (error.cause !== undefined) described.cause = describeError(error.cause, depth + 1)
    if (error instanceof AggregateError) {
      described.errors = error.errors.slice(0, MAX_CAUSES).map((inner: unknown) => describeError(inner, depth + 1))
    }
  }
  return described
}

function finishLine(line: string, pretty: boolean): string {
  let fields: unknown
  try {
    fields = redact(JSON.parse(line), 0)
  } catch {
    // Not ours: a line that is no JSON is kept as text, because a lost line is worse than an odd one.
    fields = { level: 'error', msg: redactText(line) }
  }
  return pretty ? prettyLine(fields) : `${JSON.stringify(fields)}\n`
}

/** A copy without secrets. `value` is what JSON.parse makes: finite and without cycles. */
function redact(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return redactText(value)
  if (typeof value !== 'object' || value === null) return value
  if (depth >= MAX_DEPTH) return '[deeper]'
  if (Array.isArray(value)) {
    const kept = value.slice(0, MAX_ENTRIES).map((entry) => redact(entry, depth + 1))
    return value.length > kept.length ? [...kept, `[and ${value.length - kept.length} more]`] : kept
  }
  const entries = Object.entries(value)
  const byteCount = countIfBytes(value, entries)
  if (byteCount !== null) return countBytes(byteCount)
  const copy: [string, unknown][] = []
  for (const [name, inner] of entries.slice(0, MAX_ENTRIES))
    copy.push([redactText(name), redactField(name, inner, depth)])
  return Object.fromEntries(copy)
}

function redactField(name: string, value: unknown, depth: number): unknown {
  if (value === null || typeof value === 'boolean') return value
  if (SECRET_NAME.test(name)) return REDACTED
  if (typeof value === 'string' && URL_NAME.test(name)) return redactUrl(value)
  return redact(value, depth + 1)
}

/** A Buffer or another array of bytes after JSON; null for anything else. */
function countIfBytes(value: object, entries: readonly [string, unknown][]): number | null {
  if ('type' in value && value.type === 'Buffer' && 'data' in value && Array.isArray(value.data))
    return value.data.length
  const isNumbered =
    entries.length > 0 && entries.every(([name, inner], index) => name === String(index) && typeof inner === 'number')
  return isNumbered ? entries.length : null
}

function countBytes(count: number): string {
  return `[${count} bytes]`
}

/** URLs and credentials in free text, such as the message of a foreign error. */
export function redactText(text: string): string {
  const cut = text.length > MAX_TEXT_LENGTH ? `${text.slice(0, MAX_TEXT_LENGTH)}…` : text
  return cut
    .replace(URL_IN_TEXT, (url) => redactUrl(url))
    .replace(TARGET_IN_TEXT, '$1?…')
    .replace(CREDENTIALS_IN_TEXT, (_, name?: string, mark?: string, scheme?: string, space?: string) =>
      name === undefined ? `${scheme}${space}${REDACTED}` : `${name}${mark}${REDACTED}`,
    )
}

/** `12:00:00.000Z INFO  store: opened segments=3`; an error's stack on lines of its own. */
function prettyLine(fields: unknown): string {
  const { time, level, pid: _, module, msg, err, ...rest } = fields as Record<string, unknown>
  const where = module === undefined ? '' : `${plain(module)}: `
  const pairs = Object.entries(rest).map(([name, value]) => ` ${name}=${plain(value)}`)
  const label = String(level).toUpperCase().padEnd(5)
  const head = `${String(time).slice(11)} ${label} ${where}${plain(msg ?? '', ' ')}${pairs.join('')}`
  if (err === undefined) return `${head}\n`
  const { stack, ...others } = (typeof err === 'object' && err !== null ? err : { err }) as Record<string, unknown>
  const trace = typeof stack === 'string' ? stack.split('\n').map((line) => `\n    ${plain(line, ' ')}`) : []
  return `${head}\n    ${plain(others)}${trace.join('')}\n`
}

/** Bare when it is harmless on a terminal, else as JSON, which escapes control characters. */
function plain(value: unknown, alsoAllowed = ''): string {
  const json = JSON.stringify(value) ?? 'undefined'
  if (typeof value !== 'string') return json
  const isBare = [...value].every((character) => character > '\u0020' && character < '\u007f' && character !== '"')
  if (isBare && value !== '') return value
  const isText = alsoAllowed !== '' && /^[\u0020-\u007e…]*$/.test(value)
  // U+0080 to U+009F move cursors too and pass JSON unescaped.
  return isText
    ? value
    : json.replace(/[\u007f-\u009f]/g, (character) => `\\u00${character.charCodeAt(0).toString(16)}`)
}
