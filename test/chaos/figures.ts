/**
 * The ledger of a chaos run: what is counted, and which invariants are broken. Pure: findings in, figures and verdict out.
 */
import type { Outcome } from './judgement.ts'
import type { FaultKind } from './schedule.ts'

export interface TaskRecord {
  readonly by: 'fetch' | 'job'
  readonly host: number
  readonly url: string
  readonly target: string
  /** Of the run's clock. */
  readonly startedMs: number
  readonly endedMs: number
  readonly outcome: Outcome
  readonly wastedBytes: number
  readonly sources: { readonly cache: number; readonly peer: number; readonly origin: number } | null
}

export interface DaemonSample {
  readonly atMs: number
  readonly host: number
  readonly pid: number
  readonly residentBytes: number
  readonly descriptors: number
}

/** What was seen in a run; all texts name the host they are about. */
export interface Findings {
  readonly tasks: readonly TaskRecord[]
  readonly faults: readonly { readonly kind: FaultKind; readonly skipped: string | null }[]
  /** Daemons that ended and that nobody killed: exit code and last lines. */
  readonly crashes: readonly string[]
  /** Lines of logs that a fault of programming leaves. */
  readonly badLines: readonly string[]
  /** Parts and temporary files that are there at the end, and transfers that daemons still count. */
  readonly leftovers: readonly string[]
  /** What daemons found in their stores that is not what its name says. */
  readonly corruptSegments: readonly string[]
  /** Hosts that do not see each other again, when all is mended. */
  readonly lonelyHosts: readonly string[]
  readonly idleAtStart: readonly DaemonSample[]
  readonly idleAtEnd: readonly DaemonSample[]
  readonly samples: readonly DaemonSample[]
  readonly originBytes: number
  /** Of the generations that somebody has got, each once. */
  readonly distinctBytes: number
}

export interface Growth {
  readonly host: number
  /** False: it was killed and started again, so it has no beginning to compare with. */
  readonly isSameProcess: boolean
  readonly residentStartBytes: number | null
  readonly residentEndBytes: number
  readonly residentPeakBytes: number
  readonly descriptorsStart: number | null
  readonly descriptorsEnd: number
  readonly descriptorsPeak: number
}

export interface Figures {
  readonly started: number
  readonly right: number
  readonly wrong: number
  readonly failedByCode: Readonly<Record<string, number>>
  readonly killed: number
  readonly stuck: number
  readonly crashedCommands: number
  readonly jobs: number
  readonly daemonCrashes: number
  readonly badLines: number
  readonly leftovers: number
  readonly originBytes: number
  readonly egressCopies: number | null
  readonly wastedBytes: number
  readonly bySource: { readonly cache: number; readonly peer: number; readonly origin: number }
  readonly faultsByKind: Readonly<Record<string, number>>
  readonly skippedFaults: Readonly<Record<string, number>>
  readonly growth: readonly Growth[]
}

export interface Ledger {
  readonly figures: Figures
  /** A sentence for each; none: the run is passed. */
  readonly broken: readonly string[]
}

const MIB = 1024 * 1024
/** Connections that are kept for a while, to neighbours and origins, are no leak; one for each transfer would be. */
const MAX_MORE_DESCRIPTORS = 40
/** V8 keeps what it once needed; what grows with the number of transfers shows in long runs. */
const MAX_MORE_RESIDENT_BYTES = 192 * MIB

export function ledgerOf(findings: Findings): Ledger {
  const { tasks, crashes, badLines, leftovers, corruptSegments, lonelyHosts } = findings
  const growth = growthOf(findings)
  const broken: string[] = []
  for (const { by, host, url, target, outcome, startedMs, endedMs } of tasks) {
    if (outcome.is !== 'wrong' && outcome.is !== 'stuck' && outcome.is !== 'crashed') continue
    const span = `${seconds(startedMs)}-${seconds(endedMs)}`
    broken.push(`${outcome.is}: ${by} of ${url} to ${target} on host ${host}, ${span}: ${outcome.why}`)
  }
  broken.push(
    ...crashes.map((text) => `daemon crashed: ${text}`),
    ...badLines.map((text) => `bad line: ${text}`),
    ...leftovers.map((text) => `left behind: ${text}`),
    ...corruptSegments.map((text) => `corrupt in a store: ${text}`),
    ...lonelyHosts.map((text) => `not together again: ${text}`),
    ...growth.flatMap(leaksOf),
  )
  if (!tasks.some(({ outcome }) => outcome.is === 'right')) broken.push('nothing was fetched: the run proves nothing')
  const count = (is: Outcome['is']) => tasks.filter(({ outcome }) => outcome.is === is).length
  const sources = tasks.flatMap((task) => task.sources ?? [])
  const sum = (of: 'cache' | 'peer' | 'origin') => sources.reduce((total, one) => total + one[of], 0)
  const figures: Figures = {
    started: tasks.length,
    right: count('right'),
    wrong: count('wrong'),
    failedByCode: countBy(tasks.flatMap(({ outcome }) => (outcome.is === 'failed' ? [outcome.code] : []))),
    killed: count('killed'),
    stuck: count('stuck'),
    crashedCommands: count('crashed'),
    jobs: tasks.filter(({ by }) => by === 'job').length,
    daemonCrashes: crashes.length,
    badLines: badLines.length,
    leftovers: leftovers.length,
    originBytes: findings.originBytes,
    egressCopies: findings.distinctBytes === 0 ? null : findings.originBytes / findings.distinctBytes,
    wastedBytes: tasks.reduce((total, task) => total + task.wastedBytes, 0),
    bySource: { cache: sum('cache'), peer: sum('peer'), origin: sum('origin') },
    faultsByKind: countBy(findings.faults.flatMap(({ kind, skipped }) => (skipped === null ? [kind] : []))),
    skippedFaults: countBy(
      findings.faults.flatMap(({ kind, skipped }) => (skipped === null ? [] : [`${kind}: ${skipped}`])),
    ),
    growth,
  }
  return { figures, broken }
}

function growthOf({ idleAtStart, idleAtEnd, samples }: Findings): Growth[] {
  return idleAtEnd.map((end) => {
    const start = idleAtStart.find(({ host, pid }) => host === end.host && pid === end.pid) ?? null
    const seen = [...samples.filter(({ host }) => host === end.host), end]
    return {
      host: end.host,
      isSameProcess: start !== null,
      residentStartBytes: start?.residentBytes ?? null,
      residentEndBytes: end.residentBytes,
      residentPeakBytes: Math.max(...seen.map(({ residentBytes }) => residentBytes)),
      descriptorsStart: start?.descriptors ?? null,
      descriptorsEnd: end.descriptors,
      descriptorsPeak: Math.max(...seen.map(({ descriptors }) => descriptors)),
    }
  })
}

function leaksOf(growth: Growth): string[] {
  const leaks: string[] = []
  const { host, descriptorsStart, descriptorsEnd, residentStartBytes, residentEndBytes } = growth
  if (descriptorsStart !== null && descriptorsEnd - descriptorsStart > MAX_MORE_DESCRIPTORS) {
    leaks.push(
      `leak: the daemon of host ${host} had ${descriptorsStart} descriptors at first, ${descriptorsEnd} at last`,
    )
  }
  if (residentStartBytes !== null && residentEndBytes - residentStartBytes > MAX_MORE_RESIDENT_BYTES) {
    const [first, last] = [residentStartBytes, residentEndBytes].map((bytes) => Math.round(bytes / MIB))
    leaks.push(`leak: the daemon of host ${host} had ${first} MiB resident at first, ${last} MiB at last`)
  }
  return leaks
}

function countBy(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of [...names].sort()) counts[name] = (counts[name] ?? 0) + 1
  return counts
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
