/** Neighbours that take a big file from one machine, as fast as they may, without ever having it whole in a run. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { AgentHost } from '../../test/lab/agent-host.ts'
import type { LabProcess } from '../../test/lab/lab-process.ts'
import type { BenchLab } from '../bench-lab.ts'
import { FETCH_TIMEOUT_MS } from '../contenders.ts'
import { nginxPids, startFileServer } from '../nginx.ts'
import type { Background } from './backgrounds.ts'

const FILE = 'served'

export interface ServingTool {
  readonly name: string
  /** Does what is not measured; what counts is the processor time of the side that serves. */
  readonly prepare: () => Promise<Background>
}

export interface ServedContent {
  /** Its daemon has the content, and its home the file. */
  readonly seeder: AgentHost
  readonly url: string
  readonly neighbours: readonly number[]
}

export async function raiseSeeder(benchLab: BenchLab, options: { host: number; url: string }): Promise<AgentHost> {
  const seeder = await benchLab.agent(options.host, { name: 'seeder' })
  await seeder.startDaemon()
  const { code, stderr } = await seeder.fetch(options.url, { target: FILE, timeoutMs: FETCH_TIMEOUT_MS })
  if (code !== 0) throw new Error(`The machine that shall serve does not get the content: ${stderr.slice(-2000)}`)
  return seeder
}

/** A file server that knows nothing of its user. */
export async function nginxServing({ lab }: BenchLab, content: ServedContent): Promise<ServingTool> {
  const { seeder, neighbours } = content
  const nginx = await startFileServer(lab, seeder.host, seeder.homeDir)
  const costPids = await nginxPids(nginx)
  const prepare = (): Promise<Background> => {
    const commands: LabProcess[] = []
    const files = neighbours.map((host) => `taken-${host}`)
    const start = () => {
      for (const [at, host] of neighbours.entries()) {
        commands.push(lab.spawn(host, 'curl', ['-sSfk', '-o', files[at] ?? '', `${nginx.url}/${FILE}`]))
      }
      return { processes: commands, costPids }
    }
    const end = async () => {
      await Promise.all(commands.map((one) => one.kill('SIGKILL')))
      await Promise.all(files.map((file) => rm(join(lab.stateDir, file), { force: true })))
    }
    return Promise.resolve({ start, end })
  }
  return { name: 'nginx to curl', prepare }
}

/** Daemons freshly installed each time, which have nothing yet. */
export function shorthaulServing(benchLab: BenchLab, content: ServedContent): ServingTool {
  const { seeder, url, neighbours } = content
  let count = 0
  const prepare = async (): Promise<Background> => {
    count += 1
    const agents = await Promise.all(neighbours.map((host) => benchLab.agent(host, { name: `taker-${count}-${host}` })))
    const commands: LabProcess[] = []
    const end = async () => {
      await Promise.all(commands.map((one) => one.kill('SIGKILL')))
      await Promise.all(agents.filter((one) => one.isRunning).map((one) => one.killDaemon()))
      await Promise.all(agents.map((one) => rm(one.homeDir, { recursive: true, force: true })))
    }
    try {
      await Promise.all(agents.map((one) => one.startDaemon()))
      for (const one of agents) await one.waitForPeers(agents.length)
    } catch (error) {
      await end()
      throw error
    }
    const start = () => {
      const args = ['--priority', 'normal']
      for (const one of agents) commands.push(one.startFetch(url, { target: FILE, args }))
      const processes = [seeder.daemon, ...agents.map((one) => one.daemon), ...commands]
      return { processes, costPids: [seeder.daemon.pid] }
    }
    return { start, end }
  }
  return { name: 'shorthaul to shorthaul', prepare }
}
