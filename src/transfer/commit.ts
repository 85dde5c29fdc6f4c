/**
 * Commit: a verified segment goes into the store and to the delivery, side by side, and is announced once it is stored.
 *
 * A cache that is full, smaller than the content or broken never stops a delivery: then the part, where this process can
 * read it, stands in as the place to serve from while the transfer runs.
 */
import type { KeyPair } from 'hypercore-crypto'
import type { Logger } from 'pino'
import type { SegmentHash } from '../content/ids.ts'
import { SEGMENT_BYTES } from '../content/segmentation.ts'
import { type Statement, signStatement } from '../content/statement.ts'
import type { VerifiedSegment } from '../content/verify.ts'
import { isShorthaulError } from '../errors.ts'
import type { Store } from '../store/store.ts'
import type { Exchange } from './exchange.ts'
import type { Delivery, TransferNote } from './request.ts'
import type { SharedResource } from './shared-resource.ts'

export interface CommitterComponents {
  readonly store: Store
  readonly exchange: Exchange
  readonly delivery: Delivery
  readonly keyPair: KeyPair
  readonly log: Logger
  readonly note: (note: TransferNote) => void
}

export class Committer {
  readonly #components: CommitterComponents
  readonly #shared: SharedResource
  readonly #signal: AbortSignal

  constructor(components: CommitterComponents, shared: SharedResource, options: { signal: AbortSignal }) {
    this.#components = components
    this.#shared = shared
    this.#signal = options.signal
  }

  /** Our signed word that we had this segment from the origin; entered into the draft at once. */
  state(index: number, hash: SegmentHash): Statement {
    const statement = signStatement(this.#components.keyPair, this.#shared.record.id, index, [hash])
    this.#shared.draft.add(statement)
    return statement
  }

  /** @throws what the delivery throws; never what the cache throws */
  async commit(index: number, segment: VerifiedSegment, statement: Statement | null): Promise<void> {
    const { delivery, exchange, store } = this.#components
    const [isStored] = await Promise.all([this.#store(index, segment, statement), delivery.write(index, segment)])
    let isServable = isStored
    if (!isStored && delivery.localPath !== null) {
      await store.commitLocated(
        { hash: segment.hash, lengthBytes: segment.bytes.byteLength },
        {
          resource: this.#shared.record.id,
          index,
          path: delivery.localPath,
          offset: index * SEGMENT_BYTES,
          ...(statement ? { statement } : {}),
        },
      )
      isServable = true
    }
    if (isServable) exchange.committed(this.#shared, { index, hash: segment.hash }, statement)
    else if (statement) await store.addStatements(this.#shared.record.id, [statement])
  }

  async #store(index: number, segment: VerifiedSegment, statement: Statement | null): Promise<boolean> {
    const { store, log, note } = this.#components
    try {
      const at = { resource: this.#shared.record.id, index, ...(statement ? { statement } : {}) }
      const isStored = await store.commit(segment, at, { signal: this.#signal })
      if (!isStored)
        note({ event: 'note', note: 'cache-full', message: 'The cache has no room: delivered without keeping a copy' })
      return isStored
    } catch (error) {
      if (this.#signal.aborted || !isShorthaulError(error)) throw error
      log.warn({ err: error }, 'segment not cached')
      return false
    }
  }
}
