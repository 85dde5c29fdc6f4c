/**
 * npm run chaos -- --minutes M --seed S [--hosts 6] [--pace 1] [--json] [--keep] [--logs]
 *
 * A branch under constant fetches while faults happen. The ledger on stdout, progress on stderr; exit code 1 when an
 * invariant was broken, 2 when it cannot be run here. --keep saves the ledger in bench/results/, --logs keeps all logs.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { machineFacts } from '../../bench/report.ts'
import { systemClock } from '../../src/clock.ts'
import { labProblem } from '../lab/lab.ts'
import { repeatCommand, reportText } from './report.ts'
import { type ChaosResult, runChaos } from './run.ts'

const RESULTS_DIR = fileURLToPath(new URL('../../bench/results/', import.meta.url))
const USAGE = 'npm run chaos -- --minutes M --seed S [--hosts 6] [--pace 1] [--json] [--keep] [--logs]'

interface Command {
  readonly minutes: number
  readonly seed: number
  readonly hosts: number
  readonly pace: number
  readonly isJson: boolean
  readonly isKept: boolean
  readonly keepLogs: boolean
}

function refuse(why: string): never {
  process.stderr.write(`chaos: ${why}\n`)
  process.exit(2)
}

function commandOrExit(): Command {
  try {
    const { values } = parseArgs({
      options: {
        minutes: { type: 'string', default: '2' },
        seed: { type: 'string', default: '1' },
        hosts: { type: 'string', default: '6' },
        pace: { type: 'string', default: '1' },
        json: { type: 'boolean', default: false },
        keep: { type: 'boolean', default: false },
        logs: { type: 'boolean', default: false },
      },
    })
    const minutes = Number(values.minutes)
    const seed = Number(values.seed)
    const hosts = Number(values.hosts)
    const pace = Number(values.pace)
    if (!(minutes >= 0.2 && minutes <= 24 * 60)) throw new Error('--minutes takes 0.2 to 1440')
    if (!Number.isInteger(seed) || seed < 0) throw new Error('--seed takes a whole number from 0')
    if (!Number.isInteger(hosts) || hosts < 2 || hosts > 32) throw new Error('--hosts takes 2 to 32')
    if (!(pace >= 0.1 && pace <= 2)) throw new Error('--pace takes 0.1 to 2')
    return { minutes, seed, hosts, pace, isJson: values.json, isKept: values.keep, keepLogs: values.logs }
  } catch (error) {
    return refuse(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`)
  }
}

function keep({ plan, ledger }: ChaosResult, date: Date): string {
  mkdirSync(RESULTS_DIR, { recursive: true })
  const path = `${RESULTS_DIR}${date.toISOString().slice(0, 10)}-chaos-seed${plan.seed}.json`
  const { seed, minutes, hosts, pace } = plan
  const kept = { scenario: 'chaos', date, seed, minutes, hosts, pace, ...ledger, machine: machineFacts() }
  writeFileSync(path, `${JSON.stringify(kept, null, 2)}\n`)
  return path
}

const command = commandOrExit()
const problem = labProblem()
if (problem !== null) refuse(`cannot run here: ${problem}`)
const startedMs = systemClock.monotonicMs()
const result = await runChaos({
  ...command,
  onProgress: (text) => {
    process.stderr.write(`${((systemClock.monotonicMs() - startedMs) / 1000).toFixed(0).padStart(4)} s  ${text}\n`)
  },
})
const { plan, ledger, logsDir } = result
process.stdout.write(
  command.isJson
    ? `${JSON.stringify({ seed: plan.seed, minutes: plan.minutes, hosts: plan.hosts, pace: plan.pace, ...ledger })}\n`
    : `${reportText(plan, ledger)}\n`,
)
if (command.isKept) process.stderr.write(`saved in ${keep(result, new Date(systemClock.nowMs()))}\n`)
if (logsDir !== null) process.stderr.write(`logs: ${logsDir}\n`)
if (ledger.broken.length > 0) {
  process.stderr.write(`again: ${repeatCommand(plan)}\n`)
  process.exitCode = 1
}
