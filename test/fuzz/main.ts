/**
 * The long run: `npm run fuzz -- --target NAME --runs 1000000 --seed 1 [--minutes M] [--keep]`, and one input again:
 * `npm run fuzz -- --target NAME --input FILE`. `--target all` runs one after the other, in a process each. Guided by
 * coverage; `--unguided` is faster and blind. Without a target it says which there are.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { addToCorpus } from './kit/corpus.ts'
import { type FuzzFailure, type FuzzReport, fuzz, tryInput } from './kit/fuzz.ts'
import { shrink } from './kit/shrink.ts'
import type { FuzzTarget } from './kit/target.ts'
import { TARGETS } from './targets/all.ts'

const PROGRESS_MS = 10_000
const MIB = 1024 * 1024
/** More than caches of ours and of libraries take after the first tenth of a run. */
const MAX_GROWTH_BYTES = 32 * MIB
/** Inputs that are worth keeping are short. */
const MAX_KEPT_BYTES = 1024
const MAX_KEPT = 64

const USAGE = `npm run fuzz -- --target NAME|all [--runs 1000000] [--seed 1] [--minutes M] [--keep] [--unguided]
npm run fuzz -- --target NAME --input FILE
Targets: ${TARGETS.map(({ name }) => name).join(', ')}`

const values = optionsOrExit()
process.exitCode = await main()

function optionsOrExit() {
  try {
    const { values } = parseArgs({
      options: {
        target: { type: 'string' },
        runs: { type: 'string', default: '1000000' },
        seed: { type: 'string', default: '1' },
        minutes: { type: 'string' },
        input: { type: 'string' },
        keep: { type: 'boolean', default: false },
        unguided: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.help) {
      console.log(USAGE)
      process.exit(0)
    }
    return values
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`)
    process.exit(2)
  }
}

async function main(): Promise<number> {
  if (values.target === 'all' && values.input === undefined) return eachInItsProcess()
  const target = TARGETS.find(({ name }) => name === values.target)
  if (target === undefined) {
    console.error(USAGE)
    return 2
  }
  if (values.input !== undefined) return repeat(target, values.input)
  const rssBefore = process.memoryUsage.rss()
  const report = await longRun(target)
  const { earlyHeapBytes, lateHeapBytes, failure, kept } = report
  // Out of time before the first tenth was done: nothing to compare with.
  const growth = earlyHeapBytes === 0 ? 0 : lateHeapBytes - earlyHeapBytes
  console.log(
    `${line(report)}; heap ${mib(earlyHeapBytes)} -> ${mib(lateHeapBytes)}, ` +
      `RSS ${mib(rssBefore)} -> ${mib(process.memoryUsage.rss())}`,
  )
  if (values.keep) {
    const short = kept.filter((input) => input.byteLength <= MAX_KEPT_BYTES).slice(0, MAX_KEPT)
    addToCorpus(target.name, short, `reached what nothing before did: seed ${values.seed}`)
  }
  if (failure !== null) {
    await tell(target, failure)
    return 1
  }
  if (growth > MAX_GROWTH_BYTES) {
    console.error(`FAILED: after ${report.runs} inputs ${mib(growth)} are not given back`)
    return 1
  }
  return 0
}

/** What one leaves in memory is not counted against the next. @returns 1 when one of them failed */
function eachInItsProcess(): number {
  const args = process.argv.slice(1)
  const failed = TARGETS.filter(({ name }) => {
    const ownArgs = args.map((arg) => (arg === 'all' ? name : arg.replace(/^--target=all$/, `--target=${name}`)))
    return spawnSync(process.execPath, [...process.execArgv, ...ownArgs], { stdio: 'inherit' }).status !== 0
  })
  console.log(failed.length === 0 ? 'nothing failed' : `FAILED: ${failed.map(({ name }) => name).join(', ')}`)
  return failed.length === 0 ? 0 : 1
}

function longRun(target: FuzzTarget): Promise<FuzzReport> {
  let toldMs = 0
  return fuzz(target, {
    runs: Number(values.runs),
    seed: Number(values.seed),
    isGuided: !values.unguided,
    ...(values.minutes === undefined ? {} : { maxMs: Number(values.minutes) * 60_000 }),
    onProgress: (report) => {
      if (report.elapsedMs - toldMs < PROGRESS_MS) return
      toldMs = report.elapsedMs
      console.log(line(report))
    },
  })
}

function line({ runs, elapsedMs, accepted, kept, coveredChars }: FuzzReport): string {
  const perSec = Math.round(runs / (elapsedMs / 1000))
  const taken = Math.round((100 * accepted) / Math.max(1, runs))
  const found = values.unguided ? '' : `, ${coveredChars} characters of code, ${kept.length} new inputs`
  return (
    `${values.target}: ${runs} inputs in ${Math.round(elapsedMs / 1000)} s, ${perSec}/s, ${taken} % accepted${found}, ` +
    `RSS ${mib(process.memoryUsage.rss())}`
  )
}

async function tell(target: FuzzTarget, { input, error }: FuzzFailure): Promise<void> {
  const shortest = await shrink(target, input, error)
  const directory = join(tmpdir(), 'shorthaul-fuzz')
  mkdirSync(directory, { recursive: true })
  const name = createHash('sha256').update(shortest).digest('hex').slice(0, 12)
  const path = join(directory, `${target.name}-${name}.bin`)
  writeFileSync(path, shortest)
  console.error(`FAILED: ${error.stack}${error.cause === undefined ? '' : `\nbecause of ${String(error.cause)}`}`)
  console.error(`An input of ${shortest.byteLength} bytes (${input.byteLength} before it was made shorter). Again:`)
  console.error(`  npm run fuzz -- --target ${target.name} --input ${path}`)
}

async function repeat(target: FuzzTarget, path: string): Promise<number> {
  const error = await tryInput(target, readFileSync(path))
  if (error === null) {
    console.log(`${target.name}: nothing is broken by it`)
    return 0
  }
  console.error(error)
  return 1
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`
}
