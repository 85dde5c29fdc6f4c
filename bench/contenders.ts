/** What people would use instead, run on a lab host and timed from outside, like everything that is compared here. */
import { spawnSync } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../src/clock.ts'
import { type AgentHost, expectDone, type FetchDone, fetchResult } from '../test/lab/agent-host.ts'
import type { Lab } from '../test/lab/lab.ts'
import type { LabProcess } from '../test/lab/lab-process.ts'

const FETCH_TIMEOUT_MS = 30 * 60_000

export interface Timed<T> {
  readonly durationMs: number
  readonly value: T
}

export async function timed<T>(work: () => Promise<T>): Promise<Timed<T>> {
  const startedMs = systemClock.monotonicMs()
  const value = await work()
  return { durationMs: systemClock.monotonicMs() - startedMs, value }
}

/** Its first line of `--version`, or null when it is not installed. */
export function toolVersion(tool: string): string | null {
  const flag = tool === 'nginx' ? '-v' : '--version'
  const found = spawnSync(tool, [flag], { encoding: 'utf8' })
  return found.error ? null : (`${found.stdout}${found.stderr}`.trim().split('\n')[0] ?? tool)
}

async function succeed(process_: LabProcess, what: string): Promise<void> {
  const { code } = await process_.exit
  if (code !== 0) throw new Error(`${what} ended with ${code}: ${process_.stderr.slice(-2000)}`)
}

/** Downloads into a file of the host, which is removed afterwards (not timed). */
async function download(lab: Lab, host: number, command: readonly [string, ...string[]]): Promise<number> {
  const [tool, ...args] = command
  const { durationMs } = await timed(() => succeed(lab.spawn(host, tool, args, { cwd: lab.stateDir }), tool))
  await rm(join(lab.stateDir, targetName(host)), { force: true })
  return durationMs
}

function targetName(host: number): string {
  return `download-${host}`
}

/** Milliseconds. TLS certificates are not checked: the lab's are its own. */
export function curl(lab: Lab, host: number, url: string): Promise<number> {
  return download(lab, host, ['curl', '-sSfk', '-o', targetName(host), url])
}

/** Milliseconds; aria2c as people run it for speed: four connections. */
export function aria2c(lab: Lab, host: number, url: string): Promise<number> {
  const flags = ['-q', '-x4', '-s4', '--file-allocation=none', '--allow-overwrite=true']
  return download(lab, host, ['aria2c', ...flags, '-o', targetName(host), url])
}

/** `shorthaul fetch --json` to its end; the target is removed afterwards (not timed). */
export async function shorthaul(
  agent: AgentHost,
  url: string,
  options: { embedded?: true } = {},
): Promise<Timed<FetchDone>> {
  const target = 'bench-target'
  const run = () => fetchResult(agent.startFetch(url, { target, ...options }), { timeoutMs: FETCH_TIMEOUT_MS })
  const { durationMs, value } = await timed(run)
  await rm(agent.path(target), { force: true })
  return { durationMs, value: expectDone(value) }
}
