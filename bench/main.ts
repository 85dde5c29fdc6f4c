/**
 * npm run bench -- SCENARIO... [--runs N] [--size BYTES] [--hosts N] [--wan MBIT] [--origin-rate MBIT]
 *   [--fifo-ms MS] [--rtt-ms MS] [--only TEXT] [--json] [--html FILE]
 *
 * Measures what the README claims, beside what people would use instead. A table on stdout, with --json one object per
 * line; progress on stderr. A run of this tree with the scenario's own settings is saved in bench/results/.
 */
import { writeFileSync } from 'node:fs'
import { systemClock } from '../src/clock.ts'
import { type Command, parseCommand, UsageError, usageOf } from './command.ts'
import { htmlPage, type Measured } from './html/page.ts'
import { loadAverage, machineFacts, save, table } from './report.ts'
import type { Scenario } from './scenario.ts'
import { crowdFamily } from './scenarios/crowd.ts'
import { foreground, foregroundMany } from './scenarios/foreground.ts'
import { foregroundServing } from './scenarios/foreground-serving.ts'
import { foregroundWeb } from './scenarios/foreground-web.ts'
import { hash } from './scenarios/hash.ts'
import { liar } from './scenarios/liar.ts'
import { memory } from './scenarios/memory.ts'
import { sim } from './scenarios/sim.ts'
import { smallFiles } from './scenarios/small-files.ts'
import { solo } from './scenarios/solo.ts'
import { index, jobs, lane } from './scenarios/standalone.ts'
import { warm } from './scenarios/warm.ts'

const ABOUT_FOREGROUND = [foreground, foregroundMany, foregroundWeb, foregroundServing]
const OF_PARTS = [sim, index, hash, lane, jobs, liar]
const SCENARIOS: readonly Scenario[] = [
  solo,
  warm,
  memory,
  ...crowdFamily,
  ...ABOUT_FOREGROUND,
  smallFiles,
  ...OF_PARTS,
]

function commandOrExit(): Command {
  const args = process.argv.slice(2)
  if (args.some((arg) => arg === '--help' || arg === '-h')) {
    process.stdout.write(`${usageOf(SCENARIOS)}\n`)
    process.exit(0)
  }
  try {
    return parseCommand(args, SCENARIOS)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exit(2)
  }
}

async function runScenario(scenario: Scenario, command: Command): Promise<Measured> {
  const { isJson, sizeBytes, hosts, wanMbit, originMbit, fifoMs, rttMs, only } = command
  const settings = { sizeBytes, hosts, wanMbit, originMbit, fifoMs, rttMs, only }
  const runs = command.runs ?? scenario.defaultRuns
  const say = (line: string) => process.stderr.write(`# ${line}\n`)
  const print = (text: string) => process.stdout.write(`${text}\n`)
  const machine = machineFacts()
  const load = loadAverage()
  const result = await scenario.run({ runs, ...settings, say })
  const remarks = [
    ...result.remarks,
    ...(load > 0.5 ? [`the machine was busy before the run: load average ${load}`] : []),
  ]
  if (isJson) {
    for (const row of result.rows) print(JSON.stringify({ scenario: scenario.name, ...row }))
    print(JSON.stringify({ scenario: scenario.name, event: 'done', remarks, machine }))
  } else {
    print(`\n${scenario.name}: ${scenario.title}\n`)
    if (result.rows.length > 0) print(table(result.rows))
    for (const remark of remarks) print(`- ${remark}`)
    print(
      `- ${Object.entries(machine)
        .map(([key, value]) => `${key} ${value}`)
        .join(', ')}`,
    )
  }
  const isOwnSetting = Object.values(settings).every((one) => one === null)
  const isOwnCli = process.env.SHORTHAUL_CLI === undefined
  if (isOwnCli && isOwnSetting && runs >= scenario.defaultRuns && result.rows.length > 0) {
    const date = new Date(systemClock.nowMs())
    say(`saved as ${save({ scenario: scenario.name, date, runs, rows: result.rows, remarks })}`)
  }
  return { scenario, result: { ...result, remarks } }
}

const command = commandOrExit()
const measured: Measured[] = []
for (const scenario of command.scenarios) {
  measured.push(await runScenario(scenario, command))
  // After each one: a report of what is done is better than none when a later scenario fails.
  if (command.htmlFile !== null) {
    const date = new Date(systemClock.nowMs())
    writeFileSync(command.htmlFile, htmlPage(measured, { date, machine: machineFacts() }))
  }
}
