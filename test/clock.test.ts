import { getEventListeners } from 'node:events'
import t from 'tap'
import { secretBytes, seededRandom, systemClock } from '../src/clock.ts'

void t.test('sleep', async (t) => {
  await t.test('ends by itself and leaves no listener behind', async (t) => {
    const { signal } = new AbortController()
    await systemClock.sleep(1, { signal })
    t.equal(getEventListeners(signal, 'abort').length, 0)
  })

  await t.test('rejects with the reason, before and during the wait', async (t) => {
    const abort = new AbortController()
    const waiting = systemClock.sleep(3_600_000, { signal: abort.signal })
    const reason = new Error('enough')
    abort.abort(reason)
    await t.rejects(waiting, reason)
    await t.rejects(systemClock.sleep(3_600_000, { signal: abort.signal }), reason)
  })
})

void t.test('a seeded generator repeats itself, differs by seed and stays in [0, 1)', async (t) => {
  const draw = (seed: number) => {
    const random = seededRandom(seed)
    return Array.from({ length: 1000 }, () => random())
  }
  t.same(draw(7), draw(7))
  t.notSame(draw(7), draw(8))
  t.ok(draw(0).every((value) => value >= 0 && value < 1))
  const mean = draw(9).reduce((sum, value) => sum + value, 0) / 1000
  t.ok(mean > 0.45 && mean < 0.55, `mean ${mean}`)
})

void t.test('secret bytes have the length asked for and do not repeat', async (t) => {
  t.equal(secretBytes(32).byteLength, 32)
  t.notOk(secretBytes(32).equals(secretBytes(32)))
})
