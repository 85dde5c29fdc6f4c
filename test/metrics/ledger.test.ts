import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Ledger } from '../../src/metrics/ledger.ts'
import { log, ManualClock } from '../store/fixtures.ts'

const DAY_MS = 86_400_000

void t.test('what is added counts today and in all, across restarts', async (t) => {
  const path = join(t.testdir(), 'new', 'ledger.json')
  const clock = new ManualClock()
  const first = await Ledger.open({ clock, log }, path)
  first.add({ originBytes: 100, fetchCount: 1 })
  first.add({ peerBytes: 50 })
  await first.close()
  t.equal(statSync(path).mode & 0o777, 0o600)
  const second = await Ledger.open({ clock, log }, path)
  second.add({ peerBytes: 5 })
  const { today, total } = second.view()
  t.match(total, { cacheBytes: 0, peerBytes: 55, originBytes: 100, fetchCount: 1, failedCount: 0 })
  t.same(today, total)
  await second.close()
})

void t.test('a new day starts at nothing, the total goes on', async (t) => {
  const clock = new ManualClock()
  const ledger = await Ledger.open({ clock, log }, join(t.testdir(), 'ledger.json'))
  ledger.add({ originBytes: 7 })
  clock.advance(DAY_MS)
  t.equal(ledger.view().today.originBytes, 0)
  ledger.add({ originBytes: 1 })
  t.equal(ledger.view().today.originBytes, 1)
  t.equal(ledger.view().total.originBytes, 8)
  await ledger.close()
})

void t.test('days older than 90 are forgotten, not their bytes', async (t) => {
  const path = join(t.testdir(), 'ledger.json')
  const clock = new ManualClock()
  const ledger = await Ledger.open({ clock, log }, path)
  for (let day = 0; day < 120; day++) {
    ledger.add({ originBytes: 1 })
    clock.advance(DAY_MS)
  }
  await ledger.close()
  const file = JSON.parse(readFileSync(path, 'utf8')) as { days: object; total: { originBytes: number } }
  t.equal(Object.keys(file.days).length, 90)
  t.equal(file.total.originBytes, 120)
})

void t.test('what is not a ledger starts a new one', async (t) => {
  const dir = t.testdir()
  const day = { originBytes: -5, peerBytes: '7', cacheBytes: 3 }
  const files: [string, string, number][] = [
    ['nothing', '', 0],
    ['half of one', '{"format":1,"total":{"cacheB', 0],
    ['null', 'null', 0],
    ['another format', JSON.stringify({ format: 2, total: { cacheBytes: 9 } }), 0],
    ['figures that are none', JSON.stringify({ format: 1, total: day, days: { x: day, y: null } }), 3],
    ['no days', JSON.stringify({ format: 1, total: day, days: null }), 3],
  ]
  for (const [name, text, cacheBytes] of files) {
    const path = join(dir, name)
    writeFileSync(path, text)
    const ledger = await Ledger.open({ clock: new ManualClock(), log }, path)
    t.match(ledger.view().total, { cacheBytes, originBytes: 0, peerBytes: 0 }, name)
    ledger.add({ cacheBytes: 1 })
    await ledger.close()
    const again = await Ledger.open({ clock: new ManualClock(), log }, path)
    t.equal(again.view().total.cacheBytes, cacheBytes + 1, name)
    await again.close()
  }
})

void t.test('figures that could not be written are not lost when the disk comes back', async (t) => {
  const path = join(t.testdir(), 'ledger.json')
  mkdirSync(path) // nothing can be renamed onto a directory
  const ledger = await Ledger.open({ clock: new ManualClock(), log }, path)
  ledger.add({ originBytes: 9 })
  await ledger.close()
  rmSync(path, { recursive: true })
  await ledger.close()
  const again = await Ledger.open({ clock: new ManualClock(), log }, path)
  t.equal(again.view().total.originBytes, 9)
  await again.close()
})
