/**
 * A short chaos run. CHAOS_TEST_MINUTES is how long faults happen (default 0.75; before and after that a branch is set up
 * and looked after), CHAOS_TEST_SEEDS which runs there are (default 17, with SHORTHAUL_LAB_FULL=1 0,17,59, which together
 * have every kind of fault), CHAOS_TEST_PACE how often things happen. Five minutes at 0.4 have every kind, and do not fit
 * into the time that CI has.
 */
import t from 'tap'
import { labProblem } from '../lab/lab.ts'
import { repeatCommand, reportText } from './report.ts'
import { runChaos } from './run.ts'

const skip = labProblem() ?? false
const isFull = process.env.SHORTHAUL_LAB_FULL === '1'
const minutes = Number(process.env.CHAOS_TEST_MINUTES ?? 0.75)
const pace = Number(process.env.CHAOS_TEST_PACE ?? 1)
const seeds = (process.env.CHAOS_TEST_SEEDS ?? (isFull ? '0,17,59' : '17')).split(',').map(Number)
/** Mostly waiting, and on a busy machine much longer than on an idle one. */
const RUN_TIMEOUT_MS = minutes * 60_000 + 600_000

t.setTimeout(seeds.length * RUN_TIMEOUT_MS)

for (const seed of seeds) {
  await t.test(
    `a branch under faults breaks no promise, seed ${seed}`,
    { skip, timeout: RUN_TIMEOUT_MS },
    async (t) => {
      const { plan, ledger, logsDir } = await runChaos({ seed, minutes, hosts: 6, pace, keepLogs: false })
      t.comment(reportText(plan, ledger))
      if (logsDir !== null) t.comment(`logs: ${logsDir}; again: ${repeatCommand(plan)}`)
      t.strictSame(ledger.broken, [])
      t.ok(Object.keys(ledger.figures.faultsByKind).length >= 5, 'there were faults of several kinds')
    },
  )
}
