/**
 * What an index of many segments costs: opening, looking up, memory. `tsx bench/index-bench.ts [--rows N] [--json]`
 *
 * The rows are made through the store's internal path (SegmentIndex, in batches), with a real but tiny file of 64 bytes for
 * each, so that recovery and rebuilding have files to look at. Rows, keys and code are those of 1 MiB segments.
 */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import pino from 'pino'
import { seededRandom, systemClock } from '../src/clock.ts'
import type { ResourceId, SegmentHash } from '../src/content/ids.ts'
import { resourceId } from '../src/content/resource.ts'
import { SEGMENT_BYTES } from '../src/content/segmentation.ts'
import { verifySegment } from '../src/content/verify.ts'
import { del, IndexDb, put } from '../src/store/index-db.ts'
import { keys } from '../src/store/index-keys.ts'
import { SegmentIndex } from '../src/store/segment-index.ts'
import { Store } from '../src/store/store.ts'

const LOOKUPS = 20_000
const log = pino({ level: 'silent' })
const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '100000' },
    json: { type: 'boolean', default: false },
    dir: { type: 'string' },
    measure: { type: 'string' },
  },
})
const rows = Number(values.rows)

interface Measured {
  readonly openMs: number
  readonly rssBeforeMiB: number
  readonly rssOpenMiB: number
  readonly hasMedianUs: number
  readonly hasP99Us: number
  readonly absentMedianUs: number
  readonly hasManyUsPerKey: number
  readonly rssAfterMiB: number
}

function bench(text: string): SegmentHash {
  return verifySegment(Buffer.from(text.padEnd(64)), null).hash
}

function rssMiB(): number {
  return Math.round(process.memoryUsage.rss() / 2 ** 20)
}

async function openStore(dataDir: string): Promise<Store> {
  const limits = { dataDir, maxBytes: 2 ** 50, minFreeBytes: 0, maxAgeMs: null }
  return Store.open({ clock: systemClock, log }, limits)
}

/** Makes the rows and their files; leaves the store closed cleanly. */
async function make(dataDir: string): Promise<void> {
  const resource = {
    url: 'https://example.org/bench',
    selection: '',
    validator: { kind: 'etag', value: '"1"' },
    lengthBytes: rows * SEGMENT_BYTES,
  } as const
  const id: ResourceId = resourceId(resource)
  const store = await openStore(dataDir)
  const facts = {
    visibility: 'branch',
    finalUrl: resource.url,
    root: null,
    sha256: null,
    pinnedSha256: null,
    declaredSha256: null,
    identification: null,
  } as const
  await store.putResource({ ...facts, id, resource, createdAtMs: 1, lastUsedAtMs: 1, isPinned: false })
  await store.close()

  const segments = join(dataDir, 'store', 'v1', 'segments')
  for (let shard = 0; shard < 256; shard++)
    mkdirSync(join(segments, shard.toString(16).padStart(2, '0')), { recursive: true })
  const db = await IndexDb.open(join(dataDir, 'store', 'v1', 'index'), { onCorrupt: () => undefined })
  const index = await SegmentIndex.open(db)
  for (let start = 0; start < rows; start += 1000) {
    const batch = Array.from({ length: Math.min(1000, rows - start) }, (_, offset) => {
      const bytes = Buffer.from(`bench ${start + offset}`.padEnd(64))
      const { hash } = verifySegment(bytes, null)
      writeFileSync(join(segments, hash.slice(0, 2), hash), bytes)
      return { hash, row: { lengthBytes: 64, lastUsedAtMs: 1_800_000_000_000 + start + offset, grantor: id } }
    })
    await index.addUncounted(batch)
    const references = batch.flatMap(({ hash }, offset) => {
      const at = { resource: id, index: start + offset }
      return [put(keys.reference(hash, at)), put(keys.position(at), Buffer.from(hash, 'hex'))]
    })
    await db.write(references)
  }
  await index.recount()
  await db.close()
}

function percentile(sorted: readonly number[], ratio: number): number {
  return Math.round((sorted[Math.floor((sorted.length - 1) * ratio)] ?? 0) * 10) / 10
}

async function timeEach(
  hashes: readonly SegmentHash[],
  ask: (hash: SegmentHash) => Promise<unknown>,
): Promise<number[]> {
  const times: number[] = []
  for (const hash of hashes) {
    const startedMs = systemClock.monotonicMs()
    await ask(hash)
    times.push((systemClock.monotonicMs() - startedMs) * 1000)
  }
  return times.sort((a, b) => a - b)
}

/** In a process of its own, so that memory is that of an agent which only opened the store. */
async function measure(dataDir: string): Promise<Measured> {
  const rssBeforeMiB = rssMiB()
  const startedMs = systemClock.monotonicMs()
  const store = await openStore(dataDir)
  const openMs = Math.round(systemClock.monotonicMs() - startedMs)
  const rssOpenMiB = rssMiB()
  const random = seededRandom(1)
  const present = Array.from({ length: LOOKUPS }, () => bench(`bench ${Math.floor(random() * rows)}`))
  const absent = Array.from({ length: LOOKUPS / 4 }, () => randomBytes(32).toString('hex') as SegmentHash)
  const has = await timeEach(present, async (hash) => {
    if (!(await store.has(hash))) throw new Error(`segment ${hash} is not in the index`)
  })
  const hasNot = await timeEach(absent, (hash) => store.has(hash))
  const manyStartedMs = systemClock.monotonicMs()
  await store.hasMany(present)
  const hasManyUsPerKey = ((systemClock.monotonicMs() - manyStartedMs) * 1000) / present.length
  const rssAfterMiB = rssMiB()
  await store.close()
  return {
    openMs,
    rssBeforeMiB,
    rssOpenMiB,
    hasMedianUs: percentile(has, 0.5),
    hasP99Us: percentile(has, 0.99),
    absentMedianUs: percentile(hasNot, 0.5),
    hasManyUsPerKey: Math.round(hasManyUsPerKey * 10) / 10,
    rssAfterMiB,
  }
}

function measureInChild(dataDir: string): Measured {
  const args = ['--import=tsx', fileURLToPath(import.meta.url), '--measure', dataDir, '--rows', String(rows)]
  const child = spawnSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
  return JSON.parse(child.stdout) as Measured
}

async function removeRow(dataDir: string, key: Buffer): Promise<void> {
  const db = await IndexDb.open(join(dataDir, 'store', 'v1', 'index'), { onCorrupt: () => undefined })
  await db.write([del(key)])
  await db.close()
}

async function main(): Promise<void> {
  const dataDir = mkdtempSync(join(values.dir ?? tmpdir(), 'shorthaul-index-bench-'))
  try {
    const startedMs = systemClock.monotonicMs()
    await make(dataDir)
    const makeMs = Math.round(systemClock.monotonicMs() - startedMs)
    const clean = measureInChild(dataDir)
    await removeRow(dataDir, keys.meta('clean'))
    // Worst case: no time mark either, so every shard is compared with the index.
    await removeRow(dataDir, keys.meta('mark'))
    const unclean = measureInChild(dataDir)
    rmSync(join(dataDir, 'store', 'v1', 'index'), { recursive: true })
    const rebuilt = measureInChild(dataDir)
    const result = {
      rows,
      makeMs,
      ...clean,
      openUncleanAllShardsMs: unclean.openMs,
      openRebuildMs: rebuilt.openMs,
      node: process.version,
    }
    if (values.json) process.stdout.write(`${JSON.stringify(result)}\n`)
    else for (const [name, value] of Object.entries(result)) process.stdout.write(`${name.padEnd(24)} ${value}\n`)
  } finally {
    rmSync(dataDir, { recursive: true, force: true })
  }
}

if (values.measure === undefined) await main()
else process.stdout.write(JSON.stringify(await measure(values.measure)))
