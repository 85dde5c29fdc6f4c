/** The words and numbers of `bitsadmin` for what our jobs have. Pure. */
import type { JobId, NotifyEvent } from '../../jobs/job.ts'
import type { JobState } from '../../jobs/states.ts'
import { PRIORITIES, type Priority } from '../../throttle/priority.ts'
import { usage } from '../output.ts'

export const UNKNOWN = 'UNKNOWN'

export function guidOf(id: JobId): string {
  return `{${id.toUpperCase()}}`
}

/** `transient-error` is TRANSIENT_ERROR. */
export function stateWord(state: JobState): string {
  return state.toUpperCase().replaceAll('-', '_')
}

/** @throws SHORTHAUL_USAGE */
export function parsePriority(text: string): Priority {
  const priority = PRIORITIES.find((one) => one === text.toLowerCase())
  if (priority === undefined) throw usage(`Cannot use the priority "${text}": expected FOREGROUND, HIGH, NORMAL or LOW`)
  return priority
}

/** Null: not yet. In UTC, to the second, whatever the language of the system. */
export function timeWord(atMs: number | null): string {
  return atMs === null ? UNKNOWN : new Date(atMs).toISOString().replace(/\.\d+Z$/, 'Z')
}

/** Whole seconds, as BITS counts; rounded up, so that a limit is never shown shorter than it is. */
export function secondsOf(durationMs: number): string {
  return String(Math.ceil(durationMs / 1000))
}

/** @throws SHORTHAUL_USAGE */
export function parseSeconds(text: string): number {
  return parseCount(text, 'seconds') * 1000
}

/** Decimal, or hexadecimal with 0x. @throws SHORTHAUL_USAGE */
export function parseCount(text: string, what: string): number {
  const value = /^(\d{1,12}|0x[0-9a-f]{1,8})$/i.test(text) ? Number(text) : Number.NaN
  if (Number.isNaN(value)) throw usage(`Cannot use "${text}": expected a number of ${what}`)
  return value
}

export function bytesWord(bytes: number | null): string {
  return bytes === null ? UNKNOWN : String(bytes)
}

const NOTIFY_DISABLE = 0x4
/** Those that BITS has; of `acknowledged` and `cancelled` it tells nobody. */
const NOTIFY_BITS: readonly (readonly [bit: number, event: NotifyEvent])[] = [
  [0x1, 'transferred'],
  [0x2, 'error'],
  [0x10, 'file-transferred'],
]

export function notifyFlagsOf(events: readonly NotifyEvent[]): number {
  if (events.length === 0) return NOTIFY_DISABLE
  return NOTIFY_BITS.reduce((flags, [bit, event]) => (events.includes(event) ? flags | bit : flags), 0)
}

/** @throws SHORTHAUL_USAGE for events that we do not tell of */
export function parseNotifyFlags(text: string): readonly NotifyEvent[] {
  const flags = parseCount(text, 'notification flags')
  const known = NOTIFY_BITS.reduce((all, [bit]) => all | bit, NOTIFY_DISABLE)
  if ((flags & ~known) !== 0) {
    throw usage(
      `Cannot use the notification flags "${text}": expected a sum of 1 (transferred), 2 (error), 4 (none), 16 (file transferred)`,
    )
  }
  if ((flags & NOTIFY_DISABLE) !== 0) return []
  return NOTIFY_BITS.filter(([bit]) => (flags & bit) !== 0).map(([, event]) => event)
}

/** ENABLE_CLIENT and ENABLE_SERVER: what a job fetched is offered to neighbours in any case, as far as it is public. */
const PEERS_BOTH = 0x3
const PEERS_CLIENT = 0x1
const PEERS_SERVER = 0x2
const PEERS_NO_BRANCH_CACHE = 0x4

export function peerFlagsOf(usePeers: boolean): number {
  return usePeers ? PEERS_BOTH : PEERS_SERVER
}

/** @throws SHORTHAUL_USAGE */
export function parsePeerFlags(text: string): boolean {
  const flags = parseCount(text, 'peer caching flags')
  if ((flags & ~(PEERS_BOTH | PEERS_NO_BRANCH_CACHE)) !== 0) {
    throw usage(
      `Cannot use the peer caching flags "${text}": expected a sum of 1 (from peers), 2 (to peers), 4 (no BranchCache)`,
    )
  }
  return (flags & PEERS_CLIENT) !== 0 && (flags & PEERS_NO_BRANCH_CACHE) === 0
}

export function proxyUsageOf(proxy: string): string {
  if (proxy === 'auto') return 'PRECONFIG'
  return proxy === 'none' ? 'NO_PROXY' : 'OVERRIDE'
}

export function proxyListOf(proxy: string): string {
  return proxy === 'auto' || proxy === 'none' ? 'NULL' : proxy
}

/** What the arguments of /setproxysettings mean. @throws SHORTHAUL_USAGE */
export function parseProxy(kind: string, list: string | undefined, bypass: string | undefined): string {
  if (!isNull(bypass)) {
    throw usage('Cannot use a proxy bypass list: expected NULL; NO_PROXY in the environment of the agent is honoured')
  }
  switch (kind.toUpperCase()) {
    case 'PRECONFIG':
      return 'auto'
    case 'NO_PROXY':
      return 'none'
    case 'OVERRIDE':
      if (list === undefined || isNull(list) || /[\s;,]/.test(list)) {
        throw usage('Cannot use the proxy list: expected one proxy, HOST:PORT or its URL')
      }
      return list.includes('://') ? list : `http://${list}`
    case 'AUTODETECT':
      throw usage('Cannot look for a proxy by itself: expected PRECONFIG, NO_PROXY or OVERRIDE')
    default:
      throw usage(`Cannot use the proxy settings "${kind}": expected PRECONFIG, NO_PROXY or OVERRIDE`)
  }
}

/** Left out, or the word with which `bitsadmin` leaves out. */
export function isNull(text: string | undefined): boolean {
  return text === undefined || text.toUpperCase() === 'NULL'
}
