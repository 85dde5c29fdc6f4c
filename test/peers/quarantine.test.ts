import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { type AgentKey, idFromBytes } from '../../src/content/ids.ts'
import { Quarantine } from '../../src/peers/quarantine.ts'
import { ManualClock } from '../store/fixtures.ts'

const DAY_MS = 24 * 3600 * 1000
const log = pino({ level: 'silent' })
const keyOf = (seed: number) => idFromBytes<AgentKey>(Buffer.alloc(32, seed))
const [ann, bob, eve] = [keyOf(1), keyOf(2), keyOf(3)]

async function setUp(t: Test, options: { hasRoster?: boolean } = {}) {
  const clock = new ManualClock()
  const path = join(t.testdir(), 'quarantine.json')
  const open = () => Quarantine.open({ clock, log }, { path, hasRoster: false, ...options })
  return { clock, path, open, quarantine: await open() }
}

void t.test('a member in quarantine', async (t) => {
  await t.test('is in it for a day, and for longer when it comes back', async (t) => {
    const { clock, quarantine } = await setUp(t)
    const heard: AgentKey[] = []
    quarantine.on((key) => heard.push(key))
    quarantine.impose(ann, '10.0.0.2')
    quarantine.impose(ann, '10.0.0.2')
    t.ok(quarantine.has(ann))
    t.notOk(quarantine.has(bob))
    t.same(heard, [ann], 'once')
    clock.advance(DAY_MS)
    t.notOk(quarantine.has(ann))
    quarantine.impose(ann, '10.0.0.2')
    clock.advance(DAY_MS)
    t.ok(quarantine.has(ann))
    clock.advance(DAY_MS)
    t.notOk(quarantine.has(ann))
    await quarantine.close()
  })

  await t.test('is in it after a restart, and the file is nobody else’s', async (t) => {
    const { path, quarantine, open } = await setUp(t)
    quarantine.impose(ann, null)
    quarantine.impose(bob, '10.0.0.3')
    await quarantine.close()
    const again = await open()
    t.ok(again.has(ann) && again.has(bob))
    t.equal(statSync(path).mode & 0o777, 0o600)
    await again.close()
  })

  await t.test('cannot come back from the same address under a new key', async (t) => {
    const { quarantine } = await setUp(t)
    quarantine.impose(ann, '10.0.0.2')
    quarantine.meet(bob, '10.0.0.3')
    quarantine.meet(eve, '10.0.0.2')
    t.notOk(quarantine.has(bob))
    t.ok(quarantine.has(eve))
    t.equal(quarantine.lift(ann), 2, 'who lets one out lets out those that shared its fate')
    t.same(quarantine.list(), [])
    await quarantine.close()
  })

  await t.test(
    'is its key alone where a roster says whose keys there are, or several agents are one host’s',
    async (t) => {
      const { quarantine } = await setUp(t, { hasRoster: true })
      quarantine.impose(ann, '10.0.0.2')
      quarantine.meet(eve, '10.0.0.2')
      t.notOk(quarantine.has(eve))
      const without = (await setUp(t)).quarantine
      without.impose(ann, '127.0.0.1')
      without.meet(eve, '127.0.0.1')
      t.notOk(without.has(eve))
      await Promise.all([quarantine.close(), without.close()])
    },
  )
})

void t.test('a file that is damaged starts nothing and stops nothing', async (t) => {
  for (const text of ['', '{', '{"format":2,"entries":[]}', '{"format":1,"entries":[{"key":"x"}]}', '[]', 'null']) {
    const { path, open, quarantine } = await setUp(t)
    await quarantine.close()
    writeFileSync(path, text)
    const again = await open()
    t.same(again.list(), [])
    again.impose(ann, null)
    await again.close()
    t.match(readFileSync(path, 'utf8'), ann)
  }
})

void t.test('a stranger with ever new keys does not fill it', async (t) => {
  const { quarantine } = await setUp(t)
  for (let count = 0; count < 1100; count++) {
    const key = Buffer.alloc(32)
    key.writeUInt32LE(count)
    quarantine.impose(idFromBytes<AgentKey>(key), null)
  }
  t.equal(quarantine.list().length, 1024)
  await quarantine.close()
})
