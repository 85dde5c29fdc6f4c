/** Fetch one segment over the lane, verify it, and remember how the peer did. */
import type { Clock } from '../clock.ts'
import type { SegmentHash } from '../content/ids.ts'
import type { SegmentPool } from '../content/segment-pool.ts'
import { type VerifiedSegment, verifySegment } from '../content/verify.ts'
import { isShorthaulError } from '../errors.ts'
import type { LaneEndpointLike, PeerLane, PeerRecord } from './ports.ts'
import type { Tally } from './tally.ts'

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
    const options = typeof retryAfterMs === 'number' ? { retryAfterMs } : {}
    switch (error.code) {
      case 'SHORTHAUL_SEGMENT_CORRUPT':
        book.failed(endpoint.peer, 'corrupt')
        break
      case 'SHORTHAUL_PEER_MISSING':
        book.failed(endpoint.peer, 'missing')
        break
      case 'SHORTHAUL_PEER_BUSY':
        book.failed(endpoint.peer, 'busy', options)
        break
      case 'SHORTHAUL_PEER_STALLED':
        book.failed(endpoint.peer, 'stalled')
        break
      case 'SHORTHAUL_PEER_UNREACHABLE':
        book.failed(endpoint.peer, 'unreachable')
        break
      case 'SHORTHAUL_PEER_PROTOCOL':
        book.failed(endpoint.peer, 'protocol')
        break
    }
    throw error
  }
}
