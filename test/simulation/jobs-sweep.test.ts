/** A small scenario of jobs, once for every write of their database, with a power cut at that write. */
import t from 'tap'
import { loadHashing } from '../../src/transfer/part-file.ts'
import { jobsWorldWithCrash } from './jobs-world.ts'
import { runWorld } from './world.ts'

const SEED = 1

await loadHashing()

await t.test('the power may fail before and after every write of the database', async (t) => {
  let count = 0
  for (const moment of ['before', 'after'] as const) {
    let hasCrashed = true
    for (let write = 1; hasCrashed; write++) {
      hasCrashed = false
      const make = jobsWorldWithCrash({ write, moment }, () => {
        hasCrashed = true
      })
      const { failure } = await runWorld(make, SEED)
      if (hasCrashed) count++
      if (failure !== null) t.fail(`${failure}; ${moment} write ${write}`)
    }
  }
  t.ok(count > 30, `${count} crashes`)
})
