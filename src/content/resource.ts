/**
 * What a URL names at one moment: its identification and the ids derived from it.
 *
 * A resource is a URL at one validator, a *generation*. ResourceId is a plain hash and stays in this agent's store;
 * the wire keys are keyed with the branch secret, so that peers who do not know a URL learn nothing from its key.
 */
import crypto from 'hypercore-crypto'
import { type AgentKey, idFromBytes, type LocationKey, type ResourceId, type ResourceKey } from './ids.ts'

/** A strong validator; RFC 9110 §8.8. Last-Modified counts only when it is 60 s older than Date (§8.8.2.2). */
export type Validator =
  | { readonly kind: 'etag'; readonly value: string }
  | { readonly kind: 'last-modified'; readonly value: string }
  /** The user or the origin gave the SHA-256 of the whole: better than any HTTP validator. */
  | { readonly kind: 'sha256'; readonly value: string }

/** Longest validator that we keep, store, sign or send. */
export const MAX_VALIDATOR_BYTES = 1024

/** Who may be given the bytes. `private` never leaves this machine. */
export type Visibility = 'branch' | 'private'

/** One generation of a URL that can be resumed and shared: it has a strong validator and a length. */
export interface Resource {
  /** Without fragment; may hold secrets in its query: never logged, never sent. */
  readonly url: string
  /** The request fields that select the representation, canonical; '' when none. */
  readonly selection: string
  readonly validator: Validator
  readonly lengthBytes: number
}

/** Longest URL that we accept, store or hash. */
export const MAX_URL_BYTES = 16 * 1024

function fields(...values: readonly string[]): Buffer {
  // Length-framed, so that no two lists of fields run together into the same bytes.
  const parts: Buffer[] = []
  for (const value of values) {
    const bytes = Buffer.from(value, 'utf8')
    const length = Buffer.alloc(4)
    length.writeUInt32LE(bytes.byteLength)
    parts.push(length, bytes)
  }
  return Buffer.concat(parts)
}

function locationFields(url: string, selection: string): Buffer {
  return fields('shorthaul/location/1', url, selection)
}

function resourceFields(resource: Resource): Buffer {
  const { url, selection, validator, lengthBytes } = resource
  return fields('shorthaul/resource/1', url, selection, validator.kind, validator.value, String(lengthBytes))
}

export function resourceId(resource: Resource): ResourceId {
  return idFromBytes<ResourceId>(crypto.hash(resourceFields(resource)))
}

export const WIRE_KEY_BYTES = 32

/** BLAKE2b over key ‖ fields; the key has a fixed length and stands first, so this is a sound MAC for BLAKE2b. */
function keyed(key: Uint8Array, message: Buffer): Buffer {
  if (key.byteLength !== WIRE_KEY_BYTES) {
    throw new RangeError(`A wire key has ${WIRE_KEY_BYTES} bytes, found ${key.byteLength}`)
  }
  return crypto.hash([key, message])
}

/** @param wireKey 32 bytes derived from the branch secret of the epoch (peers/branch-keys.ts) */
export function locationKey(wireKey: Uint8Array, url: string, selection: string): LocationKey {
  return idFromBytes<LocationKey>(keyed(wireKey, locationFields(url, selection)))
}

export function resourceKey(wireKey: Uint8Array, resource: Resource): ResourceKey {
  return idFromBytes<ResourceKey>(keyed(wireKey, resourceFields(resource)))
}

/** "I asked the origin and this is the newest generation": lets a branch answer for an origin that is out of reach. */
export interface Identification {
  readonly validator: Validator
  readonly lengthBytes: number
  /** Wall clock of the agent that asked, milliseconds since the epoch. */
  readonly seenAtMs: number
  /** Until when RFC 9111 calls the answer fresh; at most `seenAtMs` when it must be revalidated at once. */
  readonly freshUntilMs: number
  readonly signer: AgentKey
  /** Ed25519 over `identificationPayload`. */
  readonly signature: Uint8Array
}

export function identificationPayload(
  url: string,
  selection: string,
  claim: Pick<Identification, 'validator' | 'lengthBytes' | 'seenAtMs' | 'freshUntilMs'>,
): Buffer {
  return fields(
    'shorthaul/identification/1',
    url,
    selection,
    claim.validator.kind,
    claim.validator.value,
    String(claim.lengthBytes),
    String(claim.seenAtMs),
    String(claim.freshUntilMs),
  )
}
