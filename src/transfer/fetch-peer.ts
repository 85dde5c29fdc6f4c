/** Fetch one segment over the lane, verify it, and remember how the peer did. */
import type { Clock } from '../clock.ts'
import type { SegmentHash } from '../content/ids.ts'
import type { SegmentPool } from '../content/segment-pool.ts'
import { type VerifiedSegment, verifySegment } from '../content/verify.ts'
import { type ErrorCode, isShorthaulError } from '../errors.ts'
import type { LaneEndpointLike, PeerLane, PeerRecord } from './ports.ts'
import type { Tally } from './tally.ts'

/** What each failure is charged as; others (an abort) are nobody's fault. */
const FAILURE_KINDS: Partial<Record<ErrorCode, Parameters<PeerRecord['failed']>[1]>> = {
  SHORTHAUL_SEGMENT_CORRUPT: 'corrupt',
  SHORTHAUL_PEER_MISSING: 'missing',
  SHORTHAUL_PEER_BUSY: 'busy',
  SHORTHAUL_PEER_STALLED: 'stalled',
  SHORTHAUL_PEER_UNREACHABLE: 'unreachable',
  SHORTHAUL_PEER_PROTOCOL: 'protocol',
}

/**
 * @throws SHORTHAUL_SEGMENT_CORRUPT and SHORTHAUL_PEER_*; each is charged to the peer, and its bytes to waste
 */
export async function fetchFromPeer(
  components: {
    readonly lane: PeerLane
    readonly book: PeerRecord
    readonly clock: Clock
    readonly tally: Tally
    readonly pool: SegmentPool
  },
  request: {
    readonly endpoint: LaneEndpointLike
    readonly hash: SegmentHash
    readonly lengthBytes: number
    readonly signal: AbortSignal
  },
): Promise<VerifiedSegment> {
  const { lane, book, clock, tally, pool } = components
  const { endpoint, hash, lengthBytes, signal } = request
  const into = pool.take(lengthBytes)
  const startedAtMs = clock.monotonicMs()
  try {
    await lane.fetchSegment(endpoint, hash, { into, signal })
    const segment = verifySegment(into, hash)
    book.served(endpoint.peer, { bytes: lengthBytes, durationMs: clock.monotonicMs() - startedAtMs })
    return segment
  } catch (error) {
    if (!isShorthaulError(error)) throw error
    const { receivedBytes, retryAfterMs } = error.details
    tally.waste(
      error.code === 'SHORTHAUL_SEGMENT_CORRUPT' ? lengthBytes : typeof receivedBytes === 'number' ? receivedBytes : 0,
    )
    const kind = FAILURE_KINDS[error.code]
    const options = kind === 'busy' && typeof retryAfterMs === 'number' ? { retryAfterMs } : {}
    if (kind) book.failed(endpoint.peer, kind, options)
    throw error
  }
}
