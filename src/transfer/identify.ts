/**
 * Identify: which generation does the URL name, and may it be shared? The first arrow of the path.
 *
 * With neighbours connected, or with something of the URL in the cache, the origin is probed without content. Alone, the
 * first GET serves as the probe, so that nobody waits a round trip longer than curl.
 */
import crypto, { type KeyPair } from 'hypercore-crypto'
import type { Clock } from '../clock.ts'
import type { AgentKey } from '../content/ids.ts'
import {
  type Identification,
  identificationPayload,
  type Resource,
  resourceId,
  type Visibility,
} from '../content/resource.ts'
import { redactUrl } from '../errors.ts'
import type { Origin, OriginFacts, OriginRequest, OriginStream } from '../origin/origin.ts'
import type { ResourceRecord } from '../store/records.ts'

export interface Identified {
  readonly facts: OriginFacts
  /** The first GET, when it served as the probe: its body is the content from offset 0. The caller owns it. */
  readonly stream: OriginStream | null
}

export async function identify(
  origin: Origin,
  request: OriginRequest,
  options: { readonly isFirstGetAllowed: boolean; readonly signal: AbortSignal },
): Promise<Identified> {
  if (!options.isFirstGetAllowed) return { facts: await origin.probe(request, options), stream: null }
  const stream = await origin.open(request, { signal: options.signal })
  return { facts: stream.facts, stream }
}

/** The resource that the facts describe; null when it has no strong validator or no length: not shared, not resumed. */
export function resourceOf(url: string, facts: OriginFacts): Resource | null {
  if (facts.validator === null || facts.lengthBytes === null) return null
  return { url, selection: facts.selection, validator: facts.validator, lengthBytes: facts.lengthBytes }
}

export function signIdentification(
  resource: Resource,
  options: { readonly freshUntilMs: number; readonly keyPair: KeyPair; readonly self: AgentKey; readonly clock: Clock },
): Identification {
  const claim = {
    validator: resource.validator,
    lengthBytes: resource.lengthBytes,
    seenAtMs: Math.round(options.clock.nowMs()),
    freshUntilMs: Math.round(options.freshUntilMs),
  }
  const payload = identificationPayload(resource.url, resource.selection, claim)
  return { ...claim, signer: options.self, signature: crypto.sign(payload, options.keyPair.secretKey) }
}

/** The record of a resource that was just identified; keeps what an earlier record of the same generation knew. */
export function recordOf(
  resource: Resource,
  options: {
    readonly previous: ResourceRecord | null
    readonly visibility: Visibility
    readonly finalUrl: string
    /** By the origin, just now; null: it declared nothing. */
    readonly declaredSha256: string | null
    readonly identification: Identification | null
    readonly nowMs: number
  },
): ResourceRecord {
  const { previous } = options
  return {
    id: resourceId(resource),
    resource,
    // A generation that was once fetched with credentials stays private when it comes without: only the newest answer counts.
    visibility: options.visibility,
    finalUrl: redactUrl(options.finalUrl),
    root: previous?.root ?? null,
    sha256: previous?.sha256 ?? null,
    pinnedSha256: previous?.pinnedSha256 ?? null,
    declaredSha256: options.declaredSha256 ?? previous?.declaredSha256 ?? null,
    identification: options.identification ?? previous?.identification ?? null,
    createdAtMs: previous?.createdAtMs ?? options.nowMs,
    lastUsedAtMs: options.nowMs,
    isPinned: previous?.isPinned ?? false,
  }
}
