/**
 * Learn, from the origin itself: the manifest that a publisher put beside the content and that the origin's answer names
 * (docs/manifest.md). With it every segment is checked by the origin's word as it comes, whoever it comes from.
 *
 * Costs 32 bytes from the origin for each segment. What goes wrong with it is said, and never ends a transfer: then
 * segments are known as without it.
 */
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import {
  decodePublishedManifest,
  type PublishedManifest,
  publishedManifestBytes,
} from '../content/published-manifest.ts'
import { isShorthaulError, ShorthaulError } from '../errors.ts'
import type { Origin, OriginFacts, OriginRequest } from '../origin/origin.ts'
import type { Store } from '../store/store.ts'
import type { TransferNote } from './request.ts'
import type { SharedResource } from './shared-resource.ts'

export interface PublishedComponents {
  readonly origin: Origin
  readonly store: Store
  readonly clock: Clock
  readonly log: Logger
  readonly note: (note: TransferNote) => void
}

export interface PublishedOptions {
  readonly facts: OriginFacts
  /** Of the transfer; only its proxy goes along. */
  readonly request: OriginRequest
  /** What the content must have in any case: pinned or declared elsewhere; null: nothing is said. */
  readonly expectedSha256: string | null
  readonly signal: AbortSignal
}

/** A manifest is had in this time, at 64 kB/s or more. */
const BASE_DEADLINE_MS = 5000
const SLOWEST_BYTES_PER_MS = 64

/**
 * Enters it into the draft, when there is one and it is of this content.
 * @returns the SHA-256 of the whole that it declares, or null; never rejects
 */
export async function learnPublished(
  components: PublishedComponents,
  shared: SharedResource,
  options: PublishedOptions,
): Promise<string | null> {
  const { store, log, note } = components
  const { manifestUrl } = options.facts
  if (manifestUrl === null) return null
  try {
    const published = await fetchPublished(components, manifestUrl, {
      ...options,
      lengthBytes: shared.record.resource.lengthBytes,
    })
    shared.draft.addManifest(published.manifest, 'declared')
    shared.record = { ...shared.record, declaredSha256: published.sha256 }
    await store.putResource(shared.record)
    shared.changed()
    return published.sha256
  } catch (error) {
    if (options.signal.aborted) return null
    log.warn({ err: error }, 'manifest of the origin not used')
    const reason = isShorthaulError(error) ? error.message : String(error)
    note({ event: 'note', note: 'manifest-unused', message: `The manifest of the origin is not used: ${reason}` })
    return null
  }
}

async function fetchPublished(
  { origin, clock }: PublishedComponents,
  url: string,
  options: PublishedOptions & { readonly lengthBytes: number },
): Promise<PublishedManifest> {
  const { facts, request, expectedSha256, lengthBytes } = options
  const maxBytes = publishedManifestBytes(lengthBytes)
  const deadline = new AbortController()
  const ended = new AbortController()
  const deadlineMs = BASE_DEADLINE_MS + maxBytes / SLOWEST_BYTES_PER_MS
  void clock.sleep(deadlineMs, { signal: ended.signal }).then(
    () => deadline.abort(unused('SHORTHAUL_ORIGIN_TIMEOUT', `it did not come within ${Math.round(deadlineMs)} ms`)),
    () => {},
  )
  try {
    // No credentials: what is fetched with any is not shared, and then nothing of neighbours is to be checked.
    const asked: OriginRequest = { url, headers: [], useAgentCredentials: false, proxy: request.proxy }
    const signal = AbortSignal.any([options.signal, deadline.signal])
    const { bytes, lastModifiedMs } = await origin.read(asked, { maxBytes, signal })
    const published = decodePublishedManifest(bytes)
    if (published.manifest.lengthBytes !== lengthBytes) {
      throw unused(
        'SHORTHAUL_MANIFEST_INVALID',
        `it is of ${published.manifest.lengthBytes} bytes, expected ${lengthBytes}`,
      )
    }
    // A file that was replaced after it was published: its old manifest would make good content look wrong.
    if (lastModifiedMs !== null && facts.lastModifiedMs !== null && lastModifiedMs < facts.lastModifiedMs) {
      throw unused(
        'SHORTHAUL_MANIFEST_INVALID',
        'it is older than the content, expected one that was published after it',
      )
    }
    if (expectedSha256 !== null && published.sha256 !== expectedSha256) {
      throw unused('SHORTHAUL_DIGEST_MISMATCH', `it is of the SHA-256 ${published.sha256}, expected ${expectedSha256}`)
    }
    return published
  } finally {
    ended.abort()
  }
}

function unused(
  code: 'SHORTHAUL_ORIGIN_TIMEOUT' | 'SHORTHAUL_MANIFEST_INVALID' | 'SHORTHAUL_DIGEST_MISMATCH',
  found: string,
) {
  return new ShorthaulError(code, `Cannot use the manifest: ${found}`)
}
