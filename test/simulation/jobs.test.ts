/** Jobs across faults, with a fixed set of seeds; and across a power cut at every single write of their database. */
import t from 'tap'
import { loadHashing } from '../../src/transfer/part-file.ts'
import { jobsWorld, jobsWorldWithCrash } from './jobs-world.ts'
import { FOUND } from './seeds.ts'
import { runWorld } from './world.ts'

const SEED_COUNT = 40
const SWEPT_SEEDS = [1, 2]

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

await t.test('the power may fail before and after every write of the database', async (t) => {
  let count = 0
  for (const seed of SWEPT_SEEDS) {
    for (const moment of ['before', 'after'] as const) {
      let hasCrashed = true
      for (let write = 1; hasCrashed; write++) {
        hasCrashed = false
        const make = jobsWorldWithCrash({ write, moment }, () => {
          hasCrashed = true
        })
        const { failure } = await runWorld(make, seed)
        if (hasCrashed) count++
        if (failure !== null) t.fail(`${failure}; seed ${seed}, ${moment} write ${write}`)
      }
    }
  }
  t.ok(count > 50, `${count} crashes`)
})
