/** Benches that are scripts of their own: run as they are; each line of theirs that is a JSON object becomes a row. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type BenchOptions, MIB, type Row, type Scenario, type ScenarioResult } from '../scenario.ts'

async function runScript(script: string, args: readonly string[], { say }: BenchOptions): Promise<ScenarioResult> {
  const path = fileURLToPath(new URL(`../${script}`, import.meta.url))
  if (!existsSync(path)) return { rows: [], remarks: [`bench/${script} is not there`] }
  const child = spawn(process.execPath, ['--import=tsx', path, '--json', ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'close')
  const rows: Row[] = []
  const remarks: string[] = []
  for await (const line of createInterface({ input: child.stdout })) {
    const row = parseRow(line)
    if (row) rows.push(row)
    else if (line.trim() !== '') remarks.push(line)
    say(line)
  }
  const [code] = await ended
  if (code !== 0) throw new Error(`bench/${script} ended with ${code}`)
  return { rows, remarks }
}

function parseRow(line: string): Row | undefined {
  if (!line.startsWith('{')) return undefined
  return JSON.parse(line) as Row
}

export const index: Scenario = {
  name: 'index',
  title: 'opening and asking an index of 100,000 segments',
  defaultRuns: 1,
  bars: [],
  run: (options) => runScript('index-bench.ts', [], options),
}

export const jobs: Scenario = {
  name: 'jobs',
  title: 'a queue of 1,000 jobs of 200 files',
  defaultRuns: 1,
  bars: [],
  run: (options) => runScript('jobs-bench.ts', [], options),
}

export const lane: Scenario = {
  name: 'lane',
  title: 'the bulk channel between two agents, alone',
  defaultRuns: 1,
  bars: [
    { title: 'Throughput', column: 'megabytesPerSec', labels: ['kind', 'connections', 'inFlight'] },
    { title: 'CPU of the client', column: 'clientCpuSecPerGib', labels: ['kind', 'connections', 'inFlight'] },
  ],
  run: (options) => {
    const mib = options.sizeBytes === null ? [] : ['--mib', String(Math.ceil(options.sizeBytes / MIB))]
    return runScript('lane-bench.ts', mib, options)
  },
}
