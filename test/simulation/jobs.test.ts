/** Jobs across faults, with a fixed set of seeds. */
import t from 'tap'
import { loadHashing } from '../../src/transfer/part-file.ts'
import { jobsWorld } from './jobs-world.ts'
import { FOUND } from './seeds.ts'
import { runWorld } from './world.ts'

const SEED_COUNT = 30

await loadHashing()

await t.test('the same seed gives the same world, to the last transition', async (t) => {
  for (const seed of [1, 2, 3]) {
    const [one, other] = [await runWorld(jobsWorld, seed), await runWorld(jobsWorld, seed)]
    t.equal(one.digest, other.digest)
    t.ok(one.trace.length > 20)
  }
})

await t.test(
  'whatever goes wrong, jobs end, or wait for somebody, and nothing that was recorded is lost',
  async (t) => {
    const fixed = Array.from({ length: SEED_COUNT }, (_, at) => at + 1)
    for (const seed of new Set([...fixed, ...FOUND.jobs.map(([found]) => found)])) {
      const { failure } = await runWorld(jobsWorld, seed)
      if (failure !== null) t.fail(`${failure}; again: npm run simulate -- --world jobs --seed ${seed}`)
    }
    t.pass(`${SEED_COUNT} seeds`)
  },
)
