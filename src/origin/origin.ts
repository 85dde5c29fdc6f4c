/**
 * What transfer/ asks of an origin, whatever its scheme. Implementations: http-origin.ts, file-origin.ts; origins.ts
 * chooses by scheme. Transports do not retry: they say whether retrying makes sense.
 */

import type { Validator, Visibility } from '../content/resource.ts'
import type { ByteRange } from '../content/segmentation.ts'
import type { Priority } from '../throttle/priority.ts'

export interface OriginRequest {
  /** Absolute URL, http(s) or file, without fragment. User info in it counts as credentials. */
  readonly url: string
  /** The user's own fields, in order; may hold secrets. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  /**
   * Whether the agent's own credentials (netrc, client certificate) may go out with it: false when somebody else than
   * the agent's owner asks.
   */
  readonly useAgentCredentials: boolean
  /** How the content is read: see throttle/. Questions about it never wait. Default: foreground. */
  readonly priority?: Priority
  /** `auto`, the default: as the environment says; `none`: directly; or the http(s) URL of a proxy, perhaps with a secret. */
  readonly proxy?: string | undefined
}

/** Something that the origin lacks and that we do without; said once per transfer. */
export type Degradation = 'no-head' | 'no-range' | 'no-length' | 'no-validator' | 'weak-validator'

/** What the origin told of the resource, from HEAD or from the head of a GET. */
export interface OriginFacts {
  /** After redirects. */
  readonly finalUrl: string
  /** Every URL that redirected, in order, redacted. */
  readonly redirects: readonly string[]
  /** Null when the origin does not say. */
  readonly lengthBytes: number | null
  /** Null when there is no strong validator: then nothing is shared, resumed or fetched in several ranges. */
  readonly validator: Validator | null
  /** Null when not known yet (no Accept-Ranges on a HEAD). */
  readonly acceptsRanges: boolean | null
  /** RFC 9111 as a shared cache sees it, and our stricter rule for credentials. */
  readonly visibility: Visibility
  /** Why the visibility is `private`, in a few words for the user; null when it is `branch`. */
  readonly privateReason: string | null
  /** Request fields that select the representation (from Vary), canonical; '' when none. */
  readonly selection: string
  /** Wall clock until when the answer is fresh; the time of the answer when it must be revalidated. */
  readonly freshUntilMs: number
  /** Lower-case hex SHA-256 of the whole content that the origin declared, if any; declarations.ts says how. */
  readonly declaredSha256: string | null
  /** Declarations that contradict each other, in words for the user: then none of them is above. Null: none do. */
  readonly declaredConflict: string | null
  /** Where the origin says that a manifest of the content is (docs/manifest.md); never at another origin. Null: nowhere. */
  readonly manifestUrl: string | null
  /** Last-Modified, whether it is a validator or not; null when the origin does not say. */
  readonly lastModifiedMs: number | null
  /** False when anybody on the line could have changed the bytes and what is declared of them. */
  readonly isTlsOnly: boolean
  readonly degradations: readonly Degradation[]
}

/** The body of one GET as it comes. Whoever opened it reads it to the end or cancels it. */
export interface OriginStream {
  readonly facts: OriginFacts
  /** Offset of the first byte of the body in the content; 0 unless a range was asked for and granted. */
  readonly offset: number
  /** Unverified bytes. A chunk given out is the reader's. @throws SHORTHAUL_ORIGIN_* */
  readonly body: AsyncIterable<Uint8Array>
  /** Ends the request; waits until its connection is closed or reusable. Idempotent. */
  cancel(): Promise<void>
}

export interface OpenOptions {
  /** Half-open; omitted: the whole content in one unbounded GET, which also serves as the probe. */
  readonly range?: ByteRange | undefined
  /** The generation that the bytes must belong to. Anything else: SHORTHAUL_ORIGIN_CHANGED. */
  readonly expected?: { readonly validator: Validator; readonly lengthBytes: number } | undefined
  readonly signal: AbortSignal
}

export interface ReadOptions {
  /** No more is ever buffered. */
  readonly maxBytes: number
  readonly signal: AbortSignal
}

export interface OriginDocument {
  readonly bytes: Uint8Array
  /** Null when the origin does not say. */
  readonly lastModifiedMs: number | null
}

export interface Origin {
  /**
   * True when credentials go out with the request, the agent's own included: then its answer is private whatever it says, and
   * nobody else need hear that it was asked for. @throws SHORTHAUL_URL_INVALID
   */
  carriesCredentials(request: OriginRequest): boolean
  /**
   * Asks for facts without content: HEAD, and where HEAD does not work `bytes=0-0`, never an unbounded GET.
   * @throws SHORTHAUL_ORIGIN_*, SHORTHAUL_URL_INVALID, SHORTHAUL_ABORTED
   */
  probe(request: OriginRequest, options: { readonly signal: AbortSignal }): Promise<OriginFacts>
  /**
   * Opens one GET. A range against an origin that ignores ranges fails with SHORTHAUL_ORIGIN_PROTOCOL and
   * `details.reason === 'no-range'`, after its connection was closed: the caller falls back to one stream.
   */
  open(request: OriginRequest, options: OpenOptions): Promise<OriginStream>
  /**
   * Something small about the content, whole. A question: it waits for no turn. Redirects are not followed, so that it is
   * the word of the origin that was asked.
   * @throws SHORTHAUL_ORIGIN_*; SHORTHAUL_ORIGIN_PROTOCOL when it has more than `maxBytes`
   */
  read(request: OriginRequest, options: ReadOptions): Promise<OriginDocument>
  close(): Promise<void>
}
