/** Who fetches for everybody: the agents with the lowest ranks. Everybody computes the same ranks; nobody can choose one. */
import crypto from 'hypercore-crypto'
import { type AgentKey, idBytes, type ResourceKey } from '../content/ids.ts'

/** Hex of 32 bytes; lower comes first. Differs from resource to resource, so that no agent is always the one. */
export function rankOf(resource: ResourceKey, agent: AgentKey): string {
  return crypto.hash([idBytes(resource), idBytes(agent)]).toString('hex')
}
