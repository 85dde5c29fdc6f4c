/**
 * Identifiers as branded lower-case hex strings of 32 bytes: cheap map keys that the compiler does not let anyone mix up.
 * They are parsed once, where bytes enter the program. The casts below are the only ones.
 */
declare const brand: unique symbol
type Id<Name extends string> = string & { readonly [brand]: Name }

/** BLAKE2b-256 leaf of a segment's bytes. */
export type SegmentHash = Id<'SegmentHash'>
/** Merkle root of a content's segments. */
export type ContentRoot = Id<'ContentRoot'>
/** Ed25519 public key of an agent. */
export type AgentKey = Id<'AgentKey'>
/** Ed25519 public key of an invitation to the branch. */
export type InvitationKey = Id<'InvitationKey'>
/** Names a resource in this agent's store. Never crosses the wire: peers see ResourceKey. */
export type ResourceId = Id<'ResourceId'>
/** Wire name of a URL in one epoch of the branch secret. */
export type LocationKey = Id<'LocationKey'>
/** Wire name of one generation of a URL in one epoch of the branch secret. */
export type ResourceKey = Id<'ResourceKey'>

export const ID_BYTES = 32
const HEX = /^[0-9a-f]{64}$/

/** Bytes to id. The caller says which kind by the type argument; the length is checked here. */
export function idFromBytes<T extends Id<string>>(bytes: Uint8Array): T {
  if (bytes.byteLength !== ID_BYTES) throw new RangeError(`An id has ${ID_BYTES} bytes, found ${bytes.byteLength}`)
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex') as T
}

/** Text to id, or null when it is not 64 lower-case hex digits. */
export function parseId<T extends Id<string>>(text: string): T | null {
  return HEX.test(text) ? (text as T) : null
}

export function idBytes(id: Id<string>): Buffer {
  return Buffer.from(id, 'hex')
}
