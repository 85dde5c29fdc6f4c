/** Shows rows as a table, and saves a scenario's result with the facts of the machine that it was measured on. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, release, totalmem, version } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { Row, ScenarioResult } from './scenario.ts'

const BENCH_DIR = fileURLToPath(new URL('.', import.meta.url))
const RESULTS_DIR = `${BENCH_DIR}results/`

export function table(rows: readonly Row[]): string {
  const columns = [...new Set(rows.flatMap((row) => Object.keys(row)))]
  const cells = [columns, ...rows.map((row) => columns.map((column) => String(row[column] ?? '-')))]
  const widths = columns.map((_, at) => Math.max(...cells.map((line) => line[at]?.length ?? 0)))
  const isNumber = columns.map((column) => rows.every((row) => typeof row[column] !== 'string'))
  const lines = cells.map((line) =>
    line
      .map((cell, at) => (isNumber[at] ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0)))
      .join('  ')
      .trimEnd(),
  )
  lines.splice(1, 0, widths.map((width) => '-'.repeat(width)).join('  '))
  return lines.join('\n')
}

export function machineFacts(): Readonly<Record<string, string | number>> {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 1024 ** 3),
    kernel: `${release()} ${version()}`,
    node: process.version,
    commit: commit(),
  }
}

/** With a mark when files differ from it; 'unknown' outside a repository. */
function commit(): string {
  try {
    const git = (...args: string[]) => execFileSync('git', args, { cwd: BENCH_DIR, encoding: 'utf8' }).trim()
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain') === '' ? '' : ' and local changes')
  } catch {
    return 'unknown'
  }
}

export interface Saved extends ScenarioResult {
  readonly scenario: string
  readonly date: Date
  readonly runs: number
}

/** Replaces the result of the same scenario on the same day; returns the path. */
export function save(result: Saved): string {
  mkdirSync(RESULTS_DIR, { recursive: true })
  const path = `${RESULTS_DIR}${result.date.toISOString().slice(0, 10)}-${result.scenario}.json`
  writeFileSync(path, `${JSON.stringify({ ...result, machine: machineFacts() }, null, 2)}\n`)
  return path
}

/** How busy the machine was before the run: figures from a loaded machine are worth little. */
export function loadAverage(): number {
  return Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[0])
}
