/** Shows the ledger of a chaos run to people. */
import type { Ledger } from './figures.ts'
import type { ChaosPlan, PlanOptions } from './plan.ts'

const MIB = 1024 * 1024

export function repeatCommand({ seed, minutes, hosts, pace }: PlanOptions): string {
  return `npm run chaos -- --minutes ${minutes} --seed ${seed} --hosts ${hosts} --pace ${pace}`
}

export function reportText(plan: ChaosPlan, { figures, broken }: Ledger): string {
  const { bySource, growth } = figures
  const rows: [string, string][] = [
    ['run', `seed ${plan.seed}, ${plan.minutes} min, ${plan.hosts} hosts, pace ${plan.pace}`],
    ['fetches and jobs', `${figures.started}, ${figures.jobs} of them jobs`],
    ['right', String(figures.right)],
    ['wrong', String(figures.wrong)],
    ['failed, saying why', counts(figures.failedByCode)],
    ['killed by us', String(figures.killed)],
    ['stuck', String(figures.stuck)],
    ['commands that crashed', String(figures.crashedCommands)],
    ['daemons that crashed', String(figures.daemonCrashes)],
    ['unhandled in logs', String(figures.badLines)],
    ['left behind', String(figures.leftovers)],
    ['from', `cache ${mib(bySource.cache)}, peers ${mib(bySource.peer)}, origin ${mib(bySource.origin)}`],
    ['origin sent', `${mib(figures.originBytes)}: ${figures.egressCopies?.toFixed(2) ?? '-'} copies`],
    ['wasted', mib(figures.wastedBytes)],
    ['faults', counts(figures.faultsByKind)],
    ['faults left out', counts(figures.skippedFaults)],
    ...growth.map((one): [string, string] => [
      `host ${one.host}`,
      `resident ${optional(one.residentStartBytes, mib)} -> ${mib(one.residentEndBytes)} (peak ${mib(one.residentPeakBytes)}), ` +
        `descriptors ${optional(one.descriptorsStart, String)} -> ${one.descriptorsEnd} (peak ${one.descriptorsPeak})` +
        `${one.isSameProcess ? '' : ', started anew'}`,
    ]),
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  const lines = rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`)
  if (broken.length > 0) lines.push('', `BROKEN (${broken.length})`, ...broken.map((text) => `- ${text}`))
  else lines.push('', 'No invariant was broken')
  return lines.join('\n')
}

function counts(of: Readonly<Record<string, number>>): string {
  const entries = Object.entries(of)
  const total = entries.reduce((sum, [, count]) => sum + count, 0)
  return entries.length === 0 ? '0' : `${total}: ${entries.map(([name, count]) => `${name} ${count}`).join(', ')}`
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`
}

function optional<T>(value: T | null, show: (value: T) => string): string {
  return value === null ? '-' : show(value)
}
