/**
 * Requests as the lane's server takes them, over HTTP parsed by Node in this process, without sockets and TLS: the answers
 * must be ones that our own client would read, and never hold other bytes than were asked for.
 */
import { createServer, type Server } from 'node:http'
import { Duplex } from 'node:stream'
import type { AgentKey } from '../../../src/content/ids.ts'
import { LaneAdmission } from '../../../src/peers/lane-admission.ts'
import { readHead } from '../../../src/peers/lane-answer.ts'
import { LaneResponder, listenForRequests, SEGMENTS_PATH } from '../../../src/peers/lane-responder.ts'
import { LaneWatch } from '../../../src/peers/lane-watch.ts'
import { silent } from '../../peers/branch-fixture.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'
import type { Seeded } from '../kit/seeded.ts'
import { type FuzzTarget, latin1, must } from '../kit/target.ts'

const PEER = '0a'.repeat(32) as AgentKey
const HASH = 'c5'.repeat(32)
const SEGMENT = Buffer.from(Array.from({ length: 300 }, (_, at) => at % 251))
/** As the lane's server has it. */
const MAX_HEADER_BYTES = 4096
/** Node's own answers to what is no HTTP. */
const NOT_OURS =
  /^HTTP\/1\.1 (?:400 Bad Request|431 Request Header Fields Too Large|408 Request Timeout|417 Expectation Failed)\r\n/
const QUIET_TURNS = 4

class MemorySocket extends Duplex {
  readonly written: Buffer[] = []

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.written.push(Buffer.from(chunk))
    done()
  }
}

let opened: { readonly server: Server; readonly admission: LaneAdmission } | null = null

/** One for all inputs: what is left of one input would show in the next. */
function open(): { readonly server: Server; readonly admission: LaneAdmission } {
  if (opened !== null) return opened
  const clock = new VirtualClock()
  const admission = new LaneAdmission({ clock }, { maxUploads: 4 })
  const watch = new LaneWatch({ clock }, { stallTimeoutMs: 5000 })
  const read = async (hash: string) => (hash === HASH ? SEGMENT : null)
  const responder = new LaneResponder({ clock, log: silent, admission, watch, read })
  const server = createServer({ maxHeaderSize: MAX_HEADER_BYTES })
  listenForRequests(server, (request, response) => {
    // Never rejects; if it did, the check would see an unhandled rejection.
    void responder.respond(request, response, PEER)
  })
  opened = { server, admission }
  return opened
}

function request(random: Seeded): string {
  const path = random.pick([HASH, HASH, HASH, 'd6'.repeat(32), HASH.toUpperCase(), `${HASH}?x`, '', '../..'] as const)
  const method = random.pick(['GET', 'GET', 'GET', 'GET', 'HEAD', 'POST', 'DELETE', 'OPTIONS'] as const)
  const [one, other] = [random.below(400), random.below(400)]
  const fields = [
    `Range: bytes=${one}-${other}`,
    `Range: bytes=-${one}`,
    `Range: bytes=${one}-`,
    'Range: bytes=0-1,5-6',
    'Content-Length: 0',
    'Content-Length: 3',
    'Transfer-Encoding: chunked',
    'Expect: 100-continue',
    'Connection: close',
    'Upgrade: h2c',
    'If-Range: "x"',
    `X: ${'y'.repeat(random.below(100))}`,
  ] as const
  const chosen = Array.from({ length: random.below(3) }, () => random.pick(fields))
  const body = random.chance(0.1) ? 'abc' : ''
  return `${method} ${SEGMENTS_PATH}${path} HTTP/1.1\r\n${['Host: x', ...chosen].join('\r\n')}\r\n\r\n${body}`
}

export const laneServerTarget: FuzzTarget = {
  name: 'lane-server',
  testRuns: { count: 8000, why: 'each goes through the HTTP server of Node' },
  covers: ['peers/lane-responder', 'peers/lane-range', 'peers/lane-upload'],
  seeds: [`GET ${SEGMENTS_PATH}${HASH} HTTP/1.1\r\nHost: x\r\nRange: bytes=0-9\r\n\r\n`].map(latin1),
  tokens: [
    SEGMENTS_PATH,
    HASH,
    'GET ',
    ' HTTP/1.1\r\n',
    'Range: bytes=',
    '\r\n\r\n',
    '\r\n',
    'Content-Length: ',
    'Host: x\r\n',
  ],
  maxBytes: 6000,
  // Of Node's, for each request; of ours is nothing.
  maxAllocatedBytes: (input) => 1024 * 1024 + 64 * input.byteLength,
  generate: (random) => latin1(Array.from({ length: 1 + random.few(3) }, () => request(random)).join('')),
  async run(input) {
    const socket = new MemorySocket()
    socket.on('error', () => {})
    const { server, admission } = open()
    server.emit('connection', socket)
    socket.push(Buffer.from(input))
    // Nothing waits for a timer here: when it is quiet for some turns all is answered that will be.
    for (let quietTurns = 0, seen = 0; quietTurns < QUIET_TURNS && !socket.closed; quietTurns++) {
      await new Promise((resolve) => setImmediate(resolve))
      if (socket.written.length > seen) quietTurns = 0
      seen = socket.written.length
    }
    socket.destroy()
    for (let turns = 0; turns < QUIET_TURNS && admission.activeCount > 0; turns++) {
      await new Promise((resolve) => setImmediate(resolve))
    }
    const heldCount = admission.activeCount
    if (heldCount > 0) opened = null
    must(heldCount === 0, `${heldCount} slots are still held by a connection that is gone`)
    return judge(Buffer.concat(socket.written))
  },
  close() {
    opened?.server.closeAllConnections()
    opened = null
  },
}

function judge(written: Buffer): 'accepted' | 'refused' {
  let isServed = false
  for (let rest = written; rest.byteLength > 0; ) {
    if (NOT_OURS.test(rest.toString('latin1', 0, 60))) return isServed ? 'accepted' : 'refused'
    const reading = readHead(rest)
    must(reading.kind === 'whole', `our own client would not read ${JSON.stringify(rest.toString('latin1', 0, 200))}`)
    const { answer, headBytes } = reading
    const body = rest.subarray(headBytes, headBytes + answer.bodyBytes)
    must(body.byteLength === answer.bodyBytes, 'a body that was cut short')
    rest = rest.subarray(headBytes + answer.bodyBytes)
    if (answer.status >= 300) {
      must(answer.bodyBytes === 0, 'a refusal with a body')
      continue
    }
    isServed = true
    const [, first = '0', last = String(SEGMENT.byteLength - 1)] =
      /^bytes (\d+)-(\d+)\/300$/.exec(answer.contentRange ?? '') ?? []
    must((answer.status === 206) === (answer.contentRange !== null), `${answer.status} with ${answer.contentRange}`)
    must(body.equals(SEGMENT.subarray(Number(first), Number(last) + 1)), 'other bytes than it says')
  }
  return isServed ? 'accepted' : 'refused'
}
