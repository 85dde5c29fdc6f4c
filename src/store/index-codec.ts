/**
 * Values of the index. Decoders are total: they answer null for what the encoder would not have written, because LevelDB
 * does not check block sums on every read and a damaged disk must not crash the agent.
 */

import type { ContentRoot, ResourceId } from '../content/ids.ts'
import { type AgentKey, ID_BYTES, idBytes, idFromBytes, parseId, type SegmentHash } from '../content/ids.ts'
import { type Identification, MAX_VALIDATOR_BYTES, type Resource, type Validator } from '../content/resource.ts'
import { isContentLength, SEGMENT_BYTES } from '../content/segmentation.ts'
import { MAX_STATEMENT_HASHES, SIGNATURE_BYTES, type Statement } from '../content/statement.ts'
import { timeBytes } from './index-keys.ts'
import type { ResourceRecord } from './records.ts'

/** Length and last use; the grantor, if any, follows. */
const ROW_BYTES = 10

export interface SegmentRow {
  /** 1 to SEGMENT_BYTES. */
  readonly lengthBytes: number
  readonly lastUsedAtMs: number
  /**
   * A resource that references the segment: asked first whether the branch may have it, which saves a walk over all
   * references. Null says nothing about them.
   */
  readonly grantor: ResourceId | null
}

export interface Totals {
  readonly segmentCount: number
  readonly bytes: number
}

export function encodeSegmentRow(row: SegmentRow): Buffer {
  const value = Buffer.alloc(ROW_BYTES + (row.grantor === null ? 0 : ID_BYTES))
  value.writeUInt32BE(row.lengthBytes)
  timeBytes(row.lastUsedAtMs).copy(value, 4)
  if (row.grantor !== null) value.write(row.grantor, ROW_BYTES, 'hex')
  return value
}

export function decodeSegmentRow(value: Buffer | undefined): SegmentRow | null {
  if (value?.byteLength !== ROW_BYTES && value?.byteLength !== ROW_BYTES + ID_BYTES) return null
  const lengthBytes = value.readUInt32BE(0)
  if (lengthBytes === 0 || lengthBytes > SEGMENT_BYTES) return null
  const grantor = value.byteLength === ROW_BYTES ? null : idFromBytes<ResourceId>(value.subarray(ROW_BYTES))
  return { lengthBytes, lastUsedAtMs: value.readUIntBE(4, 6), grantor }
}

export function encodeTotals(totals: Totals): Buffer {
  const value = Buffer.alloc(16)
  value.writeBigUInt64BE(BigInt(totals.segmentCount), 0)
  value.writeBigUInt64BE(BigInt(totals.bytes), 8)
  return value
}

export function decodeTotals(value: Buffer | undefined): Totals | null {
  if (value?.byteLength !== 16) return null
  const segmentCount = Number(value.readBigUInt64BE(0))
  const bytes = Number(value.readBigUInt64BE(8))
  return Number.isSafeInteger(segmentCount) && Number.isSafeInteger(bytes) ? { segmentCount, bytes } : null
}

export function decodeHash(value: Buffer): SegmentHash | null {
  return value.byteLength === ID_BYTES ? idFromBytes<SegmentHash>(value) : null
}

/** Signature, then hashes; the first position and the signer stand in the key. */
export function encodeStatement(statement: Statement): Buffer {
  return Buffer.concat([statement.signature, Buffer.from(statement.hashes.join(''), 'hex')])
}

export function decodeStatement(at: { firstIndex: number; signer: AgentKey }, value: Buffer): Statement | null {
  const hashesBytes = value.byteLength - SIGNATURE_BYTES
  if (hashesBytes <= 0 || hashesBytes % ID_BYTES !== 0 || hashesBytes / ID_BYTES > MAX_STATEMENT_HASHES) return null
  const hashes: SegmentHash[] = []
  for (let offset = SIGNATURE_BYTES; offset < value.byteLength; offset += ID_BYTES) {
    hashes.push(idFromBytes<SegmentHash>(value.subarray(offset, offset + ID_BYTES)))
  }
  return { firstIndex: at.firstIndex, hashes, signer: at.signer, signature: value.subarray(0, SIGNATURE_BYTES) }
}

/** Whether a statement is of a shape that can be stored and decoded again. Its signature is the caller's affair. */
export function isStorableStatement(statement: Statement): boolean {
  const { firstIndex, hashes, signer, signature } = statement
  return (
    Number.isInteger(firstIndex) &&
    firstIndex >= 0 &&
    firstIndex < 2 ** 32 &&
    hashes.length > 0 &&
    hashes.length <= MAX_STATEMENT_HASHES &&
    signature.byteLength === SIGNATURE_BYTES &&
    idBytes(signer).byteLength === ID_BYTES
  )
}

export function encodeRecord(record: ResourceRecord): Buffer {
  const { identification } = record
  const signature = identification && Buffer.from(identification.signature).toString('base64')
  return Buffer.from(
    JSON.stringify({ ...record, identification: identification && { ...identification, signature } }),
    'utf8',
  )
}

const SHA256_HEX = /^[0-9a-f]{64}$/

type Fields = Readonly<Record<string, unknown>>

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null
}

function decodeValidator(value: unknown): Validator | null {
  if (!isFields(value) || typeof value.value !== 'string') return null
  const { kind } = value
  if (kind !== 'etag' && kind !== 'last-modified' && kind !== 'sha256') return null
  // What the wire has no place for: it would be sent to a neighbour that asks.
  if (value.value === '' || Buffer.byteLength(value.value) > MAX_VALIDATOR_BYTES) return null
  if (kind === 'sha256' && !SHA256_HEX.test(value.value)) return null
  return { kind, value: value.value }
}

function decodeLength(value: unknown): number | null {
  return typeof value === 'number' && isContentLength(value) ? value : null
}

/** Milliseconds since the epoch. JSON also has fractions, signs and numbers that are infinite when they are read. */
function isTime(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function decodeResource(value: unknown): Resource | null {
  if (!isFields(value)) return null
  const validator = decodeValidator(value.validator)
  const lengthBytes = decodeLength(value.lengthBytes)
  if (typeof value.url !== 'string' || typeof value.selection !== 'string') return null
  if (validator === null || lengthBytes === null) return null
  return { url: value.url, selection: value.selection, validator, lengthBytes }
}

function decodeIdentification(value: unknown): Identification | null {
  if (!isFields(value)) return null
  const validator = decodeValidator(value.validator)
  const lengthBytes = decodeLength(value.lengthBytes)
  const signer = typeof value.signer === 'string' ? parseId<AgentKey>(value.signer) : null
  const { seenAtMs, freshUntilMs } = value
  if (validator === null || lengthBytes === null || signer === null) return null
  if (!isTime(seenAtMs) || !isTime(freshUntilMs) || typeof value.signature !== 'string') return null
  const signature = Buffer.from(value.signature, 'base64')
  if (signature.byteLength !== SIGNATURE_BYTES) return null
  return { validator, lengthBytes, seenAtMs, freshUntilMs, signer, signature }
}

export function decodeRecord(value: Buffer | undefined): ResourceRecord | null {
  let parsed: unknown
  try {
    parsed = JSON.parse(value?.toString('utf8') ?? 'null')
  } catch {
    return null
  }
  if (!isFields(parsed)) return null
  const id = typeof parsed.id === 'string' ? parseId<ResourceId>(parsed.id) : null
  const resource = decodeResource(parsed.resource)
  const { visibility, finalUrl, createdAtMs, lastUsedAtMs, sha256 } = parsed
  if (id === null || resource === null || typeof finalUrl !== 'string') return null
  if (visibility !== 'branch' && visibility !== 'private') return null
  if (!isTime(createdAtMs) || !isTime(lastUsedAtMs)) return null
  return {
    id,
    resource,
    visibility,
    finalUrl,
    root: typeof parsed.root === 'string' ? parseId<ContentRoot>(parsed.root) : null,
    sha256: digestOf(sha256),
    // Absent in what earlier versions wrote.
    pinnedSha256: digestOf(parsed.pinnedSha256),
    declaredSha256: digestOf(parsed.declaredSha256),
    identification: decodeIdentification(parsed.identification),
    createdAtMs,
    lastUsedAtMs,
    isPinned: parsed.isPinned === true,
  }
}

function digestOf(value: unknown): string | null {
  return typeof value === 'string' && SHA256_HEX.test(value) ? value : null
}
