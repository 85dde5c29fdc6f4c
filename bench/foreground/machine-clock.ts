/** The one clock of this machine, so that what several processes saw can be put on one line of time. */
import { systemClock } from '../../src/clock.ts'

/** CLOCK_MONOTONIC in milliseconds: the same in every process here, unlike `performance.now()`. */
export function machineMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/** @throws the signal's reason when it is aborted meanwhile. */
export async function sleepUntil(atMs: number, signal?: AbortSignal): Promise<void> {
  const leftMs = atMs - machineMs()
  if (leftMs > 0) await systemClock.sleep(leftMs, { signal })
}
