/**
 * A statement: "I, this agent, fetched these segments of this resource from its origin, and they hash so".
 * It is what makes an attested hash attributable: whoever relays it cannot change it, and whoever lied has signed.
 *
 * Signed over ResourceId, which the receiver computes from the URL that it asked for, so that a statement cannot be
 * moved to another resource, and survives a rotation of the branch secret.
 */
import crypto, { type KeyPair } from 'hypercore-crypto'
import { type AgentKey, ID_BYTES, idBytes, idFromBytes, type ResourceId, type SegmentHash } from './ids.ts'
import { MAX_SEGMENT_COUNT } from './segmentation.ts'

export interface Statement {
  /** Position of the first hash. */
  readonly firstIndex: number
  readonly hashes: readonly SegmentHash[]
  readonly signer: AgentKey
  /** Ed25519, 64 bytes. */
  readonly signature: Uint8Array
}

/** 128 KiB of hashes: a statement fits one message, and 4 GiB of content one statement. */
export const MAX_STATEMENT_HASHES = 4096
export const SIGNATURE_BYTES = 64

const NAMESPACE = Buffer.from('shorthaul/statement/1')

function payload(resource: ResourceId, firstIndex: number, hashes: readonly SegmentHash[]): Buffer {
  const head = Buffer.alloc(12)
  head.writeBigUInt64LE(BigInt(firstIndex), 0)
  head.writeUInt32LE(hashes.length, 8)
  return Buffer.concat([NAMESPACE, idBytes(resource), head, Buffer.from(hashes.join(''), 'hex')])
}

/** A member may sign anything: positions outside of any content must not reach a draft. */
function isExtent(firstIndex: number, count: number): boolean {
  if (!Number.isSafeInteger(firstIndex) || firstIndex < 0) return false
  return count >= 1 && count <= MAX_STATEMENT_HASHES && firstIndex + count <= MAX_SEGMENT_COUNT
}

/** @param hashes 1 to MAX_STATEMENT_HASHES, consecutive from `firstIndex` */
export function signStatement(
  keyPair: KeyPair,
  resource: ResourceId,
  firstIndex: number,
  hashes: readonly SegmentHash[],
): Statement {
  if (hashes.length === 0 || hashes.length > MAX_STATEMENT_HASHES) {
    throw new RangeError(`A statement has 1 to ${MAX_STATEMENT_HASHES} hashes, found ${hashes.length}`)
  }
  if (!isExtent(firstIndex, hashes.length)) {
    throw new RangeError(`A statement lies within ${MAX_SEGMENT_COUNT} positions, found ${firstIndex} as its first`)
  }
  return {
    firstIndex,
    hashes: [...hashes],
    signer: idFromBytes<AgentKey>(keyPair.publicKey),
    signature: crypto.sign(payload(resource, firstIndex, hashes), keyPair.secretKey),
  }
}

/** Total: false for whatever `signStatement` would not have made, also when it is signed. */
export function isStatementAuthentic(resource: ResourceId, statement: Statement): boolean {
  const { firstIndex, hashes, signer, signature } = statement
  if (!isExtent(firstIndex, hashes.length)) return false
  if (signature.byteLength !== SIGNATURE_BYTES || idBytes(signer).byteLength !== ID_BYTES) return false
  return crypto.verify(payload(resource, firstIndex, hashes), signature, idBytes(signer))
}
