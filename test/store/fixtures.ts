/** What the store's tests share: a clock by hand, verified segments, resources, options. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import hypercore from 'hypercore-crypto'
import pino from 'pino'
import type { Clock } from '../../src/clock.ts'
import type { SegmentHash } from '../../src/content/ids.ts'
import { resourceId, type Visibility } from '../../src/content/resource.ts'
import { SEGMENT_BYTES } from '../../src/content/segmentation.ts'
import { type VerifiedSegment, verifySegment } from '../../src/content/verify.ts'
import type { ResourceRecord } from '../../src/store/records.ts'
import type { StoreOptions } from '../../src/store/store.ts'

export const log = pino({ level: process.env.TEST_LOG ?? 'silent' })
export const MiB = SEGMENT_BYTES
export const never = new AbortController().signal
export const keyPair = hypercore.keyPair(Buffer.alloc(32, 7))
export const otherKeyPair = hypercore.keyPair(Buffer.alloc(32, 8))

/** Time moves only when told to; `sleep` ends only by abort, so that the store does nothing by itself. */
export class ManualClock implements Clock {
  atMs = 1_800_000_000_000
  nowMs(): number {
    return this.atMs
  }
  monotonicMs(): number {
    return this.atMs
  }
  advance(ms: number): void {
    this.atMs += ms
  }
  sleep(_delayMs: number, options: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    return new Promise((_, reject) => {
      const { signal } = options
      if (signal?.aborted) reject(signal.reason)
      signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
    })
  }
}

/** A segment whose bytes follow from its number. */
export function segment(number: number, lengthBytes = 1000): VerifiedSegment {
  const bytes = Buffer.alloc(lengthBytes, `segment ${number} `)
  return verifySegment(bytes, null)
}

export function record(name: string, options: Partial<ResourceRecord> & { segments?: number } = {}): ResourceRecord {
  const { segments = 16, ...rest } = options
  const resource = {
    url: `https://example.org/${name}`,
    selection: '',
    validator: { kind: 'etag', value: `"${name}"` },
    lengthBytes: segments * SEGMENT_BYTES,
  } as const
  const visibility: Visibility = 'branch'
  return {
    id: resourceId(resource),
    resource,
    visibility,
    finalUrl: resource.url,
    root: null,
    sha256: null,
    pinnedSha256: null,
    declaredSha256: null,
    identification: null,
    createdAtMs: 1,
    lastUsedAtMs: 1,
    isPinned: false,
    ...rest,
  }
}

export function options(dataDir: string, rest: Partial<StoreOptions> = {}): StoreOptions {
  return { dataDir, maxBytes: 100 * MiB, minFreeBytes: 0, maxAgeMs: null, ...rest }
}

export function storeRoot(dataDir: string): string {
  return join(dataDir, 'store', 'v1')
}

export function segmentPath(dataDir: string, hash: SegmentHash): string {
  return join(storeRoot(dataDir), 'segments', hash.slice(0, 2), hash)
}

/** Hashes of all segment files there are. */
export async function segmentFiles(dataDir: string): Promise<string[]> {
  const root = join(storeRoot(dataDir), 'segments')
  const names: string[] = []
  for (const shard of await readdir(root)) names.push(...(await readdir(join(root, shard))))
  return names.sort()
}
