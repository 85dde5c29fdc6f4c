/**
 * What must not be evicted: resources that are pinned (persisted) or held by a running transfer (in memory, counted), and
 * segments that are being read at this moment.
 */
import type { ResourceId, SegmentHash } from '../content/ids.ts'
import type { VerifiedSegment } from '../content/verify.ts'

export class Protection {
  readonly #pins: Set<ResourceId>
  readonly #holds = new Map<ResourceId, number>()
  readonly #reads = new Map<SegmentHash, Promise<VerifiedSegment | null>>()
  readonly #listeners = new Set<(id: ResourceId) => void>()

  constructor(pins: Iterable<ResourceId>) {
    this.#pins = new Set(pins)
  }

  /** Called when a resource is no longer protected by anything. */
  onReleased(listener: (id: ResourceId) => void): void {
    this.#listeners.add(listener)
  }

  isBeingRead(hash: SegmentHash): boolean {
    return this.#reads.has(hash)
  }

  /** Runs one read of a segment for all who ask at the same time, and protects the segment meanwhile. */
  reading(hash: SegmentHash, read: () => Promise<VerifiedSegment | null>): Promise<VerifiedSegment | null> {
    const running = this.#reads.get(hash)
    if (running !== undefined) return running
    const started = read().finally(() => this.#reads.delete(hash))
    this.#reads.set(hash, started)
    return started
  }

  /** Few by nature: what users pinned. */
  get pins(): ReadonlySet<ResourceId> {
    return this.#pins
  }

  pin(id: ResourceId): void {
    this.#pins.add(id)
  }

  unpin(id: ResourceId): void {
    if (this.#pins.delete(id)) this.#tellIfReleased(id)
  }

  /** @returns the release, idempotent */
  hold(id: ResourceId): () => void {
    this.#holds.set(id, (this.#holds.get(id) ?? 0) + 1)
    let isReleased = false
    return () => {
      if (isReleased) return
      isReleased = true
      const count = (this.#holds.get(id) ?? 0) - 1
      if (count > 0) this.#holds.set(id, count)
      else {
        this.#holds.delete(id)
        this.#tellIfReleased(id)
      }
    }
  }

  isProtected(id: ResourceId): boolean {
    return this.#pins.has(id) || this.#holds.has(id)
  }

  /** Why a segment stays: the first resource that protects it, `'reading'`, or null when it may go. */
  async reason(
    hash: SegmentHash,
    references: { first: ResourceId | null; all: () => AsyncIterable<ResourceId> },
  ): Promise<ResourceId | 'reading' | null> {
    if (this.isBeingRead(hash)) return 'reading'
    if (this.#pins.size === 0 && this.#holds.size === 0) return null
    if (references.first !== null && this.isProtected(references.first)) return references.first
    for await (const resource of references.all()) if (this.isProtected(resource)) return resource
    return null
  }

  #tellIfReleased(id: ResourceId): void {
    if (this.isProtected(id)) return
    for (const listener of this.#listeners) listener(id)
  }
}
