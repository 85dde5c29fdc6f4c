/** `shorthaul quarantine`: members that vouched for bytes that an origin does not have. */
import type { QuarantineEntry } from '../peers/quarantine.ts'
import { shortKey, withAgent } from './agent-view.ts'
import { type GlobalOptions, loadCliConfig } from './context.ts'
import { createOutput, formatTable, minuteOf, usage } from './output.ts'

export async function quarantineVerb(options: GlobalOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const { config } = await loadCliConfig(options)
  const members = await withAgent(options, config, async (client) => membersOf(await client.get('/v1/quarantine')))
  output.json({ event: 'quarantine', members })
  if (members.length === 0) output.remark('shorthaul: nobody is in quarantine')
  else output.text(formatMembers(members))
}

export async function liftVerb(key: string, options: GlobalOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const { config } = await loadCliConfig(options)
  const lifted = await withAgent(options, config, async (client) => {
    const found = memberOf(key, membersOf(await client.get('/v1/quarantine')))
    const { matched } = (await client.post('/v1/quarantine/lift', { key: found.key })) as { matched: number }
    return { key: found.key, matched }
  })
  output.json({ event: 'quarantine-lifted', ...lifted })
  output.text(`${shortKey(lifted.key)} is believed again${lifted.matched > 1 ? ', and those at its address' : ''}`)
}

function membersOf(answer: unknown): readonly QuarantineEntry[] {
  return (answer as { members: readonly QuarantineEntry[] }).members
}

/** @throws SHORTHAUL_USAGE when it names none, or several */
export function memberOf(key: string, members: readonly QuarantineEntry[]): QuarantineEntry {
  const found = members.filter((member) => key !== '' && member.key.startsWith(key.toLowerCase()))
  const [only] = found
  if (only !== undefined && found.length === 1) return only
  throw usage(`Cannot lift a quarantine: "${key}" names ${found.length} members in it, expected one`)
}

export function formatMembers(members: readonly QuarantineEntry[]): string {
  return formatTable([
    ['KEY', 'ADDRESS', 'SINCE', 'UNTIL', 'TIMES', 'BECAUSE'],
    ...members.map(({ key, address, sinceMs, untilMs, count, reason }) => [
      shortKey(key),
      address ?? '-',
      minuteOf(sinceMs),
      minuteOf(untilMs),
      String(count),
      reason === 'same-address' ? 'same address as one that is here' : 'vouched for what the origin does not have',
    ]),
  ])
}
