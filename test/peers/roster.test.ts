import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import crypto from 'hypercore-crypto'
import t, { type Test } from 'tap'
import { formatInviteCode, parseInviteCode } from '../../src/config/invite-code.ts'
import { type AgentKey, type InvitationKey, idFromBytes } from '../../src/content/ids.ts'
import { MAX_MESSAGE_BYTES } from '../../src/peers/messages.ts'
import { Registrar } from '../../src/peers/registrar.ts'
import {
  type Acceptance,
  acceptInvitation,
  compareHeads,
  isAcceptanceAuthentic,
  MAX_INVITATIONS,
  MAX_MEMBER_NAME_BYTES,
  MAX_MEMBERS,
  NO_ROSTER,
  openRoster,
  type Roster,
  signRoster,
} from '../../src/peers/roster.ts'
import { RosterBook } from '../../src/peers/roster-book.ts'
import { VirtualClock } from '../support/virtual-clock.ts'
import { silent } from './branch-fixture.ts'

const ADMIN = crypto.keyPair(Buffer.alloc(32, 1))
const ADMIN_SEED = Buffer.alloc(32, 1)
const DAY_MS = 24 * 3600 * 1000

function keyOf(seed: number): AgentKey {
  return idFromBytes<AgentKey>(crypto.keyPair(Buffer.alloc(32, seed)).publicKey)
}

function rosterOf(change: Partial<Roster> = {}): Roster {
  return { sequence: 1, signedAtMs: 1000, members: [], invitations: [], ...change }
}

/** A book of an agent that was told of the administrator, on a clock of its own. */
async function openBook(t: Test, options: { self?: AgentKey; inviteSeed?: Buffer; path?: string } = {}) {
  const clock = new VirtualClock()
  const path = options.path ?? join(t.testdir(), 'branch.roster')
  const { self = keyOf(2), inviteSeed = null } = options
  const trust = { rosterKey: ADMIN.publicKey, inviteSeed }
  const book = await RosterBook.open({ clock, log: silent }, { path, self, trust })
  t.teardown(() => book.close())
  return { book, clock, path }
}

/** The agent that holds the administrator's key. */
async function openRegistrar(t: Test) {
  const self = { key: keyOf(9), name: 'head office' }
  const { book, clock } = await openBook(t, { self: self.key })
  const registrar = Registrar.open({ clock, book }, { adminSeed: ADMIN_SEED, self })
  t.teardown(() => registrar.close())
  const names = () => book.roster?.members.map(({ name }) => name).sort()
  return { registrar, book, clock, self, names }
}

function accept(seed: Buffer, agent: AgentKey): Acceptance {
  return acceptInvitation(seed, { agent, adminKey: ADMIN.publicKey })
}

t.test('a roster reads back as it was signed', (t) => {
  const entry = {
    key: fc.uint8Array({ minLength: 32, maxLength: 32 }),
    atMs: fc.nat(),
    name: fc.stringMatching(/^[!-~]{1,48}$/),
  }
  const entries = fc.uniqueArray(fc.record(entry), {
    maxLength: 20,
    selector: ({ key }) => Buffer.from(key).toString('hex'),
  })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), entries, entries, (sequence, some, others) => {
      const roster = rosterOf({
        sequence,
        members: some.map(({ key, atMs, name }) => ({ key: idFromBytes<AgentKey>(key), sinceMs: atMs, name })),
        invitations: others.map(({ key, atMs, name }) => {
          return { key: idFromBytes<InvitationKey>(key), validUntilMs: atMs, name }
        }),
      })
      const made = signRoster(ADMIN, roster)
      const read = openRoster(made.bytes, ADMIN.publicKey)
      t.same(read.roster, made.roster)
      t.equal(read.roster.members.length, some.length)
      t.equal(compareHeads(read.head, made.head), 0)
    }),
    { numRuns: 50 },
  )
  t.end()
})

t.test('the largest roster fits one message', (t) => {
  const key = () => crypto.randomBytes(32)
  const name = 'n'.repeat(MAX_MEMBER_NAME_BYTES)
  const made = signRoster(
    ADMIN,
    rosterOf({
      members: Array.from({ length: MAX_MEMBERS }, () => ({ key: idFromBytes<AgentKey>(key()), name, sinceMs: 1 })),
      invitations: Array.from({ length: MAX_INVITATIONS }, () => {
        return { key: idFromBytes<InvitationKey>(key()), name, validUntilMs: 1 }
      }),
    }),
  )
  t.ok(made.bytes.byteLength < MAX_MESSAGE_BYTES)
  t.equal(openRoster(made.bytes, ADMIN.publicKey).roster.members.length, MAX_MEMBERS)
  t.end()
})

t.test('a roster that anybody changed is refused, whatever was changed', (t) => {
  const { bytes } = signRoster(ADMIN, rosterOf({ members: [{ key: keyOf(3), name: 'a', sinceMs: 1 }] }))
  for (let at = 0; at < bytes.byteLength; at++) {
    const forged = Buffer.from(bytes)
    forged[at] = (forged[at] ?? 0) ^ 1
    t.throws(() => openRoster(forged, ADMIN.publicKey), { code: 'SHORTHAUL_PEER_PROTOCOL' })
  }
  const other = signRoster(crypto.keyPair(), rosterOf())
  t.throws(() => openRoster(other.bytes, ADMIN.publicKey), { code: 'SHORTHAUL_PEER_PROTOCOL' }, 'another key')
  t.throws(() => openRoster(bytes.subarray(0, -1), ADMIN.publicKey), { code: 'SHORTHAUL_PEER_PROTOCOL' })
  t.throws(() => openRoster(Buffer.concat([bytes, bytes]), ADMIN.publicKey), { code: 'SHORTHAUL_PEER_PROTOCOL' })
  t.end()
})

t.test('of two rosters all take the same one', (t) => {
  const [old, left, right] = [
    signRoster(ADMIN, rosterOf()),
    signRoster(ADMIN, rosterOf({ sequence: 2 })),
    signRoster(ADMIN, rosterOf({ sequence: 2, signedAtMs: 2000 })),
  ].map(({ head }) => head) as [typeof NO_ROSTER, typeof NO_ROSTER, typeof NO_ROSTER]
  t.ok(compareHeads(old, NO_ROSTER) > 0)
  t.ok(compareHeads(left, old) > 0)
  t.not(compareHeads(left, right), 0, 'signed at once, in two places')
  t.equal(Math.sign(compareHeads(left, right)), -Math.sign(compareHeads(right, left)))
  t.end()
})

t.test('an acceptance is worth something for one agent in one branch', (t) => {
  const seed = Buffer.alloc(32, 7)
  const acceptance = accept(seed, keyOf(3))
  t.ok(isAcceptanceAuthentic(acceptance, ADMIN.publicKey))
  t.notOk(isAcceptanceAuthentic({ ...acceptance, agent: keyOf(4) }, ADMIN.publicKey))
  t.notOk(isAcceptanceAuthentic(acceptance, crypto.keyPair().publicKey))
  t.notOk(isAcceptanceAuthentic({ ...acceptance, signature: Buffer.alloc(0) }, ADMIN.publicKey))
  t.end()
})

t.test('the book', async (t) => {
  await t.test('an older roster never takes the place of a newer one, also after a restart', async (t) => {
    const { book, path } = await openBook(t)
    const old = signRoster(ADMIN, rosterOf({ members: [{ key: keyOf(3), name: 'thief', sinceMs: 1 }] }))
    const newer = signRoster(ADMIN, rosterOf({ sequence: 2 }))
    book.offer(old.bytes)
    t.ok(book.admits(keyOf(3)))
    book.offer(newer.bytes)
    t.notOk(book.admits(keyOf(3)))
    book.offer(old.bytes)
    t.notOk(book.admits(keyOf(3)), 'played back')
    await book.close()

    const again = await openBook(t, { path })
    t.equal(again.book.roster?.sequence, 2)
    again.book.offer(old.bytes)
    t.notOk(again.book.admits(keyOf(3)), 'played back after a restart')
  })

  await t.test('what is on disk is checked like what a stranger sends', async (t) => {
    const { book, path } = await openBook(t)
    book.offer(signRoster(ADMIN, rosterOf({ sequence: 3 })).bytes)
    await book.close()
    const bytes = readFileSync(path)
    bytes[1] = 9
    writeFileSync(path, bytes)
    t.equal((await openBook(t, { path })).book.roster, null)
  })

  await t.test('nobody is admitted before the first roster was seen', async (t) => {
    const { book } = await openBook(t)
    t.notOk(book.admits(keyOf(3)))
  })

  await t.test('without an administrator everybody is', async (t) => {
    const { book } = await openBook(t)
    await book.setTrust({ rosterKey: null, inviteSeed: null })
    t.ok(book.admits(keyOf(3)))
    book.offer(signRoster(ADMIN, rosterOf()).bytes)
    t.equal(book.roster, null)
  })

  await t.test('of an invitation the first acceptance counts, until the invitation ends', async (t) => {
    const { book, clock } = await openBook(t)
    const seed = Buffer.alloc(32, 7)
    const invitation = accept(seed, keyOf(3)).invitation
    book.accept(accept(seed, keyOf(3)))
    t.notOk(book.admits(keyOf(3)), 'an invitation that is not on the roster')
    const validUntilMs = clock.nowMs() + DAY_MS
    book.offer(signRoster(ADMIN, rosterOf({ invitations: [{ key: invitation, name: 'new', validUntilMs }] })).bytes)
    book.accept({ ...accept(seed, keyOf(3)), signature: Buffer.alloc(64) })
    t.notOk(book.admits(keyOf(3)), 'not signed')
    book.accept(accept(seed, keyOf(3)))
    t.ok(book.admits(keyOf(3)))
    book.accept(accept(seed, keyOf(4)))
    t.notOk(book.admits(keyOf(4)), 'used twice')
    await clock.pass(DAY_MS)
    t.notOk(book.admits(keyOf(3)), 'too late')
  })

  await t.test('the invited shows its acceptance until it is on the roster', async (t) => {
    const self = keyOf(2)
    const { book } = await openBook(t, { self, inviteSeed: Buffer.alloc(32, 7) })
    const shown = book.ownAcceptance()
    t.ok(shown && isAcceptanceAuthentic(shown, ADMIN.publicKey))
    t.equal(book.standing, 'invited')
    book.offer(signRoster(ADMIN, rosterOf({ members: [{ key: self, name: 'me', sinceMs: 1 }] })).bytes)
    t.equal(book.ownAcceptance(), null)
    t.equal(book.standing, 'member')
    book.offer(signRoster(ADMIN, rosterOf({ sequence: 2 })).bytes)
    t.equal(book.standing, 'stranger', 'it shows what it was invited with, which is worth nothing now')
  })
})

t.test('the registrar', async (t) => {
  await t.test('begins with itself, and needs the key of this very branch', async (t) => {
    const { names, book, clock } = await openRegistrar(t)
    t.same(names(), ['head office'])
    const self = { key: keyOf(2), name: 'x' }
    t.throws(() => Registrar.open({ clock, book }, { adminSeed: Buffer.alloc(32, 2), self }), {
      code: 'SHORTHAUL_SECRET_INVALID',
    })
  })

  await t.test('puts whoever accepts in the place of the invitation, once', async (t) => {
    const { registrar, book, names } = await openRegistrar(t)
    const { seed } = registrar.invite('desk 1', { validMs: DAY_MS })
    t.equal(book.roster?.invitations.length, 1)
    book.accept(accept(seed, keyOf(3)))
    t.same(names(), ['desk 1', 'head office'])
    t.same(book.roster?.invitations, [])
    book.accept(accept(seed, keyOf(4)))
    t.notOk(book.admits(keyOf(4)), 'the code was stolen, and comes too late')
  })

  await t.test('revokes by name or key, members and invitations, and never itself', async (t) => {
    const { registrar, book, names, self } = await openRegistrar(t)
    registrar.admit(keyOf(3), 'desk 1')
    registrar.admit(keyOf(4), 'desk 2')
    const { seed } = registrar.invite('desk 3', { validMs: DAY_MS })
    t.match(registrar.revoke('desk 1'), { kind: 'member', key: keyOf(3) })
    t.match(registrar.revoke(keyOf(4).slice(0, 8)), { kind: 'member', name: 'desk 2' })
    t.match(registrar.revoke('desk 3'), { kind: 'invitation' })
    book.accept(accept(seed, keyOf(5)))
    t.notOk(book.admits(keyOf(5)))
    t.same(names(), ['head office'])
    for (const who of ['head office', self.key, 'nobody', '']) {
      t.throws(() => registrar.revoke(who), { code: 'SHORTHAUL_USAGE' }, who)
    }
  })

  await t.test('a name stands for one machine', async (t) => {
    const { registrar } = await openRegistrar(t)
    registrar.invite('desk', { validMs: DAY_MS })
    t.throws(() => registrar.invite('desk', { validMs: DAY_MS }), { message: /is taken/ })
    t.throws(() => registrar.admit(keyOf(3), 'desk'), { message: /is taken/ })
    registrar.admit(keyOf(3), 'other')
    t.throws(() => registrar.admit(keyOf(3), 'third'), { message: /on the roster already/ })
    for (const name of ['', ' a', 'é', 'x\n', 'n'.repeat(49)]) {
      t.throws(() => registrar.admit(keyOf(4), name), { code: 'SHORTHAUL_USAGE' }, name)
    }
  })

  await t.test('a roster that ran ahead elsewhere is taken, and gone on from', async (t) => {
    const { registrar, book, names } = await openRegistrar(t)
    // As after a restore from a backup: this agent forgot what it signed, its neighbours did not.
    const members = [{ key: keyOf(5), name: 'desk 5', sinceMs: 1 }]
    book.offer(signRoster(ADMIN, rosterOf({ sequence: 57, members })).bytes)
    t.same(names(), ['desk 5', 'head office'])
    registrar.admit(keyOf(6), 'desk 6')
    t.equal(book.roster?.sequence, 59)
  })
})

t.test('a code reads back, also with what pasting adds, and anything else is none', (t) => {
  const [secret, wireKey, rosterKey, inviteSeed] = [1, 2, 3, 4].map((value) => Buffer.alloc(32, value)) as [
    Buffer,
    Buffer,
    Buffer,
    Buffer,
  ]
  const code = formatInviteCode({ secret, wireKey, rosterKey, inviteSeed })
  const read = { secret, wireKey, rosterKey, inviteSeed }
  t.same(parseInviteCode(code), read)
  t.same(parseInviteCode(` ${code.slice(0, 60)}\r\n${code.slice(60)}\n`), read)
  for (let at = 0; at < code.length; at++) {
    t.equal(parseInviteCode(`${code.slice(0, at)}${code[at] === 'A' ? 'B' : 'A'}${code.slice(at + 1)}`), null)
  }
  t.equal(parseInviteCode(code.slice(0, -1)), null)
  t.equal(parseInviteCode(`${code}A`), null)
  t.equal(parseInviteCode(''), null)
  t.end()
})
