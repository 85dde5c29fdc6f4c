/** Neighbours that take a big file from one machine, as fast as they may, without ever having it whole in a run. */
import type { AgentHost } from '../../test/lab/agent-host.ts'
import type { BenchLab } from '../bench-lab.ts'
import { FETCH_TIMEOUT_MS } from '../contenders.ts'
import { nginxPids, startFileServer } from '../nginx.ts'
import { agentsBackground, type Background, commandBackground } from './backgrounds.ts'

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
    const url = `${nginx.url}/${FILE}`
    const taking = commandBackground(lab, neighbours, (file) => ['curl', '-sSfk', '-o', file, url])
    return Promise.resolve({ ...taking, start: () => ({ ...taking.start(), costPids }) })
  }
  return { name: 'nginx to curl', prepare }
}

/** Daemons that have nothing yet. */
export function shorthaulServing(benchLab: BenchLab, content: ServedContent): ServingTool {
  const { seeder, url, neighbours } = content
  let count = 0
  const prepare = async (): Promise<Background> => {
    count += 1
    const others = { hosts: neighbours, peers: neighbours.length, urlOf: () => url }
    const taking = await agentsBackground(benchLab, { name: `taker-${count}`, ...others })
    const start = () => {
      const processes = [...taking.start().processes, seeder.daemon]
      return { processes, costPids: [seeder.daemon.pid] }
    }
    return { ...taking, start }
  }
  return { name: 'shorthaul to shorthaul', prepare }
}
