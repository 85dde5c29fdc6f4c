/** BLAKE2b-256 as hypercore-crypto defines it: leaf = `data`, inner = `parent`, root = `tree` over the full roots. */
import crypto, { type MerkleNode } from 'hypercore-crypto'
import { type ContentRoot, idBytes, idFromBytes, type SegmentHash } from './ids.ts'
import { segmentLength } from './segmentation.ts'

export function hashSegment(bytes: Uint8Array): SegmentHash {
  return idFromBytes<SegmentHash>(crypto.data(bytes))
}

/**
 * Merkle root of the segments in order. Content that is not a power of two long has several full roots; `tree` binds
 * them with their sizes, so that the root commits to the length too.
 */
export function contentRoot(hashes: readonly SegmentHash[], lengthBytes: number): ContentRoot {
  // A stack of complete subtrees, largest first: merging equals is carrying in binary addition.
  const roots: (MerkleNode & { leaves: number })[] = []
  for (const [position, hash] of hashes.entries()) {
    roots.push({ index: position * 2, size: segmentLength(position, lengthBytes), hash: idBytes(hash), leaves: 1 })
    for (;;) {
      const right = roots.at(-1)
      const left = roots.at(-2)
      if (!left || !right || left.leaves !== right.leaves) break
      roots.length -= 2
      roots.push({
        index: (left.index + right.index) / 2, // flat-tree: a parent stands midway between its children
        size: left.size + right.size,
        hash: crypto.parent(left, right),
        leaves: left.leaves * 2,
      })
    }
  }
  return idFromBytes<ContentRoot>(crypto.tree(roots))
}
