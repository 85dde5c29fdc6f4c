/** The table of schema.ts as a list, for the loader and for the generators of documentation. */
import type { ConfigKey } from './key.ts'
import { KEYS } from './schema.ts'

/** A key with its place. */
export interface FlatKey {
  /** `cache.maxBytes` */
  readonly path: string
  /** `cache`; null for a key at the top. */
  readonly section: string | null
  /** `maxBytes` */
  readonly name: string
  /** `SHORTHAUL_CACHE_MAX_BYTES` */
  readonly variable: string
  readonly key: ConfigKey<unknown>
}

/** The environment variable of a key: `network.maxPeerRttMs` is `SHORTHAUL_NETWORK_MAX_PEER_RTT_MS`. */
export function variableName(path: string): string {
  return `SHORTHAUL_${path.replaceAll('.', '_').replace(/([a-z0-9])([A-Z])/g, '$1_$2')}`.toUpperCase()
}

function isKey(value: object): value is ConfigKey<unknown> {
  return 'schema' in value
}

function flatten(): FlatKey[] {
  const flat: FlatKey[] = []
  const add = (section: string | null, name: string, key: ConfigKey<unknown>) => {
    const path = section === null ? name : `${section}.${name}`
    flat.push({ path, section, name, variable: variableName(path), key })
  }
  for (const [name, value] of Object.entries(KEYS)) {
    if (isKey(value)) add(null, name, value)
    else for (const [inner, key] of Object.entries<ConfigKey<unknown>>(value)) add(name, inner, key)
  }
  return flat
}

/** All keys in the order of the table. */
export const FLAT_KEYS: readonly FlatKey[] = flatten()
