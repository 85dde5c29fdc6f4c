/** What simulated origins serve: a resource in generations, each of its own length and bytes, and a forgery of each. */
import { createHash } from 'node:crypto'
import type { ResourceId } from '../../src/content/ids.ts'
import { resourceId, type Validator } from '../../src/content/resource.ts'
import { SEGMENT_BYTES, segmentCount } from '../../src/content/segmentation.ts'
import { generatedContent } from '../support/generated-content.ts'

export const MAX_SEGMENTS = 8
let pool: Buffer | null = null

/** Made once and stamped anew for each content: making it takes longer than all else that a world does. */
function poolBytes(): Buffer {
  pool ??= generatedContent(1, (MAX_SEGMENTS + 1) * SEGMENT_BYTES).read(0, (MAX_SEGMENTS + 1) * SEGMENT_BYTES)
  return pool
}

export interface Generation {
  readonly number: number
  readonly url: string
  readonly validator: Validator
  readonly id: ResourceId
  readonly bytes: Buffer
  readonly sha256: string
  /** As a liar has it: of the same length and validator, with other bytes in some segments. Null: nobody lies. */
  readonly forged: Buffer | null
}

export function makeGeneration(about: {
  readonly url: string
  readonly number: number
  readonly stamp: number
  readonly lengthBytes: number
  /** Positions that a liar changes. */
  readonly forgedPositions: readonly number[]
}): Generation {
  const { url, number, stamp, lengthBytes, forgedPositions } = about
  const bytes = Buffer.from(poolBytes().subarray(0, lengthBytes))
  for (let index = 0; index < segmentCount(lengthBytes); index++) {
    bytes.write(
      `${url} ${number} ${stamp} ${index};`.slice(0, lengthBytes - index * SEGMENT_BYTES),
      index * SEGMENT_BYTES,
    )
  }
  let forged: Buffer | null = null
  for (const index of forgedPositions) {
    const at = index * SEGMENT_BYTES
    if (at >= lengthBytes) continue
    forged ??= Buffer.from(bytes)
    forged[at] = (forged[at] ?? 0) ^ 0x80
  }
  const validator: Validator = { kind: 'etag', value: `"${number}-${stamp}"` }
  return {
    number,
    url,
    validator,
    id: resourceId({ url, selection: '', validator, lengthBytes }),
    bytes,
    sha256: createHash('sha256').update(bytes).digest('hex'),
    forged,
  }
}

/** Whether these bytes stand there in the generation. @param at.mayBeForged then each byte may be that of either version */
export function fits(
  generation: Generation,
  bytes: Uint8Array,
  at: { readonly offset: number; readonly mayBeForged: boolean },
): boolean {
  const { offset, mayBeForged } = at
  const end = offset + bytes.byteLength
  if (end > generation.bytes.byteLength) return false
  if (generation.bytes.compare(bytes, 0, bytes.byteLength, offset, end) === 0) return true
  const { forged } = generation
  if (!mayBeForged || forged === null) return false
  for (let at = 0; at < bytes.byteLength; at++) {
    if (bytes[at] !== generation.bytes[offset + at] && bytes[at] !== forged[offset + at]) return false
  }
  return true
}
