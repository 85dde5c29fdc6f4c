import { createHash } from 'node:crypto'
import hypercore from 'hypercore-crypto'
import t, { type Test } from 'tap'
import { hashSegment } from '../../src/content/digest.ts'
import { type AgentKey, idFromBytes } from '../../src/content/ids.ts'
import { signStatement } from '../../src/content/statement.ts'
import type { AccusationMessage } from '../../src/peers/messages.ts'
import { type LiarBranch, openLiarBranch } from '../support/liar-branch.ts'

const MIB = 2 ** 20
const SIZE = 16 * MIB + 4321
/** At the pace of a line: what a member says about a segment reaches the others while they fetch. */
const SLOWLY = { ratePerConnectionBytesPerSec: 4 * MIB }

async function setUp(t: Test, options: Partial<Parameters<typeof openLiarBranch>[1]> = {}): Promise<LiarBranch> {
  let close = async () => {}
  t.teardown(() => close()) // before the directory is made, so that it is still there when the stores close
  const world = await openLiarBranch(t.testdir(), { honestCount: 5, seed: 1, ...options })
  close = () => world.close()
  return world
}

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 5))
}

void t.test('a member that signs what the origin does not have', async (t) => {
  await t.test('is in quarantine at all others before it has told many lies, and no target is wrong', async (t) => {
    const { serveToLiar, honest, liar, liesTold, liesUntilCaught, isRight } = await setUp(t)
    let release = () => {}
    const caught = new Promise<void>((resolve) => {
      release = resolve
    })
    // Nobody is done before: what was delivered before a lie is found stays delivered.
    const holdFrom = { offset: SIZE - 4321, until: caught }
    const url = await serveToLiar({ seed: 1, lengthBytes: SIZE }, { ...SLOWLY, holdFrom })
    const lying = liar.fetch(url)
    const fetching = Promise.all(honest.map((agent) => agent.fetch(url)))
    await until(() => honest.every((agent) => agent.quarantine.has(liar.key)))
    release()
    const results = await fetching
    await lying
    t.ok(liesTold() > 0, 'it told some')
    t.ok((liesUntilCaught() ?? Number.POSITIVE_INFINITY) <= 200)
    t.ok(results.every(({ path }) => isRight(new URL(url).pathname, path)))
    for (const agent of honest)
      t.same(
        agent.quarantine.list().map(({ key }) => key),
        [liar.key],
        'and nobody else is',
      )
    t.ok(results.some(({ notes }) => notes.some(({ note, peer }) => note === 'peer-lied' && peer === liar.key)))
  })

  await t.test('is not believed by those who come later, nor after a restart', async (t) => {
    const { origin, branch, honest, liar, isRight } = await setUp(t, { honestCount: 2 })
    const url = origin.serve('/a', { seed: 2, lengthBytes: SIZE })
    await liar.fetch(url)
    const [first, second] = honest
    if (!first || !second) throw new Error('there are no agents')
    const found = await first.fetch(url)
    t.ok(isRight('/a', found.path))
    t.ok(first.quarantine.has(liar.key), 'alone with it, every segment is checked')
    const sentBefore = branch.messages.length
    const later = await second.fetch(url)
    t.ok(isRight('/a', later.path))
    t.ok(branch.messages.slice(sentBefore).some(({ message }) => message.type === 'accusation'))
    await until(() => second.quarantine.has(liar.key))
    await first.quarantine.close()
    const again = await first.reopenQuarantine()
    t.ok(again.has(liar.key))
  })

  await t.test('is found by its neighbours when it lies about a part of each segment', async (t) => {
    const isFalse = (offset: number) => offset % MIB > MIB / 2
    const { origin, honest, liar, liesTold, liesUntilCaught } = await setUp(t, { isFalse })
    const isCaught = () => honest.every((agent) => agent.quarantine.has(liar.key))
    for (let number = 0; !isCaught() && liesTold() <= 200; number++) {
      const url = origin.serve(`/${number}`, { seed: 3 + number, lengthBytes: SIZE }, SLOWLY)
      const name = `${number}.bin`
      await Promise.all([liar, ...honest].map((agent) => agent.fetch(url, { name })))
      await Promise.all(honest.map((agent) => agent.idle()))
      await until(() => honest.every((agent) => agent.accusations.isIdle))
    }
    t.ok((liesUntilCaught() ?? Number.POSITIVE_INFINITY) <= 200)
  })

  await t.test('cannot make a pinned target wrong, whatever is checked', async (t) => {
    const { origin, honest, liar, isRight } = await setUp(t, { attested: 'accept', honestCount: 1 })
    const url = origin.serve('/a', { seed: 4, lengthBytes: SIZE })
    await liar.fetch(url)
    const content = origin.content('/a')
    const sha256 = createHash('sha256').update(content.read(0, content.lengthBytes)).digest('hex')
    const result = await honest[0]?.fetch(url, { sha256 })
    t.ok(result && isRight('/a', result.path))
  })

  await t.test('is believed where nothing is checked and nothing pinned', async (t) => {
    const { origin, honest, liar, isRight } = await setUp(t, { attested: 'accept', honestCount: 1 })
    const url = origin.serve('/a', { seed: 5, lengthBytes: SIZE })
    await liar.fetch(url)
    const result = await honest[0]?.fetch(url)
    t.notOk(result && isRight('/a', result.path), 'which is what `accept` means')
  })

  await t.test('gets no say where the word of members is refused', async (t) => {
    const { origin, honest, liar, isRight } = await setUp(t, { attested: 'refuse', honestCount: 1 })
    const url = origin.serve('/a', { seed: 6, lengthBytes: SIZE })
    await liar.fetch(url)
    const result = await honest[0]?.fetch(url)
    t.ok(result && isRight('/a', result.path))
    t.equal(result?.sources.origin, SIZE)
  })
})

void t.test('checking costs less than a hundredth of what the branch fetches', async (t) => {
  const { origin, honest, liar, branch } = await setUp(t)
  branch.drop(liar)
  const url = origin.serve('/a', { seed: 7, lengthBytes: 64 * MIB }, { ratePerConnectionBytesPerSec: 16 * MIB })
  const results = await Promise.all(honest.map((agent) => agent.fetch(url)))
  const checkedBytes = results.reduce((sum, result) => sum + result.checkedBytes, 0)
  t.ok(checkedBytes > 0, 'some was checked')
  t.ok(checkedBytes < 0.01 * 64 * MIB, `${checkedBytes}`)
  for (const agent of honest) t.same(agent.quarantine.list(), [])
})

void t.test('an accusation', async (t) => {
  async function accused(t: Test) {
    const world = await setUp(t, { honestCount: 2 })
    const [judge, member] = world.honest
    if (!judge || !member) throw new Error('there are no agents')
    const url = world.origin.serve('/a', { seed: 8, lengthBytes: 2 * MIB })
    await member.fetch(url)
    await judge.fetch(url)
    const sent = world.branch.messages.flatMap(({ message }) =>
      message.type === 'have' || message.type === 'manifest' ? [message] : [],
    )
    const statement = sent.flatMap(({ statements }) => statements).find(({ signer }) => signer === member.key)
    const resource = sent[0]?.resource
    if (!statement || !resource) throw new Error('nothing was signed')
    const accuse = async (message: Partial<AccusationMessage>) => {
      world.liar.send(judge.key, {
        type: 'accusation',
        resource,
        statement,
        index: statement.firstIndex,
        offset: 1000,
        ...message,
      })
    }
    return { ...world, url, judge, member, statement, accuse }
  }

  await t.test('of an honest member is looked into, and changes nothing', async (t) => {
    const { judge, member, accuse } = await accused(t)
    await accuse({})
    await until(() => judge.lookedBytes > 0)
    await accuse({ offset: 500_000 })
    await until(() => judge.lookedBytes > 4096)
    t.notOk(judge.quarantine.has(member.key))
  })

  await t.test('that is false costs its maker the next ones', async (t) => {
    const { judge, accuse, origin } = await accused(t)
    for (let count = 1; count <= 3; count++) {
      const before = origin.requests('/a').length
      await accuse({})
      await until(() => origin.requests('/a').length > before)
      await until(() => judge.accusations.isIdle)
    }
    const before = origin.requests('/a').length
    await accuse({})
    await judge.idle()
    t.ok(judge.accusations.isIdle)
    t.equal(origin.requests('/a').length, before)
  })

  await t.test('with a statement that nobody signed is not looked into', async (t) => {
    const { judge, accuse, statement, origin } = await accused(t)
    const stranger = hypercore.keyPair(Buffer.alloc(32, 99))
    const before = origin.requests('/a').length
    await accuse({ statement: { ...statement, signer: idFromBytes<AgentKey>(stranger.publicKey) } })
    await judge.idle()
    await until(() => judge.accusations.isIdle)
    t.equal(origin.requests('/a').length, before)
  })

  await t.test('about bytes that nobody can show harms nobody', async (t) => {
    const { judge, accuse, url } = await accused(t)
    const pair = hypercore.keyPair(Buffer.alloc(32, 98))
    const record = await judge.store.newestAt(url, '')
    if (!record) throw new Error('not known')
    await accuse({ statement: signStatement(pair, record.id, 0, [hashSegment(Buffer.from('nowhere'))]), index: 0 })
    await judge.idle()
    await until(() => judge.accusations.isIdle)
    t.same(judge.quarantine.list(), [])
  })
})
