/**
 * What is done when the faults are over: everything that was begun is ended, and then it is looked at what is left of it.
 * A branch that is whole again must be able to finish all that it could not finish before.
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '../../src/clock.ts'
import { until } from '../lab/until.ts'
import type { ChaosHost } from './chaos-host.ts'
import type { FetchLoad } from './fetch-load.ts'
import type { ChaosWorld } from './world.ts'

const MEET_TIMEOUT_MS = 60_000
const EMPTY_TIMEOUT_MS = 30_000

export interface Aftermath {
  readonly leftovers: readonly string[]
  readonly corruptSegments: readonly string[]
  readonly lonelyHosts: readonly string[]
}

interface StatusSeen {
  readonly activeFetches: number
  readonly activeUploads: number
}

interface VerifySeen {
  readonly checked: number
  readonly corrupt: number
  readonly missing: number
  readonly recovered: number
}

export async function lookAfter(world: ChaosWorld, fetches: FetchLoad): Promise<Aftermath> {
  const lonelyHosts = await meet(world.hosts)
  const leftovers = await finish(fetches)
  for (const host of world.hosts) leftovers.push(...(await emptied(host)))
  // Before the stores are verified, which removes what was left of commits.
  for (const host of world.hosts) leftovers.push(...(await filesLeft(host)))
  const corruptSegments: string[] = []
  for (const host of world.hosts) corruptSegments.push(...(await verify(world, host)))
  return { leftovers, corruptSegments, lonelyHosts }
}

/** Of whoever does not see all others again. */
export async function meet(hosts: readonly ChaosHost[]): Promise<string[]> {
  const findings = await Promise.all(
    hosts.map(async (host) => {
      let seen = -1
      const check = async () => {
        seen = (await host.agent.keys()).peers.size
        return seen === hosts.length - 1 || undefined
      }
      try {
        await until(check, { timeoutMs: MEET_TIMEOUT_MS, everyMs: 250, what: 'all others' })
        return []
      } catch (error) {
        const cause = error instanceof Error && error.cause !== undefined ? `; ${String(error.cause)}` : ''
        return [`host ${host.host} sees ${seen} of ${hosts.length - 1} others after ${MEET_TIMEOUT_MS} ms${cause}`]
      }
    }),
  )
  return findings.flat()
}

/** The same command again, without a digest of a generation that may be gone, must end well. */
async function finish(fetches: FetchLoad): Promise<string[]> {
  const problems: string[] = []
  for (const left of [...fetches.unfinished.values()]) {
    const { target } = left
    const outcome = await fetches.finish(left)
    if (outcome.is === 'failed') problems.push(`${target} cannot be finished: ${outcome.code}: ${outcome.message}`)
  }
  return problems
}

/** Nothing runs any more: what a daemon still counts has leaked. */
async function emptied(host: ChaosHost): Promise<string[]> {
  let seen: StatusSeen | undefined
  const check = async () => {
    seen = (await host.call('GET', '/v1/status')) as StatusSeen
    return (seen.activeFetches === 0 && seen.activeUploads === 0) || undefined
  }
  try {
    await until(check, { timeoutMs: EMPTY_TIMEOUT_MS, everyMs: 250, what: 'no transfers' })
    return []
  } catch {
    const { activeFetches, activeUploads } = seen ?? { activeFetches: '?', activeUploads: '?' }
    return [`host ${host.host}: the daemon counts ${activeFetches} fetches and ${activeUploads} uploads`]
  }
}

async function verify(world: ChaosWorld, host: ChaosHost): Promise<string[]> {
  try {
    const found = (await host.call('POST', '/v1/cache/verify')) as VerifySeen
    world.note('cache verified', { host: host.host, ...found })
    return found.corrupt === 0 ? [] : [`host ${host.host}: ${JSON.stringify(found)}`]
  } catch (error) {
    return [`host ${host.host}: cannot be verified: ${String(error)}`]
  }
}

async function filesLeft(host: ChaosHost): Promise<string[]> {
  const { dataDir } = host.agent
  const temporary = join(dataDir, 'store/v1/temp')
  const found = [
    ...(await names(host.targetsDir)).map((name) => join(host.targetsDir, name)),
    ...(await names(temporary)).map((name) => join(temporary, name)),
    ...(await names(dataDir)).filter((name) => name.endsWith('.new')).map((name) => join(dataDir, name)),
  ]
  return found.map((path) => `host ${host.host}: ${path}`)
}

async function names(directory: string): Promise<string[]> {
  return readdir(directory).catch(() => [])
}

/** The same moment for every run: nothing runs, and connections that are about to close have closed. */
export async function idleSamples(world: ChaosWorld, settleMs: number) {
  await systemClock.sleep(settleMs)
  const samples = await Promise.all(world.hosts.map((host) => host.sample(world.nowMs())))
  return samples.filter((sample) => sample !== null)
}
