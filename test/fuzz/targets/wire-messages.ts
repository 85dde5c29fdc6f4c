/** Messages of the control session, made by chance: small mostly, at a limit sometimes. */
import { CONDITIONS, type FetcherState, MAX_STREAM_COUNT, type ToldState } from '../../../src/content/fetcher-state.ts'
import {
  type AgentKey,
  type InvitationKey,
  idFromBytes,
  type LocationKey,
  type ResourceKey,
  type SegmentHash,
} from '../../../src/content/ids.ts'
import type { Identification, Validator } from '../../../src/content/resource.ts'
import { MAX_CONTENT_BYTES, MAX_SEGMENT_COUNT, type SegmentRange } from '../../../src/content/segmentation.ts'
import type { Statement } from '../../../src/content/statement.ts'
import type { Acceptance } from '../../../src/peers/roster.ts'
import { encodeFrame, type Frame } from '../../../src/peers/wire.ts'
import { PRIORITIES } from '../../../src/throttle/priority.ts'
import { PHASES } from '../../../src/throttle/wan-sample.ts'
import type { Seeded } from '../kit/seeded.ts'

export function agentKey(random: Seeded): AgentKey {
  return idFromBytes<AgentKey>(random.bytes(32))
}

export function segmentHash(random: Seeded): SegmentHash {
  return idFromBytes<SegmentHash>(random.bytes(32))
}

function count53(random: Seeded): number {
  return random.chance(0.2) ? Number.MAX_SAFE_INTEGER : random.u32()
}

export function segmentRanges(random: Seeded, minCount: 0 | 1, max = 4): SegmentRange[] {
  const cuts = new Set<number>()
  const wanted = 2 * random.between(minCount, max)
  while (cuts.size < wanted) cuts.add(random.chance(0.1) ? MAX_SEGMENT_COUNT : random.below(MAX_SEGMENT_COUNT))
  const ascending = [...cuts].sort((one, other) => one - other)
  return Array.from({ length: wanted / 2 }, (_, at) => ({
    start: ascending[2 * at] ?? 0,
    end: ascending[2 * at + 1] ?? 0,
  }))
}

function statement(random: Seeded): Statement {
  const hashes = Array.from({ length: 1 + random.below(6) }, () => segmentHash(random))
  const firstIndex = random.chance(0.1) ? MAX_SEGMENT_COUNT - hashes.length : random.below(MAX_SEGMENT_COUNT - 6)
  return { firstIndex, hashes, signer: agentKey(random), signature: random.bytes(64) }
}

function statements(random: Seeded): Statement[] {
  return Array.from({ length: random.below(4) }, () => statement(random))
}

function validator(random: Seeded): Validator {
  const kind = random.pick(['etag', 'last-modified', 'sha256'] as const)
  if (kind === 'sha256') return { kind, value: random.hex(32) }
  return { kind, value: random.pick(['"v1"', '\ufeff"é"', 'Tue, 15 Nov 1994 12:45:26 GMT', '€'.repeat(340)] as const) }
}

function identification(random: Seeded): Identification {
  return {
    validator: validator(random),
    lengthBytes: random.chance(0.2) ? MAX_CONTENT_BYTES : random.u32(),
    seenAtMs: count53(random),
    freshUntilMs: count53(random),
    signer: agentKey(random),
    signature: random.bytes(64),
  }
}

function toldState(random: Seeded): ToldState {
  const state: FetcherState = {
    agent: agentKey(random),
    sequence: count53(random),
    condition: random.pick(CONDITIONS),
    claimed: segmentRanges(random, 0),
    fetched: segmentRanges(random, 0),
    progressBytes: count53(random),
    bytesPerSec: count53(random),
    streamCount: random.between(0, MAX_STREAM_COUNT),
    streamBudget: random.between(1, MAX_STREAM_COUNT),
  }
  return { state, isDirect: random.chance(0.5) }
}

function acceptance(random: Seeded): Acceptance {
  return {
    invitation: idFromBytes<InvitationKey>(random.bytes(32)),
    agent: agentKey(random),
    signature: random.bytes(64),
  }
}

export function frame(random: Seeded): Frame {
  const location = idFromBytes<LocationKey>(random.bytes(32))
  const resource = idFromBytes<ResourceKey>(random.bytes(32))
  const index = random.below(MAX_SEGMENT_COUNT)
  const isSo = random.chance(0.5)
  switch (random.below(14)) {
    case 0:
      return {
        type: 'hello',
        protocolVersion: random.chance(0.8) ? 1 : random.below(65_536),
        instance: random.bytes(8),
        bootstrapPort: random.below(65_536),
        agentVersion: '0.1.0',
        hostName: random.pick(['', 'host', 'h'.repeat(64)] as const),
        lane: isSo ? { port: random.between(1, 65_535), identity: random.bytes(16), psk: random.bytes(32) } : null,
      }
    case 1:
      return { type: 'ping', nonce: random.bytes(8) }
    case 2:
      return { type: 'pong', nonce: random.bytes(8) }
    case 3:
      return { type: 'interest', location, resource: isSo ? resource : null, isWanted: random.chance(0.5) }
    case 4:
      return { type: 'known', location, newest: isSo ? { resource, identification: identification(random) } : null }
    case 5:
      return { type: 'have', resource, ranges: segmentRanges(random, 0), statements: statements(random) }
    case 6:
      return { type: 'gone', resource, ranges: segmentRanges(random, 1) }
    case 7:
      return { type: 'manifest-request', resource, firstIndex: index }
    case 8:
      return { type: 'manifest', resource, statements: statements(random), nextIndex: isSo ? index : null }
    case 9:
      return { type: 'claim', resource, states: Array.from({ length: 1 + random.few(15) }, () => toldState(random)) }
    case 10:
      return {
        type: 'roster-head',
        head: { sequence: count53(random), mark: random.bytes(8) },
        acceptance: isSo ? acceptance(random) : null,
      }
    case 11:
      return { type: 'roster', bytes: random.bytes(random.below(300)) }
    case 12:
      return { type: 'acceptance', acceptance: acceptance(random) }
    default:
      return {
        type: 'wan',
        report: {
          priority: isSo ? random.pick(PRIORITIES) : null,
          readBytesPerSec: count53(random),
          arrivedBytesPerSec: count53(random),
          isLimited: random.chance(0.5),
          isUserHere: random.chance(0.5),
          law: {
            phase: random.pick(PHASES),
            bytesPerSec: count53(random),
            capacityBytesPerSec: random.chance(0.5) ? count53(random) : null,
          },
        },
      }
  }
}

export function encodedMessage(random: Seeded): Buffer {
  return encodeFrame(frame(random))
}
