/** `shorthaul status`: what a branch admin needs to believe that it works. */
import type { AgentStatus } from '../agent/views.ts'
import { formatBytes, formatDuration } from '../config/units.ts'
import type { LedgerTotals } from '../metrics/ledger.ts'
import { printable, readStatus, remarkVersion, shortKey, withAgent } from './agent-view.ts'
import { type GlobalOptions, loadCliConfig } from './context.ts'
import { alignRight, createOutput, formatTable } from './output.ts'
import { throttleRows } from './throttle-view.ts'

const MAX_NAMES = 8

export async function statusVerb(options: GlobalOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const { config } = await loadCliConfig(options)
  const status = await withAgent(options, config, readStatus)
  remarkVersion(status, output)
  output.json({ event: 'status', ...status, today: withSavings(status.today), total: withSavings(status.total) })
  output.text(formatStatus(status))
}

export interface Savings {
  /** Given to the users of this agent, from wherever. */
  readonly deliveredBytes: number
  /** Of these, what did not cross the WAN for this agent. */
  readonly savedBytes: number
  /** Origin bytes ÷ delivered bytes; null before anything was delivered. */
  readonly copies: number | null
}

export function savings(totals: LedgerTotals): Savings {
  const savedBytes = totals.cacheBytes + totals.peerBytes
  const deliveredBytes = savedBytes + totals.originBytes
  return { deliveredBytes, savedBytes, copies: deliveredBytes === 0 ? null : totals.originBytes / deliveredBytes }
}

function withSavings(totals: LedgerTotals): LedgerTotals & Savings {
  return { ...totals, ...savings(totals) }
}

/** For people; several lines. */
export function formatStatus(status: AgentStatus): string {
  const { network, peers, store, today, total } = status
  const about = formatTable([
    ['agent', `shorthaul ${printable(status.version)}, key ${shortKey(status.key)}`],
    ['branch', status.branch],
    ['running for', formatDuration(status.uptimeMs)],
    [
      'network',
      network.state + (network.address ? `, ${network.address}` : '') + (network.error ? `: ${network.error}` : ''),
    ],
    ['neighbours', formatNeighbours(peers)],
    [
      'active',
      `${count(status.activeFetches, 'fetch', 'fetches')}, ${count(status.activeUploads, 'upload', 'uploads')} to neighbours`,
    ],
    ...throttleRows(status.throttle),
    ['data', status.dataDir],
  ])
  const moved = alignRight([['', 'today', 'in all'], ...ROWS.map(([name, show]) => [name, show(today), show(total)])])
  const used = store.maxBytes === 0 ? 'off' : `${formatBytes(store.bytes)} of ${formatBytes(store.maxBytes)}`
  const cache =
    `cache: ${used}, ${count(store.resourceCount, 'resource', 'resources')}, ` +
    `${formatBytes(store.pinnedBytes)} pinned, ${formatBytes(store.freeDiskBytes)} free on the disk`
  return [about, '', moved, '', ...formatSavings(total), cache].join('\n')
}

const ROWS: readonly (readonly [string, (totals: LedgerTotals) => string])[] = [
  ['from the cache', ({ cacheBytes }) => formatBytes(cacheBytes)],
  ['from neighbours', ({ peerBytes }) => formatBytes(peerBytes)],
  ['from the origin', ({ originBytes }) => formatBytes(originBytes)],
  ['wasted', ({ wastedBytes }) => formatBytes(wastedBytes)],
  ['served to neighbours', ({ servedBytes }) => formatBytes(servedBytes)],
  ['fetches', ({ fetchCount }) => String(fetchCount)],
  ['failed', ({ failedCount }) => String(failedCount)],
  ['copies', (totals) => formatCopies(savings(totals))],
]

function formatSavings(total: LedgerTotals): string[] {
  const { deliveredBytes, savedBytes, copies } = savings(total)
  if (copies === null) return ['saved: nothing fetched yet']
  const percent = Math.round((savedBytes / deliveredBytes) * 100)
  return [
    `saved ${formatBytes(savedBytes)} of ${formatBytes(deliveredBytes)} (${percent} %) from the WAN`,
    `copies ${formatCopies({ copies })}: origin bytes for each byte delivered here; 1.00 = everything came over the WAN by this agent`,
  ]
}

function formatCopies({ copies }: Pick<Savings, 'copies'>): string {
  return copies === null ? '-' : copies.toFixed(2)
}

function formatNeighbours(peers: AgentStatus['peers']): string {
  const names = peers.slice(0, MAX_NAMES).map(({ hostName, key }) => printable(hostName) || shortKey(key))
  const more = peers.length > names.length ? ` and ${peers.length - names.length} more` : ''
  return peers.length === 0
    ? '0 (`shorthaul doctor` looks for the reason)'
    : `${peers.length}: ${names.join(', ')}${more}`
}

function count(amount: number, one: string, many: string): string {
  return `${amount} ${amount === 1 ? one : many}`
}
