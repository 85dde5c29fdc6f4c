/** What an origin says in its header fields: lines of `name: value`, as undici would hand them over. And a netrc file. */

import { MAX_VALIDATOR_BYTES } from '../../../src/content/resource.ts'
import { isContentLength, MAX_CONTENT_BYTES } from '../../../src/content/segmentation.ts'
import { parseReprDigest } from '../../../src/origin/digest-fields.ts'
import { parseRetryAfter, statusError } from '../../../src/origin/http-errors.ts'
import { formatContentRange, isRange, parseContentRange, parseRange } from '../../../src/origin/http-range.ts'
import { parseNetrc } from '../../../src/origin/netrc.ts'
import { redirectTarget } from '../../../src/origin/redirects.ts'
import {
  contentCoding,
  contentLength,
  listField,
  listTokens,
  singleField,
} from '../../../src/origin/response-fields.ts'
import { isPrivateRedirect, judgeSharing } from '../../../src/origin/sharing.ts'
import { compareGeneration, findValidator, ifRangeValue, parseHttpDate } from '../../../src/origin/validators.ts'
import type { Seeded } from '../kit/seeded.ts'
import { decodedOrNull, type FuzzTarget, latin1, must } from '../kit/target.ts'

const NOW_MS = Date.UTC(2026, 10, 26)
const YEAR_MS = 365 * 24 * 60 * 60 * 1000
const DAY_MS = 24 * 60 * 60 * 1000
const CURRENT = new URL('https://user:secret@origin.test/a?token=secret')
const DATES = [
  'Thu, 26 Nov 2026 00:00:00 GMT',
  'Tue, 15 Nov 1994 12:45:26 GMT',
  'Thu, 31 Feb 9999 23:59:60 GMT',
] as const
const VALUES: Readonly<Record<string, readonly string[]>> = {
  etag: ['"v1"', 'W/"v1"', '""', '"', `"${'x'.repeat(1022)}"`, `"${'x'.repeat(1023)}"`],
  'last-modified': DATES,
  date: DATES,
  expires: [...DATES, '0', '-1'],
  age: ['0', '-5', '99999999999999999999', '1, 2'],
  vary: ['*', 'Accept, Accept-Language', 'accept-encoding', ','],
  pragma: ['no-cache'],
  'set-cookie': ['a=b'],
  'content-encoding': ['gzip', 'identity', 'gzip, identity'],
  'content-length': ['0', '10', '1099511627776', '1099511627777', '+5', '5, 5'],
  'content-range': ['bytes 0-9/10', 'bytes 0-9/*', 'bytes */10', 'bytes 9-0/10', 'bytes 0-1099511627776/*'],
  'cache-control': [
    'no-store',
    'private',
    'Private="set-cookie"',
    'max-age=60',
    's-maxage=1e9, public',
    'max-age="-5"',
    'max-age=99999999999',
  ],
  'repr-digest': ['sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:', 'sha-256=:AA==:', 'sha-256=5, md5=:AA==:'],
  'retry-after': ['5', '9999999999', '99999999999', '-1', ...DATES],
  location: [
    '/b',
    '//other.test/x#y',
    'http://origin.test/',
    'https://u:p@o.test/',
    'file:///etc/passwd',
    'https://[',
    'javascript:x',
  ],
}
const NAMES = Object.keys(VALUES)

type Fields = Record<string, string | string[] | undefined>

function fieldsOf(input: Uint8Array): Fields {
  const fields: Fields = {}
  for (const line of Buffer.from(input).toString('utf8').split('\n')) {
    const colon = line.indexOf(':')
    if (colon < 1) continue
    const name = line.slice(0, colon).toLowerCase()
    const value = line.slice(colon + 1).trim()
    const known = Object.hasOwn(fields, name) ? fields[name] : undefined
    if (Array.isArray(known)) known.push(value)
    else fields[name] = known === undefined ? value : [known, value]
  }
  return fields
}

export const originTarget: FuzzTarget = {
  name: 'origin',
  covers: [
    'origin/digest-fields',
    'origin/http-errors',
    'origin/http-range',
    'origin/redirects',
    'origin/response-fields',
    'origin/sharing',
    'origin/validators',
  ],
  seeds: NAMES.flatMap((name) => (VALUES[name] ?? []).map((value) => latin1(`${name}: ${value}\n`))),
  tokens: [
    ...NAMES.map((name) => `${name}: `),
    '\n',
    ', ',
    '; ',
    '=',
    '"',
    '\\',
    ':',
    'bytes ',
    'max-age=',
    'private',
    'no-store',
    'W/',
  ],
  maxBytes: 16 * 1024,
  generate(random) {
    const line = (name: string) => `${name}: ${random.pick(VALUES[name] ?? [])}\n`
    return latin1(Array.from({ length: 1 + random.below(8) }, () => line(random.pick(NAMES) ?? '')).join(''))
  },
  run(input) {
    const fields = fieldsOf(input)
    const found = [
      readLength(fields),
      readDigest(fields),
      readValidator(fields),
      readRange(fields),
      readRedirect(fields),
    ]
    readSharing(fields)
    readRetryAfter(fields)
    return found.includes(true) ? 'accepted' : 'refused'
  },
}

function readLength(fields: Fields): boolean {
  const length = contentLength(fields)
  must(length === null || isContentLength(length), `a length of ${length}`)
  contentCoding(fields)
  return length !== null
}

function readDigest(fields: Fields): boolean {
  const digest = parseReprDigest(listField(fields, 'repr-digest'))
  must(digest === null || /^[0-9a-f]{64}$/.test(digest), `a digest that is ${digest}`)
  return digest !== null
}

function readValidator(fields: Fields): boolean {
  for (const lengthBytes of [null, 5]) {
    const { validator } = findValidator(fields, lengthBytes)
    if (validator === null) continue
    must(Buffer.byteLength(validator.value) <= MAX_VALIDATOR_BYTES, 'a long validator')
    must(/^[\x20-\x7e]+$/.test(validator.value), 'a validator that cannot be sent back')
    must(compareGeneration(fields, validator) === 'same', 'an answer is not of its own generation')
    must(ifRangeValue(validator) === validator.value, 'If-Range says something else')
    return true
  }
  return false
}

function readRange(fields: Fields): boolean {
  const text = listField(fields, 'content-range')
  const asked = parseRange(text.replace(/^bytes /, 'bytes='), 1000)
  if (asked !== null && asked !== 'unsatisfiable') must(isRange(asked) && asked.end <= 1000, 'a range outside')
  const said = parseContentRange(text)
  if (said === null) return false
  const { totalBytes } = said
  must(totalBytes === null || (totalBytes >= 0 && totalBytes <= MAX_CONTENT_BYTES), 'a total out of range')
  const range = said.kind === 'satisfied' ? said.range : null
  if (range !== null) must(isRange(range) && range.end <= (totalBytes ?? range.end), 'a range out of range')
  if (totalBytes !== null) {
    const again = parseContentRange(formatContentRange(range, totalBytes))
    must(JSON.stringify(again) === JSON.stringify(said), 'it is read otherwise')
  }
  return true
}

function readRedirect(fields: Fields): boolean {
  const visited = new Set([CURRENT.href])
  const target = decodedOrNull('SHORTHAUL_ORIGIN_REDIRECT', () =>
    redirectTarget(CURRENT, fields, { visited, maxRedirects: 5 }),
  )
  isPrivateRedirect(fields)
  if (target === null) return false
  must(target.protocol === 'https:' && target.hash === '' && !visited.has(target.href), `it leads to ${target.href}`)
  return true
}

function readSharing(fields: Fields): void {
  const sharing = judgeSharing(fields, { url: CURRENT, user: new Map(), privateReason: null, nowMs: NOW_MS })
  const { freshUntilMs, visibility, privateReason } = sharing
  must(Number.isSafeInteger(freshUntilMs), `fresh until ${freshUntilMs}`)
  must(freshUntilMs >= NOW_MS && freshUntilMs <= NOW_MS + YEAR_MS, `fresh for ${freshUntilMs - NOW_MS} ms`)
  must((visibility === 'branch') === (privateReason === null), 'private without a reason, or the reverse')
  const forbidding = listTokens(fields, 'cache-control').some((word) => word === 'no-store' || word === 'private')
  must(!forbidding || visibility === 'private', 'what is private was shared')
  must(fields['set-cookie'] === undefined || visibility === 'private', 'a cookie was shared')
}

function readRetryAfter(fields: Fields): void {
  const retryAfterMs = parseRetryAfter(singleField(fields, 'retry-after'), NOW_MS)
  must(retryAfterMs === null || (retryAfterMs >= 0 && retryAfterMs <= DAY_MS), `again after ${retryAfterMs} ms`)
  const { message } = statusError(503, fields, { url: CURRENT, nowMs: NOW_MS })
  must(!message.includes('secret'), 'a secret in an error')
  const dateMs = parseHttpDate(singleField(fields, 'date'))
  must(dateMs === null || Number.isSafeInteger(dateMs), `a date of ${dateMs}`)
}

function netrc(random: Seeded): string {
  const value = () => random.pick(['x', '"a b"', '"q\\"t"', 'machine', '#x', '"', ''] as const)
  const words = [
    () => `machine ${random.pick(['h', 'H', 'o.test'] as const)}`,
    () => 'default',
    () => `login ${value()}`,
    () => `password ${value()}`,
    () => `account ${value()}`,
    () => `macdef ${value()}\nx\n\n`,
    () => '# comment\n',
  ] as const
  return Array.from({ length: random.below(12) }, () => random.pick(words)()).join(random.pick([' ', '\n'] as const))
}

export const netrcTarget: FuzzTarget = {
  name: 'netrc',
  covers: ['origin/netrc'],
  seeds: [latin1('machine h login u password "p\\"q"\ndefault login d password e\n')],
  tokens: ['machine ', 'default ', 'login ', 'password ', 'account ', 'macdef ', '"', '\\', '#', '\n', '\n\n', ' h '],
  maxBytes: 16 * 1024,
  generate: (random) => latin1(netrc(random)),
  run(input) {
    const text = Buffer.from(input).toString('utf8')
    const found = parseNetrc(text)
    const of = (host: string, allowDefault: boolean) => found.find(host, { allowDefault })
    for (const login of [of('h', false), of('elsewhere', true)]) {
      if (login !== null) must(login.user.length + login.password.length <= text.length, 'more than the file holds')
    }
    must(of('elsewhere.test', false) === null || text.includes('elsewhere.test'), 'the default, where it is not meant')
    return of('h', true) === null ? 'refused' : 'accepted'
  },
}
