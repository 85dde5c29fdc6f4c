/** The frames of a fetch over the control socket; how they are written is in transfer/frames.ts. */
import type { ResourceId } from '../content/ids.ts'
import type { ErrorCode } from '../errors.ts'
import { decodeFramesOf, encodeJsonFrame, type SegmentFrame } from '../transfer/frames.ts'
import type { TransferEvent, TransferResult } from '../transfer/request.ts'

export { encodeSegmentHead } from '../transfer/frames.ts'

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

export function encodeFrame(frame: ControlFrame): Buffer {
  return encodeJsonFrame(frame)
}

/** Of our own daemon: the socket's owner is checked. @throws SHORTHAUL_CONTROL_IO @see decodeFramesOf */
export function decodeFrames(stream: AsyncIterable<Uint8Array>): AsyncGenerator<ControlFrame | SegmentFrame> {
  return decodeFramesOf<ControlFrame>(stream, 'the local agent')
}
