/**
 * A chaos run: two minutes at a pace that leaves CI its processor, in which still nine kinds of faults happen; with
 * SHORTHAUL_LAB_FULL=1 three of five minutes at full pace. CHAOS_TEST_MINUTES, CHAOS_TEST_PACE and CHAOS_TEST_SEEDS choose others.
 */
import t from 'tap'
import { labProblem } from '../lab/lab.ts'
import { repeatCommand, reportText } from './report.ts'
import { runChaos } from './run.ts'

const skip = labProblem() ?? false
const isFull = process.env.SHORTHAUL_LAB_FULL === '1'
const minutes = Number(process.env.CHAOS_TEST_MINUTES ?? (isFull ? 5 : 2))
const pace = Number(process.env.CHAOS_TEST_PACE ?? (isFull ? 1 : 0.25))
const seeds = (process.env.CHAOS_TEST_SEEDS ?? (isFull ? '0,17,59' : '205')).split(',').map(Number)
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
