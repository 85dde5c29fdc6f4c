/** What processes cost, read from /proc (Linux). */
import { readFile } from 'node:fs/promises'
import { systemClock } from '../src/clock.ts'
import { residentBytes } from '../test/lab/agent-host.ts'

/** USER_HZ: 100 on every Linux that Node runs on. */
const TICKS_PER_SEC = 100

/** User and system time of these processes together, so far. */
export async function cpuMs(pids: readonly number[]): Promise<number> {
  let ticks = 0
  for (const pid of pids) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ') // the name may hold spaces; field 3 comes first here
    ticks += Number(fields[11]) + Number(fields[12])
  }
  return (ticks * 1000) / TICKS_PER_SEC
}

export interface ResidentSample {
  readonly atMs: number
  readonly bytes: number
}

/** Samples the resident memory until the process ends or the signal aborts; returns the samples. */
export async function sampleResident(
  pid: number,
  options: { everyMs: number; signal: AbortSignal },
): Promise<readonly ResidentSample[]> {
  const startedMs = systemClock.monotonicMs()
  const samples: ResidentSample[] = []
  try {
    while (!options.signal.aborted) {
      samples.push({ atMs: systemClock.monotonicMs() - startedMs, bytes: await residentBytes(pid) })
      await systemClock.sleep(options.everyMs, { signal: options.signal })
    }
  } catch {
    // The process has ended, or the signal ended the sleep: the samples are complete.
  }
  return samples
}
