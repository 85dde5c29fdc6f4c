/**
 * What the origin had when: which generations of a path were current at some time of a span. Pure.
 *
 * A change is known by the moments before it was ordered and after it was confirmed; between them both generations count.
 */
interface Reign {
  readonly generation: number
  readonly fromMs: number
  untilMs: number
}

const FIRST_GENERATION = 1

export class OriginTruth {
  readonly #reigns = new Map<string, Reign[]>()

  /** The generation of the path that is current from now on. */
  generationOf(path: string): number {
    return this.#of(path).at(-1)?.generation ?? FIRST_GENERATION
  }

  /** For the origin: all paths that are not of the first generation. */
  byPath(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.#reigns.keys()].map((path) => [path, this.generationOf(path)]))
  }

  changed(
    path: string,
    change: { readonly generation: number; readonly orderedMs: number; confirmedMs: number },
  ): void {
    const reigns = this.#of(path)
    const last = reigns.at(-1)
    if (last) last.untilMs = change.confirmedMs
    reigns.push({ generation: change.generation, fromMs: change.orderedMs, untilMs: Number.POSITIVE_INFINITY })
    this.#reigns.set(path, reigns)
  }

  /** Generations that were current at some time of the span, both ends included. */
  currentDuring(path: string, span: { readonly fromMs: number; readonly untilMs: number }): readonly number[] {
    return this.#of(path)
      .filter(({ fromMs, untilMs }) => fromMs <= span.untilMs && untilMs >= span.fromMs)
      .map(({ generation }) => generation)
  }

  #of(path: string): Reign[] {
    return (
      this.#reigns.get(path) ?? [
        { generation: FIRST_GENERATION, fromMs: Number.NEGATIVE_INFINITY, untilMs: Number.POSITIVE_INFINITY },
      ]
    )
  }
}
