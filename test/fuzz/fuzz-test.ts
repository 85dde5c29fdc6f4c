/** What CI does with a target: a fixed seed, and everything that was kept. */
import type { Test } from 'tap'
import { fuzz } from './kit/fuzz.ts'
import type { FuzzTarget } from './kit/target.ts'

const RUNS = 20_000
/** Of an input that failed; the long run makes it shorter. */
const MAX_SHOWN_CHARS = 2000
const SEED = 20_261_126
/** Of the inputs; less would mean that one side of the decoder is hardly tried. */
const MIN_RATIO = 0.02

export async function testTarget(t: Test, target: FuzzTarget): Promise<void> {
  const runs = target.testRuns?.count ?? RUNS
  const { failure, accepted, refused } = await fuzz(target, { runs, seed: SEED })
  if (failure !== null) {
    const input = JSON.stringify(failure.input.toString('latin1')).slice(0, MAX_SHOWN_CHARS)
    t.fail(failure.error.message, { found: String(failure.error.stack), cause: String(failure.error.cause), input })
    return
  }
  t.ok(accepted >= MIN_RATIO * runs, `${accepted} of ${runs} inputs are accepted`)
  t.ok(refused >= MIN_RATIO * runs, `${refused} of ${runs} inputs are refused`)
}
