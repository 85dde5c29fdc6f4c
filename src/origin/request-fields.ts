/**
 * The fields that go out with a request, hop by hop: the user's own, credentials, and ours.
 *
 * Invariants:
 * 1. Once a redirect leaves the first origin (scheme, host and port), nothing of the user's that is not on the safe
 *    list goes out again, even if a later redirect returns.
 * 2. Whatever else than a safe field was sent, the hop has a private reason (sharing.ts makes it binding).
 */
import { ShorthaulError } from '../errors.ts'
import type { Netrc } from './netrc.ts'

/**
 * Fields that a user may set without making the answer private: they choose among public representations, and when
 * Vary names one it becomes part of the selection. Everything else could be a credential under any name (X-Api-Key,
 * Referer with a token in it), so the list is closed.
 */
export const SAFE_FIELDS: ReadonlySet<string> = new Set(['accept', 'accept-encoding', 'accept-language', 'user-agent'])

/** Fields that this module or the connection owns; a user who sets them would get bytes that we misplace. */
const REFUSED_FIELDS: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'keep-alive',
  'proxy-authorization', // belongs into the proxy's URL: it must never reach the origin
  'proxy-connection',
  'range',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

const MAX_FIELDS = 100
const MAX_FIELDS_BYTES = 64 * 1024
const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
// Printable ASCII and obs-text; above all no CR, LF or NUL, which would let a value begin another field.
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

/** The user's own fields, checked and joined: name in lower case -> value. */
export type UserFields = ReadonlyMap<string, string>

/** @throws SHORTHAUL_USAGE for a field that is malformed, too long or not the user's to set; never quotes a value */
export function parseUserFields(fields: readonly (readonly [name: string, value: string])[]): UserFields {
  const parsed = new Map<string, string>()
  let bytes = 0
  if (fields.length > MAX_FIELDS) {
    throw new ShorthaulError('SHORTHAUL_USAGE', `Cannot send ${fields.length} header fields: at most ${MAX_FIELDS}`)
  }
  for (const [rawName, rawValue] of fields) {
    const name = rawName.toLowerCase()
    bytes += name.length + rawValue.length
    if (bytes > MAX_FIELDS_BYTES) {
      throw new ShorthaulError(
        'SHORTHAUL_USAGE',
        `Cannot send header fields: together longer than ${MAX_FIELDS_BYTES} bytes`,
      )
    }
    if (!FIELD_NAME.test(name) || !FIELD_VALUE.test(rawValue)) {
      throw new ShorthaulError('SHORTHAUL_USAGE', `Cannot send a header field: ${describe(name)} is malformed`)
    }
    if (REFUSED_FIELDS.has(name)) {
      throw new ShorthaulError('SHORTHAUL_USAGE', `Cannot send the header field "${name}": shorthaul sets it itself`)
    }
    const before = parsed.get(name)
    const value = rawValue.trim()
    // RFC 9110 §5.3; only Cookie has another separator (RFC 6265 §5.4).
    parsed.set(name, before === undefined ? value : `${before}${name === 'cookie' ? '; ' : ', '}${value}`)
  }
  return parsed
}

function describe(name: string): string {
  return FIELD_NAME.test(name) ? `the value of "${name.slice(0, 100)}"` : 'a field name'
}

export interface HopFields {
  /** Names in lower case. */
  readonly fields: Record<string, string>
  /** Why the answer to this hop concerns this user only; null when it does not. */
  readonly privateReason: string | null
}

export interface HopOptions {
  readonly userAgent: string
  readonly netrc: Netrc
  /** False once a redirect has left the first origin. */
  readonly isFirstOrigin: boolean
}

/** What is sent to `url`; Range and conditions are the caller's to add. */
export function fieldsForHop(user: UserFields, url: URL, options: HopOptions): HopFields {
  const fields: Record<string, string> = {
    'user-agent': options.userAgent,
    accept: '*/*',
    'accept-encoding': 'identity',
  }
  let privateReason: string | null = null
  for (const [name, value] of user) {
    if (!SAFE_FIELDS.has(name)) {
      if (!options.isFirstOrigin) continue
      privateReason ??= `the request carried ${credentialName(name)}`
    }
    fields[name] = value
  }
  if (fields.authorization === undefined) {
    const login = loginFor(url, options)
    if (login) {
      fields.authorization = basicAuthorization(login.user, login.password)
      privateReason ??= login.reason
    }
  }
  return { fields, privateReason }
}

function credentialName(name: string): string {
  if (name === 'authorization') return 'an Authorization field'
  if (name === 'cookie') return 'a Cookie field'
  return `the field "${name}"`
}

function loginFor(url: URL, options: HopOptions): { user: string; password: string; reason: string } | null {
  if (url.username !== '' || url.password !== '') {
    return {
      user: decodeUserInfo(url.username),
      password: decodeUserInfo(url.password),
      reason: 'the URL carried user information',
    }
  }
  const login = options.netrc.find(url.hostname, { allowDefault: options.isFirstOrigin })
  return login && { ...login, reason: 'the request used a netrc entry' }
}

export function basicAuthorization(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`, 'utf8').toString('base64')}`
}

export function decodeUserInfo(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text // a stray "%": take it as it stands, as curl does
  }
}
