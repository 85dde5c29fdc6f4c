/**
 * The code that `shorthaul branch invite` prints and `shorthaul branch join` takes: all that a machine needs to belong to
 * a branch, in one line that can be pasted. As secret as the branch secret, which is in it.
 *
 *   shorthaul-1-<base64url of: secret 32 | wire key 32 | public key of the administrator 32 | invitation's seed 32 | check 4>
 *
 * The check is against a code that was cut or mistyped, not against anybody's will. Pure; never quotes what it reads.
 */
import crypto from 'hypercore-crypto'

export interface InviteCode {
  readonly secret: Buffer
  readonly wireKey: Buffer
  readonly rosterKey: Buffer
  readonly inviteSeed: Buffer
}

const PREFIX = 'shorthaul-1-'
const KEY_BYTES = 32
const KEY_COUNT = 4
const CHECK_BYTES = 4
const TEXT = /^[\w-]+$/
/** What people paste has line ends and blanks in it. */
const BLANKS = /\s+/g
const MAX_TEXT = 1024

export function formatInviteCode({ secret, wireKey, rosterKey, inviteSeed }: InviteCode): string {
  const keys = Buffer.concat([secret, wireKey, rosterKey, inviteSeed])
  return `${PREFIX}${Buffer.concat([keys, checkOf(keys)]).toString('base64url')}`
}

/** @returns null when it is not such a code, whole */
export function parseInviteCode(text: string): InviteCode | null {
  if (text.length > MAX_TEXT) return null
  const code = text.replace(BLANKS, '')
  const body = code.slice(PREFIX.length)
  if (!code.startsWith(PREFIX) || !TEXT.test(body)) return null
  const bytes = Buffer.from(body, 'base64url')
  const keys = bytes.subarray(0, KEY_COUNT * KEY_BYTES)
  if (bytes.byteLength !== KEY_COUNT * KEY_BYTES + CHECK_BYTES || bytes.toString('base64url') !== body) return null
  if (!checkOf(keys).equals(bytes.subarray(-CHECK_BYTES))) return null
  const key = (at: number) => Buffer.from(keys.subarray(at * KEY_BYTES, (at + 1) * KEY_BYTES))
  return { secret: key(0), wireKey: key(1), rosterKey: key(2), inviteSeed: key(3) }
}

function checkOf(keys: Uint8Array): Buffer {
  return crypto.hash([Buffer.from('shorthaul/invite-code/1'), keys]).subarray(0, CHECK_BYTES)
}
