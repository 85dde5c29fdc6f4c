/**
 * The answers of the control API with their types: the one place where commands believe what the agent says. Both ends
 * are this program, and the socket belongs to the user or to the system, so that shapes are not checked again.
 */
import type { AgentStatus, CacheEntry } from '../agent/views.ts'
import type { Config } from '../config/load.ts'
import type { ControlClient } from '../control/client.ts'
import type { OriginFacts } from '../origin/origin.ts'
import type { Diagnosis } from '../peers/network-types.ts'
import type { VerifyResult } from '../store/recovery.ts'
import type { StoreStat } from '../store/store.ts'
import { AGENT_VERSION } from '../version.ts'
import { type GlobalOptions, requireAgent } from './context.ts'
import type { Output } from './output.ts'

/** Runs `task` against the running agent and closes the connection. @throws SHORTHAUL_DAEMON_UNREACHABLE */
export async function withAgent<T>(
  options: GlobalOptions,
  config: Config,
  task: (client: ControlClient) => Promise<T>,
): Promise<T> {
  const client = await requireAgent(options, config)
  try {
    return await task(client)
  } finally {
    await client.close()
  }
}

export async function readStatus(client: ControlClient): Promise<AgentStatus> {
  return (await client.get('/v1/status')) as AgentStatus
}

/** Null while the agent's network is off, starting or failed. */
export async function readDiagnosis(client: ControlClient): Promise<Diagnosis | null> {
  return ((await client.get('/v1/network')) as { network: Diagnosis | null }).network
}

export async function askAgentForOrigin(
  client: ControlClient,
  url: string,
  options: { readonly signal: AbortSignal },
): Promise<OriginFacts> {
  return (await client.post('/v1/origin/probe', { url }, options)) as OriginFacts
}

/** What the cache verbs do; an `AgentCache` in this process has the same methods. */
export interface CacheControl {
  entries(): Promise<readonly CacheEntry[]>
  stat(): Promise<StoreStat>
  verify(options: { readonly signal: AbortSignal }): Promise<VerifyResult>
  /** Each returns how many generations of the URL matched. */
  pin(url: string): Promise<number>
  unpin(url: string): Promise<number>
  remove(url: string): Promise<number>
}

export function cacheOf(client: ControlClient): CacheControl {
  const change = async (path: string, url: string) =>
    ((await client.post(path, { url })) as { matched: number }).matched
  return {
    entries: async () => ((await client.get('/v1/cache')) as { entries: CacheEntry[] }).entries,
    stat: async () => (await client.get('/v1/cache/stat')) as StoreStat,
    verify: async (options) => (await client.post('/v1/cache/verify', {}, options)) as VerifyResult,
    pin: (url) => change('/v1/cache/pin', url),
    unpin: (url) => change('/v1/cache/unpin', url),
    remove: (url) => change('/v1/cache/rm', url),
  }
}

/** After an update of the package the daemon still runs the old one. */
export function remarkVersion(status: AgentStatus, output: Output): void {
  if (status.version === AGENT_VERSION) return
  output.remark(
    `shorthaul: the running agent is version ${status.version}, this command is ${AGENT_VERSION}: restart it`,
  )
}

/** Enough of a key to tell agents apart by eye. */
export function shortKey(key: string): string {
  return key.slice(0, 12)
}

/** Terminals obey control characters; names and versions come from other machines. */
export function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?')
}
