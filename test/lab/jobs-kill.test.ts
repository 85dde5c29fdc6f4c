import t from 'tap'
import { seededRandom, systemClock } from '../../src/clock.ts'
import { JobsWorld } from './jobs-world.ts'

/** SHORTHAUL_LAB_FULL=1 kills as often as the issue asks for; else it is a smaller run of the same. */
const isFull = process.env.SHORTHAUL_LAB_FULL === '1'
const KILLS = isFull ? 200 : 30
/** So that there is work until the last kill. */
const SIZE_FACTOR = isFull ? 6 : 1
const MIB = 1024 * 1024
/** What a dead process may have had in flight and not yet stored: several connections, a segment or two each. */
const IN_FLIGHT_BYTES = 8 * MIB
/** Until then some jobs are told to come back. */
const BUSY_KILLS = KILLS / 2
const TIMEOUT_MS = isFull ? 1_200_000 : 300_000

t.setTimeout(TIMEOUT_MS)

void t.test(
  `20 jobs survive ${KILLS} kill -9 of their agent: each ends as it should, nothing is done twice, everybody is told`,
  { timeout: TIMEOUT_MS },
  async (t) => {
    const seed = Number(process.env.SHORTHAUL_LAB_SEED ?? 1)
    const random = seededRandom(seed)
    t.comment(`seed ${seed}`)
    const world = await JobsWorld.open(t.testdir({ source: {} }), random, { sizeFactor: SIZE_FACTOR })
    t.teardown(() => world.close())
    let kills = 0
    for (; kills < KILLS && !world.hasEnded; kills++) {
      if (kills >= BUSY_KILLS) world.makeFree()
      const running = world.start()
      // A quarter of the moments lie in the start-up; the others anywhere in what follows.
      if (random() < 0.25) await systemClock.sleep(random() * 800)
      else {
        await running.waitForLine((line) => line === 'open', { timeoutMs: 60_000 })
        await systemClock.sleep(random() * 900)
      }
      t.notOk(running.ended, 'it did not end by itself')
      await running.kill('SIGKILL')
      t.equal(running.stderr, '', 'nothing was wrong')
    }
    t.equal(kills, KILLS, 'and there was work until the last')
    world.makeFree()
    const last = world.start()
    await world.ended(last)
    await world.replayed(last)
    await world.toldAll()
    const { code } = await last.kill('SIGTERM', { graceMs: 30_000 })
    t.equal(code, 0, 'it ends well')
    t.equal(last.stderr, '')
    t.same(world.faults(), [])
    const extraBytes = world.origin.contentBytesSent() - world.totalBytes
    t.comment(
      `${kills} kills, ${world.events.size} events, ${(world.totalBytes / MIB).toFixed(1)} MiB; ` +
        `the origin sent ${(extraBytes / MIB).toFixed(1)} MiB more`,
    )
    t.ok(extraBytes <= kills * IN_FLIGHT_BYTES, `${extraBytes} extra bytes for ${kills} kills`)
  },
)
