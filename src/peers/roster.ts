/**
 * The roster: which agents belong to the branch, as its administrator signed it, and the invitations that are open.
 *
 *   roster = 1 u8 | sequence u64 | signed at u64 | members u16 x (key 32 | since u64 | name u8+n)
 *            | invitations u16 x (key 32 | valid until u64 | name u8+n) | signature 64
 *
 * Whoever has the administrator's public key can check it, so that it may come from anybody, also from a liar. Of two
 * the one with the greater sequence holds, and then that with the greater signature: all come to the same.
 *
 * An invitation is a key pair whose seed only the invited has. It accepts by signing its agent's key with it, which
 * makes it a member until the invitation ends; by then the administrator's agent has put its key on the roster, in the
 * invitation's place (registrar.ts). Pure.
 *
 * Integers little-endian, names printable ASCII. Signed over what is before the signature, with a prefix that nothing
 * else that is signed here begins with.
 */
import crypto, { type KeyPair } from 'hypercore-crypto'
import { type AgentKey, ID_BYTES, type InvitationKey, idBytes, idFromBytes } from '../content/ids.ts'
import { SIGNATURE_BYTES } from '../content/statement.ts'
import { FrameReader, FrameWriter, protocolError } from './frame-bytes.ts'
import { readText, writeText } from './wire-fields.ts'

/** A roster of so many, with names of full length, fits one message. */
export const MAX_MEMBERS = 2048
export const MAX_INVITATIONS = 256
export const MAX_MEMBER_NAME_BYTES = 48
export const MAX_ROSTER_BYTES = 240 * 1024
export const MARK_BYTES = 8

const FORMAT = 1
const HEAD_BYTES = 1 + 8 + 8 + 2 + 2
const ENTRY_BYTES = ID_BYTES + 8 + 1
const ROSTER_NAMESPACE = Buffer.from('shorthaul/roster/1')
const ACCEPTANCE_NAMESPACE = Buffer.from('shorthaul/acceptance/1')

export interface RosterMember {
  readonly key: AgentKey
  readonly name: string
  readonly sinceMs: number
}

export interface Invitation {
  readonly key: InvitationKey
  /** What the member will be called. */
  readonly name: string
  readonly validUntilMs: number
}

export interface Roster {
  /** From 1; each one that the administrator signs has the next. */
  readonly sequence: number
  readonly signedAtMs: number
  /** Ascending by key, each once. */
  readonly members: readonly RosterMember[]
  readonly invitations: readonly Invitation[]
}

/** Says which of two rosters is the newer one, without either. */
export interface RosterHead {
  /** 0: none yet. */
  readonly sequence: number
  /** The first bytes of its signature. */
  readonly mark: Uint8Array
}

export interface SignedRoster {
  readonly roster: Roster
  readonly head: RosterHead
  /** As it is sent and stored. */
  readonly bytes: Buffer
}

/** "I, who has the seed of this invitation, am this agent." */
export interface Acceptance {
  readonly invitation: InvitationKey
  readonly agent: AgentKey
  /** Ed25519, 64 bytes. */
  readonly signature: Uint8Array
}

export const NO_ROSTER: RosterHead = { sequence: 0, mark: Buffer.alloc(MARK_BYTES) }

/** Above 0: `a` is newer. */
export function compareHeads(a: RosterHead, b: RosterHead): number {
  return a.sequence - b.sequence || Buffer.compare(a.mark, b.mark)
}

/** @throws RangeError when it breaks a limit or the order above: whoever made it has a bug */
export function signRoster(admin: KeyPair, roster: Roster): SignedRoster {
  const members = sorted(roster.members)
  const invitations = sorted(roster.invitations)
  if (members.length > MAX_MEMBERS || invitations.length > MAX_INVITATIONS) throw new RangeError('The roster is full')
  const names = [...members, ...invitations].reduce((total, { name }) => total + name.length, 0)
  const writer = new FrameWriter(HEAD_BYTES + (members.length + invitations.length) * ENTRY_BYTES + names)
  writer.u8(FORMAT).u53(roster.sequence).u53(roster.signedAtMs)
  writer.u16(members.length)
  for (const { key, sinceMs, name } of members) writeText(writer.bytes(idBytes(key)).u53(sinceMs), name)
  writer.u16(invitations.length)
  for (const { key, validUntilMs, name } of invitations) {
    writeText(writer.bytes(idBytes(key)).u53(validUntilMs), name)
  }
  const body = writer.finish()
  const signature = crypto.sign(Buffer.concat([ROSTER_NAMESPACE, body]), admin.secretKey)
  return signed({ ...roster, members, invitations }, Buffer.concat([body, signature]))
}

/**
 * @param adminKey public key of the administrator
 * @throws SHORTHAUL_PEER_PROTOCOL when it is anything else than what the administrator signed, whatever the bytes are
 */
export function openRoster(bytes: Uint8Array, adminKey: Uint8Array): SignedRoster {
  if (bytes.byteLength > MAX_ROSTER_BYTES || bytes.byteLength < HEAD_BYTES + SIGNATURE_BYTES) {
    throw protocolError(`a roster has ${bytes.byteLength} bytes`)
  }
  const whole = Buffer.from(bytes) // kept: must not hold the memory that it came in
  const body = whole.subarray(0, -SIGNATURE_BYTES)
  const signature = whole.subarray(-SIGNATURE_BYTES)
  // Before anything of it is looked at: what a stranger wrote is not even parsed.
  if (!crypto.verify(Buffer.concat([ROSTER_NAMESPACE, body]), signature, Buffer.from(adminKey))) {
    throw protocolError('the administrator did not sign this roster')
  }
  return signed(decodeRoster(body), whole)
}

/** @throws SHORTHAUL_PEER_PROTOCOL */
export function decodeRoster(body: Uint8Array): Roster {
  const reader = new FrameReader(body)
  const format = reader.u8()
  if (format !== FORMAT) throw protocolError(`a roster has format ${format}, expected ${FORMAT}`)
  const sequence = reader.u53()
  if (sequence === 0) throw protocolError('a roster has sequence 0')
  const signedAtMs = reader.u53()
  const members = readEntries(reader, MAX_MEMBERS).map(({ key, atMs, name }) => {
    return { key: idFromBytes<AgentKey>(key), sinceMs: atMs, name }
  })
  const invitations = readEntries(reader, MAX_INVITATIONS).map(({ key, atMs, name }) => {
    return { key: idFromBytes<InvitationKey>(key), validUntilMs: atMs, name }
  })
  reader.end()
  return { sequence, signedAtMs, members, invitations }
}

/** @param seed 32 bytes, of the invitation */
export function acceptInvitation(seed: Buffer, options: { agent: AgentKey; adminKey: Uint8Array }): Acceptance {
  const { publicKey, secretKey } = crypto.keyPair(seed)
  const signature = crypto.sign(acceptancePayload(options.agent, options.adminKey), secretKey)
  return { invitation: idFromBytes<InvitationKey>(publicKey), agent: options.agent, signature }
}

export function isAcceptanceAuthentic(acceptance: Acceptance, adminKey: Uint8Array): boolean {
  const { invitation, agent, signature } = acceptance
  if (signature.byteLength !== SIGNATURE_BYTES) return false
  return crypto.verify(acceptancePayload(agent, adminKey), signature, idBytes(invitation))
}

/** With the administrator's key: an acceptance is worth nothing in another branch. */
function acceptancePayload(agent: AgentKey, adminKey: Uint8Array): Buffer {
  return Buffer.concat([ACCEPTANCE_NAMESPACE, adminKey, idBytes(agent)])
}

function signed(roster: Roster, bytes: Buffer): SignedRoster {
  const mark = bytes.subarray(-SIGNATURE_BYTES).subarray(0, MARK_BYTES)
  return { roster, head: { sequence: roster.sequence, mark }, bytes }
}

function sorted<Entry extends { readonly key: string }>(entries: readonly Entry[]): Entry[] {
  return [...entries].sort((a, b) => (a.key < b.key ? -1 : 1))
}

function readEntries(reader: FrameReader, max: number): { key: Buffer; atMs: number; name: string }[] {
  const count = reader.count(reader.u16(), { min: 0, max, minBytesEach: ENTRY_BYTES })
  const entries: { key: Buffer; atMs: number; name: string }[] = []
  for (let position = 0; position < count; position++) {
    const entry = { key: reader.bytes(ID_BYTES), atMs: reader.u53(), name: readText(reader, MAX_MEMBER_NAME_BYTES) }
    const last = entries.at(-1)
    if (last !== undefined && Buffer.compare(last.key, entry.key) >= 0) throw protocolError('a roster is not in order')
    entries.push(entry)
  }
  return entries
}
