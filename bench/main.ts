/**
 * npm run bench -- SCENARIO... [--json] [--runs N] [--size BYTES]
 *
 * Measures what the README claims, beside what people would use instead. A table on stdout, with --json one object per
 * line; progress on stderr. A run of this tree with the scenario's own runs and size is
 * saved in bench/results/.
 */
import { parseArgs } from 'node:util'
import { systemClock } from '../src/clock.ts'
import { loadAverage, machineFacts, save, table } from './report.ts'
import type { Scenario } from './scenario.ts'
import { crowd } from './scenarios/crowd.ts'
import { hash } from './scenarios/hash.ts'
import { memory } from './scenarios/memory.ts'
import { solo } from './scenarios/solo.ts'
import { index, lane } from './scenarios/standalone.ts'
import { warm } from './scenarios/warm.ts'

const SCENARIOS: readonly Scenario[] = [solo, warm, memory, crowd, index, hash, lane]

interface Command {
  readonly scenarios: readonly Scenario[]
  readonly isJson: boolean
  readonly runs: number | null
  readonly sizeBytes: number | null
}

function usage(problem: string): never {
  const list = SCENARIOS.map(({ name, title }) => `  ${name.padEnd(8)} ${title}`).join('\n')
  process.stderr.write(`${problem}\nnpm run bench -- SCENARIO... [--json] [--runs N] [--size BYTES]\n${list}\n`)
  process.exit(2)
}

function positive(text: string | undefined, flag: string): number | null {
  if (text === undefined) return null
  const value = Number(text)
  return Number.isSafeInteger(value) && value > 0 ? value : usage(`${flag} takes a whole number above 0, not "${text}"`)
}

function parseCommand(): Command {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'boolean', default: false }, runs: { type: 'string' }, size: { type: 'string' } },
  })
  if (positionals.length === 0) usage('Which scenario?')
  const named = (name: string) => SCENARIOS.find((one) => one.name === name) ?? usage(`No scenario "${name}"`)
  return {
    scenarios: positionals.includes('all') ? SCENARIOS : positionals.map(named),
    isJson: values.json,
    runs: positive(values.runs, '--runs'),
    sizeBytes: positive(values.size, '--size'),
  }
}

async function runScenario(scenario: Scenario, command: Command): Promise<void> {
  const { isJson, sizeBytes } = command
  const runs = command.runs ?? scenario.defaultRuns
  const say = (line: string) => process.stderr.write(`# ${line}\n`)
  const print = (text: string) => process.stdout.write(`${text}\n`)
  const machine = machineFacts()
  const load = loadAverage()
  const isOtherCli = process.env.SHORTHAUL_CLI !== undefined
  const result = await scenario.run({ runs, sizeBytes, say })
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
  const isFull = !isOtherCli && sizeBytes === null && runs >= scenario.defaultRuns && result.rows.length > 0
  if (isFull) {
    const date = new Date(systemClock.nowMs())
    say(`saved as ${save({ scenario: scenario.name, date, runs, rows: result.rows, remarks })}`)
  }
}

const command = parseCommand()
for (const scenario of command.scenarios) await runScenario(scenario, command)
