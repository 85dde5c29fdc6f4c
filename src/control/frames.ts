/**
 * The frames of a fetch over the control socket: `type u8 | length u32le | payload`. JSON frames tell, segment frames
 * carry verified bytes to the process that owns the target.
 */
import type { ResourceId } from '../content/ids.ts'
import { SEGMENT_BYTES } from '../content/segmentation.ts'
import { type ErrorCode, ShorthaulError } from '../errors.ts'
import type { TransferEvent, TransferResult } from '../transfer/request.ts'

export interface ErrorFrame {
  readonly frame: 'error'
  readonly code: ErrorCode
  readonly message: string
  readonly retryable: boolean
  readonly details: Readonly<Record<string, unknown>>
}

export type ControlFrame =
  /** The id under which the digest is answered. */
  | { readonly frame: 'accepted'; readonly id: string }
  | { readonly frame: 'begin'; readonly resource: ResourceId | null; readonly lengthBytes: number | null }
  | { readonly frame: 'keep'; readonly index: number }
  | { readonly frame: 'restart' }
  /** Answer with POST /v1/fetch/{id}/digest. */
  | { readonly frame: 'digest'; readonly lengthBytes: number }
  | { readonly frame: 'complete'; readonly lengthBytes: number }
  | { readonly frame: 'event'; readonly event: TransferEvent }
  | { readonly frame: 'result'; readonly result: TransferResult }
  | ErrorFrame

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

export function encodeFrame(frame: ControlFrame): Buffer {
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
 * @throws SHORTHAUL_CONTROL_IO when the stream is not made of frames or ends within one
 */
export async function* decodeFrames(stream: AsyncIterable<Uint8Array>): AsyncGenerator<ControlFrame | SegmentFrame> {
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
        const lengthBytes = payloadBytes(head)
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
      yield head.readUInt8(0) === SEGMENT_TYPE ? segmentFrame(whole) : jsonFrame(whole)
    }
  }
  if (payload || headBytes > 0) throw broken('it ended within a frame')
}

function payloadBytes(head: Buffer): number {
  const type = head.readUInt8(0)
  const length = head.readUInt32LE(1)
  const isFitting =
    (type === JSON_TYPE && length <= MAX_JSON_BYTES) ||
    (type === SEGMENT_TYPE && length > INDEX_BYTES && length <= INDEX_BYTES + SEGMENT_BYTES)
  if (!isFitting) throw broken(`a frame of type ${type} with ${length} bytes`)
  return length
}

function segmentFrame(payload: Buffer): SegmentFrame {
  return { frame: 'segment', index: payload.readUInt32LE(0), bytes: payload.subarray(INDEX_BYTES) }
}

function jsonFrame(payload: Buffer): ControlFrame {
  try {
    return JSON.parse(payload.toString('utf8')) as ControlFrame // our own daemon wrote it; the socket's owner is checked
  } catch (cause) {
    throw broken('a frame that is not JSON', cause)
  }
}

function broken(found: string, cause?: unknown): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_CONTROL_IO', `Cannot read from the local agent: ${found}`, { cause })
}
