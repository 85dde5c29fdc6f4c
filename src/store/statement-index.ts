/**
 * Statements of resources. For one first position and one signer there is one statement: a longer one replaces a shorter
 * that it agrees with, and one that contradicts replaces what it contradicts. So a member can make us store at most one
 * statement for each position of a resource.
 *
 * Does not check signatures. Changes run inside the store's Serial.
 */
import type { AgentKey, ResourceId } from '../content/ids.ts'
import { segmentCount } from '../content/segmentation.ts'
import type { Statement } from '../content/statement.ts'
import { decodeStatement, encodeStatement, isStorableStatement } from './index-codec.ts'
import { type Change, del, type IndexDb, put } from './index-db.ts'
import { keys, parseStatementKey, ranges } from './index-keys.ts'

export class StatementIndex {
  readonly #db: IndexDb

  constructor(db: IndexDb) {
    this.#db = db
  }

  /** Ascending by first position. */
  async list(id: ResourceId): Promise<Statement[]> {
    const found: Statement[] = []
    for await (const page of this.#pages(id)) found.push(...page)
    return found
  }

  /** The changes that add those statements that are new and lie within the content. */
  async additions(
    resource: { id: ResourceId; lengthBytes: number },
    statements: readonly Statement[],
  ): Promise<Change[]> {
    const fitting = statements.filter((it) => isWithin(resource, it))
    const statementKeys = fitting.map((it) => keys.statement(resource.id, it.firstIndex, it.signer))
    const stored = await this.#db.getMany(statementKeys)
    const kept = new Map<string, { key: Buffer; statement: Statement }>()
    for (const [position, statement] of fitting.entries()) {
      const key = statementKeys[position]
      if (key === undefined) continue
      const earlier = kept.get(key.toString('hex'))?.statement
      const isNew = earlier ? !saysAsMuch(earlier, statement) : addsTo(stored[position], statement)
      if (isNew) kept.set(key.toString('hex'), { key, statement })
    }
    return [...kept.values()].map(({ key, statement }) => put(key, encodeStatement(statement)))
  }

  /** The changes that add these statements and remove those of the same signers that they cover. */
  async replacements(
    resource: { id: ResourceId; lengthBytes: number },
    statements: readonly Statement[],
  ): Promise<Change[]> {
    const changes: Change[] = []
    for await (const page of this.#pages(resource.id)) {
      for (const old of page) {
        if (statements.some((it) => covers(it, old))) {
          changes.push(del(keys.statement(resource.id, old.firstIndex, old.signer)))
        }
      }
    }
    for (const statement of statements) {
      if (!isStorableStatement(statement)) continue
      changes.push(put(keys.statement(resource.id, statement.firstIndex, statement.signer), encodeStatement(statement)))
    }
    return changes
  }

  async removeAll(id: ResourceId): Promise<void> {
    for await (const page of this.#db.pages(ranges.statements(id))) await this.#db.write(page.map(([key]) => del(key)))
  }

  /** Those of one signer, about whatever resource. */
  async removeOf(signer: AgentKey): Promise<void> {
    for await (const page of this.#db.pages(ranges.allStatements)) {
      const own = page.filter(([key]) => parseStatementKey(key).signer === signer)
      if (own.length > 0) await this.#db.write(own.map(([key]) => del(key)))
    }
  }

  async *#pages(id: ResourceId): AsyncGenerator<Statement[]> {
    for await (const page of this.#db.pages(ranges.statements(id))) {
      const found: Statement[] = []
      for (const [key, value] of page) {
        const statement = decodeStatement(parseStatementKey(key), value)
        if (statement !== null) found.push(statement)
      }
      yield found
    }
  }
}

/** Whether a statement is of a shape that can be stored and lies within the content. */
export function isWithin(resource: { lengthBytes: number }, statement: Statement): boolean {
  const { firstIndex, hashes } = statement
  return isStorableStatement(statement) && firstIndex + hashes.length <= segmentCount(resource.lengthBytes)
}

/** Whether a statement says something that what is stored under its key does not. */
export function addsTo(stored: Buffer | undefined, statement: Statement): boolean {
  const known = stored && decodeStatement(statement, stored)
  return !known || !saysAsMuch(known, statement)
}

/** Whether `known` already says all that `given` says, in the same words. */
function saysAsMuch(known: Statement, given: Statement): boolean {
  return known.hashes.length >= given.hashes.length && given.hashes.every((hash, at) => known.hashes[at] === hash)
}

function covers(statement: Statement, old: Statement): boolean {
  return (
    statement.signer === old.signer &&
    statement.firstIndex <= old.firstIndex &&
    statement.firstIndex + statement.hashes.length >= old.firstIndex + old.hashes.length
  )
}
