/**
 * What went wrong with an origin, as the closed list of codes: from a status, or from what undici and Node threw.
 * Only this file knows whether trying again can help.
 */
import { errors } from 'undici'
import { type ErrorCode, isShorthaulError, redactUrl, ShorthaulError, systemCode } from '../errors.ts'
import { type ResponseFields, singleField } from './response-fields.ts'
import { parseHttpDate } from './validators.ts'

/** A day: longer waits are the user's decision, and a hostile value must not park a job for years. */
const MAX_RETRY_AFTER_MS = 24 * 60 * 60 * 1000

/** Why a SHORTHAUL_ORIGIN_PROTOCOL was raised, for callers that degrade: `details.reason`. */
export type ProtocolReason = 'no-range' | 'range-mismatch' | 'multipart' | 'length' | 'status' | 'parse' | 'early-hints'

/** Retry-After in milliseconds from `nowMs`, at most a day; null when absent or malformed. RFC 9110 §10.2.3. */
export function parseRetryAfter(text: string | null, nowMs: number): number | null {
  if (text === null) return null
  if (/^\d{1,10}$/.test(text)) return Math.min(Number(text) * 1000, MAX_RETRY_AFTER_MS)
  const dateMs = parseHttpDate(text)
  return dateMs === null ? null : Math.min(Math.max(0, dateMs - nowMs), MAX_RETRY_AFTER_MS)
}

/** The error for a final status that is not the one asked for. */
export function statusError(status: number, fields: ResponseFields, at: { url: URL; nowMs: number }): ShorthaulError {
  const url = redactUrl(at.url)
  const retryAfterMs = parseRetryAfter(singleField(fields, 'retry-after'), at.nowMs)
  return new ShorthaulError(statusCode(status), `Cannot fetch "${url}": the origin answered ${status}`, {
    details: {
      status,
      url,
      ...(retryAfterMs === null ? {} : { retryAfterMs }),
      ...(status >= 400 ? {} : { reason: 'status' satisfies ProtocolReason }),
    },
  })
}

function statusCode(status: number): ErrorCode {
  if (status === 404 || status === 410) return 'SHORTHAUL_ORIGIN_NOT_FOUND'
  if (status === 408 || status === 425 || status === 429) return 'SHORTHAUL_ORIGIN_ERROR'
  if (status >= 500) return 'SHORTHAUL_ORIGIN_ERROR'
  if (status >= 400) return 'SHORTHAUL_ORIGIN_REFUSED'
  return 'SHORTHAUL_ORIGIN_PROTOCOL'
}

export function protocolError(url: URL, found: string, reason: ProtocolReason): ShorthaulError {
  const redacted = redactUrl(url)
  return new ShorthaulError('SHORTHAUL_ORIGIN_PROTOCOL', `Cannot fetch "${redacted}": ${found}`, {
    details: { url: redacted, reason },
  })
}

export function changedError(
  url: URL | string,
  found: string,
  details: Readonly<Record<string, unknown>> = {},
): ShorthaulError {
  const redacted = redactUrl(url)
  return new ShorthaulError('SHORTHAUL_ORIGIN_CHANGED', `Cannot fetch "${redacted}": ${found}`, {
    details: { url: redacted, ...details },
  })
}

export function cutShortError(url: URL, found: string): ShorthaulError {
  const redacted = redactUrl(url)
  return new ShorthaulError('SHORTHAUL_ORIGIN_UNREACHABLE', `Cannot fetch "${redacted}": cut short, ${found}`, {
    details: { url: redacted, reason: 'cut-short' },
  })
}

/** What a connection, a TLS handshake or the parser threw. */
export function transportError(cause: unknown, url: URL): ShorthaulError {
  if (isShorthaulError(cause)) return cause
  const system = systemCode(cause)
  const redacted = redactUrl(url)
  // undici's parser errors have a code only sometimes; its own instanceof works across copies of the package.
  const isMalformed = cause instanceof errors.HTTPParserError && system !== 'HPE_INVALID_EOF_STATE'
  const code = isMalformed ? 'SHORTHAUL_ORIGIN_PROTOCOL' : transportCode(system)
  // The code and not the message: undici's and OpenSSL's messages may quote what was sent.
  return new ShorthaulError(
    code,
    `Cannot fetch "${redacted}": ${system ?? (isMalformed ? 'the answer is not HTTP' : 'the connection failed')}`,
    {
      cause,
      details: {
        url: redacted,
        ...(system === undefined ? {} : { system }),
        ...(code === 'SHORTHAUL_ORIGIN_PROTOCOL' ? { reason: 'parse' satisfies ProtocolReason } : {}),
      },
    },
  )
}

const TIMEOUTS = new Set([
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'ETIMEDOUT',
  'ESOCKETTIMEDOUT',
])

// OpenSSL's verification results, as Node names them (X509_V_ERR_* without the prefix), and Node's own.
const TLS =
  /^(CERT_|CRL_|ERR_TLS_|ERR_SSL_|UNABLE_TO_|SELF_SIGNED_|ERROR_IN_CERT|ERROR_IN_CRL|INVALID_(CA|PURPOSE)$|DEPTH_ZERO_SELF_SIGNED_CERT$|HOSTNAME_MISMATCH$|PATH_LENGTH_EXCEEDED$|UND_ERR_PRX_TLS$|EPROTO$)/

function transportCode(system: string | undefined): ErrorCode {
  if (system === undefined) return 'SHORTHAUL_ORIGIN_UNREACHABLE'
  if (TIMEOUTS.has(system)) return 'SHORTHAUL_ORIGIN_TIMEOUT'
  if (TLS.test(system)) return 'SHORTHAUL_ORIGIN_TLS'
  if (system === 'UND_ERR_INVALID_ARG') return 'SHORTHAUL_USAGE'
  // We closed the connections ourselves: Origins.close() while a request was running.
  if (system === 'UND_ERR_DESTROYED' || system === 'UND_ERR_CLOSED') return 'SHORTHAUL_ABORTED'
  // A cut connection is UND_ERR_SOCKET; a mismatch means that several lengths, or an absurd one, were announced.
  if (system === 'UND_ERR_HEADERS_OVERFLOW' || system === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH') {
    return 'SHORTHAUL_ORIGIN_PROTOCOL'
  }
  // Everything else is the network's: ENOTFOUND, EAI_AGAIN, ECONNREFUSED, ECONNRESET, EPIPE, UND_ERR_SOCKET,
  // HPE_INVALID_EOF_STATE (cut within a message), UND_ERR_ABORTED (a proxy that refused to connect), ...
  return 'SHORTHAUL_ORIGIN_UNREACHABLE'
}
