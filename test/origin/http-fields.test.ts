import fc from 'fast-check'
import t from 'tap'
import { systemClock } from '../../src/clock.ts'
import { MAX_CONTENT_BYTES } from '../../src/content/segmentation.ts'
import { parseReprDigest } from '../../src/origin/digest-fields.ts'
import { HeadMemory } from '../../src/origin/head-memory.ts'
import { parseRetryAfter, transportError } from '../../src/origin/http-errors.ts'
import { formatContentRange, formatRange, parseContentRange, parseRange } from '../../src/origin/http-range.ts'
import { parseNetrc } from '../../src/origin/netrc.ts'
import { parseProxyRules, proxyFor } from '../../src/origin/proxy.ts'
import { fieldsForHop, parseUserFields } from '../../src/origin/request-fields.ts'
import { freshUntil, judgeSharing } from '../../src/origin/sharing.ts'
import { compareGeneration, findValidator, parseEntityTag } from '../../src/origin/validators.ts'

const length = fc.integer({ min: 1, max: 2 ** 31 })

void t.test('a range survives HTTP: half-open in, inclusive on the wire, half-open out', async (t) => {
  fc.assert(
    fc.property(length, fc.nat(), fc.nat(), (total, a, b) => {
      const start = a % total
      const end = start + 1 + (b % (total - start))
      const range = { start, end }
      t.strictSame(parseRange(formatRange(range), total), range)
      t.strictSame(parseContentRange(formatContentRange(range, total)), { kind: 'satisfied', range, totalBytes: total })
      t.strictSame(parseContentRange(formatContentRange(null, total)), { kind: 'unsatisfied', totalBytes: total })
    }),
    { numRuns: 50 },
  )
  t.equal(formatRange({ start: 0, end: 1 }), 'bytes=0-0')
  for (const range of [
    { start: 1, end: 1 },
    { start: 2, end: 1 },
    { start: -1, end: 1 },
    { start: 0, end: 1.5 },
  ]) {
    t.throws(() => formatRange(range), RangeError)
  }
})

void t.test('range parsers are total', async (t) => {
  const numbers = fc.oneof(fc.nat().map(String), fc.constantFrom('*', '', '-1', '99999999999999999999', '1e3', '0x1'))
  const shaped = fc
    .tuple(
      fc.constantFrom('bytes ', 'bytes=', 'BYTES ', 'items '),
      numbers,
      fc.constantFrom('-', ''),
      numbers,
      fc.constantFrom('/', ''),
      numbers,
    )
    .map((parts) => parts.join(''))
  fc.assert(
    fc.property(fc.oneof(fc.string(), shaped), length, (text, total) => {
      const content = parseContentRange(text)
      if (content?.kind === 'satisfied') {
        const { range, totalBytes } = content
        if (!(range.start < range.end && range.end <= (totalBytes ?? MAX_CONTENT_BYTES))) throw new Error(text)
      }
      const range = parseRange(text, total)
      if (range && range !== 'unsatisfiable' && !(range.start < range.end && range.end <= total)) throw new Error(text)
    }),
  )
  for (const bad of [
    'bytes 0-0',
    'bytes 5-4/10',
    'bytes 0-10/10',
    'bytes 0-1/*x',
    'bytes 0-1/10, bytes 2-3/10',
    `bytes 0-1/${2 ** 41}`,
  ]) {
    t.equal(parseContentRange(bad), null, bad)
  }
  t.strictSame(parseContentRange('bytes 0-1/*'), { kind: 'satisfied', range: { start: 0, end: 2 }, totalBytes: null })
  t.strictSame(parseRange('bytes=-5', 10), { start: 5, end: 10 })
  t.strictSame(parseRange('bytes=-50', 10), { start: 0, end: 10 })
  t.strictSame(parseRange('bytes=5-', 10), { start: 5, end: 10 })
  t.strictSame(parseRange('bytes=5-9999999999999999', 10), { start: 5, end: 10 })
  t.equal(parseRange('bytes=10-', 10), 'unsatisfiable')
  t.equal(parseRange('bytes=-0', 10), 'unsatisfiable')
  for (const ignored of ['bytes=0-1,3-4', 'bytes=', 'bytes=-', 'bytes=4-3', 'items=0-1', 'bytes=a-b']) {
    t.equal(parseRange(ignored, 10), null, ignored)
  }
})

void t.test('entity tags', async (t) => {
  t.strictSame(parseEntityTag('"abc"'), { value: '"abc"', isWeak: false })
  t.strictSame(parseEntityTag('W/"abc"'), { value: '"abc"', isWeak: true })
  t.strictSame(parseEntityTag('""'), { value: '""', isWeak: false })
  for (const bad of [null, 'abc', 'w/"abc"', '"a"b"', '"a b"', '"ü"', '"a', `"${'x'.repeat(2000)}"`]) {
    t.equal(parseEntityTag(bad), null, String(bad).slice(0, 20))
  }
  const date = 'Sun, 22 Nov 2026 12:01:00 GMT'
  const withDates = (modified: string, more = {}) =>
    findValidator({ date, 'last-modified': modified, ...more }, 5).validator
  t.strictSame(withDates('Sun, 22 Nov 2026 12:00:00 GMT')?.kind, 'last-modified', '60 s are enough')
  t.equal(withDates('Sun, 22 Nov 2026 12:00:01 GMT'), null, '59 s are not')
  t.equal(withDates('Sun, 22 Nov 2026 12:00:00 GMT', { date: undefined }), null, 'nor is an unknown Date')
  t.equal(withDates('2026-11-22'), null, 'nor another form of date')
  t.equal(
    findValidator({ date, 'last-modified': 'Sun, 22 Nov 2026 11:00:00 GMT' }, null).validator,
    null,
    'nor an unknown length',
  )
  t.strictSame(findValidator({ etag: ['"a"', '"b"'] }, 5), { validator: null, degradations: ['no-validator'] })
  const expected = { kind: 'etag', value: '"a"' } as const
  t.equal(compareGeneration({ etag: '"a"' }, expected), 'same')
  t.equal(compareGeneration({ etag: 'W/"a"' }, expected), 'different', 'strong comparison')
  t.equal(compareGeneration({}, expected), 'unknown')
})

void t.test('Repr-Digest', async (t) => {
  const hex = 'ab'.repeat(32)
  const base64 = Buffer.from(hex, 'hex').toString('base64')
  t.equal(parseReprDigest(`sha-512=:AAAA:, sha-256=:${base64}:;x=1`), hex)
  for (const bad of [
    '',
    'sha-256',
    'sha-256=:AAAA:',
    `sha-256=${base64}`,
    `SHA-256=:${base64}:`,
    `md5=:${base64}:`,
    'a=(',
  ]) {
    t.equal(parseReprDigest(bad), null, bad)
  }
  fc.assert(fc.property(fc.string(), (text) => void parseReprDigest(text)))
})

void t.test('netrc', async (t) => {
  const netrc = parseNetrc(`# a comment with machine evil.test login x password y
machine a.test login me password "p\\"w d" account x
machine b.test
  password second
  login you
macdef init
  machine evil.test login x password y

machine a.test login other password later
machine none.test login only
#machine evil.test login x password y
default login d password #default
`)
  const find = (host: string, allowDefault = true) => netrc.find(host, { allowDefault })
  t.strictSame(find('A.test'), { user: 'me', password: 'p"w d' })
  t.strictSame(find('b.test'), { user: 'you', password: 'second' })
  t.strictSame(find('evil.test'), { user: 'd', password: '#default' })
  t.equal(find('evil.test', false), null)
  t.strictSame(find('none.test'), { user: 'd', password: '#default' }, 'an entry without a password is none')
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom('machine', 'default', 'login', 'password', 'macdef', '#', '"', '\\', '\n', 'x')),
      (words) => void parseNetrc(words.join(' ')).find('x', { allowDefault: true }),
    ),
  )
})

void t.test('proxies', async (t) => {
  const rules = parseProxyRules({
    http_proxy: 'lower.test:3128',
    HTTP_PROXY: 'http://upper.test',
    HTTPS_PROXY: 'https://us%20er:pw@tls.test:8443/',
    NO_PROXY: '.corp.test, 10.0.0.0/8 exact.test:8080,[::1],fd00::/8',
  })
  const origin = (url: string) => proxyFor(rules, new URL(url))?.origin ?? null
  t.equal(origin('http://a.test/'), 'http://lower.test:3128')
  t.equal(origin('https://a.test/'), 'https://tls.test:8443')
  t.equal(
    proxyFor(rules, new URL('https://a.test/'))?.authorization,
    `Basic ${Buffer.from('us er:pw').toString('base64')}`,
  )
  for (const exempt of [
    'http://corp.test/',
    'http://x.corp.test./',
    'http://10.1.2.3/',
    'http://exact.test:8080/',
    'http://[::1]/',
    'http://[fd12::1]:99/',
  ]) {
    t.equal(origin(exempt), null, exempt)
  }
  for (const used of ['http://notcorp.test/', 'http://11.1.2.3/', 'http://exact.test/', 'http://[fe80::1]/']) {
    t.not(origin(used), null, used)
  }
  t.equal(proxyFor(parseProxyRules({ http_proxy: 'p', no_proxy: 'x,*' }), new URL('http://a.test')), null)
  t.equal(
    proxyFor(parseProxyRules({ http_proxy: 'p' }), new URL('https://a.test')),
    null,
    'http_proxy is for http only',
  )
  for (const bad of ['socks5://p', 'http://', 'ftp://user:secret@p']) {
    t.throws(
      () => parseProxyRules({ http_proxy: bad }),
      { code: 'SHORTHAUL_CONFIG_INVALID', message: /^((?!secret).)*$/ },
      bad,
    )
  }
})

void t.test('request fields', async (t) => {
  const user = parseUserFields([
    ['Accept', 'a'],
    ['accept', 'b'],
    ['Cookie', 'x=1'],
    ['cookie', 'y=2'],
  ])
  t.strictSame(
    [...user],
    [
      ['accept', 'a, b'],
      ['cookie', 'x=1; y=2'],
    ],
  )
  for (const bad of [
    ['a b', 'x'],
    ['', 'x'],
    ['a', 'x\ny'],
    ['a', '\0'],
    ['Content-Length', '1'],
    ['If-Range', 'x'],
    ['Proxy-Authorization', 'x'],
  ] as const) {
    t.throws(() => parseUserFields([bad]), { code: 'SHORTHAUL_USAGE' }, bad[0])
  }
  t.throws(() => parseUserFields([['a', 'x'.repeat(70_000)]]), { code: 'SHORTHAUL_USAGE' })
  t.throws(() => parseUserFields(Array.from({ length: 101 }, () => ['a', 'b'] as const)), { code: 'SHORTHAUL_USAGE' })
  const options = { userAgent: 'ua', netrc: parseNetrc(''), isFirstOrigin: true }
  const url = new URL('http://u:%zz@a.test/')
  t.match(fieldsForHop(new Map(), url, options), {
    fields: { authorization: `Basic ${Buffer.from('u:%zz').toString('base64')}`, 'user-agent': 'ua' },
    privateReason: /user information/,
  })
  const own = new Map([['authorization', 'mine']])
  t.match(fieldsForHop(own, url, options).fields, { authorization: 'mine' }, 'the field wins over the URL')
  t.match(fieldsForHop(new Map([['accept-encoding', 'gzip']]), new URL('http://a.test'), options), {
    fields: { 'accept-encoding': 'gzip' },
    privateReason: null,
  })
})

void t.test('sharing follows RFC 9111', async (t) => {
  const nowMs = Date.UTC(2026, 10, 22, 12)
  const judge = (fields: Record<string, string>, user: [string, string][] = []) =>
    judgeSharing(fields, { url: new URL('http://a.test'), user: new Map(user), privateReason: null, nowMs })
  t.equal(judge({}).visibility, 'branch', 'no freshness is no obstacle')
  t.equal(judge({ 'cache-control': 'no-cache' }).visibility, 'branch')
  t.equal(judge({ 'cache-control': 'No-Store' }).visibility, 'private')
  t.equal(judge({ 'cache-control': 'private="x-field"' }).visibility, 'private')
  const fresh = (fields: Record<string, string>) => freshUntil(fields, nowMs) - nowMs
  t.equal(fresh({}), 0)
  t.equal(fresh({ 'cache-control': 'max-age=100', age: '40' }), 60_000)
  t.equal(fresh({ 'cache-control': 'Max-Age=100, S-MaxAge=10' }), 10_000)
  t.equal(fresh({ 'cache-control': 'max-age=100, no-cache' }), 0)
  t.equal(fresh({ 'cache-control': 'max-age=100, stale-if-error=999' }), 100_000, 'stale is not fresh')
  t.equal(fresh({ expires: new Date(nowMs + 5000).toUTCString() }), 5_000)
  t.equal(fresh({ 'last-modified': new Date(nowMs - 100_000).toUTCString() }), 10_000, 'a tenth of its age')
  t.equal(fresh({ 'cache-control': `max-age=${'9'.repeat(400)}` }), 0, 'nonsense is stale')
  t.ok(fresh({ 'cache-control': 'max-age=99999999999' }) <= 366 * 24 * 3600 * 1000)
  t.equal(
    judge({ vary: 'user-agent, accept' }, [
      ['user-agent', 'x'],
      ['accept', 'y'],
    ]).selection,
    'accept: y\nuser-agent: x',
  )
  t.equal(judge({ vary: 'cookie' }, [['accept', 'y']]).selection, '')
  fc.assert(
    fc.property(
      fc.string(),
      fc.string(),
      (a, b) => void judge({ 'cache-control': a, expires: b, age: a, date: b, vary: a }),
    ),
  )
})

void t.test('Retry-After', async (t) => {
  t.equal(parseRetryAfter('7', 0), 7000)
  t.equal(parseRetryAfter('9999999999', 0), 24 * 3600 * 1000, 'at most a day')
  t.equal(parseRetryAfter(new Date(5000).toUTCString(), 1000), 4000)
  t.equal(parseRetryAfter(new Date(5000).toUTCString(), 9000), 0)
  for (const bad of [null, '-1', '1.5', 'soon', '']) t.equal(parseRetryAfter(bad, 0), null, String(bad))
})

void t.test('what a connection throws becomes a code', async (t) => {
  const url = new URL('https://u:secret@a.test/x?secret')
  const cases: [string, string][] = [
    ['UND_ERR_CONNECT_TIMEOUT', 'SHORTHAUL_ORIGIN_TIMEOUT'],
    ['ETIMEDOUT', 'SHORTHAUL_ORIGIN_TIMEOUT'],
    ['ENOTFOUND', 'SHORTHAUL_ORIGIN_UNREACHABLE'],
    ['ECONNRESET', 'SHORTHAUL_ORIGIN_UNREACHABLE'],
    ['UND_ERR_SOCKET', 'SHORTHAUL_ORIGIN_UNREACHABLE'],
    ['CERT_HAS_EXPIRED', 'SHORTHAUL_ORIGIN_TLS'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'SHORTHAUL_ORIGIN_TLS'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'SHORTHAUL_ORIGIN_TLS'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'SHORTHAUL_ORIGIN_TLS'],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'SHORTHAUL_ORIGIN_TLS'],
    ['EPROTO', 'SHORTHAUL_ORIGIN_TLS'],
    ['UND_ERR_HEADERS_OVERFLOW', 'SHORTHAUL_ORIGIN_PROTOCOL'],
    ['UND_ERR_DESTROYED', 'SHORTHAUL_ABORTED'],
  ]
  for (const [system, code] of cases) {
    const error = transportError(Object.assign(new Error('holds secret'), { code: system }), url)
    t.match(error, { code, details: { system } })
    t.notMatch(error.message + JSON.stringify(error.details), 'secret')
  }
})

void t.test('an origin without HEAD is forgotten after a while, and the memory is bounded', async (t) => {
  let nowMs = 0
  const memory = new HeadMemory({ ...systemClock, monotonicMs: () => nowMs })
  const url = new URL('http://a.test/x')
  t.notOk(memory.failed(url))
  memory.remember(url)
  t.ok(memory.failed(new URL('http://a.test/y')))
  t.notOk(memory.failed(new URL('http://a.test:81/')))
  nowMs = 10 * 60 * 1000
  t.notOk(memory.failed(url))
  for (let index = 0; index < 1025; index++) memory.remember(new URL(`http://${index}.test`))
  t.notOk(memory.failed(new URL('http://0.test')), 'the oldest went')
  t.ok(memory.failed(new URL('http://1.test')))
})
