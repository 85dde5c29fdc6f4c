import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { type DeclaringAnswer, judgeDeclarations, MANIFEST_MEDIA_TYPE } from '../../src/origin/declarations.ts'
import { parseAmzChecksum, parseLegacyDigest, sha256OfUrl } from '../../src/origin/digest-fields.ts'
import { parseLinks } from '../../src/origin/link-field.ts'
import { s3Fields } from '../../src/origin/s3.ts'
import { openOrigins, originRequest, readBody } from '../support/open-origins.ts'
import { startTestOrigin } from '../support/test-origin.ts'

const CONTENT = Buffer.from('long-haul bytes cross the WAN once')
const DIGEST = createHash('sha256').update(CONTENT).digest()
const HEX = DIGEST.toString('hex')
const BASE64 = DIGEST.toString('base64')
const OTHER_HEX = 'ab'.repeat(32)
const OTHER = Buffer.from(OTHER_HEX, 'hex').toString('base64')

function judge(fields: DeclaringAnswer['fields'], answer: { url?: string; askedUrl?: string; status?: number } = {}) {
  const { url = 'https://example.org/dir/a.iso', status = 200 } = answer
  return judgeDeclarations({ status, fields, url: new URL(url), askedUrl: new URL(answer.askedUrl ?? url) })
}

void t.test('the legacy Digest field counts where there is no Repr-Digest', async (t) => {
  for (const value of [`SHA-256=${BASE64}`, `sha-256=${BASE64}`, `unixsum=30637,SHA-256=${BASE64}, md5=HUXZLQLMuI==`]) {
    t.equal(judge({ digest: value }).declaredSha256, HEX, value)
  }
  for (const value of [
    '',
    'SHA-256=',
    `SHA-256=${HEX}`,
    `SHA-256=:${BASE64}:`,
    `sha256=${BASE64}`,
    `SHA-256=${BASE64.slice(0, -1)}`,
    `SHA-256=${BASE64},SHA-256=${OTHER}`,
  ]) {
    t.equal(judge({ digest: value }).declaredSha256, null, value)
  }
  t.equal(judge({ digest: `SHA-256=${OTHER}`, 'repr-digest': `sha-256=:${BASE64}:` }).declaredSha256, HEX)
  t.equal(judge({ digest: `SHA-256=${BASE64}`, 'repr-digest': 'sha-512=:AAAA:' }).declaredSha256, null)
  t.equal(judge({ digest: `SHA-256=${BASE64}`, 'content-encoding': 'gzip' }).declaredSha256, null, 'not when encoded')
  t.equal(judge({ digest: `SHA-256=${BASE64}` }, { status: 206 }).declaredSha256, null, 'nor of a part')
})

void t.test('the checksum of S3 counts when it is of the whole object', async (t) => {
  const of = (value: string, type?: string, status = 200) =>
    judge(
      { 'x-amz-checksum-sha256': value, ...(type === undefined ? {} : { 'x-amz-checksum-type': type }) },
      { status },
    ).declaredSha256
  t.equal(of(BASE64), HEX)
  t.equal(of(BASE64, 'FULL_OBJECT'), HEX)
  t.equal(of(BASE64, 'FULL_OBJECT', 206), HEX)
  t.equal(of(BASE64, undefined, 206), null, 'of a part: nobody knows of what')
  t.equal(of(`${BASE64}-3`), null, 'a digest of digests of three parts')
  t.equal(of(`${BASE64}-3`, 'COMPOSITE'), null)
  t.equal(of(BASE64, 'COMPOSITE'), null)
})

void t.test('S3 is asked for its checksum only by requests that nobody signed', async (t) => {
  const asked = { 'x-amz-checksum-mode': 'ENABLED' }
  for (const host of ['bucket.s3.amazonaws.com', 's3.eu-west-1.amazonaws.com', 'b.s3-eu-west-1.amazonaws.com']) {
    t.strictSame(s3Fields(new URL(`https://${host}/a`), { accept: '*/*' }), asked, host)
  }
  t.strictSame(s3Fields(new URL('https://b.s3.cn-north-1.amazonaws.com.cn/a?versionId=7'), {}), asked)
  for (const url of [
    'https://example.org/a',
    'https://s3.example.org/a',
    'https://evil-s3.amazonaws.com.example.org/a',
    'https://bucket.s3.amazonaws.com/a?X-Amz-Signature=f00&X-Amz-SignedHeaders=host',
    'https://bucket.s3.amazonaws.com/a?x-amz-algorithm=AWS4-HMAC-SHA256',
    'https://bucket.s3.amazonaws.com/a?AWSAccessKeyId=x&Signature=y',
  ]) {
    t.strictSame(s3Fields(new URL(url), {}), {}, url)
  }
  const url = new URL('https://bucket.s3.amazonaws.com/a')
  t.strictSame(s3Fields(url, { authorization: 'AWS4-HMAC-SHA256 x' }), {}, 'signed by a field')
  t.strictSame(s3Fields(url, { 'x-amz-date': '20260101T000000Z' }), {}, 'fields of its own')
})

void t.test('the URL of an OCI registry names its content, also after a redirect', async (t) => {
  const blob = `https://registry.example.org/v2/library/alpine/blobs/sha256:${HEX}`
  t.equal(judge({}, { url: blob }).declaredSha256, HEX)
  t.equal(judge({}, { url: blob.replace('blobs', 'manifests') }).declaredSha256, HEX)
  t.equal(judge({}, { url: blob.replace('sha256:', 'sha256%3A') }).declaredSha256, HEX)
  t.equal(
    judge({}, { url: 'https://cdn.example.org/x?sig=1', askedUrl: blob }).declaredSha256,
    HEX,
    'what was asked for',
  )
  t.equal(judge({}, { url: blob, askedUrl: 'https://example.org/' }).declaredSha256, null, 'not where it led to')
  for (const path of [
    `/v2/blobs/sha256:${HEX}`,
    `/v1/a/blobs/sha256:${HEX}`,
    `/v2/a/blobs/sha512:${HEX}${HEX}`,
    `/v2/a/blobs/sha256:${HEX}/x`,
    `/v2/a/blobs/sha256:${HEX.slice(1)}`,
    '/v2/a/manifests/latest',
  ]) {
    t.equal(sha256OfUrl(new URL(path, 'https://registry.example.org')), null, path)
  }
})

void t.test('declarations that differ are a conflict, and none of them is chosen', async (t) => {
  const blob = `https://registry.example.org/v2/a/blobs/sha256:${HEX}`
  const found = judge({ 'repr-digest': `sha-256=:${OTHER}:`, 'x-amz-checksum-sha256': OTHER }, { url: blob })
  t.equal(found.declaredSha256, null)
  t.equal(
    found.declaredConflict,
    `Repr-Digest says ${OTHER_HEX}, x-amz-checksum-sha256 says ${OTHER_HEX}, the URL says ${HEX}`,
  )
  const agreed = judge({ 'repr-digest': `sha-256=:${BASE64}:`, 'x-amz-checksum-sha256': BASE64 }, { url: blob })
  t.match(agreed, { declaredSha256: HEX, declaredConflict: null })
})

void t.test('a manifest is followed to the same origin only, and over https', async (t) => {
  const type = `type="${MANIFEST_MEDIA_TYPE}"`
  const link = (target: string, rest = `rel="describedby"; ${type}`) => `<${target}>; ${rest}`
  const at = (field: string, url?: string) => judge({ link: field }, url === undefined ? {} : { url }).manifestUrl
  const expected = 'https://example.org/dir/a.iso.shorthaul-manifest'
  for (const field of [
    link('a.iso.shorthaul-manifest'),
    link('/dir/a.iso.shorthaul-manifest#x'),
    link(expected, `rel=describedby;type=${MANIFEST_MEDIA_TYPE}`),
    link(expected, `REL="up DescribedBy" ; Type="${MANIFEST_MEDIA_TYPE}; v=1"`),
    `<https://example.org/>; rel="canonical", ${link(expected)}`,
    `${link('https://other.example/m')}, ${link(expected)}`,
  ]) {
    t.equal(at(field), expected, field)
  }
  for (const field of [
    link('https://other.example/m'),
    link('http://example.org/m'),
    link('https://example.org:8443/m'),
    link('https://user:secret@example.org/m'),
    link('file:///etc/passwd'),
    link('javascript:0'),
    link('https://[bad'),
    link('m', 'rel="describedby"'),
    link('m', type),
    link('m', `rel="describedby"; type="text/html"`),
    link('m', `rel="next"; rel="describedby"; ${type}`),
    link('m', `anchor="#a"; rel="describedby"; ${type}`),
    `x, ${link('m')}`,
    link('m', `rel="describedby`),
  ]) {
    t.equal(at(field), null, field)
  }
  t.equal(at(link('m'), 'http://example.org/a'), null, 'not over plain http')
  t.equal(at(link('m'), 'http://127.0.0.1:8080/a'), 'http://127.0.0.1:8080/m', 'but on this machine')
  t.equal(at(link('http://127.0.0.1:9090/m'), 'http://127.0.0.1:8080/a'), null, 'where ports are origins too')
})

void t.test('the Link field of a stranger is bounded and never throws', async (t) => {
  t.strictSame(parseLinks('<a>; rel="x\\"y"; b, <c>')[0]?.parameters.get('rel'), 'x"y')
  t.equal(parseLinks('<a>,<b> ,, <c>').length, 3)
  t.equal(parseLinks(`${'<a>,'.repeat(100)}<b>`).length, 64)
  t.equal(parseLinks(`<a>; x="${'y'.repeat(20_000)}"`).length, 0)
  fc.assert(fc.property(fc.string(), (text) => void parseLinks(text)))
  const piece = fc.constantFrom('<', '>', 'a', ';', ',', ' ', '=', '"', '\\', 'rel', '*')
  fc.assert(fc.property(fc.array(piece, { maxLength: 200 }), (pieces) => void parseLinks(pieces.join(''))))
  fc.assert(fc.property(fc.string(), (text) => void [parseLegacyDigest(text), parseAmzChecksum(text, null)]))
})

void t.test('digests are asked for on every hop, and of S3 what S3 wants to be asked', async (t) => {
  const server = await startTestOrigin()
  t.teardown(() => server.close())
  // The test origin is the proxy: it sees what would go to S3.
  const origins = await openOrigins({ env: { http_proxy: server.base } })
  t.teardown(() => origins.close())
  const fields = { 'x-amz-checksum-sha256': BASE64, 'x-amz-checksum-type': 'FULL_OBJECT' }
  server.serve('/first', CONTENT, { redirectTo: 'http://bucket.s3.amazonaws.com/last' })
  server.serve('/last', CONTENT, { fields })
  server.serve('/signed?X-Amz-Signature=f00', CONTENT, { fields })
  const signal = new AbortController().signal
  const facts = await origins.probe(originRequest('http://example.test/first'), { signal })
  t.match(facts, { declaredSha256: HEX, isTlsOnly: false })
  t.same(
    server.log.map(({ headers }) => [headers['want-repr-digest'], headers['x-amz-checksum-mode']]),
    [
      ['sha-256=10', undefined],
      ['sha-256=10', 'ENABLED'],
    ],
  )
  const url = 'http://bucket.s3.amazonaws.com/signed?X-Amz-Signature=f00'
  const stream = await origins.open(originRequest(url), { signal })
  t.ok((await readBody(stream)).equals(CONTENT))
  t.equal(stream.facts.declaredSha256, HEX, 'what comes unasked is read')
  t.equal(server.log.at(-1)?.headers['x-amz-checksum-mode'], undefined)
})
