/** Frames between processes of ours, one of which runs as another user; and events as our client reads them. */

import { SEGMENT_BYTES } from '../../../src/content/segmentation.ts'
import { decodeSentEvents, encodeSentEvent, type SentEvent } from '../../../src/control/sse.ts'
import { ERROR_TABLE, isShorthaulError } from '../../../src/errors.ts'
import { errorOf } from '../../../src/jobs/owner-protocol.ts'
import { decodeFramesOf, encodeJsonFrame, encodeSegmentHead, type SegmentFrame } from '../../../src/transfer/frames.ts'
import type { Seeded } from '../kit/seeded.ts'
import { type FuzzTarget, must, toBuffer } from '../kit/target.ts'

/** 1 to 8: all of them come up, and each input always has the same. */
function pieceBytesOf({ byteLength }: Uint8Array): number {
  return 1 + (byteLength % 8)
}

async function* cut(bytes: Buffer, pieceBytes: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.byteLength; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes)
}

function segmentFrame(index: number, bytes: Buffer): Buffer {
  return Buffer.concat([encodeSegmentHead(index, bytes.byteLength), bytes])
}

const JSON_FRAMES = [
  { frame: 'answer', call: 1, value: null },
  { frame: 'answer', call: 2, error: { code: 'SHORTHAUL_DISK_FULL', message: 'full', retryable: true } },
  { frame: 'answer', call: 3, error: { code: '__proto__', message: 'x' } },
  { frame: 'answer', call: 4, error: null },
  { frame: 'complete', lengthBytes: 5 },
  ['frame'],
] as const

interface Reading {
  readonly frames: readonly object[]
  readonly isWhole: boolean
}

async function read(bytes: Buffer, pieceBytes: number): Promise<Reading> {
  const frames: object[] = []
  try {
    for await (const frame of decodeFramesOf<object>(cut(bytes, pieceBytes), 'x')) frames.push(kept(frame))
    return { frames, isWhole: true }
  } catch (error) {
    if (!isShorthaulError(error, 'SHORTHAUL_CONTROL_IO')) throw error
    return { frames, isWhole: false }
  }
}

function isSegment(frame: object): frame is SegmentFrame {
  return 'bytes' in frame && frame.bytes instanceof Uint8Array
}

/** The buffer is used again for the next one. */
function kept(frame: object): object {
  if (!isSegment(frame)) return frame
  must(frame.bytes.byteLength >= 1 && frame.bytes.byteLength <= SEGMENT_BYTES, 'a segment of another length')
  return { ...frame, bytes: Buffer.from(frame.bytes) }
}

export const framesTarget: FuzzTarget = {
  name: 'frames',
  testRuns: { count: 8000, why: 'each is a stream that is read twice' },
  // Two readings, one of them in small pieces.
  maxBytes: 512,
  covers: ['transfer/frames', 'jobs/owner-protocol'],
  seeds: [...JSON_FRAMES.map(encodeJsonFrame), segmentFrame(7, Buffer.from('bytes'))],
  tokens: ['\x01', '\x02', '\x05\x00\x00\x00', '{"frame":', 'null', '[]'],
  // A frame is read into a buffer of its own, at most a segment, in both readings.
  maxAllocatedBytes: (input) => 2 * (SEGMENT_BYTES + 4) + 16 * 1024 + 32 * input.byteLength,
  generate(random) {
    const frames = Array.from({ length: 1 + random.few(5) }, () =>
      random.chance(0.5)
        ? encodeJsonFrame(random.pick(JSON_FRAMES) ?? {})
        : segmentFrame(random.u32(), random.bytes(1 + random.below(40))),
    )
    return Buffer.concat(frames)
  },
  async run(input) {
    const bytes = Buffer.from(input)
    const whole = await read(bytes, Math.max(1, bytes.byteLength))
    const inPieces = await read(bytes, pieceBytesOf(input))
    must(inPieces.isWhole === whole.isWhole, 'in pieces it is broken, or the reverse')
    must(JSON.stringify(inPieces.frames) === JSON.stringify(whole.frames), 'in pieces it says something else')
    for (const frame of whole.frames) {
      const { code, message } = errorOf(Object(frame).error)
      must(Object.hasOwn(ERROR_TABLE, code) && message.length <= 2000, 'an error that is none of ours')
    }
    if (!whole.isWhole) return 'refused'
    if (whole.frames.every(isSegment)) {
      const again = whole.frames.filter(isSegment).map(({ index, bytes: of }) => segmentFrame(index, Buffer.from(of)))
      must(Buffer.concat(again).equals(toBuffer(input)), 'segments are encoded otherwise')
    }
    return 'accepted'
  },
}

async function readEvents(bytes: Buffer, pieceBytes: number): Promise<SentEvent[]> {
  const events: SentEvent[] = []
  for await (const event of decodeSentEvents(cut(bytes, pieceBytes))) events.push(event)
  return events
}

function sentEvent(random: Seeded): SentEvent {
  const name = random.pick(['n', 'é', '\u2028', '\ufeff', ' ', ':', '"', '\r\n', '€'.repeat(40)] as const)
  return {
    id: random.chance(0.7) ? String(random.below(1000)) : null,
    event: random.pick(['state', 'progress'] as const),
    data: JSON.stringify({ name, value: random.u32() }),
  }
}

/** The bytes are read as a stream of events, and are written as the data of one. */
export const sentEventsTarget: FuzzTarget = {
  name: 'sent-events',
  testRuns: { count: 8000, why: 'each is a stream that is read three times' },
  maxBytes: 512,
  covers: ['control/sse'],
  seeds: [Buffer.from(':\n\nid: 5\n\nretry: 1000\nid: 6\nevent: state\ndata: {}\n\n')],
  tokens: ['id', 'event', 'data', 'retry', ': ', ':', '\n', '\n\n', '\r', '\xe2\x80\xa8', '\xef\xbb\xbf'],
  maxAllocatedBytes: (input) => 64 * 1024 + 32 * input.byteLength,
  generate: (random) =>
    Buffer.from(`:\n\n${Array.from({ length: 1 + random.few(4) }, () => encodeSentEvent(sentEvent(random))).join('')}`),
  async run(input) {
    const bytes = Buffer.from(input)
    const events = await readEvents(bytes, Math.max(1, bytes.byteLength))
    const inPieces = await readEvents(bytes, pieceBytesOf(input))
    must(JSON.stringify(inPieces) === JSON.stringify(events), 'in pieces they are other events')
    const data = bytes.toString('utf8').replaceAll(/[\r\n]/g, '')
    if (data !== '') {
      const written = { id: '1', event: 'state', data }
      const [again] = await readEvents(Buffer.from(`:\n\n${encodeSentEvent(written)}`), 64)
      must(JSON.stringify(again) === JSON.stringify(written), 'an event is read otherwise than it was written')
    }
    return events.length > 0 ? 'accepted' : 'refused'
  },
}
