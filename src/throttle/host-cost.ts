/**
 * What the system says the line to the WAN costs. Linux: NetworkManager, over the system bus. Windows: host-windows.ts.
 * macOS keeps it to its own frameworks, which no command shows: unknown.
 */
import type { RunChild } from './child.ts'
import type { CostState } from './cost.ts'

/** What was found, or why it could not be looked for. What this system has no means to tell is unknown, and no failure. */
export type Reading<T> =
  | { readonly state: T; readonly failure: null }
  | { readonly state: null; readonly failure: string }

export interface ReadOptions {
  readonly run: RunChild
  readonly signal: AbortSignal
}

const DEADLINE_MS = 3000

/** Without auto-start: asking must not start a NetworkManager that somebody stopped. */
const BUSCTL_ARGS = [
  '--system',
  '--auto-start=no',
  '--json=short',
  'get-property',
  'org.freedesktop.NetworkManager',
  '/org/freedesktop/NetworkManager',
  'org.freedesktop.NetworkManager',
  'Metered',
]

/** Without a bus (a container), without NetworkManager (a server), or one before 1.2. */
const ABSENT = /Failed to connect to bus|was not provided by any|Could not activate|has no owner|Unknown property/i

export async function readLinuxCost({ run, signal }: ReadOptions): Promise<Reading<CostState>> {
  const answer = await run('busctl', BUSCTL_ARGS, { signal, deadlineMs: DEADLINE_MS })
  if (answer.kind === 'missing') return { state: 'unknown', failure: null }
  if (answer.kind === 'failed') {
    if (ABSENT.test(answer.message)) return { state: 'unknown', failure: null }
    return { state: null, failure: `busctl: ${answer.message}` }
  }
  const state = parseMetered(answer.stdout)
  if (state !== null) return { state, failure: null }
  return { state: null, failure: `busctl: ${answer.stdout.slice(0, 100)}, expected a number from 0 to 4` }
}

/**
 * `{"type":"u","data":4}`, an NMMetered: 0 unknown, 1 yes, 2 no, 3 guessed yes, 4 guessed no. It does not know of quotas
 * used up, nor of roaming. null: something else.
 */
export function parseMetered(stdout: string): CostState | null {
  let value: unknown
  try {
    value = JSON.parse(stdout)
  } catch {
    return null
  }
  if (typeof value !== 'object' || value === null || !('data' in value)) return null
  switch (value.data) {
    case 0:
      return 'unknown'
    case 1:
    case 3:
      return 'capped'
    case 2:
    case 4:
      return 'unrestricted'
    default:
      return null
  }
}
