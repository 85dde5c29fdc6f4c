/**
 * The segment tables of the index: rows, last use, references in both directions, totals.
 *
 * Invariants (each batch is atomic, so they hold after kill -9 too):
 * 1. A row has exactly one entry in the last-use queue; totals are the sum of the rows.
 * 2. `r hash resource index` exists exactly when `p resource index` holds that hash.
 * 3. No reference without a row.
 * 4. A row's grantor references the segment. So whether the branch may have it depends on no row when the visibility of a
 *    resource changes; only who takes a reference away must look at the row, in the same batch.
 * Methods that change anything run inside the store's Serial; the caller sees to it.
 */
import type { ResourceId, SegmentHash } from '../content/ids.ts'
import {
  decodeHash,
  decodeSegmentRow,
  decodeTotals,
  encodeSegmentRow,
  encodeTotals,
  type SegmentRow,
  type Totals,
} from './index-codec.ts'
import { type Change, del, type IndexDb, put } from './index-db.ts'
import { keys, lastId, parsePosition, parseReference, parseUseTimeMs, type Reference, ranges } from './index-keys.ts'

/** Keys asked in one call to level; bounds the memory of a question about a long content. */
const GET_BATCH = 1024

export interface KnownSegment {
  readonly hash: SegmentHash
  readonly row: SegmentRow
  readonly references: readonly Reference[]
}

export class SegmentIndex {
  readonly #db: IndexDb
  #totals: Totals

  private constructor(db: IndexDb, totals: Totals) {
    this.#db = db
    this.#totals = totals
  }

  static async open(db: IndexDb): Promise<SegmentIndex> {
    const stored = decodeTotals(await db.get(keys.meta('totals')))
    const index = new SegmentIndex(db, stored ?? { segmentCount: 0, bytes: 0 })
    if (stored === null) await index.recount()
    return index
  }

  get totals(): Totals {
    return this.#totals
  }

  async row(hash: SegmentHash): Promise<SegmentRow | null> {
    return decodeSegmentRow(await this.#db.get(keys.segment(hash)))
  }

  /** The rows that there are, in the order asked. */
  async known(hashes: readonly SegmentHash[]): Promise<{ hash: SegmentHash; row: SegmentRow }[]> {
    const values = await this.#db.getMany(hashes.map(keys.segment))
    return hashes.flatMap((hash, position) => {
      const row = decodeSegmentRow(values[position])
      return row === null ? [] : [{ hash, row }]
    })
  }

  // Decodes instead of asking for the key: a damaged row counts as none, or it could neither be read nor written again.
  async has(hash: SegmentHash): Promise<boolean> {
    return (await this.row(hash)) !== null
  }

  async hasMany(hashes: readonly SegmentHash[]): Promise<boolean[]> {
    const found: boolean[] = []
    for (let start = 0; start < hashes.length; start += GET_BATCH) {
      const values = await this.#db.getMany(hashes.slice(start, start + GET_BATCH).map(keys.segment))
      for (const value of values) found.push(decodeSegmentRow(value) !== null)
    }
    return found
  }

  async references(hash: SegmentHash): Promise<Reference[]> {
    return (await this.#db.entries(ranges.references(hash))).map(([key]) => parseReference(key))
  }

  /** Resources that reference a segment, each once. Skips by seeking: a block of zeros has thousands of references. */
  async *referencingResources(hash: SegmentHash): AsyncGenerator<ResourceId> {
    let after: Buffer | undefined
    for (;;) {
      const next = await this.#firstReference(hash, after)
      if (next === null) return
      yield next.resource
      after = keys.reference(hash, { resource: next.resource, index: 0xffffffff })
    }
  }

  async #firstReference(hash: SegmentHash, after: Buffer | undefined): Promise<Reference | null> {
    const options = after === undefined ? { pageSize: 1 } : { after, pageSize: 1 }
    for await (const [first] of this.#db.pages(ranges.references(hash), options)) {
      return first === undefined ? null : parseReference(first[0])
    }
    return null
  }

  /** Positions of a resource that are here, ascending, in pages. */
  async *positions(id: ResourceId): AsyncGenerator<{ index: number; hash: SegmentHash }[]> {
    for await (const page of this.#db.pages(ranges.positions(id))) {
      const found: { index: number; hash: SegmentHash }[] = []
      for (const [key, value] of page) {
        const hash = decodeHash(value)
        if (hash !== null) found.push({ index: parsePosition(key), hash })
      }
      yield found
    }
  }

  async hasPositions(id: ResourceId): Promise<boolean> {
    for await (const page of this.#db.pages(ranges.positions(id), { pageSize: 1 })) return page.length > 0
    return false
  }

  /** Adds a new row; with `isUnsynced` its bytes are remembered as perhaps not on the disk yet. */
  async add(
    segment: { hash: SegmentHash; row: SegmentRow; isUnsynced: boolean },
    extra: readonly Change[] = [],
  ): Promise<void> {
    const { hash, row, isUnsynced } = segment
    await this.#write({ segmentCount: 1, bytes: row.lengthBytes }, [
      putRow(hash, row),
      put(keys.use(row.lastUsedAtMs, hash)),
      ...(isUnsynced ? [put(keys.journal(hash))] : []),
      ...extra,
    ])
  }

  /** Adds rows in bulk without totals; `recount` must follow. For rebuilding. */
  async addUncounted(segments: readonly { hash: SegmentHash; row: SegmentRow }[]): Promise<void> {
    await this.#db.write(
      segments.flatMap(({ hash, row }) => [putRow(hash, row), put(keys.use(row.lastUsedAtMs, hash))]),
    )
  }

  /** Takes a resource's references away and leaves the rows. @returns hashes that nobody references any more */
  async dereference(
    id: ResourceId,
    positions: readonly { index: number; hash: SegmentHash }[],
  ): Promise<SegmentHash[]> {
    const hashes = [...new Set(positions.map((it) => it.hash))]
    const granted = new Map<SegmentHash, SegmentRow>()
    for (const { hash, row } of await this.known(hashes)) if (row.grantor === id) granted.set(hash, row)
    const references = positions.flatMap(({ index, hash }) => {
      const at = { resource: id, index }
      return [del(keys.reference(hash, at)), del(keys.position(at))]
    })
    await this.#db.write([...references, ...[...granted].map(([hash, row]) => putRow(hash, { ...row, grantor: null }))])
    const unreferenced: SegmentHash[] = []
    const regranted: Change[] = []
    for (const hash of hashes) {
      const other = await this.#firstReference(hash, undefined)
      const row = granted.get(hash)
      if (other === null) unreferenced.push(hash)
      else if (row !== undefined) regranted.push(putRow(hash, { ...row, grantor: other.resource }))
    }
    await this.#db.write(regranted)
    return unreferenced
  }

  /** Removes rows with all their references. */
  async remove(segments: readonly KnownSegment[], extra: readonly Change[] = []): Promise<void> {
    const changes: Change[] = [...extra]
    let bytes = 0
    for (const { hash, row, references } of segments) {
      bytes += row.lengthBytes
      changes.push(del(keys.segment(hash)), del(keys.use(row.lastUsedAtMs, hash)), del(keys.journal(hash)))
      for (const at of references) changes.push(del(keys.reference(hash, at)), del(keys.position(at)))
    }
    await this.#write({ segmentCount: -segments.length, bytes: -bytes }, changes)
  }

  async touch(uses: readonly (readonly [hash: SegmentHash, usedAtMs: number])[]): Promise<void> {
    for (let start = 0; start < uses.length; start += GET_BATCH) {
      const batch = uses.slice(start, start + GET_BATCH)
      const values = await this.#db.getMany(batch.map(([hash]) => keys.segment(hash)))
      const changes = batch.flatMap(([hash, usedAtMs], position) => {
        const row = decodeSegmentRow(values[position])
        if (row === null) return []
        const lastUsedAtMs = Math.floor(usedAtMs)
        return [
          del(keys.use(row.lastUsedAtMs, hash)),
          put(keys.use(lastUsedAtMs, hash)),
          putRow(hash, { ...row, lastUsedAtMs }),
        ]
      })
      await this.#db.write(changes)
    }
  }

  /** The next entries of the last-use queue, least recently used first; `key` is where to go on. */
  async leastRecentlyUsed(
    after: Buffer | null,
    limit: number,
  ): Promise<{ key: Buffer; hash: SegmentHash; lastUsedAtMs: number }[]> {
    const options = after === null ? { pageSize: limit } : { after, pageSize: limit }
    for await (const page of this.#db.pages(ranges.uses, options)) {
      return page.map(([key]) => ({ key, hash: lastId<SegmentHash>(key), lastUsedAtMs: parseUseTimeMs(key) }))
    }
    return []
  }

  /** Drops an entry of the last-use queue that has no row; only a damaged index has one. */
  async dropUse(key: Buffer): Promise<void> {
    await this.#db.write([del(key)])
  }

  /** Sums the rows again; for a rebuilt or damaged index. */
  async recount(): Promise<void> {
    let segmentCount = 0
    let bytes = 0
    for await (const page of this.#db.pages(ranges.segments)) {
      for (const [, value] of page) {
        const row = decodeSegmentRow(value)
        if (row === null) continue
        segmentCount++
        bytes += row.lengthBytes
      }
    }
    this.#totals = { segmentCount, bytes }
    await this.#db.write([put(keys.meta('totals'), encodeTotals(this.#totals))])
  }

  async #write(difference: Totals, changes: readonly Change[]): Promise<void> {
    const totals = {
      segmentCount: Math.max(0, this.#totals.segmentCount + difference.segmentCount),
      bytes: Math.max(0, this.#totals.bytes + difference.bytes),
    }
    // In the same batch, so that nobody ever has to count a million rows to know the size of the cache.
    await this.#db.write([...changes, put(keys.meta('totals'), encodeTotals(totals))])
    this.#totals = totals
  }
}

function putRow(hash: SegmentHash, row: SegmentRow): Change {
  return put(keys.segment(hash), encodeSegmentRow(row))
}
