import t from 'tap'
import { WireRatio } from '../../src/throttle/wire-ratio.ts'

const OWN = 10_000_000

function learn(ratio: WireRatio, times: number, seen: { ratio: number; others?: number; own?: number }): void {
  const { others = 0, own = OWN } = seen
  for (let count = 0; count < times; count++) {
    ratio.learn({ nicBytesPerSec: own * seen.ratio + others, ownBytesPerSec: own }, 200)
  }
}

await t.test('at first it is the most there is, then what the card counts, and a little more', async (t) => {
  for (const real of [1, 1.02, 1.046]) {
    const ratio = new WireRatio()
    t.equal(ratio.value, 1.06)
    learn(ratio, 40, { ratio: real })
    t.ok(ratio.value > real && ratio.value < real + 0.007, `${ratio.value} for ${real}`)
  }
})

await t.test('others do not make it larger, one wrong reading does not make it small', async (t) => {
  const ratio = new WireRatio()
  learn(ratio, 40, { ratio: 1.03 })
  const before = ratio.value
  learn(ratio, 50, { ratio: 1.03, others: 5e6 })
  t.ok(ratio.value < before + 0.002)
  learn(ratio, 1, { ratio: 1 })
  t.ok(ratio.value > before - 0.01)
})

await t.test('of little it learns nothing', async (t) => {
  const ratio = new WireRatio()
  learn(ratio, 100, { ratio: 1, own: 1_000_000 })
  t.equal(ratio.value, 1.06)
})

await t.test('what was learnt is forgotten in minutes', async (t) => {
  const ratio = new WireRatio()
  learn(ratio, 40, { ratio: 1 })
  learn(ratio, 10 * 60 * 5, { ratio: 1.05 })
  t.ok(ratio.value > 1.045)
})
