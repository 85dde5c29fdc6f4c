/**
 * Wire form of everything that goes over a control session, once membership is under proof: one frame, one message.
 *
 *   frame = tag u8 | body          integers little-endian, ids 32 raw bytes
 *
 *   0  hello             version u16 | instance 8 | bootstrap port u16 | agent version u8+n | host name u8+n | lane? u8 [port u16 | identity u8+n | psk 32]
 *   1  ping, 2 pong      nonce 8
 *   3  roster-head       sequence u64 | mark 8 | acceptance? u8 [invitation | agent | signature 64]
 *   4  roster            as roster.ts says, to the end
 *   5  acceptance        invitation | agent | signature 64
 *   16 interest          flags u8 (1 location, 2 resource, 4 wanted) | location? | resource?
 *   17 known             location | known? u8 [resource | identification]
 *   18 have              resource | ranges | statements
 *   19 gone              resource | ranges
 *   20 manifest-request  resource | first index u32
 *   21 manifest          resource | statements | more? u8 [next index u32]
 *   22 claim             resource | u8 x (agent | sequence u64 | direct? u8 | condition u8 | claimed ranges | fetched ranges |
 *                        progress bytes u64 | bytes per second u64 | streams u8 | stream budget u8)
 *   23 wan               priority u8 (255 none) | flags u8 (1 limited, 2 user here, 4 capacity known) | phase u8 |
 *                        read, arrived, rate of all, capacity u64 each
 *   24 accusation        resource | index u32 | offset u32 | statements (one)
 *
 *   ranges = u16 x (start u32 | end u32); statements = u16 x statement
 *
 * The fields inside are encoded by wire-fields.ts. Decoding is total: it returns, or throws SHORTHAUL_PEER_PROTOCOL.
 * Tags that we do not know are left to the caller to count and ignore, so that a later version may add some; a known
 * tag with anything unexpected in it is refused.
 */
import { ID_BYTES, idBytes } from '../content/ids.ts'
import { MAX_SEGMENT_COUNT, SEGMENT_BYTES } from '../content/segmentation.ts'
import { SIGNATURE_BYTES } from '../content/statement.ts'
import { assertNever } from '../errors.ts'
import { FrameReader, FrameWriter, protocolError } from './frame-bytes.ts'
import { MAX_MESSAGE_BYTES, type Message } from './messages.ts'
import { type Acceptance, MARK_BYTES, type RosterHead } from './roster.ts'
import {
  identificationLength,
  rangesLength,
  readId,
  readIdentification,
  readRanges,
  readStatements,
  readText,
  readToldStates,
  statementsLength,
  toldStatesLength,
  writeIdentification,
  writeRanges,
  writeStatements,
  writeText,
  writeToldStates,
} from './wire-fields.ts'
import { readWanReport, WAN_REPORT_BYTES, writeWanReport } from './wire-wan.ts'

export const PROTOCOL_VERSION = 1
export const NONCE_BYTES = 8
export const MAX_HOST_NAME_BYTES = 64
export const MAX_AGENT_VERSION_BYTES = 32
export const MAX_LANE_IDENTITY_BYTES = 64
export const LANE_PSK_BYTES = 32
const ACCEPTANCE_BYTES = 2 * ID_BYTES + SIGNATURE_BYTES

/** The session's own messages; its owner never sees them. */
export interface HelloMessage {
  readonly type: 'hello'
  readonly protocolVersion: number
  /** Random for each run of an agent, the same nonce that its beacons carry. */
  readonly instance: Buffer
  /** Where its DHT bootstrapper listens: tells which static peer this is. */
  readonly bootstrapPort: number
  readonly agentVersion: string
  readonly hostName: string
  /** Holds a secret: never logged. */
  readonly lane: { readonly port: number; readonly identity: Buffer; readonly psk: Buffer } | null
}

export interface PingMessage {
  readonly type: 'ping' | 'pong'
  readonly nonce: Buffer
}

/** "This is the newest roster that I know, and this is why I belong to the branch when I am not on it." Before the hello. */
export interface RosterHeadMessage {
  readonly type: 'roster-head'
  readonly head: RosterHead
  readonly acceptance: Acceptance | null
}

/** "This is a newer one than yours." Not looked at by this module. */
export interface RosterMessage {
  readonly type: 'roster'
  readonly bytes: Buffer
}

/** "This agent accepted this invitation." Passed on to all, so that the administrator's agent hears of it. */
export interface AcceptanceMessage {
  readonly type: 'acceptance'
  readonly acceptance: Acceptance
}

/** A tag of a later version. */
export interface UnknownMessage {
  readonly type: 'unknown'
  readonly tag: number
}

export type RosterFrame = RosterHeadMessage | RosterMessage | AcceptanceMessage

export type Frame = Message | HelloMessage | PingMessage | RosterFrame

const TAG = {
  hello: 0,
  ping: 1,
  pong: 2,
  'roster-head': 3,
  roster: 4,
  acceptance: 5,
  interest: 16,
  known: 17,
  have: 18,
  gone: 19,
  'manifest-request': 20,
  manifest: 21,
  claim: 22,
  wan: 23,
  accusation: 24,
} as const satisfies Record<Frame['type'], number>

const HAS_LOCATION = 1
const HAS_RESOURCE = 2
const IS_WANTED = 4

/** Length of the frame that `encodeFrame` makes, in bytes: senders fill messages up to MAX_MESSAGE_BYTES with it. */
export function encodedLength(frame: Frame): number {
  switch (frame.type) {
    case 'hello':
      return (
        1 +
        2 +
        NONCE_BYTES +
        2 +
        (1 + frame.agentVersion.length) +
        (1 + frame.hostName.length) +
        (frame.lane === null ? 1 : 1 + 2 + 1 + frame.lane.identity.byteLength + LANE_PSK_BYTES)
      )
    case 'ping':
    case 'pong':
      return 1 + NONCE_BYTES
    case 'roster-head':
      return 1 + 8 + MARK_BYTES + 1 + (frame.acceptance === null ? 0 : ACCEPTANCE_BYTES)
    case 'roster':
      return 1 + frame.bytes.byteLength
    case 'acceptance':
      return 1 + ACCEPTANCE_BYTES
    case 'interest':
      return 2 + (frame.location === null ? 0 : 32) + (frame.resource === null ? 0 : 32)
    case 'known':
      return 1 + 32 + 1 + (frame.newest === null ? 0 : 32 + identificationLength(frame.newest.identification))
    case 'have':
      return 1 + 32 + rangesLength(frame.ranges) + statementsLength(frame.statements)
    case 'gone':
      return 1 + 32 + rangesLength(frame.ranges)
    case 'manifest-request':
      return 1 + 32 + 4
    case 'manifest':
      return 1 + 32 + statementsLength(frame.statements) + (frame.nextIndex === null ? 1 : 5)
    case 'claim':
      return 1 + 32 + toldStatesLength(frame.states)
    case 'wan':
      return 1 + WAN_REPORT_BYTES
    case 'accusation':
      return 1 + 32 + 4 + 4 + statementsLength([frame.statement])
    default:
      return assertNever(frame)
  }
}

/** @throws RangeError when the message breaks a limit of messages.ts: whoever made it has a bug */
export function encodeFrame(frame: Frame): Buffer {
  const lengthBytes = encodedLength(frame)
  if (lengthBytes > MAX_MESSAGE_BYTES) {
    throw new RangeError(`A ${frame.type} message has ${lengthBytes} bytes, at most ${MAX_MESSAGE_BYTES} are allowed`)
  }
  const writer = new FrameWriter(lengthBytes).u8(TAG[frame.type])
  switch (frame.type) {
    case 'hello':
      writeHello(writer, frame)
      break
    case 'ping':
    case 'pong':
      writer.bytes(frame.nonce)
      break
    case 'roster-head':
      writer
        .u53(frame.head.sequence)
        .bytes(frame.head.mark)
        .flag(frame.acceptance !== null)
      if (frame.acceptance !== null) writeAcceptance(writer, frame.acceptance)
      break
    case 'roster':
      writer.bytes(frame.bytes)
      break
    case 'acceptance':
      writeAcceptance(writer, frame.acceptance)
      break
    case 'interest':
      writer.u8(
        (frame.location === null ? 0 : HAS_LOCATION) |
          (frame.resource === null ? 0 : HAS_RESOURCE) |
          (frame.isWanted ? IS_WANTED : 0),
      )
      if (frame.location !== null) writer.bytes(idBytes(frame.location))
      if (frame.resource !== null) writer.bytes(idBytes(frame.resource))
      break
    case 'known':
      writer.bytes(idBytes(frame.location)).flag(frame.newest !== null)
      if (frame.newest !== null) {
        writer.bytes(idBytes(frame.newest.resource))
        writeIdentification(writer, frame.newest.identification)
      }
      break
    case 'have':
      writer.bytes(idBytes(frame.resource))
      writeRanges(writer, frame.ranges, 0)
      writeStatements(writer, frame.statements)
      break
    case 'gone':
      writer.bytes(idBytes(frame.resource))
      writeRanges(writer, frame.ranges, 1)
      break
    case 'manifest-request':
      writer.bytes(idBytes(frame.resource)).u32(frame.firstIndex)
      break
    case 'manifest':
      writer.bytes(idBytes(frame.resource))
      writeStatements(writer, frame.statements)
      writer.flag(frame.nextIndex !== null)
      if (frame.nextIndex !== null) writer.u32(frame.nextIndex)
      break
    case 'claim':
      writer.bytes(idBytes(frame.resource))
      writeToldStates(writer, frame.states)
      break
    case 'wan':
      writeWanReport(writer, frame.report)
      break
    case 'accusation':
      writer.bytes(idBytes(frame.resource)).u32(frame.index).u32(frame.offset)
      writeStatements(writer, [frame.statement])
      break
    default:
      assertNever(frame)
  }
  return writer.finish()
}

/**
 * The frame's message; it keeps nothing of `bytes`.
 * @throws SHORTHAUL_PEER_PROTOCOL, and nothing else, whatever the bytes are
 */
export function decodeFrame(bytes: Uint8Array): Frame | UnknownMessage {
  if (bytes.byteLength > MAX_MESSAGE_BYTES) throw protocolError(`it has ${bytes.byteLength} bytes`)
  const reader = new FrameReader(bytes)
  const tag = reader.u8()
  const frame = readBody(tag, reader)
  if (frame === null) return { type: 'unknown', tag }
  reader.end()
  return frame
}

function readBody(tag: number, reader: FrameReader): Frame | null {
  switch (tag) {
    case TAG.hello:
      return readHello(reader)
    case TAG.ping:
      return { type: 'ping', nonce: reader.bytes(NONCE_BYTES) }
    case TAG.pong:
      return { type: 'pong', nonce: reader.bytes(NONCE_BYTES) }
    case TAG['roster-head']: {
      const head = { sequence: reader.u53(), mark: reader.bytes(MARK_BYTES) }
      return { type: 'roster-head', head, acceptance: reader.flag() ? readAcceptance(reader) : null }
    }
    case TAG.roster:
      return { type: 'roster', bytes: reader.bytes(reader.remainingBytes) }
    case TAG.acceptance:
      return { type: 'acceptance', acceptance: readAcceptance(reader) }
    case TAG.interest:
      return readInterest(reader)
    case TAG.known: {
      const location = readId<'location'>(reader)
      if (!reader.flag()) return { type: 'known', location, newest: null }
      return {
        type: 'known',
        location,
        newest: { resource: readId<'resource'>(reader), identification: readIdentification(reader) },
      }
    }
    case TAG.have:
      return {
        type: 'have',
        resource: readId<'resource'>(reader),
        ranges: readRanges(reader, 0),
        statements: readStatements(reader),
      }
    case TAG.gone:
      return { type: 'gone', resource: readId<'resource'>(reader), ranges: readRanges(reader, 1) }
    case TAG['manifest-request']:
      return { type: 'manifest-request', resource: readId<'resource'>(reader), firstIndex: readIndex(reader) }
    case TAG.manifest: {
      const resource = readId<'resource'>(reader)
      const statements = readStatements(reader)
      return { type: 'manifest', resource, statements, nextIndex: reader.flag() ? readIndex(reader) : null }
    }
    case TAG.claim:
      return { type: 'claim', resource: readId<'resource'>(reader), states: readToldStates(reader) }
    case TAG.wan:
      return { type: 'wan', report: readWanReport(reader) }
    case TAG.accusation:
      return readAccusation(reader)
    default:
      return null
  }
}

function readIndex(reader: FrameReader): number {
  const index = reader.u32()
  if (index >= MAX_SEGMENT_COUNT) throw protocolError(`position ${index} is out of range`)
  return index
}

function readAcceptance(reader: FrameReader): Acceptance {
  return {
    invitation: readId<'invitation'>(reader),
    agent: readId<'agent'>(reader),
    signature: reader.bytes(SIGNATURE_BYTES),
  }
}

function writeAcceptance(writer: FrameWriter, { invitation, agent, signature }: Acceptance): void {
  writer.bytes(idBytes(invitation)).bytes(idBytes(agent)).bytes(signature)
}

function readAccusation(reader: FrameReader): Message {
  const resource = readId<'resource'>(reader)
  const index = readIndex(reader)
  const offset = reader.u32()
  if (offset >= SEGMENT_BYTES) throw protocolError(`offset ${offset} is outside of a segment`)
  const [statement, ...more] = readStatements(reader)
  const isOneOfIts =
    statement !== undefined &&
    more.length === 0 &&
    index >= statement.firstIndex &&
    index < statement.firstIndex + statement.hashes.length
  if (!isOneOfIts) throw protocolError('an accusation without the statement that it is about')
  return { type: 'accusation', resource, statement, index, offset }
}

function readInterest(reader: FrameReader): Message {
  const flags = reader.u8()
  if (flags > 7 || (flags & (HAS_LOCATION | HAS_RESOURCE)) === 0) throw protocolError(`interest flags ${flags}`)
  return {
    type: 'interest',
    location: flags & HAS_LOCATION ? readId<'location'>(reader) : null,
    resource: flags & HAS_RESOURCE ? readId<'resource'>(reader) : null,
    isWanted: (flags & IS_WANTED) !== 0,
  }
}

function writeHello(writer: FrameWriter, hello: HelloMessage): void {
  writer.u16(hello.protocolVersion).bytes(hello.instance).u16(hello.bootstrapPort)
  writeText(writer, hello.agentVersion)
  writeText(writer, hello.hostName)
  writer.flag(hello.lane !== null)
  if (hello.lane === null) return
  const { port, identity, psk } = hello.lane
  writer.u16(port).u8(identity.byteLength).bytes(identity).bytes(psk)
}

function readHello(reader: FrameReader): HelloMessage {
  const protocolVersion = reader.u16()
  const instance = reader.bytes(NONCE_BYTES)
  const bootstrapPort = reader.u16()
  const agentVersion = readText(reader, MAX_AGENT_VERSION_BYTES)
  const hostName = readText(reader, MAX_HOST_NAME_BYTES)
  const head = { type: 'hello', protocolVersion, instance, bootstrapPort, agentVersion, hostName } as const
  if (!reader.flag()) return { ...head, lane: null }
  const port = reader.u16()
  if (port === 0) throw protocolError('a lane has port 0')
  const identityBytes = reader.count(reader.u8(), { min: 1, max: MAX_LANE_IDENTITY_BYTES, minBytesEach: 1 })
  const identity = reader.bytes(identityBytes)
  return { ...head, lane: { port, identity, psk: reader.bytes(LANE_PSK_BYTES) } }
}
