/**
 * Everything that is derived from the branch secret. One derived key for each purpose, so that none of them gives away
 * another: the topic is public to the whole network segment, the proof key never leaves this process.
 *
 * Pure. Does not read or write the secret file.
 */
import crypto from 'hypercore-crypto'
import { ShorthaulError } from '../errors.ts'

export const SECRET_BYTES = 32

export interface BranchKeys {
  /** DHT topic: a one-way image of a derived key, so that it tells nothing about the secret. */
  readonly topic: Buffer
  /** MAC key of beacons. */
  readonly beaconKey: Buffer
  /** What the two ends of a control session prove to know. */
  readonly proofKey: Buffer
  /** Key of location and resource keys (content/resource.ts). */
  readonly wireKey: Buffer
}

/**
 * @param secret 32 random bytes
 * @throws SHORTHAUL_SECRET_INVALID when it has another length
 */
export function deriveBranchKeys(secret: Uint8Array): BranchKeys {
  if (secret.byteLength !== SECRET_BYTES) {
    throw new ShorthaulError(
      'SHORTHAUL_SECRET_INVALID',
      `Cannot derive keys from the branch secret: it has ${secret.byteLength} bytes, expected ${SECRET_BYTES}`,
    )
  }
  // secret ‖ namespace with a secret of fixed length: the keyed form that content/resource.ts uses too.
  const derive = (namespace: string) => crypto.hash([secret, Buffer.from(`shorthaul/branch/${namespace}/1`)])
  return {
    topic: crypto.discoveryKey(derive('topic')),
    beaconKey: derive('beacon'),
    proofKey: derive('proof'),
    wireKey: derive('wire'),
  }
}
