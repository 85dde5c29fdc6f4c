/**
 * Wire names -> what we may tell neighbours about. Holds only resources that the branch may see; rebuilt from the store
 * at start, and kept up as transfers identify resources.
 */
import type { LocationKey, ResourceId, ResourceKey } from '../content/ids.ts'
import { locationKey, resourceKey } from '../content/resource.ts'
import type { ResourceRecord } from '../store/records.ts'

interface CatalogLocation {
  readonly url: string
  readonly selection: string
}

export class Catalog {
  readonly #wireKey: Uint8Array
  readonly #locations = new Map<LocationKey, CatalogLocation>()
  readonly #resources = new Map<ResourceKey, ResourceId>()

  /** @param wireKey of the secret's epoch, see peers/branch-keys.ts */
  constructor(wireKey: Uint8Array) {
    this.#wireKey = wireKey
  }

  /** Enters or, when the record is private, leaves out. */
  put(record: ResourceRecord): void {
    if (record.visibility !== 'branch') return
    const { url, selection } = record.resource
    this.#locations.set(locationKey(this.#wireKey, url, selection), { url, selection })
    this.#resources.set(resourceKey(this.#wireKey, record.resource), record.id)
  }

  remove(record: ResourceRecord): void {
    this.#resources.delete(resourceKey(this.#wireKey, record.resource))
  }

  location(key: LocationKey): CatalogLocation | undefined {
    return this.#locations.get(key)
  }

  resource(key: ResourceKey): ResourceId | undefined {
    return this.#resources.get(key)
  }

  locationKey(url: string, selection: string): LocationKey {
    return locationKey(this.#wireKey, url, selection)
  }

  resourceKey(record: Pick<ResourceRecord, 'resource'>): ResourceKey {
    return resourceKey(this.#wireKey, record.resource)
  }
}
