import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { seededRandom, systemClock } from '../../src/clock.ts'
import { JobsWorld } from './jobs-world.ts'
import type { LabProcess } from './lab-process.ts'
import { PowerLossDisk, powerLossProblem } from './power-loss.ts'

const skip = powerLossProblem() ?? false
/** SHORTHAUL_LAB_FULL=1 cuts more often. */
const isFull = process.env.SHORTHAUL_LAB_FULL === '1'
const CUTS = isFull ? 60 : 8
const TIMEOUT_MS = isFull ? 1_200_000 : 240_000

t.setTimeout(TIMEOUT_MS)

/** Writes in every way that matters, and ends without closing anything. */
const WRITER = `
const fs = require('node:fs')
const at = (name) => require('node:path').join(process.env.POWERLOSS_ROOT, 'sub', name)
const put = (name, text, isSynced) => {
  const file = fs.openSync(at(name), 'w')
  fs.writeSync(file, text)
  if (isSynced) fs.fsyncSync(file)
  return file
}
const syncDirectory = () => fs.fsyncSync(fs.openSync(at('.'), 'r'))
put('unsynced', 'x', false)
fs.writeSync(put('longer', 'synced', true), ' and not')
fs.unlinkSync((put('removed', 'durably', true), at('removed')))
syncDirectory()
put('new', 'its name is durable with it', true)
put('before', 'renamed', true)
fs.renameSync(at('before'), at('after'))
fs.unlinkSync(at('longer'))
process.kill(process.pid, 'SIGKILL')
`

void t.test('the disk keeps what was synced, and nothing else', { skip }, async (t) => {
  const dir = t.testdir({ disk: { sub: { old: 'there from the beginning' } } })
  const disk = PowerLossDisk.open(dir)
  const { signal } = spawnSync(process.execPath, ['-e', WRITER], { env: { ...process.env, ...disk.env } })
  t.equal(signal, 'SIGKILL', 'it wrote all')
  disk.cut()
  const sub = join(disk.root, 'sub')
  const found = readdirSync(sub).map((name) => [name, readFileSync(join(sub, name), 'utf8')])
  t.same(Object.fromEntries(found), {
    old: 'there from the beginning',
    unsynced: '',
    longer: 'synced',
    new: 'its name is durable with it',
    before: 'renamed',
  })
})

/** What it complained of, besides the cache's index: that is not synced, and is built again from the files. */
function troublesOf({ stderr }: LabProcess): string[] {
  return stderr.split('\n').filter((line) => line !== '' && !line.includes('"module":"store"'))
}

void t.test(
  `jobs survive ${CUTS} power cuts: what was told to have happened has happened`,
  { skip, timeout: TIMEOUT_MS },
  async (t) => {
    const seed = Number(process.env.SHORTHAUL_LAB_SEED ?? 1)
    const random = seededRandom(seed)
    t.comment(`seed ${seed}`)
    const dir = t.testdir({ source: {} })
    const world = await JobsWorld.open(dir, random)
    t.teardown(() => world.close())
    world.makeFree()
    mkdirSync(world.disk, { recursive: true })
    const disk = PowerLossDisk.open(dir)
    let cuts = 0
    for (; cuts < CUTS && !world.hasEnded; cuts++) {
      const running = world.start(disk.env)
      if (random() < 0.25) await systemClock.sleep(random() * 1500)
      else {
        await running.waitForLine((line) => line === 'open', { timeoutMs: 60_000 })
        await systemClock.sleep(random() * 3000)
      }
      t.notOk(running.ended, 'it did not end by itself')
      await running.kill('SIGKILL')
      t.same(troublesOf(running), [], 'nothing was wrong')
      disk.cut()
    }
    const last = world.start(disk.env)
    await world.ended(last)
    // And once more, when all has ended: names and records are durable, though nobody closed anything.
    await last.kill('SIGKILL')
    disk.cut()
    const after = world.start()
    await world.replayed(after)
    const { code } = await after.kill('SIGTERM', { graceMs: 30_000 })
    t.equal(code, 0, 'it ends well')
    t.same(troublesOf(after), [])
    t.same(world.faults(), [])
    t.comment(`${cuts} cuts, ${world.events.size} events`)
  },
)
