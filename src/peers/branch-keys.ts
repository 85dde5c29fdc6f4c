/**
 * Everything that is derived from the branch secret. One derived key for each purpose, so that none of them gives away
 * another: the topic is public to the whole network segment, the proof key never leaves this process.
 *
 * Pure. Does not read or write the secret file.
 */
import crypto from 'hypercore-crypto'
import { ShorthaulError } from '../errors.ts'

export const SECRET_BYTES = 32

/** What one secret opens. */
export interface SecretKeys {
  /** DHT topic: a one-way image of a derived key, so that it tells nothing about the secret. */
  readonly topic: Buffer
  /** MAC key of beacons. */
  readonly beaconKey: Buffer
  /** What the two ends of a control session prove to know. */
  readonly proofKey: Buffer
}

export interface BranchKeys extends SecretKeys {
  /** Key of location and resource keys (content/resource.ts). One for the branch, through all rotations. */
  readonly wireKey: Buffer
  /** The keys of the secret before a rotation, and until when (wall clock) they are good. */
  readonly previous: (SecretKeys & { readonly validUntilMs: number }) | null
}

/**
 * @param secret 32 random bytes
 * @param options previous the secret before a rotation; wireKey when it is not derived from this secret
 * @throws SHORTHAUL_SECRET_INVALID when one has another length
 */
export function deriveBranchKeys(
  secret: Uint8Array,
  options: {
    readonly previous?: { readonly secret: Uint8Array; readonly validUntilMs: number } | null
    readonly wireKey?: Buffer | null
  } = {},
): BranchKeys {
  const { previous = null, wireKey = null } = options
  return {
    ...deriveSecretKeys(secret),
    wireKey: wireKey ?? derive(secret, 'wire'),
    previous: previous === null ? null : { ...deriveSecretKeys(previous.secret), validUntilMs: previous.validUntilMs },
  }
}

/** The keys of each secret that is good at this time of the wall clock: one or two, newest first. */
export function secretsInForce(keys: BranchKeys, nowMs: number): readonly SecretKeys[] {
  const { previous } = keys
  return previous !== null && nowMs < previous.validUntilMs ? [keys, previous] : [keys]
}

function deriveSecretKeys(secret: Uint8Array): SecretKeys {
  return {
    topic: crypto.discoveryKey(derive(secret, 'topic')),
    beaconKey: derive(secret, 'beacon'),
    proofKey: derive(secret, 'proof'),
  }
}

/** secret ‖ namespace with a secret of fixed length: the keyed form that content/resource.ts uses too. */
function derive(secret: Uint8Array, namespace: string): Buffer {
  if (secret.byteLength !== SECRET_BYTES) {
    throw new ShorthaulError(
      'SHORTHAUL_SECRET_INVALID',
      `Cannot derive keys from the branch secret: it has ${secret.byteLength} bytes, expected ${SECRET_BYTES}`,
    )
  }
  return crypto.hash([secret, Buffer.from(`shorthaul/branch/${namespace}/1`)])
}
