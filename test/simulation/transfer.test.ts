/** A fixed set of seeds of the branch of simulated agents, and those that once found something. */
import t from 'tap'
import { loadHashing } from '../../src/transfer/part-file.ts'
import { FOUND } from './seeds.ts'
import { transferWorld } from './transfer-world.ts'
import { runWorld } from './world.ts'

const SEED_COUNT = 40

await loadHashing()

await t.test('the same seed gives the same world, to the last message', async (t) => {
  for (const seed of [1, 2, 3]) {
    const [one, other] = [await runWorld(transferWorld, seed), await runWorld(transferWorld, seed)]
    t.equal(one.digest, other.digest)
    t.ok(one.trace.length > 50)
  }
})

await t.test('whatever goes wrong, transfers deliver what is right, or say why not', async (t) => {
  const fixed = Array.from({ length: SEED_COUNT }, (_, at) => at + 1)
  for (const seed of new Set([...fixed, ...FOUND.transfer.map(([found]) => found)])) {
    const { failure } = await runWorld(transferWorld, seed)
    if (failure !== null) t.fail(`${failure}; again: npm run simulate -- --world transfer --seed ${seed}`)
  }
  t.pass(`${SEED_COUNT} seeds`)
})
