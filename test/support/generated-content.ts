/** Content for tests: any number of bytes from a seed, made where they are needed, so that a GiB costs no memory. */
const BLOCK_BYTES = 64 * 1024

export interface Content {
  readonly lengthBytes: number
  /** The bytes [start, end); fresh, the caller's. Ask for pieces of at most a few MiB. */
  read(start: number, end: number): Buffer
}

export function bufferContent(bytes: Uint8Array): Content {
  return { lengthBytes: bytes.byteLength, read: (start, end) => Buffer.from(bytes.subarray(start, end)) }
}

/** Pseudo-random, incompressible bytes; the same for the same seed, and different at every offset. */
export function generatedContent(seed: number, lengthBytes: number): Content {
  return {
    lengthBytes,
    read(start, end) {
      const bytes = Buffer.allocUnsafeSlow(Math.max(0, end - start))
      for (let offset = start; offset < end; ) {
        const block = Math.floor(offset / BLOCK_BYTES)
        const from = offset - block * BLOCK_BYTES
        const count = Math.min(BLOCK_BYTES - from, end - offset)
        bytes.set(generateBlock(seed, block).subarray(from, from + count), offset - start)
        offset += count
      }
      return bytes
    },
  }
}

function generateBlock(seed: number, block: number): Uint8Array {
  const words = new Uint32Array(BLOCK_BYTES / 4)
  // xorshift32, seeded per block by two rounds of a multiplicative hash; never zero, where it would stay.
  let state = (Math.imul(Math.imul(seed + 1, 0x9e3779b1) ^ (block + 1), 0x85ebca6b) ^ (block << 7) ^ seed) >>> 0 || 1
  for (let at = 0; at < words.length; at++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[at] = state
  }
  return new Uint8Array(words.buffer)
}
