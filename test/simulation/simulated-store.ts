/**
 * The segment store in memory, as transfer/ uses it: what is kept (`StoreContents`) outlives a crash in part, and one run of
 * an agent has it open (`SimulatedStore`). Small enough to be looked through, with a quota, losses and errors.
 */
import { open } from 'node:fs/promises'
import type { AgentKey, ResourceId, SegmentHash } from '../../src/content/ids.ts'
import type { Manifest } from '../../src/content/manifest.ts'
import type { Statement } from '../../src/content/statement.ts'
import { type VerifiedSegment, verifySegment } from '../../src/content/verify.ts'
import { ShorthaulError, throwIfAborted } from '../../src/errors.ts'
import type { ResourceRecord } from '../../src/store/records.ts'
import { mergeRecord } from '../../src/store/resource-index.ts'
import type { Store } from '../../src/store/store.ts'
import type { SegmentGone, SegmentGoneListener } from '../../src/store/store-events.ts'
import type { Scheduler, SimulatedClock } from './scheduler.ts'
import type { Weather } from './weather.ts'

interface Located {
  readonly path: string
  readonly offset: number
  readonly lengthBytes: number
}

interface Reference {
  readonly resource: ResourceId
  readonly index: number
}

export class StoreContents {
  readonly maxSegments: number
  readonly records = new Map<ResourceId, ResourceRecord>()
  readonly manifests = new Map<ResourceId, Manifest>()
  readonly statements = new Map<ResourceId, Statement[]>()
  readonly segments = new Map<SegmentHash, VerifiedSegment>()
  readonly references = new Map<SegmentHash, Reference[]>()

  /** Bytes by hash, had once for all machines of a world. */
  readonly #copies: Map<SegmentHash, Uint8Array>

  constructor(maxSegments: number, copies: Map<SegmentHash, Uint8Array>) {
    this.maxSegments = maxSegments
    this.#copies = copies
  }

  /** What may be kept of a segment whose buffer is used again. */
  copyOf({ hash, bytes }: VerifiedSegment): Uint8Array {
    const copy = this.#copies.get(hash) ?? bytes.slice()
    this.#copies.set(hash, copy)
    return copy
  }

  /** Segment files are not synced, and recovery drops those that are not whole; of what is in the index the end may be lost. */
  crash(scheduler: Scheduler): void {
    for (const hash of [...this.segments.keys()]) if (scheduler.chance(0.3)) this.segments.delete(hash)
    for (const [id, statements] of this.statements) {
      if (scheduler.chance(0.5)) this.statements.set(id, statements.slice(0, scheduler.whole(0, statements.length + 1)))
    }
  }
}

export class SimulatedStore {
  holdCount = 0
  readonly #contents: StoreContents
  readonly #scheduler: Scheduler
  readonly #weather: Weather
  readonly #clock: SimulatedClock
  readonly #held = new Map<ResourceId, number>()
  readonly #located = new Map<SegmentHash, Located>()
  readonly #listeners = { lost: new Set<SegmentGoneListener>(), evicted: new Set<SegmentGoneListener>() }

  constructor(contents: StoreContents, components: { scheduler: Scheduler; weather: Weather; clock: SimulatedClock }) {
    this.#contents = contents
    this.#scheduler = components.scheduler
    this.#weather = components.weather
    this.#clock = components.clock
  }

  /** It has what transfer/ calls, and no more. */
  asStore(): Store {
    return this as unknown as Store
  }

  async hasMany(hashes: readonly SegmentHash[]): Promise<boolean[]> {
    await this.#access(0.2)
    return hashes.map((hash) => this.#contents.segments.has(hash) || this.#located.has(hash))
  }

  async read(
    hash: SegmentHash,
    { signal, expectVisibility }: { signal: AbortSignal; expectVisibility?: 'branch' },
  ): Promise<VerifiedSegment | null> {
    throwIfAborted(signal)
    await this.#access()
    throwIfAborted(signal)
    const references = this.#contents.references.get(hash) ?? []
    const isVisible = references.some(({ resource }) => this.#contents.records.get(resource)?.visibility === 'branch')
    if (expectVisibility === 'branch' && !isVisible) return null
    if (this.#contents.segments.has(hash) && this.#weather.strikes('store-lost', 0.3)) {
      this.#contents.segments.delete(hash)
      if (!this.#located.has(hash)) this.#emit('lost', hash)
    }
    const segment = this.#contents.segments.get(hash) ?? (await this.#readLocated(hash))
    return segment
  }

  release(): void {}

  async commit(
    segment: VerifiedSegment,
    at: { resource: ResourceId; index: number; statement?: Statement },
    { signal }: { signal: AbortSignal },
  ): Promise<boolean> {
    throwIfAborted(signal)
    const bytes = this.#contents.copyOf(segment)
    await this.#access()
    throwIfAborted(signal)
    const { segments, records } = this.#contents
    if (!segments.has(segment.hash)) {
      if (segments.size >= this.#contents.maxSegments && !this.#evictOne()) return false
      segments.set(segment.hash, { ...segment, bytes })
    }
    if (records.has(at.resource)) this.#refer(segment.hash, at)
    return true
  }

  async commitLocated(
    { hash, lengthBytes }: { hash: SegmentHash; lengthBytes: number },
    at: { resource: ResourceId; index: number; path: string; offset: number; statement?: Statement },
  ): Promise<void> {
    await this.#access()
    this.#located.set(hash, { path: at.path, offset: at.offset, lengthBytes })
    this.#refer(hash, at)
  }

  async forgetLocated(path: string): Promise<void> {
    await this.#access(0)
    for (const [hash, located] of [...this.#located]) {
      if (located.path !== path) continue
      this.#located.delete(hash)
      if (!this.#contents.segments.has(hash)) this.#emit('evicted', hash)
    }
  }

  async putResource(record: ResourceRecord): Promise<void> {
    await this.#access(0.2)
    const { records } = this.#contents
    records.set(record.id, mergeRecord(records.get(record.id) ?? null, record))
  }

  async resource(id: ResourceId): Promise<ResourceRecord | null> {
    await this.#access(0.2)
    return this.#contents.records.get(id) ?? null
  }

  async newestAt(url: string, selection: string): Promise<ResourceRecord | null> {
    await this.#access(0.2)
    const seenAtMs = (record: ResourceRecord) => record.identification?.seenAtMs ?? record.createdAtMs
    let newest: ResourceRecord | null = null
    for (const record of this.#contents.records.values()) {
      if (record.resource.url !== url || record.resource.selection !== selection) continue
      if (newest === null || seenAtMs(record) > seenAtMs(newest)) newest = record
    }
    return newest
  }

  async resourceBySha256(sha256: string): Promise<ResourceRecord | null> {
    await this.#access(0.2)
    const found = [...this.#contents.records.values()].filter((record) => record.sha256 === sha256)
    return found.find((record) => record.root !== null) ?? found[0] ?? null
  }

  async removeResource(id: ResourceId): Promise<void> {
    await this.#access(0)
    const { records, statements, manifests, references, segments } = this.#contents
    for (const [hash, all] of [...references]) {
      const rest = all.filter(({ resource }) => resource !== id)
      if (rest.length === all.length) continue
      if (rest.length === 0) {
        this.#emit('evicted', hash)
        references.delete(hash)
        segments.delete(hash)
      } else references.set(hash, rest)
    }
    records.delete(id)
    statements.delete(id)
    manifests.delete(id)
  }

  async addStatements(id: ResourceId, statements: readonly Statement[]): Promise<void> {
    await this.#access(0.2)
    this.#state(id, statements)
  }

  async removeStatements(signer: AgentKey): Promise<void> {
    await this.#access()
    for (const [id, statements] of this.#contents.statements) {
      this.#contents.statements.set(
        id,
        statements.filter((statement) => statement.signer !== signer),
      )
    }
  }

  async statements(id: ResourceId): Promise<Statement[]> {
    await this.#access(0.2)
    return [...(this.#contents.statements.get(id) ?? [])].sort((one, other) => one.firstIndex - other.firstIndex)
  }

  async replaceStatements(id: ResourceId, statements: readonly Statement[]): Promise<void> {
    await this.#access(0.2)
    const isCovered = (old: Statement) =>
      statements.some(
        (fresh) =>
          fresh.signer === old.signer &&
          fresh.firstIndex <= old.firstIndex &&
          fresh.firstIndex + fresh.hashes.length >= old.firstIndex + old.hashes.length,
      )
    const kept = (this.#contents.statements.get(id) ?? []).filter((old) => !isCovered(old))
    this.#contents.statements.set(id, kept)
    this.#state(id, statements)
  }

  async sealManifest(id: ResourceId, manifest: Manifest, { sha256 }: { sha256?: string } = {}): Promise<void> {
    await this.#access(0.2)
    const record = this.#contents.records.get(id)
    if (!record) return
    this.#contents.manifests.set(id, manifest)
    this.#contents.records.set(id, { ...record, root: manifest.root, sha256: sha256 ?? record.sha256 })
  }

  async manifest(id: ResourceId): Promise<Manifest | null> {
    await this.#access(0.2)
    return this.#contents.manifests.get(id) ?? null
  }

  hold(id: ResourceId): () => void {
    this.holdCount++
    this.#held.set(id, (this.#held.get(id) ?? 0) + 1)
    let isReleased = false
    return () => {
      if (isReleased) return
      isReleased = true
      this.holdCount--
      this.#held.set(id, (this.#held.get(id) ?? 1) - 1)
    }
  }

  on(event: 'lost' | 'evicted', listener: SegmentGoneListener): () => void {
    this.#listeners[event].add(listener)
    return () => this.#listeners[event].delete(listener)
  }

  /** @param weight of an error; 0: none comes */
  async #access(weight = 1): Promise<void> {
    await this.#clock.wait(0.02, 3)
    if (weight === 0 || !this.#weather.strikes('store-io', weight * 0.3)) return
    const isFull = this.#scheduler.chance(0.5)
    throw new ShorthaulError(isFull ? 'SHORTHAUL_DISK_FULL' : 'SHORTHAUL_STORE_IO', 'Cannot use the store: simulated')
  }

  #refer(hash: SegmentHash, at: Reference & { readonly statement?: Statement }): void {
    const references = this.#contents.references.get(hash) ?? []
    this.#contents.references.set(hash, references)
    const isNew = !references.some(({ resource, index }) => resource === at.resource && index === at.index)
    if (isNew) references.push({ resource: at.resource, index: at.index })
    if (at.statement) this.#state(at.resource, [at.statement])
  }

  #state(id: ResourceId, statements: readonly Statement[]): void {
    if (!this.#contents.records.has(id)) return
    const known = this.#contents.statements.get(id) ?? []
    this.#contents.statements.set(id, known)
    const keyOf = ({ signer, firstIndex, hashes }: Statement) => `${signer} ${firstIndex} ${hashes.length}`
    for (const statement of statements) {
      const at = known.findIndex((other) => keyOf(other) === keyOf(statement))
      if (at === -1) known.push(statement)
      else known[at] = statement
    }
  }

  /** Of resources that nobody holds. */
  #evictOne(): boolean {
    for (const hash of this.#contents.segments.keys()) {
      const isHeld = (this.#contents.references.get(hash) ?? []).some(({ resource }) => this.#held.get(resource))
      if (isHeld) continue
      this.#contents.segments.delete(hash)
      if (!this.#located.has(hash)) this.#emit('evicted', hash)
      return true
    }
    return false
  }

  async #readLocated(hash: SegmentHash): Promise<VerifiedSegment | null> {
    const located = this.#located.get(hash)
    if (!located) return null
    try {
      const handle = await open(located.path, 'r')
      try {
        const bytes = new Uint8Array(located.lengthBytes)
        await handle.read(bytes, 0, bytes.byteLength, located.offset)
        return verifySegment(bytes, hash)
      } finally {
        await handle.close()
      }
    } catch {
      this.#located.delete(hash)
      this.#emit('lost', hash)
      return null
    }
  }

  #emit(event: 'lost' | 'evicted', hash: SegmentHash): void {
    const gone: SegmentGone[] = (this.#contents.references.get(hash) ?? []).map((at) => ({ ...at, hash }))
    if (gone.length > 0) for (const listener of this.#listeners[event]) listener(gone)
  }
}
