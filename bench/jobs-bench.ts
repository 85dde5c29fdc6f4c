/**
 * A long queue: 1,000 jobs of 200 files. How long until an agent that has it is open, how long to list it, and how much
 * memory?  tsx bench/jobs-bench.ts [--json]
 *
 * The origin never answers, so that the queue stays what it is: as many jobs as may have a turn, the others wait.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { systemClock } from '../src/clock.ts'
import { rounded } from './statistics.ts'

const JOBS = 1000
const FILES = 200

const work = fileURLToPath(new URL('./.work', import.meta.url))
mkdirSync(work, { recursive: true })
const dir = mkdtempSync(join(work, 'jobs-'))
const program = join(dir, 'dist', 'child.mjs')

interface Run {
  /** From the start of the process until its agent is open. */
  readonly startMs: number
  readonly durationMs: number
  readonly figures: Readonly<Record<string, number>>
}

async function run(args: readonly string[]): Promise<Run> {
  const beforeMs = systemClock.monotonicMs()
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'close')
  let startMs = 0
  let figures: Record<string, number> = {}
  for await (const line of createInterface({ input: child.stdout })) {
    if (line === 'open') startMs = systemClock.monotonicMs() - beforeMs
    else figures = JSON.parse(line) as Record<string, number>
  }
  const [code] = await ended
  if (code !== 0) throw new Error(`the agent ended with ${code}`)
  return { startMs, durationMs: systemClock.monotonicMs() - beforeMs, figures }
}

const origin = createServer(() => {}).listen(0, '127.0.0.1')
try {
  await once(origin, 'listening')
  const url = `http://127.0.0.1:${(origin.address() as AddressInfo).port}`
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ version: '0.0.0' }))
  const entry = fileURLToPath(new URL('./jobs-bench-child.ts', import.meta.url))
  await build({
    entryPoints: [entry],
    outfile: program,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    logLevel: 'error',
  })
  for (const jobs of [0, JOBS]) {
    const dataDir = join(dir, `data-${jobs}`)
    mkdirSync(join(dataDir, 'out', 'a-directory-with-a-long-name'), { recursive: true })
    const filled = await run([dataDir, 'fill', String(jobs), String(FILES), url])
    const { startMs, figures } = await run([dataDir, 'measure'])
    const row = {
      jobs,
      filesEach: FILES,
      createMs: jobs === 0 ? null : rounded((filled.durationMs - filled.startMs) / jobs, 1),
      startMs: rounded(startMs),
      openMs: rounded(figures.openMs ?? 0),
      firstListMs: rounded(figures.firstListMs ?? 0, 1),
      list1000Ms: rounded(figures.list1000Ms ?? 0, 1),
      list100Ms: rounded(figures.list100Ms ?? 0, 1),
      files200Ms: figures.files200Ms === undefined || jobs === 0 ? null : rounded(figures.files200Ms, 1),
      idleCpuPercent: rounded((figures.idleCpuRatio ?? 0) * 100, 1),
      rssMiB: rounded(figures.rssMiB ?? 0),
      peakRssMiB: rounded(figures.peakRssMiB ?? 0),
    }
    process.stdout.write(`${JSON.stringify(row)}\n`)
  }
} finally {
  origin.closeAllConnections()
  origin.close()
  rmSync(dir, { recursive: true, force: true })
}
