/**
 * Proof of membership: each end of a control session shows that it knows the branch secret, bound to this very session.
 *
 * proof = BLAKE2b-256(handshake hash ‖ role ‖ proof key). The handshake hash is unique to the session and the same at
 * both ends, so a proof cannot be replayed or passed on by a stranger in the middle; the role keeps it from being sent
 * back to its maker. It reveals nothing about the key. Pure.
 */
import { timingSafeEqual } from 'node:crypto'
import crypto from 'hypercore-crypto'

export const PROOF_BYTES = 32
/** BLAKE2b-512 of the Noise handshake. */
const HANDSHAKE_HASH_BYTES = 64

const INITIATOR = crypto.hash(Buffer.from('shorthaul/membership/initiator/1'))
const RESPONDER = crypto.hash(Buffer.from('shorthaul/membership/responder/1'))

export interface SessionBinding {
  readonly handshakeHash: Uint8Array
  /** The role of the end whose proof this is. */
  readonly isInitiator: boolean
}

export function membershipProof(proofKey: Uint8Array, session: SessionBinding): Buffer {
  const { handshakeHash, isInitiator } = session
  // All parts have a fixed length, so their concatenation is unambiguous.
  if (handshakeHash.byteLength !== HANDSHAKE_HASH_BYTES) throw new RangeError('Not a handshake hash')
  return crypto.hash([handshakeHash, isInitiator ? INITIATOR : RESPONDER, proofKey])
}

/** @param session the role in it is that of the other end. Constant time in the bytes of the proof. */
export function isProofValid(proof: Uint8Array, options: { proofKey: Uint8Array; session: SessionBinding }): boolean {
  if (proof.byteLength !== PROOF_BYTES) return false
  return timingSafeEqual(proof, membershipProof(options.proofKey, options.session))
}
