/**
 * Reading and writing the fields of a frame: fixed-width little-endian integers and length-prefixed bytes, so that a
 * value has exactly one encoding.
 *
 * Invariant of FrameReader: no read goes past the end, and nothing is allocated on the word of a length field before
 * that many bytes are known to be there.
 */
import { ShorthaulError } from '../errors.ts'

export function protocolError(found: string): ShorthaulError {
  return new ShorthaulError('SHORTHAUL_PEER_PROTOCOL', `Cannot read a message of a peer: ${found}`)
}

export class FrameReader {
  readonly #bytes: Buffer
  #offset = 0

  /** @param bytes may alias a pool: whatever is returned is a copy */
  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get remainingBytes(): number {
    return this.#bytes.byteLength - this.#offset
  }

  u8(): number {
    return this.#bytes.readUInt8(this.#take(1))
  }

  u16(): number {
    return this.#bytes.readUInt16LE(this.#take(2))
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#take(4))
  }

  /** A non-negative integer that a number holds exactly. */
  u53(): number {
    const value = Number(this.#bytes.readBigUInt64LE(this.#take(8)))
    if (!Number.isSafeInteger(value)) throw protocolError('an integer is too large')
    return value
  }

  flag(): boolean {
    const value = this.u8()
    if (value > 1) throw protocolError(`a flag is ${value}, expected 0 or 1`)
    return value === 1
  }

  bytes(lengthBytes: number): Buffer {
    const start = this.#take(lengthBytes)
    // Own memory and not the shared pool of Buffer.from: one kept hash must not hold 8 KiB.
    const copy = Buffer.allocUnsafeSlow(lengthBytes)
    this.#bytes.copy(copy, 0, start, start + lengthBytes)
    return copy
  }

  /** For bytes that are turned into something else at once: no copy. */
  view(lengthBytes: number): Buffer {
    const start = this.#take(lengthBytes)
    return this.#bytes.subarray(start, start + lengthBytes)
  }

  /** A count of things of at least `minBytesEach`: refused when the frame is too short to hold them. */
  count(value: number, options: { min: number; max: number; minBytesEach: number }): number {
    const { min, max, minBytesEach } = options
    if (value < min || value > max) throw protocolError(`a count is ${value}, expected ${min} to ${max}`)
    if (value * minBytesEach > this.remainingBytes) throw protocolError(`${value} entries do not fit the frame`)
    return value
  }

  /** Strict: a sender that appends something speaks another protocol. */
  end(): void {
    if (this.remainingBytes > 0) throw protocolError(`${this.remainingBytes} bytes follow its end`)
  }

  #take(lengthBytes: number): number {
    if (lengthBytes > this.remainingBytes) throw protocolError('it ends too early')
    const start = this.#offset
    this.#offset += lengthBytes
    return start
  }
}

export class FrameWriter {
  readonly #bytes: Buffer
  #offset = 0

  /** @param lengthBytes exactly what will be written */
  constructor(lengthBytes: number) {
    this.#bytes = Buffer.allocUnsafe(lengthBytes)
  }

  u8(value: number): this {
    this.#offset = this.#bytes.writeUInt8(value, this.#offset)
    return this
  }

  u16(value: number): this {
    this.#offset = this.#bytes.writeUInt16LE(value, this.#offset)
    return this
  }

  u32(value: number): this {
    this.#offset = this.#bytes.writeUInt32LE(value, this.#offset)
    return this
  }

  u53(value: number): this {
    this.#offset = this.#bytes.writeBigUInt64LE(BigInt(value), this.#offset)
    return this
  }

  flag(value: boolean): this {
    return this.u8(value ? 1 : 0)
  }

  bytes(value: Uint8Array): this {
    this.#bytes.set(value, this.#offset)
    this.#offset += value.byteLength
    return this
  }

  /** @throws RangeError when the length that was announced is not the length that was written: a bug of the encoder */
  finish(): Buffer {
    if (this.#offset !== this.#bytes.byteLength) throw new RangeError('A frame was not filled')
    return this.#bytes
  }
}
