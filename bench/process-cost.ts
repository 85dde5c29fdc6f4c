/** What processes cost, read from /proc (Linux). */
import { readFile, writeFile } from 'node:fs/promises'
import { systemClock } from '../src/clock.ts'
import { peakResidentBytes, residentBytes } from '../test/lab/agent-host.ts'

/** USER_HZ: 100 on every Linux that Node runs on. */
const TICKS_PER_SEC = 100

async function statFields(pid: number | 'self'): Promise<readonly string[]> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ') // the name may hold spaces; field 3 comes first here
}

/** User and system time of these processes together, so far. */
export async function cpuMs(pids: readonly number[]): Promise<number> {
  let ticks = 0
  for (const pid of pids) {
    const fields = await statFields(pid)
    ticks += Number(fields[11]) + Number(fields[12])
  }
  return (ticks * 1000) / TICKS_PER_SEC
}

/**
 * User and system time of the children of this process that have ended, theirs included. The difference around one command
 * is that command's, when no other child ends meanwhile.
 */
export async function endedChildrenCpuMs(): Promise<number> {
  const fields = await statFields('self')
  return ((Number(fields[13]) + Number(fields[14])) * 1000) / TICKS_PER_SEC
}

/** Lets the peaks of these processes count from now on (needs root). */
export async function forgetPeaks(pids: readonly number[]): Promise<void> {
  for (const pid of pids) await writeFile(`/proc/${pid}/clear_refs`, '5')
}

/** The most that any of these processes had resident. */
export async function largestPeakBytes(pids: readonly number[]): Promise<number> {
  return Math.max(...(await Promise.all(pids.map(peakResidentBytes))))
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
