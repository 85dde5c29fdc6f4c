/**
 * Proof of membership: each end of a control session shows that it knows the branch secret, bound to this very session.
 *
 * proof = BLAKE2b-256(handshake hash ‖ role ‖ proof key). The handshake hash is unique to the session and the same at
 * both ends, so a proof cannot be replayed or passed on by a stranger in the middle; the role keeps it from being sent
 * back to its maker. It reveals nothing about the key.
 *
 * While a secret is being rotated two are good, and neither end can know which the other has. So each sends a proof for
 * each secret that it holds good, always two places: who has one secret fills the other place with random bytes, which
 * nobody without the secret can tell from a proof. No round of asking, hence nothing to steer from outside: what both
 * have in common is what decides, and a secret whose window is over is in no place. Pure but for that filling.
 */
import { timingSafeEqual } from 'node:crypto'
import crypto from 'hypercore-crypto'
import { secretBytes } from '../clock.ts'

export const PROOF_BYTES = 32
/** Secrets that are good at once, during a rotation. */
const MAX_PROOFS = 2
/** What each end sends, always. */
export const PROOFS_BYTES = MAX_PROOFS * PROOF_BYTES
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

/** PROOFS_BYTES of proofs, one for each key and random bytes for the rest. @param proofKeys one or two, newest first */
export function membershipProofs(proofKeys: readonly Uint8Array[], session: SessionBinding): Buffer {
  const places = proofKeys.slice(0, MAX_PROOFS).map((proofKey) => membershipProof(proofKey, session))
  while (places.length < MAX_PROOFS) places.push(secretBytes(PROOF_BYTES))
  return Buffer.concat(places)
}

/**
 * Those of our keys that the other end proved to know; none: it is no member. Every key is held against every place,
 * so that the time tells nothing.
 * @param session the role in it is that of the other end
 */
export function provedKeys<Key extends Uint8Array>(
  proofs: Uint8Array,
  options: { readonly proofKeys: readonly Key[]; readonly session: SessionBinding },
): readonly Key[] {
  if (proofs.byteLength !== PROOFS_BYTES) return []
  const places = [proofs.subarray(0, PROOF_BYTES), proofs.subarray(PROOF_BYTES)]
  return options.proofKeys.filter((proofKey) => {
    const found = places.map((proof) => isProofValid(proof, { proofKey, session: options.session }))
    return found.includes(true)
  })
}
