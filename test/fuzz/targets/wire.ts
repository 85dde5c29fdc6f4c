/** Messages of a control session, as they come from whoever proved membership. */
import { MAX_SEGMENT_COUNT, type SegmentRange } from '../../../src/content/segmentation.ts'
import { decodeFrame, encodedLength, encodeFrame, type Frame } from '../../../src/peers/wire.ts'
import { Seeded } from '../kit/seeded.ts'
import { decodedOrNull, type FuzzTarget, must, mustBeBounded, toBuffer } from '../kit/target.ts'
import { encodedMessage } from './wire-messages.ts'

/** One of each kind, and more. */
export const MESSAGE_SEEDS = Array.from({ length: 40 }, (_, seed) => encodedMessage(new Seeded(seed)))

function rangesOf(frame: Frame): readonly SegmentRange[] {
  switch (frame.type) {
    case 'have':
    case 'gone':
      return frame.ranges
    case 'claim':
      return frame.states.flatMap(({ state }) => [...state.claimed, ...state.fetched])
    default:
      return []
  }
}

export const wireTarget: FuzzTarget = {
  name: 'wire',
  covers: ['peers/wire', 'peers/frame-bytes'],
  seeds: MESSAGE_SEEDS,
  maxBytes: 8192,
  generate: encodedMessage,
  run(input) {
    const decoded = decodedOrNull('SHORTHAUL_PEER_PROTOCOL', () => decodeFrame(input))
    if (decoded === null) return 'refused'
    mustBeBounded(decoded, input)
    if (decoded.type === 'unknown') {
      must(decoded.tag === input[0], 'an unknown message of another tag')
      return 'refused'
    }
    for (const { start, end } of rangesOf(decoded)) must(start < end && end <= MAX_SEGMENT_COUNT, `[${start}, ${end})`)
    // In both: a frame has one message and a message one frame. What is out of range cannot be encoded.
    must(encodedLength(decoded) === input.byteLength, `a ${decoded.type} has another length when it is encoded`)
    must(encodeFrame(decoded).equals(toBuffer(input)), `a ${decoded.type} is encoded otherwise`)
    return 'accepted'
  },
}
