/**
 * Content without files: the AES-128-CTR keystream of a key made from (seed, generation). Any offset costs the same, it
 * runs at memory speed, and tests compute the digest of what a target must hold without ever storing it.
 */
import { createCipheriv, createHash } from 'node:crypto'

const AES_BLOCK_BYTES = 16
const ZEROES = Buffer.alloc(256 * 1024)

export interface GeneratedContent {
  readonly seed: number
  readonly bytes: number
  /** Counts from 1; each generation has wholly different bytes. */
  readonly generation: number
}

/** The bytes [start, end) in buffers of up to 256 KiB. */
export function* generate(content: GeneratedContent, start: number, end: number): Generator<Buffer> {
  const key = createHash('sha256').update(`${content.seed}:${content.generation}`).digest().subarray(0, 16)
  const counter = Buffer.alloc(AES_BLOCK_BYTES)
  counter.writeBigUInt64BE(BigInt(Math.floor(start / AES_BLOCK_BYTES)), 8)
  const cipher = createCipheriv('aes-128-ctr', key, counter)
  cipher.update(ZEROES.subarray(0, start % AES_BLOCK_BYTES))
  for (let at = start; at < end; ) {
    const lengthBytes = Math.min(ZEROES.length, end - at)
    yield cipher.update(ZEROES.subarray(0, lengthBytes))
    at += lengthBytes
  }
}

/** Hex. */
export function sha256Of(seed: number, bytes: number, generation = 1): string {
  const hash = createHash('sha256')
  for (const buffer of generate({ seed, bytes, generation }, 0, bytes)) hash.update(buffer)
  return hash.digest('hex')
}

/** `/seed-<seed>-<bytes>`; anything after that up to the end of the path is a decoration, such as `.bin`. */
export function parsePath(path: string): { seed: number; bytes: number } | undefined {
  const match = /^\/seed-(\d{1,9})-(\d{1,13})(?:[./-]|$)/.exec(path)
  return match ? { seed: Number(match[1]), bytes: Number(match[2]) } : undefined
}

export function pathOf(seed: number, bytes: number): string {
  return `/seed-${seed}-${bytes}.bin`
}
