/**
 * What stands in a branch secret's file:
 *
 *   <secret>                               32 bytes in base64: the secret that is in force, alone in a file of one line
 *   previous/1 <secret> <instant>          the one before it, good until then (UTC, as 2026-12-03T09:00:00.000Z)
 *   wire/1 <key>                           the wire key; absent: derived from the first line
 *   roster/1 <key>                         public key of the administrator, whose roster says who belongs to the branch;
 *                                          absent: whoever has the secret
 *   invite/1 <seed>                        of the invitation that this machine joined with; worth nothing once used
 *
 * Each kind of line carries its version and comes once at most. What is not understood is refused whole: half a file
 * would make half a branch. Pure; never quotes what it reads.
 */
export const SECRET_BYTES = 32

export interface BranchSecrets {
  /** 32 bytes. */
  readonly secret: Buffer
  /** The secret before a rotation; it still opens the branch until then (wall clock). */
  readonly previous: { readonly secret: Buffer; readonly validUntilMs: number } | null
  /** 32 bytes; null: derived from `secret`. */
  readonly wireKey: Buffer | null
  /** Ed25519 public key of the administrator; null: the branch has no roster. */
  readonly rosterKey: Buffer | null
  /** 32 bytes; null: this machine was not invited, or no more. */
  readonly inviteSeed: Buffer | null
}

const BASE64 = /^[A-Za-z0-9+/]{43}=$/
const KEY_KINDS: ReadonlySet<string> = new Set(['wire/1', 'roster/1', 'invite/1'])
/** A file of one line may end as editors end it; nothing else is lenient. */
const LINE_END = /\r?\n/
const MAX_LINES = 5

/** @returns null when it is anything else than such a file */
export function parseSecretFile(text: string): BranchSecrets | null {
  const [first = '', ...lines] = text.trim().split(LINE_END, MAX_LINES + 1)
  const secret = parseKey(first)
  if (secret === null || lines.length >= MAX_LINES) return null
  let previous: BranchSecrets['previous'] = null
  const keys: Record<string, Buffer> = {}
  for (const line of lines) {
    const [kind = '', key = '', instant, ...rest] = line.split(' ')
    const value = parseKey(key)
    if (value === null || rest.length > 0) return null
    if (kind === 'previous/1' && previous === null && instant !== undefined) {
      const validUntilMs = parseInstant(instant)
      // The same secret twice would be a rotation that changes nothing.
      if (validUntilMs === null || value.equals(secret)) return null
      previous = { secret: value, validUntilMs }
    } else if (KEY_KINDS.has(kind) && !Object.hasOwn(keys, kind) && instant === undefined) keys[kind] = value
    else return null
  }
  return {
    secret,
    previous,
    wireKey: keys['wire/1'] ?? null,
    rosterKey: keys['roster/1'] ?? null,
    inviteSeed: keys['invite/1'] ?? null,
  }
}

export function formatSecretFile({ secret, previous, wireKey, rosterKey, inviteSeed }: BranchSecrets): string {
  const lines = [secret.toString('base64')]
  if (previous !== null) {
    lines.push(`previous/1 ${previous.secret.toString('base64')} ${new Date(previous.validUntilMs).toISOString()}`)
  }
  if (wireKey !== null) lines.push(`wire/1 ${wireKey.toString('base64')}`)
  if (rosterKey !== null) lines.push(`roster/1 ${rosterKey.toString('base64')}`)
  if (inviteSeed !== null) lines.push(`invite/1 ${inviteSeed.toString('base64')}`)
  return `${lines.join('\n')}\n`
}

/** Re-encoded, because base64 decoding ignores stray bits: two different files must not be one secret. */
function parseKey(text: string): Buffer | null {
  if (!BASE64.test(text)) return null
  const key = Buffer.from(text, 'base64')
  return key.toString('base64') === text ? key : null
}

function parseInstant(text: string): number | null {
  const ms = Date.parse(text)
  return Number.isNaN(ms) || new Date(ms).toISOString() !== text ? null : ms
}
