/**
 * Frames between two processes of ours: `type u8 | length u32le | payload`. JSON frames tell, segment frames carry verified
 * bytes to the process that owns the target. What the JSON frames are is said by those who talk: control/frames.ts and
 * jobs/owner-protocol.ts.
 */
import { SEGMENT_BYTES } from '../content/segmentation.ts'
import { ShorthaulError } from '../errors.ts'

export interface SegmentFrame {
  readonly frame: 'segment'
  readonly index: number
  /** The reader's until it asks for the next frame. */
  readonly bytes: Uint8Array
}

const JSON_TYPE = 1
const SEGMENT_TYPE = 2
const HEAD_BYTES = 5
const INDEX_BYTES = 4
const MAX_JSON_BYTES = 64 * 1024

/** @param frame what JSON can say, at most 64 KiB of it */
export function encodeJsonFrame(frame: object): Buffer {
  const payload = Buffer.from(JSON.stringify(frame))
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUInt8(JSON_TYPE, 0)
  head.writeUInt32LE(payload.byteLength, 1)
  return Buffer.concat([head, payload])
}

/** The head of a segment frame; the bytes follow as they are, uncopied. */
export function encodeSegmentHead(index: number, lengthBytes: number): Buffer {
  const head = Buffer.alloc(HEAD_BYTES + INDEX_BYTES)
  head.writeUInt8(SEGMENT_TYPE, 0)
  head.writeUInt32LE(INDEX_BYTES + lengthBytes, 1)
  head.writeUInt32LE(index, HEAD_BYTES)
  return head
}

/**
 * Decodes a stream of frames. Memory: one frame, at most a segment, whose buffer is used again for the next: a fresh MiB
 * for each is garbage faster than it is collected.
 * @param from for messages: who sends it. What JSON frames hold is not looked at: the caller knows whom it believes
 * @throws SHORTHAUL_CONTROL_IO when the stream is not made of frames or ends within one
 */
export async function* decodeFramesOf<T extends object>(
  stream: AsyncIterable<Uint8Array>,
  from: string,
): AsyncGenerator<T | SegmentFrame> {
  const head = Buffer.alloc(HEAD_BYTES)
  let headBytes = 0
  let payload: Buffer | null = null
  let spare = Buffer.alloc(0)
  let filledBytes = 0
  for await (const chunk of stream) {
    let taken = 0
    while (taken < chunk.byteLength || (payload && filledBytes === payload.byteLength)) {
      if (!payload) {
        const part = chunk.subarray(taken, taken + HEAD_BYTES - headBytes)
        head.set(part, headBytes)
        headBytes += part.byteLength
        taken += part.byteLength
        if (headBytes < HEAD_BYTES) continue
        const lengthBytes = payloadBytes(head, from)
        if (spare.byteLength < lengthBytes) spare = Buffer.allocUnsafeSlow(lengthBytes)
        payload = spare.subarray(0, lengthBytes)
        filledBytes = 0
      }
      const part = chunk.subarray(taken, taken + payload.byteLength - filledBytes)
      payload.set(part, filledBytes)
      filledBytes += part.byteLength
      taken += part.byteLength
      if (filledBytes < payload.byteLength) continue
      const whole = payload
      payload = null
      headBytes = 0
      yield head.readUInt8(0) === SEGMENT_TYPE ? segmentFrame(whole) : jsonFrame<T>(whole, from)
    }
  }
  if (payload || headBytes > 0) throw broken(from, 'it ended within a frame')
}

function payloadBytes(head: Buffer, from: string): number {
  const type = head.readUInt8(0)
  const length = head.readUInt32LE(1)
  const isFitting =
    (type === JSON_TYPE && length <= MAX_JSON_BYTES) ||
    (type === SEGMENT_TYPE && length > INDEX_BYTES && length <= INDEX_BYTES + SEGMENT_BYTES)
  if (!isFitting) throw broken(from, `a frame of type ${type} with ${length} bytes`)
  return length
}

function segmentFrame(payload: Buffer): SegmentFrame {
  return { frame: 'segment', index: payload.readUInt32LE(0), bytes: payload.subarray(INDEX_BYTES) }
}

function jsonFrame<T extends object>(payload: Buffer, from: string): T {
  try {
    const value: unknown = JSON.parse(payload.toString('utf8'))
    if (typeof value === 'object' && value !== null) return value as T // the caller knows whom it believes
  } catch (cause) {
    throw broken(from, 'a frame that is not JSON', cause)
  }
  throw broken(from, 'a frame that is no object')
}

function broken(from: string, found: string, cause?: unknown): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_CONTROL_IO', `Cannot read from ${from}: ${found}`, { cause })
}
