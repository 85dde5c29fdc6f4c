/**
 * Resources, their generations by location, pins and manifests.
 *
 * Does not know segments. Changes run inside the store's Serial.
 */
import type { ResourceId } from '../content/ids.ts'
import { decodeManifest, encodeManifest, type Manifest } from '../content/manifest.ts'
import type { Visibility } from '../content/resource.ts'
import { isShorthaulError } from '../errors.ts'
import { decodeRecord, encodeRecord } from './index-codec.ts'
import { type Change, del, type IndexDb, put } from './index-db.ts'
import { type KeyRange, keys, lastId, ranges } from './index-keys.ts'
import type { ResourceRecord } from './records.ts'

/**
 * What stays of a known record when somebody writes one that he read earlier: facts that he could not know are not lost.
 * Pins change by `pin` and `unpin` only, the root by `sealManifest`; an identification only gives way to a newer one.
 */
export function mergeRecord(known: ResourceRecord | null, given: ResourceRecord): ResourceRecord {
  if (known === null) return given
  const isOlder = (known.identification?.seenAtMs ?? -1) > (given.identification?.seenAtMs ?? -1)
  return {
    ...given,
    root: given.root ?? known.root,
    sha256: given.sha256 ?? known.sha256,
    pinnedSha256: given.pinnedSha256 ?? known.pinnedSha256,
    declaredSha256: given.declaredSha256 ?? known.declaredSha256,
    identification: isOlder ? known.identification : given.identification,
    createdAtMs: Math.min(known.createdAtMs, given.createdAtMs),
    lastUsedAtMs: Math.max(known.lastUsedAtMs, given.lastUsedAtMs),
    isPinned: known.isPinned,
  }
}

/** What each commit and each read for the branch must know of a resource. */
export interface ResourceFacts {
  readonly visibility: Visibility
  readonly lengthBytes: number
}

/** Some hundred bytes each (estimated). A machine seldom has more than a few in use at a time. */
const MAX_KNOWN_FACTS = 4096

export class ResourceIndex {
  readonly #db: IndexDb
  readonly #facts = new Map<ResourceId, ResourceFacts>()
  /** Counts beginnings and ends of writes: an answer that was asked for across one may be old, and is not kept. */
  #writeSteps = 0
  /** Counted when first asked for, then kept. */
  #count: number | null = null

  constructor(db: IndexDb) {
    this.#db = db
  }

  async get(id: ResourceId): Promise<ResourceRecord | null> {
    return decodeRecord(await this.#db.get(keys.resource(id)))
  }

  /** From memory, but for the first time. Never older than the last `put`, `update` or `remove` that resolved. */
  async facts(id: ResourceId): Promise<ResourceFacts | null> {
    const known = this.#facts.get(id)
    if (known !== undefined) return known
    const step = this.#writeSteps
    const record = await this.get(id)
    if (record === null) return null
    const facts = factsOf(record)
    if (this.#writeSteps === step) this.#keepFacts(id, facts)
    return facts
  }

  async all(): Promise<ResourceRecord[]> {
    const found: ResourceRecord[] = []
    for await (const page of this.pages()) found.push(...page)
    return found
  }

  async *pages(): AsyncGenerator<ResourceRecord[]> {
    for await (const page of this.#db.pages(ranges.resources)) {
      const found: ResourceRecord[] = []
      for (const [, value] of page) {
        const record = decodeRecord(value)
        if (record !== null) found.push(record)
      }
      yield found
    }
  }

  async count(): Promise<number> {
    if (this.#count === null) {
      let count = 0
      for await (const page of this.#db.pages(ranges.resources)) count += page.length
      this.#count = count
    }
    return this.#count
  }

  async pins(): Promise<ResourceId[]> {
    return (await this.#db.entries(ranges.pins)).map(([key]) => lastId<ResourceId>(key))
  }

  async newestAt(url: string, selection: string): Promise<ResourceRecord | null> {
    let newest: ResourceRecord | null = null
    for await (const record of this.#referred(ranges.location(url, selection))) {
      // The hash of the location names it; the text decides.
      if (record.resource.url !== url || record.resource.selection !== selection) continue
      if (newest === null || seenAtMs(record) > seenAtMs(newest)) newest = record
    }
    return newest
  }

  async bySha256(sha256: string): Promise<ResourceRecord | null> {
    let best: ResourceRecord | null = null
    for await (const record of this.#referred(ranges.digest(sha256))) {
      if (record.sha256 !== sha256) continue
      // Several mirrors may name the same bytes: the one with a manifest is worth most, then the one used last.
      const isBetter =
        best === null ||
        (record.root !== null && best.root === null) ||
        ((record.root === null) === (best.root === null) && record.lastUsedAtMs > best.lastUsedAtMs)
      if (isBetter) best = record
    }
    return best
  }

  async put(given: ResourceRecord): Promise<void> {
    const known = await this.get(given.id)
    await this.#write(known, mergeRecord(known, given))
  }

  /** @returns false when the resource is not known */
  async update(id: ResourceId, change: Partial<ResourceRecord>, extra: readonly Change[] = []): Promise<boolean> {
    const known = await this.get(id)
    if (known === null) return false
    await this.#write(known, { ...known, ...change, id }, extra)
    return true
  }

  async seal(id: ResourceId, manifest: Manifest, { sha256 }: { readonly sha256?: string } = {}): Promise<boolean> {
    const known = await this.get(id)
    if (known === null) return false
    const { root } = manifest
    const changes = [put(keys.manifestUser(root, id))]
    if (!(await this.#db.has(keys.manifest(root)))) changes.push(put(keys.manifest(root), encodeManifest(manifest)))
    if (known.root !== null && known.root !== root) changes.push(...(await this.#unsealChanges(known.root, id)))
    await this.#write(known, { ...known, root, sha256: sha256 ?? known.sha256 }, changes)
    return true
  }

  async manifest(id: ResourceId): Promise<Manifest | null> {
    const record = await this.get(id)
    if (record?.root == null) return null
    const bytes = await this.#db.get(keys.manifest(record.root))
    if (bytes === undefined) return null
    try {
      return decodeManifest(bytes)
    } catch (error) {
      if (isShorthaulError(error, 'SHORTHAUL_MANIFEST_INVALID')) return null // a damaged disk: learnt again
      throw error
    }
  }

  async remove(id: ResourceId): Promise<void> {
    const record = await this.get(id)
    const changes = [del(keys.resource(id)), del(keys.pin(id))]
    if (record !== null) {
      changes.push(del(keys.location(record.resource.url, record.resource.selection, id)))
      if (record.sha256 !== null) changes.push(del(keys.digest(record.sha256, id)))
      if (record.root !== null) changes.push(...(await this.#unsealChanges(record.root, id)))
    }
    const isKnown = await this.#db.has(keys.resource(id))
    await this.#writing(id, () => this.#db.write(changes))
    if (this.#count !== null && isKnown) this.#count--
  }

  async #write(known: ResourceRecord | null, record: ResourceRecord, extra: readonly Change[] = []): Promise<void> {
    const { id, resource } = record
    const changes = [...extra]
    if (known !== null && known.sha256 !== null && known.sha256 !== record.sha256) {
      changes.push(del(keys.digest(known.sha256, id)))
    }
    changes.push(put(keys.resource(id), encodeRecord(record)), put(keys.location(resource.url, resource.selection, id)))
    changes.push(record.isPinned ? put(keys.pin(id)) : del(keys.pin(id)))
    if (record.sha256 !== null) changes.push(put(keys.digest(record.sha256, id)))
    await this.#writing(id, () => this.#db.write(changes))
    if (this.#count !== null && known === null) this.#count++
  }

  async #writing(id: ResourceId, write: () => Promise<void>): Promise<void> {
    this.#writeSteps++
    this.#facts.delete(id)
    try {
      await write()
    } finally {
      this.#writeSteps++
    }
  }

  #keepFacts(id: ResourceId, facts: ResourceFacts): void {
    const [oldest] = this.#facts.keys()
    if (oldest !== undefined && this.#facts.size >= MAX_KNOWN_FACTS) this.#facts.delete(oldest)
    this.#facts.set(id, facts)
  }

  /** The manifest itself goes with its last user. */
  async #unsealChanges(root: string, id: ResourceId): Promise<Change[]> {
    const users = await this.#db.entries(ranges.manifestUsers(root))
    const isLast = users.every(([key]) => lastId<ResourceId>(key) === id)
    return [del(keys.manifestUser(root, id)), ...(isLast ? [del(keys.manifest(root))] : [])]
  }

  async *#referred(range: KeyRange): AsyncGenerator<ResourceRecord> {
    for await (const page of this.#db.pages(range)) {
      for (const [key] of page) {
        const record = await this.get(lastId<ResourceId>(key))
        if (record !== null) yield record
      }
    }
  }
}

function factsOf({ resource, visibility }: ResourceRecord): ResourceFacts {
  return { visibility, lengthBytes: resource.lengthBytes }
}

function seenAtMs(record: ResourceRecord): number {
  return record.identification?.seenAtMs ?? record.createdAtMs
}
