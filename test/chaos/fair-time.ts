/**
 * Time that counts only as much as this machine has processors for what wants to run: where twice as many processes are
 * runnable as there are processors, a second counts half. What does not move in it for long is stuck, and not starved.
 */

/** A machine that is busier than that is no excuse any more. */
const MAX_SLOWNESS = 4

export class FairTime {
  #fairMs = 0
  #lastMs: number
  #slowness = 1

  constructor(nowMs: number) {
    this.#lastMs = nowMs
  }

  /** What is so from now on. @param runnable processes that run or want to, on all processors */
  machineIs(now: { readonly nowMs: number; readonly runnable: number; readonly processors: number }): void {
    this.#fairMs = this.at(now.nowMs)
    this.#lastMs = Math.max(this.#lastMs, now.nowMs)
    this.#slowness = Math.min(MAX_SLOWNESS, Math.max(1, now.runnable / now.processors))
  }

  at(nowMs: number): number {
    return this.#fairMs + Math.max(0, nowMs - this.#lastMs) / this.#slowness
  }
}
