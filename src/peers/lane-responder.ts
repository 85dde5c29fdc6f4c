/**
 * One request on the lane and its answer: `GET /segments/{hash}`, whole or one range.
 *
 * Does not know TLS: the peer it is given has been identified. Does not verify: `read` gives verified bytes.
 * Invariant: nothing is read before there is a slot, so at most `maxUploads` segments are in memory.
 */
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import { type AgentKey, parseId, type SegmentHash } from '../content/ids.ts'
import type { LaneAdmission } from './lane-admission.ts'
import { contentRangeField, requestedRange } from './lane-range.ts'
import { LaneUpload, type Pace } from './lane-upload.ts'
import type { LaneWatch } from './lane-watch.ts'

/** Bytes of the segment, or null when it is not here or not for this peer. The bytes are not written to. */
export type ReadForPeer = (
  hash: SegmentHash,
  options: { peer: AgentKey; signal: AbortSignal },
) => Promise<Uint8Array | null>

/** Made once: a stack for each upload that ends showed up in the profile, as 5 % of the server. */
const PEER_LEFT = new Error('The peer closed the connection')

export interface LaneResponderComponents {
  readonly clock: Clock
  readonly log: Logger
  readonly admission: LaneAdmission
  readonly watch: LaneWatch
  readonly read: ReadForPeer
  readonly onServed?: ((peer: AgentKey, bytes: number) => void) | undefined
  readonly pace?: Pace | undefined
  /** What `read` gave was sent whole and is no longer looked at. */
  readonly onSent?: ((bytes: Uint8Array) => void) | undefined
}

export const SEGMENTS_PATH = '/segments/'
/** With it a Retry-After can be shorter than the second that the standard field counts in. */
export const RETRY_AFTER_MS_FIELD = 'shorthaul-retry-after-ms'
/** A segment takes at most so long, reading included: 17 KiB/s, below which the WAN would have been faster. */
const UPLOAD_DEADLINE_MS = 60_000

/**
 * All requests of a server, also those that expect a `100 Continue`. None is sent: our client does not ask for one, and
 * where an answer before was not out yet Node would write it into the body (20.20).
 */
export function listenForRequests(server: Pick<Server, 'on'>, listener: RequestListener): void {
  server.on('request', listener)
  server.on('checkContinue', listener)
}

export class LaneResponder {
  readonly #components: LaneResponderComponents

  constructor(components: LaneResponderComponents) {
    this.#components = components
  }

  /** Never rejects. Returns when the answer is with the kernel or the connection is gone. */
  async respond(request: IncomingMessage, response: ServerResponse, peer: AgentKey): Promise<void> {
    const hash = segmentOf(request.url)
    if (hasBody(request)) return refuse(response, 413, { connection: 'close' })
    if (hash === null) return refuse(response, 404)
    if (request.method !== 'GET') return refuse(response, 405, { allow: 'GET' })

    const { admission, clock } = this.#components
    const entry = admission.enter(peer, hash)
    if (!entry.isAdmitted) {
      return refuse(response, 503, {
        'retry-after': Math.ceil(entry.retryAfterMs / 1000),
        [RETRY_AFTER_MS_FIELD]: entry.retryAfterMs,
      })
    }
    const startMs = clock.monotonicMs()
    try {
      await this.#serve(request, response, { hash, peer })
    } finally {
      admission.leave(peer, hash, clock.monotonicMs() - startMs)
    }
  }

  async #serve(
    request: IncomingMessage,
    response: ServerResponse,
    wanted: { hash: SegmentHash; peer: AgentKey },
  ): Promise<void> {
    const { clock, log, watch, onServed, onSent, pace } = this.#components
    const { peer } = wanted
    const gone = new AbortController()
    const upload = new LaneUpload({ response }, { deadlineMs: clock.monotonicMs() + UPLOAD_DEADLINE_MS })
    const onClose = () => {
      if (!upload.isEnded) gone.abort(PEER_LEFT)
    }
    // Of the socket and not of the response: that of a request which came before the last answer was out has no socket
    // yet, hears nothing of the end, and would hold its slot for ever.
    const { socket } = request
    socket.once('close', onClose)
    if (socket.destroyed) onClose()
    try {
      const bytes = await this.#read(wanted.hash, { peer, signal: gone.signal })
      if (gone.signal.aborted) return
      if (bytes === null) return refuse(response, 404)
      const body = startBody(response, { bytes, hash: wanted.hash, range: request.headers.range })
      if (body === null) return
      watch.add(upload)
      await upload.send(body, { pace, signal: gone.signal })
      onSent?.(bytes)
    } catch (error) {
      // Head and part of the body may be out: a broken connection is the only way to say so.
      response.destroy()
      log.debug({ peerId: peer, err: error }, 'upload ended early')
    } finally {
      socket.off('close', onClose)
      watch.remove(upload)
      if (upload.sentBytes > 0) onServed?.(peer, upload.sentBytes)
    }
  }

  /** A segment that cannot be read is, for a peer, not here; the store has said why. */
  async #read(hash: SegmentHash, options: { peer: AgentKey; signal: AbortSignal }): Promise<Uint8Array | null> {
    try {
      return await this.#components.read(hash, options)
    } catch (error) {
      if (!options.signal.aborted) this.#components.log.warn({ segmentId: hash, err: error }, 'read for peer failed')
      return null
    }
  }
}

/** Writes the head. @returns what the body is, or null when the answer is complete */
function startBody(
  response: ServerResponse,
  segment: { bytes: Uint8Array; hash: SegmentHash; range: string | undefined },
): Uint8Array | null {
  const { bytes, hash } = segment
  const range = requestedRange(segment.range, bytes.byteLength)
  if (range === 'unsatisfiable') {
    refuse(response, 416, { 'content-range': contentRangeField(null, bytes.byteLength) })
    return null
  }
  const body = range === 'whole' ? bytes : bytes.subarray(range.start, range.end)
  response.writeHead(range === 'whole' ? 200 : 206, {
    'content-length': body.byteLength,
    'content-type': 'application/octet-stream',
    etag: `"${hash}"`,
    'cache-control': 'private, immutable',
    ...(range === 'whole' ? {} : { 'content-range': contentRangeField(range, bytes.byteLength) }),
  })
  return body
}

function refuse(response: ServerResponse, status: number, fields: Record<string, string | number> = {}): void {
  // Without a body the connection stays usable, and a client has nothing to read or to bound.
  response.writeHead(status, { 'content-length': 0, ...fields })
  response.end()
}

function segmentOf(url: string | undefined): SegmentHash | null {
  if (!url?.startsWith(SEGMENTS_PATH)) return null
  return parseId<SegmentHash>(url.slice(SEGMENTS_PATH.length))
}

function hasBody(request: IncomingMessage): boolean {
  const length = request.headers['content-length']
  return request.headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0')
}
