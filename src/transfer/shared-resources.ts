/**
 * The table of live resources: loads one from the store when a transfer or a neighbour asks, and forgets those that
 * nobody used for longest. The only place that makes a SharedResource.
 */
import type { Clock, Random } from '../clock.ts'
import { Draft } from '../content/draft.ts'
import type { AgentKey, ResourceId, SegmentHash } from '../content/ids.ts'
import { PositionSet } from '../content/position-set.ts'
import type { ResourceRecord } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { Crowd } from '../swarm/crowd.ts'
import { Gossip } from '../swarm/gossip.ts'
import type { Catalog } from './catalog.ts'
import type { QuarantineLike } from './ports.ts'
import { SharedResource } from './shared-resource.ts'

/** Resources kept warm for neighbours' questions: at most 32 MiB of bits, usually a few KiB. */
const MAX_IDLE = 256

export interface SharedResourcesComponents {
  readonly store: Store
  readonly catalog: Catalog
  readonly quarantine: QuarantineLike
  readonly self: AgentKey
  readonly clock: Clock
  readonly random: Random
  /** Connections to the origin of one resource, of this agent. */
  readonly originConnections: number
}

export class SharedResources {
  readonly #components: SharedResourcesComponents
  /** Also those being loaded; the one used longest ago comes first. */
  readonly #loading = new Map<ResourceId, Promise<SharedResource>>()
  readonly #loaded = new Map<ResourceId, SharedResource>()

  constructor(components: SharedResourcesComponents) {
    this.#components = components
  }

  /** @throws SHORTHAUL_STORE_IO */
  load(record: ResourceRecord): Promise<SharedResource> {
    const existing = this.#loading.get(record.id)
    if (existing) {
      this.#loading.delete(record.id)
      this.#loading.set(record.id, existing)
      return existing
    }
    this.forgetIdle()
    const loading = this.#read(record)
    this.#loading.set(record.id, loading)
    loading.catch(() => this.#loading.delete(record.id))
    return loading
  }

  get(id: ResourceId): SharedResource | undefined {
    return this.#loaded.get(id)
  }

  /** A live resource by its wire name. */
  find(key: SharedResource['key']): SharedResource | undefined {
    const id = this.#components.catalog.resource(key)
    return id === undefined ? undefined : this.#loaded.get(id)
  }

  all(): Iterable<SharedResource> {
    return this.#loaded.values()
  }

  /** Forgets what no transfer uses, beyond the number that is kept warm. */
  forgetIdle(): void {
    let idleCount = 0
    for (const shared of this.#loaded.values()) if (shared.useCount === 0) idleCount++
    for (const id of this.#loading.keys()) {
      if (idleCount <= MAX_IDLE) break
      const shared = this.#loaded.get(id)
      if (!shared || shared.useCount > 0) continue
      this.#loading.delete(id)
      this.#loaded.delete(id)
      idleCount--
    }
  }

  async #read(record: ResourceRecord): Promise<SharedResource> {
    const { store, catalog, quarantine, self, clock, random, originConnections } = this.#components
    const draft = new Draft(record.resource.lengthBytes, self)
    for (const statement of await store.statements(record.id)) {
      if (!quarantine.has(statement.signer)) draft.add(statement)
    }
    // The whole was checked against what the origin declared, and so were its segments.
    if (record.root !== null && record.sha256 !== null && record.declaredSha256 === record.sha256) {
      const manifest = await store.manifest(record.id)
      if (manifest) draft.addManifest(manifest, 'declared')
    }
    const positions: number[] = []
    const hashes: SegmentHash[] = []
    for (let index = 0; index < draft.segmentCount; index++) {
      const entry = draft.entry(index)
      if (!entry) continue
      positions.push(index)
      hashes.push(entry.hash)
    }
    const isHere = await store.hasMany(hashes)
    const holdings = new PositionSet(draft.segmentCount)
    for (const [at, index] of positions.entries()) if (isHere[at]) holdings.add(index)
    const key = catalog.resourceKey(record)
    const crowd = new Crowd({
      self,
      resource: key,
      segmentCount: draft.segmentCount,
      maxStreams: originConnections,
      firstSequence: Math.round(clock.nowMs()),
      random,
    })
    const gossip = new Gossip(crowd, { self, random })
    const shared = new SharedResource(record, { key, draft, holdings, crowd, gossip })
    this.#loaded.set(record.id, shared)
    return shared
  }
}
