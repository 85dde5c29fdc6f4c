import fc from 'fast-check'
import t from 'tap'
import { type HeadReading, MAX_HEAD_BYTES, readHead } from '../../src/peers/lane-answer.ts'

const read = (text: string): HeadReading => readHead(Buffer.from(text, 'latin1'))

t.test('the head of an answer of ours is read, and where its body begins', async (t) => {
  const head = [
    'HTTP/1.1 206 Partial Content',
    'content-length: 5',
    'content-type: application/octet-stream',
    'ETag: "c5"',
    'Content-Range:bytes 5-9/100\t ',
    'Date: Wed, 25 Nov 2026 16:00:00 GMT',
    'Connection: keep-alive',
    'Keep-Alive: timeout=60',
    '',
    '',
  ].join('\r\n')
  t.same(read(`${head}xx`), {
    kind: 'whole',
    answer: {
      status: 206,
      bodyBytes: 5,
      contentRange: 'bytes 5-9/100',
      retryAfter: null,
      retryAfterMs: null,
      isLast: false,
    },
    headBytes: head.length,
  })
  const busy =
    'HTTP/1.1 503 \r\nRetry-After: 1\r\nShorthaul-Retry-After-Ms: 40\r\nContent-Length: 0\r\nConnection: Close'
  t.match(read(`${busy}\r\n\r\n`), { answer: { status: 503, retryAfter: '1', retryAfterMs: '40', isLast: true } })
})

t.test('what no lane server of ours sends is broken, as soon as that shows', async (t) => {
  const length = 'Content-Length: 5\r\n'
  const heads: [name: string, head: string][] = [
    ['another protocol', 'S'],
    ['another version', 'HTTP/1.0'],
    ['an old answer', 'HTTP/0.9 200 OK\r\n\r\n'],
    ['an interim answer', `HTTP/1.1 100 Continue\r\n${length}\r\n`],
    ['no status', `HTTP/1.1 OK\r\n${length}\r\n`],
    ['a long status', `HTTP/1.1 2000 OK\r\n${length}\r\n`],
    ['no space after it', `HTTP/1.1 200\r\n${length}\r\n`],
    ['no length', 'HTTP/1.1 200 OK\r\n\r\n'],
    ['two lengths', `HTTP/1.1 200 OK\r\n${length}${length}\r\n`],
    ['a list of lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n'],
    ['a length with a sign', 'HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n'],
    ['a length with zeros', 'HTTP/1.1 200 OK\r\nContent-Length: 05\r\n\r\n'],
    ['an immense length', `HTTP/1.1 200 OK\r\nContent-Length: ${'9'.repeat(11)}\r\n\r\n`],
    ['chunks', `HTTP/1.1 200 OK\r\n${length}Transfer-Encoding: chunked\r\n\r\n`],
    ['no colon', `HTTP/1.1 200 OK\r\n${length}nonsense\r\n\r\n`],
    ['a space before the colon', `HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n`],
    ['a folded field', `HTTP/1.1 200 OK\r\n${length}X: a\r\n b\r\n\r\n`],
    ['a bare line feed', `HTTP/1.1 200 OK\r\n${length}X: a\nY: b\r\n\r\n`],
    ['a bare return', `HTTP/1.1 200 OK\r\n${length}X: a\rY: b\r\n\r\n`],
    ['a zero byte', `HTTP/1.1 200 OK\r\n${length}X: \0\r\n\r\n`],
    ['an endless field', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(MAX_HEAD_BYTES)}`],
    ['a long head', `HTTP/1.1 200 OK\r\n${length}X: ${'x'.repeat(MAX_HEAD_BYTES)}\r\n\r\n`],
  ]
  for (const [name, head] of heads) t.equal(read(head).kind, 'broken', name)
})

/** Heads and near misses: pieces of heads in any order. */
const piece = fc.constantFrom(
  'HTTP/1.1 200 OK\r\n',
  'HTTP/1.1 503 Busy\r\n',
  'Content-Length: 7\r\n',
  'content-length:0\r\n',
  'Connection: close\r\n',
  'X-Any: a b\r\n',
  '\r\n',
  '\n',
  '\r',
  ': ',
  'body',
)
const stream = fc
  .oneof(
    { weight: 3, arbitrary: fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join('')) },
    {
      weight: 3,
      arbitrary: fc.array(piece, { maxLength: 8 }).map((pieces) => `HTTP/1.1 200 OK\r\n${pieces.join('')}\r\n\r\n`),
    },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 5000 }) },
    { weight: 1, arbitrary: fc.nat(5000).map((length) => `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(length)}\r\n\r\n`) },
  )
  .map((text) => Buffer.from(text, 'latin1'))

t.test('any bytes give an answer within bounds, a refusal, or a wish for more that has an end', async () => {
  fc.assert(
    fc.property(stream, (bytes) => {
      const reading = readHead(bytes)
      if (reading.kind === 'partial') return bytes.byteLength < MAX_HEAD_BYTES
      if (reading.kind === 'broken') return reading.found.length > 0
      const { answer, headBytes } = reading
      return (
        headBytes <= Math.min(bytes.byteLength, MAX_HEAD_BYTES) &&
        bytes.subarray(headBytes - 4, headBytes).toString() === '\r\n\r\n' &&
        Number.isSafeInteger(answer.bodyBytes) &&
        answer.bodyBytes >= 0 &&
        answer.status >= 200 &&
        answer.status < 600
      )
    }),
    { numRuns: 2000 },
  )
})

t.test('a head that comes byte by byte is read as one that comes at once', async () => {
  const verdict = (bytes: Buffer): unknown => {
    const reading = readHead(bytes)
    return reading.kind === 'broken' ? reading.kind : reading
  }
  fc.assert(
    fc.property(stream, (bytes) => {
      let seen: unknown = readHead(Buffer.alloc(0))
      for (let end = 1; end <= bytes.byteLength && Object(seen).kind === 'partial'; end++) {
        seen = verdict(bytes.subarray(0, end))
      }
      return fc.stringify(seen) === fc.stringify(verdict(bytes))
    }),
    { numRuns: 500 },
  )
})
