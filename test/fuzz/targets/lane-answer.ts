/** What a peer answers on the lane: the head, whether the request takes it, and where the bytes go. */
import { isShorthaulError } from '../../../src/errors.ts'
import { type LaneAnswer, MAX_HEAD_BYTES, readHead } from '../../../src/peers/lane-answer.ts'
import { contentRangeField, isContentRange, rangeField, requestedRange } from '../../../src/peers/lane-range.ts'
import { LaneRequest } from '../../../src/peers/lane-request.ts'
import type { Seeded } from '../kit/seeded.ts'
import { type FuzzTarget, latin1, must, mustBeBounded, type Verdict } from '../kit/target.ts'

const TOKENS = [
  'HTTP/1.1 200 OK\r\n',
  'HTTP/1.1 206 Partial Content\r\n',
  'HTTP/1.1 503 x\r\n',
  'Content-Length: ',
  'Content-Range: bytes 0-9/100',
  'Transfer-Encoding: chunked\r\n',
  'Retry-After: ',
  'Shorthaul-Retry-After-Ms: ',
  'Connection: close\r\n',
  '\r\n\r\n',
  '\r\n',
  '\n',
  ':',
  '\x00',
] as const
const BODY_BYTES = 10
const RANGE = { start: 0, end: BODY_BYTES } as const

/** A head as our servers send them, with a body; sometimes with a field too many. */
export function answer(random: Seeded): Buffer {
  const status = random.pick(['200 OK', '206 Partial Content', '404 Not Found', '503 ', '416 x', '301 Moved'] as const)
  const length = random.pick(['10', '10', '10', '0', '5', '1024', '1025', '9999999999', '10 '] as const)
  const more = [
    'Content-Range: bytes 0-9/1048576',
    'ETag: "x"',
    'Retry-After: 1',
    'Retry-After: 99999999999',
    'Shorthaul-Retry-After-Ms: 20',
    'Shorthaul-Retry-After-Ms: 0',
    'Connection: close',
    'connection:\tkeep-alive  ',
    `x: ${'y'.repeat(random.below(200))}`,
  ] as const
  const fields = [`Content-Length: ${length}`, ...Array.from({ length: random.below(4) }, () => random.pick(more))]
  const body = random.bytes(random.chance(0.7) ? BODY_BYTES : random.below(2 * BODY_BYTES))
  return Buffer.concat([latin1(`HTTP/1.1 ${status}\r\n${fields.join('\r\n')}\r\n\r\n`), body])
}

export const ANSWER_SEEDS = [
  `HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789`,
  `HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 0-9/100\r\ncontent-length: 10\r\n\r\n0123456789`,
  `HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\nshorthaul-retry-after-ms: 20\r\n\r\n`,
  `HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`,
].map(latin1)

export const laneAnswerTarget: FuzzTarget = {
  name: 'lane-answer',
  covers: ['peers/lane-answer', 'peers/lane-request', 'peers/lane-range'],
  seeds: ANSWER_SEEDS,
  tokens: TOKENS,
  maxBytes: 6000,
  generate: answer,
  async run(input) {
    const bytes = Buffer.from(input)
    const reading = readHead(bytes)
    if (reading.kind !== 'whole') {
      // What is broken does not become whole by more bytes.
      if (reading.kind === 'broken')
        must(readHead(Buffer.concat([bytes, latin1('\r\n\r\n')])).kind === 'broken', 'it was mended')
      return 'refused'
    }
    const { answer: found, headBytes } = reading
    mustBeBounded(found, input)
    must(bytes.indexOf('\r\n\r\n') === headBytes - 4 && headBytes <= MAX_HEAD_BYTES, `a head of ${headBytes} bytes`)
    const lengths = bytes.toString('latin1', 0, headBytes).match(/\r\ncontent-length:/gi)
    must(lengths?.length === 1, 'two lengths of one body')
    must(found.status >= 200 && found.status <= 599, `status ${found.status}`)
    must(Number.isSafeInteger(found.bodyBytes) && found.bodyBytes >= 0, `a body of ${found.bodyBytes} bytes`)
    for (const cut of [1, 2, 3, headBytes >> 1, headBytes - 1]) {
      must(readHead(bytes.subarray(0, headBytes - cut)).kind === 'partial', 'the beginning of a head is no beginning')
    }
    const isTaken = [await give(found, null), await give(found, RANGE)]
    return isTaken.includes('accepted') ? 'accepted' : 'refused'
  },
}

/** As the connection does it, but for the sockets. */
async function give(found: LaneAnswer, range: typeof RANGE | null): Promise<Verdict> {
  const into = Buffer.alloc(BODY_BYTES)
  let isDestroyed = false
  const request = new LaneRequest({ into, range, deadlineMs: 1 })
  const settled = request.done.then(
    () => null,
    (error: unknown) => error,
  )
  request.start({
    isHeld: false,
    destroy: () => {
      isDestroyed = true
    },
  })
  request.judge(found)
  if (!request.isSettled) {
    const target = request.target()
    if (target !== null)
      must(target.byteLength === BODY_BYTES && found.bodyBytes === BODY_BYTES, 'it takes another length')
    request.received(found.bodyBytes)
    must((request.target()?.byteLength ?? 0) === 0, 'it would take more than its length')
    request.finish()
  } else must(isDestroyed, 'a connection is left that said what it should not')
  must(request.isSettled && request.target() === null, 'it has not settled, or still takes bytes')
  const error = await settled
  const isBytes = found.status === (range ? 206 : 200)
  if (error === null) {
    must(isBytes && found.bodyBytes === BODY_BYTES, 'an answer was taken that is not the segment')
    must(range === null || isContentRange(found.contentRange ?? undefined, range), 'another range was taken')
    return 'accepted'
  }
  if (isShorthaulError(error, 'SHORTHAUL_PEER_BUSY')) {
    const { retryAfterMs } = error.details
    must(typeof retryAfterMs === 'number' && retryAfterMs >= 1 && retryAfterMs <= 60_000, `busy for ${retryAfterMs} ms`)
    must(found.status === 503, 'busy, but not 503')
    return 'accepted'
  }
  if (isShorthaulError(error, 'SHORTHAUL_PEER_MISSING') && found.status === 404) return 'accepted'
  if (isShorthaulError(error, 'SHORTHAUL_PEER_PROTOCOL')) return 'refused'
  throw error
}

/** A Range field as the lane's server reads it, and a Content-Range as its client does; the length stands first. */
export const laneRangeTarget: FuzzTarget = {
  name: 'lane-range',
  covers: ['peers/lane-range'],
  seeds: ['\x0a\x00bytes=0-4', '\x0a\x00bytes=-3', '\x0a\x00bytes=9-', '\x0a\x00bytes 0-4/10', '\x00\x00bytes=0-'].map(
    latin1,
  ),
  tokens: ['bytes=', 'bytes ', '-', '/', '*', '999999999', ' ', ','],
  maxBytes: 64,
  generate(random) {
    const [one, other] = [random.below(300), random.below(300)]
    const text = random.pick([
      `bytes=${one}-${other}`,
      `bytes=${one}-`,
      `bytes=-${one}`,
      `bytes ${one}-${other}/${other + 1}`,
    ] as const)
    return Buffer.concat([Buffer.from([random.below(256), random.below(2)]), latin1(text)])
  },
  run(input) {
    const [low = 0, high = 0] = input
    const lengthBytes = low + 256 * high
    const text = Buffer.from(input).toString('latin1', 2)
    const range = requestedRange(text, lengthBytes)
    const own = { start: low, end: lengthBytes + 1 }
    must(isContentRange(contentRangeField(own, own.end), own), 'what the server writes the client does not take')
    if (isContentRange(text, own)) must(text.startsWith(`bytes ${low}-${lengthBytes}/`.slice(0, 6)), 'another range')
    if (typeof range === 'string') return 'refused'
    must(range.start >= 0 && range.start < range.end && range.end <= lengthBytes, `[${range.start}, ${range.end})`)
    must(
      JSON.stringify(requestedRange(rangeField(range), lengthBytes)) === JSON.stringify(range),
      'it is read otherwise',
    )
    return 'accepted'
  },
}
