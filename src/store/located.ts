/**
 * Segments whose location is a range of a part file, for as long as its transfer runs: how a cache that is full, or
 * smaller than the content, still relays. In memory only; about 300 bytes for each segment, so 30 MB for 100 GiB.
 */
import type { ResourceId, SegmentHash } from '../content/ids.ts'
import type { Reference } from './index-keys.ts'
import type { FileRange } from './segment-files.ts'

interface Located {
  readonly range: FileRange
  readonly references: Reference[]
}

export class LocatedSegments {
  readonly #byHash = new Map<SegmentHash, Located>()
  readonly #byPath = new Map<string, Set<SegmentHash>>()
  readonly #byResource = new Map<ResourceId, Map<number, SegmentHash>>()

  /** The first location of a hash stays; a further reference is added to it. */
  add(hash: SegmentHash, range: FileRange, reference: Reference): void {
    const known = this.#byHash.get(hash)
    if (known === undefined) {
      this.#byHash.set(hash, { range, references: [reference] })
      const ofPath = this.#byPath.get(range.path) ?? new Set()
      this.#byPath.set(range.path, ofPath.add(hash))
    } else if (!known.references.some((it) => it.resource === reference.resource && it.index === reference.index)) {
      known.references.push(reference)
    }
    const ofResource = this.#byResource.get(reference.resource) ?? new Map<number, SegmentHash>()
    this.#byResource.set(reference.resource, ofResource.set(reference.index, hash))
  }

  get(hash: SegmentHash): Located | undefined {
    return this.#byHash.get(hash)
  }

  positions(id: ResourceId): number[] {
    return [...(this.#byResource.get(id)?.keys() ?? [])]
  }

  hashesAt(path: string): SegmentHash[] {
    return [...(this.#byPath.get(path) ?? [])]
  }

  /** Forgets one location with all its references, which it returns. */
  remove(hash: SegmentHash): readonly Reference[] {
    const known = this.#byHash.get(hash)
    if (known === undefined) return []
    this.#byHash.delete(hash)
    const ofPath = this.#byPath.get(known.range.path)
    ofPath?.delete(hash)
    if (ofPath?.size === 0) this.#byPath.delete(known.range.path)
    for (const reference of known.references) this.#unlink(hash, reference)
    return known.references
  }

  /** Forgets what a resource says of positions in part files. */
  removeResource(id: ResourceId): { hash: SegmentHash; index: number }[] {
    const removed: { hash: SegmentHash; index: number }[] = []
    for (const [index, hash] of this.#byResource.get(id) ?? []) {
      removed.push({ hash, index })
      const references = this.#byHash.get(hash)?.references ?? []
      const remaining = references.filter((it) => it.resource !== id)
      if (remaining.length === 0) this.remove(hash)
      else references.splice(0, references.length, ...remaining)
    }
    this.#byResource.delete(id)
    return removed
  }

  #unlink(hash: SegmentHash, { resource, index }: Reference): void {
    const ofResource = this.#byResource.get(resource)
    if (ofResource?.get(index) === hash) ofResource.delete(index)
    if (ofResource?.size === 0) this.#byResource.delete(resource)
  }
}
