/** What the store does by itself while it is open: writes last uses, checkpoints, keeps limits and ages. */
import type { Logger } from 'pino'
import type { Clock } from '../clock.ts'
import type { ResourceId, SegmentHash } from '../content/ids.ts'
import type { LastUse } from './last-use.ts'
import type { Protection } from './protection.ts'
import type { Recovery } from './recovery.ts'
import type { ResourceIndex } from './resource-index.ts'
import type { Room } from './room.ts'
import type { SegmentIndex } from './segment-index.ts'
import type { Serial } from './serial.ts'

const FLUSH_EVERY_MS = 5000
/** Checkpoint and limits: each 12th flush, once a minute. */
const CHECKPOINT_EVERY = 12
/** Ages: once an hour. */
const EXPIRE_EVERY = 720

export interface MaintenanceComponents {
  readonly clock: Clock
  readonly log: Logger
  readonly serial: Serial
  readonly index: SegmentIndex
  readonly resources: ResourceIndex
  readonly lastUse: LastUse
  readonly protection: Protection
  readonly recovery: Recovery
  readonly room: Room
  readonly removeResource: (id: ResourceId) => Promise<void>
}

export class Maintenance {
  readonly #components: MaintenanceComponents
  readonly #maxAgeMs: number | null

  constructor(components: MaintenanceComponents, options: { maxAgeMs: number | null }) {
    this.#components = components
    this.#maxAgeMs = options.maxAgeMs
  }

  /** Until aborted; never rejects. A failed round is logged and tried again next time. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, recovery, serial } = this.#components
    await recovery.scrub({ signal }).catch((err: unknown) => log.error({ err }, 'store scrub failed'))
    for (let round = 1; ; round++) {
      try {
        await clock.sleep(FLUSH_EVERY_MS, { signal })
      } catch {
        return
      }
      try {
        await serial.run(() => this.flushUses())
        if (round % CHECKPOINT_EVERY === 0) await this.checkpoint(signal)
        // Soon after the start too: an agent that never runs for an hour must not keep things for ever.
        if (round % EXPIRE_EVERY === CHECKPOINT_EVERY) await this.expire(signal)
      } catch (err) {
        log.error({ err }, 'store maintenance failed')
      }
    }
  }

  /** Runs inside the Serial. */
  async flushUses(): Promise<void> {
    const { index, lastUse, resources } = this.#components
    const { segments, resources: used } = lastUse.take()
    await index.touch(segments satisfies [SegmentHash, number][])
    for (const [id, lastUsedAtMs] of used) await resources.update(id, { lastUsedAtMs })
  }

  async checkpoint(signal: AbortSignal): Promise<void> {
    const { recovery, room, serial } = this.#components
    if (!recovery.isScrubbed) await recovery.scrub({ signal })
    await recovery.checkpoint({ signal })
    await serial.run(() => room.reclaim())
  }

  /** Evicts segments, and forgets resources that have none left, that nobody used for longer than the maximum age. */
  async expire(signal: AbortSignal): Promise<void> {
    const { clock, index, protection, removeResource, resources, room, serial } = this.#components
    if (this.#maxAgeMs === null) return
    const usedBeforeMs = clock.nowMs() - this.#maxAgeMs
    while (!signal.aborted && !(await serial.run(() => room.expire(usedBeforeMs))));
    for await (const page of resources.pages()) {
      for (const { id, lastUsedAtMs } of page) {
        if (signal.aborted) return
        if (lastUsedAtMs >= usedBeforeMs || protection.isProtected(id) || (await index.hasPositions(id))) continue
        await removeResource(id)
      }
    }
  }
}
