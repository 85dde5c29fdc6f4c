/**
 * How much of what members vouch for is compared with the origin. Pure.
 *
 * Invariant: whatever the size of the branch, its members together ask the origin for at most BUDGET_RATIO of the content
 * on average, request and answer heads not counted: what is sampled by each is divided by how many there are.
 */
import type { Random } from '../clock.ts'
import type { ByteRange } from '../content/segmentation.ts'

/** Many small samples find a lie sooner than few large ones; a request costs some 400 bytes whatever it asks for. */
export const SPOT_CHECK_BYTES = 4096
/** Leaves room, below the promised hundredth, for heads and for those who look into an accusation. */
const BUDGET_RATIO = 0.006

/**
 * Chance in [0, 1] with which one member checks a segment that it had from another.
 * @param memberCount agents of the branch as far as this one knows, itself included
 */
export function spotCheckChance(segmentBytes: number, memberCount: number): number {
  const sampleBytes = Math.min(SPOT_CHECK_BYTES, segmentBytes)
  const receiverCount = Math.max(1, memberCount - 1) // the signer has it from the origin and checks nothing
  return Math.min(1, (BUDGET_RATIO * segmentBytes) / (sampleBytes * receiverCount))
}

/** What of a segment to compare: anywhere in it, so that no part is safe to lie about. */
export function spotCheckRange(segmentBytes: number, random: Random): ByteRange {
  const sampleBytes = Math.min(SPOT_CHECK_BYTES, segmentBytes)
  const start = Math.floor(random() * (segmentBytes - sampleBytes + 1))
  return { start, end: start + sampleBytes }
}

/** The sample that shows a difference that somebody found at `offset`: around it, within the segment. */
export function sampleAround(offset: number, segmentBytes: number): ByteRange {
  const sampleBytes = Math.min(SPOT_CHECK_BYTES, segmentBytes)
  const start = Math.max(0, Math.min(offset - (sampleBytes >> 1), segmentBytes - sampleBytes))
  return { start, end: start + sampleBytes }
}
