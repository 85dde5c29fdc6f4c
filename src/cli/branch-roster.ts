/** `shorthaul branch invite | join | members | admit | revoke`: who belongs to a branch with a signed roster. */
import { resolve } from 'node:path'
import type { RosterView } from '../agent/roster.ts'
import type { PeerStatus } from '../agent/views.ts'
import { parseInviteCode } from '../config/invite-code.ts'
import { writeJoined } from '../config/secret.ts'
import { parseDuration } from '../config/units.ts'
import { parseId } from '../content/ids.ts'
import { readStatus, shortKey, withAgent } from './agent-view.ts'
import { defaultSecretPath, fingerprintOf } from './branch.ts'
import { type GlobalOptions, loadCliConfig } from './context.ts'
import { createOutput, formatTable, minuteOf, usage } from './output.ts'

const DEFAULT_EXPIRES = '7d'
const MIN_EXPIRES_MS = 60_000
const MAX_EXPIRES_MS = 90 * 24 * 3600 * 1000
/** A code has 188 characters. */
const MAX_INPUT_BYTES = 4096

export interface InviteOptions extends GlobalOptions {
  readonly expires?: string
}

export async function inviteVerb(name: string, options: InviteOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const validMs = parseDuration(options.expires ?? DEFAULT_EXPIRES)
  if (validMs < MIN_EXPIRES_MS || validMs > MAX_EXPIRES_MS) {
    throw usage(`Cannot invite for ${options.expires}: expected 1m to 90d`)
  }
  const { config } = await loadCliConfig(options)
  const { code, validUntilMs } = await withAgent(options, config, async (client) => {
    const body = { name, validSec: Math.floor(validMs / 1000) }
    return (await client.post('/v1/branch/invitations', body)) as { code: string; validUntilMs: number }
  })
  const validUntil = new Date(validUntilMs).toISOString()
  output.json({ event: 'branch-invite', name, code, validUntil })
  output.text(code)
  output.remark(
    [
      '',
      `This code lets one machine in, as "${name}", until ${validUntil}. The secret of the branch is in it: send it as`,
      'you would send a password. On that machine, as the user that runs the agent:',
      '  shorthaul branch join -        (and paste the code)',
    ].join('\n'),
  )
}

export interface JoinOptions extends GlobalOptions {
  readonly out?: string
}

/** @param code `-`: from stdin, so that it stands in no list of processes and no history of a shell */
export async function joinVerb(code: string, options: JoinOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const invited = parseInviteCode(code === '-' ? await readInput() : code)
  if (invited === null) throw usage('Cannot join: this is not a code of `shorthaul branch invite`, or not all of it')
  const loaded = await loadCliConfig(options)
  const path = options.out === undefined ? defaultSecretPath(loaded) : resolve(options.out)
  const joined = await writeJoined(path, { ...invited, previous: null })
  const fingerprint = fingerprintOf(joined)
  output.json({ event: 'branch-join', path, fingerprint })
  const isConfigured = loaded.config.branch.secretFile === path
  output.text(
    [
      `Wrote the branch secret and the invitation to ${path}`,
      `Fingerprint: ${fingerprint}`,
      '',
      'What to do next:',
      ...(isConfigured
        ? ['  1. The configuration names this file already.']
        : ['  1. Name it in the configuration of this machine:', '       branch:', `         secretFile: ${path}`]),
      '  2. Start the agent, or restart it. It is let in at once, and is on the roster when the agent with the',
      "     administrator's key has heard of it.",
    ].join('\n'),
  )
}

export async function membersVerb(options: GlobalOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const { config } = await loadCliConfig(options)
  const { view, key, peers } = await withAgent(options, config, async (client) => {
    const status = await readStatus(client)
    return { view: (await client.get('/v1/branch')) as RosterView, key: status.key, peers: status.peers }
  })
  output.json({ event: 'branch-members', ...view })
  if (!view.isEnforced) {
    output.remark('shorthaul: this branch has no roster: whoever has the secret belongs to it')
    return
  }
  if (view.standing === 'stranger') output.remark('shorthaul: this agent is NOT on the roster: no neighbour lets it in')
  if (view.roster === null) output.remark('shorthaul: no roster was seen yet: no neighbour was met')
  else output.text(formatMembers(view.roster, { self: key, peers }))
}

type KnownRoster = NonNullable<RosterView['roster']>

function formatMembers(
  { members, invitations }: KnownRoster,
  known: { readonly self: string; readonly peers: readonly PeerStatus[] },
): string {
  const peers = new Map(known.peers.map((peer) => [peer.key as string, peer]))
  const where = (key: string) => {
    const peer = peers.get(key)
    if (key === known.self) return 'this agent'
    return peer === undefined ? 'not here' : `${peer.hostName}, ${peer.address}`
  }
  return formatTable([
    ['NAME', 'KEY', 'SINCE', 'WHERE'],
    ...members.map(({ name, key, sinceMs }) => [name, shortKey(key), minuteOf(sinceMs), where(key)]),
    ...invitations.map(({ name, key, validUntilMs }) => [
      name,
      shortKey(key),
      '-',
      `invited until ${minuteOf(validUntilMs)}`,
    ]),
  ])
}

export async function admitVerb(key: string, name: string, options: GlobalOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  if (parseId(key) === null)
    throw usage(`Cannot admit "${key}": expected a key of 64 hex digits, as \`branch show\` has it`)
  const { config } = await loadCliConfig(options)
  await withAgent(options, config, (client) => client.post('/v1/branch/members', { key, name }))
  output.json({ event: 'branch-admit', name, key })
  output.text(`"${name}" is on the roster`)
}

export async function revokeVerb(who: string, options: GlobalOptions): Promise<void> {
  const output = createOutput({ isJson: options.json === true })
  const { config } = await loadCliConfig(options)
  const { kind, name, key } = await withAgent(options, config, async (client) => {
    return (await client.post('/v1/branch/revoke', { who })) as { kind: string; name: string; key: string }
  })
  output.json({ event: 'branch-revoke', kind, name, key })
  output.text(
    kind === 'member'
      ? `"${name}" is off the roster: all who hear of it show it out`
      : `The invitation of "${name}" is void`,
  )
  output.remark(
    'shorthaul: it still knows the secret, and can read who is near; `shorthaul branch rotate` ends that too',
  )
}

/** @throws SHORTHAUL_USAGE when it is longer than any code */
async function readInput(): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of process.stdin) {
    chunks.push(chunk as Buffer)
    bytes += (chunk as Buffer).byteLength
    if (bytes > MAX_INPUT_BYTES) throw usage('Cannot join: more than a code came on the standard input')
    // Whoever pastes presses Enter, not Ctrl-D.
    if ((chunk as Buffer).includes('\n')) break
  }
  return Buffer.concat(chunks).toString('latin1')
}
