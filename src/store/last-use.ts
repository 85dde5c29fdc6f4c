/** Last use of segments and resources, gathered in memory and written in batches: a read must not cost a write. */
import type { ResourceId, SegmentHash } from '../content/ids.ts'

/** About 1 MB of memory. */
const MAX_PENDING = 8192

export class LastUse {
  #segments = new Map<SegmentHash, number>()
  #resources = new Map<ResourceId, number>()

  noteSegment(hash: SegmentHash, usedAtMs: number): void {
    this.#segments.set(hash, usedAtMs)
  }

  noteResource(id: ResourceId, usedAtMs: number): void {
    this.#resources.set(id, usedAtMs)
  }

  get isFull(): boolean {
    return this.#segments.size + this.#resources.size >= MAX_PENDING
  }

  /** Hands over what is pending, oldest note first, and starts anew. */
  take(): { segments: [SegmentHash, number][]; resources: [ResourceId, number][] } {
    const taken = { segments: [...this.#segments], resources: [...this.#resources] }
    this.#segments = new Map()
    this.#resources = new Map()
    return taken
  }
}
