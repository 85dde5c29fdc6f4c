/**
 * An agent in a process of its own, whose memory can be looked at from outside: `agent-child.ts DIR SECRET_FILE`.
 *
 * Prints a line when it is up, and one for each line of JSON that it is told over stdin. Ends with its stdin.
 * Run it with --expose-gc: what it says of its memory is after a collection.
 */
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Agent } from '../../src/agent/agent.ts'
import { loadConfig } from '../../src/config/load.ts'
import { isShorthaulError } from '../../src/errors.ts'
import { PartFile } from '../../src/transfer/part-file.ts'

export interface ChildReady {
  readonly key: string
  readonly bootstrapPort: number
  readonly dhtPort: number
  readonly lanePort: number
}

export type ChildOrder =
  | { readonly do: 'fetch'; readonly url: string; readonly target: string; readonly useOrigin: boolean }
  | { readonly do: 'look' }

export interface ChildView {
  readonly residentBytes: number
  readonly heapBytes: number
  readonly cpuMs: number
  readonly peers: number
  readonly connections: number
  readonly rejected: Readonly<Record<string, number>>
  readonly beacon: { readonly heard: number; readonly strangers: number; readonly sent: number }
}

export type ChildFetched =
  | { readonly sources: { readonly cache: number; readonly peer: number; readonly origin: number } }
  | { readonly code: string }

const [dir = '', secretFile = '', overrideText = '{}'] = process.argv.slice(2)
const { config } = await loadConfig({
  env: {},
  overrides: {
    dataDir: join(dir, 'data'),
    'branch.secretFile': secretFile,
    'network.interface': 'lo',
    'network.dhtPort': 0,
    'network.lanePort': 0,
    'network.beacon': false,
    'cache.minFreeBytes': 0,
    ...(JSON.parse(overrideText) as Record<string, unknown>), // of the test, which is ours
  },
  homeDir: dir,
  isRoot: false,
})
const agent = await Agent.open({ config, role: 'embedded' })
await agent.whenNetworkIsUp()

function view(): ChildView {
  globalThis.gc?.()
  const found = agent.diagnoseNetwork()
  const { rss, heapUsed } = process.memoryUsage()
  const { user, system } = process.cpuUsage()
  return {
    residentBytes: rss,
    heapBytes: heapUsed,
    cpuMs: (user + system) / 1000,
    peers: found?.peers ?? 0,
    connections: found?.connections ?? 0,
    rejected: { ...found?.rejected },
    beacon: { heard: 0, strangers: 0, sent: 0, ...found?.beacon },
  }
}

async function obey(order: ChildOrder): Promise<ChildView | ChildFetched> {
  if (order.do === 'look') return view()
  const { url, target, useOrigin } = order
  const request = { url, headers: [], sha256: null, priority: 'foreground' as const, usePeers: true, useOrigin }
  try {
    const delivery = await PartFile.open(join(dir, target))
    const { sources } = await agent.fetch({ ...request, originMaxBytesPerSec: null }, delivery)
    return { sources }
  } catch (error) {
    return { code: isShorthaulError(error) ? error.code : String(error) }
  }
}

function say(what: ChildReady | ChildView | ChildFetched): void {
  process.stdout.write(`${JSON.stringify(what)}\n`)
}

const found = agent.diagnoseNetwork()
say({
  key: agent.key,
  bootstrapPort: found?.bootstrapPort ?? 0,
  dhtPort: found?.dhtPort ?? 0,
  lanePort: agent.lanePort ?? 0,
})
for await (const line of createInterface({ input: process.stdin })) say(await obey(JSON.parse(line) as ChildOrder))
await agent.close()
process.exit(0)
