import { setImmediate } from 'node:timers/promises'
import crypto, { type KeyPair } from 'hypercore-crypto'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/clock.ts'
import { type AgentKey, idFromBytes } from '../../src/content/ids.ts'
import type { Network } from '../../src/peers/network.ts'
import { Registrar } from '../../src/peers/registrar.ts'
import { RosterBook } from '../../src/peers/roster-book.ts'
import { type Branch, openBranch, sees, silent, until } from './branch-fixture.ts'

const ADMIN_SEED = crypto.randomBytes(32)
const ADMIN_KEY = crypto.keyPair(ADMIN_SEED).publicKey
const HOUR_MS = 3600 * 1000

interface Agent {
  readonly key: AgentKey
  readonly book: RosterBook
  readonly network: Network
}

/** @param options inviteSeed: it was invited; hasRoster false: it only knows the secret */
async function openAgent(
  t: Test,
  branch: Branch,
  options: {
    inviteSeed?: Buffer
    hasRoster?: boolean
    keyPair?: KeyPair
    lane?: Lane
    registrar?: true
    listed?: AgentKey[]
  } = {},
): Promise<Agent & { registrar: Registrar | null }> {
  const { inviteSeed = null, hasRoster = true, keyPair = crypto.keyPair(), lane = null, listed = null } = options
  const key = idFromBytes<AgentKey>(keyPair.publicKey)
  const trust = { rosterKey: hasRoster ? ADMIN_KEY : null, inviteSeed }
  const path = `${t.testdir()}/${key.slice(0, 8)}`
  const book = await RosterBook.open({ clock: systemClock, log: silent }, { path, self: key, trust })
  t.teardown(() => book.close())
  const registrar = options.registrar
    ? Registrar.open({ clock: systemClock, book }, { adminSeed: ADMIN_SEED, self: { key, name: 'admin' } })
    : null
  const network = await branch.open({ lane, roster: listed }, { keyPair, rosterBook: book })
  return { key, book, network, registrar }
}

type Lane = NonNullable<Parameters<Branch['open']>[0]>['lane']

function networks(agents: readonly Agent[]): Network[] {
  return agents.map(({ network }) => network)
}

function haveMet(agents: readonly Agent[]): Promise<void> {
  const all = networks(agents)
  return until(all, () => all.every((network) => sees(network, all)))
}

async function openAdmin(t: Test, branch: Branch, lane?: Lane) {
  const admin = await openAgent(t, branch, lane === undefined ? { registrar: true } : { registrar: true, lane })
  if (admin.registrar === null) throw new Error('it has none')
  return { ...admin, registrar: admin.registrar }
}

t.test('the invited is let in by all, also by those who never heard of its invitation before', async (t) => {
  const branch = await openBranch(t)
  const admin = await openAdmin(t, branch)
  const first = await openAgent(t, branch, { inviteSeed: admin.registrar.invite('first', { validMs: HOUR_MS }).seed })
  await haveMet([admin, first])
  t.ok(admin.book.isMember(first.key), 'the administrator put it on the roster')
  const second = await openAgent(t, branch, { inviteSeed: admin.registrar.invite('second', { validMs: HOUR_MS }).seed })
  await haveMet([admin, first, second])
  while (!first.book.isMember(second.key)) await setImmediate()
  t.equal(first.book.roster?.sequence, admin.book.roster?.sequence)
})

t.test('an acceptance is passed on to the administrator by those who are near', async (t) => {
  const branch = await openBranch(t)
  const admin = await openAdmin(t, branch)
  const near = await openAgent(t, branch, { inviteSeed: admin.registrar.invite('near', { validMs: HOUR_MS }).seed })
  await haveMet([admin, near])
  const { seed } = admin.registrar.invite('far', { validMs: HOUR_MS })
  while (near.book.roster?.invitations.length !== 1) await setImmediate()
  // The far one lists the near one only, and so is never connected to the administrator.
  const { key, book, network } = await openAgent(t, branch, { inviteSeed: seed, listed: [near.key] })
  await until([near.network, network], () => sees(near.network, [network]) && sees(network, [near.network]))
  while (!admin.book.isMember(key) || !book.isMember(key)) await setImmediate()
  t.notOk(sees(admin.network, [network]))
})

t.test('whoever has only the secret is told nothing', async (t) => {
  const branch = await openBranch(t)
  const offered: AgentKey[] = []
  const lane = {
    port: 1,
    offerFor(peer: AgentKey) {
      offered.push(peer)
      return { identity: crypto.randomBytes(16), psk: crypto.randomBytes(32) }
    },
    revoke: () => {},
  }
  const admin = await openAdmin(t, branch, lane)
  const uninvited = await openAgent(t, branch)
  const unaware = await openAgent(t, branch, { hasRoster: false })
  const { seed } = admin.registrar.invite('other', { validMs: HOUR_MS })
  admin.registrar.revoke('other')
  const tooLate = await openAgent(t, branch, { inviteSeed: seed })
  const others = [uninvited, unaware, tooLate]
  while (others.some(({ network }) => network.diagnose().rejected.roster === 0)) {
    if (admin.network.diagnose().rejected.roster >= 6) break
    await setImmediate()
  }
  t.same(admin.network.peers(), [])
  for (const { network } of others) t.notOk(sees(network, [admin.network]))
  t.same(offered, [], 'no key of the lane went out')
})

t.test('a revocation reaches all: those who are here, and those who come back', async (t) => {
  const branch = await openBranch(t)
  const admin = await openAdmin(t, branch)
  const invite = (name: string) => admin.registrar.invite(name, { validMs: HOUR_MS }).seed
  const revoked: AgentKey[] = []
  const lane = {
    port: 1,
    offerFor: () => ({ identity: crypto.randomBytes(16), psk: crypto.randomBytes(32) }),
    revoke: (key: AgentKey) => revoked.push(key),
  }
  const honest = await openAgent(t, branch, { inviteSeed: invite('honest'), lane })
  const thiefKeys = crypto.keyPair()
  const thief = await openAgent(t, branch, { inviteSeed: invite('thief'), keyPair: thiefKeys })
  const awayKeys = crypto.keyPair()
  const away = await openAgent(t, branch, { inviteSeed: invite('away'), keyPair: awayKeys })
  await haveMet([admin, honest, thief, away])
  while (!away.book.isMember(thief.key)) await setImmediate()
  await away.network.close()

  admin.registrar.revoke('thief')
  await until(networks([admin, honest, thief]), () => thief.network.peers().length === 0)
  t.notOk(sees(honest.network, [thief.network]))
  t.ok(revoked.includes(thief.key), 'what it was let take on the lane, it takes no more')
  while (thief.book.isMember(thief.key)) await setImmediate()
  t.pass('and it was told')

  // It was away; its book says that the thief is a member, until it meets somebody who knows.
  t.ok(away.book.admits(thief.key))
  const back = await branch.open({}, { keyPair: awayKeys, rosterBook: away.book })
  await until([back, honest.network], () => sees(back, [honest.network]))
  t.notOk(away.book.admits(thief.key))
  t.notOk(sees(back, [thief.network]))
})

t.test('a roster that comes into force shuts out who was connected by the secret alone', async (t) => {
  const branch = await openBranch(t)
  const [one, two] = [
    await openAgent(t, branch, { hasRoster: false }),
    await openAgent(t, branch, { hasRoster: false }),
  ]
  await haveMet([one, two])
  await one.book.setTrust({ rosterKey: ADMIN_KEY, inviteSeed: null })
  await until(networks([one, two]), () => one.network.peers().length === 0)
  t.notOk(sees(one.network, [two.network]))
})
