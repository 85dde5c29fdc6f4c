/** What a run tells while it goes on: each note once, and progress by the clock. */
import type { Clock } from '../clock.ts'
import type { OriginFacts } from '../origin/origin.ts'
import type { TransferEvent, TransferNote } from './request.ts'
import type { Tally } from './tally.ts'

const PROGRESS_INTERVAL_MS = 200

const DEGRADATION_TEXT: Record<OriginFacts['degradations'][number], string> = {
  'no-head': 'The origin does not answer HEAD: asked with a small GET instead',
  'no-range': 'The origin does not do ranges: one stream, and resuming starts over',
  'no-length': 'The origin does not say the length: one stream, not shared and not resumable',
  'no-validator': 'The origin gives no validator: not shared and not resumable',
  'weak-validator': 'The origin gives only a weak ETag, which does not identify bytes',
}

export class RunReporter {
  /** Of the target. Null while that is not known. */
  bytesTotal: number | null = null
  readonly #clock: Clock
  readonly #tally: Tally
  readonly #onEvent: (event: TransferEvent) => void
  readonly #said = new Set<string>()

  constructor(
    components: { readonly clock: Clock; readonly tally: Tally },
    options: { readonly onEvent: (event: TransferEvent) => void },
  ) {
    this.#clock = components.clock
    this.#tally = components.tally
    this.#onEvent = options.onEvent
  }

  /** Once per kind (and peer) and transfer. */
  note(note: TransferNote): void {
    const isPlural = note.note === 'origin-retry' || note.note === 'held'
    const key = isPlural ? `${note.note}/${note.message}` : `${note.note}/${note.peer ?? ''}`
    if (this.#said.has(key)) return
    this.#said.add(key)
    this.#onEvent(note)
  }

  noteDegradation(degradation: OriginFacts['degradations'][number]): void {
    this.note({ event: 'note', note: degradation, message: DEGRADATION_TEXT[degradation] })
  }

  progress(): void {
    this.#onEvent({
      event: 'progress',
      bytesDone: this.#tally.deliveredBytes,
      bytesTotal: this.bytesTotal,
      bytesPerSec: Math.round(this.#tally.bytesPerSec()),
      sources: this.#tally.sources,
    })
  }

  /** Until `signal` aborts; never rejects. */
  async tellProgress(signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        await this.#clock.sleep(PROGRESS_INTERVAL_MS, { signal })
      } catch {
        return
      }
      this.progress()
    }
  }
}
