/**
 * What it takes to say that a segment belongs at a position of a resource: the keys to ask, and the changes that follow
 * from the answers. All that a commit must know comes by one question (`look`); when its file is written it asks again
 * (`lookAgain`), because the index went on meanwhile, and gets the same blocks from LevelDB's cache.
 *
 * Writes nothing. Both looks, and writing what follows, run inside the Serial.
 */
import type { Logger } from 'pino'
import type { ResourceId, SegmentHash } from '../content/ids.ts'
import type { Statement } from '../content/statement.ts'
import { decodeHash, decodeSegmentRow, encodeSegmentRow, encodeStatement, type SegmentRow } from './index-codec.ts'
import { type Change, del, type IndexDb, put } from './index-db.ts'
import { keys, type Reference } from './index-keys.ts'
import type { ResourceFacts, ResourceIndex } from './resource-index.ts'
import { addsTo, isWithin } from './statement-index.ts'

export interface Placement extends Reference {
  readonly statement?: Statement | undefined
}

/** What the index says of a segment and of the place it is to have. */
export interface Look {
  /** The segment's row; null when it is not here. */
  readonly row: SegmentRow | null
  /**
   * False: removed while its transfer runs. The segment may stay as cache content, but nothing may refer to the resource.
   */
  readonly isResourceKnown: boolean
  /** Make the segment what is at the position, whatever was there before. */
  readonly referenceChanges: readonly Change[]
  readonly statementChanges: readonly Change[]
}

type Values = readonly (Buffer | undefined)[]

export class Placements {
  readonly #db: IndexDb
  readonly #resources: ResourceIndex
  readonly #log: Logger

  constructor(components: { db: IndexDb; resources: ResourceIndex; log: Logger }) {
    this.#db = components.db
    this.#resources = components.resources
    this.#log = components.log
  }

  async look(hash: SegmentHash, at: Placement): Promise<Look> {
    const facts = await this.#resources.facts(at.resource)
    if (facts === null) this.#log.debug({ resource: at.resource, index: at.index }, 'segment of an unknown resource')
    return this.#look(hash, at, { facts, values: await this.#db.getMany(askedKeys(hash, at)) })
  }

  async lookAgain(hash: SegmentHash, at: Placement): Promise<Look> {
    const facts = await this.#resources.facts(at.resource)
    return this.#look(hash, at, { facts, values: await this.#db.getFew(askedKeys(hash, at)) })
  }

  /** What else a row must say, or null when it says it: the first known resource that permits the branch is best. */
  async betterGrantor(row: SegmentRow, id: ResourceId): Promise<SegmentRow | null> {
    const { grantor } = row
    if (grantor === id) return null
    if (grantor !== null && (await this.#resources.facts(grantor))?.visibility === 'branch') return null
    if (grantor !== null && (await this.#resources.facts(id))?.visibility !== 'branch') return null
    return { ...row, grantor: id }
  }

  async #look(hash: SegmentHash, at: Placement, found: { facts: ResourceFacts | null; values: Values }): Promise<Look> {
    const [segment, position, statement] = found.values
    const row = decodeSegmentRow(segment)
    if (found.facts === null) return { row, isResourceKnown: false, referenceChanges: [], statementChanges: [] }
    return {
      row,
      isResourceKnown: true,
      referenceChanges: await this.#referenceChanges(hash, at, position),
      statementChanges: statementChanges(at, { lengthBytes: found.facts.lengthBytes, stored: statement }),
    }
  }

  async #referenceChanges(hash: SegmentHash, at: Reference, position: Buffer | undefined): Promise<Change[]> {
    const old = position === undefined ? null : decodeHash(position)
    // A position that names the hash has its reference (SegmentIndex, invariant 2).
    if (old === hash) return []
    const changes = [put(keys.reference(hash, at)), put(keys.position(at), Buffer.from(hash, 'hex'))]
    if (old === null) return changes
    // The other segment keeps its row: it may serve others, and goes by age if not. Its grantor must reference it.
    const [oldRow] = (await this.#db.getMany([keys.segment(old)])).map(decodeSegmentRow)
    if (oldRow?.grantor === at.resource) {
      changes.push(put(keys.segment(old), encodeSegmentRow({ ...oldRow, grantor: null })))
    }
    return [del(keys.reference(old, at)), ...changes]
  }
}

function askedKeys(hash: SegmentHash, at: Placement): Buffer[] {
  const asked = [keys.segment(hash), keys.position(at)]
  if (at.statement) asked.push(keys.statement(at.resource, at.statement.firstIndex, at.statement.signer))
  return asked
}

function statementChanges(
  { resource, statement }: Placement,
  found: { lengthBytes: number; stored: Buffer | undefined },
): Change[] {
  if (statement === undefined || !isWithin(found, statement) || !addsTo(found.stored, statement)) return []
  return [put(keys.statement(resource, statement.firstIndex, statement.signer), encodeStatement(statement))]
}
