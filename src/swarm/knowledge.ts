/**
 * What our neighbours know of one agent, as far as we know. A neighbour is its place in the list that gossip.ts keeps.
 * Numbers side by side and no objects: to relay is to look at all neighbours, again and again.
 */
const DIRECT = 1
const TOLD = 2

export class Knowledge {
  /** Both end with the last neighbour that knows anything. */
  readonly #sequences: number[] = []
  readonly #marks: number[] = []

  /** A neighbour left, those behind it move up. */
  remove(place: number): void {
    this.#sequences.splice(place, 1)
    this.#marks.splice(place, 1)
  }

  /** Of the newest state that it has; -1: of none. */
  sequence(place: number): number {
    return this.#sequences[place] ?? -1
  }

  /** It said that it is connected to the agent, or is told by us and the agent is us. */
  isDirect(place: number): boolean {
    return ((this.#marks[place] ?? 0) & DIRECT) !== 0
  }

  /** It heard of the agent from us, and so whether we hear it first-hand. */
  isTold(place: number): boolean {
    return ((this.#marks[place] ?? 0) & TOLD) !== 0
  }

  /** The neighbour told us. */
  heard(place: number, told: { readonly sequence: number; readonly isDirect: boolean }): void {
    this.#reach(place)
    if (told.sequence > this.sequence(place)) this.#sequences[place] = told.sequence
    if (told.isDirect && !this.isDirect(place)) this.#mark(place, DIRECT)
  }

  /** We told the neighbour. */
  tell(place: number, sequence: number): void {
    this.#reach(place)
    this.#sequences[place] = sequence
    this.#mark(place, TOLD)
  }

  #mark(place: number, mark: number): void {
    this.#marks[place] = (this.#marks[place] ?? 0) | mark
  }

  #reach(place: number): void {
    while (this.#marks.length <= place) {
      this.#sequences.push(-1)
      this.#marks.push(0)
    }
  }
}
