/** The roster: what is before the signature, behind a good one, and the code by which a machine joins. */
import crypto from 'hypercore-crypto'
import { formatInviteCode, parseInviteCode } from '../../../src/config/invite-code.ts'
import { type AgentKey, type InvitationKey, idFromBytes } from '../../../src/content/ids.ts'
import { SIGNATURE_BYTES } from '../../../src/content/statement.ts'
import { decodeRoster, MAX_INVITATIONS, MAX_MEMBERS, openRoster, signRoster } from '../../../src/peers/roster.ts'
import type { Seeded } from '../kit/seeded.ts'
import { decodedOrNull, type FuzzTarget, must, mustBeBounded, toBuffer } from '../kit/target.ts'

const ADMIN = crypto.keyPair(Buffer.alloc(32, 6))

function entries<Entry>(random: Seeded, entryOf: (key: Buffer, name: string, atMs: number) => Entry): Entry[] {
  return Array.from({ length: random.few(8) }, () =>
    entryOf(random.bytes(32), random.pick(['a', 'desk 12', 'n'.repeat(48)] as const), random.u32()),
  )
}

function body(random: Seeded): Buffer {
  const members = entries(random, (key, name, sinceMs) => ({ key: idFromBytes<AgentKey>(key), name, sinceMs }))
  const invitations = entries(random, (key, name, validUntilMs) => {
    return { key: idFromBytes<InvitationKey>(key), name, validUntilMs }
  })
  const sequence = random.chance(0.2) ? Number.MAX_SAFE_INTEGER : random.between(1, 1000)
  const { bytes } = signRoster(ADMIN, { sequence, signedAtMs: random.u32(), members, invitations })
  return bytes.subarray(0, -SIGNATURE_BYTES)
}

export const rosterTarget: FuzzTarget = {
  name: 'roster',
  covers: ['peers/roster'],
  seeds: [],
  maxBytes: 2048,
  generate: body,
  run(input) {
    const decoded = decodedOrNull('SHORTHAUL_PEER_PROTOCOL', () => decodeRoster(input))
    const forged = Buffer.concat([toBuffer(input), Buffer.alloc(SIGNATURE_BYTES)])
    const opened = decodedOrNull('SHORTHAUL_PEER_PROTOCOL', () => openRoster(forged, ADMIN.publicKey))
    must(opened === null, 'nobody signed it')
    if (decoded === null) return 'refused'
    mustBeBounded(decoded, input)
    must(decoded.members.length <= MAX_MEMBERS && decoded.invitations.length <= MAX_INVITATIONS, 'too many')
    const signed = signRoster(ADMIN, decoded)
    must(signed.bytes.subarray(0, -SIGNATURE_BYTES).equals(toBuffer(input)), 'it is encoded otherwise')
    return 'accepted'
  },
}

export const inviteCodeTarget: FuzzTarget = {
  name: 'invite-code',
  covers: ['config/invite-code'],
  seeds: [],
  maxBytes: 1024,
  generate(random) {
    const [secret, wireKey, rosterKey, inviteSeed] = [
      random.bytes(32),
      random.bytes(32),
      random.bytes(32),
      random.bytes(32),
    ]
    const code = formatInviteCode({ secret, wireKey, rosterKey, inviteSeed })
    return Buffer.from(random.chance(0.3) ? ` ${code.slice(0, 40)}\n${code.slice(40)}\r\n` : code, 'latin1')
  },
  run(input) {
    const text = toBuffer(input).toString('latin1')
    const code = parseInviteCode(text)
    if (code === null) return 'refused'
    must(formatInviteCode(code) === text.replace(/\s+/g, ''), 'two codes for one')
    return 'accepted'
  },
}
