/**
 * Where a redirect may lead. Followed by our own loop and not by undici, so that every hop is recorded and credentials
 * are dropped where they do not belong (request-fields.ts).
 */
import { MAX_URL_BYTES } from '../content/resource.ts'
import { redactUrl, ShorthaulError } from '../errors.ts'
import { type ResponseFields, singleField } from './response-fields.ts'

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

export function isRedirect(status: number): boolean {
  return REDIRECTS.has(status)
}

/**
 * The next URL of a chain.
 *
 * Refused: https -> http, because whoever sits on the line could then choose the bytes that https promised to protect
 * (there is no setting for it: a user who wants that gives the http URL); and any scheme but http and https, above
 * all file:, which would let an origin read this machine.
 *
 * @param visited every URL requested so far, the current one included
 * @throws SHORTHAUL_ORIGIN_REDIRECT
 */
export function redirectTarget(
  current: URL,
  fields: ResponseFields,
  options: { readonly visited: ReadonlySet<string>; readonly maxRedirects: number },
): URL {
  const refuse = (found: string) =>
    new ShorthaulError('SHORTHAUL_ORIGIN_REDIRECT', `Cannot follow a redirect from "${redactUrl(current)}": ${found}`, {
      details: { url: redactUrl(current) },
    })
  const location = singleField(fields, 'location')
  if (location === null) throw refuse('it has no Location')
  if (Buffer.byteLength(location) > MAX_URL_BYTES) throw refuse(`its Location is longer than ${MAX_URL_BYTES} bytes`)
  if (!URL.canParse(location, current.href)) throw refuse('its Location is not a URL')
  const target = new URL(location, current.href)
  target.hash = ''
  if (target.protocol !== 'http:' && target.protocol !== 'https:') {
    throw refuse(`it leads to the scheme "${target.protocol}", expected http or https`)
  }
  if (current.protocol === 'https:' && target.protocol === 'http:') throw refuse('it leads from https to http')
  // We keep no cookies, so the same request would get the same answer.
  if (options.visited.has(target.href)) throw refuse('it is a loop')
  if (options.visited.size > options.maxRedirects) throw refuse(`more than ${options.maxRedirects} redirects`)
  return target
}
