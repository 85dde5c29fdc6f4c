/** The composite fields of control messages: ids, ranges, statements, identifications, short texts. See wire.ts. */
import {
  CONDITIONS,
  MAX_STREAM_COUNT,
  MAX_TOLD_RANGES,
  MAX_TOLD_STATES,
  type ToldState,
} from '../content/fetcher-state.ts'
import {
  type AgentKey,
  ID_BYTES,
  type InvitationKey,
  idBytes,
  idFromBytes,
  type LocationKey,
  type ResourceKey,
  type SegmentHash,
} from '../content/ids.ts'
import type { Identification, Validator } from '../content/resource.ts'
import { isContentLength, MAX_SEGMENT_COUNT, type SegmentRange } from '../content/segmentation.ts'
import { MAX_STATEMENT_HASHES, SIGNATURE_BYTES, type Statement } from '../content/statement.ts'
import { type FrameReader, type FrameWriter, protocolError } from './frame-bytes.ts'
import { MAX_RANGES, MAX_STATEMENTS, MAX_VALIDATOR_BYTES } from './messages.ts'

interface Ids {
  invitation: InvitationKey
  location: LocationKey
  resource: ResourceKey
  agent: AgentKey
  segment: SegmentHash
}

const RANGE_BYTES = 8
const STATEMENT_HEAD_BYTES = 4 + 2 + ID_BYTES + SIGNATURE_BYTES
const VALIDATOR_KINDS = ['etag', 'last-modified', 'sha256'] as const satisfies readonly Validator['kind'][]
const SHA256_HEX = /^[0-9a-f]{64}$/
const PRINTABLE = /^[\x20-\x7e]*$/

export function readId<Kind extends keyof Ids>(reader: FrameReader): Ids[Kind] {
  return idFromBytes<Ids[Kind]>(reader.view(ID_BYTES))
}

/** Printable ASCII with its length in one byte. */
export function readText(reader: FrameReader, maxBytes: number): string {
  const lengthBytes = reader.count(reader.u8(), { min: 0, max: maxBytes, minBytesEach: 1 })
  const text = reader.view(lengthBytes).toString('latin1')
  if (!PRINTABLE.test(text)) throw protocolError('a name is not printable')
  return text
}

export function writeText(writer: FrameWriter, text: string): void {
  if (!PRINTABLE.test(text)) throw new RangeError('A name must be printable ASCII')
  writer.u8(text.length).bytes(Buffer.from(text, 'latin1'))
}

export function rangesLength(ranges: readonly SegmentRange[]): number {
  return 2 + ranges.length * RANGE_BYTES
}

/** @param minCount 0 where no range at all says something, else 1 */
export function writeRanges(writer: FrameWriter, ranges: readonly SegmentRange[], minCount: 0 | 1): void {
  if (ranges.length < minCount || ranges.length > MAX_RANGES || !areAscending(ranges)) {
    throw new RangeError(`Ranges must be ${minCount} to ${MAX_RANGES}, ascending and disjoint`)
  }
  writer.u16(ranges.length)
  for (const { start, end } of ranges) writer.u32(start).u32(end)
}

export function readRanges(reader: FrameReader, minCount: 0 | 1, max = MAX_RANGES): SegmentRange[] {
  const count = reader.count(reader.u16(), { min: minCount, max, minBytesEach: RANGE_BYTES })
  const ranges: SegmentRange[] = []
  for (let position = 0; position < count; position++) ranges.push({ start: reader.u32(), end: reader.u32() })
  if (!areAscending(ranges)) throw protocolError('its ranges are not ascending and disjoint')
  return ranges
}

function areAscending(ranges: readonly SegmentRange[]): boolean {
  let previousEnd = 0
  for (const { start, end } of ranges) {
    if (start < previousEnd || end <= start || end > MAX_SEGMENT_COUNT) return false
    previousEnd = end
  }
  return true
}

/** Bytes of one statement in a message. */
export function statementLength(statement: Statement): number {
  return STATEMENT_HEAD_BYTES + statement.hashes.length * ID_BYTES
}

export function statementsLength(statements: readonly Statement[]): number {
  return statements.reduce((sum, statement) => sum + statementLength(statement), 2)
}

export function writeStatements(writer: FrameWriter, statements: readonly Statement[]): void {
  if (statements.length > MAX_STATEMENTS) throw new RangeError(`${statements.length} statements are too many`)
  writer.u16(statements.length)
  for (const { firstIndex, hashes, signer, signature } of statements) {
    if (!isStatementShapeValid(firstIndex, hashes.length)) throw new RangeError('A statement is out of range')
    writer.u32(firstIndex).u16(hashes.length).bytes(idBytes(signer)).bytes(signature)
    for (const hash of hashes) writer.bytes(idBytes(hash))
  }
}

export function readStatements(reader: FrameReader): Statement[] {
  const count = reader.count(reader.u16(), {
    min: 0,
    max: MAX_STATEMENTS,
    minBytesEach: STATEMENT_HEAD_BYTES + ID_BYTES,
  })
  const statements: Statement[] = []
  for (let position = 0; position < count; position++) statements.push(readStatement(reader))
  return statements
}

function readStatement(reader: FrameReader): Statement {
  const firstIndex = reader.u32()
  const hashCount = reader.u16()
  if (!isStatementShapeValid(firstIndex, hashCount)) throw protocolError('a statement is out of range')
  const signer = readId<'agent'>(reader)
  const signature = reader.bytes(SIGNATURE_BYTES)
  reader.count(hashCount, { min: 1, max: MAX_STATEMENT_HASHES, minBytesEach: ID_BYTES })
  const hashes: SegmentHash[] = []
  for (let offset = 0; offset < hashCount; offset++) hashes.push(readId<'segment'>(reader))
  return { firstIndex, hashes, signer, signature }
}

function isStatementShapeValid(firstIndex: number, hashCount: number): boolean {
  return hashCount >= 1 && hashCount <= MAX_STATEMENT_HASHES && firstIndex + hashCount <= MAX_SEGMENT_COUNT
}

export function identificationLength(identification: Identification): number {
  return 1 + 2 + Buffer.byteLength(identification.validator.value) + 8 + 8 + 8 + ID_BYTES + SIGNATURE_BYTES
}

export function writeIdentification(writer: FrameWriter, identification: Identification): void {
  const { validator, lengthBytes, seenAtMs, freshUntilMs, signer, signature } = identification
  const value = Buffer.from(validator.value)
  if (value.byteLength > MAX_VALIDATOR_BYTES) throw new RangeError(`A validator has ${value.byteLength} bytes`)
  writer.u8(VALIDATOR_KINDS.indexOf(validator.kind)).u16(value.byteLength).bytes(value)
  writer.u53(lengthBytes).u53(seenAtMs).u53(freshUntilMs).bytes(idBytes(signer)).bytes(signature)
}

export function readIdentification(reader: FrameReader): Identification {
  const kind = VALIDATOR_KINDS[reader.u8()]
  if (kind === undefined) throw protocolError('a validator is of an unknown kind')
  const valueBytes = reader.count(reader.u16(), { min: 1, max: MAX_VALIDATOR_BYTES, minBytesEach: 1 })
  const value = utf8(reader.view(valueBytes))
  if (kind === 'sha256' && !SHA256_HEX.test(value)) throw protocolError('a digest is not 64 hex digits')
  const lengthBytes = reader.u53()
  if (!isContentLength(lengthBytes)) throw protocolError(`a content has ${lengthBytes} bytes`)
  return {
    validator: { kind, value },
    lengthBytes,
    seenAtMs: reader.u53(),
    freshUntilMs: reader.u53(),
    signer: readId<'agent'>(reader),
    signature: reader.bytes(SIGNATURE_BYTES),
  }
}

/** What a state has besides its ranges. */
const STATE_HEAD_BYTES = ID_BYTES + 8 + 1 + 1 + 8 + 8 + 1 + 1

export function toldStatesLength(states: readonly ToldState[]): number {
  return states.reduce(
    (sum, { state }) => sum + STATE_HEAD_BYTES + rangesLength(state.claimed) + rangesLength(state.fetched),
    1,
  )
}

export function writeToldStates(writer: FrameWriter, states: readonly ToldState[]): void {
  if (states.length === 0 || states.length > MAX_TOLD_STATES) {
    throw new RangeError(`A message tells 1 to ${MAX_TOLD_STATES} states, found ${states.length}`)
  }
  writer.u8(states.length)
  for (const { state, isDirect } of states) {
    if (Math.max(state.claimed.length, state.fetched.length) > MAX_TOLD_RANGES) throw new RangeError('Too many ranges')
    writer.bytes(idBytes(state.agent)).u53(state.sequence).flag(isDirect).u8(CONDITIONS.indexOf(state.condition))
    writeRanges(writer, state.claimed, 0)
    writeRanges(writer, state.fetched, 0)
    writer.u53(state.progressBytes).u53(state.bytesPerSec).u8(state.streamCount).u8(state.streamBudget)
  }
}

export function readToldStates(reader: FrameReader): ToldState[] {
  const count = reader.count(reader.u8(), {
    min: 1,
    max: MAX_TOLD_STATES,
    minBytesEach: STATE_HEAD_BYTES + 2 * rangesLength([]),
  })
  const states: ToldState[] = []
  for (let position = 0; position < count; position++) {
    const agent = readId<'agent'>(reader)
    const sequence = reader.u53()
    const isDirect = reader.flag()
    const condition = CONDITIONS[reader.u8()]
    if (condition === undefined) throw protocolError('a condition is of an unknown kind')
    const claimed = readRanges(reader, 0, MAX_TOLD_RANGES)
    const fetched = readRanges(reader, 0, MAX_TOLD_RANGES)
    const [progressBytes, bytesPerSec] = [reader.u53(), reader.u53()]
    const streamCount = reader.u8()
    const streamBudget = reader.u8()
    if (streamCount > MAX_STREAM_COUNT) throw protocolError(`${streamCount} streams`)
    if (streamBudget < 1 || streamBudget > MAX_STREAM_COUNT) throw protocolError(`a stream budget is ${streamBudget}`)
    const head = { agent, sequence, condition, claimed, fetched }
    states.push({ state: { ...head, progressBytes, bytesPerSec, streamCount, streamBudget }, isDirect })
  }
  return states
}

function utf8(bytes: Uint8Array): string {
  try {
    // Without ignoreBOM a leading U+FEFF would vanish, and two encodings would mean the same.
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    throw protocolError('a text is not UTF-8')
  }
}
