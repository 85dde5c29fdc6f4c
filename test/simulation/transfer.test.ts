/** A fixed set of seeds of the branch of simulated agents, and those that once found something. */
import t from 'tap'
import { loadHashing } from '../../src/transfer/part-file.ts'
import { transferWorld } from './transfer-world.ts'
import { runWorld } from './world.ts'

const SEED_COUNT = 60

await loadHashing()

await t.test('the same seed gives the same world, to the last message', async (t) => {
  for (const seed of [1, 2, 3]) {
    const [one, other] = [await runWorld(transferWorld, seed), await runWorld(transferWorld, seed)]
    t.equal(one.digest, other.digest)
    t.ok(one.trace.length > 50)
  }
})

await t.test('whatever goes wrong, transfers deliver what is right, or say why not', async (t) => {
  for (let seed = 1; seed <= SEED_COUNT; seed++) {
    const { failure } = await runWorld(transferWorld, seed)
    if (failure !== null) t.fail(`${failure}; again: npm run simulate -- --world transfer --seed ${seed}`)
  }
  t.pass(`${SEED_COUNT} seeds`)
})
