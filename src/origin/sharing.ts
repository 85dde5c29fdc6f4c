/**
 * Who may be given the bytes: RFC 9111 as a shared cache reads it (by http-cache-semantics), and our stricter rule that
 * nothing obtained with a credential of any kind leaves the machine. Pure.
 *
 * What is different from a web cache: an answer without explicit freshness is still shareable. Freshness says for how
 * long an answer may be used *without asking the origin*; we ask it (probe) whenever it can be reached, and share only
 * between agents whom the origin itself gave the same strong validator. So "may a shared cache store it" decides, and
 * freshness matters only for the time when the origin is out of reach.
 */
import CachePolicy from 'http-cache-semantics'
import type { Visibility } from '../content/resource.ts'
import { SAFE_FIELDS, type UserFields } from './request-fields.ts'
import { contentCoding, listField, listTokens, type ResponseFields } from './response-fields.ts'
import { parseHttpDate } from './validators.ts'

/** Longer promises are cut: nobody means "for ever", and the time goes into signed statements. */
const MAX_FRESH_MS = 365 * 24 * 60 * 60 * 1000

export interface Sharing {
  readonly visibility: Visibility
  readonly privateReason: string | null
  readonly selection: string
  readonly freshUntilMs: number
}

export interface SharingOptions {
  readonly url: URL
  readonly user: UserFields
  /** Why one of the requests of the chain was personal, or null. */
  readonly privateReason: string | null
  readonly nowMs: number
}

/**
 * Evaluates an answer as if it were 200 to GET: a HEAD or a 206 says the same of the representation, but the library
 * (rightly, for a web cache) knows neither.
 */
export function judgeSharing(fields: ResponseFields, options: SharingOptions): Sharing {
  const cache = policy(fields, options.nowMs)
  const privateReason = options.privateReason ?? responseReason(fields, cache)
  return {
    visibility: privateReason === null ? 'branch' : 'private',
    privateReason,
    selection: selectionOf(fields, options.user),
    freshUntilMs: freshUntilOf(cache, options.nowMs),
  }
}

function responseReason(fields: ResponseFields, cache: CachePolicy): string | null {
  if (listTokens(fields, 'vary').includes('*')) return 'the origin said Vary: *'
  if (fields['set-cookie'] !== undefined) return 'the origin set a cookie'
  const coding = contentCoding(fields)
  // The bytes are delivered as they come, but they are not the content that the URL names: others asked for identity.
  if (coding !== null) return `the content is encoded (${coding.slice(0, 32)})`
  if (!cache.storable()) return `the origin said Cache-Control: ${forbidding(fields)}`
  return null
}

function forbidding(fields: ResponseFields): string {
  return /(^|,)\s*no-store/i.test(listField(fields, 'cache-control')) ? 'no-store' : 'private'
}

/**
 * The values of the safe request fields that Vary names, one per line, sorted; '' when none.
 * Only what the user set counts: our own defaults are the same for everybody, but for the version in the User-Agent,
 * which must not split a branch. A field that Vary names and that we never send selects nothing.
 */
function selectionOf(fields: ResponseFields, user: UserFields): string {
  const names = new Set(listTokens(fields, 'vary').filter((name) => SAFE_FIELDS.has(name)))
  return [...names]
    .sort()
    .flatMap((name) => {
      const value = user.get(name)
      return value === undefined ? [] : [`${name}: ${value}`]
    })
    .join('\n')
}

/** Wall clock; `nowMs` when the answer must be revalidated at once. Also used for the redirects on the way. */
export function freshUntil(fields: ResponseFields, nowMs: number): number {
  return freshUntilOf(policy(fields, nowMs), nowMs)
}

function freshUntilOf(cache: CachePolicy, nowMs: number): number {
  // Not timeToLive(): that adds stale-while-revalidate and stale-if-error, and the field is to say "fresh".
  const freshMs = (cache.maxAge() - cache.age()) * 1000
  return Number.isFinite(freshMs) ? nowMs + Math.round(Math.min(Math.max(0, freshMs), MAX_FRESH_MS)) : nowMs
}

/** True when a redirect concerns this user only. A no-store redirect is no obstacle: we do not store redirects. */
export function isPrivateRedirect(fields: ResponseFields): boolean {
  return listTokens(fields, 'cache-control').some((directive) => /^private($|\s*=)/.test(directive))
}

function policy(fields: ResponseFields, nowMs: number): CachePolicy {
  // The library reads the clock while it constructs itself: a subclass per call is the way to give it ours (its
  // documentation says that now() may be replaced; its types leave it out).
  class PolicyAtNow extends CachePolicy {
    now(): number {
      return nowMs
    }
  }
  const headers: Record<string, string> = {}
  for (const name of ['cache-control', 'expires', 'pragma', 'last-modified', 'age', 'vary'] as const) {
    const value = listField(fields, name)
    // Directives are case-insensitive (RFC 9111 §5.2); the library compares them as they stand.
    if (value !== '') headers[name] = name === 'cache-control' || name === 'pragma' ? value.toLowerCase() : value
  }
  // Without Date the time of arrival counts (RFC 9110 §6.6.1). A malformed one is replaced for the same reason.
  const date = listField(fields, 'date')
  headers.date = parseHttpDate(date) === null ? new Date(nowMs).toUTCString() : date
  return new PolicyAtNow({ method: 'GET', headers: {} }, { status: 200, headers }, { shared: true })
}
