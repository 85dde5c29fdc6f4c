/**
 * What people would use instead, run on a lab host and timed from outside, like everything that is compared here.
 * All times end with an fsync of the target: a fetch of ours does that, so curl and aria2c are followed by `sync FILE`.
 */
import { spawnSync } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../src/clock.ts'
import { type AgentHost, expectDone, type FetchDone, type FetchProgress, fetchResult } from '../test/lab/agent-host.ts'
import type { Lab } from '../test/lab/lab.ts'
import type { LabProcess } from '../test/lab/lab-process.ts'

export const FETCH_TIMEOUT_MS = 30 * 60_000

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

/** @throws Error with the tail of its stderr when it ends with another code than 0. */
export async function succeed(process_: LabProcess, what: string): Promise<void> {
  const { code } = await process_.exit
  if (code !== 0) throw new Error(`${what} ended with ${code}: ${process_.stderr.slice(-2000)}`)
}

export interface Download {
  readonly path: string
  /** Rejects when the tool fails. */
  readonly done: Promise<void>
  readonly process: LabProcess
}

/** Starts a download into a file of the host, to which the command's last flag leads; the caller removes it. */
function startDownload(lab: Lab, host: number, command: readonly string[]): Download {
  const name = `download-${host}`
  // On SIGTERM the tool ends too; with a tool in the foreground bash would wait for it first.
  const script = 'trap \'kill -9 $tool; exit 1\' TERM; "$@" & tool=$!; wait $tool && exec sync "$0"'
  const process_ = lab.spawn(host, 'bash', ['-c', script, name, ...command, name], { cwd: lab.stateDir })
  return { path: join(lab.stateDir, name), done: succeed(process_, command[0] ?? ''), process: process_ }
}

/** TLS certificates are not checked: the lab's are its own. */
export function startCurl(lab: Lab, host: number, url: string): Download {
  return startDownload(lab, host, ['curl', '-sSfk', url, '-o'])
}

/** Milliseconds; the file is removed afterwards (not timed). */
async function milliseconds(start: () => Download): Promise<number> {
  const { durationMs, value } = await timed(async () => {
    const download = start()
    await download.done
    return download
  })
  await rm(value.path, { force: true })
  return durationMs
}

/** Milliseconds. */
export function curl(lab: Lab, host: number, url: string): Promise<number> {
  return milliseconds(() => startCurl(lab, host, url))
}

/** As people run it for speed: four connections. */
export const ARIA2C_FLAGS = ['-q', '-x4', '-s4', '--file-allocation=none', '--allow-overwrite=true']

/** Milliseconds. */
export function aria2c(lab: Lab, host: number, url: string): Promise<number> {
  return milliseconds(() => startDownload(lab, host, ['aria2c', ...ARIA2C_FLAGS, url, '-o']))
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

export interface ProgressPoint {
  /** Of the monotonic clock. */
  readonly atMs: number
  readonly bytesDone: number
}

/** Notes when each progress line of a `fetch --json` came. */
export function watchProgress(process_: LabProcess): readonly ProgressPoint[] {
  const points: ProgressPoint[] = []
  process_.onLine((line) => {
    const told = JSON.parse(line) as FetchProgress | FetchDone
    if (told.event === 'progress') points.push({ atMs: systemClock.monotonicMs(), bytesDone: told.bytesDone })
  })
  return points
}
