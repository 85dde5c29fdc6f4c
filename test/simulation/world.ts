/** Runs one world with one seed, and says what was wrong with it. */
import { Scheduler } from './scheduler.ts'

export interface World {
  /** Virtual time by which it is over. */
  readonly limitMs: number
  isOver(): boolean
  /** After every event. */
  check(): void
  /** It is not over at its limit. */
  late(): void
  /** When it is over. @param passTime lets things happen for so long */
  end(passTime: (ms: number) => Promise<void>): Promise<void>
}

export type MakeWorld = (scheduler: Scheduler, fail: (text: string) => void) => World

export interface Outcome {
  readonly seed: number
  /** Null: nothing. */
  readonly failure: string | null
  readonly trace: readonly string[]
  readonly digest: string
  readonly virtualMs: number
  readonly eventCount: number
}

/** An invariant that does not hold. */
class Violation extends Error {}

export async function runWorld(make: MakeWorld, seed: number): Promise<Outcome> {
  const scheduler = new Scheduler(seed)
  let failure: string | null = null
  const fail = (text: string) => {
    scheduler.note(`WRONG: ${text}`)
    failure ??= text
  }
  const onRejection = (reason: unknown) => {
    fail(`unhandled rejection: ${reason instanceof Error ? reason.stack : String(reason)}`)
  }
  process.on('unhandledRejection', onRejection)
  try {
    const world = make(scheduler, fail)
    const afterEach = () => {
      world.check()
      if (failure !== null) throw new Violation(failure)
    }
    if (await scheduler.run(() => world.isOver(), world.limitMs, afterEach)) {
      await world.end(async (ms) => {
        await scheduler.run(() => false, scheduler.nowMs + ms, afterEach)
      })
    } else {
      world.late()
    }
  } catch (error) {
    if (!(error instanceof Violation)) fail(error instanceof Error ? (error.stack ?? error.message) : String(error))
  } finally {
    process.off('unhandledRejection', onRejection)
  }
  return {
    seed,
    failure,
    trace: scheduler.trace,
    digest: scheduler.digest(),
    virtualMs: scheduler.nowMs,
    eventCount: scheduler.eventCount,
  }
}
