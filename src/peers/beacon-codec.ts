/**
 * The beacon: "a member of your branch listens here". 64 bytes, always:
 *
 *   magic 'SHB' | version u8 = 1 | flags u8 (1: answer me) | reserved u8 = 0 | bootstrap port u16 | IPv4 4 |
 *   instance 8 | sequence u32 | reserved 8 = 0 | MAC 32          (integers big-endian)
 *
 * MAC = BLAKE2b-256(beacon key ‖ the 32 bytes before). It carries no identity: the instance is random for each run.
 * The address is under the MAC and must be the datagram's source, so a replay from elsewhere, or with another source,
 * is refused; a replay of the whole thing is known by its sequence. Pure.
 */
import { timingSafeEqual } from 'node:crypto'
import { isIPv4 } from 'node:net'
import crypto from 'hypercore-crypto'

export const BEACON_BYTES = 64
export const INSTANCE_BYTES = 8
const BODY_BYTES = 32
const VERSION = 1
const FLAG_ANSWER = 1
/** Where the last 8 bytes of the body begin, which are 0. */
const RESERVED_AT = 24
const MAGIC = Buffer.from('SHB')

export interface Beacon {
  /** IPv4 of the sender. */
  readonly address: string
  /** UDP port of the sender's bootstrapper. */
  readonly bootstrapPort: number
  readonly instance: Buffer
  /** Grows by one with each beacon of an instance. */
  readonly sequence: number
  /** The sender is new and asks those who hear it to send theirs. */
  readonly wantsAnswer: boolean
}

export function encodeBeacon(beaconKey: Uint8Array, beacon: Beacon): Buffer {
  if (!isIPv4(beacon.address)) throw new RangeError('A beacon needs an IPv4 address')
  const bytes = Buffer.alloc(BEACON_BYTES)
  MAGIC.copy(bytes)
  bytes.writeUInt8(VERSION, 3)
  bytes.writeUInt8(beacon.wantsAnswer ? FLAG_ANSWER : 0, 4)
  bytes.writeUInt16BE(beacon.bootstrapPort, 6)
  bytes.set(beacon.address.split('.').map(Number), 8)
  bytes.set(beacon.instance.subarray(0, INSTANCE_BYTES), 12)
  bytes.writeUInt32BE(beacon.sequence >>> 0, 20)
  mac(beaconKey, bytes).copy(bytes, BODY_BYTES)
  return bytes
}

/**
 * The beacon, or null for anything that a member would not have sent. Cheap checks first; the MAC is compared in
 * constant time before a field is believed.
 */
export function decodeBeacon(beaconKey: Uint8Array, datagram: Uint8Array): Beacon | null {
  if (datagram.byteLength !== BEACON_BYTES) return null
  const bytes = Buffer.from(datagram.buffer, datagram.byteOffset, datagram.byteLength)
  if (!bytes.subarray(0, 3).equals(MAGIC) || bytes.readUInt8(3) !== VERSION) return null
  if (!timingSafeEqual(mac(beaconKey, bytes), bytes.subarray(BODY_BYTES))) return null
  const flags = bytes.readUInt8(4)
  const isReservedClear = bytes.readUInt8(5) === 0 && bytes.readBigUInt64BE(RESERVED_AT) === 0n
  if (flags > FLAG_ANSWER || !isReservedClear) return null
  const bootstrapPort = bytes.readUInt16BE(6)
  if (bootstrapPort === 0) return null
  return {
    address: bytes.subarray(8, 12).join('.'),
    bootstrapPort,
    instance: Buffer.from(bytes.subarray(12, 12 + INSTANCE_BYTES)),
    sequence: bytes.readUInt32BE(20),
    wantsAnswer: flags === FLAG_ANSWER,
  }
}

function mac(beaconKey: Uint8Array, bytes: Buffer): Buffer {
  return crypto.hash([beaconKey, bytes.subarray(0, BODY_BYTES)])
}
