/**
 * What downloads in the background. Each tool is told to have one new content, which it will not have when the run ends,
 * on each of some hosts.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Lab } from '../../test/lab/lab.ts'
import type { LabProcess } from '../../test/lab/lab-process.ts'
import type { BenchLab } from '../bench-lab.ts'
import { ARIA2C_FLAGS } from '../contenders.ts'

export interface Started {
  /** None of them ends by itself before the run does. */
  readonly processes: readonly LabProcess[]
  /** Those whose processor time counts. */
  readonly costPids: readonly number[]
}

export interface Background {
  /** Begins the downloads. */
  readonly start: () => Started
  /** Kills them and removes what they wrote. */
  readonly end: () => Promise<void>
}

export interface BackgroundTool {
  readonly name: string
  /** Does what is not measured. */
  readonly prepare: (hosts: readonly number[]) => Promise<Background>
}

function startedOf(processes: readonly LabProcess[]): Started {
  return { processes, costPids: processes.map(({ pid }) => pid) }
}

/** A command of a host that writes to the file, which is relative to where it runs. */
export type CommandOf = (file: string) => readonly [tool: string, ...args: string[]]

/** The same command on each host. */
export function commandBackground(lab: Lab, hosts: readonly number[], commandOf: CommandOf): Background {
  const running: LabProcess[] = []
  const files = hosts.map((host) => `background-${host}`)
  const start = () => {
    for (const [at, host] of hosts.entries()) {
      const [tool, ...args] = commandOf(files[at] ?? '')
      running.push(lab.spawn(host, tool, args, { stdout: 'ignore' }))
    }
    return startedOf(running)
  }
  const end = async () => {
    await Promise.all(running.map((one) => one.kill('SIGKILL')))
    const left = files.flatMap((file) => [file, `${file}.aria2`])
    await Promise.all(left.map((file) => rm(join(lab.stateDir, file), { force: true })))
  }
  return { start, end }
}

export interface AgentsOptions {
  /** Of this run: no other installation has it. */
  readonly name: string
  readonly hosts: readonly number[]
  /** How many others each shall see before anything is measured. */
  readonly peers: number
  /** What the next one fetches. */
  readonly urlOf: () => string
}

/** `fetch --priority normal` through a daemon on each host, freshly installed: it knows nothing of the line. */
export async function agentsBackground({ agent }: BenchLab, options: AgentsOptions): Promise<Background> {
  const { name, hosts, peers, urlOf } = options
  const agents = await Promise.all(hosts.map((host) => agent(host, { name: `${name}-${host}` })))
  const commands: LabProcess[] = []
  const end = async () => {
    await Promise.all(commands.map((one) => one.kill('SIGKILL')))
    await Promise.all(agents.filter((one) => one.isRunning).map((one) => one.killDaemon()))
    await Promise.all(agents.map((one) => rm(one.homeDir, { recursive: true, force: true })))
  }
  try {
    await Promise.all(agents.map((one) => one.startDaemon()))
    for (const one of agents) await one.waitForPeers(peers)
  } catch (error) {
    await end()
    throw error
  }
  const start = () => {
    const args = ['--priority', 'normal']
    for (const one of agents) commands.push(one.startFetch(urlOf(), { target: 'background', args }))
    return startedOf([...agents.map((one) => one.daemon), ...commands])
  }
  return { start, end }
}

type UrlCommandOf = (url: string, file: string) => ReturnType<CommandOf>

interface CommandTool {
  readonly name: string
  readonly commandOf: UrlCommandOf
}

function commandTool({ lab, newUrl }: BenchLab, bytes: number, { name, commandOf }: CommandTool): BackgroundTool {
  const prepare = (hosts: readonly number[]) =>
    Promise.resolve(commandBackground(lab, hosts, (file) => commandOf(newUrl(bytes), file)))
  return { name, prepare }
}

export function curlTool(benchLab: BenchLab, bytes: number): BackgroundTool {
  return commandTool(benchLab, bytes, { name: 'curl', commandOf: (url, file) => ['curl', '-sSf', '-o', file, url] })
}

/** Somebody who knows the line would do this. */
export function limitedCurlTool(benchLab: BenchLab, bytes: number, limitMbit: number): BackgroundTool {
  const limit = String(Math.round(limitMbit * 125_000))
  return commandTool(benchLab, bytes, {
    name: `curl --limit-rate ${limitMbit} Mbit/s`,
    commandOf: (url, file) => ['curl', '-sSf', '--limit-rate', limit, '-o', file, url],
  })
}

export function aria2cTool(benchLab: BenchLab, bytes: number): BackgroundTool {
  const commandOf: UrlCommandOf = (url, file) => ['aria2c', ...ARIA2C_FLAGS, '-o', file, url]
  return commandTool(benchLab, bytes, { name: 'aria2c -x4', commandOf })
}

export function shorthaulTool(benchLab: BenchLab, bytes: number): BackgroundTool {
  let count = 0
  const prepare = (hosts: readonly number[]) => {
    count += 1
    const urlOf = () => benchLab.newUrl(bytes)
    return agentsBackground(benchLab, { name: `background-${count}`, hosts, peers: hosts.length - 1, urlOf })
  }
  return { name: 'shorthaul, normal', prepare }
}
